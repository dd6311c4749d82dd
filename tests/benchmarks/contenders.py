"""The ways to wait that are compared: each makes a function that waits for one job, within one
event loop.

Connections come from the environment, as they may in a triggerer. Airflow and the libraries are
imported once it is known which of them is needed: each contender runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

Waiter = Callable[[str], Awaitable[None]]
FAR = 86400.0
KEYS = {"login": "testid", "password": "testsecret"}


def connection(name: str, **fields: Any) -> None:
    """Put a connection where Airflow finds it."""
    os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(fields)


def ice_connection(port: int, per_second: float) -> None:
    """Put the connection to the benchmark's server where the hook finds it."""
    extra = {"region_id": "cn-shanghai", "max_requests_per_second": per_second}
    connection(
        "ice_default", conn_type="alibaba_ice", host=f"http://127.0.0.1:{port}", extra=extra, **KEYS
    )


async def fired(trigger: Any) -> None:
    """Run a trigger to its event, as a triggerer does."""
    import structlog

    structlog.contextvars.bind_contextvars(trigger_id=id(trigger))
    async for _event in trigger.run():
        return


@asynccontextmanager
async def ours(port: int, interval: float, per_second: float) -> AsyncIterator[Waiter]:
    """Yield the wait of this package: its trigger."""
    from airflow_ice.triggers import IceBatchMediaProducingJobTrigger

    ice_connection(port, per_second)

    async def wait(job_id: str) -> None:
        now = time.time()
        await fired(
            IceBatchMediaProducingJobTrigger(
                job_id=job_id,
                ice_conn_id="ice_default",
                poke_interval=interval,
                started_at=now,
                deadline=now + FAR,
            )
        )

    yield wait


@asynccontextmanager
async def one_get_each(port: int, interval: float, per_second: float) -> AsyncIterator[Waiter]:
    """Yield the baseline: the same decisions with the same client, and one Get for each job and
    interval."""
    from airflow_ice import metrics
    from airflow_ice.api.client import AsyncIceClient, ClientSettings
    from airflow_ice.api.credentials import FixedCredentials
    from airflow_ice.api.endpoints import endpoint
    from airflow_ice.api.errors import IceError
    from airflow_ice.api.rate import RateLimiter
    from airflow_ice.api.retries import RetryPolicy
    from airflow_ice.api.signature import Credentials
    from airflow_ice.waiting import PollAgain, Wait

    settings = ClientSettings(
        endpoint(host=f"http://127.0.0.1:{port}"),
        retry=RetryPolicy(tries=1),
        observer=metrics.request,
        limiter=RateLimiter(per_second),
    )
    async with AsyncIceClient(
        settings, FixedCredentials(Credentials(KEYS["login"], KEYS["password"]))
    ) as client:

        async def wait(job_id: str) -> None:
            now = time.time()
            decide = Wait(job_id, interval=interval, started_at=now, deadline=now + FAR)
            while True:
                try:
                    outcome = decide.on_job(
                        await client.aget_batch_media_producing_job(job_id), time.time()
                    )
                except IceError as error:
                    outcome = decide.on_error(error, time.time())
                if not isinstance(outcome, PollAgain):
                    return
                await asyncio.sleep(outcome.seconds)

        yield wait


@asynccontextmanager
async def official_sdk(port: int, interval: float, per_second: float) -> AsyncIterator[Waiter]:
    """Yield what a trigger would do that used the official SDK: its async client, one for all, and
    one Get for each job."""
    from alibabacloud_ice20201109.client import Client
    from alibabacloud_ice20201109.models import GetBatchMediaProducingJobRequest
    from alibabacloud_tea_openapi.models import Config

    client = Client(
        Config(
            endpoint=f"127.0.0.1:{port}",
            protocol="http",
            access_key_id=KEYS["login"],
            access_key_secret=KEYS["password"],
        )
    )

    async def wait(job_id: str) -> None:
        while True:
            reply = await client.get_batch_media_producing_job_async(
                GetBatchMediaProducingJobRequest(job_id=job_id)
            )
            if reply.body.editing_batch_job.status in {"Finished", "Failed"}:
                return
            await asyncio.sleep(interval)

    yield wait


Contender = Callable[[int, float, float], AbstractAsyncContextManager[Waiter]]
"""Takes the port of the server, the interval in seconds, and the limit of requests a second; those
that know no limit keep none."""

CONTENDERS: Mapping[str, Contender] = {
    "airflow-ice": ours,
    "one Get each": one_get_each,
    "ICE SDK": official_sdk,
}
OURS, BASELINE = "airflow-ice", "one Get each"
