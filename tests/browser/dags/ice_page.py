"""A batch to look at: what a test varies is a parameter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_ice.operators import IceSubmitBatchMediaProducingJobOperator


@dag(
    schedule=None,
    catchup=False,
    params={
        "input_config": Param({}, type="object"),
        "output_config": Param({}, type="object"),
        "ice_conn_id": Param("ice_default", type="string"),
    },
)
def ice_page() -> None:
    produce = IceSubmitBatchMediaProducingJobOperator(
        task_id="produce",
        ice_conn_id="{{ params.ice_conn_id }}",
        input_config="{{ params.input_config | tojson }}",
        output_config="{{ params.output_config | tojson }}",
        require="any",
        wait_for_completion=True,
        deferrable=True,
        poke_interval=1,
        timeout=timedelta(minutes=5),
        retries=0,
    )

    @task
    def other() -> dict[str, Any]:
        return {}

    produce >> other()


ice_page()
