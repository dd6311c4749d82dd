"""Faults that shape a job: used up by the next submit that makes one.

They become part of the plan of that job and of its sub-jobs, so they survive a restart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

from airflow_ice.emulator.model.faults import Fault
from airflow_ice.emulator.model.jobs import Failure, JobPlan, SubJobPlan

# Guess: the share of a job's time after which an error in its input shows.
SHARE_BEFORE_FAILURE = 0.3


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a fault may need to know of the job that it shapes.

    :param now: the instant of the submit, in seconds since the epoch on the emulator's clock.
    :param job_seconds: how long a job takes.
    :param first_media: the first media id or URL that the submit names; empty when it names none.
    """

    now: float
    job_seconds: float
    first_media: str = ""


@dataclass(kw_only=True)
class JobFault(Fault):
    """A fault that shapes a job. Of each kind one shapes the same job."""

    moment: ClassVar[str] = "the next job"

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        """Return the plan of the main job as this fault has it."""
        return plan

    def sub_job(
        self, plan: SubJobPlan, index: int, count: int, job: JobPlan, circumstances: Circumstances
    ) -> SubJobPlan:
        """Return the plan of one of `count` sub-jobs as this fault has it."""
        return plan


def failed(plan: JobPlan, failure: Failure, circumstances: Circumstances) -> JobPlan:
    """Return the plan of a job with an error in its input: it ends early, Failed."""
    ends = circumstances.now + circumstances.job_seconds * SHARE_BEFORE_FAILURE
    return replace(plan, failure=failure, ends=None if plan.ends is None else ends)


@dataclass(kw_only=True)
class JobFails(JobFault):
    """The job ends Failed; code and message (default: that its first clip is not found) stand in
    Extend.
    """

    kind: ClassVar[str] = "job_fails"
    code: str = "InvalidMaterial.NotFound"
    message: str | None = None

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        clip = json.dumps([circumstances.first_media or "unknown"])
        message = self.message or f"The specified clips id not found:{clip}"
        return failed(plan, Failure(self.code, message), circumstances)


@dataclass(kw_only=True)
class SubJobsFail(JobFault):
    """The sub-jobs with these indexes end Failed, with code and message."""

    kind: ClassVar[str] = "sub_jobs_fail"
    indexes: tuple[int, ...] = (0,)
    code: str = "ProduceFailed"
    message: str = "Both video tracks and audio tracks are empty."

    def sub_job(
        self, plan: SubJobPlan, index: int, count: int, job: JobPlan, circumstances: Circumstances
    ) -> SubJobPlan:
        failure = Failure(self.code, self.message)
        return replace(plan, failure=failure) if index in self.indexes else plan


@dataclass(kw_only=True)
class SettleLag(JobFault):
    """The job is Finished while the later half of its sub-jobs is still at work, for some seconds
    (default: as long as the job).
    """

    kind: ClassVar[str] = "settle_lag"
    seconds: float | None = None

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        return replace(plan, waits_for_sub_jobs=False)

    def sub_job(
        self, plan: SubJobPlan, index: int, count: int, job: JobPlan, circumstances: Circumstances
    ) -> SubJobPlan:
        if job.ends is None or index < count // 2:
            return plan
        lag = circumstances.job_seconds if self.seconds is None else self.seconds
        return replace(plan, ends=job.ends + lag)


@dataclass(kw_only=True)
class SubJobsHidden(JobFault):
    """For some seconds after its end (default: as long as the job took) the job shows an empty
    SubJobList, or null.
    """

    kind: ClassVar[str] = "sub_jobs_hidden"
    seconds: float | None = None
    null: bool = False

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        seconds = circumstances.job_seconds if self.seconds is None else self.seconds
        return replace(plan, hidden_seconds=seconds, hidden_as_null=self.null)


@dataclass(kw_only=True)
class ListLag(JobFault):
    """ListBatchMediaProducingJobs shows the job as it was some seconds ago (default: as long as
    the job takes).
    """

    kind: ClassVar[str] = "list_lag"
    seconds: float | None = None

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        seconds = circumstances.job_seconds if self.seconds is None else self.seconds
        return replace(plan, list_lag=seconds)


@dataclass(kw_only=True)
class DocQuirks(JobFault):
    """Replies about the job have every oddity of the documentation's own sample."""

    kind: ClassVar[str] = "doc_quirks"

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        return replace(plan, doc_quirks=True)


@dataclass(kw_only=True)
class Stuck(JobFault):
    """The job never ends."""

    kind: ClassVar[str] = "stuck"

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        return replace(plan, ends=None)


@dataclass(kw_only=True)
class UnknownStatus(JobFault):
    """The job shows a status of your own for some seconds (default: as long as the job takes)."""

    kind: ClassVar[str] = "status"
    value: str
    seconds: float | None = None

    def job(self, plan: JobPlan, circumstances: Circumstances) -> JobPlan:
        seconds = circumstances.job_seconds if self.seconds is None else self.seconds
        return replace(plan, odd_status=self.value, odd_until=circumstances.now + seconds)
