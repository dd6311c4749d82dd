"""What a trigger keeps and what it tells; what it decides is tested with the sensor, in
tests/contract/test_modes.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceError,
    IceJobFailedError,
    error_from_dict,
)
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.hooks import IceHook
from airflow_ice.triggers import IceBatchMediaProducingJobTrigger, event_of
from airflow_ice.waiting import DEADLINE_GRACE, GiveUp, JobFinished, PollAgain, TimedOut
from tests.accounts import Accounts
from tests.three_modes import Clock, first_event, revived

ARGUMENTS: dict[str, Any] = {
    "job_id": "job-1",
    "ice_conn_id": "other",
    "region_id": "cn-beijing",
    "poke_interval": 12.5,
    "started_at": 1000.25,
    "deadline": 2000.75,
    "exponential_backoff": True,
    "max_wait": 60.0,
    "silent_fail": True,
    "seen_in": "cn-shanghai",
    "end_from_trigger": True,
}
JOB = BatchMediaProducingJob(job_id="job-1", status="Finished")


def test_it_comes_back_from_the_database_as_it_was() -> None:
    trigger = IceBatchMediaProducingJobTrigger(**ARGUMENTS)
    assert trigger.serialize() == (
        "airflow_ice.triggers.IceBatchMediaProducingJobTrigger",
        ARGUMENTS,
    )
    assert revived(trigger).serialize() == trigger.serialize()


def test_making_one_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IceHook, "__init__", pytest.fail)
    IceBatchMediaProducingJobTrigger(**ARGUMENTS).serialize()


@pytest.mark.parametrize(
    "error",
    [
        IceAuthenticationError(
            "no",
            code="SignatureDoesNotMatch",
            http_status=400,
            request_id="R",
            action="Get",
            advice="a",
        ),
        IceJobFailedError("gone", code="InvalidMaterial.NotFound", job_id="job-1", request_id="R"),
    ],
)
def test_an_error_survives_its_event(error: IceError) -> None:
    event = json.loads(json.dumps(event_of("job-1", GiveUp(error))))
    again = error_from_dict(event["error"])
    assert (type(again), str(again), again.code, again.request_id) == (
        type(error),
        str(error),
        error.code,
        error.request_id,
    )


def test_events_are_small_and_plain() -> None:
    finished = {"job_id": "job-1", "outcome": "finished", "region_id": "cn-beijing"}
    assert event_of("job-1", JobFinished("job-1"), region_id="cn-beijing") == finished
    assert event_of("job-1", TimedOut("why")) == {
        "job_id": "job-1",
        "outcome": "timed_out",
        "reason": "why",
    }
    with pytest.raises(ValueError, match="does not end a wait"):
        event_of("job-1", PollAgain(1))


def trigger_that_polls(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, does: Any
) -> IceBatchMediaProducingJobTrigger:
    clock.install(monkeypatch)
    Accounts(clock).install(monkeypatch)

    async def poll(_hook: IceHook, _job_id: str) -> BatchMediaProducingJob:
        await does()
        return JOB

    monkeypatch.setattr(IceHook, "aget_batch_media_producing_job", poll)
    return IceBatchMediaProducingJobTrigger(
        job_id="job-1",
        ice_conn_id="ice_default",
        poke_interval=10,
        started_at=clock.now,
        deadline=clock.now + 100,
    )


@pytest.mark.parametrize("error", [TimeoutError("somebody else's"), ZeroDivisionError("a bug")])
def test_whatever_a_poll_raises_is_an_error_of_that_poll(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, errors = Clock(), [error]

    async def raises_once() -> None:
        if errors:
            raise errors.pop()

    event = clock.run(first_event(trigger_that_polls(monkeypatch, clock, raises_once)))
    assert event == {"job_id": "job-1", "outcome": "finished", "region_id": "cn-shanghai"}


@pytest.mark.parametrize("edge", ["poll", "connection"])
def test_what_fails_for_good_times_out_soon_after_the_deadline(
    edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    async def fails() -> None:
        raise OSError("no route to host")

    trigger = trigger_that_polls(monkeypatch, clock, fails)
    if edge == "connection":
        monkeypatch.setattr(IceHook, "aconnection", lambda _hook: fails())
    event = clock.run(first_event(trigger))
    assert event["outcome"] == "timed_out"
    for said in ("job-1", "no route to host", "stays billed"):
        assert said in event["reason"]
    assert 100 <= clock.passed <= 100 + DEADLINE_GRACE + 1


def test_a_trigger_that_is_cancelled_stops_at_once_and_closes_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[IceHook] = []
    leave = IceHook.__aexit__

    async def noted(self: IceHook, *details: Any) -> None:
        closed.append(self)
        await leave(self, *details)

    monkeypatch.setattr(IceHook, "__aexit__", noted)
    clock = Clock()

    async def story() -> None:
        waiting = asyncio.Event()

        async def hangs() -> None:
            waiting.set()
            await asyncio.sleep(3600)

        trigger = trigger_that_polls(monkeypatch, clock, hangs)
        running = asyncio.create_task(first_event(trigger))
        await waiting.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0.01)  # the loop's own task closes it
        assert asyncio.all_tasks() == {asyncio.current_task()}

    clock.run(story())
    assert len(closed) == 1
    assert clock.passed < 11
