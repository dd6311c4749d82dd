"""A batch from its clips to a copy of a video, of which OpenLineage is told."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.transfers import IceMediaToObjectStorageOperator

SIGNED = "?sign=leak"  # Airflow itself shows what a DAG file has, so this is no real one
CLIPS = ["0" * 32, f"http://clips.oss-cn-shanghai.aliyuncs.com/spring/a.mp4{SIGNED}"]


@dag(schedule=None, catchup=False)
def ice_lineage() -> None:
    submit = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        input_config={"MediaGroupArray": [{"GroupName": "one", "MediaArray": CLIPS}]},
        output_config={
            "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/lineage_{index}.mp4",
            "Count": 2,
            "Width": 320,
            "Height": 180,
            "FixedDuration": 1,
        },
        wait_for_completion=True,
        deferrable=True,
        poke_interval=1,
    )
    collect = IceGetBatchMediaProducingJobOperator(
        task_id="collect", job_id="{{ ti.xcom_pull('submit')['job_id'] }}", returns="media"
    )

    submit >> collect

    @task
    def first(media: Any) -> Any:
        return media[0]

    IceMediaToObjectStorageOperator(
        task_id="publish", media=first(collect.output), destination="lineage_copies"
    )


ice_lineage()
