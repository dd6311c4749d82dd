"""Exactly one job for one intent: each row of the design's table, and each moment at which a try can die."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.api.errors import (
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
    IceParameterError,
    IceThrottledError,
    IceTransportError,
)
from airflow_ice.exceptions import (
    IceJobTimeoutError,
    IceSubmissionRecordError,
    UnretriedIceInputsChangedError,
    UnretriedIceJobFailedError,
)
from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from airflow_ice.submission.request import with_key
from airflow_ice.submission.store import RECORD
from tests.memory_ice import INPUT, OUTPUT, DagRun, Killed, MemoryIce, MemoryStore, TaskInstance

RETRIES = 2
HIGHLIGHTS = {"MediaArray": ["http://bucket.oss-cn-shanghai.aliyuncs.com/a.mp4"]}


class World:
    """One task instance, its tries and clears, and the ICE that it submits to."""

    def __init__(
        self, kind: type[IceSubmitOperator], monkeypatch: pytest.MonkeyPatch, **arguments: Any
    ) -> None:
        self.ice = MemoryIce()
        self.ice.install(monkeypatch)
        self.store = MemoryStore()
        self.kind = kind
        own = {
            "input_config": INPUT
            if kind is IceSubmitBatchMediaProducingJobOperator
            else HIGHLIGHTS,
            "output_config": OUTPUT,
        }
        self.arguments: dict[str, Any] = {
            "task_id": "submit",
            "retries": RETRIES,
            "list_settle_seconds": 60,
            **own,
            **arguments,
        }
        self.max_tries = RETRIES
        self.dag_run = DagRun()
        self.operator: IceSubmitOperator | None = None
        self.tries = 0
        self.ti = TaskInstance(self.max_tries)

    def run(self, **changed: Any) -> Any:
        """Run one try, in a process of its own."""
        self.tries += 1
        self.ti = TaskInstance(self.max_tries, try_number=self.tries)
        self.operator = self.kind(**{**self.arguments, **changed})
        context: Any = {
            "ti": self.ti,
            "task_state_store": self.store.of_next_try(),
            "dag_run": self.dag_run,
        }
        return self.operator.execute(context)

    def clear(self, retries: int = RETRIES) -> None:
        """As Airflow 3.3 does in a run that has ended: max_tries becomes the tries so far and the task's retries."""
        self.max_tries = self.tries + retries
        self.clear_another_task()
        self.dag_run.start_date = None

    def clear_another_task(self) -> None:
        """A clear of any task of the run raises its clear_number."""
        self.dag_run.clear_number = (self.dag_run.clear_number or 0) + 1

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.store.values[RECORD]))


@pytest.fixture(autouse=True)
def task_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


@pytest.fixture(
    params=[IceSubmitBatchMediaProducingJobOperator, IceSubmitScreenMediaHighlightsJobOperator],
    ids=["token", "no token"],
)
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    return lambda **arguments: World(request.param, monkeypatch, **arguments)


MakeWorld = Callable[..., World]


def killed(*_: object) -> None:
    raise Killed


def test_a_first_run_submits_one_job_and_returns_its_id(world: MakeWorld) -> None:
    here = world()
    assert here.run() == "job-0"
    assert here.ti.pushed == {"job_id": "job-0"}
    assert [job.key for job in here.ice.jobs] == [here.record["key"]]
    assert here.record["delivered"] is True


def test_the_key_travels_in_user_data_beside_the_users_own_and_as_client_token(
    world: MakeWorld,
) -> None:
    here = world(user_data={"NotifyAddress": "https://example.com/ice"})
    here.run()
    [job] = here.ice.jobs
    assert json.loads(job.parameters["UserData"]) == {
        "NotifyAddress": "https://example.com/ice",
        "airflow_ice": here.record["key"],
    }
    assert job.parameters.get("ClientToken") in (
        {None} if here.kind is IceSubmitScreenMediaHighlightsJobOperator else {job.key}
    )


def test_the_intent_is_stored_before_anything_is_sent(world: MakeWorld) -> None:
    here = world()
    seen: list[dict[str, Any]] = []
    here.ice.before_submit = lambda: seen.append(here.record)
    here.run()
    assert seen[0]["job_id"] is None
    assert seen[0]["key"] == here.ice.jobs[0].key


def test_a_lost_reply_is_found_again_in_the_same_try(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_lost_reply_is_found_again_in_a_list_that_lags(world: MakeWorld) -> None:
    here = world()
    here.ice.list_lag = 45
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_send_that_was_lost_before_it_arrived_is_sent_again_once_the_list_has_settled(
    world: MakeWorld,
) -> None:
    here = world()
    here.ice.replies = ["lost_before"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1
    assert here.ice.sends == 2
    if here.kind is IceSubmitScreenMediaHighlightsJobOperator:
        assert sum(here.ice.slept) >= 60


def test_a_throttled_submit_is_sent_again_because_it_made_no_job(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["throttled", "throttled"]
    assert here.run() == "job-0"
    assert (here.ice.sends, len(here.ice.jobs)) == (3, 1)
    assert sum(here.ice.slept) < 10


def test_a_refused_submit_fails_and_a_retry_sends_it_with_the_same_key(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["refused"]
    with pytest.raises(IceParameterError) as refused:
        here.run()
    assert refused.value.submitted == "no"
    key = here.record["key"]
    assert here.run() == "job-0"
    assert here.ice.jobs[0].key == key
    assert here.ice.slept == []


@pytest.mark.parametrize(
    "moment",
    ["before the send", "after ICE took it", "before the id is stored", "after the id is stored"],
)
def test_a_try_that_dies_at_any_moment_leaves_one_job(world: MakeWorld, moment: str) -> None:
    here = world()
    if moment == "before the send":
        here.ice.before_submit = killed
    elif moment == "after ICE took it":
        here.ice.after_submit = killed
    elif moment == "before the id is stored":
        here.store.on_set = lambda record: killed() if record["job_id"] else None
    else:
        here.store.on_set = lambda record: killed() if record["delivered"] else None
    with pytest.raises(Killed):
        here.run()
    here.ice.before_submit = here.ice.after_submit = lambda: None
    here.store.on_set = lambda record: None
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_try_that_dies_before_the_intent_is_stored_has_sent_nothing(world: MakeWorld) -> None:
    here = world()
    here.store.on_set = killed
    with pytest.raises(Killed):
        here.run()
    assert here.ice.sends == 0


@pytest.mark.parametrize("fault", ["unreadable", "unwritable"])
def test_a_store_out_of_reach_never_means_submit(world: MakeWorld, fault: str) -> None:
    here = world()
    setattr(here.store, fault, True)
    with pytest.raises(IceSubmissionRecordError, match="othing was s"):
        here.run()
    assert here.ice.sends == 0


def test_an_unreadable_store_on_a_retry_submits_nothing_and_loses_nothing(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.store.unreadable = True
    with pytest.raises(IceSubmissionRecordError, match="could not be read"):
        here.run()
    here.store.unreadable = False
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("stored", ['"text"', "{}", '{"key": 1, "generation": 0}', "[]"])
def test_a_record_that_is_none_is_an_error_and_no_reason_to_submit(
    world: MakeWorld, stored: str
) -> None:
    here = world()
    here.store.values[RECORD] = stored
    with pytest.raises(IceSubmissionRecordError):
        here.run()
    assert here.ice.sends == 0


def test_a_list_out_of_reach_never_means_send_again(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["lost_after"]
    here.ice.list_out_of_reach = True
    with pytest.raises(IceTransportError):
        here.run()
    with pytest.raises(IceTransportError):
        here.run()
    assert (here.ice.sends, len(here.ice.jobs)) == (1, 1)
    here.ice.list_out_of_reach = False
    assert here.run() == "job-0"


def test_a_job_that_cannot_be_looked_at_is_not_submitted_again(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.ice.out_of_reach = True
    with pytest.raises(IceTransportError):
        here.run()
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("status", ["Init", "Processing", "Paused", "Finished"])
def test_a_retry_takes_the_job_that_is_there(world: MakeWorld, status: str) -> None:
    here = world()
    here.run()
    here.ice.jobs[0].status = status
    assert here.run() == "job-0"
    assert (here.ice.sends, len(here.ice.jobs)) == (1, 1)


def test_a_retry_delivers_the_results_of_a_finished_job(world: MakeWorld) -> None:
    here = world(wait_for_completion=True, timeout=1)
    with pytest.raises(IceJobTimeoutError, match="job-0 had not ended"):
        here.run()
    here.ice.jobs[0].status = "Finished"
    result = here.run()
    assert [row["media_id"] for row in result["media"]] == ["m-job-0-0", "m-job-0-1"]
    assert here.ti.pushed["media_ids"] == ["m-job-0-0", "m-job-0-1"]
    assert len(here.ice.jobs) == 1


def test_a_retry_after_a_failed_job_fails_and_submits_nothing(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.ice.jobs[0].status = "Failed"
    with pytest.raises(UnretriedIceJobFailedError, match="no such clip"):
        here.run()
    assert len(here.ice.jobs) == 1


def test_a_retry_after_a_failed_job_makes_a_new_one_when_told_to(world: MakeWorld) -> None:
    here = world(on_failed_job="resubmit", wait_for_completion=True, timeout=0)
    for number in range(3):
        with pytest.raises(IceJobTimeoutError):
            here.run()
        assert len(here.ice.jobs) == number + 1
        here.ice.jobs[-1].status = "Failed"
    assert len({job.key for job in here.ice.jobs}) == 3


def test_a_job_that_fails_while_waited_for_is_retried_only_where_a_retry_makes_a_new_one(
    world: MakeWorld,
) -> None:
    here = world(wait_for_completion=True)
    fail_while_waiting(here)
    with pytest.raises(IceJobFailedError) as failed:
        here.run()
    assert isinstance(failed.value, AirflowFailException)
    again = world(wait_for_completion=True, on_failed_job="resubmit")
    fail_while_waiting(again)
    with pytest.raises(IceJobFailedError, match="submits a new, paid job") as failed:
        again.run()
    assert not isinstance(failed.value, AirflowFailException)


def fail_while_waiting(here: World) -> None:
    def sleep(seconds: float) -> None:
        here.ice.now += seconds
        here.ice.jobs[-1].status = "Failed"

    here.ice.sleep = sleep  # type: ignore[method-assign]
    here.ice.install(pytest.MonkeyPatch())


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_a_clear_before_the_result_was_delivered_reattaches(world: MakeWorld, status: str) -> None:
    here = world(wait_for_completion=True, timeout=0)
    with pytest.raises(IceJobTimeoutError):
        here.run()
    here.ice.jobs[0].status = status
    here.clear()
    if status == "Finished":
        assert here.run()["job_id"] == "job-0"
    else:
        with pytest.raises(IceJobTimeoutError):
            here.run()
    assert len(here.ice.jobs) == 1
    assert here.record["max_tries"] == here.max_tries


@pytest.mark.parametrize("status", ["Processing", "Finished", "Failed"])
def test_a_clear_after_the_result_was_delivered_makes_a_new_job(
    world: MakeWorld, status: str
) -> None:
    here = world()
    here.run()
    here.ice.jobs[0].status = status
    here.clear()
    assert here.run() == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2
    assert here.run() == "job-1"  # and a retry of that is a retry
    assert len(here.ice.jobs) == 2


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_a_clear_reuses_the_job_when_told_to(world: MakeWorld, status: str) -> None:
    here = world(on_clear="reuse")
    here.run()
    here.ice.jobs[0].status = status
    here.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_of_a_task_whose_job_has_failed_makes_a_new_one(world: MakeWorld) -> None:
    here = world(wait_for_completion=True)
    fail_while_waiting(here)
    with pytest.raises(IceJobFailedError):
        here.run()
    here.clear()
    with pytest.raises(IceJobFailedError):
        here.run()
    assert len({job.key for job in here.ice.jobs}) == 2


def test_a_clear_of_an_unanswered_submit_finds_its_job(world: MakeWorld) -> None:
    here = world()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    here.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_change_of_the_tasks_retries_is_no_clear(world: MakeWorld) -> None:
    here = world()
    here.run()
    assert here.run(retries=RETRIES + 3) == "job-0"
    assert here.run(retries=0) == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_running_job_is_found_after_a_clear_that_took_the_state_store_with_it(
    world: MakeWorld,
) -> None:
    here = world()
    here.run()
    here.clear()
    here.store.values.clear()
    assert here.run() == "job-0"
    here.ice.jobs[0].status = "Finished"
    here.clear()
    here.store.values.clear()
    assert here.run() == "job-1"


CHANGED: dict[str, Any] = {"output_config": {**OUTPUT, "Count": 3}}


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_changed_inputs_fail_and_say_what_differs(world: MakeWorld, status: str) -> None:
    here = world()
    here.run()
    here.ice.jobs[0].status = status
    with pytest.raises(
        UnretriedIceInputsChangedError, match=r"OutputConfig changed .* job-0"
    ) as changed:
        here.run(**CHANGED)
    assert "'reattach'" in str(changed.value)
    assert "'resubmit'" in str(changed.value)
    assert len(here.ice.jobs) == 1


def test_changed_inputs_reattach_or_resubmit_when_told_to(world: MakeWorld) -> None:
    here = world()
    here.run()
    assert here.run(**CHANGED, on_changed_inputs="reattach") == "job-0"
    assert len(here.ice.jobs) == 1
    assert here.run(**CHANGED, on_changed_inputs="resubmit") == "job-1"
    assert here.run(**CHANGED) == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_another_layout_of_the_same_json_is_no_change(world: MakeWorld) -> None:
    here = world()
    here.run()
    assert here.run(output_config=json.dumps(dict(reversed(OUTPUT.items())), indent=4)) == "job-0"


def test_inputs_that_changed_before_a_lost_submit_was_found_are_noticed(world: MakeWorld) -> None:
    here = world()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    with pytest.raises(UnretriedIceInputsChangedError):
        here.run(**CHANGED)
    assert len(here.ice.jobs) == 1


def test_a_token_that_was_used_with_other_inputs_is_not_taken_for_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = World(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.list_lag = 10_000
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    with pytest.raises(IceParameterError, match="finds that job"):
        here.run(**CHANGED)
    here.ice.list_lag = 0
    with pytest.raises(UnretriedIceInputsChangedError):
        here.run(**CHANGED)
    assert len(here.ice.jobs) == 1


def test_another_region_leads_away_from_the_job_and_is_said_so(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.ice.jobs.clear()  # of this region
    with pytest.raises(IceSubmissionRecordError, match="region_id changed") as elsewhere:
        here.run(region_id="cn-beijing")
    assert "clear this task" in str(elsewhere.value)
    assert here.ice.jobs == []
    here.clear()
    assert here.run(region_id="cn-beijing") == "job-0"  # the advice holds
    assert len(here.ice.jobs) == 1


def test_another_address_of_the_same_account_is_no_change(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.ice.host = "ice-vpc.cn-shanghai.aliyuncs.com"
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("change", ["region_id", "host"])
def test_a_lost_reply_is_not_looked_for_in_another_place_and_nothing_is_sent_there(
    world: MakeWorld, change: str
) -> None:
    here = world()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    paid = list(here.ice.jobs)
    here.ice.jobs.clear()
    if change == "host":
        here.ice.host = "ice.cn-beijing.aliyuncs.com"
    arguments = {"region_id": "cn-beijing"} if change == "region_id" else {}
    with pytest.raises(IceSubmissionRecordError, match="cannot be looked for here"):
        here.run(**arguments)
    assert here.ice.jobs == []
    here.ice.jobs, here.ice.host = paid, "ice.cn-shanghai.aliyuncs.com"
    assert here.run() == "job-0"


def test_a_job_that_was_made_and_is_not_known_is_no_reason_to_make_another(
    world: MakeWorld,
) -> None:
    here = world()
    here.run()
    lost = list(here.ice.jobs)
    here.ice.jobs.clear()  # another account behind the same connection, or a service that has not written it everywhere yet
    with pytest.raises(IceJobNotFoundError, match="nothing was submitted by this try"):
        here.run()
    assert here.ice.jobs == []
    here.ice.jobs = list(lost)
    assert here.run() == "job-0"
    here.ice.jobs.clear()
    here.clear()
    assert here.run() == "job-0"  # of another name in this account
    assert here.ice.jobs[0].key != lost[0].key


def test_a_list_that_lags_is_waited_for_from_the_end_of_a_slow_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = World(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
    here.ice.reply_takes, here.ice.list_lag = 70.0, 100.0
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_try_that_died_in_a_slow_send_is_not_looked_for_too_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = World(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
    here.ice.reply_takes = 70.0
    here.ice.before_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.before_submit = lambda: None
    began = here.ice.now
    assert here.run() == "job-0"
    assert here.ice.now - began >= 60 + 70


def test_a_refusal_after_a_lost_reply_does_not_say_that_no_job_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = World(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.list_lag = 10_000
    here.ice.replies = ["lost_after", "refused"]
    with pytest.raises(IceParameterError, match="Whether ICE took the job is not known") as refused:
        here.run()
    assert refused.value.submitted == "unknown"
    assert here.record["refused"] is False
    here.ice.list_lag = 0
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_mismatch_is_got_over_by_time_or_by_a_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    here = World(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.list_lag = 10_000
    here.ice.replies = ["lost_after", "throttled", "throttled", "throttled"]
    with pytest.raises(IceError):
        here.run()
    for _ in range(2):
        with pytest.raises(IceError) as mismatch:
            here.run(**CHANGED)
        assert "No job was made" not in str(mismatch.value)
        assert (
            mismatch.value.submitted == "unknown"
            or "ICE says that an earlier try made a job" in str(mismatch.value)
        )
    sends = here.ice.sends
    with pytest.raises(IceSubmissionRecordError, match="shows none with its key"):
        here.run(**CHANGED)
    assert here.ice.sends == sends  # what is known to be taken is not sent again
    here.clear()
    assert here.run(**CHANGED) == "job-1"


def test_run_ids_that_repeat_make_jobs_of_their_own(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.store.values.clear()  # the DAG run was deleted and made again, or is another deployment's
    here.run_started = datetime(2026, 1, 3, tzinfo=UTC)
    here.tries = 0
    assert here.run() == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_a_clear_that_cannot_be_told_from_a_retry_pays_nothing(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.run()
    here.max_tries = (
        here.tries + 0
    )  # as many as before: the task's retries were taken away together with the clear
    assert here.run(retries=0) == "job-0"


@pytest.mark.parametrize("retries", [1, 5])
def test_a_clear_is_seen_whatever_was_done_to_the_retries(world: MakeWorld, retries: int) -> None:
    here = world()
    here.run()
    here.run()
    here.max_tries = here.tries + retries
    assert here.run(retries=retries) == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_no_key_is_ever_used_for_two_wishes(world: MakeWorld) -> None:
    here = world()
    here.run()
    for retries in (RETRIES, 0, 5, RETRIES):
        here.max_tries = here.tries + retries
        here.run(
            retries=retries + 1
        )  # raised between the clear and the run: the epoch is that of another clear
    assert len({job.key for job in here.ice.jobs}) == len(here.ice.jobs) == 5


def test_a_retry_without_a_record_takes_the_job_that_carries_its_key(world: MakeWorld) -> None:
    here = world()
    here.run()
    here.store.values.clear()
    here.ice.jobs[0].status = "Finished"
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_inputs_that_no_longer_pass_do_not_bar_the_job_that_is_there(world: MakeWorld) -> None:
    here = world()
    here.run()
    with pytest.raises(
        UnretriedIceInputsChangedError, match=r"OutputConfig\.Count changed since job job-0"
    ):
        here.run(output_config={**OUTPUT, "Count": 101})
    assert here.run(output_config={**OUTPUT, "Count": 101}, on_changed_inputs="reattach") == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_of_an_unanswered_submit_whose_job_has_failed_makes_a_new_one_at_once(
    world: MakeWorld,
) -> None:
    here = world()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    here.ice.jobs[0].status = "Failed"
    here.clear()
    assert here.run() == "job-1"


def test_whoever_wants_to_look_for_lost_replies_himself_is_let(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = World(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch, on_lost_reply="fail")
    here.ice.replies = ["lost_before"]
    for _ in range(2):
        with pytest.raises(IceSubmissionRecordError, match="Look for it in the console"):
            here.run()
    assert (here.ice.sends, here.ice.jobs) == (1, [])
    here.clear()
    assert here.run() == "job-0"


def test_a_lookup_that_fails_does_not_hide_that_a_reply_was_lost(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["lost_after"]
    here.ice.list_out_of_reach = True
    with pytest.raises(IceTransportError, match="A job may have been made") as lookup:
        here.run()
    assert lookup.value.submitted == "unknown"


def test_a_task_that_was_told_to_stop_sends_nothing_any_more(world: MakeWorld) -> None:
    here = world()
    operator: list[IceSubmitOperator] = []
    kind = here.kind

    class Noted(kind):  # type: ignore[misc, valid-type]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            operator.append(self)

    here.kind = Noted
    here.ice.replies = ["throttled"]
    before = here.ice.sleep

    def sleep(seconds: float) -> None:
        operator[0].on_kill()
        before(seconds)

    here.ice.sleep = sleep  # type: ignore[method-assign]
    here.ice.install(pytest.MonkeyPatch())
    with pytest.raises(IceError, match="told to stop"):
        here.run()
    assert here.ice.sends == 1


def test_a_service_that_asks_to_wait_for_days_is_left_to_a_retry(world: MakeWorld) -> None:
    here = world()
    error = IceThrottledError("slow down", code="Throttling", submitted="no", retry_after=1e6)

    def refuse() -> None:
        raise error

    here.ice.before_submit = refuse
    with pytest.raises(IceThrottledError):
        here.run()
    assert sum(here.ice.slept) < 60


def test_bad_input_speaks_before_anything_is_sent(world: MakeWorld) -> None:
    here = world()
    with pytest.raises(IceInputError, match=r"OutputConfig\.Count"):
        here.run(output_config={**OUTPUT, "Count": 101})
    with pytest.raises(IceInputError, match="require"):
        here.run(require="most")
    assert here.ice.sends == 0
    assert here.store.values == {}


@pytest.mark.parametrize(
    ("user_data", "rule"),
    [
        ({"airflow_ice": "mine"}, "keeps its own key"),
        ({"text": "x" * 440}, "at most 512 bytes together"),
        ("[1]", "must be a JSON object"),
        (7, "dict or a JSON string"),
        ({"text": {1, 2}}, "cannot be written as JSON"),
    ],
)
def test_user_data_that_leaves_no_room_for_the_key_is_refused(user_data: Any, rule: str) -> None:
    with pytest.raises(IceInputError, match=rule):
        with_key(user_data, "0" * 49)


def test_user_data_of_the_users_own_may_fill_what_is_left() -> None:
    room = 512 - len(json.dumps({"text": "", "airflow_ice": "0" * 49}))
    assert with_key({"text": "x" * room}, "0" * 49)
    with pytest.raises(IceInputError):
        with_key({"text": "x" * (room + 1)}, "0" * 49)


def intent(**other: Any) -> Intent:
    base: dict[str, Any] = {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "map_index": -1,
        "max_tries": 2,
        "retries": 2,
    }
    return Intent(**{**base, **other})


def test_keys_differ_for_whatever_makes_another_intent_and_only_then() -> None:
    others: list[dict[str, Any]] = [
        {"dag_id": "d2"},
        {"run_id": "r2"},
        {"task_id": "t2"},
        {"map_index": 0},
        {"max_tries": 3},
    ]
    keys = [intent(**other).key(0) for other in ({}, *others)] + [intent().key(1)]
    assert len(set(keys)) == 7
    assert intent().key(0) == keys[0]
    assert intent(dag_id="a_b", run_id="c").key(0) != intent(dag_id="a", run_id="b_c").key(0)
    assert all(len(key) == 49 and key.isascii() for key in keys)


def test_the_record_outlives_airflows_default_retention(world: MakeWorld) -> None:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    here = world()
    kept: list[Any] = []
    write = here.store.set

    def set_and_note(key: str, value: Any, *, retention: Any = None) -> None:
        kept.append(retention)
        write(key, value, retention=retention)

    here.store.set = set_and_note  # type: ignore[method-assign]
    here.run()
    assert kept
    assert all(retention is NEVER_EXPIRE for retention in kept)


def test_each_decision_is_one_line_that_says_what_it_means_for_the_bill(
    world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    here = world()
    lines = captured(here)
    here.run()
    here.run()
    text = "\n".join(lines)
    assert "Submitting a new job: no earlier submission. One job will be billed" in text
    assert "job-0: submitted; it is billed" in text
    assert "job-0: found Processing; reattaching; nothing is billed again" in text


def captured(here: World) -> list[str]:
    """Return the list that the operators' lines go to."""
    lines: list[str] = []

    class Log:
        def info(self, message: str, *args: Any) -> None:
            lines.append(message % args)

        warning = info

    here.kind = type(here.kind.__name__, (here.kind,), {"log": Log()})
    return lines


def test_killing_the_task_is_honest(world: MakeWorld) -> None:
    here = world()
    lines = captured(here)
    operator = here.kind(**here.arguments)
    operator.on_kill()
    operator._job_id = "job-7"
    operator.on_kill()
    assert "finds it by its key" in lines[0]
    assert "job-7 goes on: ICE cannot cancel it" in lines[1]


def test_errors_of_a_submit_say_what_a_retry_does(world: MakeWorld) -> None:
    here = world()
    here.ice.replies = ["lost_before"] * 10
    with pytest.raises(
        IceError, match="looks for the job by its key, and sends again only if there is none"
    ) as lost:
        here.run()
    assert lost.value.submitted == "unknown"
    assert here.ice.jobs == []
    here.ice.replies = []
    assert here.run() == "job-0"
