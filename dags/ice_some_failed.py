r"""When some videos of a batch failed: tell somebody which and why, and produce them again.

    submit --> wait --> failed --> what_now --> alert
                                           \--> missing --> resubmit
                                           \--> all_good

A batch of which no video is good is red in `failed`. It runs against the real service and against
the local emulator alike: only the connection `ice_default` differs.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor

BUCKET = "http://your-bucket.oss-cn-shanghai.aliyuncs.com"  # in the region of the connection
INPUT_CONFIG = "{{ params.input_config | tojson }}"


@task.branch
def what_now(failed: list[dict[str, Any]]) -> list[str]:
    """Choose what comes next."""
    return ["alert", "missing"] if failed else ["all_good"]


@task
def alert(failed: list[dict[str, Any]], params: dict[str, Any]) -> list[str]:
    """Name each failed video and say why it failed: a stand-in for your own mail or chat."""
    name = params["output_config"]["MediaURL"].rpartition("/")[2].replace("{index}", "%d")
    lines = [
        f"{name % row['index']}: {row['error_message']} ({row['error_code']})" for row in failed
    ]
    logging.getLogger(__name__).warning("These videos failed: %s", "; ".join(lines))
    return lines


@task
def missing(failed: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """Return the output of a batch of as many videos as failed, under names of their own."""
    output: dict[str, Any] = params["output_config"]
    url = output["MediaURL"].replace("{index}", "again_{index}")
    return {**output, "MediaURL": url, "Count": len(failed)}


@task
def all_good() -> None:
    """Go on, with nothing to repair."""


@dag(
    schedule=None,
    catchup=False,
    tags=["ice", "example"],
    params={
        "input_config": Param(
            {
                "MediaGroupArray": [
                    {"GroupName": "clips", "MediaArray": [f"{BUCKET}/a.mp4", f"{BUCKET}/b.mp4"]}
                ]
            },
            type="object",
        ),
        "output_config": Param(
            {"MediaURL": f"{BUCKET}/v_{{index}}.mp4", "Count": 4, "Width": 1080, "Height": 1920},
            type="object",
        ),
    },
)
def ice_some_failed() -> None:
    """Submit, wait, and branch on the videos that failed."""
    submit = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        input_config=INPUT_CONFIG,
        output_config="{{ params.output_config | tojson }}",
    )
    wait = IceBatchMediaProducingJobSensor(
        task_id="wait",
        job_id=submit.output,
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=2),
    )
    failed = IceGetBatchMediaProducingJobOperator(
        task_id="failed",
        job_id=wait.output,
        require="any",
        returns="failed",  # a row for each failed video; the good ones are in XCom under `media`
    )

    again = missing(failed.output)
    IceSubmitBatchMediaProducingJobOperator(
        task_id="resubmit",  # a second, paid job, of the missing videos only
        input_config=INPUT_CONFIG,
        output_config=again,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=2),
    )
    what_now(failed.output) >> [alert(failed.output), again, all_good()]


ice_some_failed()
