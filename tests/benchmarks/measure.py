"""Measures one contender with so many waits, in this process and its event loop: `python -m
tests.benchmarks.measure PLAN RESULT`.

First comes a quiet phase, in which no job ends: requests, CPU and memory are taken there. Then jobs
end, one after the other and many at once: event-loop lag and the time to the event are taken there,
with the other waits going on.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.contenders import CONTENDERS, OURS, Waiter
from tests.benchmarks.control import Control
from tests.benchmarks.gauges import LoopLag, cpu_seconds, quantile, resident_kb

ENDS_SPREAD = 0.15
ENDS_AT_ONCE = 0.05
"""Shares of the jobs that end in the second phase, one after the other and then in one moment."""

IN_INIT = 0.05
"""The share of the jobs that is still in Init."""

LATEST_START = 45.0
"""Seconds to wait for a contender that has not looked at each of its jobs yet."""

WARM_UP = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    :param interval: seconds between two looks at a job.
    :param quiet: intervals of the quiet phase. ending: intervals over which jobs end.
    :param port: of the server. control_port: its second one.
    :param per_second: the limit of requests.
    :param burst: all jobs end in one moment, at the beginning of the second phase.
    :param patience: intervals after the last end in which each end should have been seen; one that
        was not counts with the time until then.
    """

    contender: str
    waits: int
    interval: float
    quiet: float
    ending: float
    port: int
    control_port: int
    per_second: float = 1000.0
    burst: bool = False
    patience: float = 2.25


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    :param requests: for each interval of the quiet phase.
    :param cpu_ms: for each wait and interval, in the quiet phase. kb: of memory for each wait.
    :param lag_p99, lag_max: of the event loop while jobs end, in milliseconds.
    :param ends: jobs that have ended. seen: events for them. early: events before the job's end.
    :param seen_p50, seen_max: from the job's end to the event, in intervals.
    :param ending_requests: for each interval of the second phase.
    :param server_share: of one core that the server took in the quiet phase. server_us: its work
        for a request, in microseconds.
    """

    contender: str
    waits: int
    interval: float
    requests: float
    connections: int
    cpu_ms: float
    kb: float
    lag_p99: float
    lag_max: float
    ends: int
    seen: int
    early: int
    seen_p50: float
    seen_max: float
    ending_requests: float
    server_share: float
    server_us: float
    burst: bool = False


class Measurement:
    """One contender and its waits."""

    def __init__(self, plan: Plan, control: Control) -> None:
        self._plan = plan
        self._control = control
        self._ids = [str(100_000_000 + number) for number in range(plan.waits)]
        self._events: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, write: Callable[[Result], None]) -> None:
        """Measure, write the result, and end the process."""
        plan = self._plan
        init = set(random.sample(self._ids, int(IN_INIT * plan.waits)))
        jobs = [
            {"job_id": job_id, "begins": 1e12 if job_id in init else 0.0} for job_id in self._ids
        ]
        await self._control("add", jobs=[*jobs, {"job_id": "1", "ends": 1.0}])
        make = {**CONTENDERS, **peers.installed()}[plan.contender]
        async with make(plan.port, WARM_UP, plan.per_second) as wait:
            await wait("1")
        first = await self._control("stats")
        kb = resident_kb()
        async with make(plan.port, plan.interval, plan.per_second) as wait:
            await self._start(wait)
            write(await self._phases(first["accepted"], kb))
            # No clean end: to cancel thousands of requests that queue for one pool takes httpx many
            # minutes.
            os._exit(0)

    async def _start(self, wait: Waiter) -> None:
        """Start the waits one after the other over one interval, as tasks are deferred one after
        the other."""
        plan = self._plan
        began = time.monotonic()
        for number, job_id in enumerate(self._ids):
            ahead = began + plan.interval * number / plan.waits - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            self._tasks.append(asyncio.create_task(self._wait(wait, job_id)))
        await asyncio.sleep(0.3 * plan.interval)
        while plan.contender != OURS and time.monotonic() - began < LATEST_START + plan.interval:
            if (await self._control("stats"))["asked"] > plan.waits:
                break
            await asyncio.sleep(0.5)

    async def _wait(self, wait: Waiter, job_id: str) -> None:
        await wait(job_id)
        self._events[job_id] = time.time()

    async def _phases(self, accepted: int, kb: float) -> Result:
        plan = self._plan
        before, cpu = await self._control("stats"), cpu_seconds()
        await asyncio.sleep(plan.quiet * plan.interval)
        after, cpu = await self._control("stats"), cpu_seconds() - cpu
        lasted = (after["at"] - before["at"]) / plan.interval
        kb = resident_kb() - kb
        lag = LoopLag()
        ticker = asyncio.create_task(lag.run())
        ends = await self._end()
        ticker.cancel()
        last = await self._control("stats")
        asked = total(after) - total(before)
        latencies = [
            (self._events.get(job_id, last["at"]) - at) / plan.interval
            for job_id, at in ends.items()
        ]
        return Result(
            contender=plan.contender,
            waits=plan.waits,
            interval=plan.interval,
            requests=asked / lasted,
            connections=last["accepted"] - accepted,
            cpu_ms=1000 * cpu / lasted / plan.waits,
            kb=kb / plan.waits,
            lag_p99=lag.milliseconds(0.99),
            lag_max=lag.milliseconds(1),
            ends=len(ends),
            seen=len(ends.keys() & self._events.keys()),
            early=sum(job_id not in ends for job_id in self._events)
            + sum(latency < 0 for latency in latencies),
            seen_p50=quantile(latencies, 0.5),
            seen_max=quantile(latencies, 1),
            ending_requests=(total(last) - total(after))
            / ((last["at"] - after["at"]) / plan.interval),
            server_share=(after["cpu"] - before["cpu"]) / (after["at"] - before["at"]),
            burst=plan.burst,
            server_us=1e6 * (after["working"] - before["working"]) / max(asked, 1),
        )

    async def _end(self) -> dict[str, float]:
        """Let jobs end, wait until each was seen, or some intervals more, and return when they
        ended."""
        plan = self._plan
        one_by_one = 0 if plan.burst else int(ENDS_SPREAD * plan.waits)
        at_once = plan.waits if plan.burst else int(ENDS_AT_ONCE * plan.waits)
        chosen = random.sample(self._ids, one_by_one + at_once)
        began = time.time() + 0.1
        span = plan.ending * plan.interval
        ends = {
            job_id: began + span * (min(place / one_by_one, 1.0) if one_by_one else 0.0)
            for place, job_id in enumerate(chosen)
        }
        await self._control("end", ends=ends)
        latest = began + span + plan.patience * plan.interval
        await asyncio.sleep(span)
        for _ in range(int((latest - time.time()) / 0.1)):
            if ends.keys() <= self._events.keys():
                break
            await asyncio.sleep(0.1)
        return ends


def total(stats: dict[str, dict[str, int]]) -> int:
    """Return the number of requests."""
    return sum(stats["requests"].values())


def log_as_a_triggerer() -> None:
    """Log as a triggerer's process does: JSON lines, which go nowhere here."""
    from airflow.sdk.log import configure_logging

    nowhere = Path(os.devnull).open("wb")  # noqa: SIM115 - open as long as the process lives
    configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
    sys.excepthook = sys.__excepthook__  # a contender that crashes says so


async def main(plan: Plan, path: Path) -> None:
    """Measure what the plan says, and write the result to a file."""
    async with Control(plan.control_port) as control:
        await Measurement(plan, control).run(lambda result: write(result, path))


def write(result: Result, path: Path) -> None:
    """Write a result."""
    path.write_text(json.dumps(asdict(result)), encoding="utf-8")


if __name__ == "__main__":
    log_as_a_triggerer()
    asyncio.run(main(Plan(**json.loads(sys.argv[1])), Path(sys.argv[2])))
