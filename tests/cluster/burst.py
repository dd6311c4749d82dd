"""32 worker processes submit at once, at an emulator that allows 30 requests a second in all, as an
account's quota does: how long it takes, and what is throttled.

Each submit runs the real operator with a rate limiter that knows nothing, as in the new process
that Airflow makes for each task. Airflow itself is left out: it would only slow the burst down.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, cast
from unittest import mock

from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import TaskDeferred
from starlette.applications import Starlette

from airflow_ice.api import client as _client  # noqa: F401 - loaded before the forks, not in each
from airflow_ice.api.errors import IceError
from airflow_ice.emulator import local
from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.server import make_server
from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from tests.cluster.dags.ice_cluster import KINDS, output
from tests.memory_ice import DagRun, MemoryStore, TaskInstance

QUOTA = 30
WORKERS = 32
TASKS = 8
"""Submits of each worker, one after the other."""
TRIES = 9

FORKED = multiprocessing.get_context("fork")
OPERATORS = (IceSubmitBatchMediaProducingJobOperator, IceSubmitScreenMediaHighlightsJobOperator)

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "submit and first poll, 10/s a process": {"first_poll": True, "rate": 10.0},
    "submit and first poll, 30/32 a process": {"first_poll": True, "rate": QUOTA / WORKERS},
    "submit, first poll left to the triggerer": {"first_poll": False, "rate": 10.0},
}


class Quota:
    """An ASGI application that refuses what is over the quota of a second."""

    def __init__(self, app: Any) -> None:
        self.state = app.state
        self.throttled = 0
        self.passed = 0
        self._app = app
        self._second = 0
        self._used = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if int(time.monotonic()) != self._second:
            self._second, self._used = int(time.monotonic()), 0
        self._used += 1
        if self._used <= QUOTA:
            self.passed += 1
            await self._app(scope, receive, send)
            return
        self.throttled += 1
        body = json.dumps(
            {
                "RequestId": f"REQUEST-{self.throttled}",
                "HostId": "ice.cn-shanghai.aliyuncs.com",
                "Code": "Throttling.User",
                "Message": "Request was denied due to user flow control.",
            }
        ).encode()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": head})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Print one line for each variant."""
    ExecutorSafeguard.test_mode = True
    logging.disable(logging.CRITICAL)
    print(f"{WORKERS} processes, {WORKERS * TASKS} submits, quota {QUOTA}/s")
    print(f"{'variant':<42} seconds requests throttled failed tries  jobs")
    for name, variant in VARIANTS.items():
        here, there = FORKED.Pipe()
        server = FORKED.Process(target=_serve, args=(there,))
        server.start()
        url = here.recv()
        failed, ended = FORKED.Value("i", 0), FORKED.SimpleQueue()
        barrier = FORKED.Barrier(WORKERS + 1)
        workers = [
            FORKED.Process(target=_worker, args=(number, url, variant, failed, barrier, ended))
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = time.monotonic()
        seconds = max(ended.get() for _ in workers) - started
        for worker in workers:
            worker.join()
        here.send("over")
        seen = here.recv()
        server.join()
        print(
            f"{name:<42} {seconds:>7.1f} {seen['passed']:>8} {seen['throttled']:>9} "
            f"{failed.value:>12} {seen['jobs']:>5}",
            flush=True,
        )


def _serve(pipe: Connection) -> None:
    quotas: list[Quota] = []

    def with_quota(app: Any) -> Any:
        quotas.append(Quota(app))
        return make_server(cast("Starlette", quotas[-1]))

    with (
        mock.patch.object(local, "make_server", with_quota),
        LocalIce(render=False, job_seconds=3600.0) as ice,
    ):
        pipe.send(ice.url)
        pipe.recv()
        (quota,) = quotas
        seen = Counter(passed=quota.passed, throttled=quota.throttled, jobs=len(ice.jobs()))
        pipe.send(dict(seen))


def _worker(
    number: int, url: str, variant: Mapping[str, Any], failed: Any, barrier: Any, ended: Any
) -> None:
    # Structured logs go to stdout, one line for each submit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    barrier.wait()
    for task in range(TASKS):
        # A process for each, as Airflow makes one: its rate limiter knows nothing yet.
        submit = FORKED.Process(target=_task, args=(f"{number}-{task}", url, variant, failed))
        submit.start()
        submit.join()
    ended.put(time.monotonic())


def _task(name: str, url: str, variant: Mapping[str, Any], failed: Any) -> None:
    extra = {"max_requests_per_second": variant["rate"]}
    fields = {"conn_type": "alibaba_ice", "host": url, "login": "testid", "password": "testsecret"}
    os.environ["AIRFLOW_CONN_ICE_DEFAULT"] = json.dumps({**fields, "extra": extra})
    store = MemoryStore()
    which = int(name.split("-")[1]) % 2
    for number in range(1, TRIES + 1):
        operator = OPERATORS[which](
            task_id="submit",
            input_config=KINDS[which][2],
            output_config=output(name),
            wait_for_completion=variant["first_poll"],
            deferrable=True,
        )
        context: Any = {
            "ti": TaskInstance(TRIES, run_id=name, try_number=number),
            "task_state_store": store.of_next_try(),
            "dag_run": DagRun(),
        }
        try:
            operator.execute(context)
        except TaskDeferred:
            return
        except IceError:
            with failed.get_lock():
                failed.value += 1
            time.sleep(1.0)
        else:
            return


if __name__ == "__main__":
    main()
