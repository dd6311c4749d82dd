"""A soak test: some hundred waits that come and go, against a service in which everything goes
wrong at random.

At its end every wait must have ended as its job did, no more requests may have been sent than the
limit allows, and nothing may be left behind: no task, no connection, no memory.
"""

from __future__ import annotations

import asyncio
import bisect
import gc
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.benchmarks.contenders import ice_connection
from tests.benchmarks.control import Control, server
from tests.benchmarks.gauges import LoopLag, quantile, resident_kb

WAITS = 500
"""How many go on at a time."""

FOREIGN = 150
"""Running jobs of the account that nobody here waits for; they fill pages of the list."""

PER_SECOND = 50.0
LONGEST = 600.0
"""Seconds that a wait may take; none but those that are meant to should come near it."""

FAULTS: dict[str, float] = {
    "storms_every": 12.0,
    "storm_seconds": 6.0,
    "single": 0.02,
    "slow_seconds": 3.0,
}
BURSTS_EVERY = 20.0
GRACE = 60.0
"""Seconds in which an unknown job may become known (`airflow_ice.waiting`)."""

DRAIN = 330.0
"""Seconds for the last waits to end, once the faults have stopped: a job that is never listed is
asked for every two minutes, and a wait that has met many errors in a row pauses for up to five."""

GROWTH_KB = 3000.0
"""How much more memory the process may hold at the end of the comings and goings than at a third of
them."""

Ending = Literal["finished", "given_up", "timed_out", "cancelled"]


@dataclass(frozen=True, slots=True)
class Case:
    """One wait.

    :param job: as the server keeps it. expected: how the wait must end, and not before `not_before`
        (epoch seconds).
    :param killed_after: seconds after which the task is cancelled, as when a user clears it.
    """

    job: dict[str, Any]
    expected: Ending
    interval: float
    deadline: float
    not_before: float
    killed_after: float | None = None


def draw_case(job_id: str, draw: random.Random, now: float) -> Case:
    """Draw a job and what is to come of the wait for it."""
    ends = now + draw.uniform(15, 60)
    if draw.random() < 0.4:
        ends += BURSTS_EVERY - ends % BURSTS_EVERY
    job: dict[str, Any] = {"job_id": job_id, "ends": ends, "begins": now + draw.uniform(0, 5)}
    job["outcome"] = "Failed" if draw.random() < 0.1 else "Finished"
    job["listed_from"] = now + draw.choice([0, 0, draw.uniform(0, 10)])
    job["listed_until"] = ends + draw.choice([0, 0, draw.uniform(0, 8)])
    common: dict[str, Any] = {
        "job": job,
        "interval": draw.choice([3.0, 5.0, 8.0]),
        "deadline": now + LONGEST,
    }
    match draw.choices(
        ["usual", "unlisted", "late", "unknown", "timed_out", "killed"], [84, 3, 5, 2, 3, 3]
    )[0]:
        case "unlisted":
            job["listed_from"] = now + 10 * LONGEST
        case "late":
            job["known_from"] = job["listed_from"] = now + draw.uniform(0, 8)
        case "unknown":
            job["known_from"] = job["listed_from"] = now + 10 * LONGEST
            return Case(**common, expected="given_up", not_before=now + GRACE)
        case "timed_out":
            deadline = common["deadline"] = now + draw.uniform(2, 12)
            return Case(**common, expected="timed_out", not_before=deadline)
        case "killed":
            return Case(
                **common, expected="cancelled", not_before=0.0, killed_after=draw.uniform(0, 12)
            )
    return Case(
        **common,
        expected="finished" if job["outcome"] == "Finished" else "given_up",
        not_before=ends,
    )


class Soak:
    """The waits, and what came of them."""

    def __init__(self, control: Control, draw: random.Random) -> None:
        self._control = control
        self._draw = draw
        self._running: set[asyncio.Task[None]] = set()
        self._number = 0
        self.endings: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latencies: list[float] = []
        self.memory: list[float] = []

    async def run(self, seconds: float) -> None:
        """Keep so many waits going for so long, then let them all come to their end."""
        began = time.monotonic()
        await self._control(
            "add", jobs=[{"job_id": f"foreign-{number}", "ends": 1e12} for number in range(FOREIGN)]
        )
        while time.monotonic() - began < seconds:
            await self._fill()
            await asyncio.sleep(1)
            if len(self.memory) < (time.monotonic() - began) / 5:
                self.memory.append(resident_kb())
        await self._control("calm")
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN)
        self.wrong += [f"{task.get_name()} did not end" for task in self._running]
        for task in self._running:
            task.cancel()

    async def _fill(self) -> None:
        now = time.time()
        # A few at a time, and now and then many, as a mapped task brings them.
        room = min(WAITS - len(self._running), self._draw.choice([20, 20, 200]))
        cases = [
            draw_case(str(10**9 + self._number + place), self._draw, now) for place in range(room)
        ]
        self._number += room
        if not cases:
            return
        await self._control("add", jobs=[case.job for case in cases])
        for case in cases:
            task = asyncio.create_task(
                self._wait(case), name=f"wait for {case.job['job_id']} ({case.expected})"
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _wait(self, case: Case) -> None:
        ending = await self._ending(case)
        now = time.time()
        self.endings[ending] += 1
        if ending != case.expected or now < case.not_before:
            self.wrong.append(
                f"{case.job} ended as {ending} at {now}, "
                f"expected was {case.expected} from {case.not_before}"
            )
        if ending in {"finished", "given_up"}:
            self.latencies.append(now - case.not_before)

    async def _ending(self, case: Case) -> str:
        from airflow_ice.triggers import IceBatchMediaProducingJobTrigger

        trigger = IceBatchMediaProducingJobTrigger(
            job_id=case.job["job_id"],
            ice_conn_id="ice_default",
            poke_interval=case.interval,
            started_at=time.time(),
            deadline=case.deadline,
        )
        try:
            async with asyncio.timeout(case.killed_after):
                async for event in trigger.run():
                    return str(event.payload["outcome"])
        except TimeoutError:
            return "cancelled"
        return "nothing"


def most_in_a_second(arrivals: list[float]) -> int:
    """Return the largest number of requests that arrived within any one second."""
    return max(
        (bisect.bisect_left(arrivals, at + 1.0) - place for place, at in enumerate(arrivals)),
        default=0,
    )


def spacing_broken(taken: list[float], per_second: float) -> int:
    """Return how many requests were let go sooner after the one before than the limit allows."""
    return sum(
        later - earlier < 1 / per_second - 1e-6 for earlier, later in itertools.pairwise(taken)
    )


def left_behind() -> Iterator[str]:
    """Yield what should be gone once nobody waits any more."""
    from airflow_ice.api.client import AsyncIceClient
    from airflow_ice.polling.poller import Poller
    from airflow_ice.polling.registry import registry
    from airflow_ice.polling.watch import Watch
    from airflow_ice.waiting import Wait

    me = asyncio.current_task()
    yield from (f"task {task.get_name()}" for task in asyncio.all_tasks() if task is not me)
    yield from (f"poller {key}" for key in registry()._pollers)
    yield from (f"reading {key}" for key in registry()._readings)
    gc.collect()
    kinds = (Watch, Poller, Wait, AsyncIceClient)
    alive = Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))
    yield from (f"{count} {name}" for name, count in alive.items())


def open_files() -> int:
    """Return how many files and connections this process holds open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def note_requests(taken: list[float]) -> None:
    """Have the limiter note each moment at which it lets a request go."""
    from airflow_ice.api.rate import RateLimiter

    take = RateLimiter.take

    def noted(self: RateLimiter, *, priority: int = 0) -> float:
        seconds = take(self, priority=priority)
        if seconds == 0:
            taken.append(self._last)
        return seconds

    RateLimiter.take = noted  # type: ignore[method-assign]


async def main(seconds: float, seed: int | None) -> int:
    """Run it, say how it went, and return the exit status."""
    from tests.benchmarks.measure import log_as_a_triggerer

    log_as_a_triggerer()
    seed = random.randrange(10**6) if seed is None else seed
    print(
        f"Soak: {WAITS} waits at a time for {seconds:g} s, "
        f"limit {PER_SECOND:g} requests a second, seed {seed}.",
        flush=True,
    )
    taken: list[float] = []
    note_requests(taken)
    with server(0.02) as (port, control_port):
        ice_connection(port, PER_SECOND)
        lag = LoopLag()
        async with Control(control_port) as control:
            await control("faults", settings=FAULTS, seed=seed)
            files = open_files()
            ticker = asyncio.create_task(lag.run())
            soak = Soak(control, random.Random(seed))
            await soak.run(seconds)
            ticker.cancel()
            await asyncio.sleep(1)  # the loop's own task closes its client
            stats, arrivals = await control("stats"), await control("arrivals")
            left = list(left_behind())
            files = open_files() - files
    third = len(soak.memory) // 3
    growth = min(soak.memory[-3:]) - min(soak.memory[third : third + 3]) if third else 0.0
    print(
        f"Faults: {stats['faults']}. Endings: {dict(soak.endings)}. Requests: {stats['requests']}."
    )
    print(
        f"From end to event: p50 {quantile(soak.latencies, 0.5):.1f} s, "
        f"p99 {quantile(soak.latencies, 0.99):.1f} s, "
        f"max {quantile(soak.latencies, 1):.1f} s. "
        f"Loop lag: p99 {lag.milliseconds(0.99):.0f} ms. Memory: {growth:+,.0f} kB."
    )
    checks = {
        f"every wait ended as it should ({sum(soak.endings.values())})": not soak.wrong,
        f"no request above the limit (in a second at most {most_in_a_second(arrivals)} came in)": (
            not spacing_broken(taken, PER_SECOND)
        )
        and most_in_a_second(arrivals) <= 1.1 * PER_SECOND + 1,
        "no task left": not left,
        f"no connection left ({stats['accepted']} were made)": not stats["open"] and files <= 0,
        f"memory is flat (within {GROWTH_KB:,.0f} kB)": growth <= GROWTH_KB,
    }
    for what, good in checks.items():
        print(f"{'ok    ' if good else 'FAILED'} {what}")
    print(*soak.wrong[:20], *left[:20], sep="\n")
    return 0 if all(checks.values()) else 1
