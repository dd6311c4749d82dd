"""The targets of the project, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.benchmarks.contenders import BASELINE, OURS
from tests.benchmarks.measure import Result

IMPORT_MS = 60.0
SHARE_OF_A_CORE = 1 / 3
BURST_SECONDS = 8.0
GROWTH = 1.15
"""What counts as no growth: a figure for each wait may differ by so much from one run to the next
on a busy machine."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target: what it asks for, what was found, and whether that meets it."""

    what: str
    asked: str
    found: str
    met: bool


def targets(results: Iterable[Result], import_ms: float) -> Iterator[Target]:
    """Judge the results of one run, as far as they go."""
    results = list(results)
    by_key = {(r.contender, r.waits, r.interval): r for r in results if not r.burst}
    for burst in results:
        if burst.burst and burst.contender == OURS:
            yield from _of_a_burst(burst)
    ours, baseline = by_key.get((OURS, 1000, 5.0)), by_key.get((BASELINE, 1000, 5.0))
    if ours and baseline:
        yield from _of_a_thousand(ours, baseline)
    fewer, most = by_key.get((OURS, 1000, 30.0)), by_key.get((OURS, 10_000, 30.0))
    if fewer and most:
        yield from _of_ten_thousand(fewer, most)
    yield _at_most(
        "import: CPU on top of airflow.sdk and airflow.triggers.base", import_ms, IMPORT_MS, " ms"
    )


def _of_a_thousand(ours: Result, baseline: Result) -> Iterator[Target]:
    yield _at_least(
        "1,000 waits, 5 s: fewer requests than one Get each",
        baseline.requests / ours.requests,
        80,
        "x",
    )
    yield _at_least("less CPU than one Get each", baseline.cpu_ms / ours.cpu_ms, 30, "x")
    yield _at_most("memory a wait", ours.kb, 40, " kB")
    yield _at_most("connections", ours.connections, 8, "")
    yield _at_most("event-loop lag, p99", ours.lag_p99, 50, " ms")
    seen = f"{ours.seen} of {ours.ends}, {ours.early} early"
    yield Target("ends seen", "all", seen, ours.seen == ours.ends and not ours.early)
    yield _at_most("from end to event, p50", ours.seen_p50, 1, " intervals")
    yield _at_most("from end to event, max", ours.seen_max, 2, " intervals")


def _of_a_burst(ours: Result) -> Iterator[Target]:
    what = f"{ours.waits} ends at once, 10 requests a second: the last event"
    yield _at_most(what, ours.seen_max * ours.interval, BURST_SECONDS, " s")
    seen = f"{ours.seen} of {ours.ends}"
    yield Target("ends seen in the burst", "all", seen, ours.seen == ours.ends)


def _of_ten_thousand(fewer: Result, most: Result) -> Iterator[Target]:
    share = most.cpu_ms / 1000 * most.waits / most.interval
    yield _at_most(
        "10,000 waits, 30 s: share of one core", 100 * share, 100 * SHARE_OF_A_CORE, " %"
    )
    for what, many, few in (
        ("requests", most.requests, fewer.requests),
        ("CPU an interval", most.cpu_ms * most.waits, fewer.cpu_ms * fewer.waits),
        ("memory", most.kb * most.waits, fewer.kb * fewer.waits),
        ("connections", most.connections, fewer.connections),
    ):
        yield _at_most(f"10 times the waits: growth of {what}", many / few, 10 * GROWTH, "x")


def _at_least(what: str, found: float, asked: float, unit: str) -> Target:
    return Target(what, f"at least {asked:g}{unit}", f"{found:.3g}{unit}", found >= asked)


def _at_most(what: str, found: float, asked: float, unit: str) -> Target:
    return Target(what, f"at most {asked:.3g}{unit}", f"{found:.3g}{unit}", found <= asked)
