"""Runs a sensor as Airflow would, in each of its three modes: with the real clock, or with one that
only sleeping moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred

from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from airflow_ice.triggers import IceBatchMediaProducingJobTrigger
from tests.virtual_time import VirtualLoop

T = TypeVar("T")
Mode = Literal["poke", "reschedule", "deferrable"]
MODES: tuple[Mode, ...] = ("poke", "reschedule", "deferrable")


class Clock:
    """A clock that stands still until somebody sleeps, be it in a task or in a triggerer."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.began = now
        self.now = now
        self.slept: list[float] = []
        """The pauses of tasks, in seconds."""

    @property
    def passed(self) -> float:
        return self.now - self.began

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        assert len(self.slept) < 10_000, "a hot loop"
        self.now += seconds

    def utcnow(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine as a triggerer of its own does, on this clock."""
        with asyncio.Runner(loop_factory=lambda: ClockLoop(self)) as runner:
            return runner.run(work)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it where whoever waits gets the time from."""
        of_time = SimpleNamespace(time=self.time, monotonic=self.time, sleep=self.sleep)
        for module in (
            "sensors",
            "triggers",
            "operators",
            "results",
            "polling.worker",
            "polling.poller",
            "polling.registry",
        ):
            monkeypatch.setattr(f"airflow_ice.{module}.time", of_time)


class ClockLoop(VirtualLoop):
    """An event loop whose time is that of a clock, which it moves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(clock.now)
        self.most_steps = 500_000
        # A timer is due within this of now; epoch seconds are no finer.
        self._clock_resolution = 1e-6

    @property
    def now(self) -> float:
        return self._clock.now

    @now.setter
    def now(self, now: float) -> None:
        self._clock.now = now


@dataclass
class TaskInstance:
    """As much of a task instance as a sensor asks for."""

    dag_id: str = "dag"
    run_id: str = "run"
    task_id: str = "wait"
    map_index: int = -1
    first_reschedule_date: datetime | None = None
    pushed: dict[str, Any] = field(default_factory=dict)

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first_reschedule_date

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@dataclass(frozen=True)
class Outcome:
    """How a task has ended: with a value, skipped or failed."""

    value: Any = None
    error: BaseException | None = None

    @property
    def kind(self) -> str:
        if isinstance(self.error, AirflowSkipException):
            return "skipped"
        return "succeeded" if self.error is None else type(self.error).__name__


@pytest.fixture
def task_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let execute() be called outside of Airflow's task runner."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


class Run:
    """One task from its first execute() to its end.

    :param sensor: the sensor's own arguments.
    :param clock: None for the real one.
    """

    def __init__(self, mode: Mode, clock: Clock | None = None, **sensor: Any) -> None:
        self.mode = mode
        self.clock = clock
        self.arguments: dict[str, Any] = {"task_id": "wait", "job_id": "job-1", **sensor}
        self.ti = TaskInstance()
        self.deferred: TaskDeferred | None = None
        self.events: list[dict[str, Any]] = []
        self.reschedule_dates: list[datetime] = []

    def sensor(self) -> IceBatchMediaProducingJobSensor:
        """Return a fresh sensor: every execution of a task is in a process of its own."""
        if self.mode == "deferrable":
            return IceBatchMediaProducingJobSensor(deferrable=True, **self.arguments)
        return IceBatchMediaProducingJobSensor(deferrable=False, mode=self.mode, **self.arguments)

    @property
    def context(self) -> Any:
        return {"ti": self.ti}

    def outcome(self) -> Outcome:
        """Run the task to its end."""
        return self.ended_by(self._result)

    @staticmethod
    def ended_by(what: Callable[[], Any]) -> Outcome:
        try:
            return Outcome(value=what())
        except Exception as error:  # noqa: BLE001 - any of them ends the task
            return Outcome(error=error)

    def _result(self) -> Any:
        while True:
            began = self._utcnow()
            try:
                return self.sensor().execute(self.context)
            except AirflowRescheduleException as later:
                self.ti.first_reschedule_date = self.ti.first_reschedule_date or began
                self.reschedule_dates.append(later.reschedule_date)
                self._sleep_until(later.reschedule_date)
            except TaskDeferred as deferred:
                self.deferred = deferred
                return self.resumed(deferred)

    def resumed(self, deferred: TaskDeferred) -> Any:
        """Run the trigger as a triggerer does, and resume with its event."""
        try:
            event = self.triggered(deferred.trigger)
        except Exception as crash:  # noqa: BLE001 - as a triggerer does
            return self.resumed_with(
                "__fail__", {"error": "Trigger failure", "traceback": [repr(crash)]}
            )
        self.events.append(event)
        return self.resumed_with(deferred.method_name, {**(deferred.kwargs or {}), "event": event})

    def triggered(self, trigger: Any) -> dict[str, Any]:
        """Run a trigger in a triggerer of its own, and return its event."""
        run = self.clock.run if self.clock else asyncio.run
        return run(first_event(revived(trigger)))

    def resumed_with(self, method: str, kwargs: dict[str, Any]) -> Any:
        return self.sensor().resume_execution(method, kwargs, self.context)

    def _utcnow(self) -> datetime:
        return self.clock.utcnow() if self.clock else datetime.now(UTC)

    def _sleep_until(self, date: datetime) -> None:
        seconds = max((date - self._utcnow()).total_seconds(), 0)
        if self.clock:
            self.clock.sleep(seconds)
        else:
            asyncio.run(asyncio.sleep(seconds))


def revived(trigger: Any) -> IceBatchMediaProducingJobTrigger:
    """Return a trigger as a triggerer makes it: from what the database holds."""
    path, kwargs = json.loads(json.dumps(trigger.serialize()))
    found = import_string(path)(**kwargs)
    assert isinstance(found, IceBatchMediaProducingJobTrigger)
    assert json.loads(json.dumps(found.serialize())) == [path, kwargs]
    return found


async def first_event(trigger: IceBatchMediaProducingJobTrigger) -> dict[str, Any]:
    """Return the one event of a trigger, as JSON brings it back."""
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    payload: dict[str, Any] = json.loads(json.dumps(events[0].payload))
    return payload


def scripted(polls: Iterator[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what stands in for the hook's two ways to poll a job: each poll shows the next thing,
    or raises it."""

    def poll(_hook: object, _job_id: str) -> Any:
        shown = next(polls)
        if isinstance(shown, BaseException):
            raise shown
        return shown

    async def apoll(hook: object, job_id: str) -> Any:
        return poll(hook, job_id)

    return poll, apoll
