"""As many deferred sensors as there are jobs in `AIRFLOW_HOME/jobs.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.sdk import dag

from airflow_ice.sensors import IceBatchMediaProducingJobSensor

JOBS = json.loads(Path(os.environ["AIRFLOW_HOME"], "jobs.json").read_text())


@dag(schedule=None, catchup=False, max_active_tasks=100_000)
def ice_scale() -> None:
    IceBatchMediaProducingJobSensor.partial(
        task_id="wait", deferrable=True, poke_interval=10, timeout=86_400, pool="held"
    ).expand(job_id=JOBS)


ice_scale()
"""The pool has no place until the tests give it some, so no worker runs what they defer."""
