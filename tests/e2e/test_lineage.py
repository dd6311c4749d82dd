"""What OpenLineage is told of a batch by a real Airflow, with its provider and file transport.

It is an Airflow of its own: OpenLineage is a listener, and where there is one, Airflow 3.3.2
imports no DAG with `end_from_trigger=True` (airflow/dag_processing/dagbag.py, `bag_dag`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from airflow_ice.emulator.local import LocalIce
from tests.e2e.conftest import ROOT, SECRET, connection_to
from tests.e2e.watching import until
from tests.real_airflow import RealAirflow

DAG = "ice_lineage"
TASKS = ("submit", "collect", "publish")
TOLD = "lineage.json"
"""Below Airflow's home, what OpenLineage is told."""


@pytest.fixture(scope="module")
def airflow(
    ices: dict[str, LocalIce], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealAirflow]:
    """A real Airflow with the DAG, and with OpenLineage as a listener."""
    folder = tmp_path_factory.mktemp("lineage")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "tests/e2e/listened_dags/ice_lineage.py", dags)
    transport = {"type": "file", "log_file_path": str(folder / "home" / TOLD), "append": True}
    with RealAirflow(
        folder / "home",
        dags,
        connections={"ice_default": connection_to(ices["default"])},
        settings={"OPENLINEAGE__TRANSPORT": json.dumps(transport)},
    ) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def told(airflow: RealAirflow) -> list[dict[str, Any]]:
    """Return what was written of a run, once all of it is."""
    run_id = airflow.trigger(DAG)
    assert airflow.wait_for_run(DAG, run_id) == "success"
    return until(lambda: events(airflow) if whole(events(airflow)) else [])


def events(airflow: RealAirflow) -> list[dict[str, Any]]:
    file = airflow.home / TOLD
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def whole(events: list[dict[str, Any]]) -> bool:
    ended = {(event["job"]["name"], event["eventType"]) for event in events}
    return all((f"{DAG}.{task}", "COMPLETE") in ended for task in TASKS)


def of(told: list[dict[str, Any]], task: str, event_type: str) -> dict[str, Any]:
    """Return the last such event of a task."""
    return [
        event
        for event in told
        if (event["job"]["name"], event["eventType"]) == (f"{DAG}.{task}", event_type)
    ][-1]


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["namespace"], each["name"]) for each in datasets]


def test_each_event_is_valid(told: list[dict[str, Any]]) -> None:
    """The client's own classes check ids, times and URIs; each facet names its schema."""
    for event in told:
        run, job = event["run"], event["job"]
        RunEvent(
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=Run(run["runId"]),
            job=Job(job["namespace"], job["name"]),
            eventType=RunState[event["eventType"]],
            inputs=[InputDataset(*name) for name in names(event["inputs"])],
            outputs=[OutputDataset(*name) for name in names(event["outputs"])],
        )
        for facet in (run["facets"] | job["facets"]).values():
            assert facet["_producer"].startswith("https://")
            assert facet["_schemaURL"].startswith("https://")


def test_the_clips_lead_to_the_videos_across_a_deferral(told: list[dict[str, Any]]) -> None:
    start, end = of(told, "submit", "START"), of(told, "submit", "COMPLETE")
    clips = [("ice", "0" * 32), ("oss://clips", "spring/a.mp4")]
    videos = [("oss://bucket", f"lineage_{index}.mp4") for index in (0, 1)]
    assert start["run"]["runId"] == end["run"]["runId"]
    assert names(start["inputs"]) == clips
    assert names(end["inputs"]) == clips
    assert names(end["outputs"]) == videos
    facet = end["run"]["facets"]["ice_batch_job"]
    assert (facet["status"], facet["good"], facet["failed"]) == ("Finished", 2, 0)
    assert names(of(told, "collect", "COMPLETE")["outputs"]) == videos
    collected = of(told, "collect", "COMPLETE")["run"]["facets"]["ice_batch_job"]
    assert collected["job_id"] == facet["job_id"]


def test_the_copy_leads_on_from_the_video(told: list[dict[str, Any]], airflow: RealAirflow) -> None:
    end = of(told, "publish", "COMPLETE")
    assert names(end["inputs"]) == [("oss://bucket", "lineage_0.mp4")]
    [(namespace, name)] = names(end["outputs"])
    assert namespace == "file"
    assert "lineage_copies" in name


def test_nothing_signed_and_no_secret_is_told(
    told: list[dict[str, Any]], airflow: RealAirflow
) -> None:
    text = (airflow.home / TOLD).read_text()
    assert told
    for secret in ("leak", "Signature", "OSSAccessKeyId", SECRET):
        assert secret not in text
