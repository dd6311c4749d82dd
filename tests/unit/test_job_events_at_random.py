"""A watcher under random crashes, outages, lags, bursts and edits: no end is ever lost, and nothing
is reported that has not happened."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_ice.api.errors import IceThrottledError
from airflow_ice.selection import ENDED
from airflow_ice.watching import LIST_LAG
from tests.virtual_time import run_virtually
from tests.watched_account import GET, LIST, Account, Job, Watching, down

EXAMPLES = int(os.environ.get("AIRFLOW_ICE_EXAMPLES", "150")) // 4
HOUR, DAY = 3600.0, 86_400.0
SETTLES = 6 * HOUR
"""Seconds after which everything that works again has caught up, the longest job included."""


TYPES = ("Script", "Smart_Mix")
Filters = tuple[tuple[str, ...], tuple[str, ...]]
"""Job types and statuses."""

REFUSED_SKEW = 900.0
"""Seconds by which a signature's time may be wrong."""


@dataclass
class World:
    """What is wrong at the moment."""

    watching: Watching
    list_is_down: bool = False
    get_fails: int = 0
    """Every so many-th Get fails; 0 for none."""
    crashes: int = 0
    added: int = 0
    gets: int = 0
    was_elsewhere: bool = False
    filters: list[tuple[float, Filters]] = field(default_factory=list)
    """Each with the time at which it came into force."""

    def fault(self, action: str, job_id: str) -> Exception | None:
        if abs(self.watching.skew) > REFUSED_SKEW:
            return down(action, job_id)
        if action == LIST and self.list_is_down:
            return down(action, job_id)
        if action == GET and self.get_fails:
            self.gets += 1
            if self.gets % self.get_fails == 0:
                return IceThrottledError("slow down", code="Throttling", action=action)
        return None

    def jobs(self, count: int, lasts: float, **fields: Any) -> None:
        for number in range(count):
            kind = TYPES[self.added % 3 == 2]
            own = {"lasts": lasts + 7 * number, "job_type": kind, **fields}
            self.watching.account.add(f"job-{self.added}", **own)
            self.added += 1

    def twins(self, count: int) -> None:
        """Add jobs of one second that end in the opposite order; the first one at once."""
        for number in range(count):
            self.jobs(1, (count - number - 1) * 200.0)

    def edit(self, filters: Filters) -> None:
        """Put filters into force with the next start."""
        self.filters.append((self.watching.account.now, filters))
        types, statuses = filters
        self.watching.arguments |= {"job_types": list(types), "statuses": list(statuses)}

    def is_owed(self, job: Job) -> bool:
        """Tell whether a job matches whatever was in force since it ended. What the list left out
        at an edit was watched before only if it matched from the first moment on.
        """
        ends = [at for at, _ in self.filters[1:]] + [math.inf]
        is_always_known = self.was_elsewhere or job.unlisted != (0.0, 0.0)
        return all(
            job.job_type in types and job.outcome in statuses
            for (_, (types, statuses)), end in zip(self.filters, ends, strict=True)
            if is_always_known or end > job.ends
        )


Step = tuple[str, Any]


def some_of(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from([names, names[:1], names[1:]])


LENGTHS = st.sampled_from([0.5, 3.0, 45.0, 61.0, 300.0, 2 * HOUR])
SKEWS = st.sampled_from([0.0, 300.0, -300.0, 2 * DAY, -2 * DAY])
STEPS = st.one_of(
    st.tuples(st.just("passes"), st.sampled_from([0.3, 2.5, 11.0, 60.0, 61.0, 700.0, HOUR, DAY])),
    st.tuples(st.just("jobs"), st.tuples(st.integers(1, 4), LENGTHS)),
    st.tuples(st.just("failing jobs"), st.tuples(st.integers(1, 2), LENGTHS)),
    st.tuples(st.just("late jobs"), st.tuples(st.integers(1, 2), LENGTHS)),
    st.tuples(st.just("twins"), st.integers(2, 8)),
    st.tuples(st.just("left out"), st.tuples(st.integers(1, 2), LENGTHS)),
    st.tuples(st.just("burst"), st.just((130, 60.0))),
    st.tuples(st.just("crash"), st.just(None)),
    st.tuples(st.just("pause"), st.sampled_from([5.0, 600.0, 3 * HOUR])),
    st.tuples(st.just("second triggerer"), st.just(None)),
    st.tuples(st.just("two triggerers"), st.sampled_from([700.0, 3 * HOUR])),
    st.tuples(st.just("region"), st.sampled_from([60.0, 3 * HOUR])),
    st.tuples(st.just("sort"), st.booleans()),
    st.tuples(st.just("list"), st.booleans()),
    st.tuples(st.just("gets"), st.sampled_from([0, 1, 3])),
    st.tuples(st.just("interval"), st.sampled_from([30.0, 60.0, 1200.0])),
    st.tuples(st.just("clock"), SKEWS),
    st.tuples(st.just("filters"), st.tuples(some_of(TYPES), some_of(ENDED))),
    st.tuples(st.just("renamed"), st.sampled_from(["ice_default", "other"])),
    st.tuples(st.just("spelled out"), st.sampled_from([None, "cn-shanghai"])),
    st.tuples(st.just("unwritable"), st.booleans()),
    st.tuples(st.just("unreadable"), st.booleans()),
)


async def crash(world: World, away: float) -> None:
    await world.watching.crash()
    world.crashes += 1
    await world.watching.passes(away)
    world.watching.start()


async def do(world: World, step: Step) -> None:
    watching, (kind, value) = world.watching, step
    makers: dict[str, Callable[[], None]] = {
        "jobs": lambda: world.jobs(*value),
        "failing jobs": lambda: world.jobs(*value, outcome="Failed"),
        "late jobs": lambda: world.jobs(*value, listed_late=200.0),
        "burst": lambda: world.jobs(*value),
        "twins": lambda: world.twins(value),
        "left out": lambda: world.jobs(*value, unlisted=(100.0, 2 * HOUR)),
        "sort": lambda: setattr(watching.account, "ignores_sort", value),
        "clock": lambda: setattr(watching, "skew", value),
        "list": lambda: setattr(world, "list_is_down", value),
        "gets": lambda: setattr(world, "get_fails", value),
        "unwritable": lambda: setattr(watching.store, "unwritable", value),
        "unreadable": lambda: setattr(watching.store, "unreadable", value),
    }
    if kind == "passes":
        await watching.passes(value)
    elif kind == "crash":
        await crash(world, 1.0)
    elif kind == "pause":
        await crash(world, value)
    elif kind == "interval":
        watching.arguments["poll_interval"] = value
        await crash(world, 1.0)
    elif kind == "filters":
        world.edit(value)
        await crash(world, 1.0)
    elif kind in {"renamed", "spelled out"}:
        watching.arguments["ice_conn_id" if kind == "renamed" else "region_id"] = value
        await crash(world, 1.0)
    elif kind == "region":
        world.was_elsewhere = True
        watching.elsewhere = Account()
        await watching.passes(value)
        watching.elsewhere = None
    elif kind == "two triggerers":
        watching.start()
        world.crashes += 1
        await watching.passes(value)
        await crash(world, 1.0)
    elif kind == "second triggerer":
        watching.start()
        world.crashes += 1  # each of the two may tell what the other has told
        await watching.passes(45)
        await crash(world, 1.0)
    else:
        makers[kind]()


async def story(monkeypatch: pytest.MonkeyPatch, steps: list[Step], skew: float) -> None:
    watching = Watching(monkeypatch, name="shop")
    watching.skew = skew
    world = World(watching)
    world.edit((TYPES, ENDED))
    watching.account.fault = world.fault
    watching.start()
    await watching.passes(5)
    for step in steps:
        await do(world, step)
    world.list_is_down, world.get_fails, watching.skew = False, 0, 0.0
    watching.store.unwritable = watching.store.unreadable = False
    await watching.passes(SETTLES)
    told = watching.times_told()
    jobs = watching.account.jobs
    assert set(told) >= {job_id for job_id, job in jobs.items() if world.is_owed(job)}
    if len(world.filters) == 1:
        assert set(told) == set(jobs)
    # Twice only where a crash left open what Airflow had stored.
    assert all(times <= 1 + world.crashes for times in told.values())
    for payload in watching.persisted:
        assert payload["status"] == watching.account.jobs[payload["job_id"]].outcome
    await crash(world, 1.0)
    before = len(watching.persisted)
    await watching.passes(HOUR)
    assert len(watching.persisted) == before  # all of it is remembered
    # And that is bounded, however many there were: nothing runs, nothing is new.
    record = watching.store.record
    created = [job.created for job in watching.account.jobs.values()]
    assert record["open"] == {}
    assert len(record["settled"]) <= sum(at >= max(created) - LIST_LAG - 1 for at in created)
    await watching.crash()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example([("jobs", (1, 45.0)), ("passes", 60.0), ("crash", None)], 0.0)
@example([("burst", (130, 60.0)), ("passes", 700.0), ("crash", None), ("passes", 0.3)], 0.0)
@example([("unreadable", True), ("crash", None), ("jobs", (2, 3.0)), ("passes", 700.0)], 0.0)
@example([("jobs", (1, 2 * HOUR)), ("list", True), ("passes", DAY), ("pause", 600.0)], 0.0)
@example([("jobs", (2, 45.0)), ("passes", 700.0)], 2 * DAY)
@example(
    [
        ("filters", (TYPES[:1], ENDED)),
        ("passes", 61.0),
        ("jobs", (4, 2 * HOUR)),
        ("passes", 700.0),
        ("burst", (30, 60.0)),
        ("passes", 700.0),
        ("burst", (30, 60.0)),
        ("passes", 700.0),
        ("filters", (TYPES, ENDED)),
    ],
    0.0,
)
@given(st.lists(STEPS, max_size=14), st.sampled_from([0.0, 50.0, -50.0]))
def test_no_end_is_lost(monkeypatch: pytest.MonkeyPatch, steps: list[Step], skew: float) -> None:
    run_virtually(story(monkeypatch, steps, skew))
