"""Thousands of waits in one event loop, compared: `python -m tests.benchmarks [--quick]`, or `soak
[--seconds N]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_ice.api.rate import DEFAULT_REQUESTS_PER_SECOND
from tests.benchmarks import peers, soak
from tests.benchmarks.contenders import BASELINE, CONTENDERS, OURS
from tests.benchmarks.control import server
from tests.benchmarks.importing import import_ms
from tests.benchmarks.measure import Plan, Result
from tests.benchmarks.report import table, verdicts
from tests.benchmarks.targets import targets

PICTURE = Path("docs/benchmark.png")
DELAY = 0.02
"""Seconds that each answer takes at the least, about what a service in the same region takes."""

SKIPPED = (
    "At 10,000 waits only airflow-ice and its baseline are run: the others need a connection, or a "
    "megabyte, for each wait, and what they cost at 1,000 is known by then."
)


Who = tuple[str, int, float, float, float]
"""A contender, how many waits, at which interval, and over how many intervals they are quiet and
ending."""

BURST: tuple[tuple[Who, float], ...] = (
    ((OURS, 300, 5.0, 1.0, 0.0), 4.0),
    ((BASELINE, 300, 5.0, 1.0, 0.0), 14.0),
)
"""All jobs end in one moment, at the default limit of requests; with the intervals to wait for
it."""

TOGETHER: tuple[Who, ...] = (
    (OURS, 1000, 30.0, 2.0, 0.5),
    (OURS, 10_000, 30.0, 2.0, 0.5),
    (BASELINE, 10_000, 30.0, 1.0, 0.5),
)
"""At the same time: two of them take next to nothing, and show what ten times the waits cost; the
third has a core to itself."""


def plans(*, quick: bool) -> Iterator[Who]:
    """Yield what is measured one after the other."""
    everybody = [*CONTENDERS, *peers.installed()]
    for name in everybody:
        yield name, 100, 5.0, 2.0, 0.5
    for name in everybody[: 2 if quick else None]:
        yield name, 1000, 5.0, (6.0 if name in {OURS, BASELINE} and not quick else 2.0), 1.0


def run(
    name: str, waits: int, interval: float, quiet: float, ending: float, **options: Any
) -> Result:
    """Measure one contender, in a fresh process and against a fresh server.

    :param options: the other fields of the plan.
    """
    with server(DELAY) as (port, control_port), tempfile.TemporaryDirectory() as folder:
        plan = Plan(name, waits, interval, quiet, ending, port, control_port, **options)
        result = Path(folder) / "result.json"
        environment = {
            **os.environ,
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        }
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.measure",
                json.dumps(asdict(plan)),
                str(result),
            ],
            env=environment,
            check=True,
        )
        return Result(**json.loads(result.read_text(encoding="utf-8")))


def compare(*, quick: bool) -> None:
    """Measure everybody, and print what was found."""
    results: list[Result] = []
    if missing := [name for name in peers.PEERS if name not in peers.installed()]:
        print(f"Not installed, so not measured: {', '.join(missing)}.")
    print(f"Each answer of the benchmark's own server takes {1000 * DELAY:g} ms. {SKIPPED}\n")
    for who in plans(quick=quick):
        results.append(run(*who))
        print(f"... {results[-1]}", file=sys.stderr, flush=True)
    bursts = [
        run(*who, per_second=DEFAULT_REQUESTS_PER_SECOND, burst=True, patience=patience)
        for who, patience in BURST
    ]
    if not quick:
        with ThreadPoolExecutor() as pool:
            results += pool.map(lambda who: run(*who), TOGETHER)
    results.sort(key=lambda result: (result.waits, result.interval))
    print(table(results), "\n")
    print(
        f"{BURST[0][0][1]} jobs end at once, "
        f"at {DEFAULT_REQUESTS_PER_SECOND:g} requests a second:\n"
    )
    print(table(bursts), "\n")
    print(verdicts(targets([*results, *bursts], import_ms())))
    if not quick:
        from tests.benchmarks.plot import plot

        plot(
            [result for result in results if (result.waits, result.interval) != (1000, 30.0)],
            PICTURE,
        )
        print(f"\nThe picture is {PICTURE}.")


def main() -> None:
    """Run the comparison, or the soak test."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["compare", "soak"], default="compare")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer waits and contenders, and no picture: some four minutes",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=120.0,
        help="how long waits come and go in the soak test; "
        "the last ones take up to six minutes more",
    )
    parser.add_argument("--seed", type=int, default=None, help="of the soak test's faults")
    options = parser.parse_args()
    if options.what == "soak":
        sys.exit(asyncio.run(soak.main(options.seconds, options.seed)))
    compare(quick=options.quick)


if __name__ == "__main__":
    main()
