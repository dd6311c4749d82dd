"""Pure decisions: what one poll of a job means, when to poll again, and whether the outcome is
enough.

One `Wait` serves the sensor in all its modes, the submit operators and the trigger (one decision,
three modes): they poll, feed it what they saw, and do what it says. It reads no clock, no network
and no configuration: `now` is an argument.

Terminal states: `Finished` and `Failed` for a job, `Success` and `Failed` for a sub-job. `Failed`
is not on the page of GetBatchMediaProducingJob, but on that of ListBatchMediaProducingJobs and in
programs that use it. A state that nobody knows is "not ended".

A failed poll is not a failed job. Three kinds of errors are told apart:

* transient ones (network, throttling, 5xx): poll again, until the deadline;
* doubtful ones (refused credentials, a missing permission, an unknown job, a connection that makes
  no sense): they end a wait only if they last, since a key may be in the middle of its rotation, a
  clock may jump, and a young job may not be known everywhere yet;
* all others end the wait.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
    IcePermissionError,
)
from airflow_ice.api.models import BatchMediaProducingJob, SubJob, job_error, parsed
from airflow_ice.api.redaction import redact

JOB_ENDED: Final = frozenset({"Finished", "Failed"})
JOB_RUNNING: Final = frozenset({"Init", "Processing"})
SUB_JOB_ENDED: Final = frozenset({"Success", "Failed"})

UNKNOWN_JOB_GRACE: Final = 60.0
"""Seconds in which an unknown job may still be one that the service has not written everywhere."""

DOUBT: Final = 60.0
"""Seconds for which a doubtful error must last before it ends a wait, by the clock and by the
pauses between polls: a clock may jump, and polls may come a little early."""

LONGEST_DOUBT_PAUSE: Final = 15.0
"""Seconds between polls while an error is doubtful, however long the interval is."""

CREDENTIAL_ERRORS: Final = (IceAuthenticationError, IceCredentialsError, IcePermissionError)
"""Errors of the credentials: every wait of the connection meets them alike."""

DEADLINE_GRACE: Final = 60.0
"""Seconds after the deadline in which a wait whose polls fail polls again before it times out."""

SHORTEST_PAUSE: Final = 0.1
CLOCK_TOLERANCE: Final = 0.001
"""Seconds before a moment that count as that moment: dates are rounded, sleeps end early."""

LONGEST_ERROR_PAUSE: Final = 300.0
LONGEST_ASKED_PAUSE: Final = 60.0
"""Seconds for which a wait pauses at most because a reply asks it to (Retry-After)."""

FIRST_HEARTBEAT: Final = 60.0
LONGEST_HEARTBEAT: Final = 1800.0


class Log(Protocol):
    """Where a wait writes: a logger of the standard library, or Airflow's."""

    def info(self, message: str, /, *args: Any) -> Any:
        """Write a line."""

    def warning(self, message: str, /, *args: Any) -> Any:
        """Write a line that somebody should see."""


Require = Literal["all", "any"] | int | float
"""How many good sub-jobs a job must have: all, any (at least one), an int (so many) or a float in
(0, 1] (that share)."""


@dataclass(frozen=True, slots=True)
class PollAgain:
    """The job has not ended, as far as is known.

    :param seconds: when to poll again.
    :param same_process: the next poll must follow in this process, since what it decides rests on
        what this one has seen. A rescheduled sensor, which forgets, sleeps then.
    """

    seconds: float
    same_process: bool = False


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The job is Finished. Whether it is a success is judged elsewhere."""

    job_id: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Polling again does not help: the job is Failed, or polling it fails for good.

    :param at_first_poll: the task's first poll ended the wait, so nothing shows that its arguments
        and credentials ever worked.
    """

    error: IceError
    at_first_poll: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The deadline has come. reason: says what was seen last and what happens to the job."""

    reason: str


PollOutcome = PollAgain | JobFinished | GiveUp | TimedOut


class Doubt:
    """How long an error that may pass has lasted: by the clock, and by the pauses between polls."""

    __slots__ = ("_paused", "_since")

    def __init__(self) -> None:
        self._paused = 0.0
        self._since = 0.0

    def pause(self, pause: float, now: float) -> float:
        """Return the pause until the next poll, in seconds, and count it.

        :param pause: what it would be without doubt.
        """
        if not self._paused:
            self._since = now
        # One poll when the minute is over; and one soon after, should the clock say less.
        left = DOUBT - self._paused
        pause = min(pause, LONGEST_DOUBT_PAUSE, left if left > 0 else LONGEST_DOUBT_PAUSE / 3)
        self._paused += pause
        return pause

    def lasts(self, now: float) -> bool:
        """Tell whether the error has lasted long enough to end a wait."""
        by_the_clock = now - self._since >= DOUBT - CLOCK_TOLERANCE
        by_pauses = self._paused >= DOUBT - CLOCK_TOLERANCE
        return self._paused >= 3 * DOUBT or (by_pauses and by_the_clock)


class Wait:
    """One wait for one job.

    :param job_id: the batch job.
    :param interval: seconds between polls; each poll is jittered up to 10 % early, so waits started
        together spread out.
    :param started_at: when the wait began, epoch seconds.
    :param deadline: when it ends, epoch seconds; a last poll is made at the deadline itself.
    :param exponential_backoff: double the interval with each poll, up to `max_wait`.
    :param max_wait: the longest interval with `exponential_backoff`, in seconds; None for no bound.
    :param silent_fail: poll on after errors that would end the wait; a Failed job still ends it.
    :param continues: an earlier process of the same try has polled before, about one interval ago,
        and has logged what it saw (a rescheduled sensor): this one logs what comes next.
    :param is_first_poll: the task's first poll is still to come: refused credentials then end the
        wait at once, because nothing shows that they ever worked.
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
        continues: bool = False,
        is_first_poll: bool = False,
        log: Log | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.job_id = job_id
        self.started_at = started_at
        self.deadline = deadline
        self.silent_fail = silent_fail
        self.region: str | None = None
        """Where the job was shown last; None where that is not known, or no region."""
        self.is_first_poll = is_first_poll
        self._continues = continues
        self._interval = max(interval, SHORTEST_PAUSE)
        self._backoff = exponential_backoff
        self._max_wait = max_wait
        self.log: Log = log or logging.getLogger(__name__)
        self._draw = draw
        self._errors = 0
        self._doubt = Doubt()
        self._seen: str | None = None
        self._heartbeat = FIRST_HEARTBEAT
        self.next_heartbeat = started_at + FIRST_HEARTBEAT
        """When the log is to say again how far the job is, epoch seconds."""
        self._last_error: IceError | None = None

    def on_job(self, job: BatchMediaProducingJob, now: float) -> PollOutcome:
        """Decide after a poll that showed the job."""
        self._note_state(job, now)
        if job.status == "Failed":
            return GiveUp(job_failed(job))
        if job.status == "Finished":
            return JobFinished(job.job_id or self.job_id)
        self._forget_errors()
        self._note_heartbeat(job, now)
        return self._next_poll(now)

    def on_listed(self, status: str, now: float, *, extend: str | None = None) -> PollOutcome:
        """Decide after a list has shown the job in a state.

        A list shows no sub-jobs, so a heartbeat waits for a Get (see `is_heartbeat_due`), and goes
        without their numbers only where none has come for long.

        :param extend: the row's Extend, which holds the error of a Failed job.
        """
        late = now >= self.next_heartbeat + self._heartbeat
        if status == self._seen and not late and status not in JOB_ENDED:
            self._forget_errors()
            return self._next_poll(now)
        error = job_error(extend)
        return self.on_job(BatchMediaProducingJob(self.job_id, status=status, error=error), now)

    def on_error(self, error: IceError, now: float) -> PollOutcome:
        """Decide after a poll that failed."""
        was_first, self.is_first_poll = self.is_first_poll, False
        self._errors += 1
        self._last_error = error
        doubtful = _is_doubtful(error)
        if not (error.transient or self.silent_fail):
            refused_at_first = was_first and isinstance(error, (*CREDENTIAL_ERRORS, IceInputError))
            if not doubtful or refused_at_first or self._doubt.lasts(now):
                return GiveUp(error, at_first_poll=was_first)
        pause = self._error_pause(error)
        if doubtful and not self.silent_fail:
            pause = self._doubt.pause(pause, now)
        if self._errors & (self._errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            self.log.warning(
                "Poll failed%s, next one within %.0f s: %s",
                f" {self._errors} times in a row" if self._errors > 1 else "",
                pause,
                error.with_facts(job_id=self.job_id).brief(),
            )
        return self._after_error(pause, now, same_process=doubtful)

    def on_recovery(self) -> None:
        """Drop the doubt that came from polls of other jobs: such polls work again."""
        self._doubt = Doubt()

    def _forget_errors(self) -> None:
        self._errors = 0
        self._doubt = Doubt()
        self._last_error = None
        self.is_first_poll = False

    def _next_poll(self, now: float) -> PollAgain | TimedOut:
        left = self.deadline - now
        if left < CLOCK_TOLERANCE:
            return TimedOut(self.timeout_reason(now))
        return PollAgain(min(self._pause(now), left))

    def _pause(self, now: float) -> float:
        interval = self._interval
        if self._backoff:
            # As long again as the wait has lasted: that doubles with each poll, and needs no
            # memory, which neither a rescheduled sensor nor a restarted triggerer has.
            interval += max(now - self.started_at, 0.0)
            interval = min(interval, self._max_wait) if self._max_wait else interval
        return max(SHORTEST_PAUSE, interval * (1 - 0.1 * self._draw()))

    def _error_pause(self, error: IceError) -> float:
        """Full jitter over up to two intervals, and never below what the service asks for.

        Two intervals, because an ended job is to be reported within three of the moment from which
        polling works again.
        """
        growing = self._interval * 2.0 ** min(self._errors - 1, 30)
        widest = min(growing, 2 * self._interval, LONGEST_ERROR_PAUSE)
        asked: float = min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED_PAUSE)
        return asked + max(min(self._interval, 1.0), widest * self._draw())

    def _after_error(self, pause: float, now: float, *, same_process: bool) -> PollOutcome:
        left = self.deadline - now
        if left >= CLOCK_TOLERANCE:
            return PollAgain(min(pause, left), same_process)
        # First look, then judge: an outage at the deadline is no reason to miss a finished job.
        if self.is_at_its_end(now):
            return TimedOut(self.timeout_reason(now))
        left = self.deadline + DEADLINE_GRACE - now
        return PollAgain(min(pause, LONGEST_DOUBT_PAUSE, left), same_process)

    def is_at_its_end(self, now: float) -> bool:
        """Tell whether the deadline's grace is over, so that even a failed poll ends the wait."""
        return self.deadline + DEADLINE_GRACE - now < CLOCK_TOLERANCE

    def timeout_reason(self, now: float) -> str:
        """Say what was seen last and what happens to the job."""
        last = f" The last poll failed: {self._last_error}" if self._last_error else ""
        return timeout_reason(self.job_id, self._seen, now - self.started_at) + last

    def is_heartbeat_due(self, now: float) -> bool:
        """Tell whether the log is to say how far the job is, which takes a Get."""
        return self._seen in JOB_RUNNING and now >= self.next_heartbeat

    def _note_state(self, job: BatchMediaProducingJob, now: float) -> None:
        if job.status == self._seen:
            return
        is_first, self._seen = self._seen is None, job.status
        if is_first:
            # A line on the state says how far the job is, too. Where it is left out, heartbeats
            # since the poll before are still to come; polls come a little late now and then.
            silent = self._continues and job.status in JOB_RUNNING
            while self.next_heartbeat <= now - silent * 1.5 * self._interval:
                self._beat(self.next_heartbeat)
            if silent:
                return
        if job.status not in JOB_RUNNING | JOB_ENDED:
            self.log.warning(
                "Batch job %s is %r, an unknown state: treated as not ended.",
                self.job_id,
                job.status,
            )
        else:
            where = f" (RequestId={job.request_id})" if job.request_id else ""
            far = f": {found}" if (found := progress(job)) else ""
            self.log.info("Batch job %s is %s%s%s.", self.job_id, job.status, far, where)
        if job.status == "Finished" and job.error:
            self.log.warning(
                "Batch job %s is Finished and reports an error: %s",
                self.job_id,
                redact(str(job.error)),
            )

    def _note_heartbeat(self, job: BatchMediaProducingJob, now: float) -> None:
        if now < self.next_heartbeat:
            return
        # From the moment that it was due, so that a rescheduled sensor, which forgets, finds the
        # same ones.
        while self.next_heartbeat <= now:
            self._beat(self.next_heartbeat)
        what = progress(job) or f"Batch job is still {job.status}"
        self.log.info("%s, %s (JobId=%s).", what, duration(now - self.started_at), self.job_id)

    def _beat(self, at: float) -> None:
        self._heartbeat = min(self._heartbeat * 2, LONGEST_HEARTBEAT)
        self.next_heartbeat = at + self._heartbeat


def _is_doubtful(error: IceError) -> bool:
    """Tell whether an error may pass although it is not transient."""
    doubtful = (*CREDENTIAL_ERRORS, IceJobNotFoundError, IceInputError)
    return isinstance(error, doubtful) and not error.transient


def timeout_reason(job_id: str, seen: str | None, waited: float) -> str:
    """Say that a wait has ended before its job, and what that means for the job."""
    return (
        f"Batch job {job_id} had not ended after {waited:.0f} s (last seen: {seen or 'never'}). "
        "It cannot be cancelled: it keeps running in ICE and stays billed. "
        "Clear this task to wait again."
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
    """Return how far the sub-jobs are, or nothing where there are none: "37 of 100 sub-jobs done,
    2 failed". Those that failed are among those that are done.
    """
    if not job.sub_jobs:
        return ""
    done = sum(sub.status in SUB_JOB_ENDED for sub in job.sub_jobs)
    failed = sum(sub.status == "Failed" for sub in job.sub_jobs)
    of_all = f"{done} of {counted(len(job.sub_jobs), 'sub-job')} done"
    return f"{of_all}, {failed} failed" if failed else of_all


def duration(seconds: float) -> str:
    """Return a length of time as people say it: "45 s", "12 min", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def counted(number: int, noun: str) -> str:
    """Return a number of things in English: "1 clip", "2 clips", "no clips"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def is_selection(job: BatchMediaProducingJob) -> bool:
    """Tell whether the job selects material: it has no sub-jobs, and extend_output is its
    result.
    """
    return (job.job_type or "").endswith("_Media_Select")


def is_settled(job: BatchMediaProducingJob) -> bool:
    """Tell whether an ended job shows its whole outcome. A Finished job has been seen with sub-jobs
    that lag behind it.
    """
    if job.status != "Finished":
        return True
    if is_selection(job):
        return bool(parsed(job.extend_output))
    return bool(job.sub_jobs) and all(sub.status in SUB_JOB_ENDED for sub in job.sub_jobs)


def required(value: object) -> Require:
    """Return a `require` policy; text is converted, since templates render to
    texts.

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
    """Judge a Finished job. Status decides: an ErrorCode on a Success does not make a failure of
    it.
    """
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
        else f"{len(good)} of the {len(by_index)} sub-jobs of {job.job_id} are good, "
        f"required is {require!r} ({named})",
    )


def _enough(good: int, total: int, require: Require) -> bool:
    if require == "all":
        return good == total
    if require == "any":
        return good >= 1
    if isinstance(require, float):
        # Less a hair: in binary fractions 0.1 of 30 is a little more than 3, which would ask for a
        # fourth.
        return good >= require * total - 1e-9 and good >= 1
    return good >= int(require)
