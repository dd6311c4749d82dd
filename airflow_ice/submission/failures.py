"""The errors of a submission that leaves the decision to a person: what happened, what it means for
the paid job, what to do.
"""

from __future__ import annotations

from airflow_ice.api.errors import IceError, IceJobNotFoundError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import (
    IceSubmissionRecordError,
    NonRetryableIceInputsChangedError,
    NonRetryableIceJobFailedError,
)
from airflow_ice.submission.decide import MISSING, Reason, Situation
from airflow_ice.submission.record import Record
from airflow_ice.waiting import job_failed


def failure(reason: Reason, situation: Situation, unknown: IceJobNotFoundError | None) -> IceError:
    """Return the error of a decision to fail.

    :param unknown: the reply that the job is not known, where that is the reason.
    """
    record = situation.record
    if record is None:
        raise AssertionError("unreachable: nothing fails without a record")
    moved = " and ".join(situation.moved)
    if reason is Reason.LOST:
        return lost_reply(record)
    if reason is Reason.MAYBE_ELSEWHERE:
        return _maybe_elsewhere(record, moved)
    if unknown is not None and reason is Reason.JOB_UNKNOWN:
        return _job_unknown(record.job_id or "", moved, unknown)
    job = situation.by_key if situation.job is MISSING else situation.job
    if not isinstance(job, BatchMediaProducingJob):
        raise AssertionError("unreachable: there is a job")
    if reason is Reason.JOB_FAILED:
        return _job_failed(job)
    return _inputs_changed(job, " and ".join(situation.changed))


def _job_unknown(job_id: str, moved: str, unknown: IceJobNotFoundError) -> IceError:
    why = f" The connection's {moved} changed since it was submitted." if moved else ""
    return unknown.with_facts(
        job_id=job_id,
        advice=f"Job {job_id} was created by an earlier try; nothing was submitted by this "
        f"try.{why} Check that the connection leads to the account and region that submitted it, "
        "and let this task retry. If the job is gone, clear this task for a new, paid one.",
    )


def _maybe_elsewhere(record: Record, moved: str) -> IceSubmissionRecordError:
    return IceSubmissionRecordError(
        f"An earlier try may have submitted a job before the connection's {moved} changed, and no "
        f"job with its key {record.key} is found where the connection leads now",
        consequence="Nothing was submitted by this try; that job, if there is one, keeps running "
        "where it was submitted and stays billed.",
        advice="Restore the connection and let this task retry, or clear this task to submit a "
        "new, paid job.",
    )


def foreign_record(record: Record) -> IceSubmissionRecordError:
    """Return the error of a record that another task instance has written."""
    return IceSubmissionRecordError(
        "Airflow's state store holds the record of another task instance, "
        f"with the key {record.key}",
        consequence="Nothing was submitted by this try; a job of an earlier try, if there is one, "
        "keeps running and stays billed.",
        advice="Find out what has copied it. Delete the key `ice_submission` from this task's "
        "state store, and clear the task: it then looks for its own job by its key.",
    )


def lost_reply(record: Record) -> IceSubmissionRecordError:
    """Return the error of a send without a reply whose job the list does not show, where a person
    decides.
    """
    certain = "ICE says that an earlier try created a job"
    return IceSubmissionRecordError(
        f"{certain if record.job_exists else 'A submit got no reply'}, and "
        f"ListBatchMediaProducingJobs shows none with its key {record.key}",
        consequence="That job, if there is one, keeps running and stays billed; nothing more was "
        "submitted.",
        advice="Look for it in the console by its UserData, and let this task retry, or clear it "
        "for a new, paid job.",
        submitted="unknown",
    )


def _job_failed(job: BatchMediaProducingJob) -> NonRetryableIceJobFailedError:
    error = job_failed(job)
    return NonRetryableIceJobFailedError(
        error.message,
        code=error.code,
        request_id=error.request_id,
        job_id=job.job_id,
        advice="Fix the input and clear this task for a new, paid job; on_failed_job='resubmit' "
        "makes retries do so.",
    )


def _inputs_changed(job: BatchMediaProducingJob, what: str) -> NonRetryableIceInputsChangedError:
    return NonRetryableIceInputsChangedError(
        f"{what} changed since job {job.job_id} was submitted, which is {job.status}",
        job_id=job.job_id,
        request_id=job.request_id,
    )
