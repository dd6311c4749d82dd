"""What the package is compared with: the same wait and the same client, one Get for each wait and
interval.

All waits of a triggerer share one client, which is more than most triggers do. It has no limit of
requests a second: with the package's own, 10, a thousand waits would come to their turn every
100 s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, NoReturn

from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import TriggerEvent

from airflow_ice.api.errors import IceError
from airflow_ice.hooks import IceHook
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from airflow_ice.triggers import IceBatchMediaProducingJobTrigger, event_of
from airflow_ice.waiting import PollAgain, Wait

UNLIMITED = 10_000.0


class PlainTrigger(IceBatchMediaProducingJobTrigger):
    """Polls for itself alone."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        wait = Wait(
            self.job_id,
            interval=self.poke_interval,
            started_at=self.started_at,
            deadline=self.deadline,
            log=self.log,
        )
        async with SharedHook.opened(self.ice_conn_id) as hook:
            outcome = await _polled(hook, wait)
            while isinstance(outcome, PollAgain):
                await asyncio.sleep(outcome.seconds)
                outcome = await _polled(hook, wait)
        event = event_of(self.job_id, outcome, region_id=wait.region)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]


async def _polled(hook: IceHook, wait: Wait) -> Any:
    try:
        job = await hook.aget_batch_media_producing_job(wait.job_id)
    except IceError as error:
        return wait.on_error(error, time.time())
    return wait.on_job(job, time.time())


class SharedHook:
    """One client for all waits of a process, open as long as there are waits."""

    _users: ClassVar[int] = 0
    _hook: ClassVar[IceHook | None] = None
    _opening: ClassVar[asyncio.Lock] = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, ice_conn_id: str) -> AsyncIterator[IceHook]:
        async with cls._opening:
            if cls._hook is None:
                read = await IceHook(ice_conn_id).aconnection()
                unlimited = dataclasses.replace(read, max_requests_per_second=UNLIMITED)
                cls._hook = await IceHook.of("unlimited", unlimited).__aenter__()
            cls._users += 1
            hook = cls._hook
        try:
            yield hook
        finally:
            cls._users -= 1
            if cls._users == 0:
                cls._hook = None
                await hook.__aexit__(None, None, None)


class PlainSensor(IceBatchMediaProducingJobSensor):
    """The sensor, with that trigger."""

    def _defer(self) -> NoReturn:
        try:
            super()._defer()
        except TaskDeferred as deferred:
            deferred.trigger = PlainTrigger(**deferred.trigger.serialize()[1])
            raise
