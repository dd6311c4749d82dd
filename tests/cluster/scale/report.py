"""The figures of a measurement: a line of JSON for each part, and a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OURS, PLAIN = "airflow-ice", "one Get each"


@dataclass(frozen=True)
class Part:
    """One part of a measurement.

    :param what: `start`, `steady`, `take-over` or `ends`.
    :param triggerers: how many of them run at its end.
    :param figures: numbers by name; `unfinished` is a text.
    """

    contender: str
    what: str
    waits: int
    interval: float
    triggerers: int
    figures: Mapping[str, float | str]

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {_shown(value)}" for name, value in self.figures.items())
        return f"{self.contender}, {self.what} ({self.triggerers} triggerers): {figures}"


class Report:
    """Prints each part as soon as it is there.

    :param file: where each part is added; None keeps none.
    """

    def __init__(self, file: Path | None) -> None:
        self.parts: list[Part] = []
        self._file = file

    def add(self, part: Part) -> None:
        self.parts.append(part)
        print(part, flush=True)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(part)) + "\n")


def load(file: Path) -> list[Part]:
    """Return the parts that a file holds."""
    return [Part(**json.loads(line)) for line in file.read_text().splitlines()]


def spread(name: str, moments: Sequence[float], since: float) -> dict[str, float]:
    """Return p50, p99 and max of seconds since a moment."""
    seconds = sorted(moment - since for moment in moments)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        f"{name} {word} s": seconds[min(len(seconds) - 1, int(share * len(seconds)))]
        for word, share in shares.items()
    }


def table(parts: Iterable[Part]) -> str:
    """Return a table in Markdown, one line a figure of each part and one column a contender and
    number of waits.
    """
    columns: dict[str, dict[str, str]] = {}
    for part in parts:
        column = columns.setdefault(f"{part.contender}, {part.waits:,} at {part.interval:g} s", {})
        for name, value in part.figures.items():
            column[f"{part.what}, {part.triggerers} triggerers: {name}"] = _shown(value)
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
