"""Make videos with Alibaba Cloud ICE in three steps, with a look into the material between the
first and the second.

    select --> edit --> organize --> render --> publish (one task a video)

`select` matches clips to the sentences of your texts, `organize` lays the matches out as editing
projects, `render` makes a video of each project. It runs against the real service and against the
local emulator alike: only the connection `ice_default` differs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_ice.operators import (
    IceSubmitSceneBatchEditingJobOperator,
    IceSubmitSceneMediaSelectionJobOperator,
    IceSubmitSceneTimelineOrganizationJobOperator,
)
from airflow_ice.transfers import IceMediaToObjectStorageOperator

BUCKET = "http://your-bucket.oss-cn-shanghai.aliyuncs.com"  # in the region of the connection


@task
def edit(selection: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Leave sentences out. Your decision: change the selection here, or pass
    `select.output["extend_output"]` on as it is.
    """
    for script in selection["textMatchMediaOutputList"]:
        sentences = script["textMatchMediaSentenceOutputList"]
        script["textMatchMediaSentenceOutputList"] = [
            each for each in sentences if each["text"] not in params["leave_out"]
        ]
    return selection


@dag(
    schedule=None,
    catchup=False,
    tags=["ice", "example"],
    params={
        # Clips are OSS URLs or media ids.
        "input_config": Param(
            {
                "MediaArray": [
                    f"{BUCKET}/clips/shop.mp4",
                    f"{BUCKET}/clips/street.mp4",
                    f"{BUCKET}/clips/bread.mp4",
                ],
                "SpeechTextArray": [
                    "Our bakery opens at six. Come and try the bread.",
                    "Fresh bread, every morning.",
                ],
            },
            type="object",
        ),
        "leave_out": Param(
            [], type="array", description="sentences that are not to be in any video"
        ),
        "project_config": Param({"Count": 4, "Width": 1080, "Height": 1920}, type="object"),
        # {index} becomes 0, 1, 2, ...: one file a project.
        "render_config": Param(
            {"MediaURL": f"{BUCKET}/videos/scene_{{index}}.mp4", "Width": 1080, "Height": 1920},
            type="object",
        ),
        "publish_folder": Param("published", type="string"),
    },
)
def ice_select_organize_render() -> None:
    """Select, edit, organize, render, publish."""
    select = IceSubmitSceneMediaSelectionJobOperator(
        task_id="select",
        job_type="Smart_Mix_Media_Select",
        input_config="{{ params.input_config | tojson }}",
        output_config="{{ params.project_config | tojson }}",
        wait_for_completion=True,
        deferrable=True,  # waits in the triggerer: no worker slot is held
        poke_interval=10,
        # your decision: when to stop waiting; the job itself goes on and stays billed
        timeout=timedelta(hours=2),
    )

    organize = IceSubmitSceneTimelineOrganizationJobOperator(
        task_id="organize",
        job_type="Smart_Mix_Timeline_Organize",
        input_config="{{ params.input_config | tojson }}",
        media_select_result=edit(select.output["extend_output"]),
        output_config="{{ params.project_config | tojson }}",
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=2),
    )
    render = IceSubmitSceneBatchEditingJobOperator(
        task_id="render",
        project_ids=organize.output["project_ids"],
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


ice_select_organize_render()
