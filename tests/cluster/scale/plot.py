"""`python -m tests.cluster.scale.plot FIGURES PICTURE`: draw what `scale --json FIGURES` kept.

Needs matplotlib, which the environment of `make bench` has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster.scale.report import OURS, PLAIN, Part, load

Figure = Callable[[Part], float]


def _of(name: str) -> Figure:
    return lambda part: float(part.figures[name])


def _requests(part: Part) -> float:
    return float(part.figures["List an interval"]) + float(part.figures["Get an interval"])


PANELS: Sequence[tuple[str, str, Figure]] = (
    ("CPU of a triggerer, % of a core", "steady", _of("cpu max")),
    ("memory of a triggerer, MB", "steady", _of("memory max")),
    ("open files of a triggerer", "steady", _of("files max")),
    ("from end to event, max, s", "ends", _of("event max s")),
    ("a killed triggerer's waits polled again, max, s", "take-over", _of("polled max s")),
)
"""The title, the part and its figure, over the number of waits."""


def plot(parts: Sequence[Part], path: Path) -> None:
    """Draw requests over triggerers, and the other figures over waits."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    first, *others = axes.flat
    for contender in (OURS, PLAIN):
        style = "o-" if contender == OURS else "s--"
        mine = [part for part in parts if part.contender == contender]
        for waits in sorted({part.waits for part in mine}):
            steady = [part for part in mine if part.waits == waits and part.what == "steady"]
            points = sorted((part.triggerers, _requests(part)) for part in steady)
            if points:
                interval = steady[0].interval
                label = f"{contender}, {waits:,} waits at {interval:g} s"
                first.plot(*zip(*points, strict=True), style, label=label)
        for axis, (_, what, of) in zip(others, PANELS, strict=True):
            # Where a part was played with 3, 2 and 1 triggerers: the first one.
            found = {part.waits: of(part) for part in reversed(mine) if part.what == what}
            if found:
                axis.plot(*zip(*sorted(found.items()), strict=True), style, label=contender)
    first.set(title="requests an interval, over triggerers", yscale="log", xticks=[1, 2, 3])
    for axis, (title, _, _) in zip(others, PANELS, strict=True):
        axis.set(title=title, ylim=(0, None), xlabel="waits")
    for axis in axes.flat:
        axis.grid(visible=True, alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    plot(load(Path(sys.argv[1])), Path(sys.argv[2]))
