"""One description per API action: arguments to what is sent, reply to typed result. No I/O.

A read is a function that returns its Operation. A submit action is a row (`SubmitAction`) on a
function that declares its arguments; `arguments.SUBMIT` says how each of them travels.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, ParamSpec, TypeVar

import msgspec

from airflow_ice.api import limits, models
from airflow_ice.api.arguments import CONTROL, SUBMIT, Config, given, one_id, one_of, text, time
from airflow_ice.api.errors import (
    IceInputError,
    IceJobNotFoundError,
    IceNotFoundError,
    IceUnavailableError,
)
from airflow_ice.api.models import (
    BatchMediaProducingJob,
    BatchMediaProducingJobPage,
    EditingProject,
    EditingProjectMaterials,
    JobStatePage,
    MediaInfo,
    MediaProducingJob,
)

T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")

MAX_PAGE: Final = 100
MAX_AUTH_TIMEOUT: Final = 86400


@dataclass(frozen=True, slots=True)
class Operation(Generic[T_co]):
    """One call of one action.

    :param action: as in `x-acs-action`.
    :param read: makes the typed result of the JSON object that a success holds.
    :param query: parameters that travel in the query.
    :param form: parameters that travel in the form body.
    :param submit: whether a success makes a paid job.
    :param repeatable: whether sending it twice is harmless: a read, or a submit with a ClientToken.
    :param job_id: the job asked for: errors name it, and an unknown job is told from another bad
        parameter.
    :param priority: requests of a higher one get the next free moment of the rate limit: submits 2,
        `list_job_states`, of which one page serves a hundred waits, 1, all else 0.
    :param before_send: called immediately before the first byte of the request is written, for each
        send: after the rate limit, the credentials, the connection and TLS. What it raises goes to
        the caller as it is; nothing is sent then, and the connection is closed. A send before it
        may have made a job all the same. It runs in the event loop of an async client, so it must
        be quick.
    :param glance: makes the typed result of the raw body, for large replies of which little is
        needed; None where the body is not what it expects, and `read` is asked then.
    """

    action: str
    read: Callable[[Mapping[str, Any]], T_co]
    query: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # UserData may hold a key of the user's
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    submit: bool = False
    repeatable: bool = True
    job_id: str | None = None
    glance: Callable[[bytes], T_co | None] | None = None
    priority: int = 0
    before_send: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        limits.parameters(self.query, self.form)


def get_batch_media_producing_job(job_id: str) -> Operation[BatchMediaProducingJob]:
    """Return a batch job with its sub-jobs (GetBatchMediaProducingJob). Jobs of the last year can
    be read.

    :param job_id: the id that a submit returned.
    :raises IceJobNotFoundError: no such job for this account in this region.
    """
    wanted = limits.job_id("job_id", job_id)

    def read(reply: Mapping[str, Any]) -> BatchMediaProducingJob:
        found = _resource("GetBatchMediaProducingJob", reply, "EditingBatchJob", "JobId", wanted)
        job = models.batch_media_producing_job(found, models.text(reply.get("RequestId")))
        if job.job_id.casefold() not in ("", wanted.casefold()):
            # A cache or a proxy that mixes replies up must not end the wait for another job.
            raise IceUnavailableError(
                f"a reply about job {job.job_id}",
                http_status=200,
                request_id=job.request_id,
                action="GetBatchMediaProducingJob",
                job_id=wanted,
            )
        return job

    return Operation("GetBatchMediaProducingJob", read, query={"JobId": wanted}, job_id=wanted)


def list_batch_media_producing_jobs(
    *,
    status: str | None = None,
    job_type: str | None = None,
    start_time: datetime | str | None = None,
    end_time: datetime | str | None = None,
    sort_by: str | None = None,
    job_id: str | None = None,
    page_size: int = MAX_PAGE,
    next_token: str | None = None,
) -> Operation[BatchMediaProducingJobPage]:
    """Return one page of batch jobs (ListBatchMediaProducingJobs); its rows have no sub-jobs.

    :param status: Init, Processing, Finished or Failed.
    :param job_type: for example `Script`; the page documents Script and Smart_Mix, others may work.
    :param start_time: aware datetime, or UTC text `yyyy-MM-ddTHH:mm:ssZ`; by creation time. So is
        end_time.
    :param sort_by: `desc` (the service's default) or `asc`, by creation time.
    :param page_size: 1 to 100 jobs a page.
    :param next_token: of the page before.
    """
    limits.whole_number("page_size", page_size, 1, MAX_PAGE)
    if sort_by is not None:
        one_of("sort_by", sort_by, ("asc", "desc"))

    def read(reply: Mapping[str, Any]) -> BatchMediaProducingJobPage:
        request_id = models.text(reply.get("RequestId"))
        found = models.rows(reply.get("EditingBatchJobList"))
        return BatchMediaProducingJobPage(
            jobs=tuple(models.batch_media_producing_job(row, request_id) for row in found),
            next_token=models.text(reply.get("NextToken")),
            request_id=request_id,
        )

    query = {
        "Status": text("status", status),
        "JobType": text("job_type", job_type),
        "StartTime": time("start_time", start_time),
        "EndTime": time("end_time", end_time),
        "SortBy": sort_by,
        "JobId": text("job_id", job_id),
        "MaxResults": str(page_size),
        "NextToken": text("next_token", next_token),
    }
    return Operation("ListBatchMediaProducingJobs", read, query=given(query))


def list_job_states(
    status: str,
    *,
    next_token: str | None = None,
    start_time: datetime | str | None = None,
    sort_by: str | None = None,
) -> Operation[JobStatePage]:
    """Return one page of 100 jobs in one state, and of each little more than its id and state.

    A row of ListBatchMediaProducingJobs repeats all configs of its job, a page is hundreds of kB:
    only the fields that are needed are decoded, the rest is skipped.

    :param status: Init, Processing, Finished or Failed.
    :param next_token: of the page before.
    :param start_time: aware datetime, or UTC text `yyyy-MM-ddTHH:mm:ssZ`; by creation time.
    :param sort_by: `desc` (the service's default) or `asc`, by creation time.
    """
    listed = list_batch_media_producing_jobs(
        status=status, next_token=next_token, start_time=start_time, sort_by=sort_by
    )

    def read(reply: Mapping[str, Any]) -> JobStatePage:
        page = listed.read(reply)
        return JobStatePage(
            {job.job_id: job.status for job in page.jobs},
            page.next_token,
            {job.job_id: job.extend for job in page.jobs if job.status == "Failed" and job.extend},
            page.request_id,
        )

    return Operation(listed.action, read, query=listed.query, glance=_job_states, priority=1)


def _job_states(body: bytes) -> JobStatePage | None:
    try:
        page = _states().decode(body)
    except msgspec.MsgspecError:
        return None  # one of the oddities of the wire: read it the slow and patient way
    if page.EditingBatchJobList is None or not page.RequestId:
        return None
    rows = [(row.JobId.strip(), row.Status.strip(), row.Extend) for row in page.EditingBatchJobList]
    return JobStatePage(
        {job_id: status for job_id, status, _ in rows},
        page.NextToken or None,
        {job_id: extend for job_id, status, extend in rows if status == "Failed" and extend},
        page.RequestId,
    )


@functools.cache
def _states() -> msgspec.json.Decoder[_StatePage]:
    return msgspec.json.Decoder(_StatePage)


class _StateRow(msgspec.Struct, gc=False):
    JobId: str
    Status: str
    Extend: str | None = None


class _StatePage(msgspec.Struct, gc=False):
    EditingBatchJobList: list[_StateRow] | None = None
    NextToken: str | None = None
    RequestId: str | None = None


@dataclass(frozen=True, slots=True)
class SubmitAction:
    """One way to submit a paid job: all that is known about it on this side, in one row.

    Whether it takes a ClientToken is what its signature says.

    :param action: as in `x-acs-action`.
    :param job_types: the types that its jobs have; one of them is its `job_type`, if it has one.
    :param check: refuses arguments that the service is known to refuse together; called with each
        argument that was given, parsed.
    :param sample: arguments that pass all checks. They stand in where a DAG file leaves one to be
        known when the task runs.
    """

    action: str
    job_types: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], None]
    sample: Mapping[str, Any]

    def operation(self, arguments: Mapping[str, Any]) -> Operation[str]:
        """Return the call for these arguments.

        :raises IceInputError: the service is known to refuse it; nothing was sent.
        """
        if "job_type" in arguments:
            one_of("job_type", arguments["job_type"], self.job_types)
        parsed: dict[str, Any] = {}
        query: dict[str, str | None] = {}
        form: dict[str, str | None] = {}
        for name, value in arguments.items():
            parameter = SUBMIT[name]
            parsed[name], sent = parameter.read(value)
            (form if parameter.in_form else query)[parameter.name] = sent
        self.check(parsed)
        return Operation(
            self.action,
            self._job_id,
            query=given(query),
            form=given(form),
            submit=True,
            repeatable=query.get("ClientToken") is not None,
            priority=2,
        )

    def _job_id(self, reply: Mapping[str, Any]) -> str:
        found = reply.get("JobId")
        # Text made of a list or a truth value would be stored as the id of the paid job.
        plain = isinstance(found, str | int) and not isinstance(found, bool)
        job_id = models.text(found) if plain else None
        if job_id and not CONTROL.search(job_id):
            return job_id
        raise IceUnavailableError(
            "the reply to a submit holds no JobId",
            http_status=200,
            request_id=models.text(reply.get("RequestId")),
            action=self.action,
            submitted="unknown",
        )


SUBMIT_ACTIONS: Final[dict[str, SubmitAction]] = {}
"""Each submit action by the name of its function here, as the functions below declare them."""


def _submits(
    action: str,
    *job_types: str,
    check: Callable[[Mapping[str, Any]], None],
    sample: Mapping[str, Any],
) -> Callable[[Callable[P, None]], Callable[P, Operation[str]]]:
    """Make the description of a submit action of a function that declares its arguments."""
    row = SubmitAction(action, job_types, check, sample)

    def described(declared: Callable[P, None]) -> Callable[P, Operation[str]]:
        signature = inspect.signature(declared)

        @functools.wraps(declared)
        def describe(*args: P.args, **kwargs: P.kwargs) -> Operation[str]:
            try:
                given_arguments = signature.bind(*args, **kwargs).arguments
            except TypeError as cause:
                raise TypeError(f"{declared.__name__}() {cause}") from None
            return row.operation(given_arguments)

        # What help() and the documentation show: the call it returns, not the declaration's None.
        shown = signature.replace(return_annotation="Operation[str]")
        describe.__signature__ = shown  # type: ignore[attr-defined]
        SUBMIT_ACTIONS[declared.__name__] = row
        return describe

    return described


def _check_batch(arguments: Mapping[str, Any]) -> None:
    limits.batch_input(arguments["input_config"])
    _check_output(arguments)


def _check_highlights(arguments: Mapping[str, Any]) -> None:
    limits.highlights_input(arguments["input_config"])
    _check_output(arguments)


def _check_sports(arguments: Mapping[str, Any]) -> None:
    limits.sports_input(arguments["input_config"])
    _check_output(arguments)


def _check_scene(arguments: Mapping[str, Any]) -> None:
    limits.selection_input(arguments["job_type"], arguments["input_config"])
    _check_output(arguments, needs_destination=False)


def _check_output(arguments: Mapping[str, Any], *, needs_destination: bool = True) -> None:
    limits.output(arguments["output_config"], needs_destination=needs_destination)
    limits.durations(arguments["input_config"], arguments["output_config"])


_CLIPS: Final = {"MediaArray": ["placeholder"]}
_CLIP: Final = {"mediaId": "placeholder", "startTime": 0, "endTime": 1}
_SENTENCE: Final = {"text": "placeholder", "duration": 1, "matchClipList": [_CLIP]}
_SELECTION: Final = {
    "textMatchMediaOutputList": [{"textMatchMediaSentenceOutputList": [_SENTENCE]}]
}
_FILES: Final = {"MediaURL": "http://placeholder.example/{index}.mp4"}


@_submits(
    "SubmitBatchMediaProducingJob",
    "Script",
    "Smart_Mix",
    check=_check_batch,
    sample={"input_config": _CLIPS, "output_config": _FILES},
)
def submit_batch_media_producing_job(
    *,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    template_config: Sequence[str] | str | None = None,
    user_data: Config | None = None,
    client_token: str | None = None,
) -> None:
    """Submit a Script or Smart_Mix batch job (SubmitBatchMediaProducingJob) and return its job id.
    This costs money.

    The keys of input_config decide: MediaGroupArray makes it Script; else MediaArray or
    MediaSearchInput, Smart_Mix.

    :param template_config: ids of templates of Type `BatchEditing`, one of which is drawn for each
        video.
    :param user_data: at most 512 bytes of JSON, echoed in Get, List and callbacks.
    :param client_token: makes repeating this submit harmless; at most 64 ASCII characters.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


@_submits(
    "SubmitScreenMediaHighlightsJob",
    "Screen_Media_Highlights",
    check=_check_highlights,
    sample={"input_config": _CLIPS, "output_config": _FILES},
)
def submit_screen_media_highlights_job(
    *,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> None:
    """Submit a high-energy mashup of videos (SubmitScreenMediaHighlightsJob) and return its job id.
    This costs money.

    The action has no ClientToken, so a submit whose reply is lost is not repeated.

    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


@_submits(
    "SubmitSportsHighlightsJob",
    "Sports_Highlights",
    check=_check_sports,
    sample={
        "input_config": {"SportsCategory": limits.SPORTS[0], "InputMedia": "placeholder"},
        "output_config": _FILES,
    },
)
def submit_sports_highlights_job(
    *,
    input_config: Config,
    output_config: Config,
    user_data: Config | None = None,
    client_token: str | None = None,
) -> None:
    """Submit highlights of a sports video (SubmitSportsHighlightsJob) and return its job id. This
    costs money.

    Offered in cn-shanghai only; it takes no EditingConfig.

    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


@_submits(
    "SubmitSceneMediaSelectionJob",
    "Smart_Mix_Media_Select",
    "Screen_Media_Highlights_Media_Select",
    check=_check_scene,
    # Smart_Mix, whose rules are the wider ones.
    sample={"job_type": "Smart_Mix_Media_Select", "input_config": _CLIPS, "output_config": {}},
)
def submit_scene_media_selection_job(
    *,
    job_type: str,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> None:
    """Submit the selection of material (SubmitSceneMediaSelectionJob) and return its job id. This
    costs money.

    Its result is the job's extend_output, which goes into submit_scene_timeline_organization_job,
    edited or not.

    :param job_type: Smart_Mix_Media_Select or Screen_Media_Highlights_Media_Select.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


@_submits(
    "SubmitSceneTimelineOrganizationJob",
    "Smart_Mix_Timeline_Organize",
    "Screen_Media_Highlights_Timeline_Organize",
    check=_check_scene,
    sample={
        "job_type": "Smart_Mix_Timeline_Organize",
        "input_config": _CLIPS,
        "media_select_result": _SELECTION,
        "output_config": {},
    },
)
def submit_scene_timeline_organization_job(
    *,
    job_type: str,
    input_config: Config,
    media_select_result: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> None:
    """Submit the arrangement of selected material (SubmitSceneTimelineOrganizationJob) and return
    its job id. This costs money.

    Its sub-jobs hold editing projects, which go into submit_scene_batch_editing_job.

    :param job_type: Smart_Mix_Timeline_Organize or Screen_Media_Highlights_Timeline_Organize.
    :param media_select_result: the extend_output of the selection job.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


@_submits(
    "SubmitSceneBatchEditingJob",
    "Scene_Batch_Editing",
    check=lambda arguments: limits.scene_output(arguments["output_config"]),
    sample={"project_ids": ["placeholder"], "output_config": _FILES},
)
def submit_scene_batch_editing_job(
    *, project_ids: Sequence[str] | str, output_config: Config, user_data: Config | None = None
) -> None:
    """Submit the rendering of editing projects, one video each (SubmitSceneBatchEditingJob); return
    its job id. This costs money.

    :param project_ids: a list, or ids separated by commas.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """


def get_media_info(
    media_id: str | None = None, input_url: str | None = None, *, auth_timeout: int | None = None
) -> Operation[MediaInfo]:
    """Return a media asset with a signed, expiring URL of its file (GetMediaInfo).

    :param media_id: the asset; it wins over input_url.
    :param input_url: the registered URL of the asset, http(s) or oss.
    :param auth_timeout: seconds that the signed URL lives, 1 to 86400; the service's default is
        3600.
    :raises IceNotFoundError: no such asset for this account in this region.
    """
    query = {
        "MediaId": text("media_id", media_id),
        "InputURL": text("input_url", input_url),
        "AuthTimeout": None
        if auth_timeout is None
        else str(limits.whole_number("auth_timeout", auth_timeout, 1, MAX_AUTH_TIMEOUT)),
    }
    if not media_id and not input_url:
        raise IceInputError("media_id", media_id, "must be given, or input_url")
    asked = ("MediaId", media_id) if media_id else ("InputURL", input_url or "")

    def read(reply: Mapping[str, Any]) -> MediaInfo:
        found = _resource("GetMediaInfo", reply, "MediaInfo", *asked)
        return models.media_info(found, models.text(reply.get("RequestId")))

    return Operation("GetMediaInfo", read, query=given(query))


def get_media_producing_job(job_id: str) -> Operation[MediaProducingJob]:
    """Return one producing job, for example a sub-job of a batch (GetMediaProducingJob).

    :param job_id: a SubJob's job_id.
    :raises IceJobNotFoundError: no such job for this account in this region.
    """
    wanted = limits.job_id("job_id", job_id)

    def read(reply: Mapping[str, Any]) -> MediaProducingJob:
        found = _resource("GetMediaProducingJob", reply, "MediaProducingJob", "JobId", wanted)
        return models.media_producing_job(found, models.text(reply.get("RequestId")))

    return Operation("GetMediaProducingJob", read, query={"JobId": wanted}, job_id=wanted)


def get_editing_project(
    project_id: str, *, request_source: str | None = None
) -> Operation[EditingProject]:
    """Return an online editing project with its timeline (GetEditingProject).

    :param project_id: for example a SubJob's project_id.
    :param request_source: `WebSDK` for the project of a preview, as the page on OutputConfig says
        (GeneratePreviewOnly); None for the service's default.
    :raises IceNotFoundError: no such project for this account in this region.
    """
    wanted = one_id("project_id", project_id)

    def read(reply: Mapping[str, Any]) -> EditingProject:
        found = _resource("GetEditingProject", reply, "Project", "ProjectId", wanted)
        return models.editing_project(found, models.text(reply.get("RequestId")))

    query = {"ProjectId": wanted, "RequestSource": text("request_source", request_source)}
    return Operation("GetEditingProject", read, query=given(query))


def get_editing_project_materials(project_id: str) -> Operation[EditingProjectMaterials]:
    """Return the clips of an online editing project, each with a signed, expiring URL of its file
    (GetEditingProjectMaterials): one call for all of them.

    :param project_id: for example a SubJob's project_id.
    :raises IceNotFoundError: no such project for this account in this region.
    """
    wanted = one_id("project_id", project_id)
    return Operation(
        "GetEditingProjectMaterials",
        models.editing_project_materials,
        query={"ProjectId": wanted},
    )


def _resource(
    action: str, reply: Mapping[str, Any], name: str, parameter: str, value: str
) -> Mapping[str, Any]:
    """Return the object that a reply is about.

    :raises IceNotFoundError: a 200 without it. Third-party clients take that for an unknown id; no
        page says so.
    """
    found = reply.get(name)
    if isinstance(found, Mapping) and found:
        return found
    is_job = parameter == "JobId"
    kind = IceJobNotFoundError if is_job else IceNotFoundError
    raise kind(
        f'the reply holds no {name} for the {parameter} "{value}"',
        http_status=200,
        request_id=models.text(reply.get("RequestId")),
        action=action,
        job_id=value if is_job else None,
    )
