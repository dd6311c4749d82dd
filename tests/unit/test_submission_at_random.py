"""Submit, lose, crash, freeze, stop, retry, clear, move, finish, fail in any order: what must hold
whatever happens.

Hypothesis plays one task instance against an ICE in memory. The invariants: a job is paid for only
where a wish explains it, in all accounts together; no two jobs under one key; nothing that was
submitted is lost; nothing is submitted while something could not be read. Where a double payment
cannot be prevented, `explained_second_job` says so, and nothing else does.

200 examples by default; `HYPOTHESIS_EXAMPLES=20000` for a long run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_ice.api.errors import IceError
from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from airflow_ice.submission.request import SubmitRequest
from airflow_ice.submission.store import RECORD
from tests.memory_ice import (
    INPUT,
    OUTPUT,
    DagRun,
    Job,
    Killed,
    MemoryIce,
    MemoryStore,
    TaskInstance,
)

RETRIES = 3
HIGHLIGHTS = {"MediaArray": ["a"]}
FAULTS = [
    "ok",
    "refused",
    "throttled",
    "lost_before",
    "lost_after",
    "gateway_before",
    "gateway_after",
    "silent_before",
    "silent_after",
]
MOMENTS = ["in_limiter", "before_submit", "after_submit", "at_set", "after_set", "on_list"]
TROUBLES = [
    "none",
    "none",
    *(f"{what} {at}" for what in ("die", "stop", "freeze", "suspend") for at in MOMENTS),
]
# A freeze between the last check and the first byte is the one that no program can notice.
TROUBLES.remove("freeze before_submit")
TROUBLES.remove("suspend before_submit")
PLACES = [
    ("ice.cn-shanghai.aliyuncs.com", "AK"),
    ("ice-vpc.cn-shanghai.aliyuncs.com", "AK"),
    ("ice.cn-shanghai.aliyuncs.com", "another account"),
    ("ice.cn-beijing.aliyuncs.com", "AK"),
]


class OneTaskInstance(RuleBasedStateMachine):
    """One task instance of a submit operator, from its first try through retries and clears."""

    @initialize(
        takes_token=st.booleans(),
        waits=st.booleans(),
        on_failed_job=st.sampled_from(["fail", "resubmit"]),
        on_clear=st.sampled_from(["resubmit", "reuse"]),
        on_lost_reply=st.sampled_from(["resubmit", "fail"]),
        on_changed_inputs=st.sampled_from(["fail", "fail", "reattach", "resubmit"]),
        list_lag=st.sampled_from([0.0, 20.0, 55.0]),
        get_lag=st.sampled_from([0.0, 0.0, 45.0]),
        limiter_takes=st.sampled_from([0.0, 4.0, 30.0]),
        unlisted=st.sampled_from([False, False, False, True]),
    )
    def begin(self, *, takes_token: bool, waits: bool, **drawn: Any) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(ExecutorSafeguard, "test_mode", True)
        self.policies = {
            name: drawn.pop(name)
            for name in ("on_failed_job", "on_clear", "on_lost_reply", "on_changed_inputs")
        }
        self.ice = MemoryIce(client_tries=4 if takes_token else 1, **drawn)
        self.ice.install(self.patch)
        self.store = MemoryStore()
        self.takes_token, self.waits = takes_token, waits
        self.wish = ""
        self.count = 2  # of videos: the input that changes
        self.wish_of: dict[str, str] = {}  # of each key that was stored
        self.kind: type[IceSubmitOperator] = (
            IceSubmitBatchMediaProducingJobOperator
            if takes_token
            else IceSubmitScreenMediaHighlightsJobOperator
        )
        self.dag_run = DagRun()
        self.retries = self.max_tries = RETRIES
        self.tries = 0
        self.state = "new"
        self.clears = 0
        self.clears_at: dict[tuple[int, int | None], int] = {(RETRIES, 0): 0}
        self.shown: set[str] = set()
        self.unexplained: list[Any] = []  # records, before and after
        self.replaced: set[str] = set()  # keys of which a person or a policy took leave
        self.emptied_since_send = False
        self.operator: IceSubmitOperator | None = None

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()

    # What happens.

    @precondition(lambda self: self.state in {"new", "up_for_retry"})
    @rule(
        replies=st.lists(st.sampled_from(FAULTS), max_size=4),
        trouble=st.sampled_from(TROUBLES),
        after=st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]),
        seconds=st.sampled_from([0.0, 1.0, 30.0, 80.0, 600.0]),
        place=st.sampled_from([None] * 8 + PLACES),
        unreadable=st.sampled_from([False, False, False, True]),
        deaf=st.sampled_from([False, False, True]),
        lost_saves=st.sampled_from([0, 0, 0, 3, 10**9]),
    )
    def try_once(
        self,
        *,
        replies: list[Any],
        trouble: str,
        after: int,
        seconds: float = 0.0,
        place: tuple[str, str] | None = None,
        unreadable: bool = False,
        deaf: bool = False,
        lost_saves: int = 0,
    ) -> None:
        """Run one try, with whatever goes wrong in it.

        :param trouble: what befalls the process, and at which moment. after: how many such moments
            pass before.
        :param seconds: how long the try comes after what was before. place: where the connection
            leads from now on; None for no edit.
        """
        self.ice.now += seconds
        self.ice.host, self.ice.access_key = place or (self.ice.host, self.ice.access_key)
        self.ice.replies = list(replies)
        self.ice.list_out_of_reach = deaf
        self.store.unreadable = unreadable
        self._arm(trouble, after, lost_saves)
        sends = self.ice.sends
        self._run()
        if unreadable:
            assert self.ice.sends == sends
        self._arm("none", 0, 0)
        self.store.unreadable = self.ice.list_out_of_reach = False
        self.ice.replies = []

    def _run(self) -> None:
        """Run one try to its end, in a process of its own."""
        self.tries += 1
        number = self.tries
        ti = TaskInstance(self.max_tries, try_number=number)
        operator = self.kind(
            task_id="submit",
            retries=self.retries,
            input_config=INPUT if self.takes_token else HIGHLIGHTS,
            output_config={**OUTPUT, "Count": self.count},
            wish=self.wish,
            wait_for_completion=self.waits,
            timeout=0,
            **self.policies,
        )
        context: Any = {
            "ti": ti,
            "task_state_store": self.store.of_next_try(),
            "dag_run": self.dag_run,
        }
        before, self.operator = self.operator, operator
        try:
            result = operator.execute(context)
        except Killed:
            state = "up_for_retry"
        except AirflowFailException:
            state = "failed"
        except IceError:
            state = "up_for_retry" if number <= self.max_tries else "failed"
        else:
            state = "success"
        finally:
            self.operator = before
            self.shown |= set(
                ti.pushed.values() if "job_id" not in ti.pushed else [ti.pushed["job_id"]]
            )
        if (
            number == self.tries
        ):  # else a later try has replaced this one, and Airflow takes no notice
            self.state = state
            if state == "success":
                self._check_delivery(result["job_id"] if self.waits else result, ti)

    def _check_delivery(self, job_id: str, ti: TaskInstance) -> None:
        (job,) = [job for job in self.ice.jobs if job.job_id == job_id]
        assert not self.waits or job.status == "Finished"
        assert ti.pushed["job_id"] == job_id
        if self.waits:
            assert ti.pushed["media_ids"] == [f"m-{job_id}-0", f"m-{job_id}-1"]
        mine = [each for each in self._jobs_of_wish() if each.place == job.place]
        assert job == mine[-1]

    def _arm(self, trouble: str, after: int, lost_saves: int) -> None:
        what, _, moment = trouble.partition(" ")
        left = iter(range(after))
        saves = iter(range(lost_saves))

        def at(name: str) -> Callable[..., None]:
            def happen(*_: Any) -> None:
                if name == moment and next(left, None) is None:
                    self._arm("none", 0, 0)
                    getattr(self, f"_{what}")()

            return happen

        def on_set(record: dict[str, Any]) -> None:
            at("at_set")(record)
            if record["job_id"] and not record["delivered"] and next(saves, None) is not None:
                raise RuntimeError("API_SERVER_ERROR: out of reach")

        self.store.on_set = on_set
        self.store.on_accepted = self._check_new_key
        self.store.after_set = at("after_set")
        for name in ("in_limiter", "on_list"):
            setattr(self.ice, name, at(name))

        def before_submit() -> None:
            assert self.operator
            assert not self.operator._killed, "a task that was stopped has sent"
            at("before_submit")()

        self.ice.before_submit = before_submit

        def after_submit() -> None:
            self._check_new_job()
            at("after_submit")()

        self.ice.after_submit = after_submit

    def _die(self) -> None:
        raise Killed

    def _stop(self) -> None:
        assert self.operator
        self.operator.on_kill()

    def _freeze(self) -> None:
        """Let Airflow give up on this process and run the next try to its end; then it wakes."""
        if self.tries <= self.max_tries:
            self.ice.now += 400
            self._run_next_try()

    def _suspend(self) -> None:
        """Freeze the whole machine, and its monotonic clock with it."""
        if self.tries <= self.max_tries:
            stands_still_at = self.ice.monotonic()
            self.ice.suspend(400)
            self._run_next_try()
            self.ice.suspended = self.ice.now - stands_still_at

    def _run_next_try(self) -> None:
        replies, self.ice.replies = self.ice.replies, []
        self._run()
        self.ice.replies = replies

    @precondition(lambda self: self.state in {"success", "failed", "up_for_retry"})
    @rule(lowered=st.booleans(), emptied=st.booleans())
    def clear(self, *, lowered: bool, emptied: bool) -> None:
        """Clear the task, as a person does; Airflow 3.4 empties its store. Its retries may have
        been lowered meanwhile.
        """
        if lowered:
            self.retries = max(0, min(self.retries, self.max_tries - self.tries))
        self.max_tries = self.tries + self.retries
        self.clears += 1
        self.clear_another_task()
        if emptied:
            self._empty()
        self.state = "new"

    @rule()
    def clear_another_task(self) -> None:
        self.dag_run.clear_number = (self.dag_run.clear_number or 0) + 1
        self.dag_run.start_date = None
        self.clears_at[self._pair] = self.clears

    @precondition(lambda self: self.state in {"new", "up_for_retry", "success", "failed"})
    @rule(wish=st.sampled_from(["", "again", "and again"]))
    def change_wish(self, *, wish: str) -> None:
        """Edit the operator's argument, as a person does who wants a new job, or its old value."""
        self.wish = wish

    @rule(count=st.sampled_from([2, 2, 3]))
    def change_inputs(self, *, count: int) -> None:
        """Edit the DAG."""
        self.count = count

    @precondition(lambda self: self.state == "up_for_retry")
    @rule()
    def restore_database(self) -> None:
        """Lose the store between two tries."""
        self._empty()

    def _empty(self) -> None:
        self.store.values.clear()
        self.emptied_since_send = True

    @precondition(lambda self: any(job.status == "Processing" for job in self.ice.jobs))
    @rule(status=st.sampled_from(["Finished", "Failed"]))
    def end_a_job(self, status: str) -> None:
        """Let the service come to an end with a job."""
        next(job for job in self.ice.jobs if job.status == "Processing").status = status

    @precondition(lambda self: self.state in {"new", "up_for_retry"})
    @rule()
    def run_undisturbed(self) -> None:
        """Let all jobs finish, and the task run: it delivers its job, or says what a person has to
        do.
        """
        for job in self.ice.jobs:
            job.status = "Finished" if job.status == "Processing" else job.status
        record = self._record
        self.try_once(replies=[], trouble="none", after=0)
        if record is None or record["no_job_created"]:
            assert self._jobs_of_wish()[-1].job_id in self.shown

    # What must hold.

    def _jobs_of_wish(self) -> list[Job]:
        """Return the jobs of the wish of now, in all accounts, oldest first."""
        return [job for job in self.ice.jobs if self.wish_of[job.key] == self.wish]

    @property
    def _pair(self) -> tuple[int, int | None]:
        return self.max_tries, self.dag_run.clear_number

    @property
    def _record(self) -> dict[str, Any] | None:
        return json.loads(self.store.values[RECORD]) if RECORD in self.store.values else None

    def _cleared_since(self, record: dict[str, Any]) -> bool:
        return self.clears > self.clears_at[record["max_tries"], record["clear_count"]]

    def _check_new_key(self, record: dict[str, Any]) -> None:
        """A key that is stored for the first time is a wish for a job: what explains it?"""
        before = self._record
        self.wish_of.setdefault(record["key"], record["wish"])
        assert self.wish_of[record["key"]] == record["wish"], "a key names one wish"
        if record["job_id"] is not None or (before and before["key"] == record["key"]):
            return
        explained = self._explained(before) if before else self._explained_without_record()
        if not explained:
            # Not asserted here: whatever a store raises is an error of the store.
            self.unexplained.append((before, record))
        elif before is not None:
            self.replaced.add(before["key"])

    def _explained(self, before: dict[str, Any]) -> bool:
        if before["wish"] != self.wish:
            return True
        jobs = [job for job in self.ice.jobs if job.key == before["key"]]
        if before["job_id"]:
            jobs = [job for job in self.ice.jobs if job.job_id == before["job_id"]]
        if not jobs:
            return True  # the wish that the old key stands for has no job yet
        job, cleared, reads = jobs[-1], self._cleared_since(before), not self.ice.list_out_of_reach
        if job.status == "Failed" and job.place == self.ice.place:
            return cleared or self.policies["on_failed_job"] == "resubmit"
        if cleared and before["delivered"] and self.policies["on_clear"] == "resubmit":
            return True
        if self._inputs_explain(before, cleared=cleared) and job.place == self.ice.place:
            return True
        if cleared and job.place != self.ice.place:
            return reads  # a person has cleared the task, and the job is not found here
        # A person has cleared a task that had left the lost reply to a person.
        to_person = not self.takes_token and self.policies["on_lost_reply"] == "fail"
        return cleared and reads and self.ice.unlisted and to_person and not before["job_id"]

    def _inputs_explain(self, before: dict[str, Any], *, cleared: bool) -> bool:
        """Other inputs are a wish where the policy says so, or after a clear of what was
        delivered.
        """
        if before["inputs"] == self._inputs:
            return False
        ran_again = cleared and before["delivered"]
        policy = self.policies["on_changed_inputs"]
        return policy == "resubmit" or (ran_again and policy == "fail")

    @property
    def _inputs(self) -> dict[str, str]:
        """The fingerprints of the inputs of now."""
        assert self.operator is not None
        return SubmitRequest(self.kind.describe, self.operator.arguments()).inputs()

    def _explained_without_record(self) -> bool:
        jobs = self._jobs_of_wish()
        here = [job for job in jobs if job.place == self.ice.place]
        if not jobs:
            return True
        if self.ice.list_out_of_reach:
            return False
        if self.ice.unlisted or not here:
            # Without a record nothing is known of a job elsewhere, or of one that no list shows.
            return True
        newest: Job = here[-1]
        reuse = self.policies["on_clear"] == "reuse" and newest.status != "Failed"
        return self.clears > 0 and newest.status != "Processing" and not reuse

    def _check_new_job(self) -> None:
        job = self.ice.jobs[-1]
        others = [each for each in self.ice.jobs[:-1] if each.key == job.key]
        assert not others or self._explained_second_job(), (job, others)
        self.emptied_since_send = False

    def _explained_second_job(self) -> bool:
        """A lost reply, no token, a list that never shows the kind, and a user who says to submit
        again.
        """
        return (
            not self.takes_token
            and self.ice.unlisted
            and self.policies["on_lost_reply"] == "resubmit"
        )

    @invariant()
    def each_wish_for_a_new_job_is_explained(self) -> None:
        assert not getattr(self, "unexplained", None)

    @invariant()
    def nothing_that_was_submitted_is_lost(self) -> None:
        if not hasattr(self, "ice") or not self.ice.jobs or self.emptied_since_send:
            return
        job, record = self.ice.jobs[-1], self._record
        assert record is not None
        stored = record["key"] == job.key or record["job_id"] == job.job_id
        assert stored or job.job_id in self.shown or job.key in self.replaced

    @invariant()
    def what_is_known_to_be_a_job_is_never_forgotten(self) -> None:
        if hasattr(self, "ice") and (record := self._record) is not None:
            jobs = [job.key for job in self.ice.jobs]
            assert not (record["no_job_created"] and record["key"] in jobs)


TestOneTaskInstance = OneTaskInstance.TestCase
TestOneTaskInstance.settings = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,
    # Shrinking a failure of a long run takes minutes.
    phases=[
        phase
        for phase in Phase
        if "HYPOTHESIS_EXAMPLES" not in os.environ or phase is not Phase.shrink
    ],
)
