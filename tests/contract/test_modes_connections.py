"""Keys that are rotated and connections that are edited while somebody waits: the outcome is the
same in all modes of the sensor, and for a submit operator that waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred

from airflow_ice.api.errors import IceAuthenticationError, IceInputError, IceJobNotFoundError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.exceptions import IceJobTimeoutError
from airflow_ice.hooks import IceHook
from airflow_ice.operators import IceSubmitBatchMediaProducingJobOperator
from airflow_ice.waiting import CLOCK_TOLERANCE, DOUBT
from tests.accounts import BEIJING, GET, NEW, OLD, SHANGHAI, Accounts, settings
from tests.memory_ice import INPUT, OUTPUT, MemoryStore, TaskInstance
from tests.three_modes import MODES, Clock, Outcome, Run, first_event, revived, task_runner

__all__ = ["task_runner"]
pytestmark = pytest.mark.usefixtures("task_runner")

INTERVAL = 10.0
WAYS = [*MODES, "submit", "submit, deferred"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    found.install(monkeypatch)
    return found


@pytest.fixture
def accounts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Return two places, with a job in Shanghai that ends after 300 s."""
    found = Accounts(clock, {SHANGHAI: {"job-1": 300.0}})
    found.install(monkeypatch)
    return found


class Submit:
    """A submit operator that waits, from its first execute() to its end."""

    def __init__(self, clock: Clock, *, deferrable: bool = False, **options: Any) -> None:
        self.clock = clock
        self.options = {"deferrable": deferrable, "timeout": 3600, **options}
        self.ti = Ti(max_tries=0)
        self.store = MemoryStore().of_next_try()
        now = datetime.fromtimestamp(clock.now, UTC)
        run = {"start_date": now, "run_after": now, "logical_date": now, "clear_number": 0}
        self.context: Any = {
            "ti": self.ti,
            "dag_run": SimpleNamespace(**run),
            "task_state_store": self.store,
        }

    def operator(self) -> IceSubmitBatchMediaProducingJobOperator:
        return IceSubmitBatchMediaProducingJobOperator(
            task_id="submit",
            input_config=INPUT,
            output_config=OUTPUT,
            wait_for_completion=True,
            poke_interval=INTERVAL,
            **self.options,
        )

    def deferred(self) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as caught:
            self.operator().execute(self.context)
        return caught.value

    def result(self) -> Any:
        try:
            found = self.operator().execute(self.context)
        except TaskDeferred as deferred:
            event = self.clock.run(first_event(revived(deferred.trigger)))
            found = self.resumed_with(deferred.method_name, {"event": event})
        return found["job_id"]

    def resumed_with(self, method: str, kwargs: dict[str, Any]) -> Any:
        return self.operator().resume_execution(method, kwargs, self.context)


class Ti(TaskInstance):
    """Gives back what was pushed."""

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.pushed.get(key)


def outcome_of_waiting(way: str, clock: Clock) -> Outcome:
    """Wait for job-1 in one of all ways."""
    if way.startswith("submit"):
        return Run.ended_by(Submit(clock, deferrable=way.endswith("deferred")).result)
    for mode in MODES:
        if mode == way:
            return Run(mode, clock, timeout=3600, poke_interval=INTERVAL).outcome()
    raise ValueError(way)


def edited(at: float, **after: Any) -> Callable[[float], dict[str, Any]]:
    """Return a connection that is edited after so many seconds."""
    return lambda passed: settings() if passed < at else settings(**after)


# Keys


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_is_rotated_in_the_middle_of_a_wait_ends_nothing(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = edited(120, key=NEW)
    accounts.takes = lambda key, passed: (key == OLD) is (passed < 100)
    assert outcome_of_waiting(way, clock).value == "job-1"
    assert clock.passed <= 300 + 3 * INTERVAL
    refused = [asked for asked in accounts.asked if asked.key == OLD and asked.at >= 100]
    assert refused, "the old key is never refused: the test shows nothing"


@pytest.mark.parametrize("way", WAYS)
def test_an_old_key_that_still_works_is_left_for_the_new_one(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = edited(100, key=NEW)
    assert outcome_of_waiting(way, clock).value == "job-1"
    later = [asked.key for asked in accounts.asked if asked.at > 100 + INTERVAL + 5]
    assert later
    assert set(later) == {NEW}


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_stays_refused_ends_a_wait_after_a_minute(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.takes = lambda key, passed: passed < 100
    outcome = outcome_of_waiting(way, clock)
    assert isinstance(outcome.error, IceAuthenticationError)
    assert outcome.error.code == "InvalidAccessKeyId.NotFound"
    assert 100 + DOUBT - INTERVAL <= clock.passed <= 100 + DOUBT + 3 * INTERVAL


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_makes_no_sense_for_half_a_minute_ends_nothing(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = lambda passed: settings(
        region="cn-shanghai" if not 100 <= passed < 130 else "Atlantis"
    )
    assert outcome_of_waiting(way, clock).value == "job-1"


@pytest.mark.parametrize("way", MODES)
def test_a_connection_that_is_wrong_from_the_beginning_ends_a_wait_at_once(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = lambda passed: settings(region="Atlantis")
    assert isinstance(outcome_of_waiting(way, clock).error, IceInputError)
    assert clock.passed == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_is_out_of_reach_for_minutes_ends_nothing(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = lambda passed: None if 50 <= passed < 280 else settings()
    assert outcome_of_waiting(way, clock).value == "job-1"
    assert clock.passed <= 300 + 3 * INTERVAL


# Places


@pytest.mark.parametrize("way", [way for way in WAYS if way != "reschedule"])
@pytest.mark.parametrize("after", [{"region": "cn-beijing"}, {"host": BEIJING}], ids=str)
def test_a_job_that_is_known_only_where_the_wait_began_is_still_told(
    after: dict[str, str], way: str, clock: Clock, accounts: Accounts
) -> None:
    accounts.connection = edited(100, **after)
    accounts.jobs[BEIJING] = {}
    assert outcome_of_waiting(way, clock).value == "job-1"
    assert clock.passed <= 300 + 3 * INTERVAL
    assert {asked.host for asked in accounts.asked} == {SHANGHAI, BEIJING}


def test_a_rescheduled_wait_that_has_forgotten_where_its_job_was_says_that_it_is_unknown(
    clock: Clock, accounts: Accounts
) -> None:
    """Each poll of it is a process of its own, which knows what the connection says now."""
    accounts.connection = edited(100, region="cn-beijing")
    outcome = outcome_of_waiting("reschedule", clock)
    assert isinstance(outcome.error, IceJobNotFoundError)
    assert clock.passed >= 100 + DOUBT - CLOCK_TOLERANCE


@pytest.mark.parametrize("after", [{"region": "cn-beijing"}, {"host": BEIJING}], ids=str)
def test_a_wait_that_comes_back_after_a_restart_knows_where_its_job_was(
    after: dict[str, str], clock: Clock, accounts: Accounts
) -> None:
    """A triggerer that starts again has forgotten everything but the trigger's arguments."""
    submit = Submit(clock, deferrable=True)
    deferred = submit.deferred()
    accounts.connection = edited(0, **after)
    accounts.jobs[BEIJING] = {}
    event = clock.run(first_event(revived(deferred.trigger)))
    assert event["region_id"] == "cn-shanghai"
    assert submit.resumed_with(deferred.method_name, {"event": event})["job_id"] == "job-1"
    assert clock.passed <= 300 + 3 * INTERVAL


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_is_known_in_the_new_place_is_polled_there(
    way: str, clock: Clock, accounts: Accounts
) -> None:
    """An endpoint that is edited, not an account."""
    accounts.connection = edited(100, host=BEIJING)
    accounts.jobs[BEIJING] = accounts.jobs[SHANGHAI]
    assert outcome_of_waiting(way, clock).value == "job-1"
    later = {asked.host for asked in accounts.asked if asked.at > 100 + INTERVAL + 5}
    assert later == {BEIJING}


# A submit operator whose trigger says nothing

CRASHED = {"error": "Trigger failure", "traceback": ["a bug"]}
NOT_RUN = {"error": "Trigger timeout"}


@pytest.mark.parametrize("failure", [CRASHED, NOT_RUN], ids=["crashed", "not run"])
def test_an_operator_collects_a_finished_job_whatever_became_of_its_trigger(
    failure: dict[str, Any], clock: Clock, accounts: Accounts
) -> None:
    submit = Submit(clock, deferrable=True)
    submit.deferred()
    clock.sleep(301)
    assert submit.resumed_with("__fail__", failure)["job_id"] == "job-1"
    assert submit.ti.pushed["media_ids"] == ["m"]
    assert accounts.submitted == 1


def test_an_operator_whose_trigger_crashed_says_what_becomes_of_the_paid_job(
    clock: Clock, accounts: Accounts
) -> None:
    submit = Submit(clock, deferrable=True)
    submit.deferred()
    with pytest.raises(TaskDeferralError) as caught:
        submit.resumed_with("__fail__", CRASHED)
    for said in ("job-1", "crashed", "keeps running", "billed", "retry"):
        assert said in str(caught.value)
    assert accounts.submitted == 1


def test_an_operator_whose_trigger_did_not_run_times_out(clock: Clock, accounts: Accounts) -> None:
    submit = Submit(clock, deferrable=True)
    submit.deferred()
    with pytest.raises(IceJobTimeoutError, match="job-1 had not ended") as caught:
        submit.resumed_with("__fail__", NOT_RUN)
    assert caught.value.job_id == "job-1"


def test_an_operator_that_finds_no_job_id_polls_for_nothing(
    clock: Clock, accounts: Accounts
) -> None:
    submit = Submit(clock, deferrable=True)
    submit.deferred()
    submit.ti.pushed.clear()
    before = accounts.count(GET)
    with pytest.raises(TaskDeferralError, match="Trigger failure"):
        submit.resumed_with("__fail__", CRASHED)
    assert accounts.count(GET) == before


# Over HTTP


@pytest.mark.parametrize("mode", MODES[:1] + MODES[2:])
def test_a_wait_goes_on_in_the_old_region_and_a_new_one_begins_in_the_new_region(
    mode: Any, set_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_ice.polling.registry.READ_AGAIN", 0.02)
    with LocalIce(render=False) as old, LocalIce(render=False) as new:
        old.freeze()
        new.freeze()
        set_connection(old)
        known_to_old = submitted()
        polled = IceHook.get_batch_media_producing_job, IceHook.aget_batch_media_producing_job

        def follow() -> None:
            if len(old.requests(GET)) == 2:
                set_connection(new)
            if len(new.requests(GET)) == 1:
                old.finish_all()

        def poll(hook: IceHook, job_id: str) -> Any:
            follow()
            return polled[0](hook, job_id)

        async def apoll(hook: IceHook, job_id: str) -> Any:
            follow()
            return await polled[1](hook, job_id)

        monkeypatch.setattr(IceHook, "get_batch_media_producing_job", poll)
        monkeypatch.setattr(IceHook, "aget_batch_media_producing_job", apoll)
        outcome = Run(mode, job_id=known_to_old, timeout=20, poke_interval=0.05).outcome()
        assert outcome.value == known_to_old, repr(outcome.error)
        before = len(old.requests(GET))
        known_to_new = submitted()
        new.finish_all()
        run = Run(mode, job_id=known_to_new, timeout=20, poke_interval=0.05)
        assert run.outcome().value == known_to_new
        assert len(old.requests(GET)) == before


def submitted() -> str:
    # The emulator, like ICE, writes to a bucket's own address.
    bucket = "http://bucket.oss-cn-shanghai.aliyuncs.com"
    output = {**OUTPUT, "MediaURL": f"{bucket}/v_{{index}}.mp4", "Width": 320, "Height": 240}
    return IceHook().submit_batch_media_producing_job(input_config=INPUT, output_config=output)
