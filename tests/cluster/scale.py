"""Thousands of real deferred sensors over three triggerers: what they cost, how long a take-over
takes, and how long the end of 500 jobs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.hooks import IceHook
from tests.cluster.cluster import Cluster, Size
from tests.cluster.dags.ice_cluster import output
from tests.cluster.defer_all import POKE_INTERVAL

DAGS = Path(__file__).parent / "scale_dags"
SIZE = Size(workers=1, schedulers=1, api_servers=1, triggerers=3, slots=8)
ENDING = 500
JOB_SECONDS = 360_000.0
INTERVALS = 3
TICKS = os.sysconf("SC_CLK_TCK")
INPUT = {"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]}


def main(waits: int) -> None:
    """Measure and print, one fact a line."""
    cluster = ScaleCluster(SIZE, dags=DAGS, job_seconds=JOB_SECONDS)
    cluster.waits = waits
    with cluster:
        _measure(cluster, waits)


class ScaleCluster(Cluster):
    """A cluster whose jobs are there before its DAG is parsed."""

    waits = 0

    def wait_until_loaded(self) -> None:
        """Make the jobs: those that end together first, the others much later."""
        client = self.client
        client.api("POST", "pools", json={"name": "held", "slots": 0})
        connection = self.environ["AIRFLOW_CONN_ICE_DEFAULT"]
        connection = json.dumps(
            {**json.loads(connection), "extra": {"max_requests_per_second": 1000}}
        )
        jobs = []
        with (
            mock.patch.dict(os.environ, {"AIRFLOW_CONN_ICE_DEFAULT": connection}),
            IceHook() as hook,
        ):
            for number in range(self.waits):
                if number == ENDING:
                    self.ice.advance(JOB_SECONDS / 2)
                jobs.append(
                    hook.submit_batch_media_producing_job(
                        input_config=INPUT, output_config=output(f"scale_{number}")
                    )
                )
        (self.home / "jobs.new").write_text(json.dumps(jobs))
        (self.home / "jobs.new").rename(self.home / "jobs.json")
        deadline = time.monotonic() + 300.0
        while True:
            with suppress(LocalAirflowError):
                client.wait_for_dag("ice_scale", within=30.0)
                return
            if time.monotonic() > deadline:
                raise LocalAirflowError("the DAG with the waits is not known")


def _measure(cluster: ScaleCluster, waits: int) -> None:
    query = cluster.postgresql.query
    run_id = cluster.client.trigger("ice_scale")
    made = f"SELECT count(*) FROM task_instance WHERE run_id = '{run_id}'"  # noqa: S608 - its own
    _until(lambda: int(query(made)) == waits)
    subprocess.run(
        [sys.executable, "-m", "tests.cluster.defer_all", run_id],
        env={**cluster.environ, "PYTHONPATH": str(Path.cwd())},
        check=True,
    )
    started = time.monotonic()
    _until(lambda: query("SELECT count(*) FROM trigger WHERE triggerer_id IS NULL") == "0")
    print(f"{waits} waits on {SIZE.triggerers} triggerers, every {POKE_INTERVAL:.0f} s", flush=True)
    print(f"all assigned after {time.monotonic() - started:.0f} s", flush=True)
    time.sleep(3 * POKE_INTERVAL)  # the first polls, and what a start costs
    _print_cost(cluster)
    victim = cluster.names("triggerer")[0]
    owners = "SELECT count(DISTINCT triggerer_id) FROM trigger"
    before = query(owners)
    print(f"triggerers with waits: {before}", flush=True)
    cluster.supervisor.down(victim)
    killed = time.monotonic()
    _until(lambda: int(query(owners)) < int(before))
    print(f"taken over {time.monotonic() - killed:.0f} s after a triggerer was killed", flush=True)
    time.sleep(3 * POKE_INTERVAL)
    _print_cost(cluster)
    left = f"{made} AND state = 'deferred'"
    count = int(query(left))
    cluster.ice.advance(JOB_SECONDS / 2 + 3600.0)
    ended = time.monotonic()
    seen: list[float] = []
    while len(seen) < ENDING and time.monotonic() - ended < 300.0:
        heard = count - int(query(left))
        seen += [time.monotonic() - ended] * (heard - len(seen))
        time.sleep(0.2)
    print(
        f"{len(seen)} of {ENDING} ends heard: half after {seen[len(seen) // 2]:.1f} s, "
        f"all after {seen[-1]:.1f} s",
        flush=True,
    )
    cluster.client.api("PATCH", "pools/held", json={"slots": 8})
    resumed = time.monotonic()
    time.sleep(60.0)
    done = int(query(f"{made} AND state = 'success'"))
    print(f"resumed and over: {done} in {time.monotonic() - resumed:.0f} s on one worker of 8")


def _print_cost(cluster: Cluster) -> None:
    names = [
        name for name in cluster.names("triggerer") if cluster.supervisor.programs[name].wanted
    ]
    before = {name: _cpu(cluster, name) for name in names}
    requests = len(cluster.ice.requests())
    started = time.monotonic()
    time.sleep(INTERVALS * POKE_INTERVAL)
    passed = time.monotonic() - started
    each = (len(cluster.ice.requests()) - requests) / passed * POKE_INTERVAL
    print(f"  requests an interval, all triggerers: {each:.1f}")
    for name in names:
        share = (_cpu(cluster, name) - before[name]) / passed
        pids = _group(cluster, name)
        files = max(len(list(Path(f"/proc/{pid}/fd").glob("*"))) for pid in pids)
        memory = sum(_memory(pid) for pid in pids)
        print(f"  {name}: {share:.1%} of a core, {memory / 1e6:.0f} MB, {files} open files")
    connections = cluster.postgresql.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'airflow'"
    )
    print(f"  database connections, all parts: {connections}", flush=True)


def _group(cluster: Cluster, name: str) -> list[int]:
    leader = cluster.supervisor.pid_of(name)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return found


def _cpu(cluster: Cluster, name: str) -> float:
    total = 0
    for pid in _group(cluster, name):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _memory(pid: int) -> int:
    """Return the memory that a process shares with nobody, and its share of the rest, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _until(happened: Callable[[], Any], within: float = 600.0) -> None:
    deadline = time.monotonic() + within
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen")
        time.sleep(0.5)
