"""Make previews with Alibaba Cloud ICE, let a person pick the good ones, render and publish only
those.

    preview --> pick (a person) --> render --> publish (one task a video)

The person watches the previews on the task's tab "ICE videos" and ticks the good ones there, or
answers in Airflow's own form: Browse > Required Actions. No worker slot is held meanwhile. It runs
against the real service and against the local emulator alike: only the connection `ice_default`
differs.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag

from airflow_ice.operators import (
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitSceneBatchEditingJobOperator,
)
from airflow_ice.picking import IcePickOperator
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
        "preview_config": Param(
            {"Count": 8, "MaxDuration": 15, "Width": 1080, "Height": 1920}, type="object"
        ),
        # {index} becomes 0, 1, 2, ...: one file for each preview that was picked.
        "render_config": Param(
            {"MediaURL": f"{BUCKET}/videos/picked_{{index}}.mp4", "Width": 1080, "Height": 1920},
            type="object",
        ),
        "publish_folder": Param("published", type="string"),
    },
)
def ice_preview_review_render() -> None:
    """Preview, pick, render, publish."""
    preview = IceSubmitBatchMediaProducingJobOperator(
        task_id="preview",
        input_config="{{ params.input_config | tojson }}",
        output_config="{{ dict(params.preview_config, GeneratePreviewOnly=True) | tojson }}",
        require="any",  # your decision: let the person choose among the previews that came out
        wait_for_completion=True,
        deferrable=True,  # waits in the triggerer: no worker slot is held
        poke_interval=10,
        # your decision: when to stop waiting; the job itself goes on and stays billed
        timeout=timedelta(hours=2),
    )
    pick = IcePickOperator(
        task_id="pick",
        media=preview.output["media"],
        returns="project_ids",
        subject="Which previews are to be rendered?",
        # your decision: with no answer by then the task fails, and nothing is rendered
        response_timeout=timedelta(days=3),
    )
    render = IceSubmitSceneBatchEditingJobOperator(
        task_id="render",
        project_ids=pick.output,
        output_config="{{ params.render_config | tojson }}",
        # your decision: publish what is good ("any"), or nothing unless all are ("all"), or a share
        require="any",
        returns="media",  # the rows of the good videos, for publish.expand below
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=2),
    )

    IceMediaToObjectStorageOperator.partial(
        task_id="publish",
        destination="{{ params.publish_folder }}",  # or s3://aws_default@your-bucket/videos
        name="video-{index}-{media_id}.mp4",
        retries=3,
        retry_delay=timedelta(seconds=30),
    ).expand(media=render.output)


ice_preview_review_render()
