"""Errors that only Airflow's side can meet, and failures that no retry of the task can fix.

The latter are called NonRetryable... and are Airflow's AirflowFailException ("fail at once, do not
retry"). Each is also the error of the client's own tree that it is named after, so
`except IceInputError` finds `NonRetryableIceInputError`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceDownloadError,
    IceError,
    IceInputError,
    IceJobError,
    IceJobFailedError,
    IceParameterError,
    IcePermissionError,
    IceTooFewVideosError,
    restored_as,
)

log = logging.getLogger(__name__)


class NonRetryableIceInputError(AirflowFailException, IceInputError):
    """An argument or a setting that cannot work; a retry meets the same error."""


class NonRetryableIceParameterError(AirflowFailException, IceParameterError):
    """ICE refused a parameter; a retry meets the same refusal."""


class NonRetryableIceAuthenticationError(AirflowFailException, IceAuthenticationError):
    """The first request of a task was refused for its AccessKey, token, signature or clock."""


class NonRetryableIceCredentialsError(AirflowFailException, IceCredentialsError):
    """The first request of a task has no credentials: their source cannot work as configured."""


class NonRetryableIcePermissionError(AirflowFailException, IcePermissionError):
    """The first request of a task was refused for lack of a permission or subscription."""


class NonRetryableIceConnectionNotFoundError(AirflowFailException, AirflowNotFoundException):
    """The connection that a task names does not exist."""


class NonRetryableIceJobFailedError(AirflowFailException, IceJobFailedError):
    """The batch job has ended in Failed: waiting again, or collecting again, cannot help."""


class NonRetryableIceTooFewVideosError(AirflowFailException, IceTooFewVideosError):
    """The batch job has ended with too few good sub-jobs: collecting again cannot help."""


class NonRetryableIceDownloadError(AirflowFailException, IceDownloadError):
    """A finished video that no retry can read: its file is gone, or its domain is closed."""


class NonRetryableIceInputsChangedError(AirflowFailException, IceJobError):
    """A retry would submit something else than what was submitted, and the policy is to fail."""

    _advice = (
        "Choose on_changed_inputs: 'reattach' waits for the existing job and costs nothing; "
        "'resubmit' makes a new job with the new inputs, billed in addition to the old one. Or "
        "restore the inputs and clear this task, or change `wish` for a new job whatever became of "
        "the one before."
    )

    def consequence(self) -> str:
        """Say what happens to the existing job."""
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
    """A poll failed with an error of no known kind. A failed poll is not a failed job."""

    transient = True
    _advice = "If it lasts, report it with the traceback from the log."

    def consequence(self) -> str:
        """Say what happens to the job."""
        return "The job itself is not touched by this: it keeps running in ICE and stays billed."


def poll_error(cause: Exception) -> IceError:
    """Return any exception of a poll as an IceError.

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

    _advice = "There is nothing to do: the later try waits for the job."

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message or "Another try of this task has replaced this one", **facts)


class IceTaskStoppedError(IceError):
    """The task was stopped before its job was sent."""

    _advice = "Let this task retry, or clear it: it looks for its job first."


_NON_RETRYABLE: Final[Mapping[type[IceError], type[IceError]]] = {
    IceInputError: NonRetryableIceInputError,
    IceParameterError: NonRetryableIceParameterError,
    IceAuthenticationError: NonRetryableIceAuthenticationError,
    IceCredentialsError: NonRetryableIceCredentialsError,
    IcePermissionError: NonRetryableIcePermissionError,
    IceJobFailedError: NonRetryableIceJobFailedError,
    IceDownloadError: NonRetryableIceDownloadError,
}
_AT_FIRST: Final = (
    IceInputError,
    IceAuthenticationError,
    IceCredentialsError,
    IcePermissionError,
)
"""What ends a task at once on its first request; later an edited connection or a key in rotation
may be the reason, and a retry may find it fixed."""

_ABOUT_A_PARAMETER: Final = re.compile(r"Invalid|Missing|Illegal|Malformed|Unsupported|Exceeded")
"""How codes about a parameter begin. IceParameterError also holds codes that no table lists, a
quota's for example, and those may pass."""


def unretried(error: IceError, *, at_first: bool = False) -> IceError:
    """Return the error as one that Airflow does not retry, where a retry cannot help; else as it
    is.

    A job that has failed stays failed, and a refused parameter stays refused unless an earlier try
    may have created the job, which a retry then finds.

    :param at_first: nothing that this task has sent was accepted yet, and it has no job to lose:
        then invalid arguments and refused credentials are not retried either.
    """
    twin = _NON_RETRYABLE.get(type(error))
    if twin is None or error.transient or error.submitted == "unknown":
        return error
    if isinstance(error, IceParameterError) and not _ABOUT_A_PARAMETER.match(
        error.code or "Invalid"
    ):
        return error
    if isinstance(error, _AT_FIRST) and not at_first:
        return error
    return restored_as(twin, error)


@contextmanager
def not_retried(unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Raise what goes wrong within the block as an error that Airflow does not retry, where a retry
    cannot help. For a task's first request, and what comes before it.

    :param unless: asked when something has gone wrong: true where a retry has a job to find.
    :raises NonRetryableIceConnectionNotFoundError: instead of AirflowNotFoundException.
    """
    try:
        yield
    except IceError as error:
        found = unretried(error, at_first=True)
        if found is error or unless():
            raise
        raise found from error.__cause__
    except AirflowNotFoundException as error:
        if isinstance(error, AirflowFailException) or unless():
            raise
        raise connection_not_found(error) from error


def connection_not_found(error: AirflowNotFoundException) -> NonRetryableIceConnectionNotFoundError:
    """Return the error of a connection that does not exist."""
    return NonRetryableIceConnectionNotFoundError(
        f"{error}. Nothing was sent. Create the connection, or fix ice_conn_id, and clear this "
        "task."
    )
