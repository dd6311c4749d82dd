"""The link "ICE videos" on a task."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_ice.links import LINK_KEY, IceVideosLink, page_address, push_link
from airflow_ice.operators import IceSubmitBatchMediaProducingJobOperator
from airflow_ice.picking import IcePickOperator
from airflow_ice.sensors import IceBatchMediaProducingJobSensor

BASE = "https://airflow.example.com/prefix/"


@pytest.mark.parametrize(
    ("map_index", "path"),
    [(None, "tasks/pick"), (-1, "tasks/pick"), (2, "tasks/pick/mapped/2")],
)
def test_it_leads_to_the_tab_behind_the_prefix(
    monkeypatch: pytest.MonkeyPatch, map_index: int | None, path: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", BASE)
    address = page_address("my dag", "manual__2026-01-01T00:00:00+00:00", "pick", map_index)
    run = "manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    assert address == f"{BASE}dags/my%20dag/runs/{run}/{path}/plugin/ice-videos"


def test_what_is_pushed_early_is_what_airflow_pushes_at_the_end() -> None:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    push_link({"ti": ti}, logging.getLogger())  # type: ignore[typeddict-item]
    link = IceVideosLink()
    assert pushed == {link.xcom_key: link.get_link(None, ti_key=ti)}  # type: ignore[arg-type]
    assert link.xcom_key == LINK_KEY


def test_a_push_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    push_link({}, logging.getLogger())
    assert "could not be pushed" in caplog.text


@pytest.mark.parametrize(
    "operator",
    [
        IceSubmitBatchMediaProducingJobOperator,
        IceBatchMediaProducingJobSensor,
        IcePickOperator,
    ],
)
def test_every_kind_of_task_has_it(operator: Any) -> None:
    # Of the class: links of an instance do not reach mapped tasks.
    assert [link.name for link in operator.operator_extra_links] == ["ICE videos"]
