"""What the page gets, as plain JSON without secrets and signed URLs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow_ice.api.models import BatchMediaProducingJob, SubJob
from airflow_ice.api.redaction import publishable
from airflow_ice.plugin.service import BatchState, Detail
from airflow_ice.plugin.tasks import JobRef, PickRef, TaskKey
from airflow_ice.plugin.wording import advice_for_sub_job
from airflow_ice.waiting import JOB_ENDED, SUB_JOB_ENDED

_NONE = Detail()


def job_view(ref: JobRef, state: BatchState, now: datetime) -> dict[str, Any]:
    """Return a batch job: `{"kind": "job", "job", "counts", "percent", "videos", "problem", ...}`.

    :param now: UTC, for the time that has passed.
    """
    job = state.job
    videos = [_video(sub, state.details.get(sub.job_id, _NONE)) for sub in _rows(job)]
    known: dict[str, Any] = {
        "kind": "job",
        "job": _job(ref, job, now),
        "counts": _counts(videos),
        "percent": _percent(job, videos),
        "videos": videos,
        "problem": state.problem,
        "seen_at": state.seen_at.isoformat() if state.seen_at else None,
        "ended": state.ended,
        "settled": state.settled,
    }
    return publishable(known)  # type: ignore[no-any-return]


def pick_view(pick: PickRef, details: Mapping[str, Detail]) -> dict[str, Any]:
    """Return a question to a person: `{"kind": "pick", "videos", "none", "body", "billed"}`.

    Each video has the `option` that Airflow's own form calls it. billed: whether what is picked is
    still to be rendered, and billed: previews are.
    """
    videos = []
    for candidate in pick.candidates:
        sub = sub_job_of(candidate.row)
        video = _video(sub, details.get(sub.job_id, _NONE))
        videos.append({**video, "option": candidate.option})
    known: dict[str, Any] = {
        "kind": "pick",
        "videos": videos,
        "none": pick.none,
        "body": pick.body,
        "billed": not any(video["media_id"] for video in videos),
        "ended": True,
        "settled": all(detail.settled for detail in details.values())
        and len(details) >= len({video["subjob_id"] for video in videos if video["subjob_id"]}),
    }
    return publishable(known)  # type: ignore[no-any-return]


def run_view(
    jobs: Iterable[tuple[list[TaskKey], JobRef, BatchState]], left_out: int, now: datetime
) -> dict[str, Any]:
    """Return the jobs of a DAG run, with the totals of all: `{"kind": "run", "jobs", "counts"}`.

    :param jobs: each with the tasks that know it.
    :param left_out: how many more jobs the run has, which were not read.
    """
    rows = []
    for tasks, ref, state in jobs:
        view = job_view(ref, state, now)
        del view["videos"]
        rows.append(
            {
                **view,
                "seconds": sum(sub.duration or 0 for sub in _rows(state.job) if _is_good(sub)),
                "tasks": [{"task_id": task.task_id, "map_index": task.map_index} for task in tasks],
            }
        )
    counts = ("total", "good", "failed", "running")
    return {
        "kind": "run",
        "jobs": rows,
        "left_out": left_out,
        "counts": {name: sum(row["counts"][name] for row in rows) for name in counts},
        "seconds": sum(row["seconds"] for row in rows),
        "ended": all(row["ended"] for row in rows),
        "settled": all(row["ended"] and not row["problem"] for row in rows),
    }


def sub_job_of(row: Mapping[str, Any]) -> SubJob:
    """Return the sub-job that a row of XCom describes; see results.py, `media_row`."""
    index, duration = row.get("index"), row.get("duration")
    return SubJob(
        index=index if isinstance(index, int) else 0,
        job_id=_text(row.get("subjob_id")) or "",
        media_id=_text(row.get("media_id")),
        status="Success",
        project_id=_text(row.get("project_id")),
        duration=float(duration) if isinstance(duration, (int, float)) else None,
    )


def _is_good(sub: SubJob) -> bool:
    return sub.status == "Success"


def _rows(job: BatchMediaProducingJob | None) -> list[SubJob]:
    return sorted(job.sub_jobs, key=lambda sub: sub.index) if job else []


def _job(ref: JobRef, job: BatchMediaProducingJob | None, now: datetime) -> dict[str, Any]:
    created = job.create_time if job else None
    ended = job.complete_time if job else None
    until = ended or (now if job and job.status not in JOB_ENDED else None)
    elapsed = (until - created).total_seconds() if created and until else None
    return {
        "job_id": ref.job_id,
        "ice_conn_id": ref.account.ice_conn_id,
        "region_id": ref.account.region_id,
        "job_type": job.job_type if job else None,
        "status": job.status if job else None,
        "request_id": job.request_id if job else None,
        "created_at": created.isoformat() if created else None,
        "ended_at": ended.isoformat() if ended else None,
        "elapsed": max(0.0, elapsed) if elapsed is not None else None,
        "error": {"code": job.error.code, "message": job.error.message}
        if job and job.error
        else None,
    }


def _video(sub: SubJob, detail: Detail) -> dict[str, Any]:
    state = {"Success": "good", "Failed": "failed"}.get(sub.status, "running")
    failed = state == "failed"
    return {
        "index": sub.index,
        "subjob_id": sub.job_id or None,
        "state": state,
        "status": sub.status,
        "percent": 100 if sub.status in SUB_JOB_ENDED else detail.percent,
        "media_id": sub.media_id,
        "project_id": sub.project_id,
        "is_preview": state == "good" and sub.media_id is None and sub.project_id is not None,
        "duration": sub.duration,
        "title": detail.title,
        "speech": detail.speech,
        "size": detail.size,
        "width": detail.width,
        "height": detail.height,
        # On a good sub-job the service has been seen to leave a code that means nothing.
        "error_code": sub.error_code if failed else None,
        "error_message": sub.error_message if failed else None,
        "advice": advice_for_sub_job(sub.error_code) if failed else None,
    }


def _counts(videos: list[dict[str, Any]]) -> dict[str, int]:
    states = [video["state"] for video in videos]
    return {
        "total": len(states),
        "good": states.count("good"),
        "failed": states.count("failed"),
        "running": states.count("running"),
    }


def _percent(job: BatchMediaProducingJob | None, videos: list[dict[str, Any]]) -> int | None:
    """Return how far the job is: the mean of its sub-jobs; None while it has none."""
    if job is None or not videos:
        return 100 if job and job.status in JOB_ENDED else None
    return round(sum(video["percent"] or 0 for video in videos) / len(videos))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
