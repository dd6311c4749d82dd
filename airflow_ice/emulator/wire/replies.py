"""Jobs and media as the service shows them: the bodies of the read actions, field by field."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import Any

from airflow_ice.emulator.media.objects import ObjectName
from airflow_ice.emulator.media.probe import MediaFacts
from airflow_ice.emulator.model.clock import timestamp
from airflow_ice.emulator.model.jobs import FAILED, FINISHED, PROCESSING, SUCCESS, sub_job_failure
from airflow_ice.emulator.model.store import Job, SubJob


def batch_job(job: Job, sub_jobs: list[SubJob], now: float) -> dict[str, Any]:
    """Return an EditingBatchJob as GetBatchMediaProducingJob shows it. What is not there is left out."""
    body = _row(job, job.status)
    hidden = job.status == FINISHED and now < job.modified + job.plan.hidden_seconds
    # Guess: sub-jobs show from the moment the job is Processing, all at once, in the order of {index}.
    shown = [] if hidden or now < job.plan.begins else [_sub_job(sub_job) for sub_job in sub_jobs]
    body["SubJobList"] = None if hidden and job.plan.hidden_as_null else shown
    if job.extend_input is not None:
        body["ExtendInput"] = job.extend_input
    if job.extend_output is not None and job.status == FINISHED:
        body["ExtendOutput"] = job.extend_output
    return _with_doc_quirks(body) if job.plan.doc_quirks else body


def list_row(job: Job) -> dict[str, Any]:
    """Return an item of EditingBatchJobList: no sub-jobs, no ExtendInput, no ExtendOutput."""
    body = _row(job, job.listed_status or job.status)
    return _with_doc_quirks(body) if job.plan.doc_quirks else body


def _row(job: Job, status: str) -> dict[str, Any]:
    ended = status in (FINISHED, FAILED)
    body: dict[str, Any] = {"JobId": job.job_id, "JobType": job.job_type, "Status": status}
    configs = {
        "InputConfig": job.input_config,
        "EditingConfig": job.editing_config,
        "OutputConfig": job.output_config,
    }
    body |= {
        name: value
        for name, value in {**configs, "UserData": job.user_data}.items()
        if value is not None
    }
    # Guess: the error of a main job shows once it has failed, not before.
    body["Extend"] = job.extend if ended else "{}"
    body["CreateTime"] = timestamp(job.created)
    body["ModifiedTime"] = timestamp(job.modified)
    # Guess: CompleteTime is absent while a job runs.
    if ended and job.completed is not None:
        body["CompleteTime"] = timestamp(job.completed)
    return body


def _sub_job(sub_job: SubJob) -> dict[str, Any]:
    body: dict[str, Any] = {
        "JobId": sub_job.job_id,
        "Status": sub_job.status,
        "ProjectId": sub_job.project_id,
    }
    # Guess: the media is named from the start, as it is for a single media producing job; its length is known in the end.
    if sub_job.media_id is not None:
        body["MediaId"] = sub_job.media_id
        body["MediaURL"] = sub_job.media_url
    if sub_job.status == SUCCESS and sub_job.media_id is not None:
        body["Duration"] = sub_job.duration
    if sub_job.status == FAILED and (failure := sub_job_failure(sub_job.plan, sub_job.render)):
        body["ErrorCode"], body["ErrorMessage"] = failure.code, failure.message
    return body


def _with_doc_quirks(body: dict[str, Any]) -> dict[str, Any]:
    """Make a reply look like the documentation's own sample: everything odd that it shows, at once."""
    odd = {**body, "EmulatorExtraField": {"Unknown": [1, 2, 3]}}
    for name in ("JobId", "ModifiedTime", "CompleteTime"):
        if name in odd:
            odd[name] += "\n"
    if "SubJobList" in odd:
        odd["SubJobList"] = [_odd_sub_job(sub_job) for sub_job in odd["SubJobList"] or []] or None
    return odd


def _odd_sub_job(sub_job: dict[str, Any]) -> dict[str, Any]:
    odd = {**sub_job, "EmulatorExtraField": None}
    if "MediaURL" in odd:
        odd["MediaURL"] = odd["MediaURL"].replace("://", ":/", 1)
    if "Duration" in odd:
        odd["Duration"] = str(odd["Duration"])
    if odd["Status"] == SUCCESS:
        odd["ErrorCode"] = "InvalidMaterial.NotFound"
        odd["ErrorMessage"] = (
            'The specified clips id not found:["****30d0b5e871eebb2ff7f6c75a****"]'
        )
    return odd


def media_producing_job(sub_job: SubJob, parent: Job, now: float, timeline: str) -> dict[str, Any]:
    """Return a sub-job as GetMediaProducingJob shows it: an error is Code and Message here.

    :param timeline: its timeline in the service's form, as JSON text.
    """
    body: dict[str, Any] = {
        "JobId": sub_job.job_id,
        "ProjectId": sub_job.project_id,
        "Status": sub_job.status,
        "Progress": _progress(sub_job, now),
        "CreateTime": timestamp(sub_job.created),
        "ModifiedTime": timestamp(sub_job.modified),
        "Timeline": timeline,
        "SubJobMaterials": sub_job.materials,
    }
    if sub_job.media_id is not None:
        body["MediaId"], body["MediaURL"] = sub_job.media_id, sub_job.media_url
    if parent.user_data is not None:
        body["UserData"] = parent.user_data
    if sub_job.completed is not None:
        body["CompleteTime"] = timestamp(sub_job.completed)
    if sub_job.status == SUCCESS and sub_job.media_id is not None:
        body["Duration"] = sub_job.duration
    if sub_job.status == FAILED and (failure := sub_job_failure(sub_job.plan, sub_job.render)):
        body["Code"], body["Message"] = failure.code, failure.message
    return body


def _progress(sub_job: SubJob, now: float) -> int:
    if sub_job.status == SUCCESS:
        return 100
    ends = sub_job.plan.ends
    if sub_job.status != PROCESSING or ends is None:
        return 0
    span = max(ends - sub_job.plan.begins, 0.001)
    return max(0, min(99, int(100 * (now - sub_job.plan.begins) / span)))


def media_info(
    *,
    media_id: str,
    name: ObjectName,
    facts: MediaFacts,
    status: str,
    input_url: str,
    file_url: str | None,
    cover_url: str | None,
    region_id: str,
    created: float,
    user_data: str | None,
) -> dict[str, Any]:
    """Return a MediaInfo. Every value about the file is text.

    :param status: Preparing, PrepareFail or Normal.
    :param file_url: the signed URL of the file; None while there is no file.
    :param cover_url: the signed URL of a picture of it; None where there is none.
    """
    file_name = Path(name.key).name
    basic = {
        "MediaId": media_id,
        "InputURL": input_url,
        "MediaType": facts.media_type,
        "BusinessType": "general",
        "Source": "oss",
        "Title": file_name,
        "Status": status,
        "CreateTime": timestamp(created),
        "ModifiedTime": timestamp(created),
    }
    if user_data is not None:
        basic["UserData"] = user_data
    if cover_url is not None:
        basic["CoverURL"] = cover_url
    if file_url is None:
        return {"MediaId": media_id, "MediaBasicInfo": basic, "FileInfoList": []}
    file_info = {
        "FileName": file_name,
        "FileStatus": "Normal",
        "FileType": "source_file",
        "FileSize": str(facts.size),
        "FileUrl": file_url,
        "Region": region_id,
        "FormatName": facts.format_name,
        "Duration": facts.duration,
        "Bitrate": facts.bitrate,
        "Width": facts.width,
        "Height": facts.height,
        "CreateTime": timestamp(created),
        "ModifiedTime": timestamp(created),
    }
    return {
        "MediaId": media_id,
        "MediaBasicInfo": basic,
        "FileInfoList": [{"FileBasicInfo": file_info}],
    }


def facts_without_file(sub_job: SubJob) -> MediaFacts:
    """Return what is known of a video that was not rendered (render=False): what it was planned to be."""
    timeline = json.loads(sub_job.timeline)
    kind = (mimetypes.guess_type(sub_job.object_key or "")[0] or "video").split("/")[0]
    size = {"width": str(timeline["width"]), "height": str(timeline["height"])}
    return MediaFacts(
        kind, True, 0, "mov,mp4,m4a,3gp,3g2,mj2", f"{sub_job.duration:.6f}", "0", **size
    )
