"""Finds a job whose reply was lost: by the key in its UserData, in ListBatchMediaProducingJobs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from airflow_ice.api import operations
from airflow_ice.api.calls import Calls
from airflow_ice.api.errors import IceError, IceJobNotFoundError, IceUnavailableError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import IceTaskStoppedError
from airflow_ice.submission.decide import MISSING, Missing
from airflow_ice.submission.record import Record
from airflow_ice.submission.request import key_in
from airflow_ice.waiting import UNKNOWN_JOB_GRACE, Log

FREEZE_SUSPECTED: Final = 5.0
"""Seconds between an intent and its send after which the intent is written again, since the process
may have been frozen.
"""

_FAR_BACK: Final = 30 * 24 * 3600.0
"""How far back a job is looked for that ICE says exists, and whose time is not known."""

_CLOCKS_APART: Final = 20 * 60.0
"""The service refuses requests whose clock is more than 15 minutes off."""

_A_DAY: Final = 24 * 3600.0
"""Far more than a batch takes: how far back jobs are looked for of which no record is left."""

_LOOK_PAUSES: Final = (2.0, 3.0, 5.0, 10.0)
_SLICE: Final = 1.0


class Clock(Protocol):
    """What of the module `time` is used: a test moves its own."""

    def time(self) -> float:
        """Return epoch seconds."""

    def monotonic(self) -> float:
        """Return seconds that no change of the wall clock moves."""

    def sleep(self, seconds: float, /) -> Any:
        """Let some seconds pass."""


class Pauses:
    """Sleeps, but not beyond the moment when the task is stopped.

    Python continues a sleep that a signal has interrupted, and Airflow's SIGTERM handler only
    calls `on_kill` (airflow/sdk/execution_time/task_runner.py): so sleep in slices.

    :param stopped: whether the task was stopped.
    """

    def __init__(
        self, stopped: Callable[[], bool] = lambda: False, clock: Clock | None = None
    ) -> None:
        self.stopped = stopped
        self.clock: Clock = clock or time

    def pause(self, seconds: float) -> bool:
        """Sleep; return False where the task was stopped meanwhile."""
        left = seconds
        while left > 0 and not self.stopped():
            self.clock.sleep(min(left, _SLICE))
            left -= _SLICE
        return not self.stopped()

    def pause_or_stop(self, seconds: float) -> None:
        """Sleep.

        :raises IceTaskStoppedError: the task was stopped meanwhile.
        """
        if not self.pause(seconds):
            raise IceTaskStoppedError(
                "The task was stopped while it searched for its job; nothing was submitted since"
            )


class JobSearch:
    """Looks for one job.

    :param calls: the hook.
    :param list_settle_seconds: how long after a send the list is not yet trusted to show the job.
    :param longest_send: seconds from the moment that is noted as that of a send until its bytes are
        through, at most.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        list_settle_seconds: float,
        longest_send: float,
        pauses: Pauses,
        log: Log,
    ) -> None:
        self._calls = calls
        self._settle = list_settle_seconds
        self._longest_send = longest_send
        self._pauses = pauses
        self._log = log
        self.unknown: IceJobNotFoundError | None = None
        """The last reply that a job is not known."""

    def get(self, job_id: str, record: Record) -> BatchMediaProducingJob | Missing:
        """Return a job by its id. One that is not known is asked for again for a minute after its
        send.

        :raises IceError: it could not be read.
        """
        began = self._pauses.clock.monotonic()
        for number in itertools.count():
            try:
                return self._calls.call(operations.get_batch_media_producing_job(job_id))
            except IceJobNotFoundError as unknown:
                self.unknown = unknown
                left = self._left(record.sent_at, UNKNOWN_JOB_GRACE, began)
                if left <= 0:
                    return MISSING
                pause = min(left, _nth(_LOOK_PAUSES, number))
                self._log.info(
                    "Batch job %s is not known yet; looking again in %.0f s.", job_id, pause
                )
            self._pauses.pause_or_stop(pause)
        raise AssertionError("unreachable")

    def by_key(
        self, record: Record, *, once: bool, within_try: bool
    ) -> BatchMediaProducingJob | Missing:
        """Look for the job that carries the record's key, for as long as the list may lag behind
        the last send.

        :param once: search once, however young the send is.
        :param within_try: whether the send has ended in this try; else it may have gone on for a
            while after it was noted.
        :raises IceError: the list could not be read.
        """
        began = self._pauses.clock.monotonic()
        patience = self._settle + (0.0 if within_try else self._longest_send)
        # The send has just ended: no change of the wall clock makes it older, or younger.
        sent_at = None if within_try else record.sent_at
        since = record.intent_at - (_FAR_BACK if record.job_exists else _CLOCKS_APART)

        def look() -> list[BatchMediaProducingJob]:
            jobs = _with_ids(job for job in self._since(since) if key_in(job) == record.key)
            if len(jobs) > 1:
                self._log.warning(
                    "%d jobs carry the key %s: %s. The oldest is used; the others are billed, too.",
                    len(jobs),
                    record.key,
                    ", ".join(job.job_id for job in jobs),
                )
            return jobs[-1:]  # the list is sorted newest first

        jobs = self._until_settled(
            look, record.key, lambda: self._left(sent_at, patience, began), once=once
        )
        return jobs[0] if jobs else MISSING

    def by_prefix(self, key_prefix: str) -> list[BatchMediaProducingJob]:
        """Return the jobs of a task instance whose record is gone, newest first.

        When the last one was sent is not known, so the list gets the time to settle, whatever it
        shows: each job may have a successor that does not show yet.

        :raises IceError: the list could not be read.
        """
        began, now = self._pauses.clock.monotonic(), self._pauses.clock.time()

        def look() -> list[BatchMediaProducingJob]:
            jobs = self._since(now - _A_DAY - _CLOCKS_APART)
            return _with_ids(
                job for job in jobs if (key_in(job) or "").startswith(f"{key_prefix}-")
            )

        patience = self._settle + self._longest_send
        return self._until_settled(
            look,
            f"{key_prefix}-*",
            lambda: self._left(None, patience, began),
            once=False,
            exhaustive=True,
        )

    def _until_settled(
        self,
        look: Callable[[], list[BatchMediaProducingJob]],
        key: str,
        seconds_left: Callable[[], float],
        *,
        once: bool,
        exhaustive: bool = False,
    ) -> list[BatchMediaProducingJob]:
        for number in itertools.count():
            # Before the search: a job of the last moment must have had the time to show in it.
            left = seconds_left()
            try:
                jobs = look()
            except IceError as error:
                raise error.with_facts(
                    submitted="unknown",
                    advice="A job may have been created, and it could not be looked for. Let "
                    "this task retry: it looks again by its key.",
                ) from error
            if once or left <= 0 or (jobs and not exhaustive):
                return jobs
            pause = min(left, _nth(_LOOK_PAUSES, number))
            self._log.info(
                "The list may not show every job with the key %s yet; looking again in %.0f s.",
                key,
                pause,
            )
            self._pauses.pause_or_stop(pause)
        raise AssertionError("unreachable")

    def _left(self, since: float | None, seconds: float, began: float) -> float:
        """Return how many seconds are left to look.

        :param since: epoch seconds from which on they count; None for `began`.
        :param began: monotonic seconds at which this began to look. From then on they are enough
            whatever the wall clock says: it may have been set back since the send.
        """
        looked = seconds - (self._pauses.clock.monotonic() - began)
        # Another worker noted the send by a clock of its own, which may be minutes off: only what
        # is surely long ago counts.
        age = None if since is None else self._pauses.clock.time() - since
        return looked if age is None or age < _CLOCKS_APART else min(seconds - age, looked)

    def _since(self, moment: float) -> list[BatchMediaProducingJob]:
        """Return the jobs created since a moment, newest first, each once: one can shift from a
        page to the next.
        """
        jobs = self._calls.list_batch_media_producing_jobs(
            start_time=datetime.fromtimestamp(moment, UTC), sort_by="desc"
        )
        return list({job.job_id or number: job for number, job in enumerate(jobs)}.values())


def _with_ids(jobs: Iterable[BatchMediaProducingJob]) -> list[BatchMediaProducingJob]:
    """Return jobs that were looked for.

    :raises IceUnavailableError: one has no id. It exists, so nothing is to be submitted; and an
        empty id is not to be stored.
    """
    found = list(jobs)
    if any(not job.job_id for job in found):
        raise IceUnavailableError(
            "a list that shows the job that was looked for without its id",
            action="ListBatchMediaProducingJobs",
            http_status=200,
            request_id=found[0].request_id,
        )
    return found


def _nth(pauses: tuple[float, ...], number: int) -> float:
    return pauses[min(number, len(pauses) - 1)]
