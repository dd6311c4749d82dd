"""A wait that ends in the triggerer, and a task that takes what it returned."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_ice.operators import IceSubmitBatchMediaProducingJobOperator
from airflow_ice.sensors import IceBatchMediaProducingJobSensor


@dag(schedule=None, catchup=False)
def ice_end_from_trigger() -> None:
    submit = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        input_config={"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]},
        output_config={
            "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/ending_{index}.mp4",
            "Count": 1,
            "Width": 320,
            "Height": 180,
            "FixedDuration": 1,
        },
    )
    wait = IceBatchMediaProducingJobSensor(
        task_id="wait",
        job_id=submit.output,
        deferrable=True,
        end_from_trigger=True,
        poke_interval=1,
        timeout=120,
    )

    @task
    def take(job_id: Any) -> Any:
        return job_id

    take(wait.output)


ice_end_from_trigger()
