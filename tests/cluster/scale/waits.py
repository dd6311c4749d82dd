"""The waits of one run: how they are started, who serves them, and what their logs say when."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster

STARTING = " starting"
POLLED = "Batch job "
"""Words in the log of a wait: its trigger starts; the first poll of it has shown the job."""

MAPPED_WITHIN = 900.0
WITHIN = 420.0
"""Seconds for one part of a measurement."""


class PartTimeoutError(RuntimeError):
    """A part of a measurement did not come to its end; the message says how far it came."""


class Waits:
    """One run of a DAG in tests/cluster/scale/dags, a wait for each job.

    :param jobs: their ids; the map index of a wait is the place of its job.
    """

    def __init__(self, cluster: Cluster, dag: str, jobs: Sequence[str]) -> None:
        self.jobs = jobs
        self.run_id = ""
        self._cluster = cluster
        self._dag = dag

    def start(self) -> float:
        """Let the scheduler map the run, defer its waits, and return when that was."""
        cluster, count = self._cluster, len(self.jobs)
        cluster.postgresql.write("UPDATE slot_pool SET slots = 0 WHERE pool = 'waits'")
        file = cluster.home / f"jobs-{time.time():.0f}.json"
        file.write_text(json.dumps(self.jobs))
        self.run_id = cluster.client.trigger(self._dag, {"jobs": str(file)})
        until(lambda: self._count("state = 'scheduled'"), count, "waits mapped", MAPPED_WITHIN)
        done = subprocess.run(
            [sys.executable, "-m", "tests.cluster.scale.defer", self._dag, self.run_id, str(file)],
            env=cluster.environ,
            capture_output=True,
            text=True,
            timeout=MAPPED_WITHIN,
        )
        if done.returncode != 0:
            raise PartTimeoutError(f"not deferred: {done.stderr}")
        return float(done.stdout.split()[-1])

    def allow(self, slots: int) -> None:
        """Let so many of the tasks that resume run at once."""
        sql = f"UPDATE slot_pool SET slots = {slots} WHERE pool = 'waits'"  # noqa: S608 - a number
        self._cluster.postgresql.write(sql)

    def until_assigned(self, waits: int, *, without: int = -1) -> float:
        """Return when so many waits have a triggerer, leaving out one of them."""
        others = f"triggerer_id <> {without}"
        serving = f"SELECT id FROM trigger WHERE {others}"  # noqa: S608 - a number
        until(lambda: self._count(f"trigger_id IN ({serving})"), waits, "waits assigned")
        return time.time()

    def triggerers(self) -> dict[int, int]:
        """Return the triggerer of each deferred wait, by map index."""
        sql = (
            "SELECT map_index, triggerer_id FROM task_instance "  # noqa: S608
            f"JOIN trigger ON trigger.id = trigger_id WHERE {self._where} AND state = 'deferred'"
        )
        return {row["map_index"]: row["triggerer_id"] for row in self._cluster.rows(sql)}

    def until_logged(
        self, words: str, indexes: Iterable[int], *, since: float = 0.0, within: float = WITHIN
    ) -> list[float]:
        """Return when each wait first logged some words, in seconds since the epoch.

        :param since: earlier ones do not count.
        """
        found: dict[int, float] = {}
        missing = set(indexes)

        def look() -> int:
            for index in sorted(missing):
                if moment := self._logged(words, index, since):
                    found[index] = moment
            missing.difference_update(found)
            return len(found)

        # The logs say when: looking for them seldom leaves the cores to what is measured.
        until(look, len(missing), f"waits with {words.strip()!r} in their log", within, pause=3.0)
        return list(found.values())

    def until_resumed(self, count: int, since: float) -> list[float]:
        """Return when the events of so many waits were stored, in seconds since the epoch: from
        then on the scheduler may run their tasks. (The log's "Trigger fired event" is no measure:
        Airflow 3.3.2 may close the log of a wait before that line comes.)
        """
        stored = f"trigger_id IS NULL AND scheduled_dttm > to_timestamp({since})"
        until(lambda: self._count(stored), count, "events stored")
        rows = self._rows("extract(epoch FROM scheduled_dttm) AS at", stored)
        return [float(row["at"]) for row in rows]

    def until_succeeded(self, count: int, within: float) -> list[float]:
        """Return when so many of the tasks became a success, in seconds since the epoch."""
        success = "state = 'success'"
        until(lambda: self._count(success), count, "tasks resumed and a success", within)
        rows = self._rows("extract(epoch FROM end_date) AS at", success)
        return [float(row["at"]) for row in rows]

    def drop(self) -> None:
        """End what is still deferred, without its tasks."""
        self._cluster.postgresql.write(
            f"UPDATE task_instance SET state = 'skipped', trigger_id = NULL "  # noqa: S608
            f"WHERE {self._where} AND state <> 'success'"
        )
        waiting = "SELECT trigger_id FROM task_instance WHERE trigger_id IS NOT NULL"
        self._cluster.postgresql.write(f"DELETE FROM trigger WHERE id NOT IN ({waiting})")  # noqa: S608

    def _logged(self, words: str, index: int, since: float) -> float | None:
        """Return when a wait logged some words, in the log of whichever triggerer had it."""
        folder = Path(f"dag_id={self._dag}", f"run_id={self.run_id}", "task_id=wait")
        moments = [
            moment
            for log in (self._cluster.home / "logs" / folder / f"map_index={index}").glob("*.log")
            for line in log.read_text().splitlines()
            if words in line and (moment := _moment(line)) >= since
        ]
        return min(moments, default=None)

    @property
    def _where(self) -> str:
        return f"dag_id = '{self._dag}' AND run_id = '{self.run_id}' AND task_id = 'wait'"

    def _count(self, condition: str) -> int:
        return int(self._rows("count(*) AS count", condition)[0]["count"])

    def _rows(self, columns: str, condition: str) -> list[dict[str, Any]]:
        sql = f"SELECT {columns} FROM task_instance WHERE {self._where} AND {condition}"  # noqa: S608
        return self._cluster.rows(sql)


def until(
    count: Callable[[], int], wanted: int, what: str, within: float = WITHIN, pause: float = 0.25
) -> None:
    """Wait until a count has come to what is wanted.

    :raises PartTimeoutError: it has not, within so many seconds.
    """
    deadline = time.monotonic() + within
    while (reached := count()) < wanted:
        if time.monotonic() > deadline:
            raise PartTimeoutError(f"{reached} of {wanted} {what} after {within:.0f} s")
        time.sleep(pause)


def _moment(line: str) -> float:
    return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
