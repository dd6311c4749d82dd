"""Produce many campaigns at once with Alibaba Cloud ICE, one batch job each, and publish every good
video.

    campaigns --> submit --> wait --> collect --> flatten --> publish
                  (one task a campaign each)                  (one task a video)

A campaign that fails does not hold up the others: their videos are published, and the run turns red
all the same. It runs against the real service and against the local emulator alike: only the
connection `ice_default` differs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from airflow_ice.transfers import IceMediaToObjectStorageOperator

BUCKET = "http://your-bucket.oss-cn-shanghai.aliyuncs.com"  # in the region of the connection


def campaign_of(job_id: str, ti: Any) -> str:
    """Return the name of a job's campaign, for the web page.

    Not by the map index: when a submit fails, later tasks have other ones.
    """
    campaigns = ti.xcom_pull(task_ids="campaigns")
    places = list(range(len(campaigns)))
    job_ids = ti.xcom_pull(task_ids="submit", key="job_id", map_indexes=places)
    names = [campaign["user_data"]["campaign"] for campaign in campaigns]
    return str(dict(zip(job_ids, names, strict=False)).get(job_id, job_id))


@task
def campaigns(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the campaigns. Your own would come from a table or a file."""
    return list(params["campaigns"])


@task(trigger_rule="all_done")
def flatten(batches: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the videos of all campaigns in one list."""
    return [media for batch in batches for media in batch]


@task(trigger_rule="one_failed")
def some_failed() -> None:
    """Turn the run red: with the others published, it would end green."""
    raise AirflowFailException(
        "Some campaign failed; its red task says why. Start a new run with that campaign alone."
    )


@dag(
    schedule=None,
    catchup=False,
    tags=["ice", "example"],
    user_defined_macros={"campaign_of": campaign_of},
    params={
        # The arguments of the submit operator, for each campaign. MediaURLs must differ, or one
        # campaign overwrites another's files.
        "campaigns": Param(
            [
                {
                    "user_data": {"campaign": name},
                    "input_config": {
                        "MediaGroupArray": [
                            {
                                "GroupName": "opening",
                                "MediaArray": [f"{BUCKET}/{name}/opening.mp4"],
                            },
                            {
                                "GroupName": "product",
                                "MediaArray": [f"{BUCKET}/{name}/a.mp4", f"{BUCKET}/{name}/b.mp4"],
                            },
                        ],
                    },
                    "output_config": {
                        "MediaURL": f"{BUCKET}/videos/{name}_{{index}}.mp4",
                        "Count": 2,
                        "MaxDuration": 15,
                        "Width": 1080,
                        "Height": 1920,
                    },
                }
                for name in ("spring", "summer", "autumn")
            ],
            type="array",
        ),
        "publish_folder": Param("published", type="string"),
    },
)
def ice_many_campaigns() -> None:
    """Submit, wait and collect once for each campaign; publish once for each video."""
    submit = IceSubmitBatchMediaProducingJobOperator.partial(
        task_id="submit",
        map_index_template="{{ task.user_data.campaign }}",  # the name that the web page shows
    ).expand_kwargs(campaigns())
    wait = IceBatchMediaProducingJobSensor.partial(
        task_id="wait",
        deferrable=True,  # waits in the triggerer: no worker slot is held
        poke_interval=10,
        map_index_template="{{ campaign_of(task.job_id, ti) }}",
        timeout=timedelta(
            hours=2
        ),  # your decision: when to stop waiting; the jobs themselves go on and stay billed
        # your decision: go on with the campaigns that were submitted, not only if all were
        trigger_rule="all_done",
    ).expand(job_id=submit.output)
    collect = IceGetBatchMediaProducingJobOperator.partial(
        task_id="collect",
        # your decision: publish what is good ("any"), or nothing unless all are ("all"), or a share
        require="any",
        returns="media",
        map_index_template="{{ campaign_of(task.job_id, ti) }}",
        trigger_rule="all_done",
    ).expand(job_id=wait.output)

    publish = IceMediaToObjectStorageOperator.partial(
        task_id="publish",
        destination="{{ params.publish_folder }}",  # or s3://aws_default@your-bucket/videos
        name="{user_data.campaign}-{index}-{media_id}.mp4",
        retries=3,
        retry_delay=timedelta(seconds=30),
        map_index_template="{{ task.media.user_data.campaign }} {{ task.media.index }}",
    ).expand(media=flatten(collect.output))

    [submit, wait, collect, publish] >> some_failed()


ice_many_campaigns()
