"""Exactly one job for one intent: each row of the design's table, and each moment at which a try
can die.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from airflow_ice.api.errors import (
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
    IceParameterError,
    IceThrottledError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.exceptions import (
    IceJobTimeoutError,
    IceSubmissionRecordError,
    IceTaskStoppedError,
    IceTryReplacedError,
    NonRetryableIceInputsChangedError,
    NonRetryableIceJobFailedError,
)
from airflow_ice.links import LINK_KEY
from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from airflow_ice.submission.request import fingerprint, with_key
from airflow_ice.submission.search import FREEZE_SUSPECTED
from airflow_ice.submission.store import RECORD
from tests.memory_ice import (
    INPUT,
    OUTPUT,
    DagRun,
    Killed,
    MemoryIce,
    MemoryStore,
    TaskInstance,
    TryStore,
)

RETRIES = 2
WHERE = {"job_id": "job-0", "ice_conn_id": "ice_default", "region_id": None}
PUSHED = {
    "job_id": "job-0",
    "ice_job": WHERE,
    LINK_KEY: "/dags/dag/runs/run/tasks/submit/plugin/ice-videos",
}
HIGHLIGHTS = {"MediaArray": ["a"]}


class SubmitTask:
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

    def run(self, rendered: Mapping[str, Any] | None = None, /, **changed: Any) -> Any:
        """Run one try, in a process of its own.

        :param rendered: what templates have become, which is not checked when the DAG is parsed.
        """
        self.tries += 1
        self.ti = TaskInstance(self.max_tries, try_number=self.tries)
        self.operator = self.kind(**{**self.arguments, **changed})
        for name, value in (rendered or {}).items():
            setattr(self.operator, name, value)
        context: Any = {
            "ti": self.ti,
            "task_state_store": self.store.of_next_try(),
            "dag_run": self.dag_run,
        }
        return self.operator.execute(context)

    def clear(self, retries: int = RETRIES) -> None:
        """As Airflow 3.3 does in a run that has ended: max_tries becomes the tries so far and the
        task's retries.
        """
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
def make_task(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SubmitTask]:
    return lambda **arguments: SubmitTask(request.param, monkeypatch, **arguments)


MakeTask = Callable[..., SubmitTask]


def killed(*_: object) -> None:
    raise Killed


def test_a_first_run_submits_one_job_and_returns_its_id(make_task: MakeTask) -> None:
    here = make_task()
    assert here.run() == "job-0"
    assert here.ti.pushed == PUSHED
    assert [job.key for job in here.ice.jobs] == [here.record["key"]]
    assert here.record["delivered"] is True


def test_the_key_travels_in_user_data_beside_the_users_own_and_as_client_token(
    make_task: MakeTask,
) -> None:
    here = make_task(user_data={"NotifyAddress": "https://example.com/ice"})
    here.run()
    [job] = here.ice.jobs
    assert json.loads(job.parameters["UserData"]) == {
        "NotifyAddress": "https://example.com/ice",
        "airflow_ice": here.record["key"],
    }
    assert job.parameters.get("ClientToken") in (
        {None} if here.kind is IceSubmitScreenMediaHighlightsJobOperator else {job.key}
    )


def test_the_intent_is_stored_before_anything_is_sent(make_task: MakeTask) -> None:
    here = make_task()
    seen: list[dict[str, Any]] = []
    here.ice.before_submit = lambda: seen.append(here.record)
    here.run()
    assert seen[0]["job_id"] is None
    assert seen[0]["key"] == here.ice.jobs[0].key


def test_a_lost_reply_is_found_again_in_the_same_try(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_lost_reply_is_found_again_in_a_list_that_lags(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.list_lag = 45
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_send_that_was_lost_before_it_arrived_is_sent_again_once_the_list_has_settled(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.ice.replies = ["lost_before"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1
    assert here.ice.sends == 2
    if here.kind is IceSubmitScreenMediaHighlightsJobOperator:
        assert sum(here.ice.slept) >= 60


def test_a_throttled_submit_is_sent_again_because_it_made_no_job(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["throttled", "throttled"]
    assert here.run() == "job-0"
    assert (here.ice.sends, len(here.ice.jobs)) == (3, 1)
    assert sum(here.ice.slept) < 10


def test_a_refused_submit_fails_and_a_retry_sends_it_with_the_same_key(make_task: MakeTask) -> None:
    here = make_task()
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
def test_a_try_that_dies_at_any_moment_leaves_one_job(make_task: MakeTask, moment: str) -> None:
    here = make_task()
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


def test_a_try_that_dies_before_the_intent_is_stored_has_sent_nothing(make_task: MakeTask) -> None:
    here = make_task()
    here.store.on_set = killed
    with pytest.raises(Killed):
        here.run()
    assert here.ice.sends == 0


@pytest.mark.parametrize("fault", ["unreadable", "unwritable"])
def test_a_store_out_of_reach_never_means_submit(make_task: MakeTask, fault: str) -> None:
    here = make_task()
    setattr(here.store, fault, 1_000_000)
    with pytest.raises(IceSubmissionRecordError, match="othing was s"):
        here.run()
    assert here.ice.sends == 0


def test_an_unreadable_store_on_a_retry_submits_nothing_and_loses_nothing(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.run()
    here.store.unreadable = True
    with pytest.raises(IceSubmissionRecordError, match="could not be read"):
        here.run()
    here.store.unreadable = False
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("stored", ['"text"', "{}", '{"key": 1, "generation": 0}', "[]"])
def test_a_record_that_is_none_is_an_error_and_no_reason_to_submit(
    make_task: MakeTask, stored: str
) -> None:
    here = make_task()
    here.store.values[RECORD] = stored
    with pytest.raises(IceSubmissionRecordError):
        here.run()
    assert here.ice.sends == 0


def test_a_list_out_of_reach_never_means_send_again(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["lost_after"]
    here.ice.list_out_of_reach = True
    with pytest.raises(IceTransportError):
        here.run()
    with pytest.raises(IceTransportError):
        here.run()
    assert (here.ice.sends, len(here.ice.jobs)) == (1, 1)
    here.ice.list_out_of_reach = False
    assert here.run() == "job-0"


def test_a_job_that_cannot_be_looked_at_is_not_submitted_again(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.ice.out_of_reach = True
    with pytest.raises(IceTransportError):
        here.run()
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("status", ["Init", "Processing", "Paused", "Finished"])
def test_a_retry_takes_the_job_that_is_there(make_task: MakeTask, status: str) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = status
    assert here.run() == "job-0"
    assert (here.ice.sends, len(here.ice.jobs)) == (1, 1)


def test_a_retry_delivers_the_results_of_a_finished_job(make_task: MakeTask) -> None:
    here = make_task(wait_for_completion=True, timeout=1)
    with pytest.raises(IceJobTimeoutError, match="job-0 had not ended"):
        here.run()
    here.ice.jobs[0].status = "Finished"
    result = here.run()
    assert [row["media_id"] for row in result["media"]] == ["m-job-0-0", "m-job-0-1"]
    assert here.ti.pushed["media_ids"] == ["m-job-0-0", "m-job-0-1"]
    assert len(here.ice.jobs) == 1


def test_a_retry_after_a_failed_job_fails_and_submits_nothing(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = "Failed"
    with pytest.raises(NonRetryableIceJobFailedError, match="no such clip"):
        here.run()
    assert len(here.ice.jobs) == 1


def test_a_retry_after_a_failed_job_makes_a_new_one_when_told_to(make_task: MakeTask) -> None:
    here = make_task(on_failed_job="resubmit", wait_for_completion=True, timeout=0)
    for number in range(3):
        with pytest.raises(IceJobTimeoutError):
            here.run()
        assert len(here.ice.jobs) == number + 1
        here.ice.jobs[-1].status = "Failed"
    assert len({job.key for job in here.ice.jobs}) == 3


def test_a_job_that_fails_while_waited_for_is_retried_only_where_a_retry_makes_a_new_one(
    make_task: MakeTask,
) -> None:
    here = make_task(wait_for_completion=True)
    fail_while_waiting(here)
    with pytest.raises(IceJobFailedError) as failed:
        here.run()
    assert isinstance(failed.value, AirflowFailException)
    again = make_task(wait_for_completion=True, on_failed_job="resubmit")
    fail_while_waiting(again)
    with pytest.raises(IceJobFailedError, match="submits a new, paid job") as failed:
        again.run()
    assert not isinstance(failed.value, AirflowFailException)


def fail_while_waiting(here: SubmitTask) -> None:
    def sleep(seconds: float) -> None:
        here.ice.now += seconds
        here.ice.jobs[-1].status = "Failed"

    here.ice.sleep = sleep  # type: ignore[method-assign]
    here.ice.install(pytest.MonkeyPatch())


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_a_clear_before_the_result_was_delivered_reattaches(
    make_task: MakeTask, status: str
) -> None:
    here = make_task(wait_for_completion=True, timeout=0)
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
def test_a_clear_after_the_result_was_delivered_makes_a_new_job_when_told_to(
    make_task: MakeTask, status: str
) -> None:
    here = make_task(on_clear="resubmit")
    here.run()
    here.ice.jobs[0].status = status
    here.clear()
    assert here.run() == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2
    assert here.run() == "job-1"  # and a retry of that is a retry
    assert len(here.ice.jobs) == 2


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_a_clear_after_the_result_was_delivered_bills_nothing(
    make_task: MakeTask, status: str
) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = status
    here.clear()
    assert here.run() == "job-0"
    here.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("status", ["Processing", "Finished"])
def test_a_clear_with_other_inputs_submits_a_new_job_and_says_so(
    make_task: MakeTask, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = status
    with pytest.raises(NonRetryableIceInputsChangedError):
        here.run(**CHANGED)  # a retry
    here.clear()
    assert here.run(**CHANGED) == "job-1"
    logged = capsys.readouterr().out
    assert f"cleared, and OutputConfig changed; job job-0 is {status}" in logged
    assert here.run(**CHANGED) == "job-1"  # a retry
    here.clear()
    assert here.run(**CHANGED) == "job-1"
    assert len(here.ice.jobs) == 2


def test_a_clear_with_other_inputs_delivers_the_old_job_when_told_to(make_task: MakeTask) -> None:
    here = make_task(on_changed_inputs="reattach")
    here.run()
    here.clear()
    assert here.run(**CHANGED) == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_with_other_inputs_that_are_refused_bills_nothing(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.clear()
    with pytest.raises(IceInputError):
        here.run(output_config={**OUTPUT, "Count": 0})
    assert here.run() == "job-0"
    assert here.ice.sends == 1


# Another wish.


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("status", ["Processing", "Finished", "Failed"])
def test_another_wish_is_a_new_job_and_the_same_one_is_not(
    make_task: MakeTask, status: str, capsys: pytest.CaptureFixture[str], *, cleared: bool
) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = status
    if cleared:
        here.clear()
    assert here.run(wish="again") == "job-1"
    logged = capsys.readouterr().out
    assert "wish changed from '' to 'again'; job job-0 of the wish before" in logged
    assert here.record["wish"] == "again"
    here.clear()
    assert here.run(wish="again") == "job-1"
    assert here.run() == "job-2"  # the empty text is a wish like any other
    assert len({job.key for job in here.ice.jobs}) == 3


def test_another_wish_does_not_wait_for_a_lost_reply(
    make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_task(on_lost_reply="fail")
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run(wish="first")
    here.ice.after_submit = lambda: None
    here.ice.list_out_of_reach = True
    assert here.run(wish="second") == "job-1"
    logged = capsys.readouterr().out
    assert f"under the key {here.ice.jobs[0].key} stays billed" in logged


def test_without_a_record_only_a_job_of_the_same_wish_is_found(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.run(wish="again")
    here.clear()
    here.store.values.clear()
    assert here.run(wish="again") == "job-1"
    here.store.values.clear()
    assert here.run() == "job-0"
    here.store.values.clear()
    assert here.run(wish="third") == "job-2"


def test_a_record_of_an_earlier_version_has_the_empty_wish(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    record = here.record
    del record["wish"]
    here.store.values[RECORD] = json.dumps(record)
    assert here.run() == "job-0"
    here.store.values[RECORD] = json.dumps(record)
    assert here.run(wish="again") == "job-1"


def test_a_wish_may_be_a_number_or_nothing_and_is_refused_where_it_is_too_long(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.run(wish=None)
    assert here.record["wish"] == ""
    here.run(wish=2)
    assert here.record["wish"] == "2"
    for wish in ("w" * 201, ["again"]):
        with pytest.raises(IceInputError, match="wish"):
            here.run(wish=wish)
    assert len(here.ice.jobs) == 2


def test_nothing_is_said_to_be_billed_before_it_is(
    make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_task()
    here.ice.replies = ["refused"]
    with pytest.raises(IceError):
        here.run()
    logged = capsys.readouterr().out
    assert "Submitting a new job" in logged
    assert not re.search("billed|paid", logged)
    here.run()
    before, _, after = capsys.readouterr().out.partition("Batch job job-0: submitted; ")
    assert not re.search("billed|paid", before)
    assert after.startswith("it is billed")


def test_a_clear_of_a_task_whose_job_has_failed_makes_a_new_one(make_task: MakeTask) -> None:
    here = make_task(wait_for_completion=True)
    fail_while_waiting(here)
    with pytest.raises(IceJobFailedError):
        here.run()
    here.clear()
    with pytest.raises(IceJobFailedError):
        here.run()
    assert len({job.key for job in here.ice.jobs}) == 2


def test_a_clear_of_an_unanswered_submit_finds_its_job(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    here.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_change_of_the_tasks_retries_is_no_clear(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    assert here.run(retries=RETRIES + 3) == "job-0"
    assert here.run(retries=0) == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_running_job_is_found_after_a_clear_that_took_the_state_store_with_it(
    make_task: MakeTask,
) -> None:
    here = make_task(on_clear="resubmit")
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
def test_changed_inputs_fail_and_say_what_differs(make_task: MakeTask, status: str) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = status
    with pytest.raises(
        NonRetryableIceInputsChangedError, match=r"OutputConfig changed .* job-0"
    ) as changed:
        here.run(**CHANGED)
    assert "'reattach'" in str(changed.value)
    assert "'resubmit'" in str(changed.value)
    assert len(here.ice.jobs) == 1


def test_changed_inputs_reattach_or_resubmit_when_told_to(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    assert here.run(**CHANGED, on_changed_inputs="reattach") == "job-0"
    assert len(here.ice.jobs) == 1
    assert here.run(**CHANGED, on_changed_inputs="resubmit") == "job-1"
    assert here.run(**CHANGED) == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_another_layout_of_the_same_json_is_no_change(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    assert here.run(output_config=json.dumps(dict(reversed(OUTPUT.items())), indent=4)) == "job-0"


def test_inputs_that_changed_before_a_lost_submit_was_found_are_noticed(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    with pytest.raises(NonRetryableIceInputsChangedError):
        here.run(**CHANGED)
    assert len(here.ice.jobs) == 1


def test_a_token_that_was_used_with_other_inputs_is_not_taken_for_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SubmitTask(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.list_lag = 10_000
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    with pytest.raises(IceParameterError, match="finds that job"):
        here.run(**CHANGED)
    here.ice.list_lag = 0
    with pytest.raises(NonRetryableIceInputsChangedError):
        here.run(**CHANGED)
    assert len(here.ice.jobs) == 1


def test_another_region_leads_away_from_the_job_and_is_said_so(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.ice.host = "ice.cn-beijing.aliyuncs.com"
    with pytest.raises(IceJobNotFoundError, match="region changed since") as elsewhere:
        here.run()
    assert "job-0" in str(elsewhere.value)
    assert "clear this task" in str(elsewhere.value)
    assert len(here.ice.jobs) == 1
    here.clear()
    assert here.run() == "job-1"  # the advice holds
    assert here.ice.jobs[1].place[0] == "cn-beijing"


def test_another_address_of_the_same_account_is_no_change(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.ice.host = "ice-vpc.cn-shanghai.aliyuncs.com"
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


OTHER_PLACES: dict[str, dict[str, str]] = {
    "region": {"host": "ice.cn-beijing.aliyuncs.com"},
    "account": {"access_key": "another"},
}


def move(here: SubmitTask, **to: str) -> None:
    for name, value in to.items():
        setattr(here.ice, name, value)


@pytest.mark.parametrize("to", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_a_lost_reply_is_looked_for_in_another_place_and_nothing_is_sent_there(
    make_task: MakeTask, to: dict[str, str]
) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    looks = looked(here)
    move(here, **to)
    with pytest.raises(IceSubmissionRecordError, match="no job with its key") as elsewhere:
        here.run()
    assert "clear this task" in str(elsewhere.value)
    assert looks
    assert len(here.ice.jobs) == 1
    move(here, host="ice.cn-shanghai.aliyuncs.com", access_key="AK")
    assert here.run() == "job-0"


@pytest.mark.parametrize("to", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_a_clear_after_a_move_is_a_persons_decision_to_submit(
    make_task: MakeTask, to: dict[str, str]
) -> None:
    here = make_task()
    lines = captured(here)
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    looks = looked(here)
    move(here, **to)
    here.clear()
    assert here.run() == "job-1"
    assert looks
    assert "changed since an earlier try" in "\n".join(lines)


@pytest.mark.parametrize(
    "edit",
    [{"host": "ice-vpc.cn-shanghai.aliyuncs.com"}, {"access_key": "another of this account"}],
    ids=["vpc", "rotated key"],
)
@pytest.mark.parametrize("cleared", [False, True])
def test_a_lost_reply_is_found_after_an_edit_that_leads_to_the_same_account(
    make_task: MakeTask, edit: dict[str, str], *, cleared: bool
) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    move(here, **edit)
    here.ice.jobs[0].place = here.ice.place
    if cleared:
        here.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_token_is_not_sent_again_in_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SubmitTask(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.before_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.before_submit = lambda: None
    move(here, access_key="another")
    with pytest.raises(IceSubmissionRecordError, match="credentials changed"):
        here.run()
    assert here.ice.sends == 0


def looked(here: SubmitTask) -> list[float]:
    """Return the list that the moments go to at which the list is read."""
    looks: list[float] = []
    here.ice.on_list = lambda: looks.append(here.ice.now)
    return looks


def test_a_job_that_was_made_and_is_not_known_is_no_reason_to_make_another(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.run()
    lost = list(here.ice.jobs)
    # Another account behind the same connection, or a service that has not written it everywhere.
    here.ice.jobs.clear()
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
    here = SubmitTask(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
    here.ice.reply_takes, here.ice.list_lag = 70.0, 100.0
    here.ice.replies = ["lost_after"]
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("known", [False, True], ids=["reply lost", "job unknown"])
def test_a_clock_that_was_set_back_since_the_send_makes_no_search_endless(
    known: bool, make_task: MakeTask
) -> None:
    here = make_task()
    if known:
        here.run()
        here.ice.jobs.clear()
    else:
        here.ice.before_submit = killed
        with pytest.raises(Killed):
            here.run()
        here.ice.before_submit = lambda: None
    here.ice.now -= 24 * 3600
    here.ice.slept.clear()
    with suppress(IceJobNotFoundError):
        here.run()
    assert sum(here.ice.slept) <= 200
    assert len(here.ice.jobs) == (0 if known else 1)


def test_a_clock_that_jumps_after_a_lost_reply_shortens_no_search(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    ice, ahead = here.ice, [0.0]
    clock = SimpleNamespace(
        time=lambda: ice.now + ahead[0], sleep=ice.sleep, monotonic=ice.monotonic
    )
    monkeypatch.setattr("airflow_ice.operators.time", clock)
    ice.list_lag, ice.reply_takes, ice.replies = 5, 0.0, ["lost_after"]

    def jump(record: dict[str, Any]) -> None:
        if ice.sends:
            ahead[0] = 300.0  # when the loss is noted: NTP sets the clock

    here.store.after_set = jump
    assert here.run() == "job-0"
    assert len(ice.jobs) == 1


def test_a_try_that_died_in_a_slow_send_is_not_looked_for_too_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SubmitTask(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
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
    here = SubmitTask(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.list_lag = 10_000
    here.ice.replies = ["lost_after", "refused"]
    with pytest.raises(IceParameterError, match="Whether ICE took the job is not known") as refused:
        here.run()
    assert refused.value.submitted == "unknown"
    assert here.record["no_job_created"] is False
    here.ice.list_lag = 0
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_mismatch_is_got_over_by_time_or_by_a_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SubmitTask(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
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
            or "ICE says that an earlier try created a job" in str(mismatch.value)
        )
    sends = here.ice.sends
    with pytest.raises(IceSubmissionRecordError, match="shows none with its key"):
        here.run(**CHANGED)
    assert here.ice.sends == sends  # what is known to be taken is not sent again
    here.clear()
    assert here.run(**CHANGED) == "job-1"


def test_run_ids_that_repeat_make_jobs_of_their_own(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.store.values.clear()  # the DAG run was deleted and made again, or is another deployment's
    here.tries = 0
    assert here.run() == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_a_clear_that_cannot_be_told_from_a_retry_pays_nothing(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.run()
    here.max_tries = (
        here.tries + 0
    )  # as many as before: the task's retries were taken away together with the clear
    assert here.run(retries=0) == "job-0"


@pytest.mark.parametrize("retries", [1, 5])
def test_a_clear_is_seen_whatever_was_done_to_the_retries(
    make_task: MakeTask, retries: int
) -> None:
    here = make_task(on_clear="resubmit")
    here.run()
    here.run()
    here.max_tries = here.tries + retries
    assert here.run(retries=retries) == "job-1"
    assert len({job.key for job in here.ice.jobs}) == 2


def test_no_key_is_ever_used_for_two_wishes(make_task: MakeTask) -> None:
    here = make_task(on_clear="resubmit")
    here.run()
    for retries in (RETRIES, 0, 5, RETRIES):
        here.max_tries = here.tries + retries
        here.run(
            retries=retries + 1
        )  # raised between the clear and the run: the epoch is that of another clear
    assert len({job.key for job in here.ice.jobs}) == len(here.ice.jobs) == 5


def test_a_retry_without_a_record_takes_the_job_that_carries_its_key(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.store.values.clear()
    here.ice.jobs[0].status = "Finished"
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_inputs_that_no_longer_pass_do_not_bar_the_job_that_is_there(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    with pytest.raises(
        NonRetryableIceInputsChangedError, match=r"OutputConfig\.Count changed since job job-0"
    ):
        here.run({"output_config": {**OUTPUT, "Count": 101}})
    changed = {"output_config": {**OUTPUT, "Count": 101}}
    assert here.run(changed, on_changed_inputs="reattach") == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_of_an_unanswered_submit_whose_job_has_failed_makes_a_new_one_at_once(
    make_task: MakeTask,
) -> None:
    here = make_task()
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
    here = SubmitTask(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch, on_lost_reply="fail")
    here.ice.replies = ["lost_before"]
    for _ in range(2):
        with pytest.raises(IceSubmissionRecordError, match="Look for it in the console"):
            here.run()
    assert (here.ice.sends, here.ice.jobs) == (1, [])
    here.clear()
    assert here.run() == "job-0"


def test_a_lookup_that_fails_does_not_hide_that_a_reply_was_lost(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["lost_after"]
    here.ice.list_out_of_reach = True
    with pytest.raises(IceTransportError, match="A job may have been created") as lookup:
        here.run()
    assert lookup.value.submitted == "unknown"


def test_a_task_that_was_told_to_stop_sends_nothing_any_more(make_task: MakeTask) -> None:
    here = make_task()
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
    with pytest.raises(IceError, match="was stopped"):
        here.run()
    assert here.ice.sends == 1


def test_a_service_that_asks_to_wait_for_days_is_left_to_a_retry(make_task: MakeTask) -> None:
    here = make_task()
    error = IceThrottledError("slow down", code="Throttling", submitted="no", retry_after=1e6)

    def refuse() -> None:
        raise error

    here.ice.before_submit = refuse
    with pytest.raises(IceThrottledError):
        here.run()
    assert sum(here.ice.slept) < 60


def test_bad_input_speaks_before_anything_is_sent(make_task: MakeTask) -> None:
    here = make_task()
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


def test_the_record_outlives_airflows_default_retention(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    here = make_task()
    kept: list[Any] = []
    write = TryStore.set

    def set_and_note(store: TryStore, key: str, value: Any, *, retention: Any = None) -> None:
        kept.append(retention)
        write(store, key, value, retention=retention)

    monkeypatch.setattr(TryStore, "set", set_and_note)
    here.run()
    assert kept
    assert all(retention is NEVER_EXPIRE for retention in kept)


def test_each_decision_is_one_line_that_says_what_it_means_for_the_bill(
    make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_task()
    lines = captured(here)
    here.run()
    here.run()
    text = "\n".join(lines)
    assert "Submitting a new job: no earlier submission" in text
    assert "job-0: submitted; it is billed" in text
    assert "job-0: found Processing; reattaching; nothing is billed again" in text


def captured(here: SubmitTask) -> list[str]:
    """Return the list that the operators' lines go to."""
    lines: list[str] = []

    class Log:
        def info(self, message: str, *args: Any) -> None:
            lines.append(message % args)

        warning = info

    here.kind = type(here.kind.__name__, (here.kind,), {"log": Log()})
    return lines


def test_killing_the_task_is_honest(make_task: MakeTask) -> None:
    here = make_task()
    lines = captured(here)
    operator = here.kind(**here.arguments)
    operator.on_kill()
    operator._job_id = "job-7"
    operator.on_kill()
    assert "finds it by its key" in lines[0]
    assert "Batch job job-7 keeps running and will be billed" in lines[1]


def test_errors_of_a_submit_say_what_a_retry_does(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["lost_before"] * 10
    with pytest.raises(
        IceError, match="looks for the job by its key, and sends again only if there is none"
    ) as lost:
        here.run()
    assert lost.value.submitted == "unknown"
    assert here.ice.jobs == []
    here.ice.replies = []
    assert here.run() == "job-0"


# The key rests on nothing that Airflow resets.


@pytest.mark.parametrize("start_date", [None, datetime(2026, 3, 4, tzinfo=UTC)])
def test_a_clear_that_empties_the_store_and_resets_the_start_still_finds_the_running_job(
    make_task: MakeTask, start_date: datetime | None
) -> None:
    here = make_task()
    here.run()
    here.clear()
    here.dag_run.start_date = start_date
    here.store.values.clear()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_that_empties_the_store_delivers_the_ended_job_as_it_is(
    make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = "Finished"
    here.clear()
    here.store.values.clear()
    assert here.run(**CHANGED) == "job-0"
    logged = capsys.readouterr().out
    assert "whether the inputs changed is not known" in logged
    here.ice.jobs[0].status = "Failed"
    here.clear()
    here.store.values.clear()
    assert here.run() == "job-1"


def test_a_running_job_is_found_without_a_record_in_a_list_that_lags(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.list_lag = 45
    here.run()
    here.clear()
    here.store.values.clear()
    assert here.run() == "job-0"


def test_an_ended_job_does_not_hide_its_successor_that_the_list_does_not_show_yet(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.run()
    here.ice.jobs[0].status = "Failed"
    here.ice.now += 100
    here.ice.list_lag = 45
    here.clear()
    assert here.run() == "job-1"
    here.store.values.clear()
    assert here.run() == "job-1"
    assert len(here.ice.jobs) == 2


def test_a_first_try_never_adopts_a_job_of_another_deployment(make_task: MakeTask) -> None:
    there = make_task()
    there.run()
    here = make_task()
    here.ice.jobs = there.ice.jobs
    here.clear_another_task()
    assert here.run() == "job-1"
    assert here.ice.jobs[0].key != here.ice.jobs[1].key
    assert here.ice.jobs[0].key[:17] == here.ice.jobs[1].key[:17]


# Clears and retries.


def test_a_clear_after_retries_were_lowered_is_seen(make_task: MakeTask) -> None:
    here = make_task(on_clear="resubmit")
    here.run()
    assert here.max_tries == here.tries + RETRIES - 1
    here.clear(retries=RETRIES - 1)  # max_tries stays what it was
    assert here.max_tries == RETRIES
    assert here.run(retries=RETRIES - 1) == "job-1"
    assert here.run(retries=RETRIES - 1) == "job-1"


def test_a_clear_of_another_task_is_no_clear_of_this_one(make_task: MakeTask) -> None:
    here = make_task()
    here.run()
    here.clear_another_task()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_clear_of_a_running_task_is_a_retry(make_task: MakeTask) -> None:
    here = make_task(wait_for_completion=True, timeout=0)
    with pytest.raises(IceJobTimeoutError):
        here.run()
    here.clear_another_task()  # Airflow restarts the task: max_tries stays, clear_number rises
    with pytest.raises(IceJobTimeoutError):
        here.run()
    assert len(here.ice.jobs) == 1


def test_a_record_of_the_version_before_keeps_its_key_and_its_job(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    record = here.record
    old = {
        "key": record["key"],
        "refused": record["no_job_created"],
        "taken": record["job_exists"],
        "inputs": {
            **record["inputs"],
            "ice_conn_id": "0" * 12,
            "region_id": "0" * 12,
            "endpoint": fingerprint("ice-vpc.cn-shanghai.aliyuncs.com"),
        },
    }
    kept = ("generation", "max_tries", "intent_at", "sent_at", "job_id", "delivered")
    here.store.values[RECORD] = json.dumps({**old, **{name: record[name] for name in kept}})
    assert here.run() == "job-0"
    assert here.record["key"] == record["key"]
    here.clear()
    assert here.run() == "job-0"
    here.clear()
    assert here.run(on_clear="resubmit") == "job-1"


@pytest.mark.parametrize("renamed", [{"ice_conn_id": "another"}, {"region_id": "cn-shanghai"}])
@pytest.mark.parametrize("answered", [False, True])
def test_another_name_for_the_same_connection_and_region_is_no_move(
    make_task: MakeTask, renamed: dict[str, str], *, answered: bool
) -> None:
    here = make_task()
    if answered:
        here.run()
    else:
        here.ice.after_submit = killed
        with pytest.raises(Killed):
            here.run()
        here.ice.after_submit = lambda: None
    assert here.run(**renamed) == "job-0"
    assert len(here.ice.jobs) == 1


# A job that is not known (yet).


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("unlisted", [False, True])
def test_a_young_job_that_get_does_not_know_yet_is_looked_at_again(
    make_task: MakeTask, *, unlisted: bool, cleared: bool
) -> None:
    here = make_task(wait_for_completion=True, timeout=0)
    here.ice.get_lag, here.ice.unlisted = 45, unlisted
    with pytest.raises(IceJobTimeoutError):
        here.run()
    here.ice.now += 3
    if cleared:
        here.clear()
    with pytest.raises(IceJobTimeoutError):
        here.run()
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("cleared", [False, True])
def test_a_job_that_get_does_not_know_is_looked_for_in_the_list(
    make_task: MakeTask, *, cleared: bool
) -> None:
    here = make_task(wait_for_completion=True, timeout=0)
    here.ice.get_lag = 10_000
    with pytest.raises(IceError):
        here.run()
    here.ice.now += 300
    if cleared:
        here.clear()
    with pytest.raises(IceError):
        here.run()
    assert len(here.ice.jobs) == 1


def test_a_job_that_is_unknown_and_a_list_that_cannot_be_read_never_mean_submit(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.run()
    here.ice.now += 300
    move(here, access_key="another")
    here.ice.list_out_of_reach = True
    here.clear()
    with pytest.raises(IceTransportError):
        here.run()
    assert len(here.ice.jobs) == 1


# Only ICE itself proves that no job was created.


@pytest.mark.parametrize("reply", ["gateway_after", "silent_after", "lost_after"])
def test_an_error_that_is_not_ices_own_proves_nothing(make_task: MakeTask, reply: Any) -> None:
    here = make_task()
    here.ice.replies = [reply]
    assert here.run() == "job-0"
    assert here.ice.sends == 1


def test_a_refusal_after_an_unproven_error_does_not_rule_a_job_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SubmitTask(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
    here.ice.list_lag = 100  # longer than the list is given
    here.ice.replies = ["gateway_after", "refused"]
    with pytest.raises(IceParameterError) as refused:
        here.run()
    assert refused.value.submitted == "unknown"
    assert here.record["no_job_created"] is False
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


# The reply came, and its id is not stored.


def fail_to_save(here: SubmitTask, times: float) -> None:
    """Let the next writes of an id fail."""
    failures = iter(range(int(min(times, 1e9))))

    def fail(record: dict[str, Any]) -> None:
        if record["job_id"] and next(failures, None) is not None:
            raise RuntimeError("API_SERVER_ERROR: out of reach")

    here.store.on_set = fail


def test_the_id_is_stored_again_and_again(make_task: MakeTask) -> None:
    here = make_task()
    fail_to_save(here, 5)
    assert here.run() == "job-0"
    assert here.record["job_id"] == "job-0"
    assert sum(here.ice.slept) == 1 + 2 + 4 + 8 + 16


def test_an_id_that_cannot_be_stored_at_all_is_in_xcom_and_pays_nothing_twice(
    make_task: MakeTask,
) -> None:
    here = make_task()
    lines = captured(here)
    fail_to_save(here, 1e9)
    with pytest.raises(IceSubmissionRecordError, match="job-0") as lost:
        here.run()
    assert here.ti.pushed == PUSHED
    assert "Batch job job-0: submitted; it is billed" in "\n".join(lines)
    assert 290 <= sum(here.ice.slept) <= 310
    no_token = here.kind.describe is IceSubmitScreenMediaHighlightsJobOperator.describe
    assert isinstance(lost.value, AirflowFailException) is no_token
    if no_token:
        assert "IceBatchMediaProducingJobSensor(job_id='job-0')" in str(lost.value)
    here.store.on_set = lambda record: None
    if not no_token:
        here.ice.unlisted = True
        assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


@pytest.mark.parametrize("where", ["pause", "xcom"])
def test_a_task_whose_time_is_over_before_the_id_is_stored_pays_nothing_twice(
    where: str, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    here.ice.unlisted = True
    fail_to_save(here, 1e9)

    def over(*_: object, key: str = "", **__: object) -> None:
        if key != LINK_KEY:  # which is pushed before there is a job
            raise AirflowTaskTimeout("Timeout, PID: 1")  # of execution_timeout; no Exception

    with monkeypatch.context() as patch:
        if where == "xcom":
            patch.setattr(TaskInstance, "xcom_push", over)
        else:
            patch.setattr(here.ice, "sleep", over)
            here.ice.install(patch)
        with pytest.raises((AirflowTaskTimeout, IceSubmissionRecordError)) as ended:
            here.run()
    here.ice.install(monkeypatch)
    here.store.on_set = lambda record: None
    if here.kind.describe is IceSubmitScreenMediaHighlightsJobOperator.describe:
        assert isinstance(ended.value, AirflowFailException)  # which Airflow does not retry
        assert "job-0" in str(ended.value)
    else:
        assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_task_whose_time_is_over_stores_the_id_once_more(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    here.ice.unlisted = True

    def over(*_: object, key: str = "", **__: object) -> None:
        if key != LINK_KEY:  # which is pushed before there is a job
            raise AirflowTaskTimeout("Timeout, PID: 1")

    with monkeypatch.context() as patch:
        patch.setattr(TaskInstance, "xcom_push", over)
        with pytest.raises(AirflowTaskTimeout):
            here.run()
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_storing_the_id_ends_early_when_the_task_is_told_to_stop(make_task: MakeTask) -> None:
    here = make_task()
    fail_to_save(here, 1e9)

    def stop() -> None:
        assert here.operator
        here.operator.on_kill()

    here.ice.after_submit = stop
    with pytest.raises(IceSubmissionRecordError):
        here.run()
    assert here.ice.slept == []


def test_an_xcom_that_cannot_be_pushed_does_not_keep_the_id_from_the_store(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    pushed = iter([True])

    def push(self: TaskInstance, key: str, value: Any) -> None:
        if key != LINK_KEY and next(pushed, None):
            raise RuntimeError("out of reach")
        self.pushed[key] = value

    monkeypatch.setattr(TaskInstance, "xcom_push", push)
    assert here.run() == "job-0"
    assert here.record["job_id"] == "job-0"
    assert here.ti.pushed == PUSHED


# Told to stop, and frozen.


@pytest.mark.parametrize("moment", ["after the intent", "in the limiter", "at the first request"])
def test_a_task_told_to_stop_at_any_moment_before_the_send_sends_nothing(
    make_task: MakeTask, moment: str
) -> None:
    here = make_task()

    def stop(*_: object) -> None:
        assert here.operator
        here.operator.on_kill()

    if moment == "after the intent":
        here.store.after_set = stop
    elif moment == "in the limiter":
        here.ice.in_limiter = stop
    else:
        here.store.on_set = stop
    with pytest.raises(IceTaskStoppedError) as stopped:
        here.run()
    assert here.ice.sends == 0
    assert stopped.value.submitted == "no"
    here.ice.in_limiter = lambda: None
    here.store.on_set = here.store.after_set = lambda record: None
    assert here.run() == "job-0"
    assert here.ice.slept == []  # that nothing was sent is noted: no list needs to settle


def test_a_client_told_to_stop_between_its_own_tries_does_not_say_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SubmitTask(IceSubmitBatchMediaProducingJobOperator, monkeypatch)
    here.ice.client_tries = 4
    here.ice.replies = ["lost_after"]

    def stop() -> None:
        assert here.operator
        here.operator.on_kill()

    here.ice.after_submit = stop
    with pytest.raises(IceTaskStoppedError) as stopped:
        here.run()
    assert stopped.value.submitted == "unknown"
    assert here.record["no_job_created"] is False
    here.ice.after_submit = lambda: None
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_pause_ends_early_when_the_task_is_told_to_stop(make_task: MakeTask) -> None:
    here = make_task()
    here.ice.replies = ["lost_before"]

    def stop(*_: object) -> None:
        assert here.operator
        here.operator.on_kill()

    here.ice.list_lag = 10_000
    here.ice.on_list = stop
    with pytest.raises(IceTaskStoppedError) as stopped:
        here.run()
    assert stopped.value.submitted == "unknown"
    assert sum(here.ice.slept) < 2


@pytest.mark.parametrize("kind_of_freeze", ["stopped process", "suspended machine"])
@pytest.mark.parametrize("where", ["in the limiter", "after the intent"])
def test_a_worker_that_wakes_after_its_retry_has_submitted_sends_nothing(
    make_task: MakeTask, kind_of_freeze: str, where: str
) -> None:
    here = make_task()
    ids: list[str] = []

    def freeze(*_: object) -> None:
        here.ice.in_limiter = lambda: None
        here.store.after_set = lambda record: None
        if kind_of_freeze == "stopped process":
            here.ice.now += 400
        else:
            here.ice.suspend(400)
        here.ice.unlisted = True  # a look would not save the day
        ids.append(here.run())

    if where == "in the limiter":
        here.ice.in_limiter = freeze
    else:
        here.store.after_set = freeze
    with pytest.raises(IceTryReplacedError, match="Another try of this task has replaced"):
        here.run()
    assert ids == ["job-0"]
    assert len(here.ice.jobs) == 1
    assert here.record["job_id"] == "job-0"  # what the later try knows is not overwritten


def test_a_worker_that_wakes_without_a_retry_sends_under_a_fresh_intent(
    make_task: MakeTask,
) -> None:
    here = make_task()
    here.ice.limiter_takes = 400
    sent_at: list[float] = []
    here.ice.before_submit = lambda: sent_at.append(here.record["sent_at"])
    assert here.run() == "job-0"
    assert sent_at == [here.ice.jobs[0].created_at]


def test_a_store_that_takes_too_long_for_every_check_sends_nothing(make_task: MakeTask) -> None:
    here = make_task()

    def slow(record: dict[str, Any]) -> None:
        here.ice.now += 6

    here.store.on_set = slow
    with pytest.raises(IceSubmissionRecordError, match="took more than 5 s"):
        here.run()
    assert here.ice.sends == 0


def test_an_id_that_a_later_try_looks_after_is_not_stored_again_and_again(
    make_task: MakeTask,
) -> None:
    here = make_task()

    def freeze() -> None:
        here.ice.after_submit = lambda: None
        here.ice.now += 400
        assert here.run() == "job-0"

    here.ice.after_submit = freeze
    with pytest.raises(IceTryReplacedError):
        here.run()
    assert len(here.ice.jobs) == 1


def test_the_longest_send_of_another_try_counts_what_its_check_lets_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SubmitTask(IceSubmitScreenMediaHighlightsJobOperator, monkeypatch)
    here.ice.before_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.before_submit = lambda: None
    began = here.ice.now
    assert here.run() == "job-0"
    assert here.ice.now - began >= 60 + here.ice.reply_takes + FREEZE_SUSPECTED


# Pages.


def test_a_job_that_is_listed_without_its_id_is_neither_adopted_nor_submitted_again(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    whole = here.ice._list
    with monkeypatch.context() as patch:
        patch.setattr(
            here.ice, "_list", lambda query: [row | {"JobId": None} for row in whole(query)]
        )
        with pytest.raises(IceUnavailableError, match="without its id") as shown:
            here.run()
    assert shown.value.submitted == "unknown"
    assert here.record["job_id"] is None
    assert here.run() == "job-0"
    assert len(here.ice.jobs) == 1


def test_a_job_that_shifts_to_the_next_page_is_one_job(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_task()
    lines = captured(here)
    here.ice.after_submit = killed
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    once = MemoryIce._list
    monkeypatch.setattr(MemoryIce, "_list", lambda ice, sent: once(ice, sent) * 2)
    assert here.run() == "job-0"
    assert "billed, too" not in "\n".join(lines)


# Facts that only look like what they are not


def test_a_worker_whose_clock_is_ahead_waits_for_the_list_all_the_same(
    make_task: Callable[..., SubmitTask],
) -> None:
    here = make_task()
    here.ice.list_lag = 5.0
    here.ice.replies = ["lost_after"]
    here.ice.after_submit = lambda: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        here.run()
    here.ice.after_submit = lambda: None
    # The next worker's clock shows two minutes more, and the list still lags behind the send.
    here.ice.now += 120.0
    here.ice.jobs[0].created_at = here.ice.now - 1.0
    assert here.run() == here.ice.jobs[0].job_id
    assert len(here.ice.jobs) == 1


def test_a_retry_that_looks_like_a_clear_spends_nothing(
    make_task: Callable[..., SubmitTask],
) -> None:
    """Another task was cleared, and this one's retries were lowered, between two tries."""
    here = make_task(wait_for_completion=True, timeout=0)
    with pytest.raises(IceJobTimeoutError):
        here.run()
    here.ice.jobs[0].status = "Failed"
    here.clear_another_task()
    here.arguments["retries"] = here.max_tries - here.tries
    with pytest.raises(NonRetryableIceJobFailedError, match="clear this task"):
        here.run()
    assert len(here.ice.jobs) == 1
    here.clear(here.arguments["retries"])  # which no retry looks like
    with pytest.raises(IceJobTimeoutError):
        here.run()
    assert len(here.ice.jobs) == 2


def test_a_record_of_another_task_instance_is_no_record_of_this_one(
    make_task: Callable[..., SubmitTask],
) -> None:
    here = make_task()
    here.run()
    record = here.record
    record["key"] = f"{'0' * 16}-{record['key'][17:]}"
    here.store.values[RECORD] = json.dumps(record)
    with pytest.raises(IceSubmissionRecordError, match="another task instance"):
        here.run()
    assert len(here.ice.jobs) == 1
