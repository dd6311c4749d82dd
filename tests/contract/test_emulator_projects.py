"""Projects, judged by the official SDK: what a preview is made of, and that it can be played."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
from alibabacloud_ice20201109 import models
from alibabacloud_tea_openapi.exceptions import ClientException

from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.media.render import render
from airflow_ice.emulator.model.timeline import Segment, Timeline
from tests.contract.conftest import Sdk

INPUTS = {
    "MediaGroupArray": [
        {
            "GroupName": "opening",
            "MediaArray": ["http://ice-emulator.oss-cn-shanghai.aliyuncs.com/a.mp4"],
            "SpeechTextArray": ["A shop, nearby"],
        },
        {"GroupName": "shop", "MediaArray": ["****d46c886810b454930f6e****"], "Duration": 0.5},
    ],
    "TitleArray": ["First title", "Second title"],
    "BackgroundMusicArray": ["oss://ice-emulator/b.mp4"],
}
PREVIEW = {"GeneratePreviewOnly": True, "Count": 2, "Width": 320, "Height": 180}


@pytest.fixture(scope="module")
def media_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for index, name in enumerate(("a.mp4", "b.mp4")):
        timeline = Timeline(index, 160, 128, 30, 0.0, (Segment("x", 1.0),))
        render(timeline, [None], folder / name, lambda: False)
    return folder


@pytest.fixture
def studio(media_dir: Path) -> Iterator[LocalIce]:
    with LocalIce(media_dir=media_dir, job_seconds=1.0) as ice:
        ice.freeze()
        yield ice


def project(sdk: Sdk, project_id: str, source: str | None = "WebSDK") -> Any:
    request = models.GetEditingProjectRequest(project_id=project_id, request_source=source)
    return sdk.client.get_editing_project(request).body.project


def materials(sdk: Sdk, project_id: str) -> Any:
    request = models.GetEditingProjectMaterialsRequest(project_id=project_id)
    return sdk.client.get_editing_project_materials(request).body


def preview(studio: LocalIce, sdk: Sdk, **output: Any) -> list[Any]:
    job_id = sdk.submit(inputs=INPUTS, output={**PREVIEW, **output})
    studio.finish_all()
    sub_jobs: list[Any] = sdk.get(job_id).sub_job_list
    return sub_jobs


async def test_a_preview_has_a_timeline_of_clips_titles_subtitles_and_sound(
    studio: LocalIce,
) -> None:
    sdk = Sdk(studio)
    clip = next(item for item in studio.media() if item["key"] == "a.mp4")
    second = preview(studio, sdk)[1]
    request = models.GetEditingProjectRequest(project_id=second.project_id, request_source="WebSDK")
    reply = await sdk.client.get_editing_project_async(request)
    shown = reply.body.project
    assert (shown.project_id, shown.title, shown.status) == (
        second.project_id,
        "Second title",
        "Draft",
    )
    assert (shown.duration, shown.timeline_convert_status) == (2, "Converted")
    timeline = json.loads(shown.timeline)
    known, unknown = timeline["VideoTracks"][0]["VideoTrackClips"]
    assert (known["MediaId"], known["MediaURL"]) == (clip["media_id"], clip["url"])
    assert (known["In"], known["Out"], known["TimelineIn"], known["TimelineOut"]) == (
        0.0,
        1.2,
        0.0,
        1.2,
    )
    assert unknown["MediaId"] == "****d46c886810b454930f6e****"
    assert (unknown["TimelineIn"], unknown["TimelineOut"]) == (1.2, 1.7)
    titles, subtitles = (track["SubtitleTrackClips"] for track in timeline["SubtitleTracks"])
    assert [(text["Content"], text["TimelineIn"], text["TimelineOut"]) for text in titles] == [
        ("Second title", 0.0, 1.7)
    ]
    assert [(text["Content"], text["TimelineIn"], text["TimelineOut"]) for text in subtitles] == [
        ("A shop,", 0.0, 0.6),
        ("nearby", 0.6, 1.2),
    ]
    speech, music = (track["AudioTrackClips"] for track in timeline["AudioTracks"])
    assert [clip["Content"] for clip in speech] == ["A shop,", "nearby"]
    assert (music[0]["MediaURL"], music[0]["TimelineOut"]) == ("oss://ice-emulator/b.mp4", 1.7)


def test_the_cover_of_a_project_is_a_picture_of_its_first_clip(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    url = project(sdk, preview(studio, sdk)[0].project_id).cover_url
    reply = httpx.get(url, trust_env=False)
    assert reply.headers["content-type"] == "image/jpeg"
    with av.open(io.BytesIO(reply.content), "r") as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (160, 128)
    parts = urlsplit(url)
    assert "t_0" in parts.query
    # The signature covers the instant, too.
    assert httpx.get(url.replace("t_0", "t_1"), trust_env=False).status_code == 403
    assert parts.path == "/objects/ice-emulator/a.mp4"


def test_the_materials_of_a_project_are_its_clips_with_signed_urls(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    reply = materials(sdk, preview(studio, sdk)[0].project_id)
    # The clip that the emulator does not know is no media asset.
    assert [info.media_basic_info.title for info in reply.media_infos] == ["a.mp4", "b.mp4"]
    for info in reply.media_infos:
        assert info.media_basic_info.status == "Normal"
        assert httpx.get(info.media_basic_info.cover_url, trust_env=False).status_code == 200
        url = info.file_info_list[0].file_basic_info.file_url
        assert httpx.get(url, trust_env=False).headers["content-type"] == "video/mp4"
    studio.advance(3602)
    for info in reply.media_infos:
        url = info.file_info_list[0].file_basic_info.file_url
        assert httpx.get(url, trust_env=False).status_code == 403


def test_a_project_that_is_not_there(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    for call in (project, materials):
        with pytest.raises(ClientException, match="Project not found"):
            call(sdk, "0" * 32)
        with pytest.raises(ClientException, match="ProjectId"):
            call(sdk, "")
    job_id = sdk.submit(inputs=INPUTS, output=PREVIEW)
    studio.advance(0.5)
    unmade = sdk.get(job_id).sub_job_list[1].project_id
    with pytest.raises(ClientException, match="Project not found"):
        project(sdk, unmade)
    with pytest.raises(ClientException, match="RequestSource"):
        project(sdk, unmade, "elsewhere")


def test_a_rendered_video_has_a_project_too(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    (made,) = preview(studio, sdk, GeneratePreviewOnly=False, Count=1)
    shown = project(sdk, made.project_id, None)
    assert (shown.status, shown.timeline_convert_status) == ("Produced", "Unconverted")
    request = models.GetMediaProducingJobRequest(job_id=made.job_id)
    job = sdk.client.get_media_producing_job(request).body.media_producing_job
    assert json.loads(job.timeline) == json.loads(shown.timeline)
    assert json.loads(job.sub_job_materials) == {
        "Title": "First title",
        "SpeechText": "A shop, nearby",
    }
