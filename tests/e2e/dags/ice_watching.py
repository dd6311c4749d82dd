"""Watchers that poll every second, and DAGs that tell which jobs they have got."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetAny, AssetWatcher, dag, task

from airflow_ice.claims import claim_ended_jobs, claim_key
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


class FailsHalfway:
    """The state store of an asset, which fails once a run has recorded its jobs and claimed some.

    :param works_for: claims that are stored before.
    """

    def __init__(self, store: Any, dag_id: str, works_for: int) -> None:
        self._store = store
        self._claims = claim_key(dag_id, "")
        self._works_for = works_for

    def get(self, key: str) -> Any:
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        if key.startswith(self._claims):
            if self._works_for == 0:
                raise RuntimeError("this try fails halfway")
            self._works_for -= 1
        self._store.set(key, value)


SOON = timedelta(seconds=1)
some = watched("ice_some_of_others_jobs", memory="some")


@dag(schedule=[some], catchup=False, max_active_runs=4, is_paused_upon_creation=True)
def ice_watching_some() -> None:
    """Claim some jobs a run, in two tries."""

    @task(inlets=[some], max_active_tis_per_dag=1, retries=1, retry_delay=SOON)
    def jobs(**context: Any) -> list[list[str]]:
        store = context["asset_state_store"][some]
        if context["ti"].try_number == 1:
            store = FailsHalfway(store, context["dag"].dag_id, works_for=3)
        claimed = claim_ended_jobs(some, {**context, "asset_state_store": {some: store}}, most=10)
        return [[job["job_id"] for job in claimed]]

    jobs()


ice_watching_some()
consumer("ice_watching", watched("ice_others_jobs", memory="others"))
consumer("ice_watching_two", watched("ice_left_jobs"), watched("ice_right_jobs"))
