"""A real Airflow on this machine: api-server, scheduler, dag-processor and triggerer, on loopback
and free ports.

The demo shows a DAG run on it. Everything lives below one folder, and every process is ended, as a
group, when the context ends.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.demo.processes import Processes
from airflow_ice.demo.rest_client import POLL_SECONDS, REQUEST_SECONDS, AirflowRestClient

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    # Without --skip-serve-logs the scheduler and the triggerer would open log servers on all
    # interfaces.
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
HEALTHY_WITHIN: Final = 120.0
LOGIN: Final = ("admin", "admin")


class LocalAirflow(AirflowRestClient):
    """A real Airflow in a folder of its own, and the client of it. A context manager.

    :param home: AIRFLOW_HOME; made if it is not there.
    :param dags_folder: the DAG files.
    :param connections: connection id to fields, as in AIRFLOW_CONN_... JSON.
    :param settings: more of Airflow's configuration, `{"SECTION__KEY": "value"}`.
    :param environ: more environment variables for every part.
    :param apart: serve tasks by an api-server of their own. In one process, a request of a user and
        a write of a task can wait for each other until SQLite gives up on one of them, five seconds
        later.
    :param on_progress: called with a few words at each step of the start.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        apart: bool = False,
        on_progress: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.home = home
        self.port = free_port()
        self._task_port = free_port() if apart else self.port
        self._on_progress = on_progress
        self.processes = Processes(
            home,
            {
                **environment(
                    home, dags_folder, self.port, self._task_port, connections, settings or {}
                ),
                **(environ or {}),
            },
        )
        super().__init__(
            f"http://127.0.0.1:{self.port}",
            LOGIN,
            check_alive=self.processes.check_alive,
            logs=home,
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process."""
        self.processes.stop()
        self.close()

    def start_part(self, part: str, *arguments: str, name: str | None = None) -> None:
        """Start one part, for example a second triggerer.

        :param arguments: more of the command line.
        :param name: what to call the process; the part's own name by default.
        """
        self.processes.start(name or part, part, *PARTS[part], *arguments)

    def task_log(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int = -1,
        attempt: int | None = None,
    ) -> str:
        """Return what a task wrote to its log, the triggerer included: all tries, or one."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        folder = folder / f"map_index={map_index}" if map_index >= 0 else folder
        files = sorted(folder.glob(f"attempt={attempt or '*'}.log*"))
        return "\n".join(file.read_text() for file in files)

    def _start(self) -> None:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps(dict([LOGIN])))
        self._on_progress("preparing Airflow's database")
        self.processes.run_to_end("db-migrate", "db", "migrate")
        self._on_progress("starting Airflow")
        for part in PARTS:
            self.start_part(part)
        if self._task_port != self.port:
            task_api = ("--apps", "execution", "--port", str(self._task_port))
            self.start_part("api-server", *task_api, name="task-api-server")
        self._wait_until_healthy()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN
        ill: Sequence[str] = ("api-server",)
        while ill:
            if time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"Airflow's {' and '.join(ill)} did not get healthy within "
                    f"{HEALTHY_WITHIN:.0f} s; logs in {self.home}"
                )
            self.check_alive()
            time.sleep(POLL_SECONDS)
            ill = self.ill() or (() if serves_tasks(self._task_port) else ("task API",))


def serves_tasks(port: int) -> bool:
    """Tell whether an api-server serves tasks. The first to ask waits while it builds that API, for
    seconds, on a busy machine for half a minute; a task gives up before that (`[workers]
    execution_api_timeout` and `execution_api_retries`: five times 5 s).
    """
    try:
        url = f"http://127.0.0.1:{port}/execution/health"
        return httpx.get(url, timeout=REQUEST_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(
    home: Path,
    dags_folder: Path,
    port: int,
    task_port: int,
    connections: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of every part of an Airflow: this process's, less what would reach out
    of the folder, with its configuration and connections.

    :param home: its folder; the user's password is to be in `passwords.json` there.
    :param port: of the api-server.
    :param task_port: of the api-server that serves tasks; the same one, or another.
    :param connections: connection id to fields, as in AIRFLOW_CONN_... JSON.
    :param settings: more of Airflow's configuration, `{"SECTION__KEY": "value"}`.
    """
    outside = ("AIRFLOW_", "ALIBABA_CLOUD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    configuration = {**_configuration(home, dags_folder, port, task_port), **settings}
    return {
        **kept,
        # Where both are set, the lower-case one counts; and one that is inherited may leave out
        # loopback.
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **{f"AIRFLOW__{name}": value for name, value in configuration.items()},
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(dict(fields))
            for name, fields in connections.items()
        },
        "AIRFLOW_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


def _configuration(home: Path, dags_folder: Path, port: int, task_port: int) -> dict[str, str]:
    return {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(dags_folder),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__PARALLELISM": "4",
        "CORE__TEST_CONNECTION": "Enabled",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{task_port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{LOGIN[0]}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
