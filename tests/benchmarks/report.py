"""The figures as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tests.benchmarks.measure import Result
from tests.benchmarks.targets import Target

COLUMNS: Sequence[tuple[str, Callable[[Result], str]]] = (
    ("waits", lambda r: f"{r.waits:,}"),
    ("interval", lambda r: f"{r.interval:g} s"),
    ("who", lambda r: r.contender),
    ("requests/interval", lambda r: f"{r.requests:,.1f}"),
    ("connections", lambda r: f"{r.connections:,}"),
    ("CPU ms/wait/interval", lambda r: f"{r.cpu_ms:.3f}"),
    ("kB/wait", lambda r: f"{r.kb:,.1f}"),
    ("lag p99 ms", lambda r: f"{r.lag_p99:,.0f}"),
    ("lag max ms", lambda r: f"{r.lag_max:,.0f}"),
    ("end to event p50", lambda r: f"{r.seen_p50:.2f}"),
    ("max", lambda r: f"{'' if r.seen == r.ends else '> '}{r.seen_max:.2f}"),
    ("ends seen", lambda r: f"{r.seen}/{r.ends}"),
    ("requests/interval while ending", lambda r: f"{r.ending_requests:,.0f}"),
    ("server: core", lambda r: f"{100 * r.server_share:.1f} %"),
    ("us/request", lambda r: f"{r.server_us:,.0f}"),
)


def table(results: Iterable[Result]) -> str:
    """Return the results as a table in Markdown, which reads well as plain text, too."""
    rows = [[of(result) for _, of in COLUMNS] for result in results]
    return markdown([name for name, _ in COLUMNS], rows)


def verdicts(targets: Iterable[Target]) -> str:
    """Return the targets as a table in Markdown."""
    rows = [
        [target.what, target.asked, target.found, "met" if target.met else "MISSED"]
        for target in targets
    ]
    return markdown(["target", "asked", "found", ""], rows)


def markdown(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [names, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )
