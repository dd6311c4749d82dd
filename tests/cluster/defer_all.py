"""Defers every task instance of a run of `ice_scale`, as their first part on a worker would do:
`python -m tests.cluster.defer_all RUN_ID`.

10,000 first parts take hours on two cores, and are not what is measured. This writes what Airflow
writes then (airflow/models/taskinstance.py, `defer_task`), and so uses Airflow's models.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from airflow.models.taskinstance import TaskInstance  # noqa: TID251
from airflow.models.trigger import Trigger  # noqa: TID251
from airflow.utils.session import create_session  # noqa: TID251

from airflow_ice.triggers import IceBatchMediaProducingJobTrigger

POKE_INTERVAL = 10.0


def main(run_id: str) -> None:
    """Write the triggers and the states in one transaction."""
    jobs = json.loads(Path(os.environ["AIRFLOW_HOME"], "jobs.json").read_text())
    now = time.time()
    with create_session() as session:
        rows = session.query(TaskInstance).filter(TaskInstance.run_id == run_id).all()
        triggers = []
        for row in rows:
            classpath, kwargs = IceBatchMediaProducingJobTrigger(
                job_id=jobs[row.map_index],
                ice_conn_id="ice_default",
                poke_interval=POKE_INTERVAL,
                started_at=now,
                deadline=now + 86_400,
            ).serialize()
            triggers.append(Trigger(classpath=classpath, kwargs=kwargs))
        session.add_all(triggers)
        session.flush()
        for row, trigger in zip(rows, triggers, strict=True):
            row.state = "deferred"
            row.try_number = 1
            row.start_date = datetime.now(UTC)
            row.trigger_id = trigger.id
            row.next_method = "execute_complete"
            row.next_kwargs = {}


if __name__ == "__main__":
    main(sys.argv[1])
