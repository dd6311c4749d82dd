"""A job that somebody else has submitted ends, and a DAG publishes its video: on a real Airflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from airflow_ice.emulator.local import LocalIce
from tests.callback_receiver import Receiver, documented
from tests.e2e.watching import Shop, asset_id, idle, reported, runs_of, until
from tests.real_airflow import RealAirflow

DAG, ASSET = "ice_publish_watched", "ice_watched_batch_jobs"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def test_a_job_that_ends_is_published_once_by_whichever_events(
    airflow: RealAirflow,
    ices: dict[str, LocalIce],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the watcher, by the receiver of docs/how-to/events.md, and by one that has forgotten."""
    ice = ices["watched"]
    airflow.wait_for_dag(DAG)
    until(lambda: ice.requests("ListBatchMediaProducingJobs"))  # the watcher watches
    replaced = {
        "http://localhost:8080": airflow.url,
        "ASSET_ID = 7": f"ASSET_ID = {asset_id(airflow, ASSET)}",
        "ice_default": "ice_watched",
    }
    recipe = documented(monkeypatch, receiver.address, replaced)
    recipe["TIMEOUT"] = 30  # seconds: on a busy machine Airflow is slower than the page asks for
    receiver.receive = recipe["receive"]
    receiver.statuses = [500]  # so that ICE posts the event again
    job_id = Shop(ice).submit(order=17, NotifyAddress=receiver.address)
    receiver.wait_for(3, seconds=60)
    until(lambda: len(receiver.answered) == 3)
    assert receiver.answered == [500, 200, 200]
    until(lambda: len(reported(airflow, ASSET)) == 2)  # of the callback, and of the watcher
    until(lambda: any(run["state"] == "running" for run in runs_of(airflow, DAG)))
    post_again(airflow, recipe, *signed_event(receiver))

    until(lambda: len(runs_of(airflow, DAG)) > 1 and idle(airflow, DAG), within=180)
    check_runs(airflow)
    [folder] = (airflow.home.parent / "published").iterdir()
    [video] = folder.iterdir()
    assert video.stat().st_size > 1_000
    [copy] = copies(airflow)
    assert (folder.name, copy["extra"]["job_id"], copy["uri"]) == (job_id, job_id, video.as_uri())
    found = [event["extra"].get("payload", {}) for event in events(airflow)]
    assert {"order": 17} in [payload.get("user_data") for payload in found]
    assert receiver.address not in str(found)


def post_again(
    airflow: RealAirflow, recipe: dict[str, Any], headers: dict[str, str], body: bytes
) -> None:
    """Post the same callback, and a forged one, to the receiver and to one that has restarted."""
    forged = {**headers, "x-ice-signature": "0" * 32}
    before = len(reported(airflow, ASSET))
    for given in (headers, forged):
        assert recipe["receive"](given, body) == 200
        assert len(reported(airflow, ASSET)) == before
    recipe["told"].clear()
    for given, more in ((forged, 0), (headers, 1)):
        assert recipe["receive"](given, body) == 200
        assert len(reported(airflow, ASSET)) == before + more


def check_runs(airflow: RealAirflow) -> None:
    """Check that runs overlapped, and that one of them alone has worked on the job."""
    runs = runs_of(airflow, DAG)
    assert {run["state"] for run in runs} == {"success"}
    assert overlap(runs)
    collects = [
        row["state"]
        for run in runs
        for row in airflow.tasks(DAG, run["dag_run_id"])
        if row["task_id"] == "collect" and row["state"] != "skipped"
    ]
    assert collects == ["success"]


def signed_event(receiver: Receiver) -> tuple[dict[str, str], bytes]:
    """Return a callback of the job, as ICE has posted it, once or more."""
    (_, headers, body), *_ = [
        each
        for each in receiver.received[1:]
        if each[2]["EventType"] == "BatchProduceMediaComplete"
    ]
    return {name.lower(): value for name, value in headers.items()}, json.dumps(body).encode()


def overlap(runs: list[dict[str, Any]]) -> bool:
    times = [
        (datetime.fromisoformat(run["start_date"]), datetime.fromisoformat(run["end_date"]))
        for run in runs
    ]
    return any(one is not other and one[0] <= other[0] < one[1] for one in times for other in times)


def events(airflow: RealAirflow) -> list[dict[str, Any]]:
    found = airflow.api("GET", "assets/events", params={"limit": 100, "order_by": "-timestamp"})
    return list(found["asset_events"])


def copies(airflow: RealAirflow) -> list[dict[str, Any]]:
    """Return the events of the videos that the DAG has published."""
    return [
        event
        for event in events(airflow)
        if event["source_dag_id"] == DAG and "crc64" in event["extra"]
    ]
