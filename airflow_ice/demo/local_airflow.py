"""A real Airflow on this machine: api-server, scheduler, dag-processor and triggerer, each a process, on loopback and free ports.

The demo shows a DAG run on it; the end-to-end tests run theirs. Everything lives below one folder, and every process is ended, as a
group, when the context ends.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import httpx

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    # Without --skip-serve-logs the scheduler and the triggerer would open log servers on all interfaces.
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
HEALTHY_WITHIN = 120.0
STOPPED_WITHIN = 15.0
LOGIN = ("admin", "admin")


class LocalAirflowError(Exception):
    """Airflow did not start, or did not do what was asked; the text names the log to read."""


class LocalAirflow:
    """A real Airflow in a folder of its own. A context manager.

    :param home: AIRFLOW_HOME; made if it is not there.
    :param dags_folder: the DAG files.
    :param connections: connection id to fields, as in AIRFLOW_CONN_... JSON.
    :param settings: more of Airflow's configuration, `{"SECTION__KEY": "value"}`.
    :param environ: more environment variables for every part.
    :param apart: serve tasks by an api-server of their own. In one process, a request of a user and a write of a task can wait for
        each other until SQLite gives up on one of them, five seconds later.
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
        self.url = f"http://127.0.0.1:{self.port}"
        self._on_progress = on_progress
        self._task_port = free_port() if apart else self.port
        self._environ = _environ(
            home, dags_folder, self.port, self._task_port, connections, settings or {}
        ) | dict(environ or {})
        self._token: str | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="local-airflow")
        self._logs: list[IO[bytes]] = []
        self._http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)

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

    def _start(self) -> None:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps(dict([LOGIN])))
        self._on_progress("preparing Airflow's database")
        self._run_to_end("db-migrate", ("db", "migrate"))
        self._on_progress("starting Airflow")
        for part in PARTS:
            self.start_part(part)
        if self._task_port != self.port:
            self.start_part(
                "api-server",
                "--apps",
                "execution",
                "--port",
                str(self._task_port),
                name="task-api-server",
            )
        self._wait_until_healthy()

    def start_part(self, part: str, *arguments: str, name: str | None = None) -> None:
        """Start one part, for example a second triggerer.

        :param arguments: more of the command line.
        :param name: what to call the process; the part's own name by default.
        """
        log = (self.home / f"{name or part}.log").open("ab")
        self._logs.append(log)
        self._spawn(name or part, _airflow(part, *PARTS[part], *arguments), log)

    def kill_part(self, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End one part's whole process group with a signal, at once."""
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, with_signal)
        process.wait(timeout=STOPPED_WITHIN)

    def pid_of(self, name: str) -> int:
        """Return the process id of a part, which is also that of its process group."""
        return self._processes[name].pid

    def stop(self) -> None:
        """End every process, as groups: politely, then not."""
        with suppress(KeyboardInterrupt):
            self._spawner.shutdown()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOPPED_WITHIN
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            except KeyboardInterrupt:
                deadline = 0.0  # a second Ctrl-C asks for haste, not for processes that stay
            # Whatever of the group outlived its leader.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()
        self._http.close()

    def api(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """Call Airflow's REST API and return the JSON of the reply.

        :param path: below /api/v2, for example `dags/my_dag/dagRuns`.
        :raises LocalAirflowError: no reply, or one that is not a success.
        """
        reply = self._send(
            method, f"/api/v2/{path}", json=json, params=params, headers=self._authorization()
        )
        _check(method, path, reply)
        return reply.json() if reply.content else None

    def ui(self, path: str) -> Any:
        """Return what the web page asks for itself, below /ui."""
        reply = self._send("GET", f"/ui/{path}", headers=self._authorization())
        _check("GET", path, reply)
        return reply.json()

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG, once it is known, and return the run's id."""
        self.wait_for_dag(dag_id)
        run = self.api(
            "POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})}
        )
        return str(run["dag_run_id"])

    def wait_for_dag(self, dag_id: str, within: float = 90.0) -> None:
        """Wait until Airflow knows a DAG.

        :raises LocalAirflowError: its file cannot be imported, or the time is over.
        """
        deadline = time.monotonic() + within
        while True:
            reply = self._send("GET", f"/api/v2/dags/{dag_id}", headers=self._authorization())
            if reply.status_code == 200:
                return
            if errors := self.api("GET", "importErrors")["import_errors"]:
                raise LocalAirflowError(
                    "A DAG file cannot be imported:\n"
                    + "\n".join(row["stack_trace"] for row in errors)
                )
            if time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"Airflow does not know the DAG {dag_id} after {within:.0f} s; see {self.home / 'dag-processor.log'}"
                )
            self._alive()
            time.sleep(0.3)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success, failed."""
        return str(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def wait_for_run(self, dag_id: str, run_id: str, within: float = 180.0) -> str:
        """Wait until a run has ended, and return its state.

        :raises LocalAirflowError: the time is over.
        """
        deadline = time.monotonic() + within
        while (state := self.run_state(dag_id, run_id)) not in {"success", "failed"}:
            if time.monotonic() > deadline:
                tasks = {
                    (row["task_id"], row["map_index"]): row["state"]
                    for row in self.tasks(dag_id, run_id)
                }
                raise LocalAirflowError(
                    f"{dag_id} {run_id} is {state} after {within:.0f} s: {tasks}; logs in {self.home}"
                )
            self._alive()
            time.sleep(0.3)
        return state

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found = self.api(
            "GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 1000}
        )
        return list(found["task_instances"])

    def wait_for_question(
        self, dag_id: str, run_id: str, task_id: str, within: float = 180.0
    ) -> dict[str, Any]:
        """Wait until a human-in-the-loop task asks and may be answered; return what it asks: subject, body, options and more.

        Airflow 3.3 fails a task that runs again before its scheduler has heard that the first part is over (apache/airflow#66374).
        A person is never so quick; a program is, so this waits for the scheduler, too.

        :raises LocalAirflowError: the run has ended without asking, or the time is over.
        """
        deadline = time.monotonic() + within
        task = f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}'"
        over = f"Received executor event with state success for task instance {task}"
        while True:
            found = self.tasks(dag_id, run_id)
            asks = any(
                row["task_id"] == task_id and row["state"] == "awaiting_input" for row in found
            )
            if asks and over in (self.home / "scheduler.log").read_text(errors="replace"):
                path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
                return dict(self.api("GET", path))
            if (
                self.run_state(dag_id, run_id) in {"success", "failed"}
                or time.monotonic() > deadline
            ):
                states = {(row["task_id"], row["map_index"]): row["state"] for row in found}
                raise LocalAirflowError(
                    f"{task_id} of {dag_id} {run_id} asks nothing: {states}; logs in {self.home}"
                )
            self._alive()
            time.sleep(0.3)

    def answer(self, dag_id: str, run_id: str, task_id: str, *options: str) -> None:
        """Answer a human-in-the-loop task that asks."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.api("PATCH", path, json={"chosen_options": options, "params_input": {}})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear one task, as a user does in the grid."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.api("POST", f"dags/{dag_id}/clearTaskInstances", json=body)

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return one XCom value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

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
        return "\n".join(
            file.read_text() for file in sorted(folder.glob(f"attempt={attempt or '*'}.log*"))
        )

    def _authorization(self) -> dict[str, str]:
        if self._token is None:
            reply = self._send(
                "POST", "/auth/token", json={"username": LOGIN[0], "password": LOGIN[1]}
            )
            _check("POST", "auth/token", reply)
            self._token = str(reply.json()["access_token"])
        return {"Authorization": f"Bearer {self._token}"}

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            self._alive()  # a part that has ended is the better reason, and its log is at hand
            raise LocalAirflowError(
                f"{method} {path}: no reply from Airflow at {self.url} ({type(error).__name__}: {error}); logs in {self.home}"
            ) from error

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN
        ill: Sequence[str] = ("api-server",)
        while ill:
            if time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"Airflow's {' and '.join(ill)} did not get healthy within {HEALTHY_WITHIN:.0f} s; logs in {self.home}"
                )
            self._alive()
            time.sleep(0.3)
            with suppress(httpx.HTTPError, ValueError):
                health = self._http.get("/api/v2/monitor/health").json()
                parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
                ill = [
                    part for part in parts if (health.get(part) or {}).get("status") != "healthy"
                ]

    def _alive(self) -> None:
        for name, process in list(
            self._processes.items()
        ):  # another thread may end a part meanwhile
            if process.poll() is not None:
                log = self.home / f"{name}.log"
                last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise LocalAirflowError(
                    f"Airflow's {name} has ended with status {process.returncode}; {log} ends with:\n{last}"
                )

    def _spawn(self, name: str, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        def spawn() -> subprocess.Popen[bytes]:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.home,
                start_new_session=True,
            )
            return self._processes[name]

        # Ctrl-C interrupts the main thread only: here a process is not lost between its start and the note of it.
        return self._spawner.submit(spawn).result()

    def _run_to_end(self, name: str, arguments: Sequence[str]) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            status = self._spawn(name, _airflow(*arguments), log).wait()
        del self._processes[name]
        if status != 0:
            raise LocalAirflowError(
                f"airflow {' '.join(arguments)} failed with status {status}; see {self.home / name}.log"
            )


def _check(method: str, path: str, reply: httpx.Response) -> None:
    if reply.status_code >= 400:
        raise LocalAirflowError(f"{method} {path}: HTTP {reply.status_code}: {reply.text[:500]}")


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environ(
    home: Path,
    dags_folder: Path,
    port: int,
    task_port: int,
    connections: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of every part: this process's, less what would reach out of the folder, and the configuration."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "ALIBABA_CLOUD_"))
    }
    url = f"http://127.0.0.1:{port}"
    configuration = {
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
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **inherited,
        **{f"AIRFLOW__{name}": value for name, value in {**configuration, **settings}.items()},
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(dict(fields))
            for name, fields in connections.items()
        },
        "AIRFLOW_HOME": str(home),
        # Where both are set, the lower-case one counts; and one that is inherited says nothing of loopback.
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        "PYTHONUNBUFFERED": "1",
    }
