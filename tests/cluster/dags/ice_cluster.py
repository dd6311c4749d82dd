"""Wishes for paid jobs, with and without ClientToken, deferred and poked, mapped and not; each can
stop itself in one moment of its submission, for the cluster's tests to do the rest.

The conf of a run says which: `{"troubles": {"TASK_ID MAP_INDEX": MOMENT}}`. A moment is
`before_intent`, `after_intent`, `before_saved`, `after_saved`, or seconds from the task's start.
With `{"supervisors": true}` the process that reports the task's heartbeat stops as well. With
`{"clocks": true}` each try writes down what its clock says.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Context, dag

from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
)
from airflow_ice.submission.store import StateStore


class StoppingStore:
    """The task's state store; the task stops itself before or after one of its writes."""

    def __init__(self, store: StateStore, moment: str, stop: Any) -> None:
        self._store = store
        self._moment = moment
        self._stop = stop

    def get(self, key: str, default: Any = None) -> Any:
        return self._store.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        step = "saved" if value["job_id"] else "intent"
        self._stop_at(f"before_{step}")
        self._store.set(key, value, retention=retention)
        self._stop_at(f"after_{step}")

    def _stop_at(self, moment: str) -> None:
        if self._moment == moment:
            self._moment = ""
            self._stop(moment)


class Stopping(IceSubmitOperator):
    """A submit whose first try can stop itself."""

    def execute(self, context: Context) -> Any:
        ti = context["ti"]
        conf = context["dag_run"].conf or {}
        name = f"{ti.task_id} {ti.map_index}"
        if conf.get("clocks"):
            told = Path(os.environ["AIRFLOW_HOME"], "clocks", ti.run_id, f"{name} {ti.try_number}")
            told.parent.mkdir(parents=True, exist_ok=True)
            told.write_text(str(time.time()))
        moment = conf.get("troubles", {}).get(name)
        if moment is not None and ti.try_number == 1:
            told = Path(os.environ["AIRFLOW_HOME"], "stopped", ti.run_id, name)

            def stop(moment: str) -> None:
                told.parent.mkdir(parents=True, exist_ok=True)
                told.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()} {moment}")
                told.with_suffix(".new").rename(told)
                if conf.get("supervisors"):
                    os.kill(os.getppid(), signal.SIGSTOP)
                os.kill(os.getpid(), signal.SIGSTOP)

            if isinstance(moment, str):
                changed: dict[str, Any] = context  # type: ignore[assignment]
                changed["task_state_store"] = StoppingStore(
                    changed["task_state_store"], moment, stop
                )
            else:
                _later(float(moment), stop)
        return super().execute(context)


def _later(seconds: float, stop: Any) -> None:
    def run() -> None:
        time.sleep(seconds)
        stop(f"{seconds:.2f} s")

    threading.Thread(target=run, daemon=True).start()


class Batch(Stopping, IceSubmitBatchMediaProducingJobOperator):
    """The action has a ClientToken."""


class Highlights(Stopping, IceSubmitScreenMediaHighlightsJobOperator):
    """The action has none."""


def output(name: str) -> Mapping[str, Any]:
    return {
        "MediaURL": f"http://bucket.oss-cn-shanghai.aliyuncs.com/{name}_{{index}}.mp4",
        "Count": 2,
        "Width": 320,
        "Height": 180,
        "FixedDuration": 1,
    }


KINDS: tuple[tuple[str, Any, Mapping[str, Any]], ...] = (
    ("batch", Batch, {"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]}),
    ("highlights", Highlights, {"MediaArray": ["0" * 32]}),
)


def wishes(width: int, poked: int) -> None:
    """Make tasks for `2 * (width + 3 + poked)` wishes."""
    for kind, operator, inputs in KINDS:
        shared: dict[str, Any] = {
            "input_config": inputs,
            "user_data": {"wish": "{{ run_id }} {{ ti.task_id }} {{ ti.map_index }}"},
            "wait_for_completion": True,
            "poke_interval": 2,
            "timeout": 600,
            "list_settle_seconds": 5,
        }
        operator.partial(task_id=f"{kind}_mapped", deferrable=True, **shared).expand(
            output_config=[output(f"{kind}_{number}") for number in range(width)]
        )
        for name, deferrable in (("deferred", True), ("deferred_too", True), ("poke", False)):
            operator(
                task_id=f"{kind}_{name}",
                deferrable=deferrable,
                output_config=output(name),
                **shared,
            )
        operator.partial(task_id=f"{kind}_poke_mapped", deferrable=False, **shared).expand(
            output_config=[output(f"{kind}_poke_{number}") for number in range(poked)]
        )


ARGUMENTS: dict[str, Any] = {
    "schedule": None,
    "catchup": False,
    "max_active_tasks": 256,
    "max_active_runs": 16,
    "default_args": {"retries": 8, "retry_delay": timedelta(seconds=1)},
}


@dag(**ARGUMENTS)
def ice_cluster() -> None:
    wishes(6, 2)


@dag(**ARGUMENTS)
def ice_small_cluster() -> None:
    wishes(2, 1)


ice_cluster()
ice_small_cluster()
