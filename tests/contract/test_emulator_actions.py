"""Every action, called with the official SDK, sync and async: the emulator's conformance test."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_ice20201109 import models

from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import GROUPS, OUTPUT, Sdk

TEXTS = ["A new shop has opened nearby,today is the first day.", "Come and see it"]
MIX = {"MediaArray": ["media-1", "media-2"], "SpeechTextArray": TEXTS, "TitleArray": ["A title"]}
SPORTS = {
    "SportsCategory": "basketball",
    "InputMedia": "http://xxx.oss-cn-shanghai.aliyuncs.com/game.mp4",
    "FaceRegister": [
        {"FaceUrls": ["http://xxx.oss-cn-shanghai.aliyuncs.com/front.jpg"], "Name": "James"}
    ],
    "SlowMotionLogoRegister": {
        "SlowMotionLogoUrls": ["http://xxx.oss-cn-shanghai.aliyuncs.com/logo.png"]
    },
    "TransferNameRegister": [{"OriginalName": "IND", "TransferName": "Indiana"}],
}


def text(value: Any) -> str:
    return json.dumps(value)


SUBMITS = [
    (
        "submit_batch_media_producing_job",
        models.SubmitBatchMediaProducingJobRequest,
        {"input_config": text(GROUPS)},
        "Script",
    ),
    (
        "submit_batch_media_producing_job",
        models.SubmitBatchMediaProducingJobRequest,
        {"input_config": text(MIX)},
        "Smart_Mix",
    ),
    (
        "submit_screen_media_highlights_job",
        models.SubmitScreenMediaHighlightsJobRequest,
        {
            "input_config": text({"MediaArray": ["media-1"]}),
            "editing_config": text({"MediaConfig": {"Volume": 1}}),
        },
        "Screen_Media_Highlights",
    ),
    (
        "submit_sports_highlights_job",
        models.SubmitSportsHighlightsJobRequest,
        {"input_config": text(SPORTS)},
        "Sports_Highlights",
    ),
]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("method", "request_class", "arguments", "job_type"), SUBMITS)
async def test_a_submitted_job_becomes_videos(
    ice: LocalIce,
    sdk: Sdk,
    colour: str,
    method: str,
    request_class: Any,
    arguments: dict[str, Any],
    job_type: str,
) -> None:
    user_data = '{ "Key": "中文 + * ~",  "NotifyAddress": "ice-callback-demo"}'
    request = request_class(output_config=text(OUTPUT), user_data=user_data, **arguments)
    if colour == "sync":
        reply = getattr(sdk.client, method)(request)
    else:
        reply = await getattr(sdk.client, f"{method}_async")(request)
    assert reply.status_code == 200
    job_id = reply.body.job_id
    assert len(job_id) == 32
    ice.finish_all()

    wanted = models.GetBatchMediaProducingJobRequest(job_id=job_id)
    if colour == "sync":
        job = sdk.client.get_batch_media_producing_job(wanted).body.editing_batch_job
    else:
        job = (await sdk.client.get_batch_media_producing_job_async(wanted)).body.editing_batch_job
    assert (job.job_id, job.job_type, job.status, job.extend) == (
        job_id,
        job_type,
        "Finished",
        "{}",
    )
    # Configurations come back byte for byte.
    assert job.input_config == arguments["input_config"]
    assert job.output_config == text(OUTPUT)
    assert job.user_data == user_data
    assert [sub_job.status for sub_job in job.sub_job_list] == ["Success", "Success"]
    assert [sub_job.media_url for sub_job in job.sub_job_list] == [
        "http://shop.oss-cn-shanghai.aliyuncs.com/day/v_0.mp4",
        "http://shop.oss-cn-shanghai.aliyuncs.com/day/v_1.mp4",
    ]
    assert all(
        len(sub_job.project_id) == 32 and sub_job.duration > 0 and not sub_job.error_code
        for sub_job in job.sub_job_list
    )
    assert len({sub_job.media_id for sub_job in job.sub_job_list}) == 2


@pytest.mark.parametrize("kind", ["Smart_Mix", "Screen_Media_Highlights"])
async def test_select_organize_and_edit_are_a_chain(ice: LocalIce, sdk: Sdk, kind: str) -> None:
    selected = await sdk.client.submit_scene_media_selection_job_async(
        models.SubmitSceneMediaSelectionJobRequest(
            input_config=text(MIX),
            job_type=f"{kind}_Media_Select",
            output_config=text({"Count": 2}),
        )
    )
    ice.finish_all()
    selection = sdk.get(selected.body.job_id)
    assert (selection.status, selection.sub_job_list) == ("Finished", [])
    result = json.loads(selection.extend_output)
    sentences = result["textMatchMediaOutputList"][0]["textMatchMediaSentenceOutputList"]
    assert sentences[0]["text"] == "A new shop has opened nearby,"
    assert set(sentences[0]) == {"duration", "matchClipList", "text", "textId"}
    clip = {"clipId", "endTime", "mediaId", "score", "startTime"}
    assert set(sentences[0]["matchClipList"][0]) == clip

    organized = sdk.client.submit_scene_timeline_organization_job(
        models.SubmitSceneTimelineOrganizationJobRequest(
            input_config=text(MIX),
            job_type=f"{kind}_Timeline_Organize",
            media_select_result=selection.extend_output,
            output_config=text(OUTPUT),
        )
    )
    ice.finish_all()
    projects = sdk.get(organized.body.job_id)
    assert projects.extend_input == selection.extend_output
    assert len(projects.sub_job_list) == 2
    for sub_job in projects.sub_job_list:
        assert sub_job.status == "Success"
        assert sub_job.project_id
        assert (sub_job.media_id, sub_job.media_url, sub_job.duration) == (None, None, None)

    ids = [sub_job.project_id for sub_job in projects.sub_job_list]
    output = {name: value for name, value in OUTPUT.items() if name != "Count"}
    edited = sdk.client.submit_scene_batch_editing_job(
        models.SubmitSceneBatchEditingJobRequest(
            project_ids=",".join(ids), output_config=text(output)
        )
    )
    ice.finish_all()
    job = sdk.get(edited.body.job_id)
    assert (job.job_type, job.status) == ("Scene_Batch_Editing", "Finished")
    assert json.loads(job.extend_input) == ids
    assert [sub_job.media_url[-7:] for sub_job in job.sub_job_list] == ["v_0.mp4", "v_1.mp4"]


def test_a_preview_has_a_project_and_no_media(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit(output={"GeneratePreviewOnly": True})
    ice.finish_all()
    for sub_job in sdk.get(job_id).sub_job_list:
        assert (sub_job.status, sub_job.media_id, sub_job.media_url, sub_job.duration) == (
            "Success",
            None,
            None,
            None,
        )
        assert len(sub_job.project_id) == 32


async def test_a_sub_job_is_a_media_producing_job(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("sub_jobs_fail", indexes=[1], code="ExceededMaximumValue", message="too big")
    job_id = sdk.submit(user_data='{"a":1}')
    ice.advance(30)
    running = sdk.get(job_id).sub_job_list[0]
    request = models.GetMediaProducingJobRequest(job_id=running.job_id)
    job = sdk.client.get_media_producing_job(request).body.media_producing_job
    assert job.status == "Processing"
    assert 0 < job.progress < 100
    ice.finish_all()
    job = (await sdk.client.get_media_producing_job_async(request)).body.media_producing_job
    assert (job.status, job.progress, job.duration, job.user_data) == (
        "Success",
        100,
        1.5,
        '{"a":1}',
    )
    assert json.loads(job.sub_job_materials) == {"Title": "First title", "SpeechText": ""}
    failed = models.GetMediaProducingJobRequest(job_id=sdk.get(job_id).sub_job_list[1].job_id)
    job = sdk.client.get_media_producing_job(failed).body.media_producing_job
    assert (job.status, job.code, job.message) == ("Failed", "ExceededMaximumValue", "too big")


async def test_media_info_by_id_and_by_url(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit()
    sub_job = sdk.get(job_id)
    assert sub_job.sub_job_list == []
    ice.advance(50)
    sub_job = sdk.get(job_id).sub_job_list[1]
    assert sdk.media(media_id=sub_job.media_id).media_basic_info.status == "Preparing"
    ice.finish_all()
    by_id = sdk.media(media_id=sub_job.media_id)
    request = models.GetMediaInfoRequest(input_url=sub_job.media_url)
    by_url = (await sdk.client.get_media_info_async(request)).body.media_info
    assert by_id.media_id == by_url.media_id == sub_job.media_id
    assert by_id.media_basic_info.status == "Normal"
    raw = by_id.to_map()["FileInfoList"][0]["FileBasicInfo"]
    assert all(isinstance(value, str) for value in raw.values())
    assert (raw["FileType"], raw["Width"], raw["Height"], raw["Duration"]) == (
        "source_file",
        "320",
        "180",
        "1.500000",
    )


def test_list_shows_rows_without_sub_jobs(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit(user_data='{"a":1}')
    ice.finish_all()
    page = sdk.list()
    assert page.max_results == 10
    assert not page.next_token
    (row,) = page.editing_batch_job_list
    assert (row.job_id, row.status, row.user_data, row.extend) == (
        job_id,
        "Finished",
        '{"a":1}',
        "{}",
    )
    assert set(row.to_map()) == {
        "JobId",
        "JobType",
        "Status",
        "InputConfig",
        "OutputConfig",
        "UserData",
        "Extend",
        "CreateTime",
        "ModifiedTime",
        "CompleteTime",
    }
