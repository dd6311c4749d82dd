"""What triggerers use, process trees and all, and what the emulator is asked meanwhile."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.triggerers import open_files, stat, tree

TICKS = os.sysconf("SC_CLK_TCK")
LIST, GET = "ListBatchMediaProducingJobs", "GetBatchMediaProducingJob"


@dataclass(frozen=True)
class Use:
    """What one triggerer uses over a while.

    :param cpu: percent of a core. memory: MB. connections: to the database.
    """

    cpu: float
    memory: float
    files: int
    connections: int


@dataclass(frozen=True)
class Steady:
    """A while in which nothing happens but polls.

    :param lists: requests an interval, of all triggerers. So is gets.
    :param others: all requests of the while that were other ones, or not answered with 200.
    :param connections: of the whole Airflow to the database.
    """

    lists: float
    gets: float
    others: int
    triggerers: Sequence[Use]
    connections: int


def measure(cluster: Cluster, names: Sequence[str], interval: float, intervals: int) -> Steady:
    """Measure some triggerers over some poke intervals."""
    before = {name: _cpu_seconds(cluster, name) for name in names}
    began = time.time()
    time.sleep(interval * intervals)
    over = time.time()
    used = {name: _cpu_seconds(cluster, name) - before[name] for name in names}
    seen = Counter(
        request["action"] if request["http_status"] == 200 else "refused"
        for request in cluster.ice.requests()
        if began <= request["time"] < over
    )
    (all_of_them,) = cluster.rows(
        "SELECT count(*) AS count FROM pg_stat_activity WHERE usename IS NOT NULL"
    )
    return Steady(
        lists=seen[LIST] / intervals,
        gets=seen[GET] / intervals,
        others=seen.total() - seen[LIST] - seen[GET],
        triggerers=[
            Use(
                cpu=100 * used[name] / (over - began),
                memory=sum(map(_memory_mb, tree(cluster, name))),
                files=sum(len(open_files(pid)) for pid in tree(cluster, name)),
                connections=_connections(cluster, name),
            )
            for name in names
        ],
        connections=int(all_of_them["count"]),
    )


def _cpu_seconds(cluster: Cluster, name: str) -> float:
    return sum(sum(map(int, stat(pid)[11:13])) for pid in tree(cluster, name)) / TICKS


def _memory_mb(pid: int) -> float:
    """Return the resident memory of a process; of what it shares with others, its share."""
    (kilobytes,) = re.findall(
        r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    return int(kilobytes) * 1024 / 1e6


def _connections(cluster: Cluster, name: str) -> int:
    """Count a program's TCP connections to PostgreSQL."""
    own = {file for pid in tree(cluster, name) for file in open_files(pid)}
    server = f":{cluster.postgresql.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(server) and f"socket:[{row[9]}]" in own for row in rows)
