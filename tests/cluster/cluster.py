"""Airflow on Celery, PostgreSQL and Redis, in processes of this machine, with a local ICE as the
ledger of what was billed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.demo.local_airflow import LOGIN, environment, free_port, serves_tasks
from airflow_ice.demo.rest_client import AirflowRestClient
from airflow_ice.emulator.local import LocalIce
from tests.cluster.services import PostgreSQL, Redis, ServiceDownError
from tests.cluster.supervisor import Supervisor

DAGS = Path(__file__).parent / "dags"
HEALTHY_WITHIN = 240.0
HEARTBEAT_TIMEOUT = 20.0
"""Seconds without a heartbeat after which Airflow gives a try up, and retries."""
TRIGGERER_TIMEOUT = 10.0
"""Seconds without a heartbeat after which the waits of a triggerer are taken over."""

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How many of each there are."""

    workers: int = 2
    schedulers: int = 2
    api_servers: int = 2
    triggerers: int = 3
    slots: int = 28
    """Tasks at once on one worker."""


SMALL = Size(schedulers=1, api_servers=1, triggerers=2, slots=20)


class Cluster:
    """A context manager; everything is ended with it, whatever happened.

    :param ahead: library of libfaketime; the last worker's clock is then a minute ahead.
    :param extra: the connection's.
    :param settings: more of Airflow's configuration, `{"SECTION__KEY": "value"}`.
    :param dags: a folder. dag_ids: of the DAGs in it.
    """

    def __init__(
        self,
        size: Size,
        *,
        ahead: str | None = None,
        dags: Path = DAGS,
        dag_ids: Sequence[str] = ("ice_cluster", "ice_small_cluster"),
        job_seconds: float = 8.0,
        extra: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.size = size
        self._ahead = ahead
        self._dags = dags
        self._dag_ids = dag_ids
        self._extra = dict(extra or {"max_requests_per_second": 50})
        self._settings = dict(settings or {})
        self._stack = ExitStack()
        self.ice = LocalIce(job_seconds=job_seconds, render=False)
        self.over = threading.Event()
        """Set by whoever gives up, so that what waits in other threads does, too."""
        self.api_ports = [free_port() for _ in range(size.api_servers)]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def names(self, *prefixes: str) -> list[str]:
        """Return the programs whose names begin so, such as `worker`; all without."""
        found = self.supervisor.programs
        return sorted(name for name in found if not prefixes or name.startswith(prefixes))

    def delivered_again(self) -> int:
        """Return how many of Celery's messages came to a worker more than once."""
        logs = [self.supervisor.log_of(name).read_text() for name in self.names("worker")]
        received = Counter(re.findall(r"Task execute_workload\[(.+)\] received", "".join(logs)))
        return sum(count > 1 for count in received.values())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return rows of Airflow's database, as soon as it answers. An api-server would have to be
        asked for the same often, and what it costs is missing to the tasks.
        """
        return self.patiently(lambda: self.postgresql.rows(sql))

    def patiently(self, call: Callable[[], T], within: float = 240.0) -> T:
        """Call until it succeeds: the api-server or PostgreSQL may be down meanwhile."""
        deadline = time.monotonic() + within
        while True:
            try:
                return call()
            except (LocalAirflowError, ServiceDownError):
                if time.monotonic() > deadline or self.over.is_set():
                    raise
                time.sleep(1.0)

    def wait_until_healthy(self) -> None:
        """Wait until every part of Airflow reports that it is healthy."""
        deadline = time.monotonic() + HEALTHY_WITHIN
        while ill := self.client.ill() or [
            f"task API at {port}" for port in self.api_ports if not serves_tasks(port)
        ]:
            if time.monotonic() > deadline:
                raise LocalAirflowError(f"not healthy: {ill}; logs in {self.home}")
            time.sleep(0.5)

    def wait_until_loaded(self) -> None:
        """Wait until the DAGs are known."""
        for dag in self._dag_ids:
            self.client.wait_for_dag(dag, within=HEALTHY_WITHIN)

    def _start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ice-cluster-"))
        self._stack.callback(self._remove)
        self.home.chmod(0o755)
        (self.home / "logs").mkdir()
        self._stack.enter_context(self.ice)
        self.supervisor = Supervisor(self.home, secrets.token_hex(8))
        self._stack.callback(self.supervisor.stop)
        self.postgresql = PostgreSQL(self.supervisor, self.home / "postgresql")
        self.redis = Redis(self.supervisor, self.home / "redis")
        self.postgresql.start()
        self.redis.start()
        self.environ = self._environ()
        (self.home / "passwords.json").write_text(json.dumps(dict([LOGIN])))
        self._migrate()
        self.client = AirflowRestClient(
            f"http://127.0.0.1:{self.api_ports[0]}",
            LOGIN,
            check_alive=lambda: None,
            logs=self.home,
        )
        self._stack.callback(self.client.close)
        self._start_parts()
        self.wait_until_healthy()
        self.wait_until_loaded()

    def _remove(self) -> None:
        if sys.exc_info()[0] is None and "ICE_CLUSTER_KEEP" not in os.environ:
            shutil.rmtree(self.home, ignore_errors=True)

    def _migrate(self) -> None:
        self.supervisor.start("migrate", *_airflow("db", "migrate"), environ=self.environ)
        migrate = self.supervisor.programs["migrate"]
        migrate.wanted = False
        assert migrate.process is not None
        if migrate.process.wait(HEALTHY_WITHIN) != 0:
            raise LocalAirflowError(f"no database: {self.supervisor.log_of('migrate').read_text()}")
        del self.supervisor.programs["migrate"]

    def _start_parts(self) -> None:
        for number, port in enumerate(self.api_ports):
            self._part(f"api-server-{number}", "api-server", "--port", str(port))
        self._part("dag-processor", "dag-processor")
        for number in range(self.size.schedulers):
            self._part(f"scheduler-{number}", "scheduler", "--skip-serve-logs")
        for number in range(self.size.triggerers):
            self._part(f"triggerer-{number}", "triggerer", "--skip-serve-logs")
        for number in range(self.size.workers):
            # Each worker has its own api-server, as far as there are enough.
            port = self.api_ports[number % len(self.api_ports)]
            own = {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/"}
            if self._ahead is not None and number == self.size.workers - 1:
                own |= {"LD_PRELOAD": self._ahead, "FAKETIME": "+60s", "FAKETIME_NO_CACHE": "1"}
            name = f"worker-{number}"
            arguments = ("--skip-serve-logs", "--celery-hostname", name, "--without-mingle")
            self._part(
                name,
                *("celery", "worker", *arguments, "--concurrency", str(self.size.slots)),
                *("--without-gossip", "--pid", str(self.home / f"{name}.pid")),
                **own,
            )

    def _part(self, name: str, *arguments: str, **own: str) -> None:
        self.supervisor.start(name, *_airflow(*arguments), environ={**self.environ, **own})

    def _environ(self) -> dict[str, str]:
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__PARALLELISM": "128",
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": "256",
            "DATABASE__SQL_ALCHEMY_CONN": self.postgresql.url,
            "CELERY__BROKER_URL": self.redis.url,
            "CELERY__RESULT_BACKEND": "db+" + self.postgresql.url.replace("+psycopg2", ""),
            "CELERY__WORKER_CONCURRENCY": str(self.size.slots),
            "CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
            # Defaults are minutes, and 600 s for a task whose message a killed worker held.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": f"{HEARTBEAT_TIMEOUT:.0f}",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
            "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
            # By default a task that was queued for too long three times fails without a retry
            # (airflow/jobs/scheduler_job_runner.py, "Task requeue attempts exceeded max"). On a
            # busy machine 30 s are no sign that the message is lost.
            "SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "1000",
            # The default. More would leave the two cores to schedulers that find nothing to do.
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": f"{TRIGGERER_TIMEOUT:.0f}",
            "TRIGGERER__CAPACITY": "20000",
            # Parsed once, and again when it changed: the cores are for the tasks.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        }
        connection = {
            "conn_type": "alibaba_ice",
            "host": self.ice.url,
            "login": self.ice.access_key_id,
            "password": self.ice.access_key_secret,
            "extra": self._extra,
        }
        port = self.api_ports[0]
        connections = {"ice_default": connection}
        return environment(
            self.home, self._dags, port, port, connections, {**settings, **self._settings}
        )


class Run:
    """One run of the DAG, with its wishes.

    :param conf: which wishes stop themselves, and when.
    :param dag: `ice_cluster`, or `ice_small_cluster` with fewer wishes.
    """

    def __init__(
        self, cluster: Cluster, conf: Mapping[str, Any] | None = None, dag: str = "ice_cluster"
    ) -> None:
        self.cluster = cluster
        self.dag = dag
        self.conf = dict(conf or {})
        self.id = ""
        self.started = 0.0

    def start(self) -> None:
        """Trigger it."""
        self.started = time.monotonic()
        self.id = self.cluster.client.trigger(self.dag, self.conf)

    def jobs(self) -> dict[str, list[dict[str, Any]]]:
        """Return the jobs at the ledger: `TASK_ID MAP_INDEX` to what was billed for it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for job in self.cluster.ice.jobs():
            run_id, _, wish = str(json.loads(job["user_data"])["wish"]).partition(" ")
            if run_id == self.id:
                found.setdefault(wish, []).append(job)
        return found

    def stopped(self) -> dict[str, tuple[int, int, str]]:
        """Return the tries that stopped themselves: process, supervisor, moment."""
        found = {}
        for told in (self.cluster.home / "stopped" / self.id).glob("*"):
            if told.suffix != ".new":
                pid, parent, moment = told.read_text().split(" ", 2)
                found[told.name] = (int(pid), int(parent), moment)
        return found

    def clocks(self) -> list[float]:
        """Return by how many seconds the clock of each try was ahead of the file system's, with
        `{"clocks": true}`.
        """
        return [
            float(told.read_text()) - told.stat().st_mtime
            for told in (self.cluster.home / "clocks" / self.id).glob("*")
        ]

    def wake(self) -> None:
        """Let every try that stopped itself go on."""
        for pid, parent, _ in self.stopped().values():
            for each in (parent, pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)

    def until(self, happened: Callable[[], bool], what: str, within: float = 240.0) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + within
        while not happened():
            if time.monotonic() > deadline or self.cluster.over.is_set():
                raise LocalAirflowError(
                    f"{self.id}: not {what} after {within:.0f} s: {self.states()}"
                )
            time.sleep(0.5)

    def tasks(self) -> list[dict[str, Any]]:
        """Return its task instances: task_id, map_index, state, try_number."""
        return self._rows("task_id, map_index, state, try_number", "task_instance")

    def states(self) -> dict[str, int]:
        """Return how many task instances are in each state."""
        return dict(Counter(str(row["state"]) for row in self.tasks()))

    def until_ended(self, within: float = 420.0) -> None:
        """Wait until it is over."""
        self.until(
            lambda: self._rows("state", "dag_run")[0]["state"] in {"success", "failed"},
            "over",
            within,
        )

    def faults(self) -> list[str]:
        """Compare what Airflow holds with the ledger; return what is wrong, one line each."""
        jobs, wrong = self.jobs(), []
        held = self._held()
        for row in self.tasks():
            name = f"{row['task_id']} {row['map_index']}"
            billed = jobs.pop(name, [])
            if row["state"] != "success":
                wrong.append(f"{name}: {row['state']} in try {row['try_number']}")
            if len(billed) != 1:
                word = "lost" if not billed else f"paid {len(billed)} times"
                wrong.append(f"{name}: {word}: {[job['job_id'] for job in billed]}")
            elif row["state"] == "success":
                wrong += _differences(name, held.get(name, {}), billed[0])
        return wrong + [f"{name}: a wish that Airflow does not know" for name in jobs]

    def _held(self) -> dict[str, dict[str, Any]]:
        """Return what is in XCom: `TASK_ID MAP_INDEX` to key to value."""
        found: dict[str, dict[str, Any]] = {}
        for row in self._rows("task_id, map_index, key, value", "xcom"):
            found.setdefault(f"{row['task_id']} {row['map_index']}", {})[row["key"]] = row["value"]
        return found

    def _rows(self, columns: str, table: str) -> list[dict[str, Any]]:
        where = f"dag_id = '{self.dag}' AND run_id = '{self.id}'"
        sql = f"SELECT {columns} FROM {table} WHERE {where}"  # noqa: S608 - nobody else's words
        return self.cluster.rows(sql)


def _differences(name: str, held: Mapping[str, Any], billed: Mapping[str, Any]) -> list[str]:
    """Compare what a task has in XCom with its job at the ledger."""
    videos = {sub["media_id"]: sub["media_url"] for sub in billed["sub_jobs"]}
    returned = held.get("return_value") or {"media": []}
    expected = {
        "job_id": (billed["job_id"], held.get("job_id")),
        "return_value.job_id": (billed["job_id"], returned.get("job_id")),
        "return_value.status": (billed["status"], returned.get("status")),
        "return_value.media": (
            videos,
            {row["media_id"]: row["media_url"] for row in returned["media"]},
        ),
        "media_ids": (list(videos), held.get("media_ids")),
        "media_urls": (list(videos.values()), held.get("media_urls")),
    }
    return [
        f"{name}: XCom has {key} {shown}, the ledger {wanted}"
        for key, (wanted, shown) in expected.items()
        if shown != wanted
    ]


def _airflow(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow", *arguments)
