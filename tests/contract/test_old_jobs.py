"""A job older than a year: the service no longer shows it, and the one who waits for it or collects
it is told why."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ice20201109 import models
from alibabacloud_tea_openapi.exceptions import ClientException

from airflow_ice.api.errors import IceJobNotFoundError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.operators import IceGetBatchMediaProducingJobOperator
from tests.contract.conftest import Sdk
from tests.three_modes import MODES, Mode, Run, TaskInstance, task_runner

__all__ = ["task_runner"]

YEAR = 365 * 86_400


@pytest.fixture
def old_job(ice: LocalIce, sdk: Sdk, set_connection: Any, task_runner: None) -> str:
    """Return a job that has ended well, a day more than a year ago."""
    set_connection(ice)
    job_id = sdk.submit()
    ice.advance(YEAR + 86_400)
    return job_id


@pytest.mark.parametrize("mode", MODES)
def test_waiting_for_it_ends_and_names_the_year(
    mode: Mode, old_job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_ice.waiting.DOUBT", 0.1)
    outcome = Run(mode, job_id=old_job, timeout=60, poke_interval=0.1).outcome()
    assert isinstance(outcome.error, IceJobNotFoundError)
    assert "only those of the last year can be read" in str(outcome.error)


def test_collecting_it_ends_and_names_the_year(old_job: str) -> None:
    context: Any = {"ti": TaskInstance()}
    with pytest.raises(IceJobNotFoundError, match="only those of the last year"):
        IceGetBatchMediaProducingJobOperator(task_id="collect", job_id=old_job).execute(context)


def test_the_emulator_shows_a_job_for_a_year_and_no_longer(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit()
    ice.finish_all()
    sub_job = models.GetMediaProducingJobRequest(job_id=sdk.get(job_id).sub_job_list[0].job_id)
    ice.advance(YEAR - 200)
    new = sdk.submit()
    assert sdk.get(job_id).status == "Finished"
    assert [row.job_id for row in sdk.list().editing_batch_job_list] == [new, job_id]
    ice.advance(200)
    assert [
        row.job_id for row in sdk.list(start_time="2020-01-01T00:00:00Z").editing_batch_job_list
    ] == [new]
    assert [row.job_id for row in sdk.list(sort_by="asc").editing_batch_job_list] == [new]
    assert sdk.list(job_id=job_id).editing_batch_job_list == []
    with pytest.raises(ClientException, match="Resource not found"):
        sdk.get(job_id)
    with pytest.raises(ClientException, match="Resource not found"):
        sdk.client.get_media_producing_job(sub_job)
