"""A client of Airflow's REST API, for what the demo asks: start a run, follow it, read its XCom."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from airflow_ice.demo.errors import LocalAirflowError

REQUEST_SECONDS: Final = 30.0
KEPT_SECONDS: Final = 2.0
"""For which a connection without a request is used again. The server closes it after 5 s, and a
request that is on its way by then gets no reply."""
POLL_SECONDS: Final = 0.3


class AirflowRestClient:
    """Talks to one Airflow, as one user.

    :param url: of the api-server, such as `http://127.0.0.1:8080`.
    :param login: user and password.
    :param check_alive: called while something is awaited and when no reply came; raises the better
        reason, where there is one.
    :param logs: where to look when something fails, for messages.
    """

    def __init__(
        self, url: str, login: tuple[str, str], *, check_alive: Callable[[], None], logs: object
    ) -> None:
        self.url = url
        self.check_alive = check_alive
        self._login = login
        self._logs = logs
        self._token: str | None = None
        self._http = httpx.Client(
            base_url=url,
            timeout=REQUEST_SECONDS,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=KEPT_SECONDS),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def api(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the REST API and return the JSON of the reply.

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

    def ill(self) -> list[str]:
        """Return the parts that are not healthy; the api-server where none answers."""
        try:
            health = self._http.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return ["api-server"]
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return [part for part in parts if (health.get(part) or {}).get("status") != "healthy"]

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG, once it is known, and return the run's id."""
        self.wait_for_dag(dag_id)
        run = self.api(
            "POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})}
        )
        return str(run["dag_run_id"])

    def wait_for_dag(self, dag_id: str, within: float = 90.0) -> None:
        """Wait until Airflow knows a DAG.

        :param within: seconds.
        :raises LocalAirflowError: its file cannot be imported, or the time is over.
        """
        deadline = time.monotonic() + within
        while True:
            reply = self._send("GET", f"/api/v2/dags/{dag_id}", headers=self._authorization())
            if reply.status_code == httpx.codes.OK:
                return
            if errors := self.api("GET", "importErrors")["import_errors"]:
                traces = "\n".join(row["stack_trace"] for row in errors)
                raise LocalAirflowError(f"A DAG file cannot be imported:\n{traces}")
            if time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"Airflow does not know the DAG {dag_id} after {within:.0f} s; "
                    f"logs in {self._logs}"
                )
            self.check_alive()
            time.sleep(POLL_SECONDS)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success, failed."""
        return str(self.api("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found = self.api(
            "GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 1000}
        )
        return list(found["task_instances"])

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return one XCom value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

    def _authorization(self) -> dict[str, str]:
        if self._token is None:
            user, password = self._login
            reply = self._send("POST", "/auth/token", json={"username": user, "password": password})
            _check("POST", "auth/token", reply)
            self._token = str(reply.json()["access_token"])
        return {"Authorization": f"Bearer {self._token}"}

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            self.check_alive()  # a part that has ended is the better reason; its log is at hand
            raise LocalAirflowError(
                f"{method} {path}: no reply from Airflow at {self.url} "
                f"({type(error).__name__}: {error}); logs in {self._logs}"
            ) from error


def _check(method: str, path: str, reply: httpx.Response) -> None:
    if reply.status_code >= httpx.codes.BAD_REQUEST:
        raise LocalAirflowError(f"{method} {path}: HTTP {reply.status_code}: {reply.text[:500]}")
