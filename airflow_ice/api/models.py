"""Typed results of the ICE actions.

The real wire is not the documented one: lists come as null, numbers as strings, times with a trailing
newline, URLs with one slash, and echoed configs that are not JSON; all of these stand in the documentation's own sample of
GetBatchMediaProducingJob. What is used here is normalised; what is only echoed stays exactly as the service sent it; fields that
nobody knows yet are kept in `other_fields`, and states that nobody knows yet pass through as they are.

Field by field: the API pages GetBatchMediaProducingJob, ListBatchMediaProducingJobs, GetMediaProducingJob and GetMediaInfo.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from airflow_ice.api.redaction import unsigned_url

_ONE_SLASH = re.compile(r"^(https?):/(?!/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in the service's words.

    :param code: for example `InvalidMaterial.NotFound`; the list of codes is open.
    :param message: for people.
    """

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


@dataclass(frozen=True, slots=True)
class SubJob:
    """One video of a batch, or one preview project.

    :param index: the number that stands for `{index}` in the MediaURL where the job's OutputConfig tells it, else the place in
        the list.
    :param job_id: its own id, which GetMediaProducingJob takes.
    :param media_id: the media asset; None for a preview, or while there is none.
    :param media_url: the output URL, unsigned, its scheme mended; None where there is none.
    :param status: Init, Processing, Success, Failed, or one that is not documented yet.
    :param project_id: the online editing project.
    :param duration: seconds; None where it is not known.
    :param error_code: given by the service for failed sub-jobs; it has been seen on successful ones, where it means nothing.
    :param error_message: see `error_code`.
    """

    index: int
    job_id: str
    media_id: str | None = None
    media_url: str | None = None
    status: str = ""
    project_id: str | None = None
    duration: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BatchMediaProducingJob:
    """A batch job as GetBatchMediaProducingJob shows it.

    A row of ListBatchMediaProducingJobs has no sub_jobs, extend_input and extend_output.

    :param job_id: the main job.
    :param job_type: one of nine documented types, for example `Script`, or a newer one.
    :param status: Init, Processing, Finished, Failed (documented only for List), or one that is not documented yet.
    :param input_config: as the service echoed it; it need not be valid JSON. So are editing_config, output_config, user_data,
        extend, extend_input and extend_output.
    :param create_time: aware, UTC. So are modified_time and complete_time (None while the job runs).
    :param sub_jobs: by place in the service's list.
    :param error: the main job's error from Extend, or None. A Finished job may have one.
    :param request_id: the RequestId of the reply that this was read from.
    """

    job_id: str
    job_type: str | None = None
    status: str = ""
    input_config: str | None = field(default=None, repr=False)
    editing_config: str | None = field(default=None, repr=False)
    output_config: str | None = field(default=None, repr=False)
    user_data: str | None = field(default=None, repr=False)
    extend: str | None = field(default=None, repr=False)
    extend_input: str | None = field(default=None, repr=False)
    extend_output: str | None = field(default=None, repr=False)
    create_time: datetime | None = None
    modified_time: datetime | None = None
    complete_time: datetime | None = None
    sub_jobs: tuple[SubJob, ...] = ()
    error: JobError | None = None
    request_id: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BatchMediaProducingJobPage:
    """One page of ListBatchMediaProducingJobs.

    :param jobs: rows, without sub-jobs.
    :param next_token: asks for the next page; None on the last one.
    """

    jobs: tuple[BatchMediaProducingJob, ...]
    next_token: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobStatePage:
    """One page of ListBatchMediaProducingJobs, read no further than needed.

    :param states: job id to state.
    :param next_token: asks for the next page; None on the last one.
    :param errors: job id to the raw `Extend` of its row, JSON that says why it failed; only of jobs
        in Failed that have one.
    """

    states: Mapping[str, str]
    next_token: str | None = None
    errors: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class MediaProducingJob:
    """One producing job as GetMediaProducingJob shows it; a sub-job of a batch is one.

    :param status: Init, Queuing, Processing, Success, Failed, or a newer one.
    :param progress: percent, 0 to 100.
    :param duration: seconds.
    :param code: why it failed; so does message.
    :param sub_job_materials: for a sub-job of a batch, JSON with the Title and SpeechText drawn for this video.
    """

    job_id: str
    status: str = ""
    progress: int | None = None
    project_id: str | None = None
    media_id: str | None = None
    media_url: str | None = None
    vod_media_id: str | None = None
    template_id: str | None = None
    duration: float | None = None
    code: str | None = None
    message: str | None = None
    create_time: datetime | None = None
    modified_time: datetime | None = None
    complete_time: datetime | None = None
    timeline: str | None = field(default=None, repr=False)
    clips_param: str | None = field(default=None, repr=False)
    user_data: str | None = field(default=None, repr=False)
    sub_job_materials: str | None = None
    request_id: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file of a media asset.

    :param file_url: signed and expiring: for immediate use only, never for XCom, a log or an asset. Its repr leaves it out.
    :param file_type: `source_file` for the asset itself, others for transcodes.
    :param file_size: bytes. duration: seconds. bitrate: kbit/s. width, height: pixels.
    """

    file_url: str | None = field(default=None, repr=False)
    file_name: str | None = None
    file_type: str | None = None
    file_status: str | None = None
    file_size: int | None = None
    format_name: str | None = None
    region: str | None = None
    duration: float | None = None
    bitrate: float | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A media asset as GetMediaInfo shows it.

    :param status: Init, Preparing, PrepareFail or Normal (ready).
    :param input_url: where the asset lies, unsigned.
    :param files: its files; `file_url` of each is signed and expires.
    """

    media_id: str
    status: str | None = None
    media_type: str | None = None
    title: str | None = None
    description: str | None = None
    tags: str | None = None
    user_data: str | None = None
    input_url: str | None = None
    create_time: datetime | None = None
    modified_time: datetime | None = None
    files: tuple[MediaFile, ...] = ()
    request_id: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def source_file(self) -> MediaFile | None:
        """The asset's own file, not a transcode; None while there is none."""
        return next((file for file in self.files if file.file_type == "source_file"), None)

    @property
    def file_url(self) -> str | None:
        """The signed URL of the asset's own file; it expires after `auth_timeout` seconds, 3600 by default."""
        return self.source_file.file_url if self.source_file else None


def text(value: object) -> str | None:
    """Return a value as stripped text; None for null and for nothing."""
    if value is None:
        return None
    return (value if isinstance(value, str) else str(value)).strip() or None


def raw(value: object) -> str | None:
    """Return an echoed config exactly as it came; one that came as an object, not as a string, becomes JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def number(value: object) -> float | None:
    """Return a number that may have come as a string; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None
    # Neither NaN nor an infinity is JSON, and what is read here goes into XCom.
    return found if found is not None and math.isfinite(found) else None


def whole(value: object) -> int | None:
    """Return a whole number that may have come as a string; None for anything else."""
    found = number(value)
    return int(found) if found is not None else None


def time(value: object) -> datetime | None:
    """Return a time of the wire (ISO 8601, UTC, `yyyy-MM-ddTHH:mm:ssZ`) as an aware datetime; None for anything else."""
    try:
        found = datetime.fromisoformat(text(value) or "")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parsed(value: str | None) -> Any:
    """Return an echoed JSON string as a value; None where it is absent or not JSON."""
    try:
        return json.loads(value) if value else None
    except (ValueError, RecursionError):
        return None


def rows(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list that may be missing, null, or hold nulls."""
    return (
        [row for row in value if isinstance(row, Mapping)]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else []
    )


def mended_url(value: object) -> str | None:
    """Return a URL with its scheme mended: the service has been seen to say `http:/host/...`."""
    url = text(value)
    return _ONE_SLASH.sub(r"\1://", url) if url else None


def job_error(extend: str | None) -> JobError | None:
    """Return the main job's error that an Extend string holds; `{}` holds none."""
    found = parsed(extend)
    if not isinstance(found, Mapping) or not (code := text(found.get("ErrorCode"))):
        return None
    return JobError(code, text(found.get("ErrorMessage")) or "")


_OUTPUT_NAME = re.compile(r'"(?:MediaURL|FileName)"\s*:\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def _unescaped(inside_quotes: str) -> str:
    try:
        return str(json.loads(f'"{inside_quotes}"', strict=False))
    except ValueError:
        return inside_quotes.replace("\\/", "/")


def index_pattern(output_config: str | None) -> re.Pattern[str] | None:
    """Return what finds the number that stands for `{index}` in a sub-job's URL; None where the OutputConfig does not tell it.

    The scheme is left out of the comparison, since the service has been seen to change it; both sides are compared without
    percent-encoding.
    """
    # Found by pattern, not by parsing: an echoed config need not be valid JSON.
    for match in _OUTPUT_NAME.finditer(output_config or ""):
        name = re.sub(
            r"^https?:/{1,2}", "", unquote(_unescaped(match.group(1))).strip(), flags=re.IGNORECASE
        )
        before, marker, after = name.partition("{index}")
        if marker:
            again = re.escape(after).replace(re.escape("{index}"), r"\d+")
            return re.compile(rf"(?:^|/){re.escape(before)}(\d+){again}(?:\?.*)?$")
    return None


def sub_job(wire: Mapping[str, Any], place: int, pattern: re.Pattern[str] | None) -> SubJob:
    """Read one entry of SubJobList."""
    url = mended_url(wire.get("MediaURL"))
    found = pattern.search(unquote(url)) if pattern and url else None
    known = {
        "JobId",
        "MediaId",
        "MediaURL",
        "Status",
        "ProjectId",
        "Duration",
        "ErrorCode",
        "ErrorMessage",
    }
    return SubJob(
        index=int(found.group(1)) if found else place,
        job_id=text(wire.get("JobId")) or "",
        media_id=text(wire.get("MediaId")),
        media_url=unsigned_url(url),
        status=text(wire.get("Status")) or "",
        project_id=text(wire.get("ProjectId")),
        duration=number(wire.get("Duration")),
        error_code=text(wire.get("ErrorCode")),
        error_message=text(wire.get("ErrorMessage")),
        other_fields={name: value for name, value in wire.items() if name not in known},
    )


_JOB_FIELDS: Final = frozenset(
    {
        "JobId",
        "JobType",
        "Status",
        "InputConfig",
        "EditingConfig",
        "OutputConfig",
        "UserData",
        "Extend",
        "ExtendInput",
    }
    | {"ExtendOutput", "CreateTime", "ModifiedTime", "CompleteTime", "SubJobList"}
)


def batch_media_producing_job(
    wire: Mapping[str, Any], request_id: str | None = None
) -> BatchMediaProducingJob:
    """Read an EditingBatchJob, or a row of EditingBatchJobList."""
    output_config = raw(wire.get("OutputConfig"))
    pattern = index_pattern(output_config)
    extend = raw(wire.get("Extend"))
    return BatchMediaProducingJob(
        job_id=text(wire.get("JobId")) or "",
        job_type=text(wire.get("JobType")),
        status=text(wire.get("Status")) or "",
        input_config=raw(wire.get("InputConfig")),
        editing_config=raw(wire.get("EditingConfig")),
        output_config=output_config,
        user_data=raw(wire.get("UserData")),
        extend=extend,
        extend_input=raw(wire.get("ExtendInput")),
        extend_output=raw(wire.get("ExtendOutput")),
        create_time=time(wire.get("CreateTime")),
        modified_time=time(wire.get("ModifiedTime")),
        complete_time=time(wire.get("CompleteTime")),
        sub_jobs=tuple(
            sub_job(row, place, pattern) for place, row in enumerate(rows(wire.get("SubJobList")))
        ),
        error=job_error(extend),
        request_id=request_id,
        other_fields={name: value for name, value in wire.items() if name not in _JOB_FIELDS},
    )


_PRODUCING_FIELDS: Final = frozenset(
    {
        "JobId",
        "Status",
        "Progress",
        "ProjectId",
        "MediaId",
        "MediaURL",
        "VodMediaId",
        "TemplateId",
        "Duration",
        "Code",
        "Message",
    }
    | {
        "CreateTime",
        "ModifiedTime",
        "CompleteTime",
        "Timeline",
        "ClipsParam",
        "UserData",
        "SubJobMaterials",
    }
)


def media_producing_job(
    wire: Mapping[str, Any], request_id: str | None = None
) -> MediaProducingJob:
    """Read a MediaProducingJob."""
    return MediaProducingJob(
        job_id=text(wire.get("JobId")) or "",
        status=text(wire.get("Status")) or "",
        progress=whole(wire.get("Progress")),
        project_id=text(wire.get("ProjectId")),
        media_id=text(wire.get("MediaId")),
        media_url=unsigned_url(mended_url(wire.get("MediaURL"))),
        vod_media_id=text(wire.get("VodMediaId")),
        template_id=text(wire.get("TemplateId")),
        duration=number(wire.get("Duration")),
        code=text(wire.get("Code")),
        message=text(wire.get("Message")),
        create_time=time(wire.get("CreateTime")),
        modified_time=time(wire.get("ModifiedTime")),
        complete_time=time(wire.get("CompleteTime")),
        timeline=raw(wire.get("Timeline")),
        clips_param=raw(wire.get("ClipsParam")),
        user_data=raw(wire.get("UserData")),
        sub_job_materials=raw(wire.get("SubJobMaterials")),
        request_id=request_id,
        other_fields={name: value for name, value in wire.items() if name not in _PRODUCING_FIELDS},
    )


def media_file(wire: Mapping[str, Any]) -> MediaFile:
    """Read a FileBasicInfo; every value in it is a string on the wire."""
    return MediaFile(
        file_url=mended_url(wire.get("FileUrl")),
        file_name=text(wire.get("FileName")),
        file_type=text(wire.get("FileType")),
        file_status=text(wire.get("FileStatus")),
        file_size=whole(wire.get("FileSize")),
        format_name=text(wire.get("FormatName")),
        region=text(wire.get("Region")),
        duration=number(wire.get("Duration")),
        bitrate=number(wire.get("Bitrate")),
        width=whole(wire.get("Width")),
        height=whole(wire.get("Height")),
    )


def media_info(wire: Mapping[str, Any], request_id: str | None = None) -> MediaInfo:
    """Read a MediaInfo."""
    found = wire.get("MediaBasicInfo")
    basic: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    basics = [row.get("FileBasicInfo") for row in rows(wire.get("FileInfoList"))]
    return MediaInfo(
        media_id=text(wire.get("MediaId")) or text(basic.get("MediaId")) or "",
        status=text(basic.get("Status")),
        media_type=text(basic.get("MediaType")),
        title=text(basic.get("Title")),
        description=text(basic.get("Description")),
        tags=text(basic.get("MediaTags")),
        user_data=raw(basic.get("UserData")),
        input_url=unsigned_url(mended_url(basic.get("InputURL"))),
        create_time=time(basic.get("CreateTime")),
        modified_time=time(basic.get("ModifiedTime")),
        files=tuple(media_file(row) for row in basics if isinstance(row, Mapping)),
        request_id=request_id,
        other_fields={
            name: value
            for name, value in wire.items()
            if name not in {"MediaId", "MediaBasicInfo", "FileInfoList"}
        },
    )
