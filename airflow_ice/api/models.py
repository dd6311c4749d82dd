"""Typed results of the ICE actions.

The real wire is not the documented one: lists come as null, numbers as strings, times with a
trailing newline, URLs with one slash, and echoed configs that are not JSON; all of these stand in
the documentation's own sample of GetBatchMediaProducingJob. What is used here is normalised; what
is only echoed stays exactly as the service sent it; fields that nobody knows yet are kept in
`other_fields`, and states that nobody knows yet pass through as they are.

Field by field: the API pages GetBatchMediaProducingJob, ListBatchMediaProducingJobs,
GetMediaProducingJob, GetMediaInfo, GetEditingProject and GetEditingProjectMaterials. A field of a
reply is named twice here: as an attribute of its class, and where its reader takes it out of a copy
of the reply. What is left of the copy is `other_fields`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from airflow_ice.api.redaction import redact, unsigned_url

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

    :param index: the number that stands for `{index}` in the MediaURL where the job's OutputConfig
        tells it, else the place in the list.
    :param job_id: its own id, which GetMediaProducingJob takes.
    :param media_id: the media asset; None for a preview, or while there is none.
    :param media_url: the output URL, unsigned, its scheme complete; None where there is none.
    :param status: Init, Processing, Success, Failed, or one that is not documented yet.
    :param project_id: the online editing project.
    :param duration: seconds; None where it is not known.
    :param error_code: given by the service for failed sub-jobs; it has been seen on successful
        ones, where it means nothing.
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
    :param status: Init, Processing, Finished, Failed (documented only for List), or one that is not
        documented yet.
    :param input_config: as the service echoed it; it need not be valid JSON. So are editing_config,
        output_config, user_data, extend, extend_input and extend_output.
    :param create_time: aware, UTC. So are modified_time and complete_time (None while the job
        runs).
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
    :param sub_job_materials: for a sub-job of a batch, JSON with the Title and SpeechText drawn for
        this video.
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

    :param file_url: signed and expiring: for immediate use only, never for XCom, a log or an asset.
        Its repr leaves it out.
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
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A media asset as GetMediaInfo shows it.

    :param status: Init, Preparing, PrepareFail or Normal (ready).
    :param input_url: where the asset lies, unsigned.
    :param cover_url: a picture of it, signed and expiring.
    :param files: its files; `file_url` of each is signed and expires.
    :param other_fields: of MediaInfo and of its MediaBasicInfo.
    """

    media_id: str
    status: str | None = None
    media_type: str | None = None
    title: str | None = None
    description: str | None = None
    tags: str | None = None
    user_data: str | None = None
    input_url: str | None = None
    cover_url: str | None = field(default=None, repr=False)
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
        """The signed URL of the asset's own file; it expires after `auth_timeout` seconds, 3600 by
        default.
        """
        return self.source_file.file_url if self.source_file else None

    @property
    def duration(self) -> float | None:
        """Seconds that the asset's own file plays."""
        return self.source_file.duration if self.source_file else None

    @property
    def file_size(self) -> int | None:
        """Bytes of the asset's own file."""
        return self.source_file.file_size if self.source_file else None


@dataclass(frozen=True, slots=True)
class EditingProject:
    """An online editing project as GetEditingProject shows it: what a preview is instead of a file.

    :param status: Draft, Producing, Produced, ProduceFailed, or another; the list is open.
    :param timeline: the parsed Timeline: `VideoTracks`, `AudioTracks`, `SubtitleTracks`, each a
        list of tracks with their clips (page "Timeline configuration"); None where there is none,
        or it is not a JSON object.
    :param duration: seconds.
    :param cover_url: a picture of it, signed and expiring.
    """

    project_id: str
    title: str | None = None
    description: str | None = None
    status: str | None = None
    timeline: Mapping[str, Any] | None = field(default=None, repr=False)
    duration: float | None = None
    cover_url: str | None = field(default=None, repr=False)
    template_id: str | None = None
    create_time: datetime | None = None
    modified_time: datetime | None = None
    request_id: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class EditingProjectMaterials:
    """The clips of an editing project as GetEditingProjectMaterials shows them.

    :param media: each with a signed, expiring `file_url`, its `duration` and `file_size`.
    :param project_materials: raw entries of ProjectMaterials, which no page shows in full.
    """

    project_id: str
    media: tuple[MediaInfo, ...] = ()
    project_materials: tuple[Any, ...] = field(default=(), repr=False)
    request_id: str | None = None
    other_fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


def text(value: object) -> str | None:
    """Return a value as stripped text; None for null and for nothing."""
    if value is None:
        return None
    return (value if isinstance(value, str) else str(value)).strip() or None


def raw(value: object) -> str | None:
    """Return an echoed config exactly as it came; one that came as an object, not as a string,
    becomes JSON.
    """
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
    """Return a time of the wire (ISO 8601, UTC, `yyyy-MM-ddTHH:mm:ssZ`) as an aware datetime; None
    for anything else.
    """
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


def message(value: object) -> str | None:
    """Return a text of the service for people, redacted: it may quote a signed URL of the input."""
    found = text(value)
    return redact(found) if found else None


def rows(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list that may be missing, null, or hold nulls."""
    return (
        [row for row in value if isinstance(row, Mapping)]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else []
    )


def object_or_empty(value: object) -> dict[str, Any]:
    """Return a copy of an object that may be missing, null or no object."""
    return dict(value) if isinstance(value, Mapping) else {}


def fixed_url(value: object) -> str | None:
    """Return a URL with both slashes after its scheme: the service has been seen to send
    `http:/host/...`.
    """
    url = text(value)
    return _ONE_SLASH.sub(r"\1://", url) if url else None


def job_error(extend: str | None) -> JobError | None:
    """Return the main job's error that an Extend string holds; `{}` holds none."""
    found = parsed(extend)
    if not isinstance(found, Mapping) or not (code := text(found.get("ErrorCode"))):
        return None
    return JobError(code, message(found.get("ErrorMessage")) or "")


_OUTPUT_NAME = re.compile(r'"(?:MediaURL|FileName)"\s*:\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def _unescaped(inside_quotes: str) -> str:
    try:
        return str(json.loads(f'"{inside_quotes}"', strict=False))
    except ValueError:
        return inside_quotes.replace("\\/", "/")


def index_pattern(output_config: str | None) -> re.Pattern[str] | None:
    """Return what finds the number that stands for `{index}` in a sub-job's URL; None where the
    OutputConfig does not tell it.

    The scheme is left out of the comparison, since the service has been seen to change it; both
    sides are compared without percent-encoding.
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
    fields = dict(wire)
    url = fixed_url(fields.pop("MediaURL", None))
    found = pattern.search(unquote(url)) if pattern and url else None
    return SubJob(
        index=int(found.group(1)) if found else place,
        job_id=text(fields.pop("JobId", None)) or "",
        media_id=text(fields.pop("MediaId", None)),
        media_url=unsigned_url(url),
        status=text(fields.pop("Status", None)) or "",
        project_id=text(fields.pop("ProjectId", None)),
        duration=number(fields.pop("Duration", None)),
        error_code=text(fields.pop("ErrorCode", None)),
        error_message=message(fields.pop("ErrorMessage", None)),
        other_fields=fields,
    )


def batch_media_producing_job(
    wire: Mapping[str, Any], request_id: str | None = None
) -> BatchMediaProducingJob:
    """Read an EditingBatchJob, or a row of EditingBatchJobList."""
    fields = dict(wire)
    output_config = raw(fields.pop("OutputConfig", None))
    pattern = index_pattern(output_config)
    sub_job_list = rows(fields.pop("SubJobList", None))
    extend = raw(fields.pop("Extend", None))
    return BatchMediaProducingJob(
        job_id=text(fields.pop("JobId", None)) or "",
        job_type=text(fields.pop("JobType", None)),
        status=text(fields.pop("Status", None)) or "",
        input_config=raw(fields.pop("InputConfig", None)),
        editing_config=raw(fields.pop("EditingConfig", None)),
        output_config=output_config,
        user_data=raw(fields.pop("UserData", None)),
        extend=extend,
        extend_input=raw(fields.pop("ExtendInput", None)),
        extend_output=raw(fields.pop("ExtendOutput", None)),
        create_time=time(fields.pop("CreateTime", None)),
        modified_time=time(fields.pop("ModifiedTime", None)),
        complete_time=time(fields.pop("CompleteTime", None)),
        sub_jobs=tuple(sub_job(row, place, pattern) for place, row in enumerate(sub_job_list)),
        error=job_error(extend),
        request_id=request_id,
        other_fields=fields,
    )


def media_producing_job(
    wire: Mapping[str, Any], request_id: str | None = None
) -> MediaProducingJob:
    """Read a MediaProducingJob."""
    fields = dict(wire)
    return MediaProducingJob(
        job_id=text(fields.pop("JobId", None)) or "",
        status=text(fields.pop("Status", None)) or "",
        progress=whole(fields.pop("Progress", None)),
        project_id=text(fields.pop("ProjectId", None)),
        media_id=text(fields.pop("MediaId", None)),
        media_url=unsigned_url(fixed_url(fields.pop("MediaURL", None))),
        vod_media_id=text(fields.pop("VodMediaId", None)),
        template_id=text(fields.pop("TemplateId", None)),
        duration=number(fields.pop("Duration", None)),
        code=text(fields.pop("Code", None)),
        message=message(fields.pop("Message", None)),
        create_time=time(fields.pop("CreateTime", None)),
        modified_time=time(fields.pop("ModifiedTime", None)),
        complete_time=time(fields.pop("CompleteTime", None)),
        timeline=raw(fields.pop("Timeline", None)),
        clips_param=raw(fields.pop("ClipsParam", None)),
        user_data=raw(fields.pop("UserData", None)),
        sub_job_materials=raw(fields.pop("SubJobMaterials", None)),
        request_id=request_id,
        other_fields=fields,
    )


def media_file(wire: Mapping[str, Any]) -> MediaFile:
    """Read a FileBasicInfo; every value in it is a string on the wire."""
    fields = dict(wire)
    return MediaFile(
        file_url=fixed_url(fields.pop("FileUrl", None)),
        file_name=text(fields.pop("FileName", None)),
        file_type=text(fields.pop("FileType", None)),
        file_status=text(fields.pop("FileStatus", None)),
        file_size=whole(fields.pop("FileSize", None)),
        format_name=text(fields.pop("FormatName", None)),
        region=text(fields.pop("Region", None)),
        duration=number(fields.pop("Duration", None)),
        bitrate=number(fields.pop("Bitrate", None)),
        width=whole(fields.pop("Width", None)),
        height=whole(fields.pop("Height", None)),
        other_fields=fields,
    )


def media_info(wire: Mapping[str, Any], request_id: str | None = None) -> MediaInfo:
    """Read a MediaInfo, of GetMediaInfo or an entry of GetEditingProjectMaterials."""
    fields = dict(wire)
    basic = object_or_empty(fields.pop("MediaBasicInfo", None))
    own_id, basic_id = fields.pop("MediaId", None), basic.pop("MediaId", None)
    basics = [row.get("FileBasicInfo") for row in rows(fields.pop("FileInfoList", None))]
    return MediaInfo(
        media_id=text(own_id) or text(basic_id) or "",
        status=text(basic.pop("Status", None)),
        media_type=text(basic.pop("MediaType", None)),
        title=text(basic.pop("Title", None)),
        description=text(basic.pop("Description", None)),
        tags=text(basic.pop("MediaTags", None)),
        user_data=raw(basic.pop("UserData", None)),
        input_url=unsigned_url(fixed_url(basic.pop("InputURL", None))),
        cover_url=fixed_url(basic.pop("CoverURL", None)),
        create_time=time(basic.pop("CreateTime", None)),
        modified_time=time(basic.pop("ModifiedTime", None)),
        files=tuple(media_file(row) for row in basics if isinstance(row, Mapping)),
        request_id=request_id,
        other_fields={**basic, **fields},
    )


def editing_project(wire: Mapping[str, Any], request_id: str | None = None) -> EditingProject:
    """Read a Project."""
    fields = dict(wire)
    timeline = fields.pop("Timeline", None)
    timeline = parsed(timeline) if isinstance(timeline, str) else timeline
    return EditingProject(
        project_id=text(fields.pop("ProjectId", None)) or "",
        title=text(fields.pop("Title", None)),
        description=text(fields.pop("Description", None)),
        status=text(fields.pop("Status", None)),
        timeline=timeline if isinstance(timeline, Mapping) else None,
        duration=number(fields.pop("Duration", None)),
        cover_url=fixed_url(fields.pop("CoverURL", None)),
        template_id=text(fields.pop("TemplateId", None)),
        create_time=time(fields.pop("CreateTime", None)),
        modified_time=time(fields.pop("ModifiedTime", None)),
        request_id=request_id,
        other_fields=fields,
    )


def editing_project_materials(wire: Mapping[str, Any]) -> EditingProjectMaterials:
    """Read a whole reply of GetEditingProjectMaterials, which has no object of its own."""
    fields = dict(wire)
    request_id = text(fields.pop("RequestId", None))
    materials = fields.pop("ProjectMaterials", None)
    return EditingProjectMaterials(
        project_id=text(fields.pop("ProjectId", None)) or "",
        media=tuple(media_info(row, request_id) for row in rows(fields.pop("MediaInfos", None))),
        project_materials=tuple(materials) if isinstance(materials, list) else (),
        request_id=request_id,
        other_fields=fields,
    )
