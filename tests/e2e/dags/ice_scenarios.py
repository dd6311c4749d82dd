"""The journey of one batch with everything that a scenario varies as a parameter: connection,
require, and the mode of waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, XComArg, dag, task

from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor

CONNECTION = "{{ params.connection }}"


@dag(
    schedule=None,
    catchup=False,
    params={
        "connection": Param("ice_default", type="string"),
        "require": Param("all", type="string"),
        "count": Param(4, type="integer"),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
)
def ice_scenarios() -> None:
    submit = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        ice_conn_id=CONNECTION,
        input_config={"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]},
        output_config=(
            '{"MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/video_{index}.mp4",'
            ' "Count": {{ params.count }}, "Width": 320, "Height": 180, "FixedDuration": 1}'
        ),
    )
    waits = [
        IceBatchMediaProducingJobSensor(
            task_id=f"wait_{name}",
            job_id=submit.output,
            ice_conn_id=CONNECTION,
            deferrable=deferrable,
            mode="poke",
            poke_interval=1,
            timeout=120,
        )
        for name, deferrable in (("deferred", True), ("poking", False))
    ]
    collect = IceGetBatchMediaProducingJobOperator(
        task_id="collect",
        job_id=waits[0].output,
        ice_conn_id=CONNECTION,
        require="{{ params.require }}",
        returns="media",
    )

    @task(trigger_rule="all_done")
    def clean_up(failed: Any) -> int:
        return len(failed)

    @task
    def publish(media: dict[str, object]) -> object:
        return media["media_id"]

    waits[1] >> collect
    clean_up(XComArg(collect, key="failed"))
    publish.expand(media=collect.output)


ice_scenarios()
