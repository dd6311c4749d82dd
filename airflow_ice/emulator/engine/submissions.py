"""A submit that the service takes, as the rest of the emulator sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Makes = Literal["videos", "projects", "selection"]
"""What a job leaves: videos, projects without files, or a selection of material."""


@dataclass(frozen=True, slots=True)
class Output:
    """What OutputConfig asks for; durations in seconds, sizes in pixels."""

    media_url: str | None
    count: int
    width: int
    height: int
    crf: int = 27
    max_duration: float | None = None
    fixed_duration: float | None = None
    preview_only: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit that was checked.

    :param material: the media ids and URLs that it names as clips, in its order.
    :param selection: the MediaSelectResult of an organization.
    :param project_ids: the projects that are to be rendered.
    """

    action: str
    job_type: str
    output: Output
    makes: Makes = "videos"
    input_config: Mapping[str, Any] = field(default_factory=dict)
    editing_config: Mapping[str, Any] = field(default_factory=dict)
    material: tuple[str, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)
    project_ids: tuple[str, ...] = ()

    @property
    def previews(self) -> bool:
        """Whether the sub-jobs make projects and no files."""
        return self.output.preview_only or self.makes == "projects"

    @property
    def narrations(self) -> list[str]:
        """The narration texts for the whole video: SpeechTextArray, or else SpeechText."""
        return texts(self.input_config, "SpeechTextArray", "SpeechText")

    @property
    def titles(self) -> list[str]:
        """The titles, in either spelling; the list wins."""
        return texts(self.input_config, "TitleArray", "Title")


def texts(config: Mapping[str, Any], plural: str, singular: str) -> list[str]:
    """Return a list of texts given as a list, or as one text in the older spelling."""
    value = config.get(plural) or ([config[singular]] if config.get(singular) else [])
    return [text for text in value if text]
