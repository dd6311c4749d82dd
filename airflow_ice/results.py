"""What a batch job that has ended leaves in XCom, and the judgement of it.

Plain JSON, small, and made for publishing tasks: a row for each good sub-job, a row for each other
one, no secret and no signed URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError, IceJobNotEndedError, IceTooFewVideosError
from airflow_ice.api.models import BatchMediaProducingJob, SubJob, parsed
from airflow_ice.api.redaction import publishable
from airflow_ice.exceptions import NonRetryableIceJobFailedError, NonRetryableIceTooFewVideosError
from airflow_ice.submission.request import USER_DATA_KEY
from airflow_ice.waiting import (
    JOB_ENDED,
    SUB_JOB_ENDED,
    Log,
    Outcome,
    Require,
    counted,
    is_settled,
    job_failed,
    judge,
    progress,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ice.hooks import IceHook

SETTLE_PAUSES: Final = (3.0, 6.0, 9.0, 12.0)
"""Seconds between re-reads of a Finished job that does not show its whole outcome yet. Programs
around this API wait 3, 6 and 9 s.
"""

ICE_JOB: Final = "ice_job"
"""The XCom key of `{"job_id", "ice_conn_id", "region_id"}`, which each task pushes as soon as it
knows its job.
"""

ICE_PICK: Final = "ice_pick"
"""The XCom key of what a person is asked: `{"ice_conn_id", "region_id", "none", "body",
"rows"}`, the rows as under `media`, each with the `option` that names it; see picking.py.
"""

Returns = Literal["job", "media", "media_ids", "media_urls", "project_ids", "failed"]
"""What return_value is. Airflow maps over return values only
(airflow/sdk/definitions/mappedoperator.py, `ensure_xcomarg_return_value`).
"""


def checked_returns(value: str) -> Returns:
    """Return the value.

    :raises IceInputError: it is none of those allowed.
    """
    for allowed in get_args(Returns):
        if value == allowed:
            return allowed  # type: ignore[no-any-return]
    raise IceInputError(
        "returns", limits.shown("returns", value), f"must be one of {', '.join(get_args(Returns))}"
    )


def deliver(
    hook: IceHook,
    job_id: str,
    require: Require,
    returns: Returns,
    context: Context,
    log: Log,
    *,
    on_rows: Callable[[Mapping[str, Any], BatchMediaProducingJob], None] = lambda result, job: None,
    on_enough: Callable[[Mapping[str, Any]], None] = lambda result: None,
) -> Any:
    """Read a job that has ended, push its rows, judge it, and return what return_value is to be.

    The rows are pushed before the task fails for lack of good videos, so that a clean-up task can
    still read them.

    :param on_rows: called with the rows once they are pushed. It must not raise; nor must
        `on_enough`, which is called with them where they are enough.
    :raises IceJobNotEndedError: the job is still running.
    :raises NonRetryableIceJobFailedError: the job is Failed.
    :raises NonRetryableIceTooFewVideosError: fewer good sub-jobs than required.
    :raises IceTooFewVideosError: the same, while not all sub-jobs are shown as ended.
    :raises IceError: the job could not be read.
    """
    job = settled_job(hook, job_id, log)
    outcome = judge(job, require)
    rows = job_result(job, outcome)
    # All that is pushed or returned below comes from here.
    found = publishable({"job": rows, "lists": job_lists(rows, outcome)})
    result, lists = found["job"], found["lists"]
    pushed: dict[str, Any] = dict(lists)
    if returns != "job":
        pushed["job"] = result
    if result["extend_output"] is not None:
        # A key of its own, so that the next step of a chain can take
        # `select.output["extend_output"]`.
        pushed["extend_output"] = result["extend_output"]
    for key, value in pushed.items():
        context["ti"].xcom_push(key=key, value=value)
    _report(job, outcome, log)
    on_rows(result, job)
    _check_good_enough(job, outcome)
    on_enough(result)
    return result if returns == "job" else lists[returns]


def _check_good_enough(job: BatchMediaProducingJob, outcome: Outcome) -> None:
    if job.status == "Failed":
        error = job_failed(job)
        raise NonRetryableIceJobFailedError(
            error.message, code=error.code, request_id=error.request_id, job_id=job.job_id
        )
    if not outcome.enough:
        if is_settled(job):
            raise NonRetryableIceTooFewVideosError(
                outcome.reason, request_id=job.request_id, job_id=job.job_id
            )
        # The job has ended, but what is shown of it has not: a retry may find it settled.
        raise IceTooFewVideosError(
            f"{outcome.reason}; it is Finished, but not all of it is shown as ended yet",
            advice="Let this task retry: it reads the job again, which costs nothing.",
            request_id=job.request_id,
            job_id=job.job_id,
        )


def settled_job(hook: IceHook, job_id: str, log: Log) -> BatchMediaProducingJob:
    """Return the job once it shows its whole outcome, or as it is when it does not within the
    settle time.

    :raises IceJobNotEndedError: it is still running.
    """
    job = hook.get_batch_media_producing_job(job_id)
    if job.status not in JOB_ENDED:
        raise IceJobNotEndedError(
            f"Batch job {job.job_id} is {job.status or 'in no known state'}, so it cannot be "
            "collected yet",
            request_id=job.request_id,
            job_id=job.job_id,
        )
    for pause in SETTLE_PAUSES:
        if is_settled(job):
            break
        log.info(
            "Batch job %s is Finished but not settled (%s); reading again in %.0f s.",
            job.job_id,
            progress(job) or "no sub-jobs",
            pause,
        )
        time.sleep(pause)
        job = hook.get_batch_media_producing_job(job_id)
    return job


def _report(job: BatchMediaProducingJob, outcome: Outcome, log: Log) -> None:
    good, bad = len(outcome.good), len(outcome.bad)
    log.info(
        "Batch job %s is %s: %s (RequestId=%s).",
        job.job_id,
        job.status,
        f"{counted(good, 'good sub-job')}, {counted(bad, 'other')}"
        if bad
        else counted(good, "good sub-job"),
        job.request_id,
    )
    if job.status == "Finished" and job.error:
        log.warning("The job is Finished and reports an error: %s", job.error)
    for sub in outcome.bad:
        row = failed_row(sub)
        log.warning(
            "Sub-job %s (index %d) is %s: %s: %s",
            sub.job_id,
            sub.index,
            sub.status,
            row["error_code"],
            row["error_message"],
        )


def job_result(job: BatchMediaProducingJob, outcome: Outcome) -> dict[str, Any]:
    """Return what a job has made. It may hold signed URLs: `deliver` pushes what is publishable of
    it.
    """
    of_job: dict[str, Any] = {"job_id": job.job_id}
    if own := own_user_data(job):
        of_job["user_data"] = own
    return {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "status": job.status,
        "request_id": job.request_id,
        "create_time": job.create_time.isoformat() if job.create_time else None,
        "complete_time": job.complete_time.isoformat() if job.complete_time else None,
        "media": [{**media_row(sub), **of_job} for sub in outcome.good],
        "failed": [{**failed_row(sub), **of_job} for sub in outcome.bad],
        "extend_output": parsed(job.extend_output),
    }


def job_lists(result: Mapping[str, Any], outcome: Outcome) -> dict[str, list[Any]]:
    """Return what is pushed under keys of its own; previews have no media, and leave no null in
    media_ids and media_urls.
    """
    return {
        "media": result["media"],
        "media_ids": [sub.media_id for sub in outcome.good if sub.media_id],
        "media_urls": [sub.media_url for sub in outcome.good if sub.media_url],
        "project_ids": [sub.project_id for sub in outcome.good if sub.project_id],
        "failed": result["failed"],
    }


def own_user_data(job: BatchMediaProducingJob) -> dict[str, Any]:
    """Return the user's own UserData as the job echoes it, without the key of this package; empty
    where there is none.
    """
    user_data = parsed(job.user_data)
    if not isinstance(user_data, dict):
        return {}
    return {name: value for name, value in user_data.items() if name != USER_DATA_KEY}


def push_job(
    context: Context, job_id: str, ice_conn_id: str, region_id: str | None, log: Log
) -> None:
    """Push `ice_job`, which says where to find the job while it runs.

    Nothing rests on it, so a push that fails is a warning.

    :param region_id: as the task was given it; None for the connection's own.
    """
    value = {"job_id": job_id, "ice_conn_id": ice_conn_id, "region_id": region_id}
    try:
        context["ti"].xcom_push(key=ICE_JOB, value=value)
    except Exception as cause:  # noqa: BLE001 - whatever it is, the job goes first
        log.warning("%s could not be pushed to XCom: %s (JobId=%s)", ICE_JOB, cause, job_id)


def media_row(sub: SubJob) -> dict[str, Any]:
    """Return the row of a good sub-job."""
    return {
        "index": sub.index,
        "subjob_id": sub.job_id,
        "media_id": sub.media_id,
        "media_url": sub.media_url,
        "duration": sub.duration,
        "project_id": sub.project_id,
    }


def failed_row(sub: SubJob) -> dict[str, Any]:
    """Return the row of a sub-job that is not good."""
    message = sub.error_message
    if sub.status not in SUB_JOB_ENDED:
        message = (
            f"the sub-job is still {sub.status or 'in no known state'} although its job has ended"
        )
    return {
        "index": sub.index,
        "subjob_id": sub.job_id,
        "error_code": sub.error_code,
        "error_message": message,
    }
