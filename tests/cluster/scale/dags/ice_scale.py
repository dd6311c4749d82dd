"""Thousands of waits, one mapped task instance for each job.

The conf of a run says where the job ids are: `{"jobs": PATH}`, JSON. The pool `waits` has no slots
until the waits are deferred (see `tests.cluster.scale.defer`), and then those for the tasks that
resume.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import Context, dag, get_current_context, task

from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from tests.cluster.scale.plain import PlainSensor

POKE_INTERVAL = float(os.environ.get("ICE_SCALE_POKE_INTERVAL", "10"))


@task
def jobs() -> list[str]:
    context: Context = get_current_context()
    conf = context["dag_run"].conf or {}
    found: list[str] = json.loads(Path(conf["jobs"]).read_text())
    return found


def waits(sensor: type[IceBatchMediaProducingJobSensor]) -> None:
    ids: Any = jobs()
    sensor.partial(
        task_id="wait",
        pool="waits",
        poke_interval=POKE_INTERVAL,
        timeout=86400,
        deferrable=True,
    ).expand(job_id=ids)


@dag(schedule=None, catchup=False, max_active_tasks=1000)
def ice_scale() -> None:
    waits(IceBatchMediaProducingJobSensor)


@dag(schedule=None, catchup=False, max_active_tasks=1000)
def ice_scale_plain() -> None:
    waits(PlainSensor)


ice_scale()
ice_scale_plain()
