"""Watchers that poll every second, and DAGs that tell which jobs they have got."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetAny, AssetWatcher, dag, task

from airflow_ice.claims import claim_ended_jobs
from airflow_ice.triggers import IceBatchJobEventTrigger


def watched(name: str, memory: str = "") -> Asset:
    """Return an asset with a watcher. Equal triggers are one."""
    trigger = IceBatchJobEventTrigger("ice_others", poll_interval=1, name=memory)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


def consumer(dag_id: str, *assets: Asset) -> None:
    """Make a DAG that is scheduled on any of some assets."""

    @dag(
        dag_id=dag_id,
        schedule=AssetAny(*assets),
        catchup=False,
        max_active_runs=2,
        is_paused_upon_creation=True,
    )
    def consume() -> None:
        @task(inlets=list(assets), max_active_tis_per_dag=1)
        def jobs(**context: Any) -> list[list[str]]:
            """Return the jobs that this run has claimed, of each asset."""
            found = [claim_ended_jobs(asset, context) for asset in assets]
            return [[job["job_id"] for job in claimed] for claimed in found]

        jobs()

    consume()


consumer("ice_watching", watched("ice_others_jobs", memory="others"))
consumer("ice_watching_two", watched("ice_left_jobs"), watched("ice_right_jobs"))
