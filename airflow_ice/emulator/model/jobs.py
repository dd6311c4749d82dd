"""The life cycle of jobs and sub-jobs, as pure functions of their plan, their renders and the clock.

What will happen to a job is settled when it is submitted: its plan says when it starts, when it ends and how. Where it stands at
some instant follows from the plan, from which files are finished by then, and from nothing else; so a job goes on where it was
after a restart, and a test that moves the clock sees exactly the history that the plan tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INIT: Final = "Init"
PROCESSING: Final = "Processing"
FINISHED: Final = "Finished"
SUCCESS: Final = "Success"
FAILED: Final = "Failed"

JOB_STATUSES: Final = (INIT, PROCESSING, FINISHED, FAILED)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job or a sub-job fails, in the service's words."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """A status, and since when, in seconds since the epoch on the emulator's clock."""

    status: str
    since: float

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in (FINISHED, SUCCESS, FAILED)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What happens to a main job. Instants are seconds since the epoch on the emulator's clock.

    :param begins: when it turns Processing.
    :param ends: when it ends at the earliest; None never.
    :param failure: set when it ends Failed.
    :param waits_for_sub_jobs: False under a settle lag: Finished while sub-jobs are still at work.
    :param hidden_seconds: how long after its end the sub-jobs do not show.
    :param hidden_as_null: they are then null, and not an empty list.
    :param list_lag: by how many seconds ListBatchMediaProducingJobs is behind.
    :param odd_status: a status that nobody knows, shown until `odd_until`.
    :param doc_quirks: replies look like the documentation's own sample.
    :param listed: whether ListBatchMediaProducingJobs shows it at all.
    """

    begins: float
    ends: float | None
    failure: Failure | None = None
    waits_for_sub_jobs: bool = True
    hidden_seconds: float = 0.0
    hidden_as_null: bool = False
    list_lag: float = 0.0
    odd_status: str | None = None
    odd_until: float = 0.0
    doc_quirks: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class SubJobPlan:
    """What happens to a sub-job.

    :param begins: when it turns Processing.
    :param ends: when it ends at the earliest; None never.
    :param failure: set when it is to fail.
    :param renders: it succeeds only once its file is finished.
    """

    begins: float
    ends: float | None
    failure: Failure | None = None
    renders: bool = False


@dataclass(frozen=True, slots=True)
class Render:
    """How the rendering of a file ended, and when."""

    done_at: float
    failure: Failure | None = None


def sub_job_state(plan: SubJobPlan, render: Render | None, now: float) -> State:
    """Return where a sub-job stands. It succeeds when its time has come and its file is complete, not before."""
    if render is not None and render.done_at > now:
        # A look at the past, which List takes when it lags: the file was not there yet.
        render = None
    if now < plan.begins:
        return State(INIT, plan.begins)
    if (
        plan.ends is None
        or now < plan.ends
        or (plan.renders and plan.failure is None and render is None)
    ):
        return State(PROCESSING, plan.begins)
    failure = plan.failure or (render.failure if render else None)
    ended = max(plan.ends, render.done_at) if render and plan.failure is None else plan.ends
    return State(FAILED if failure else SUCCESS, ended)


def sub_job_failure(plan: SubJobPlan, render: Render | None) -> Failure | None:
    """Return why a sub-job that has failed did so."""
    return plan.failure or (render.failure if render else None)


def job_state(plan: JobPlan, sub_jobs: list[State], now: float, created: float) -> State:
    """Return where a main job stands.

    It is Finished once all of its sub-jobs have ended, well or not; an error in its input makes it Failed.
    """
    if plan.odd_status is not None and now < plan.odd_until:
        return State(plan.odd_status, created)
    if now < plan.begins:
        return State(INIT, created)
    if plan.ends is None or now < plan.ends:
        return State(PROCESSING, plan.begins)
    if plan.failure:
        return State(FAILED, plan.ends)
    if not plan.waits_for_sub_jobs:
        return State(FINISHED, plan.ends)
    if not all(state.ended for state in sub_jobs):
        return State(PROCESSING, plan.begins)
    return State(FINISHED, max((plan.ends, *(state.since for state in sub_jobs))))


def next_change(
    plan: JobPlan, sub_jobs: list[SubJobPlan], renders: list[Render], created: float, now: float
) -> float | None:
    """Return the next instant after `now` at which the clock alone can change what is shown of a job; None when there is none."""
    instants = [
        created,
        plan.begins,
        plan.ends,
        plan.odd_until if plan.odd_status is not None else None,
    ]
    instants += [instant for sub_job in sub_jobs for instant in (sub_job.begins, sub_job.ends)]
    instants += [render.done_at for render in renders]
    known = [instant for instant in instants if instant is not None]
    if plan.list_lag:
        known += [instant + plan.list_lag for instant in known]
    return min((instant for instant in known if instant > now), default=None)
