"""What the tests of watchers ask of a real Airflow and do to an account."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from airflow_ice.connections import read_connection
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook
from tests.e2e.conftest import SECRET
from tests.real_airflow import RealAirflow

T = TypeVar("T")


def until(found: Callable[[], T | None], within: float = 60.0) -> T:
    deadline = time.monotonic() + within
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return value


class Shop:
    """Submits jobs as a web shop does: with no Airflow in sight."""

    def __init__(self, ice: LocalIce) -> None:
        connection = read_connection(
            login=ice.access_key_id,
            password=SECRET,
            host=ice.url,
            port=None,
            schema=None,
            extra=None,
            region_id=None,
            conn_type="alibaba_ice",
        )
        self._hook = IceHook.of("the_shop", connection)

    def submit(self, **user_data: Any) -> str:
        clips = [{"GroupName": "one", "MediaArray": ["0" * 32]}]
        url = "http://shop.oss-cn-shanghai.aliyuncs.com/order_{index}.mp4"
        output = {"MediaURL": url, "Count": 1, "Width": 320, "Height": 180, "FixedDuration": 1}
        return self._hook.submit_batch_media_producing_job(
            input_config={"MediaGroupArray": clips},
            output_config=output,
            user_data=user_data or {"order": 17},
        )


@contextmanager
def unpaused(airflow: RealAirflow, *dag_ids: str) -> Iterator[None]:
    """Unpause DAGs: their watchers start once Airflow has parsed the file again."""
    for dag_id in dag_ids:
        airflow.wait_for_dag(dag_id)
        pause(airflow, dag_id, paused=False)
    try:
        yield
    finally:
        for dag_id in dag_ids:
            pause(airflow, dag_id, paused=True)


def pause(airflow: RealAirflow, dag_id: str, *, paused: bool) -> None:
    airflow.api("PATCH", f"dags/{dag_id}", json={"is_paused": paused})


def asset_id(airflow: RealAirflow, name: str) -> int:
    assets = airflow.api("GET", "assets", params={"limit": 1000})["assets"]
    [found] = [each["id"] for each in assets if each["name"] == name]
    return int(found)


def watchers_of(airflow: RealAirflow, asset: str) -> list[Any]:
    """Return the watchers that Airflow runs for an asset."""
    return list(airflow.api("GET", f"assets/{asset_id(airflow, asset)}")["watchers"])


def reported(airflow: RealAirflow, asset: str) -> list[str]:
    """Return the job ids of an asset's events, in their order.

    From the database: while a run that an event has created is queued, Airflow 3.3.2 answers 500
    (AssetEventResponse wants its start_date).
    """
    query = (
        "SELECT json_extract(event.extra, '$.payload.job_id') FROM asset_event AS event"
        " JOIN asset ON asset.id = event.asset_id WHERE asset.name = ? ORDER BY event.id"
    )
    database = f"file:{airflow.home / 'airflow.db'}?mode=ro"
    with closing(sqlite3.connect(database, uri=True)) as connection:
        return [job_id for (job_id,) in connection.execute(query, (asset,))]


def remembered(airflow: RealAirflow, asset: str) -> str:
    """Return what the state store of an asset holds."""
    return str(airflow.api("GET", f"assets/{asset_id(airflow, asset)}/state-store"))


def runs_of(airflow: RealAirflow, dag_id: str) -> list[dict[str, Any]]:
    return list(
        airflow.api("GET", f"dags/{dag_id}/dagRuns", params={"order_by": "run_after"})["dag_runs"]
    )


def idle(airflow: RealAirflow, dag_id: str) -> bool:
    return all(run["state"] in {"success", "failed"} for run in runs_of(airflow, dag_id))


def claimed(
    airflow: RealAirflow, dag_id: str, wanted: Iterable[str], of_asset: int = 0
) -> list[str]:
    """Return the jobs that the runs of a consumer have claimed, once all those wanted are."""
    found: list[str] = []

    def all_are() -> bool:
        runs = runs_of(airflow, dag_id)
        if any(run["state"] not in {"success", "failed"} for run in runs):
            return False
        found[:] = [
            job_id
            for run in runs
            for job_id in airflow.xcom(dag_id, run["dag_run_id"], "jobs")[of_asset]
        ]
        return set(wanted) <= set(found)

    until(all_are, within=120)
    return found
