"""One decision, three modes: the same history of a job has the same outcome in poke, reschedule and
deferrable mode."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    TaskDeferralError,
    TaskDeferred,
)

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceError,
    IceJobFailedError,
    IceJobNotFoundError,
    IceThrottledError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.models import BatchMediaProducingJob, JobError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook
from airflow_ice.triggers import TRIGGER_MARGIN
from airflow_ice.waiting import CLOCK_TOLERANCE, DEADLINE_GRACE, DOUBT
from tests.accounts import SHANGHAI, Accounts
from tests.three_modes import MODES, Clock, Mode, Run, first_event, revived, scripted, task_runner

__all__ = ["task_runner"]
pytestmark = pytest.mark.usefixtures("task_runner")


def job(status: str, **fields: Any) -> BatchMediaProducingJob:
    return BatchMediaProducingJob(job_id="job-1", status=status, request_id="R-1", **fields)


RUNNING, FINISHED = job("Processing"), job("Finished")
FAILED = job("Failed", error=JobError("InvalidMaterial.NotFound", "no such clip"))
RESET = IceTransportError("the connection broke", action="GetBatchMediaProducingJob")
BUSY = IceThrottledError("slow down", code="Throttling.User", http_status=400, retry_after=45.0)
DOWN = IceUnavailableError("HTTP 502", http_status=502)
UNKNOWN = IceJobNotFoundError(
    "Resource not found", code="ResourceNotFound", http_status=404, request_id="R-2"
)
WRONG_KEY = IceAuthenticationError(
    "no", code="SignatureDoesNotMatch", http_status=400, request_id="R-3"
)
NO_CONNECTION = AirflowNotFoundException("The conn_id `ice_default` isn't defined")
HOUR: dict[str, Any] = {"timeout": 3600}
TURN = 1.1
"""Seconds within which a poll loop begins the next turn."""


@dataclass(frozen=True)
class History:
    """What the polls show (the last one for ever), and how every mode must end."""

    name: str
    polls: list[Any]
    ends: str
    retried: bool = False
    code: str | None = None
    says: str = ""
    sensor: dict[str, Any] = field(default_factory=lambda: dict(HOUR))

    @property
    def fails_at_deadline(self) -> bool:
        return isinstance(self.polls[-1], Exception)


def told(**options: Any) -> dict[str, Any]:
    return HOUR | options


JOB_FAILED: dict[str, Any] = {
    "ends": "NonRetryableIceJobFailedError",
    "code": "InvalidMaterial.NotFound",
    "says": "no such clip",
}
TIMED_OUT: dict[str, Any] = {
    "ends": "AirflowSensorTimeout",
    "says": "keeps running in ICE and stays billed",
}

HISTORIES = [
    History("finished at the first poll", [FINISHED], "succeeded"),
    History("finished", [job("Init"), RUNNING, RUNNING, FINISHED], "succeeded"),
    History(
        "finished with an error in Extend",
        [RUNNING, job("Finished", error=JobError("E", "e"))],
        "succeeded",
    ),
    History("an unknown state, then finished", [job("Paused"), job(""), FINISHED], "succeeded"),
    History(
        "transient errors, then finished",
        [RESET, BUSY, RUNNING, DOWN, DOWN, RESET, FINISHED],
        "succeeded",
    ),
    History("failed", [RUNNING, FAILED], **JOB_FAILED),
    History("failed at the first poll", [FAILED], **JOB_FAILED),
    History("failed, soft_fail", [RUNNING, FAILED], **JOB_FAILED, sensor=told(soft_fail=True)),
    History(
        "failed at the first poll, soft_fail", [FAILED], **JOB_FAILED, sensor=told(soft_fail=True)
    ),
    History("failed, silent_fail", [RUNNING, FAILED], **JOB_FAILED, sensor=told(silent_fail=True)),
    History(
        "failed, never_fail",
        [RUNNING, FAILED],
        "skipped",
        says="no such clip",
        sensor=told(never_fail=True),
    ),
    History(
        "a permanent error",
        [RUNNING, WRONG_KEY],
        "IceAuthenticationError",
        retried=True,
        code="SignatureDoesNotMatch",
    ),
    History(
        "a permanent error at once",
        [WRONG_KEY],
        "NonRetryableIceAuthenticationError",
        code="SignatureDoesNotMatch",
    ),
    History(
        "a permanent error, soft_fail",
        [RUNNING, WRONG_KEY],
        "IceAuthenticationError",
        True,
        sensor=told(soft_fail=True),
    ),
    History(
        "a permanent error, never_fail",
        [RUNNING, WRONG_KEY],
        "skipped",
        sensor=told(never_fail=True),
    ),
    History(
        "a permanent error, silent_fail",
        [RUNNING, WRONG_KEY, WRONG_KEY, FINISHED],
        "succeeded",
        sensor=told(silent_fail=True),
    ),
    History(
        "an unknown job that becomes known",
        [UNKNOWN, UNKNOWN, RUNNING, FINISHED],
        "succeeded",
        sensor=told(poke_interval=10),
    ),
    History(
        "an unknown job for good",
        [UNKNOWN],
        "IceJobNotFoundError",
        True,
        code="ResourceNotFound",
        sensor=told(poke_interval=10),
    ),
    History(
        "a job that becomes unknown",
        [RUNNING, RUNNING, RUNNING, UNKNOWN],
        "IceJobNotFoundError",
        True,
        "ResourceNotFound",
    ),
    History("timeout", [RUNNING], **TIMED_OUT),
    History("timeout in errors", [RUNNING, DOWN], "AirflowSensorTimeout", says="HTTP 502"),
    History("timeout of nothing", [RUNNING], **TIMED_OUT, sensor={"timeout": 0}),
    History(
        "timeout, soft_fail",
        [RUNNING],
        "skipped",
        says="had not ended",
        sensor=told(soft_fail=True),
    ),
    History(
        "timeout, never_fail",
        [RUNNING],
        "skipped",
        says="had not ended",
        sensor=told(never_fail=True),
    ),
    History(
        "timeout, silent_fail",
        [RUNNING, WRONG_KEY],
        "AirflowSensorTimeout",
        sensor=told(silent_fail=True),
    ),
    History(
        "finished at the deadline",
        [RUNNING, RUNNING, FINISHED],
        "succeeded",
        sensor={"timeout": 50},
    ),
    History(
        "exponential backoff",
        [RUNNING] * 6 + [FINISHED],
        "succeeded",
        sensor=told(exponential_backoff=True),
    ),
    History(
        "no such connection",
        [NO_CONNECTION],
        "NonRetryableIceConnectionNotFoundError",
        says="ice_default",
    ),
    History(
        "no such connection, soft_fail",
        [NO_CONNECTION],
        "NonRetryableIceConnectionNotFoundError",
        sensor=told(soft_fail=True),
    ),
    History(
        "no such connection, never_fail", [NO_CONNECTION], "skipped", sensor=told(never_fail=True)
    ),
    History(
        "no such connection, silent_fail",
        [NO_CONNECTION, RUNNING, FINISHED],
        "succeeded",
        sensor=told(silent_fail=True),
    ),
    History(
        "a connection out of reach for a time",
        [RUNNING, NO_CONNECTION, NO_CONNECTION, FINISHED],
        "succeeded",
    ),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    found.install(monkeypatch)
    return found


class Shown:
    """What polls show, and when they were made.

    :param at: seconds from the clock's beginning.
    """

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = clock
        self._monkeypatch = monkeypatch
        self.at: list[float] = []

    def __call__(self, polls: Iterable[Any]) -> None:
        """Let the following polls show these things, the last one for ever."""
        *first, last = polls
        self.at = []

        def noted() -> Iterator[Any]:
            for shown in itertools.chain(first, itertools.repeat(last)):
                self.at.append(self._clock.passed)
                yield shown

        poll, apoll = scripted(noted())
        self._monkeypatch.setattr(IceHook, "get_batch_media_producing_job", poll)
        self._monkeypatch.setattr(IceHook, "aget_batch_media_producing_job", apoll)

    @property
    def pauses(self) -> list[float]:
        """Seconds between polls."""
        return [later - sooner for sooner, later in itertools.pairwise(self.at)]


Show = Shown


@pytest.fixture
def show(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Return what scripts the polls. The connection is there and never changes."""
    Accounts(clock).install(monkeypatch)
    return Shown(clock, monkeypatch)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)
def test_the_same_history_has_the_same_outcome(
    history: History, mode: Mode, clock: Clock, show: Show
) -> None:
    show(history.polls)
    run = Run(mode, clock, **history.sensor)
    outcome = run.outcome()
    assert outcome.kind == history.ends, repr(outcome.error)
    if outcome.error is None:
        assert outcome.value == "job-1"
    else:
        assert history.says in str(outcome.error)
    if isinstance(outcome.error, IceError):
        assert outcome.error.code == history.code or history.code is None
        # Airflow retries any exception but these two kinds.
        assert (
            isinstance(outcome.error, (AirflowFailException, AirflowSensorTimeout))
            is not history.retried
        )
    if outcome.kind == "NonRetryableIceJobFailedError":
        assert isinstance(outcome.error, IceJobFailedError)
        assert (outcome.error.job_id, outcome.error.request_id) == ("job-1", "R-1")
    # Where polls fail at the deadline they are repeated for a while: first look, then judge.
    grace = DEADLINE_GRACE if history.fails_at_deadline else 0.0
    limit = history.sensor["timeout"] + grace
    # In a triggerer a turn of the loop may come first.
    assert clock.passed <= limit + TURN
    if "timeout" in history.name:
        assert clock.passed == pytest.approx(limit, abs=TURN)


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_job_is_given_a_minute_and_no_more(mode: Mode, clock: Clock, show: Show) -> None:
    show([UNKNOWN])
    outcome = Run(mode, clock, timeout=3600, poke_interval=10).outcome()
    assert outcome.kind == "IceJobNotFoundError"
    # A deferred wait begins the minute in the triggerer.
    assert (
        DOUBT - CLOCK_TOLERANCE <= clock.passed <= DOUBT + (15.2 if mode == "deferrable" else 0.2)
    )


@pytest.mark.parametrize("mode", MODES)
def test_what_the_service_asks_to_wait_is_waited(mode: Mode, clock: Clock, show: Show) -> None:
    show([RUNNING, RUNNING, BUSY, FINISHED])
    assert Run(mode, clock, timeout=3600, poke_interval=5).outcome().kind == "succeeded"
    assert show.pauses[-1] >= 45
    assert clock.passed <= 3 * 5 + 45 + 2 * 5


@pytest.mark.parametrize("mode", MODES)
def test_polls_in_an_outage_are_few_and_go_on(mode: Mode, clock: Clock, show: Show) -> None:
    show([RUNNING, DOWN])
    Run(mode, clock, timeout=86400, poke_interval=10).outcome()
    # The last poll before the deadline may be cut short by it.
    assert min(show.pauses[:-10]) >= 0.9
    assert 86400 / 21 < len(show.at) < 86400 / 5
    assert max(show.pauses) <= 3 * 10


def test_a_rescheduled_poll_comes_no_sooner_than_poke_interval(clock: Clock, show: Show) -> None:
    # Each one is a new start of the task, and Airflow 3.3.2 is known to lose those that come soon.
    show([RUNNING, DOWN])
    Run("reschedule", clock, timeout=3600, poke_interval=60).outcome()
    before_the_deadline = [at for at in show.at if at < 3600 - 0.001]
    pauses = [later - sooner for sooner, later in itertools.pairwise(before_the_deadline)]
    assert min(pauses) >= 59.999


def test_polls_of_a_rescheduled_sensor_are_as_far_apart_as_the_others(
    clock: Clock, show: Show
) -> None:
    show([RUNNING] * 5 + [FINISHED])
    run = Run("reschedule", clock, timeout=3600, poke_interval=60)
    run.outcome()
    gaps = [
        (later - earlier).total_seconds()
        for earlier, later in itertools.pairwise(run.reschedule_dates)
    ]
    assert len(run.reschedule_dates) == 5
    assert gaps == pytest.approx([60] * 4, abs=0.001)


@pytest.mark.parametrize("mode", MODES)
def test_exponential_backoff_grows(mode: Mode, clock: Clock, show: Show) -> None:
    show([RUNNING] * 9 + [FINISHED])
    options: dict[str, Any] = {"exponential_backoff": True, "max_wait": 400}
    Run(mode, clock, timeout=86400, poke_interval=10, **options).outcome()
    assert show.pauses[-1] == pytest.approx(380, abs=20)
    assert show.pauses[3] > 2 * show.pauses[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "error",
    [ssl.SSLError("record layer failure"), ZeroDivisionError("a fault of ours"), OSError("x")],
    ids=repr,
)
def test_an_error_that_nobody_foresaw_is_an_error_of_one_poll(
    error: Exception, mode: Mode, clock: Clock, show: Show
) -> None:
    show([RUNNING, error, FINISHED])
    assert Run(mode, clock, **HOUR).outcome().value == "job-1"
    show([error, FINISHED])
    assert Run(mode, clock, **HOUR).outcome().value == "job-1"


@pytest.mark.parametrize("mode", MODES)
def test_an_error_that_nobody_foresaw_and_that_stays_ends_in_a_time_out_that_names_it(
    mode: Mode, clock: Clock, show: Show
) -> None:
    show([RUNNING, ssl.SSLError("record layer failure")])
    outcome = Run(mode, clock, timeout=300).outcome()
    assert isinstance(outcome.error, AirflowSensorTimeout)
    for said in ("job-1", "SSLError", "record layer failure", "stays billed"):
        assert said in str(outcome.error)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [5, 30, 54])  # a poll that failed 5 s ago is news
def test_an_outage_at_the_deadline_is_looked_past(
    seconds: float, mode: Mode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(clock, {SHANGHAI: {"job-1": 590}})
    accounts.fault = lambda passed: DOWN if 580 < passed < 600 + seconds else None
    accounts.install(monkeypatch)
    assert Run(mode, clock, timeout=600).outcome().value == "job-1"
    assert clock.passed <= 660 + TURN


# The deferral


def deferred_by(run: Run) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        run.sensor().execute(run.context)
    return caught.value


@pytest.mark.parametrize("ended", [FINISHED, FAILED, WRONG_KEY])
def test_what_can_be_known_at_once_does_not_defer(ended: Any, clock: Clock, show: Show) -> None:
    show([ended])
    run = Run("deferrable", clock, **HOUR)
    run.outcome()
    assert run.deferred is None


def test_the_deadline_is_absolute_and_outlives_the_trigger(clock: Clock, show: Show) -> None:
    show([RUNNING])
    trigger = deferred_by(Run("deferrable", clock, timeout=1000, poke_interval=30)).trigger
    began = clock.now
    for _ in range(3):
        clock.sleep(300)  # a triggerer stops, and another one starts the trigger anew
        trigger = revived(trigger)
    event = clock.run(first_event(trigger))
    assert event["outcome"] == "timed_out"
    assert clock.now - began == pytest.approx(1000, abs=0.001)


def test_a_trigger_that_starts_after_its_deadline_polls_once(clock: Clock, show: Show) -> None:
    show([RUNNING, FINISHED])
    trigger = deferred_by(Run("deferrable", clock, timeout=1000)).trigger
    clock.sleep(5000)
    event = clock.run(first_event(revived(trigger)))
    assert (event["job_id"], event["outcome"]) == ("job-1", "finished")


def test_a_trigger_that_starts_after_an_outage_gives_an_unknown_job_its_minute(
    clock: Clock, show: Show
) -> None:
    """What one triggerer has seen another one does not know, and doubt needs more than one poll."""
    show([RUNNING, UNKNOWN])
    trigger = deferred_by(Run("deferrable", clock, timeout=1000)).trigger
    clock.sleep(61)
    began = clock.now
    event = clock.run(first_event(revived(trigger)))
    assert event["outcome"] == "given_up"
    assert DOUBT - CLOCK_TOLERANCE <= clock.now - began <= DOUBT + 1


def test_airflows_own_timeout_is_a_net_below_the_triggers(clock: Clock, show: Show) -> None:
    show([RUNNING])
    deferred = deferred_by(Run("deferrable", clock, timeout=1000))
    assert deferred.timeout is not None
    assert not isinstance(deferred.timeout, (int, float))
    assert deferred.timeout.total_seconds() == pytest.approx(1000 + TRIGGER_MARGIN)


def test_nothing_depends_on_the_arguments_of_the_deferral(clock: Clock, show: Show) -> None:
    show([RUNNING])  # dag.test() drops them
    assert not deferred_by(Run("deferrable", clock, **HOUR)).kwargs


def test_a_job_id_that_renders_to_another_one_meanwhile_is_not_returned_as_ended(
    clock: Clock, show: Show
) -> None:
    show([RUNNING])
    run = Run("deferrable", clock, **HOUR)
    deferred_by(run)
    run.arguments["job_id"] = "job-2"  # the task before was cleared, and has submitted again
    event = {"job_id": "job-1", "outcome": "finished"}
    assert run.resumed_with("execute_complete", {"event": event}) == "job-1"


CRASHED = {"error": "Trigger failure", "traceback": ["a bug"]}
NOT_RUN = {"error": "Trigger timeout"}


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_trigger_that_crashes_while_the_job_runs_fails_the_task_and_says_what_becomes_of_the_job(
    soft_fail: bool, clock: Clock, show: Show
) -> None:
    show([RUNNING])
    run = Run("deferrable", clock, timeout=3600, soft_fail=soft_fail)
    outcome = run.ended_by(lambda: run.resumed_with("__fail__", CRASHED))
    assert isinstance(outcome.error, TaskDeferralError)
    for said in ("job-1", "crashed", "Trigger failure", "keeps running", "billed", "retry"):
        assert said in str(outcome.error)
    assert len(show.at) == 1


def test_a_crash_is_skipped_with_never_fail(clock: Clock, show: Show) -> None:
    show([RUNNING])
    run = Run("deferrable", clock, timeout=3600, never_fail=True)
    assert run.ended_by(lambda: run.resumed_with("__fail__", CRASHED)).kind == "skipped"


@pytest.mark.parametrize("failure", [CRASHED, NOT_RUN], ids=["crashed", "not run"])
@pytest.mark.parametrize("before", [[], [DOWN], [DOWN, ssl.SSLError("x")]], ids=len)
def test_a_job_that_has_finished_is_a_success_whatever_became_of_the_trigger(
    failure: dict[str, Any], before: list[Any], clock: Clock, show: Show
) -> None:
    show([*before, FINISHED])
    run = Run("deferrable", clock, timeout=3600)
    outcome = run.ended_by(lambda: run.resumed_with("__fail__", failure))
    assert outcome.value == "job-1", repr(outcome.error)


@pytest.mark.parametrize("failure", [CRASHED, NOT_RUN], ids=["crashed", "not run"])
def test_a_job_that_has_failed_is_a_failure_whatever_became_of_the_trigger(
    failure: dict[str, Any], clock: Clock, show: Show
) -> None:
    show([FAILED])
    run = Run("deferrable", clock, timeout=3600)
    outcome = run.ended_by(lambda: run.resumed_with("__fail__", failure))
    assert outcome.kind == "NonRetryableIceJobFailedError"


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, "AirflowSensorTimeout"),
        ({"soft_fail": True}, "skipped"),
        ({"never_fail": True}, "skipped"),
    ],
)
def test_the_net_is_a_timeout_like_any_other(
    options: dict[str, Any], ends: str, clock: Clock, show: Show
) -> None:
    show([RUNNING])
    run = Run("deferrable", clock, timeout=3600, **options)
    outcome = run.ended_by(lambda: run.resumed_with("__fail__", NOT_RUN))
    assert outcome.kind == ends
    assert "Batch job job-1 had not ended after 3600 s" in str(outcome.error)
    assert "stays billed" in str(outcome.error)


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        [],
        "finished",
        {"outcome": "finished"},
        {"outcome": "finished", "job_id": None},
        {"outcome": "given_up"},
        {"outcome": "given_up", "error": "x"},
        {"outcome": "timed_out"},
        {"outcome": "success", "job_id": "job-1"},
    ],
)
@pytest.mark.parametrize("options", [{}, {"soft_fail": True}])
def test_an_event_that_is_not_the_triggers_own_is_a_clear_error(
    event: Any, options: dict[str, Any]
) -> None:
    run = Run("deferrable", timeout=3600, **options)
    with pytest.raises(RuntimeError, match="unexpected trigger event"):
        run.resumed_with("execute_complete", {"event": event})


# What is logged


@pytest.mark.parametrize("mode", MODES)
def test_no_line_for_each_poll(mode: Mode, clock: Clock, show: Show) -> None:
    show([job("Init"), *[RUNNING] * 200, FINISHED])
    with structlog.testing.capture_logs() as lines:
        assert Run(mode, clock, timeout=86400, poke_interval=30).outcome().kind == "succeeded"
    said = [line["event"] for line in lines if "job-1" in str(line)]
    # Three states, heartbeats at 1, 3, 7, 15, 31, 61 and 91 minutes, and the end. A rescheduled
    # sensor, which forgets, may say a heartbeat twice.
    assert 3 <= len(said) <= (20 if mode == "reschedule" else 14), said
    times = [line.split(", ")[1].split(" (")[0] for line in said if "still" in line]
    assert [time.rpartition(" min")[0] for time in dict.fromkeys(times)][:3] == ["1", "3", "7"]
    assert len(set(times)) >= 5


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_an_outage_is_one_line_for_each_failure_that_matters(
    mode: Mode, clock: Clock, show: Show
) -> None:
    down = IceUnavailableError("down", code="E", http_status=503, request_id="R", recommend="u")
    show([RUNNING, *[down] * 9, RUNNING, FINISHED])
    with structlog.testing.capture_logs() as lines:
        assert Run(mode, clock, timeout=86400, poke_interval=30).outcome().kind == "succeeded"
    warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == 4  # the 1st, 2nd, 4th and 8th failure
    assert all(
        line.endswith("(JobId=job-1, Code=E, HTTP status=503, RequestId=R)") for line in warnings
    )


# Against a local ICE, over HTTP


@pytest.fixture
def ice(connected_ice: LocalIce) -> LocalIce:
    return connected_ice


@pytest.fixture
def job_id(ice: LocalIce) -> str:
    ice.freeze()
    return submitted()


def submitted() -> str:
    return IceHook().submit_batch_media_producing_job(
        input_config={"MediaGroupArray": [{"GroupName": "a", "MediaArray": ["icepublic-1"]}]},
        output_config={
            "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4",
            "Count": 2,
            "Width": 320,
            "Height": 240,
        },
    )


def poll_count(ice: LocalIce) -> int:
    return len(ice.requests("GetBatchMediaProducingJob"))


def end_after(ice: LocalIce, polls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all jobs end once so many polls have been made."""
    wanted = poll_count(ice) + polls
    real_call, real_acall = IceHook.call, IceHook.acall

    def call(hook: IceHook, operation: Any) -> Any:
        found = real_call(hook, operation)
        if poll_count(ice) == wanted:
            ice.finish_all()
        return found

    async def acall(hook: IceHook, operation: Any) -> Any:
        found = await real_acall(hook, operation)
        if poll_count(ice) == wanted:
            await asyncio.to_thread(ice.finish_all)
        return found

    monkeypatch.setattr(IceHook, "call", call)
    monkeypatch.setattr(IceHook, "acall", acall)


@pytest.mark.parametrize("mode", MODES)
def test_a_job_is_waited_for_through_faults(
    mode: Mode, ice: LocalIce, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = poll_count(ice)
    ice.fault("reset", action="GetBatchMediaProducingJob")
    ice.fault("throttle", action="GetBatchMediaProducingJob", retry_after_ms=20)
    ice.fault("html", action="GetBatchMediaProducingJob")
    ice.fault("error", action="GetBatchMediaProducingJob")
    end_after(ice, 6, monkeypatch)
    outcome = Run(mode, job_id=job_id, timeout=20, poke_interval=0.01).outcome()
    assert (outcome.kind, outcome.value) == ("succeeded", job_id)
    assert poll_count(ice) - before == 7


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_fails_at_the_service_fails_the_task_for_good(
    mode: Mode, ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
    ice.freeze()
    ice.fault("job_fails")
    job_id = submitted()
    end_after(ice, 2, monkeypatch)
    outcome = Run(mode, job_id=job_id, timeout=20, poke_interval=0.01, soft_fail=True).outcome()
    assert isinstance(outcome.error, AirflowFailException)
    assert isinstance(outcome.error, IceJobFailedError)
    assert (outcome.error.code, outcome.error.job_id) == ("InvalidMaterial.NotFound", job_id)


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_does_not_end_times_out(mode: Mode, job_id: str) -> None:
    outcome = Run(mode, job_id=job_id, timeout=0.3, poke_interval=0.1).outcome()
    assert isinstance(outcome.error, AirflowSensorTimeout)
    assert "last seen: Init" in str(outcome.error)


def test_an_empty_reply_to_the_first_poll_is_an_unknown_job_in_its_grace(
    ice: LocalIce, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode in MODES:
        ice.fault("empty_job", times=2)
        end_after(ice, 4, monkeypatch)
        assert (
            Run(mode, job_id=job_id, timeout=20, poke_interval=0.01).outcome().kind == "succeeded"
        )


@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_is_kept_or_logged_holds_a_secret(
    mode: Mode,
    ice: LocalIce,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    ice.fault(
        "error",
        action="GetBatchMediaProducingJob",
        status=400,
        code="SignatureDoesNotMatch",
        message=LEAKY,
    )
    run = Run(mode, job_id=job_id, timeout=20, poke_interval=0.01)
    with structlog.testing.capture_logs() as lines:
        outcomes = [run.outcome()]
        end_after(ice, 2, monkeypatch)
        again = Run(mode, job_id=job_id, timeout=20, poke_interval=0.01)
        outcomes.append(again.outcome())
    assert [outcome.kind for outcome in outcomes] == [
        "NonRetryableIceAuthenticationError",
        "succeeded",
    ]
    kept = (
        [found.deferred.trigger.serialize() for found in (run, again) if found.deferred]
        + run.events
        + again.events
    )
    shown = json.dumps(kept) + str(outcomes) + str(lines) + caplog.text + str(outcomes[0].error)
    assert job_id in shown
    for secret in (ice.access_key_secret, "Signature=", "c0ffee", "tok3n"):
        assert secret not in shown


LEAKY = (
    "Specified signature does not match our calculation. server StringToSign is "
    "[ACS3-HMAC-SHA256 c0ffee] server CanonicalRequest is [POST / x-acs-security-token:tok3n]"
)
