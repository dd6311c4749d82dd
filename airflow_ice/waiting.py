"""Pure decisions: has this job ended, and how; when to look again; is the outcome good enough.

One `Wait` serves the sensor in poke and reschedule mode and the trigger alike (one decision, three modes): they look, feed it
what they saw, and do what it says. It reads no clock, no network and no configuration: `now` is an argument.

Terminal states: `Finished` and `Failed` for a job, `Success` and `Failed` for a sub-job. `Failed` is not on the page of
GetBatchMediaProducingJob, but on that of ListBatchMediaProducingJobs and in programs that use it. A state that nobody knows is
"not ended". A failed look is not a failed job: only an error that looking again cannot mend ends a wait.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from airflow_ice.api.errors import (
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
)
from airflow_ice.api.models import BatchMediaProducingJob, SubJob, parsed
from airflow_ice.api.redaction import redact

JOB_ENDED: Final = frozenset({"Finished", "Failed"})
JOB_RUNNING: Final = frozenset({"Init", "Processing"})
SUB_JOB_ENDED: Final = frozenset({"Success", "Failed"})

UNKNOWN_JOB_GRACE: Final = 60.0
"""Seconds in which an unknown job may still be one that the service has not written everywhere yet."""

SHORTEST_PAUSE: Final = 0.1
CLOCK_TOLERANCE: Final = 0.001
"""Seconds before the deadline that count as the deadline: dates are rounded, and a sleep may end a little early."""

LONGEST_ERROR_PAUSE: Final = 300.0
LONGEST_ASKED_PAUSE: Final = 600.0
"""Seconds that a service may ask to wait; a longer wish is cut, lest a wait sleeps past the end of its job for days."""

FIRST_HEARTBEAT: Final = 60.0
LONGEST_HEARTBEAT: Final = 1800.0


class Log(Protocol):
    """Where a wait writes: a logger of the standard library, or Airflow's."""

    def info(self, message: str, /, *args: Any) -> Any:
        """Write a line."""

    def warning(self, message: str, /, *args: Any) -> Any:
        """Write a line that somebody should see."""


Require = Literal["all", "any"] | int | float
"""How many good sub-jobs a job must have: all, any (at least one), an int (so many) or a float in (0, 1] (that share)."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The job has not ended. seconds: when to look again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is Finished."""

    job: BatchMediaProducingJob


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Waiting on cannot help: the job has failed, or looking at it fails for good."""

    error: IceError


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The deadline has come. reason: says what was seen last and what happens to the job."""

    reason: str


Verdict = LookAgain | Ended | GiveUp | TimedOut


class Wait:
    """One wait for one job.

    :param job_id: the batch job.
    :param interval: seconds between looks; a look comes up to a tenth earlier, so that waits that began together part.
    :param started_at: when the wait began, epoch seconds.
    :param deadline: when it ends, epoch seconds; a last look is taken at the deadline itself.
    :param exponential_backoff: double the interval with each look, up to `max_wait`.
    :param max_wait: the longest interval with `exponential_backoff`, in seconds; None for no bound.
    :param silent_fail: go on after errors that would end the wait; a failed job still ends it.
    :param log: gets a line on each change of state, and a heartbeat at a growing interval.
    :param draw: returns numbers in [0, 1), for the jitter.
    """

    def __init__(
        self,
        job_id: str,
        *,
        interval: float,
        started_at: float,
        deadline: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
        log: Log | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.job_id = job_id
        self.started_at = started_at
        self.deadline = deadline
        self._interval = max(interval, SHORTEST_PAUSE)
        self._backoff = exponential_backoff
        self._max_wait = max_wait
        self._silent_fail = silent_fail
        self._log: Log = log or logging.getLogger(__name__)
        self._draw = draw
        self._errors = 0
        self._seen: str | None = None
        self._heartbeat = FIRST_HEARTBEAT
        self._next_heartbeat = started_at + FIRST_HEARTBEAT
        self._last_error: IceError | None = None

    def on_job(self, job: BatchMediaProducingJob, now: float) -> Verdict:
        """Decide after a look that showed the job."""
        self._note_state(job)
        if job.status == "Failed":
            return GiveUp(job_failed(job))
        if job.status == "Finished":
            return Ended(job)
        return self.on_running(job, now)

    def on_listed(self, status: str, now: float) -> Verdict:
        """Decide after a list has shown the job among those that run, and nothing else of it."""
        if status == self._seen and now < self._next_heartbeat:
            self._errors, self._last_error = 0, None
            return self._again(self._pause(now), now)
        job = BatchMediaProducingJob(self.job_id, status=status)
        self._note_state(job)
        return self.on_running(job, now)

    def on_running(self, job: BatchMediaProducingJob, now: float) -> Verdict:
        """Decide after a look that showed the job running."""
        self._errors, self._last_error = 0, None
        self._note_heartbeat(job, now)
        return self._again(self._pause(now), now)

    def on_error(self, error: IceError, now: float) -> Verdict:
        """Decide after a look that failed."""
        self._errors += 1
        self._last_error = error
        unknown_yet = (
            isinstance(error, IceJobNotFoundError) and now - self.started_at < UNKNOWN_JOB_GRACE
        )
        if not (error.transient or unknown_yet or self._silent_fail):
            return GiveUp(error)
        pause = self._error_pause(error)
        if unknown_yet:
            # One look when the grace is over, not minutes after it.
            pause = min(pause, max(self.started_at + UNKNOWN_JOB_GRACE - now, SHORTEST_PAUSE))
        if (
            self._errors & (self._errors - 1) == 0
        ):  # the 1st, 2nd, 4th, 8th ...: an outage is not a line a look
            self._log.warning(
                "Could not look at batch job %s (failure %d in a row); will look again within %.0f s. %s",
                *(self.job_id, self._errors, pause, error),
            )
        return self._again(pause, now)

    def _pause(self, now: float) -> float:
        interval = self._interval
        if self._backoff:
            # As long again as the wait has lasted: that doubles with each look, and needs no memory, which neither a rescheduled
            # sensor nor the trigger of a restarted triggerer has.
            interval += max(now - self.started_at, 0.0)
            interval = min(interval, self._max_wait) if self._max_wait else interval
        return max(SHORTEST_PAUSE, interval * (1 - 0.1 * self._draw()))

    def _error_pause(self, error: IceError) -> float:
        """Full jitter over an interval that doubles with each failed look, never below what the service asked for."""
        widest = min(
            max(LONGEST_ERROR_PAUSE, self._interval),
            self._interval * 2.0 ** min(self._errors - 1, 30),
        )
        asked: float = min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED_PAUSE)
        return asked + max(min(self._interval, 1.0), widest * self._draw())

    def _again(self, pause: float, now: float) -> LookAgain | TimedOut:
        left = self.deadline - now
        if left < CLOCK_TOLERANCE:
            return TimedOut(self.timeout_reason(now))
        return LookAgain(min(pause, left))

    def timeout_reason(self, now: float) -> str:
        """Say what was seen last and what happens to the job."""
        last = f" The last look failed: {self._last_error}" if self._last_error else ""
        return timeout_reason(self.job_id, self._seen, now - self.started_at) + last

    def _note_state(self, job: BatchMediaProducingJob) -> None:
        if job.status == self._seen:
            return
        self._seen = job.status
        if job.status not in JOB_RUNNING | JOB_ENDED:
            self._log.warning(
                "Batch job %s is %r, a state not known here: taken as not ended.",
                self.job_id,
                job.status,
            )
        else:
            where = f" (RequestId {job.request_id})" if job.request_id else ""
            self._log.info("Batch job %s is %s%s%s.", self.job_id, job.status, progress(job), where)
        if job.status == "Finished" and job.error:
            self._log.warning(
                "Batch job %s is Finished and reports an error: %s",
                self.job_id,
                redact(str(job.error)),
            )

    def _note_heartbeat(self, job: BatchMediaProducingJob, now: float) -> None:
        if now < self._next_heartbeat:
            return
        self._heartbeat = min(self._heartbeat * 2, LONGEST_HEARTBEAT)
        self._next_heartbeat = now + self._heartbeat
        waited = now - self.started_at
        self._log.info(
            "Batch job %s is still %s after %.0f s%s.",
            self.job_id,
            job.status,
            waited,
            progress(job),
        )


def timeout_reason(job_id: str, seen: str | None, waited: float) -> str:
    """Say that a wait has ended before its job, and what that means for the job."""
    return (
        f"Batch job {job_id} had not ended after {waited:.0f} s (last seen: {seen or 'never'}). It cannot be cancelled: it goes on in "
        "ICE and stays billed. Clear this task to wait again."
    )


def job_failed(job: BatchMediaProducingJob) -> IceJobFailedError:
    """Return the error of a job that has ended in Failed."""
    error = job.error
    return IceJobFailedError(
        (f"{error.message} ({error.code})" if error.message else error.code)
        if error
        else "the service gives no reason",
        code=error.code if error else None,
        request_id=job.request_id,
        job_id=job.job_id,
    )


def progress(job: BatchMediaProducingJob) -> str:
    """Return a clause on the sub-jobs, or nothing where there are none."""
    if not job.sub_jobs:
        return ""
    states = Counter(sub.status or "unknown" for sub in job.sub_jobs)
    return f"; of its {len(job.sub_jobs)} sub-jobs " + ", ".join(
        f"{count} {state}" for state, count in sorted(states.items())
    )


def is_selection(job: BatchMediaProducingJob) -> bool:
    """Tell whether the job selects material: it has no sub-jobs, and extend_output is its result."""
    return (job.job_type or "").endswith("_Media_Select")


def is_settled(job: BatchMediaProducingJob) -> bool:
    """Tell whether an ended job shows its whole outcome. A Finished job has been seen with sub-jobs that lag behind it."""
    if job.status != "Finished":
        return True
    if is_selection(job):
        return bool(parsed(job.extend_output))
    return bool(job.sub_jobs) and all(sub.status in SUB_JOB_ENDED for sub in job.sub_jobs)


def required(value: object) -> Require:
    """Return a `require` policy; texts are taken for what they say, since templates render to texts.

    :raises IceInputError: it is none.
    """
    found = value
    if isinstance(value, str) and value not in {"all", "any"}:
        try:
            found = float(value) if "." in value else int(value)
        except ValueError:
            found = None
    if isinstance(found, str):
        return "all" if found == "all" else "any"
    if isinstance(found, int) and not isinstance(found, bool) and found >= 1:
        return found
    if isinstance(found, float) and 0 < found <= 1:
        return found
    raise IceInputError(
        "require",
        value,
        'must be "all", "any", a whole number from 1 (so many), or a share above 0 and up to 1.0',
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job has made, judged by `require`.

    :param good: sub-jobs in Success, by index.
    :param bad: all others, by index.
    :param enough: whether it is what was required.
    :param reason: says why not.
    """

    good: tuple[SubJob, ...]
    bad: tuple[SubJob, ...]
    enough: bool
    reason: str


def judge(job: BatchMediaProducingJob, require: Require) -> Outcome:
    """Judge a Finished job. Status decides: an ErrorCode on a Success does not make a failure of it."""
    by_index = sorted(job.sub_jobs, key=lambda sub: sub.index)
    good = tuple(sub for sub in by_index if sub.status == "Success")
    bad = tuple(sub for sub in by_index if sub.status != "Success")
    if is_selection(job):
        enough = bool(parsed(job.extend_output))
        return Outcome(
            good,
            bad,
            enough,
            "" if enough else f"selection job {job.job_id} is Finished without a selection result",
        )
    if not by_index:
        return Outcome(
            good,
            bad,
            False,
            f"batch job {job.job_id} is Finished without a sub-job: it has made no video",
        )
    enough = _enough(len(good), len(by_index), require)
    codes = Counter(sub.error_code or sub.status or "no code" for sub in bad)
    named = ", ".join(f"{count} x {code}" for code, count in codes.most_common(5))
    return Outcome(
        good,
        bad,
        enough,
        ""
        if enough
        else f"{len(good)} of the {len(by_index)} sub-jobs of {job.job_id} are good, required is {require!r} ({named})",
    )


def _enough(good: int, total: int, require: Require) -> bool:
    if require == "all":
        return good == total
    if require == "any":
        return good >= 1
    if isinstance(require, float):
        # Less a hair: in binary fractions 0.1 of 30 is a little more than 3, which would ask for a fourth.
        return good >= require * total - 1e-9 and good >= 1
    return good >= int(require)
