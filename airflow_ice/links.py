"""The link "ICE videos" on a task: to its page in Airflow, while it runs and after.

Airflow's api-server runs no link code. It reads an address from XCom, which the worker pushes under
the link's `xcom_key`: by itself when the task has ended, and here as soon as the job is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink, conf

from airflow_ice.waiting import Log

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

LINK_KEY: Final = "ice_videos_link"

_ROUTE: Final = "plugin/ice-videos"


class IceVideosLink(BaseOperatorLink):
    """The link to the page of a task. Its address starts with `[api] base_url`; a worker that does
    not know that gives one that holds from the root of the host.
    """

    name = "ICE videos"

    @property
    def xcom_key(self) -> str:
        """Where Airflow reads the address."""
        return LINK_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the task's page."""
        del operator
        return page_address(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)


def push_link(context: Context, log: Log) -> None:
    """Push the link's address, so that it shows while the task runs.

    Nothing rests on it, so a push that fails is a warning.
    """
    try:
        ti = context["ti"]
        address = page_address(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        ti.xcom_push(key=LINK_KEY, value=address)
    except Exception as cause:  # noqa: BLE001 - whatever it is, the job goes first
        log.warning("The link to the page could not be pushed to XCom: %s", cause)


def page_address(dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> str:
    """Return the address of a task's page in Airflow.

    :param map_index: None or -1 for a task that is not mapped.
    """
    base = conf.get("api", "base_url", fallback="") or ""
    mapped = f"/mapped/{map_index}" if map_index is not None and map_index >= 0 else ""
    task = f"/dags/{_part(dag_id)}/runs/{_part(run_id)}/tasks/{_part(task_id)}{mapped}"
    return f"{base.rstrip('/')}{task}/{_ROUTE}"


def _part(text: str) -> str:
    return quote(text, safe="")
