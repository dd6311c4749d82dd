"""One description per API action: arguments to what is sent, reply to typed result. No I/O.

Which parameter travels in the query and which in the form body is what the official SDK does
(alibabacloud-ice20201109 6.20.2, `client.py`): InputConfig and EditingConfig in the form, all else
in the query. Every structured argument is a JSON string on the wire; here it may be given as a
dict, or as a JSON string, which is then sent as it stands.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from airflow_ice.api import limits, models
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
from airflow_ice.api.signature import DATE_FORMAT

T_co = TypeVar("T_co", covariant=True)
Config = Mapping[str, Any] | str
"""A structured argument: a dict, or the JSON string of one."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
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
        found = reply.get("EditingBatchJob")
        if not isinstance(found, Mapping) or not found:
            # Third-party clients guard against a 200 without a job: an unknown id (no source says
            # so).
            raise IceJobNotFoundError(
                f'the reply holds no EditingBatchJob for the JobId "{wanted}"',
                http_status=200,
                request_id=models.text(reply.get("RequestId")),
                action="GetBatchMediaProducingJob",
                job_id=wanted,
            )
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
        _one_of("sort_by", sort_by, ("asc", "desc"))

    def read(reply: Mapping[str, Any]) -> BatchMediaProducingJobPage:
        request_id = models.text(reply.get("RequestId"))
        found = models.rows(reply.get("EditingBatchJobList"))
        return BatchMediaProducingJobPage(
            jobs=tuple(models.batch_media_producing_job(row, request_id) for row in found),
            next_token=models.text(reply.get("NextToken")),
            request_id=request_id,
        )

    query = {
        "Status": _text("status", status),
        "JobType": _text("job_type", job_type),
        "StartTime": _time("start_time", start_time),
        "EndTime": _time("end_time", end_time),
        "SortBy": sort_by,
        "JobId": _text("job_id", job_id),
        "MaxResults": str(page_size),
        "NextToken": _text("next_token", next_token),
    }
    return Operation("ListBatchMediaProducingJobs", read, query=_given(query))


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


def submit_batch_media_producing_job(
    *,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    template_config: Sequence[str] | str | None = None,
    user_data: Config | None = None,
    client_token: str | None = None,
) -> Operation[str]:
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
    found, given = _config("InputConfig", input_config)
    limits.batch_input(found)
    query = {
        "OutputConfig": _output(output_config, found),
        "TemplateConfig": _ids_as_json("TemplateConfig", template_config),
        "UserData": _user_data(user_data),
        "ClientToken": _client_token(client_token),
    }
    form = {"InputConfig": given, "EditingConfig": _editing(editing_config)}
    return _submit("SubmitBatchMediaProducingJob", query, form, repeatable=client_token is not None)


def submit_screen_media_highlights_job(
    *,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> Operation[str]:
    """Submit a high-energy mashup of videos (SubmitScreenMediaHighlightsJob) and return its job id.
    This costs money.

    The action has no ClientToken, so a submit whose reply is lost is not repeated.

    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """
    found, given = _config("InputConfig", input_config)
    limits.highlights_input(found)
    query = {"OutputConfig": _output(output_config, found), "UserData": _user_data(user_data)}
    return _submit(
        "SubmitScreenMediaHighlightsJob",
        query,
        {"InputConfig": given, "EditingConfig": _editing(editing_config)},
    )


def submit_sports_highlights_job(
    *,
    input_config: Config,
    output_config: Config,
    user_data: Config | None = None,
    client_token: str | None = None,
) -> Operation[str]:
    """Submit highlights of a sports video (SubmitSportsHighlightsJob) and return its job id. This
    costs money.

    Offered in cn-shanghai only; it takes no EditingConfig.

    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """
    found, given = _config("InputConfig", input_config)
    limits.sports_input(found)
    query = {
        "OutputConfig": _output(output_config, found),
        "UserData": _user_data(user_data),
        "ClientToken": _client_token(client_token),
    }
    return _submit(
        "SubmitSportsHighlightsJob",
        query,
        {"InputConfig": given},
        repeatable=client_token is not None,
    )


def submit_scene_media_selection_job(
    *,
    job_type: str,
    input_config: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> Operation[str]:
    """Submit the selection of material (SubmitSceneMediaSelectionJob) and return its job id. This
    costs money.

    Its result is the job's extend_output, which goes into submit_scene_timeline_organization_job,
    edited or not.

    :param job_type: Smart_Mix_Media_Select or Screen_Media_Highlights_Media_Select.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """
    _one_of("job_type", job_type, limits.SELECTION_JOB_TYPES)
    found, given = _config("InputConfig", input_config)
    limits.selection_input(job_type, found)
    query = {
        "JobType": job_type,
        "OutputConfig": _output(output_config, found, needs_destination=False),
        "UserData": _user_data(user_data),
    }
    return _submit(
        "SubmitSceneMediaSelectionJob",
        query,
        {"InputConfig": given, "EditingConfig": _editing(editing_config)},
    )


def submit_scene_timeline_organization_job(
    *,
    job_type: str,
    input_config: Config,
    media_select_result: Config,
    output_config: Config,
    editing_config: Config | None = None,
    user_data: Config | None = None,
) -> Operation[str]:
    """Submit the arrangement of selected material (SubmitSceneTimelineOrganizationJob) and return
    its job id. This costs money.

    Its sub-jobs hold editing projects, which go into submit_scene_batch_editing_job.

    :param job_type: Smart_Mix_Timeline_Organize or Screen_Media_Highlights_Timeline_Organize.
    :param media_select_result: the extend_output of the selection job.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """
    _one_of("job_type", job_type, limits.ORGANIZATION_JOB_TYPES)
    found, given = _config("InputConfig", input_config)
    limits.selection_input(job_type, found)
    query = {
        "JobType": job_type,
        "MediaSelectResult": _config("MediaSelectResult", media_select_result)[1],
        "OutputConfig": _output(output_config, found, needs_destination=False),
        "UserData": _user_data(user_data),
    }
    return _submit(
        "SubmitSceneTimelineOrganizationJob",
        query,
        {"InputConfig": given, "EditingConfig": _editing(editing_config)},
    )


def submit_scene_batch_editing_job(
    *, project_ids: Sequence[str] | str, output_config: Config, user_data: Config | None = None
) -> Operation[str]:
    """Submit the rendering of editing projects, one video each (SubmitSceneBatchEditingJob); return
    its job id. This costs money.

    :param project_ids: a list, or ids separated by commas.
    :raises IceInputError: the service is known to refuse it; nothing was sent.
    """
    found, given = _config("OutputConfig", output_config)
    limits.scene_output(found)
    query = {
        "ProjectIds": ",".join(_ids("project_ids", project_ids)),
        "OutputConfig": given,
        "UserData": _user_data(user_data),
    }
    return _submit("SubmitSceneBatchEditingJob", query, {})


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
        "MediaId": _text("media_id", media_id),
        "InputURL": _text("input_url", input_url),
        "AuthTimeout": None
        if auth_timeout is None
        else str(limits.whole_number("auth_timeout", auth_timeout, 1, MAX_AUTH_TIMEOUT)),
    }
    if not media_id and not input_url:
        raise IceInputError("media_id", media_id, "must be given, or input_url")

    def read(reply: Mapping[str, Any]) -> MediaInfo:
        found = reply.get("MediaInfo")
        if not isinstance(found, Mapping) or not found:
            raise _missing("GetMediaInfo", "MediaInfo", str(media_id or input_url), reply)
        return models.media_info(found, models.text(reply.get("RequestId")))

    return Operation("GetMediaInfo", read, query=_given(query))


def get_media_producing_job(job_id: str) -> Operation[MediaProducingJob]:
    """Return one producing job, for example a sub-job of a batch (GetMediaProducingJob).

    :param job_id: a SubJob's job_id.
    :raises IceJobNotFoundError: no such job for this account in this region.
    """
    wanted = limits.job_id("job_id", job_id)

    def read(reply: Mapping[str, Any]) -> MediaProducingJob:
        found = reply.get("MediaProducingJob")
        if not isinstance(found, Mapping) or not found:
            raise IceJobNotFoundError(
                f'the reply holds no MediaProducingJob for the JobId "{wanted}"',
                http_status=200,
                request_id=models.text(reply.get("RequestId")),
                action="GetMediaProducingJob",
                job_id=wanted,
            )
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
    wanted = _id("project_id", project_id)

    def read(reply: Mapping[str, Any]) -> EditingProject:
        found = reply.get("Project")
        if not isinstance(found, Mapping) or not found:
            raise _missing("GetEditingProject", "Project", f'the ProjectId "{wanted}"', reply)
        return models.editing_project(found, models.text(reply.get("RequestId")))

    query = {"ProjectId": wanted, "RequestSource": _text("request_source", request_source)}
    return Operation("GetEditingProject", read, query=_given(query))


def get_editing_project_materials(project_id: str) -> Operation[EditingProjectMaterials]:
    """Return the clips of an online editing project, each with a signed, expiring URL of its file
    (GetEditingProjectMaterials): one call for all of them.

    :param project_id: for example a SubJob's project_id.
    :raises IceNotFoundError: no such project for this account in this region.
    """
    wanted = _id("project_id", project_id)
    return Operation(
        "GetEditingProjectMaterials",
        models.editing_project_materials,
        query={"ProjectId": wanted},
    )


def _missing(action: str, name: str, asked: str, reply: Mapping[str, Any]) -> IceNotFoundError:
    """Return the error of a 200 without the object asked for; third-party clients guard against it,
    no page says so.

    :param asked: what was asked for, in words.
    """
    return IceNotFoundError(
        f"the reply holds no {name} for {asked}",
        http_status=200,
        request_id=models.text(reply.get("RequestId")),
        action=action,
    )


def _submit(
    action: str,
    query: Mapping[str, str | None],
    form: Mapping[str, str | None],
    *,
    repeatable: bool = False,
) -> Operation[str]:
    def read(reply: Mapping[str, Any]) -> str:
        found = reply.get("JobId")
        # Text made of a list or a truth value would be stored as the id of the paid job.
        plain = isinstance(found, str | int) and not isinstance(found, bool)
        job_id = models.text(found) if plain else None
        if job_id and not _CONTROL.search(job_id):
            return job_id
        raise IceUnavailableError(
            "the reply to a submit holds no JobId",
            http_status=200,
            request_id=models.text(reply.get("RequestId")),
            action=action,
            submitted="unknown",
        )

    return Operation(
        action,
        read,
        query=_given(query),
        form=_given(form),
        submit=True,
        repeatable=repeatable,
        priority=2,
    )


def _given(parameters: Mapping[str, str | None]) -> dict[str, str]:
    # The SDK sends no parameter that is None.
    return {name: value for name, value in parameters.items() if value is not None}


def _id(name: str, value: object) -> str:
    found = value.strip() if isinstance(value, str) else ""
    if not found or _CONTROL.search(found):
        raise IceInputError(name, limits.shown(name, value), "must be an id, a text on one line")
    limits.rendered_id(name, found)
    return found


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise IceInputError(
            name, limits.shown(name, value), f"must be a text, not {type(value).__name__}"
        )
    return value


def _ids(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        limits.rendered(name, value, "a list of ids")
        if value.strip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as cause:
                raise IceInputError(
                    name, value, f"must be a list of ids; it is not JSON: {cause}"
                ) from None
        else:
            value = value.split(",")
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray, memoryview)):
        raise IceInputError(name, limits.shown(name, value), "must be a list of ids")
    found = [_id(f"{name}[{place}]", entry) for place, entry in enumerate(value)]
    if not found:
        raise IceInputError(name, value, "must name at least one id")
    if comma := next((entry for entry in found if "," in entry), None):
        raise IceInputError(name, comma, "must not contain a comma")
    return found


def _ids_as_json(name: str, value: Sequence[str] | str | None) -> str | None:
    return None if value is None else json.dumps(_ids(name, value))


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise IceInputError(name, limits.shown(name, value), f"must be one of {', '.join(allowed)}")


def _time(name: str, value: datetime | str | None) -> str | None:
    if value is None:
        return None
    found: object = models.time(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        rule = "must be a time, UTC, in the form yyyy-MM-ddTHH:mm:ssZ, or a datetime"
        raise IceInputError(name, limits.shown(name, value), rule)
    if found.tzinfo is None:
        raise IceInputError(name, value, "must have a time zone")
    try:
        return found.astimezone(UTC).strftime(DATE_FORMAT)
    except (ValueError, OverflowError):
        raise IceInputError(name, value, "must be a time of the years 1 to 9999, UTC") from None


def _config(name: str, value: object) -> tuple[dict[str, Any], str]:
    """Return a structured argument both ways: as an object, to be checked, and as what is sent."""
    found = limits.json_object(name, value)
    return found, value if isinstance(value, str) else json.dumps(found, ensure_ascii=False)


def _output(
    value: object, input_config: Mapping[str, Any], *, needs_destination: bool = True
) -> str:
    found, given = _config("OutputConfig", value)
    limits.output(found, needs_destination=needs_destination)
    limits.durations(input_config, found)
    return given


def _editing(value: object) -> str | None:
    if value is None or value == "":
        return None
    found, given = _config("EditingConfig", value)
    limits.editing(found)
    return given


def _user_data(value: object) -> str | None:
    return None if value is None or value == "" else limits.user_data(_config("UserData", value)[1])


def _client_token(value: str | None) -> str | None:
    return None if value is None else limits.client_token(value)
