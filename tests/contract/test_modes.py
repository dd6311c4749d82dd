"""One decision, three modes: the same history of a job has the same outcome in poke, reschedule and deferrable mode."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
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


@dataclass(frozen=True)
class History:
    """What the looks show (the last one for ever), and how every mode must end."""

    name: str
    looks: list[Any]
    ends: str
    retried: bool = False
    code: str | None = None
    says: str = ""
    sensor: dict[str, Any] = field(default_factory=lambda: dict(HOUR))


def told(**options: Any) -> dict[str, Any]:
    return HOUR | options


JOB_FAILED: dict[str, Any] = {
    "ends": "UnretriedIceJobFailedError",
    "code": "InvalidMaterial.NotFound",
    "says": "no such clip",
}
TIMED_OUT: dict[str, Any] = {
    "ends": "AirflowSensorTimeout",
    "says": "goes on in ICE and stays billed",
}

HISTORIES = [
    History("finished at the first look", [FINISHED], "succeeded"),
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
    History("failed at the first look", [FAILED], **JOB_FAILED),
    History("failed, soft_fail", [RUNNING, FAILED], **JOB_FAILED, sensor=told(soft_fail=True)),
    History(
        "failed at the first look, soft_fail", [FAILED], **JOB_FAILED, sensor=told(soft_fail=True)
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
        "IceAuthenticationError",
        retried=True,
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
        "no such connection", [NO_CONNECTION], "AirflowNotFoundException", True, says="ice_default"
    ),
    History(
        "no such connection, soft_fail",
        [NO_CONNECTION],
        "AirflowNotFoundException",
        True,
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


Show = Callable[[Iterable[Any]], None]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return what makes the following looks show these things, the last one for ever."""

    def show(looks: Iterable[Any]) -> None:
        *first, last = looks
        look, alook = scripted(itertools.chain(first, itertools.repeat(last)))
        monkeypatch.setattr(IceHook, "get_batch_media_producing_job", look)
        monkeypatch.setattr(IceHook, "aget_batch_media_producing_job", alook)

    return show


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)
def test_the_same_history_has_the_same_outcome(
    history: History, mode: Mode, clock: Clock, show: Show
) -> None:
    show(history.looks)
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
    if outcome.kind == "UnretriedIceJobFailedError":
        assert isinstance(outcome.error, IceJobFailedError)
        assert (outcome.error.job_id, outcome.error.request_id) == ("job-1", "R-1")
    assert clock.passed <= history.sensor["timeout"] + 0.001
    if "timeout" in history.name:
        assert clock.passed == pytest.approx(history.sensor["timeout"], abs=0.001)


def test_an_unknown_job_is_given_a_minute_and_no_more_in_every_mode(
    clock: Clock, show: Show
) -> None:
    for mode in MODES:
        show([UNKNOWN])
        clock.began = clock.now
        clock.slept.clear()
        assert (
            Run(mode, clock, timeout=3600, poke_interval=10).outcome().kind == "IceJobNotFoundError"
        )
        assert 60 <= clock.passed <= (70 if mode == "reschedule" else 60.2)


def test_what_the_service_asks_to_wait_is_waited_in_every_mode(clock: Clock, show: Show) -> None:
    for mode in MODES:
        show([RUNNING, RUNNING, BUSY, FINISHED])
        clock.slept.clear()
        assert Run(mode, clock, timeout=3600, poke_interval=5).outcome().kind == "succeeded"
        assert clock.slept[-1] >= 45


def test_pauses_in_an_outage_grow_and_are_never_hot(clock: Clock, show: Show) -> None:
    modes: tuple[Mode, ...] = ("poke", "deferrable")
    for mode in modes:
        show([RUNNING, DOWN])
        clock.slept.clear()
        Run(mode, clock, timeout=86400, poke_interval=10).outcome()
        assert min(clock.slept[:-1]) >= 1
        assert len(clock.slept) < 86400 / 100
        assert max(clock.slept) > 100


def test_a_rescheduled_look_comes_no_sooner_than_poke_interval(clock: Clock, show: Show) -> None:
    # Each one is a new start of the task, and Airflow 3.3.2 is known to lose those that come at once.
    show([RUNNING, DOWN])
    Run("reschedule", clock, timeout=3600, poke_interval=60).outcome()
    assert min(clock.slept[:-1]) == pytest.approx(60, abs=0.001)


def test_looks_of_a_rescheduled_sensor_are_as_far_apart_as_the_others(
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


def test_exponential_backoff_grows_alike_in_every_mode(clock: Clock, show: Show) -> None:
    for mode in MODES:
        show([RUNNING] * 9 + [FINISHED])
        clock.slept.clear()
        Run(
            mode, clock, timeout=86400, poke_interval=10, exponential_backoff=True, max_wait=400
        ).outcome()
        assert clock.slept[-1] == pytest.approx(380, abs=20)
        assert clock.slept[3] > 2 * clock.slept[1]


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
    event = asyncio.run(first_event(trigger))
    assert event["outcome"] == "timed_out"
    assert clock.now - began == pytest.approx(1000, abs=0.001)


def test_a_trigger_that_starts_after_its_deadline_takes_one_look(clock: Clock, show: Show) -> None:
    show([RUNNING, FINISHED])
    trigger = deferred_by(Run("deferrable", clock, timeout=1000)).trigger
    clock.sleep(5000)
    assert asyncio.run(first_event(revived(trigger))) == {"job_id": "job-1", "outcome": "finished"}


def test_the_grace_of_an_unknown_job_does_not_begin_anew_with_a_trigger(
    clock: Clock, show: Show
) -> None:
    show([RUNNING, UNKNOWN])
    trigger = deferred_by(Run("deferrable", clock, timeout=1000)).trigger
    clock.sleep(61)
    slept = sum(clock.slept)
    assert asyncio.run(first_event(revived(trigger)))["outcome"] == "given_up"
    assert sum(clock.slept) - slept <= 0.5  # what waits that come back together are gathered for


def test_airflows_own_timeout_is_a_net_below_the_triggers(clock: Clock, show: Show) -> None:
    show([RUNNING])
    deferred = deferred_by(Run("deferrable", clock, timeout=1000))
    assert deferred.timeout is not None
    assert not isinstance(deferred.timeout, (int, float))
    assert deferred.timeout.total_seconds() == pytest.approx(1000 + TRIGGER_MARGIN)


def test_nothing_depends_on_the_arguments_of_the_deferral(clock: Clock, show: Show) -> None:
    show([RUNNING])  # dag.test() drops them
    assert not deferred_by(Run("deferrable", clock, **HOUR)).kwargs


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_trigger_that_crashes_fails_the_task(soft_fail: bool, clock: Clock, show: Show) -> None:
    show([RUNNING, RuntimeError("a bug")])
    outcome = Run("deferrable", clock, timeout=3600, soft_fail=soft_fail).outcome()
    assert isinstance(outcome.error, TaskDeferralError)
    assert (
        "waited for batch job job-1 has crashed (Trigger failure). The job goes on in ICE and stays billed"
        in str(outcome.error)
    )
    show([RUNNING, RuntimeError("a bug")])
    assert Run("deferrable", clock, timeout=3600, never_fail=True).outcome().kind == "skipped"


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, "AirflowSensorTimeout"),
        ({"soft_fail": True}, "skipped"),
        ({"never_fail": True}, "skipped"),
    ],
)
def test_the_net_is_a_timeout_like_any_other(
    options: dict[str, Any], ends: str, clock: Clock
) -> None:
    run = Run("deferrable", clock, timeout=3600, **options)
    outcome = run.ended_by(lambda: run.resumed_with("__fail__", {"error": "Trigger timeout"}))
    assert outcome.kind == ends
    assert "Batch job job-1 had not ended after 3600 s" in str(outcome.error)
    assert "stays billed" in str(outcome.error)
    assert "Trigger timeout" in str(outcome.error)


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
    with pytest.raises(RuntimeError, match="job-1 sent an event that is not its own"):
        run.resumed_with("execute_complete", {"event": event})


# What is logged


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_no_line_for_each_look(mode: Mode, clock: Clock, show: Show) -> None:
    show([job("Init"), *[RUNNING] * 200, FINISHED])
    with structlog.testing.capture_logs() as lines:
        assert Run(mode, clock, timeout=86400, poke_interval=30).outcome().kind == "succeeded"
    said = [line["event"] for line in lines if "job-1" in str(line)]
    assert 3 <= len(said) <= 14, (
        said
    )  # three states, heartbeats at 1, 3, 7, 15, 31, 61 and 91 minutes, and the end
    assert sum("still" in line for line in said) >= 5


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


def look_count(ice: LocalIce) -> int:
    return len(ice.requests("GetBatchMediaProducingJob"))


def end_after(ice: LocalIce, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all jobs end once so many looks have been taken."""
    wanted = look_count(ice) + looks
    real_call, real_acall = IceHook.call, IceHook.acall

    def call(hook: IceHook, operation: Any) -> Any:
        found = real_call(hook, operation)
        if look_count(ice) == wanted:
            ice.finish_all()
        return found

    async def acall(hook: IceHook, operation: Any) -> Any:
        found = await real_acall(hook, operation)
        if look_count(ice) == wanted:
            await asyncio.to_thread(ice.finish_all)
        return found

    monkeypatch.setattr(IceHook, "call", call)
    monkeypatch.setattr(IceHook, "acall", acall)


@pytest.mark.parametrize("mode", MODES)
def test_a_job_is_waited_for_through_faults(
    mode: Mode, ice: LocalIce, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look_count(ice)
    ice.fault("reset", action="GetBatchMediaProducingJob")
    ice.fault("throttle", action="GetBatchMediaProducingJob", retry_after_ms=20)
    ice.fault("html", action="GetBatchMediaProducingJob")
    ice.fault("error", action="GetBatchMediaProducingJob")
    end_after(ice, 6, monkeypatch)
    outcome = Run(mode, job_id=job_id, timeout=20, poke_interval=0.01).outcome()
    assert (outcome.kind, outcome.value) == ("succeeded", job_id)
    assert look_count(ice) - before == 7


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


def test_the_first_look_of_an_empty_reply_is_an_unknown_job_in_its_grace(
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
    assert [outcome.kind for outcome in outcomes] == ["IceAuthenticationError", "succeeded"]
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
    "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256 c0ffee] server CanonicalRequest is "
    "[POST / x-acs-security-token:tok3n]"
)
