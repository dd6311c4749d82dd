"""The matrix: every fault, in seeded runs on one cluster, and what became of each wish."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from airflow_ice.demo.errors import LocalAirflowError
from tests.cluster.cluster import Cluster, Run
from tests.cluster.faults import ROWS, wishes_of


@dataclass(frozen=True)
class Result:
    """One run of one row."""

    row: str
    seed: str
    wishes: int
    jobs: int
    hit: int
    """Tries or waits that the harm was done to, where they can be counted."""
    seconds: float
    """From the trigger of the run to its end."""
    recovery: float
    """From the beginning of the harm to the end of the run."""
    wrong: Sequence[str]


class Results:
    """The runs that were played.

    :param file: JSON, one run a line, of this and earlier matrices; None keeps none.
    """

    def __init__(self, file: Path | None) -> None:
        self.played: list[Result] = []
        self._file = file

    def add(self, result: Result) -> None:
        """Add one run."""
        self.played.append(result)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")

    def __iter__(self) -> Iterator[Result]:
        if self._file is None or not self._file.exists():
            return iter(self.played)
        return (Result(**json.loads(line)) for line in self._file.read_text().splitlines())


def play(cluster: Cluster, row: str, seed: str, dag: str = "ice_cluster") -> Result:
    """Play one row with one seed and compare with the ledger.

    :param seed: the same one draws the same wishes, moments and victims.
    """
    conf, harm = ROWS[row]
    rng = random.Random(f"{row} {seed}")
    cluster.patiently(cluster.wait_until_healthy)
    run = Run(cluster, conf(rng, wishes_of(dag)), dag)
    cluster.patiently(run.start)
    wrong: list[str] = []
    hit: int | None = None
    harmed = time.monotonic()
    try:
        hit = harm(cluster, run, rng)
        run.until_ended()
    except LocalAirflowError as error:
        wrong.append(f"hanging: {error}")
    finally:
        run.wake()
    over = time.monotonic()
    wrong += run.faults()
    if hit == 0:
        wrong.append("nothing was hit, so this run proves nothing")
    jobs = run.jobs()
    return Result(
        row=row,
        seed=seed,
        wishes=len(run.tasks()),
        jobs=sum(map(len, jobs.values())),
        hit=hit or 0,
        seconds=over - run.started,
        recovery=over - harmed,
        wrong=wrong,
    )


def table(results: Iterable[Result]) -> str:
    """Return a table of at most 100 columns, one line a row; `wrong` are runs with any fault."""
    by_row: dict[str, list[Result]] = {}
    for result in results:
        by_row.setdefault(result.row, []).append(result)
    head = f"{'row':<31} runs wishes   hit doubled  lost failed hanging wrong  p50 s  p99 s"
    lines = [head, "-" * len(head)]
    for row, played in by_row.items():
        text = [line for result in played for line in result.wrong]
        recovery = sorted(result.recovery for result in played)
        lines.append(
            f"{row:<31} {len(played):>4} {sum(result.wishes for result in played):>6} "
            f"{sum(result.hit for result in played):>5} "
            f"{_count(text, ': paid '):>7} {_count(text, ': lost'):>5} "
            f"{_count(text, 'in try'):>6} {_count(text, 'hanging'):>7} "
            f"{sum(bool(result.wrong) for result in played):>5} "
            f"{statistics.median(recovery):>6.0f} {recovery[_p99(len(recovery))]:>6.0f}"
        )
    return "\n".join(lines)


def _count(lines: Iterable[str], words: str) -> int:
    return sum(words in line for line in lines)


def _p99(length: int) -> int:
    return min(length - 1, int(length * 0.99))
