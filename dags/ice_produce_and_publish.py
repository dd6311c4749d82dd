"""Produce a batch of videos with Alibaba Cloud ICE and publish each good one.

    submit --> wait --> collect --> publish (one task a video)

Copy this file, put your clips and your bucket into the parameters, and a bucket or folder of your
own into `publish_folder`. It runs against the real service and against the local emulator alike:
only the connection `ice_default` differs.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag

from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from airflow_ice.transfers import IceMediaToObjectStorageOperator

BUCKET = "http://your-bucket.oss-cn-shanghai.aliyuncs.com"  # in the region of the connection


@dag(
    schedule=None,
    catchup=False,
    tags=["ice", "example"],
    params={
        # One clip of each group goes into every video. Clips are OSS URLs or media ids.
        "input_config": Param(
            {
                "MediaGroupArray": [
                    {
                        "GroupName": "opening",
                        "MediaArray": [
                            f"{BUCKET}/clips/opening-1.mp4",
                            f"{BUCKET}/clips/opening-2.mp4",
                        ],
                    },
                    {
                        "GroupName": "product",
                        "MediaArray": [
                            f"{BUCKET}/clips/product-1.mp4",
                            f"{BUCKET}/clips/product-2.mp4",
                        ],
                    },
                ],
                "TitleArray": ["Now open", "Come and see"],
            },
            type="object",
        ),
        # {index} becomes 0, 1, 2, ...: one file a video.
        "output_config": Param(
            {
                "MediaURL": f"{BUCKET}/videos/campaign_{{index}}.mp4",
                "Count": 4,
                "MaxDuration": 15,
                "Width": 1080,
                "Height": 1920,
            },
            type="object",
        ),
        "publish_folder": Param("published", type="string"),
    },
)
def ice_produce_and_publish() -> None:
    """Submit, wait, collect, publish."""
    submit = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        input_config="{{ params.input_config | tojson }}",
        output_config="{{ params.output_config | tojson }}",
    )
    wait = IceBatchMediaProducingJobSensor(
        task_id="wait",
        job_id=submit.output,
        # waits in the triggerer: no worker slot is held for the hour that a batch may take
        deferrable=True,
        poke_interval=10,
        # your decision: when to stop waiting; the job itself goes on and stays billed
        timeout=timedelta(hours=2),
    )
    collect = IceGetBatchMediaProducingJobOperator(
        task_id="collect",
        job_id=wait.output,
        # your decision: publish what is good ("any"), or nothing unless all are ("all"), or a share
        require="any",
        returns="media",  # the rows of the good videos, for publish.expand below
    )

    IceMediaToObjectStorageOperator.partial(
        task_id="publish",
        destination="{{ params.publish_folder }}",  # or s3://aws_default@your-bucket/videos
        name="video-{index}-{media_id}.mp4",
        retries=3,
        retry_delay=timedelta(seconds=30),
    ).expand(media=collect.output)


ice_produce_and_publish()
