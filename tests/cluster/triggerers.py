"""Which triggerer serves which waits, and what its processes have open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.cluster.cluster import Cluster


def fullest(cluster: Cluster) -> tuple[str, int]:
    """Return the name of the triggerer with the most waits, and how many it has; an empty name
    where none has any.
    """
    names = triggerer_ids(cluster, cluster.names("triggerer"))
    counts = {int(row["id"]): int(row["waits"]) for row in cluster.rows(_COUNTS)}
    having = [(count, names[job]) for job, count in counts.items() if job in names]
    count, name = max(having, default=(0, ""))
    return name, count


_COUNTS = (
    "SELECT triggerer_id AS id, count(*) AS waits FROM trigger "
    "WHERE triggerer_id IS NOT NULL GROUP BY triggerer_id"
)


def triggerer_ids(cluster: Cluster, names: Sequence[str]) -> dict[int, str]:
    """Return the names of triggerers by the ids of their rows in `job`, for which the logs of their
    waits are named; without those that have no waits.
    """
    return {
        int(match[1]): name
        for name in names
        for pid in tree(cluster, name)
        for file in open_files(pid)
        if (match := re.search(r"\.trigger\.(\d+)\.log$", file))
    }


def tree(cluster: Cluster, name: str) -> Iterator[int]:
    """Return the processes of a program: those of its session."""
    session = str(cluster.supervisor.pid_of(name))
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if stat(int(folder.name))[3] == session:
                yield int(folder.name)


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def open_files(pid: int) -> list[str]:
    """Return what a process has open: paths, and names such as `socket:[INODE]`."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(file.readlink()))
    return found
