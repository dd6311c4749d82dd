"""What to do about a wish for a job: the table "What happens to a paid job" of
docs/how-to/submit-exactly-once.md, as a pure function.

`decide` gets a `Situation` and returns one step. `SearchByKey`, `SearchByPrefix` and `LookAtJob`
ask for a fact: the submitter finds it out, adds it to the situation and asks again. All others are
final.

Facts that could not be had (the store, the list or a job could not be read) never reach this
module: they are errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.submission.record import Record
from airflow_ice.waiting import JOB_ENDED

OnFailedJob = Literal["fail", "resubmit"]
OnClear = Literal["reuse", "resubmit"]
OnChangedInputs = Literal["fail", "reattach", "resubmit"]
OnLostReply = Literal["resubmit", "fail"]

LIST_SETTLE: Final = 60.0
"""Seconds after which ListBatchMediaProducingJobs is trusted to show a job. How long it lags is
documented nowhere.
"""


@dataclass(frozen=True, slots=True)
class Policies:
    """What the user decides.

    :param on_failed_job: on a retry, when the job has failed: "fail", or "resubmit" a new, paid
        one.
    :param on_clear: after a clear of a task that had delivered: "reuse" its job, unless the inputs
        changed, or "resubmit" a new, paid one.
    :param on_changed_inputs: when the inputs differ from what was submitted: "fail", "reattach" or
        "resubmit". After a clear of a task that had delivered, "fail" submits a new, paid job, too.
    :param on_lost_reply: when a reply was lost, the list has settled and does not show the job, and
        the action has no ClientToken: "resubmit", or "fail" for a person to look.
    :param list_settle_seconds: how long after a send the list is not yet trusted to show the job.
    """

    on_failed_job: OnFailedJob = "fail"
    on_clear: OnClear = "reuse"
    on_changed_inputs: OnChangedInputs = "fail"
    on_lost_reply: OnLostReply = "resubmit"
    list_settle_seconds: float = LIST_SETTLE


class Missing(Enum):
    """The fact that a job was looked for, for long enough, and is not there."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
JobFact = BatchMediaProducingJob | Missing | None
"""The job, MISSING, or None while nobody has looked."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision rests on.

    :param record: what the state store holds; None where it holds nothing.
    :param wish: the operator's argument of that name, now.
    :param cleared: whether the task was cleared since the record was written.
    :param clear_is_sure: whether nothing but a clear of this task explains the facts; see `Wish`.
    :param moved: which facts about the account differ from the record's: the connection leads
        elsewhere by now.
    :param changed: which inputs differ from the record's.
    :param may_have_sent: without a record: whether an earlier try can have submitted a job all the
        same.
    :param ever_cleared: without a record: whether the task was cleared at any time.
    :param takes_client_token: whether the action has a ClientToken.
    :param job: the record's job, as GetBatchMediaProducingJob shows it.
    :param by_key: the job that carries the record's key, as the list shows it.
    :param by_prefix: without a record: the jobs of this task instance and wish that the list
        shows, newest first; None while nobody has looked.
    """

    record: Record | None
    policies: Policies = field(default_factory=Policies)
    wish: str = ""
    cleared: bool = False
    clear_is_sure: bool = True
    moved: Sequence[str] = ()
    changed: Sequence[str] = ()
    may_have_sent: bool = False
    ever_cleared: bool = False
    takes_client_token: bool = False
    job: JobFact = None
    by_key: JobFact = None
    by_prefix: Sequence[BatchMediaProducingJob] | None = None

    @property
    def stops_at_lost_reply(self) -> bool:
        """Whether a person decides when a reply was lost and no job is found."""
        return self.policies.on_lost_reply == "fail" and not self.takes_client_token


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit a new, paid job under a key that no earlier wish had. why: for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Resend:
    """Send again under the record's key. why: for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class SearchByKey:
    """Look for the job that carries the record's key. once: do not wait for the list to settle."""

    once: bool = False


@dataclass(frozen=True, slots=True)
class SearchByPrefix:
    """Look for jobs of this task instance and wish, whose record is gone."""


@dataclass(frozen=True, slots=True)
class LookAtJob:
    """Get the record's job; while it is young, an unknown one is polled again."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Store a job that was found as the record's, then decide about it."""

    job: BatchMediaProducingJob


@dataclass(frozen=True, slots=True)
class Reattach:
    """Wait for the job, which runs. changed: inputs that differ from what was submitted and are
    passed over.
    """

    job: BatchMediaProducingJob
    changed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand on the results of the job, which has Finished. changed: as in Reattach."""

    job: BatchMediaProducingJob
    changed: Sequence[str] = ()


class Reason(Enum):
    """Why nothing is submitted and a person decides."""

    JOB_FAILED = "the job has failed"
    INPUTS_CHANGED = "the inputs changed"
    JOB_UNKNOWN = "the job is not known here"
    MAYBE_ELSEWHERE = "a job may have been submitted from another account or region"
    LOST = "a job may have been submitted, and the list does not show it"


@dataclass(frozen=True, slots=True)
class Fail:
    """Submit nothing; a person decides."""

    reason: Reason


Decision = (
    Submit | Resend | SearchByKey | SearchByPrefix | LookAtJob | Adopt | Reattach | Deliver | Fail
)


def decide(situation: Situation) -> Decision:
    """Return the next step."""
    step = _step(situation)
    if situation.cleared and not situation.clear_is_sure and isinstance(step, Submit):
        # No money is spent on a likelihood: what a retry would do is done. If that leaves it to a
        # person, the next clear is sure.
        return _step(replace(situation, cleared=False))
    return step


def _step(situation: Situation) -> Decision:
    record = situation.record
    if record is None:
        return _without_record(situation)
    if record.wish != situation.wish:
        # Nothing is looked up first: this must work where an earlier job cannot be read.
        return Submit(_another_wish(situation, record))
    if record.job_id is None:
        return _unanswered(situation, record)
    return _with_job(situation, record, record.job_id)


def _another_wish(situation: Situation, record: Record) -> str:
    """Say what becomes of the job of the wish before."""
    if record.job_id is not None:
        job = f"job {record.job_id} of the wish before stays billed, and keeps running if it runs"
    elif record.no_job_created:
        job = "the wish before created no job"
    else:
        job = f"a job that the wish before may have under the key {record.key} stays billed"
    return f"wish changed from {record.wish!r} to {situation.wish!r}; {job}"


def _without_record(situation: Situation) -> Decision:
    """Begin, or continue where the record is gone: Airflow 3.4 empties the store on a clear, and a
    database may be restored.
    """
    if not situation.may_have_sent:
        return Submit("no earlier submission")
    if situation.by_prefix is None:
        return SearchByPrefix()
    running = [job for job in situation.by_prefix if job.status not in JOB_ENDED]
    if running:
        return Adopt(running[0])
    if not situation.by_prefix:
        return Submit("no record and no job of an earlier try")
    newest = situation.by_prefix[0]
    if not situation.ever_cleared:
        return Adopt(newest)
    if situation.policies.on_clear == "reuse" and newest.status != "Failed":
        return Adopt(newest)
    return Submit(f"cleared; job {newest.job_id} of an earlier try is {newest.status}")


def _unanswered(situation: Situation, record: Record) -> Decision:
    """Continue where an earlier try meant to submit and does not know whether it did."""
    if record.no_job_created:
        if situation.cleared:
            return Submit("an earlier try created no job, and the task was cleared")
        return Resend("An earlier try created no job")
    if situation.by_key is None:
        # The same token returns a job that the list does not show yet, but only for the same inputs
        # in the same account.
        token_helps = situation.takes_client_token and not situation.changed and not situation.moved
        return SearchByKey(once=token_helps and not record.job_exists)
    if situation.by_key is not MISSING:
        return Adopt(situation.by_key)
    if situation.moved:
        if situation.cleared:
            return Submit(
                f"cleared; {_and(situation.moved)} changed since an earlier try, and the job that "
                f"it may have submitted is not found here by its key {record.key}"
            )
        return Fail(Reason.MAYBE_ELSEWHERE)
    if record.job_exists or situation.stops_at_lost_reply:
        if situation.cleared:
            return Submit(
                "cleared; the job that an earlier try may have submitted is not found by its key "
                f"{record.key}"
            )
        return Fail(Reason.LOST)
    return Resend(
        "An earlier try may have submitted a job and lost the reply; no job carries its key"
    )


def _with_job(situation: Situation, record: Record, job_id: str) -> Decision:
    """Continue with a job whose id is known."""
    if situation.cleared and record.delivered and situation.policies.on_clear == "resubmit":
        return Submit(f"cleared after job {job_id} was delivered")
    job = situation.job
    if job is None:
        return LookAtJob(job_id)
    if job is MISSING:
        # Get may lag, or be wrong: what can be looked up is looked up before a person is asked or
        # money is spent.
        job = situation.by_key
        if job is None:
            return SearchByKey()
        if job is MISSING:
            if situation.cleared:
                return Submit(
                    f"job {job_id} is not known here, and the task was cleared; it stays billed "
                    "where it is"
                )
            return Fail(Reason.JOB_UNKNOWN)
    return _with_known_job(situation, record, job)


def _with_known_job(situation: Situation, record: Record, job: BatchMediaProducingJob) -> Decision:
    policies = situation.policies
    if job.status == "Failed":
        if situation.cleared:
            return Submit(f"job {job.job_id} has failed and the task was cleared")
        if policies.on_failed_job == "resubmit":
            return Submit(f"job {job.job_id} has failed and on_failed_job is resubmit")
        return Fail(Reason.JOB_FAILED)
    if situation.changed and policies.on_changed_inputs != "reattach":
        # A clear of a task that has delivered is a person's act: only the same inputs mean the same
        # job.
        ran_again = situation.cleared and record.delivered
        if policies.on_changed_inputs == "fail" and not ran_again:
            return Fail(Reason.INPUTS_CHANGED)
        ended = job.status in JOB_ENDED
        state = "stays billed" if ended else "keeps running and stays billed, too"
        cleared = "cleared, and " if ran_again else ""
        what = _and(situation.changed)
        return Submit(f"{cleared}{what} changed; job {job.job_id} is {job.status} and {state}")
    end = Deliver if job.status in JOB_ENDED else Reattach
    return end(job, situation.changed)


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
