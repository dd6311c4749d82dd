"""Which jobs a run works on, of those that a watcher has reported: each job is one run's own.

Airflow 3.3 starts a run for the first event of several, and its later ones wait for the event after
them (apache/airflow#56050, #70970). A watcher reports a job twice after a crash. So a run asks for
the later events, too, and claims each job in the state store of the asset.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from airflow.sdk import Asset

log = logging.getLogger(__name__)

MOST_LATER: Final = 1_000
"""Events after those of the run that it asks for: a run that is cleared after a month does not ask
for a month of them."""

_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELDS: Final = ("job_id", "ice_conn_id", "region_id")


def claim_ended_jobs(asset: Asset, context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs that an asset's events name and no other run of this DAG works on, each once.

    Call it in a task with `inlets=[asset]`, of a DAG that is scheduled on the asset, and with
    `max_active_tis_per_dag=1`: two tasks that claim at once may claim the same job. The claims stay
    in the state store of the asset, one key a job, so that a run that is retried or cleared gets
    its own jobs again.

    :param asset: whose watcher has an `IceBatchJobEventTrigger`.
    :param context: of the task.
    :return: for each job `{"job_id", "ice_conn_id", "region_id"}`; nothing in a run that no event
        has started.
    :raises Exception: a claim could not be read or stored. A retry goes on from there.
    """
    store = context["asset_state_store"][asset]
    run_id, dag_id = context["run_id"], context["dag"].dag_id
    claimed: dict[str, dict[str, Any]] = {}
    of_others = 0
    for job in _jobs(asset, context):
        if job["job_id"] in claimed:
            continue
        key = claim_key(dag_id, job["job_id"])
        owner = store.get(key)
        if owner is None:
            store.set(key, run_id)
        elif owner != run_id:
            of_others += 1
            continue
        claimed[job["job_id"]] = job
    log.info("This run works on %d batch jobs; other runs have %d.", len(claimed), of_others)
    return list(claimed.values())


def claim_key(dag_id: str, job_id: str) -> str:
    """Return the key in the state store of the asset that holds the run of a job."""
    return f"ice_job:{dag_id}:{job_id}"


def _jobs(asset: Asset, context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    triggering = context["triggering_asset_events"].get(asset, ())
    if not triggering:
        return
    last = max(event.timestamp for event in triggering)
    later = context["inlet_events"][asset].after(last.isoformat()).limit(MOST_LATER)
    for event in (*triggering, *later):
        payload = event.extra.get("payload")
        if not isinstance(payload, Mapping) or not _JOB_ID.fullmatch(str(payload.get("job_id"))):
            log.warning("An event of %s names no batch job: left out.", asset.name)
            continue
        yield {name: payload.get(name) for name in _FIELDS}
