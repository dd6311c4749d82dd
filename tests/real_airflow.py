"""A real Airflow for tests: what a person does to a run, and what happens to a process."""

from __future__ import annotations

import signal
import time
from typing import Any

from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.demo.local_airflow import LocalAirflow

ENDED = {"success", "failed"}


class RealAirflow(LocalAirflow):
    """A local Airflow whose runs are awaited, answered and cleared, and whose parts are killed."""

    def kill_part(self, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End one part's whole process group with a signal, at once."""
        self.processes.kill(name, with_signal)

    def pid_of(self, name: str) -> int:
        """Return the process id of a part, which is also that of its process group."""
        return self.processes.pid_of(name)

    def environ(self) -> dict[str, str]:
        """Return the environment of every part."""
        return dict(self.processes.environ)

    def wait_for_run(self, dag_id: str, run_id: str, within: float = 180.0) -> str:
        """Wait until a run has ended, and return its state.

        :raises LocalAirflowError: the time is over.
        """
        deadline = time.monotonic() + within
        while (state := self.run_state(dag_id, run_id)) not in ENDED:
            if time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"{dag_id} {run_id} is {state} after {within:.0f} s: "
                    f"{states(self.tasks(dag_id, run_id))}; logs in {self.home}"
                )
            self.check_alive()
            time.sleep(0.3)
        return state

    def wait_for_question(
        self, dag_id: str, run_id: str, task_id: str, within: float = 180.0
    ) -> dict[str, Any]:
        """Wait until a human-in-the-loop task asks and may be answered; return what it asks:
        subject, body, options and more.

        Airflow 3.3 fails a task that runs again before its scheduler has heard that the first part
        is over (apache/airflow#66374). A person is never so quick; a program is, so this waits for
        the scheduler, too.

        :raises LocalAirflowError: the run has ended without asking, or the time is over.
        """
        deadline = time.monotonic() + within
        task = f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}'"
        over = f"Received executor event with state success for task instance {task}"
        scheduler_log = self.processes.log_of("scheduler")
        while True:
            rows = self.tasks(dag_id, run_id)
            asks = any(
                row["task_id"] == task_id and row["state"] == "awaiting_input" for row in rows
            )
            if asks and over in scheduler_log.read_text(errors="replace"):
                return dict(self.api("GET", question(dag_id, run_id, task_id)))
            if self.run_state(dag_id, run_id) in ENDED or time.monotonic() > deadline:
                raise LocalAirflowError(
                    f"{task_id} of {dag_id} {run_id} asks nothing: {states(rows)}; "
                    f"logs in {self.home}"
                )
            self.check_alive()
            time.sleep(0.3)

    def answer(self, dag_id: str, run_id: str, task_id: str, *options: str) -> None:
        """Answer a human-in-the-loop task that asks."""
        body = {"chosen_options": options, "params_input": {}}
        self.api("PATCH", question(dag_id, run_id, task_id), json=body)

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


def question(dag_id: str, run_id: str, task_id: str) -> str:
    return f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"


def states(rows: list[dict[str, Any]]) -> dict[tuple[str, int], str]:
    return {(row["task_id"], row["map_index"]): row["state"] for row in rows}
