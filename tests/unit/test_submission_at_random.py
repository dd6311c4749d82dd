"""Submit, lose, crash, retry, clear, finish, fail in any order: what must hold whatever happens.

Hypothesis plays one task instance against an ICE in memory. Two invariants: no two live jobs for one intent, and no finished job whose
result is not delivered once the task has succeeded.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_ice.api.errors import IceError
from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from tests.memory_ice import INPUT, OUTPUT, Killed, MemoryIce, MemoryStore, TaskInstance

RETRIES = 3
HIGHLIGHTS = {"MediaArray": ["http://bucket.oss-cn-shanghai.aliyuncs.com/a.mp4"]}
FAULTS = st.sampled_from(["ok", "refused", "throttled", "lost_before", "lost_after"])
DEATHS = st.sampled_from(["none", "none", "before_submit", "after_submit", "at_set"])


class OneTaskInstance(RuleBasedStateMachine):
    """One task instance of a submit operator, from its first try through retries and clears."""

    @initialize(
        takes_token=st.booleans(),
        waits=st.booleans(),
        on_failed_job=st.sampled_from(["fail", "resubmit"]),
        on_clear=st.sampled_from(["resubmit", "reuse"]),
        lag=st.sampled_from([0.0, 20.0, 55.0]),
    )
    def begin(
        self, takes_token: bool, waits: bool, on_failed_job: str, on_clear: str, lag: float
    ) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(ExecutorSafeguard, "test_mode", True)
        self.ice = MemoryIce(list_lag=lag)
        self.ice.install(self.patch)
        self.store = MemoryStore()
        self.kind = (
            IceSubmitBatchMediaProducingJobOperator
            if takes_token
            else IceSubmitScreenMediaHighlightsJobOperator
        )
        self.arguments: dict[str, Any] = {
            "task_id": "submit",
            "retries": RETRIES,
            "input_config": INPUT if takes_token else HIGHLIGHTS,
            "output_config": OUTPUT,
            "wait_for_completion": waits,
            "timeout": 0,
            "on_failed_job": on_failed_job,
            "on_clear": on_clear,
        }
        self.waits, self.on_clear, self.on_failed_job = waits, on_clear, on_failed_job
        self.max_tries, self.tries = RETRIES, 0
        self.state = "new"
        # Each wish allows one job more: the first run, a clear of what was delivered or has failed, a resubmit after a failed job.
        self.wishes = 1
        self.jobs_before_clear: int | None = None
        self.cleared_since_job = False
        self.delivered: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()

    @precondition(lambda self: self.state in {"new", "up_for_retry"})
    @rule(
        replies=st.lists(FAULTS, max_size=3),
        death=DEATHS,
        at_set=st.integers(0, 5),
        unreadable=st.booleans(),
        deaf=st.booleans(),
    )
    def try_once(
        self, replies: list[Any], death: str, at_set: int, unreadable: bool, deaf: bool
    ) -> None:
        """Run one try, with whatever goes wrong in it."""
        last = self.ice.jobs[-1] if self.ice.jobs else None
        self.tries += 1
        self.ice.replies = list(replies)
        self.ice.list_out_of_reach = deaf
        self.store.unreadable = unreadable and death == "none"
        self._arm(death, at_set)
        ti = TaskInstance(self.max_tries, try_number=self.tries)
        sent = self.ice.sends
        try:
            context: Any = {
                "ti": ti,
                "task_state_store": self.store,
                "dag_run": SimpleNamespace(start_date=None),
            }
            result = self.kind(**self.arguments).execute(context)
        except Killed:
            self.state = "up_for_retry"
        except AirflowFailException:
            self.state = "failed"
        except IceError:
            self.state = "up_for_retry" if self.tries <= self.max_tries else "failed"
        else:
            self.state = "success"
            job_id = result["job_id"] if self.waits else result
            self.delivered.append(job_id)
            assert (
                not self.waits
                or next(job for job in self.ice.jobs if job.job_id == job_id).status == "Finished"
            )
            if self.jobs_before_clear is not None:
                assert len(self.ice.jobs) > self.jobs_before_clear, (
                    "a clear that is a wish for a new job was given the old one"
                )
                self.jobs_before_clear = None
            assert ti.pushed["job_id"] == job_id
            if self.waits:
                assert ti.pushed["media_ids"] == [f"m-{job_id}-0", f"m-{job_id}-1"]
        finally:
            self._arm("none", 0)
        if self.store.unreadable:
            assert self.ice.sends == sent
        self.store.unreadable = self.ice.list_out_of_reach = False
        self.ice.replies = []
        if self.ice.jobs and self.ice.jobs[-1] is not last:
            # A failed job may be followed by another where the policy says so, or a person has cleared the task.
            if (
                last is not None
                and last.status == "Failed"
                and (self.on_failed_job == "resubmit" or self.cleared_since_job)
            ):
                self.wishes += 1
            self.cleared_since_job = False

    def _arm(self, death: str, at_set: int) -> None:
        def die(*_: object) -> None:
            raise Killed

        sets = iter(range(1000))
        self.ice.before_submit = die if death == "before_submit" else lambda: None
        self.ice.after_submit = die if death == "after_submit" else lambda: None
        self.store.on_set = (
            (lambda _: die() if next(sets) == at_set else None)
            if death == "at_set"
            else lambda _: None
        )

    @precondition(lambda self: self.state in {"success", "failed", "up_for_retry"})
    @rule()
    def clear(self) -> None:
        """Clear the task, as a person does, in whatever state it is."""
        failed = bool(self.ice.jobs) and self.ice.jobs[-1].status == "Failed"
        noted = '"delivered": true' in next(iter(self.store.values.values()), "")
        wanted = noted and self.on_clear == "resubmit" and self.jobs_before_clear is None
        # A job whose reply was lost may be what the same token returns, and is taken for what was submitted, failed or not.
        answered = '"job_id": "' in next(iter(self.store.values.values()), "")
        if (failed and answered) or wanted:
            self.jobs_before_clear = len(self.ice.jobs)
        self.wishes += wanted and not failed
        self.cleared_since_job = True
        self.max_tries = self.tries + RETRIES
        self.state = "new"

    @precondition(lambda self: any(job.status == "Processing" for job in self.ice.jobs))
    @rule(status=st.sampled_from(["Finished", "Failed"]))
    def end_a_job(self, status: str) -> None:
        """Let the service come to an end with a job."""
        next(job for job in self.ice.jobs if job.status == "Processing").status = status

    @rule(seconds=st.floats(0, 600))
    def time_passes(self, seconds: float) -> None:
        self.ice.now += seconds

    @invariant()
    def no_more_jobs_than_wishes(self) -> None:
        if hasattr(self, "ice"):
            assert len(self.ice.jobs) <= self.wishes, [
                (job.job_id, job.status, job.key) for job in self.ice.jobs
            ]

    @invariant()
    def no_two_jobs_under_one_key(self) -> None:
        if hasattr(self, "ice"):
            assert len({job.key for job in self.ice.jobs}) == len(self.ice.jobs)

    @invariant()
    def no_two_live_jobs_for_one_intent(self) -> None:
        # A task that hands on a job id and is cleared wants another job while the first may still run: that is no second for one intent.
        if hasattr(self, "ice") and self.waits:
            assert sum(job.status == "Processing" for job in self.ice.jobs) <= 1

    @invariant()
    def what_a_success_delivered_is_the_newest_job(self) -> None:
        if hasattr(self, "ice") and self.state == "success":
            assert self.delivered[-1] == self.ice.jobs[-1].job_id

    @precondition(lambda self: self.state in {"new", "up_for_retry"})
    @rule()
    def nothing_is_lost(self) -> None:
        """Let the task run undisturbed to its end: whatever job is there, its result is delivered and no other is made for it."""
        jobs = len(self.ice.jobs)
        live = [job for job in self.ice.jobs if job.status == "Processing"]
        for job in live:
            job.status = "Finished"
        wished = self.wishes > jobs
        self.try_once(replies=[], death="none", at_set=0, unreadable=False, deaf=False)
        if (
            self.state != "success" and len(self.ice.jobs) > jobs
        ):  # a new job, waited for with no time to wait
            self.ice.jobs[-1].status = "Finished"
            self.state = "up_for_retry"
            self.try_once(replies=[], death="none", at_set=0, unreadable=False, deaf=False)
        if self.state == "success":
            assert self.delivered[-1] == self.ice.jobs[-1].job_id
        if live and not wished:
            assert len(self.ice.jobs) == jobs


TestOneTaskInstance = OneTaskInstance.TestCase
TestOneTaskInstance.settings = settings(
    max_examples=200,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,
)
