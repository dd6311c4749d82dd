"""Errors that only Airflow's side can meet, and failures that no retry of the task can mend.

The latter are Airflow's AirflowFailException ("fail at once, do not retry") and, all the same, part
of the client's own tree, so `except IceJobFailedError` finds them.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from airflow_ice.api.errors import (
    IceCredentialsError,
    IceError,
    IceJobError,
    IceJobFailedError,
    IceTooFewVideosError,
)

log = logging.getLogger(__name__)


class UnretriedIceJobFailedError(AirflowFailException, IceJobFailedError):
    """The batch job has ended in Failed: waiting again, or collecting again, cannot help."""


class UnretriedIceTooFewVideosError(AirflowFailException, IceTooFewVideosError):
    """The batch job has ended with too few good sub-jobs: collecting again cannot help."""


class UnretriedIceInputsChangedError(AirflowFailException, IceJobError):
    """A retry would submit something else than what was submitted, and the policy is to fail."""

    _advice = (
        "Choose on_changed_inputs: 'reattach' takes the job that is there and costs nothing; "
        "'resubmit' makes a new job with the new inputs, which is billed beside the old one. Or "
        "restore the inputs and clear this task, or change `wish` for a new job whatever became of "
        "the one before."
    )

    def consequence(self) -> str:
        """Say what happens to the job that is there."""
        return "That job is not touched: it stays billed, and nothing new was submitted."


class IceJobTimeoutError(IceJobError):
    """The job had not ended when this task's time was over."""

    def consequence(self) -> str:
        """Return nothing: the message says it already."""
        return ""


class IceSubmissionRecordError(IceError):
    """Airflow's state store could not be read or written. This never means that there is no job.

    :param consequence: what it means for the paid job.
    :param job_id: the job, where it is known.
    """

    _advice = (
        "Let this task retry once Airflow's api-server, or the backend of its state store, "
        "answers again."
    )
    more_facts = ("said", "job_id")

    def __init__(
        self, message: str, *, consequence: str = "", job_id: str | None = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.said = consequence
        self.job_id = job_id

    def consequence(self) -> str:
        """Say what it means for the paid job."""
        return self.said


class IcePollError(IceError):
    """A poll failed in a way that nobody foresaw. A failed poll is not a failed job."""

    transient = True
    _advice = "If it stays, report it with the traceback from the log."

    def consequence(self) -> str:
        """Say what happens to the job."""
        return "The job itself is not touched by this: it goes on in ICE and stays billed."


def poll_error(cause: Exception) -> IceError:
    """Return what one poll has met as an error of that poll.

    Airflow says that a connection is not found also when the backend that holds it is out of reach.
    """
    if isinstance(cause, IceError):
        return cause
    if isinstance(cause, AirflowNotFoundException):
        error: IceError = IceCredentialsError(
            f"the connection could not be read: {cause}", transient=True
        )
    else:
        _log_traceback(cause)
        error = IcePollError(f"a poll failed in an unexpected way: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


_unexpected: Counter[str] = Counter()


def _log_traceback(cause: Exception) -> None:
    """Log where an unexpected error comes from: its 1st, 2nd, 4th, 8th ... time."""
    kind = type(cause).__name__
    _unexpected[kind] += 1
    if _unexpected[kind] & (_unexpected[kind] - 1) == 0:
        log.warning("A poll failed in an unexpected way (%s).", kind, exc_info=cause)


class NonRetryableIceSubmissionRecordError(AirflowFailException, IceSubmissionRecordError):
    """A job was created and its id could not be stored: a retry could not be sure to find it, and
    would pay again.
    """


class IceTryReplacedError(IceSubmissionRecordError):
    """Another try of this task has replaced this one, which was out of reach or frozen."""

    _advice = "There is nothing to do: the later try looks after the job."

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message or "Another try of this task has replaced this one", **facts)


class IceTaskStoppedError(IceError):
    """The task was told to stop before its job was sent."""

    _advice = "Let this task retry, or clear it: it looks for its job first."


def unretried(error: IceError) -> IceError:
    """Return the error as one that Airflow does not retry, where a retry cannot help: a job that
    has failed stays failed.
    """
    if isinstance(error, UnretriedIceJobFailedError) or not isinstance(error, IceJobFailedError):
        return error
    return UnretriedIceJobFailedError(
        error.message, code=error.code, request_id=error.request_id, job_id=error.job_id
    )
