"""The figures as a picture: docs/benchmark.png."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import OURS
from tests.benchmarks.measure import Result

PANELS: Sequence[tuple[str, Callable[[Result], float], float | None]] = (
    ("requests an interval", lambda r: r.requests, None),
    ("TCP connections", lambda r: r.connections, 8),
    ("CPU a wait and interval, ms", lambda r: r.cpu_ms, None),
    ("memory a wait, kB", lambda r: max(r.kb, 0.1), 40),
    ("event-loop lag p99, ms", lambda r: max(r.lag_p99, 0.1), 50),
    ("from end to event, max, in intervals", lambda r: r.seen_max, 2),
)
"""The title, the figure, and the target where it is one for the figure itself."""


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw each figure over the number of waits."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    for place, (axis, (title, of, target)) in enumerate(zip(axes.flat, PANELS, strict=True)):
        for name in dict.fromkeys(result.contender for result in results):
            mine = sorted(
                (result.waits, of(result))
                for result in results
                if result.contender == name and of(result) > 0
            )
            style = (
                {"linewidth": 3, "color": "black", "zorder": 3}
                if name == OURS
                else {"linewidth": 1.2}
            )
            axis.plot(*zip(*mine, strict=True), marker="o", label=name, **style)
        if target is not None:
            axis.axhline(
                target, color="grey", linestyle=":", label="target" if place == 1 else None
            )
        axis.set(title=title, xscale="log", yscale="log")
        axis.set_xticks([100, 1000, 10_000], ["100\n5 s", "1,000\n5 s", "10,000\n30 s"])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    figure.suptitle("so many waits in one event loop, at an interval of so many seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
