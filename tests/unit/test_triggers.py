"""What a trigger keeps and what it tells; what it decides is tested with the sensor, in tests/contract/test_modes.py."""

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
from airflow_ice.waiting import GiveUp, JobFinished, PollAgain, TimedOut
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
    assert event_of("job-1", JobFinished("job-1")) == {"job_id": "job-1", "outcome": "finished"}
    assert event_of("job-1", TimedOut("why")) == {
        "job_id": "job-1",
        "outcome": "timed_out",
        "reason": "why",
    }
    with pytest.raises(ValueError, match="does not end a wait"):
        event_of("job-1", PollAgain(1))


def look_that(monkeypatch: pytest.MonkeyPatch, does: Any) -> IceBatchMediaProducingJobTrigger:
    clock = Clock(1500.0)
    clock.install(monkeypatch)
    monkeypatch.setattr("airflow_ice.polling.LAST_LOOK_SECONDS", 0.05)

    async def look(_hook: IceHook, _job_id: str) -> BatchMediaProducingJob:
        await does()
        return JOB

    monkeypatch.setattr(IceHook, "aget_batch_media_producing_job", look)
    return IceBatchMediaProducingJobTrigger(**{**ARGUMENTS, "deadline": 1500.0})


async def test_a_look_that_never_comes_back_does_not_outlast_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trigger = look_that(monkeypatch, lambda: asyncio.sleep(3600))
    event = await asyncio.wait_for(first_event(trigger), 5)
    assert event["outcome"] == "timed_out"


async def test_a_timeout_of_something_else_is_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere() -> None:
        raise TimeoutError("somebody else's")

    with pytest.raises(TimeoutError, match="somebody else's"):
        await first_event(look_that(monkeypatch, elsewhere))


async def test_a_trigger_that_is_cancelled_stops_at_once_and_closes_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[IceHook] = []
    leave = IceHook.__aexit__

    async def noted(self: IceHook, *details: Any) -> None:
        closed.append(self)
        await leave(self, *details)

    monkeypatch.setattr(IceHook, "__aexit__", noted)
    waiting = asyncio.Event()

    async def hangs() -> None:
        waiting.set()
        await asyncio.sleep(3600)

    trigger = look_that(monkeypatch, hangs)
    monkeypatch.setattr("airflow_ice.polling.LAST_LOOK_SECONDS", 60)
    running = asyncio.create_task(first_event(trigger))
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.01)  # the loop's own task closes it
    assert len(closed) == 1
