"""`python -m tests.cluster.scale.defer DAG_ID RUN_ID JOBS`: defer all mapped tasks of a run, as a
first poll on a worker would that found each job running.

Thousands of tasks that start on a worker take an hour on two cores, and it is the waits that are
measured. The task instances are those that the scheduler has mapped and scheduled; each one's
deferral is that of its own sensor, and the rows are written by Airflow's own models, so that
triggerers, scheduler and workers take them for what they are. Prints when the rows were there,
epoch seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from airflow.models import TaskInstance, Trigger  # noqa: TID251 - their rows are written here
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.serde import serialize
from airflow.sdk.timezone import utcnow
from airflow.utils.session import create_session  # noqa: TID251 - likewise
from airflow.utils.state import TaskInstanceState  # noqa: TID251 - likewise
from sqlalchemy import select

from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from tests.cluster.scale.dags.ice_scale import POKE_INTERVAL
from tests.cluster.scale.plain import PlainSensor


def deferral(sensor: IceBatchMediaProducingJobSensor) -> TaskDeferred:
    """Return how a sensor defers whose first poll has found its job running."""
    sensor._begin(since=None)
    try:
        sensor._defer()
    except TaskDeferred as deferred:
        return deferred


def defer_all(dag_id: str, run_id: str, jobs: Sequence[str]) -> float:
    """Defer the waits of a run, and return when that was."""
    kind = PlainSensor if dag_id.endswith("plain") else IceBatchMediaProducingJobSensor
    deferred = [
        deferral(
            kind(
                task_id="wait",
                job_id=job_id,
                poke_interval=POKE_INTERVAL,
                timeout=86400,
                deferrable=True,
            )
        )
        for job_id in jobs
    ]
    with create_session() as session:
        of_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        instances = session.scalars(
            select(TaskInstance)
            .where(*of_run, TaskInstance.state == TaskInstanceState.SCHEDULED)
            .order_by(TaskInstance.map_index)
        ).all()
        triggers = [Trigger.from_object(each.trigger) for each in deferred]
        session.add_all(triggers)
        session.flush()
        for instance, trigger, each in zip(instances, triggers, deferred, strict=True):
            assert isinstance(each.timeout, timedelta)
            instance.state = TaskInstanceState.DEFERRED
            instance.start_date = utcnow()
            instance.trigger_id = trigger.id
            instance.trigger_timeout = utcnow() + each.timeout
            instance.next_method = each.method_name
            instance.next_kwargs = serialize(each.kwargs or {})
    return time.time()


if __name__ == "__main__":
    print(defer_all(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())))
