"""Who may see a page, and what its task pushed: the only module that uses Airflow's internals.

They are no stable API. If one of them is gone, importing this module fails, the application is not
built (`plugin.LazyApp`), and there are no routes: without the check nothing is served.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel  # noqa: TID251 - the page runs in the api-server
from airflow.utils.session import create_session  # noqa: TID251 - as above
from fastapi import Depends, HTTPException, Request
from sqlalchemy import ColumnElement, select

from airflow_ice.plugin.tasks import TaskKey

MOST_ENTRIES: Final = 500
"""XCom entries of one run that are read; nobody reads a page of more jobs."""


def _one_dag(request: Request) -> None:
    # Airflow's own check reads "~" as "all DAGs", and would then check for none in particular.
    if request.path_params.get("dag_id") in {None, "", "~"}:
        raise HTTPException(404, "No such DAG.")


may_read: Final = (
    Depends(requires_access_dag("GET", DagAccessEntity.XCOM)),
    Depends(_one_dag),
)
"""The dependencies of every route that shows anything of a DAG: 401 for nobody, 403 for a user who
may not read the DAG's XCom. The DAG is the `dag_id` of the path (airflow/api_fastapi/core_api/
security.py, `requires_access_dag`).
"""


def xcom_of_task(task: TaskKey, keys: Iterable[str]) -> dict[str, Any]:
    """Return what one task pushed under these keys; a key that is not there is left out.

    It reads the database, so it is called in a thread.
    """
    of_task = (XComModel.task_id == task.task_id, XComModel.map_index == task.map_index)
    found = _entries(task.dag_id, task.run_id, keys, *of_task)
    return {key: value for _, key, value in found}


def xcom_of_run(dag_id: str, run_id: str, key: str) -> list[tuple[TaskKey, Any]]:
    """Return what the tasks of a run pushed under a key, oldest first."""
    return [(task, value) for task, _, value in _entries(dag_id, run_id, (key,))]


def _entries(
    dag_id: str, run_id: str, keys: Iterable[str], *which: ColumnElement[bool]
) -> list[tuple[TaskKey, str, Any]]:
    wanted = (
        select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        .where(XComModel.dag_id == dag_id, XComModel.run_id == run_id)
        .where(XComModel.key.in_(list(keys)), *which)
        .order_by(XComModel.timestamp, XComModel.task_id, XComModel.map_index)
        .limit(MOST_ENTRIES)
    )
    with create_session() as session:
        rows = session.execute(wanted).all()
    return [
        (TaskKey(dag_id, run_id, row.task_id, row.map_index), row.key, _plain(row.value))
        for row in rows
    ]


def _plain(value: Any) -> Any:
    """Return a stored value as JSON says it; no class that it may name is ever made."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
