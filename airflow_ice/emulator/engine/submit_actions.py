"""The submit actions: one row each, with all that tells one from another.

Which action makes which job types is on the page of GetBatchMediaProducingJob (JobType); which one
takes a ClientToken is what the official SDK sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_ice.emulator.engine import inputs
from airflow_ice.emulator.engine.inputs import CheckedInput
from airflow_ice.emulator.engine.submissions import Makes

ReadInput = Callable[[Mapping[str, Any], str | None], CheckedInput]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitAction:
    """A submit action.

    :param name: as in `x-acs-action`.
    :param job_types: the types of the jobs that it makes.
    :param reads: checks its InputConfig; None for an action that has none, and renders projects.
    :param makes: what its jobs leave.
    :param client_token: whether it takes a ClientToken; an action that does not ignores one.
    :param chooses_type: whether the caller names the job type.
    :param listed: whether ListBatchMediaProducingJobs shows its jobs. Guess: all are; the page
        names only Script and Smart_Mix.
    """

    name: str
    job_types: tuple[str, ...]
    reads: ReadInput | None
    makes: Makes = "videos"
    client_token: bool = False
    chooses_type: bool = False
    listed: bool = True


_ROWS: Final = (
    SubmitAction(
        name="SubmitBatchMediaProducingJob",
        job_types=("Script", "Smart_Mix"),
        reads=inputs.script_or_mix,
        client_token=True,
    ),
    SubmitAction(
        name="SubmitScreenMediaHighlightsJob",
        job_types=("Screen_Media_Highlights",),
        reads=inputs.highlights,
    ),
    SubmitAction(
        name="SubmitSportsHighlightsJob",
        job_types=("Sports_Highlights",),
        reads=inputs.sports,
        client_token=True,
    ),
    SubmitAction(
        name="SubmitSceneMediaSelectionJob",
        job_types=("Smart_Mix_Media_Select", "Screen_Media_Highlights_Media_Select"),
        reads=inputs.mix_or_highlights,
        makes="selection",
        chooses_type=True,
    ),
    SubmitAction(
        name="SubmitSceneTimelineOrganizationJob",
        job_types=("Smart_Mix_Timeline_Organize", "Screen_Media_Highlights_Timeline_Organize"),
        reads=inputs.mix_or_highlights,
        makes="projects",
        chooses_type=True,
    ),
    SubmitAction(
        name="SubmitSceneBatchEditingJob",
        job_types=("Scene_Batch_Editing",),
        reads=None,
    ),
)
SUBMIT_ACTIONS: Final[Mapping[str, SubmitAction]] = {row.name: row for row in _ROWS}
JOB_TYPES: Final = tuple(job_type for row in _ROWS for job_type in row.job_types)
