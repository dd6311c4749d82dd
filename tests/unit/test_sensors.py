"""What a sensor is in a DAG file; what it decides is tested in all modes in tests/contract/test_modes.py."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseHook
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.hooks import IceHook
from airflow_ice.operators import IceGetBatchMediaProducingJobOperator
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from tests.three_modes import MODES, Clock, Mode, Run, scripted, task_runner

__all__ = ["task_runner"]


def test_a_dag_reads_no_connection_while_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHook, "get_connection", pytest.fail)
    with DAG("d") as dag:
        wait = IceBatchMediaProducingJobSensor(task_id="wait", job_id="{{ params.job_id }}")
        IceGetBatchMediaProducingJobOperator(task_id="collect", job_id=wait.output)
        IceBatchMediaProducingJobSensor.partial(task_id="many").expand(job_id=["a", "b"])
    assert dag.get_task("collect").upstream_task_ids == {"wait"}


def test_what_is_templated() -> None:
    sensor = IceBatchMediaProducingJobSensor(
        task_id="w", job_id="{{ j }}", ice_conn_id="{{ c }}", region_id="{{ r }}"
    )
    sensor.render_template_fields({"j": "job-7", "c": "other", "r": "cn-beijing"})  # type: ignore[typeddict-unknown-key]
    assert (sensor.job_id, sensor.ice_conn_id, sensor.region_id) == ("job-7", "other", "cn-beijing")


@pytest.mark.parametrize(
    ("value", "deferrable"), [("True", "True"), ("False", "False"), (None, "False")]
)
def test_deferrable_is_airflows_own_default(value: str | None, deferrable: str) -> None:
    environment = {
        **os.environ,
        **({} if value is None else {"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": value}),
    }
    code = """if True:
        from airflow_ice.sensors import IceBatchMediaProducingJobSensor as Sensor
        print(Sensor(task_id="w", job_id="j").deferrable, Sensor(task_id="x", job_id="j", deferrable=True).deferrable)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.split() == [deferrable, "True"], done.stderr


def test_intervals_may_be_timedeltas(monkeypatch: pytest.MonkeyPatch, task_runner: None) -> None:
    clock = Clock()
    clock.install(monkeypatch)
    running = BatchMediaProducingJob(job_id="job-1", status="Processing")
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(iter([running]))[0])
    given: dict[str, Any] = {
        "poke_interval": timedelta(minutes=2),
        "timeout": timedelta(hours=1),
        "max_wait": timedelta(minutes=9),
    }
    run = Run(
        "deferrable",
        clock,
        exponential_backoff=True,
        region_id="cn-beijing",
        ice_conn_id="other",
        silent_fail=True,
        **given,
    )
    with pytest.raises(TaskDeferred) as caught:
        run.sensor().execute(run.context)
    assert caught.value.method_name == "execute_complete"
    _, kwargs = caught.value.trigger.serialize()
    assert kwargs == {
        "job_id": "job-1",
        "ice_conn_id": "other",
        "region_id": "cn-beijing",
        "poke_interval": 120.0,
        "started_at": clock.began,
        "deadline": clock.began + 3600,
        "exponential_backoff": True,
        "max_wait": 540.0,
        "silent_fail": True,
        "end_from_trigger": False,
    }


def test_a_rescheduled_sensor_began_with_its_first_look(
    monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    clock = Clock()
    clock.install(monkeypatch)
    running = BatchMediaProducingJob(job_id="job-1", status="Processing")
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(iter([running]))[0])
    run = Run("reschedule", clock, timeout=100)
    run.ti.first_reschedule_date = datetime.fromtimestamp(clock.now - 101, UTC)
    assert run.outcome().kind == "AirflowSensorTimeout"


@pytest.mark.parametrize("mode", MODES)
def test_the_error_of_a_look_is_the_errors_own_object_where_it_can_be(
    mode: Mode, monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    clock = Clock()
    clock.install(monkeypatch)
    error = IceInputError("job_id", "", "must be the id that a submit returned")
    error.__cause__ = OSError("the cause")
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(iter([error]))[0])
    outcome = Run(mode, clock, timeout=10).outcome()
    assert outcome.error is error
    assert str(outcome.error.__cause__) == "the cause"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"soft_fail": True}, {"never_fail": True}])
def test_a_skip_of_the_users_own_stays_a_skip(
    mode: Mode, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    clock = Clock()
    clock.install(monkeypatch)
    mine = AirflowSkipException("not on Sundays")
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(iter([mine]))[0])
    assert Run(mode, clock, timeout=10, **options).outcome().error is mine


def test_poke_is_part_of_execute() -> None:
    context: Any = {}
    with pytest.raises(RuntimeError, match="execute"):
        IceBatchMediaProducingJobSensor(task_id="w", job_id="j").poke(context)
