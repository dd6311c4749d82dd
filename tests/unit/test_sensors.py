"""What a sensor is in a DAG file; what it decides is tested in all modes in
tests/contract/test_modes.py."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias, BaseHook, PokeReturnValue
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import NonRetryableIceInputError
from airflow_ice.hooks import IceHook
from airflow_ice.operators import IceGetBatchMediaProducingJobOperator
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from tests.accounts import Accounts
from tests.three_modes import MODES, Clock, Mode, Run, TaskInstance, scripted, task_runner

__all__ = ["task_runner"]

RUNNING = BatchMediaProducingJob(job_id="job-1", status="Processing")
FINISHED = BatchMediaProducingJob(job_id="job-1", status="Finished")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    found.install(monkeypatch)
    Accounts(found).install(monkeypatch)
    return found


def show(monkeypatch: pytest.MonkeyPatch, *polls: Any) -> None:
    """Let the task's polls show these things, one after the other."""
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(iter(polls))[0])


def test_a_dag_reads_no_connection_while_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHook, "get_connection", pytest.fail)
    with DAG("d") as dag:
        wait = IceBatchMediaProducingJobSensor(task_id="wait", job_id="{{ params.job_id }}")
        IceGetBatchMediaProducingJobOperator(task_id="collect", job_id=wait.output)
        IceBatchMediaProducingJobSensor.partial(task_id="many").expand(job_id=["a", "b"])
    assert dag.get_task("collect").upstream_task_ids == {"wait"}


@pytest.mark.parametrize("outlet", [Asset("videos"), AssetAlias("videos")], ids=repr)
def test_a_task_that_its_trigger_ends_has_no_outlets(outlet: Asset | AssetAlias) -> None:
    """Airflow makes no event for it, so a consumer would wait for ever."""
    arguments: Any = {"task_id": "w", "job_id": "j", "deferrable": True, "outlets": [outlet]}
    with pytest.raises(NonRetryableIceInputError, match="cannot serve outlets"):
        IceBatchMediaProducingJobSensor(end_from_trigger=True, **arguments)
    assert IceBatchMediaProducingJobSensor(**arguments).outlets == [outlet]


def test_what_is_templated() -> None:
    sensor = IceBatchMediaProducingJobSensor(
        task_id="w", job_id="{{ j }}", ice_conn_id="{{ c }}", region_id="{{ r }}"
    )
    values: Any = {"j": "job-7", "c": "other", "r": "cn-beijing"}
    sensor.render_template_fields(values)
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
        deferred = Sensor(task_id="x", job_id="j", deferrable=True)
        print(Sensor(task_id="w", job_id="j").deferrable, deferred.deferrable)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.split() == [deferrable, "True"], done.stderr


def test_intervals_may_be_timedeltas(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    show(monkeypatch, RUNNING)
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
        "seen_in": "cn-beijing",
        "end_from_trigger": False,
    }


def test_a_rescheduled_sensor_began_with_its_first_poll(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    show(monkeypatch, RUNNING)
    run = Run("reschedule", clock, timeout=100)
    run.ti.first_reschedule_date = datetime.fromtimestamp(clock.now - 101, UTC)
    assert run.outcome().kind == "AirflowSensorTimeout"


@pytest.mark.parametrize("mode", MODES)
def test_the_error_of_the_first_poll_keeps_all_it_knows_and_is_not_retried(
    mode: Mode, clock: Clock, monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    error = IceInputError("job_id", "", "must be the id that a submit returned")
    error.__cause__ = OSError("the cause")
    show(monkeypatch, error)
    outcome = Run(mode, clock, timeout=10).outcome()
    assert isinstance(outcome.error, NonRetryableIceInputError)
    assert vars(outcome.error) == vars(error)
    assert str(outcome.error.__cause__) == "the cause"


class SundaySensor(IceBatchMediaProducingJobSensor):
    """A sensor of the user's own that skips."""

    def poke(self, context: Any) -> Any:
        raise AirflowSkipException("not on Sundays")

    def execute_complete(self, context: Any, event: Any) -> Any:
        raise AirflowSkipException("not on Sundays")


@pytest.mark.parametrize("options", [{}, {"soft_fail": True}, {"never_fail": True}])
def test_a_skip_of_the_users_own_stays_a_skip(options: dict[str, Any]) -> None:
    context: Any = {}
    sensor = SundaySensor(task_id="w", job_id="job-1", **options)
    with pytest.raises(AirflowSkipException, match=r"^not on Sundays$"):
        sensor.resume_execution("execute_complete", {"event": {}}, context)


def test_poke_polls_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = {}
    show(monkeypatch, RUNNING, RUNNING, FINISHED)
    sensor = IceBatchMediaProducingJobSensor(task_id="w", job_id="job-1")
    assert [sensor.poke(context), sensor.poke(context)] == [False, False]
    found = sensor.poke(context)
    assert isinstance(found, PokeReturnValue)
    assert (found.is_done, found.xcom_value) == (True, "job-1")
    assert not clock.slept


def test_poke_keeps_the_deadline_of_its_first_call(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = {}
    show(monkeypatch, RUNNING, RUNNING)
    sensor = IceBatchMediaProducingJobSensor(task_id="w", job_id="job-1", timeout=100)
    assert sensor.poke(context) is False
    clock.sleep(100)
    with pytest.raises(AirflowSensorTimeout, match="job-1"):
        sensor.poke(context)


@pytest.mark.parametrize("mode", MODES)
def test_which_job_it_is_is_pushed_before_the_first_poll(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = TaskInstance()
    sensor = IceBatchMediaProducingJobSensor(
        task_id="wait",
        job_id="job-1",
        region_id="cn-beijing",
        deferrable=mode == "deferrable",
        mode="poke" if mode == "deferrable" else mode,
    )

    def poll(hook: IceHook, job_id: str) -> BatchMediaProducingJob:
        assert ti.pushed["ice_job"] == {
            "job_id": "job-1",
            "ice_conn_id": "ice_default",
            "region_id": "cn-beijing",
        }
        return BatchMediaProducingJob("job-1", status="Finished")

    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", poll)
    monkeypatch.setattr(IceHook, "pinned", lambda hook: hook)
    context: Any = {"ti": ti}
    assert sensor.execute(context) == "job-1"
