"""What the demo shows while it runs, and the list at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from airflow_ice.waiting import counted

_COLOURS = {
    **dict.fromkeys(("success", "Success", "Finished"), "green"),
    **dict.fromkeys(("failed", "Failed", "upstream_failed"), "red"),
    **dict.fromkeys(("running", "Processing", "deferred"), "yellow"),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of the run.

    :param tasks: task id to the states of its instances.
    :param job_status: of the batch job; None before it is submitted.
    :param sub_jobs: index, status and percent of each.
    """

    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    job_id: str | None = None
    job_status: str | None = None
    sub_jobs: Sequence[tuple[int, str, int]] = ()


class Show:
    """Shows progress: live on a terminal, a line on each change elsewhere. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, refresh_per_second=8, transient=True)
            if console.is_terminal
            else None
        )
        self._last = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show this moment."""
        if self._live:
            self._live.update(_picture(progress))
            return
        line = _line(progress)
        if line != self._last:
            self._last = line
            self._console.print(line, highlight=False, soft_wrap=True)


def _picture(progress: Progress) -> RenderableType:
    tasks = Table.grid(padding=(0, 2))
    for task_id, states in progress.tasks.items():
        tasks.add_row(Text(task_id, style="bold"), _states(states))
    videos = Table.grid(padding=(0, 2))
    for index, status, percent in progress.sub_jobs:
        bar = ProgressBar(total=100, completed=percent, width=30, finished_style="green")
        videos.add_row(f"video {index}", bar, Text(status, style=_COLOURS.get(status, "")))
    title = (
        f"batch job {progress.job_id}: {progress.job_status}"
        if progress.job_id
        else "batch job: not submitted yet"
    )
    return Group(tasks, Text(""), Text(title, style="bold"), videos)


def _line(progress: Progress) -> str:
    """Return the moment in at most 80 columns: only the tasks that are neither done nor waiting."""
    going = {
        task_id: states
        for task_id, states in progress.tasks.items()
        if set(states) - {"success", "waiting"}
    }
    if progress.tasks and {state for states in progress.tasks.values() for state in states} == {
        "success"
    }:
        tasks = "every task has succeeded"
    else:
        shown = [f"{task_id} {_states(states).plain}" for task_id, states in going.items()]
        tasks = ", ".join(shown) or "between two tasks"
    counts = Counter(status for _, status, _ in progress.sub_jobs)
    videos = ", ".join(f"{count} {status}" for status, count in counts.items())
    job = progress.job_status or "not submitted yet"
    return f"{tasks}; job {job}{f' ({videos})' if videos else ''}"


def _states(states: Sequence[str]) -> Text:
    text = Text()
    for state, count in Counter(states).items():
        text.append(
            f"{', ' if text else ''}{f'{count} ' if len(states) > 1 else ''}{state}",
            style=_COLOURS.get(state, ""),
        )
    return text


def published_lines(published: Sequence[tuple[Mapping[str, Any], Path, str]]) -> list[Text]:
    """Return what was published as lines: numbers within 80 columns, and below them the path.

    :param published: media row, file and picture size of each video.
    """
    heading = f"{'video':>5}  {'length':>8}  {'picture':>11}  {'size':>10}"
    lines = [
        Text(f"Published {counted(len(published), 'video')}", style="bold"),
        Text(heading, style="bold"),
    ]
    for media, file, picture in published:
        length = f"{media['duration']:.1f} s"
        size = f"{file.stat().st_size / 1000:,.0f} kB"
        lines.append(Text(f"{media['index']:>5}  {length:>8}  {picture:>11}  {size:>10}"))
        lines.append(Text(f"       {_path_from_here(file)}"))
    return lines


def _path_from_here(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:  # elsewhere: a row of `..` would say less than the whole path
        return str(file)
