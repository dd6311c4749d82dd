"""Real files: what is rendered, from what, and who may fetch it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import av
import httpx
import pytest
from alibabacloud_ice20201109 import models
from alibabacloud_tea_openapi.exceptions import ClientException

from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.media.render import render
from airflow_ice.emulator.model.timeline import Segment, Timeline
from tests.contract.conftest import Sdk

SMALL = {"Width": 192, "Height": 128}


def make_clip(path: Path, index: int, seconds: float) -> None:
    render(
        Timeline(index, 160, 128, 30, 0.0, (Segment("x", seconds),)), [None], path, lambda: False
    )


def make_image(path: Path, colour: bytes) -> None:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        frame = av.VideoFrame(64, 64, "rgb24")
        frame.planes[0].update(colour * (frame.planes[0].buffer_size // 3))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def media_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "sub").mkdir()
    make_clip(folder / "a.mp4", 1, 1.0)
    make_clip(folder / "sub" / "b.mp4", 2, 0.4)
    make_image(folder / "red.png", b"\xff\x00\x00")
    make_image(folder / "blue.png", b"\x00\x00\xff")
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture
def studio(media_dir: Path) -> Iterator[LocalIce]:
    with LocalIce(media_dir=media_dir, job_seconds=1.0) as ice:
        ice.freeze()
        yield ice


def fetch(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


def file_url(sdk: Sdk, **query: Any) -> str:
    (info,) = sdk.media(**query).file_info_list
    url: str = info.file_basic_info.file_url
    return url


def facts(path: Path) -> tuple[str, str, int, int, int, float]:
    with av.open(str(path)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        pictures = sum(1 for _ in container.decode(picture))
        seconds = (container.duration or 0) / av.time_base
        return (
            picture.codec_context.name,
            sound.codec_context.name,
            picture.width,
            picture.height,
            pictures,
            seconds,
        )


def middle_pixel(path: Path, picture_number: int) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == picture_number:
                small = frame.reformat(width=1, height=1, format="rgb24")
                red, green, blue = bytes(small.planes[0])[:3]
                return red, green, blue
    raise AssertionError("the video is too short")


def test_a_rendered_video_is_what_was_asked_for(studio: LocalIce, tmp_path: Path) -> None:
    sdk = Sdk(studio)
    job_id = sdk.submit(output={"Width": 320, "Height": 180})
    studio.finish_all()
    hashes = set()
    for sub_job in sdk.get(job_id).sub_job_list:
        reply = fetch(file_url(sdk, media_id=sub_job.media_id))
        assert (reply.status_code, reply.headers["content-type"]) == (200, "video/mp4")
        path = tmp_path / "video.mp4"
        path.write_bytes(reply.content)
        video, audio, width, height, pictures, seconds = facts(path)
        assert (video, audio, width, height, pictures) == ("h264", "aac", 320, 180, 38)
        assert seconds == pytest.approx(sub_job.duration, abs=0.1)
        assert sub_job.duration == 1.5
        info = sdk.media(media_id=sub_job.media_id).file_info_list[0].file_basic_info
        assert (info.file_size, info.width, info.height) == (str(len(reply.content)), "320", "180")
        hashes.add(hashlib.sha256(reply.content).hexdigest())
    assert len(hashes) == 2


def test_a_sub_job_succeeds_only_with_its_file(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    job_id = sdk.submit(output={"Count": 6, **SMALL})
    studio.advance(100)
    seen = sdk.get(job_id)
    objects = studio.settings.data_dir / "objects"
    for sub_job in seen.sub_job_list:
        path = objects / "shop" / "day" / sub_job.media_url.rsplit("/")[-1]
        assert sub_job.status == "Processing" or path.is_file()
    studio.finish_all()
    assert [sub_job.status for sub_job in sdk.get(job_id).sub_job_list] == ["Success"] * 6


def striped(path: Path, picture_number: int) -> bool:
    """Tell whether a picture is a card with red stripes: much pure red and white in it."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == picture_number:
                pixels = bytes(frame.reformat(width=64, height=64, format="rgb24").planes[0])
                colours = list(zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True))
                red = sum(r > 150 and g < 70 and b < 70 for r, g, b in colours)
                white = sum(min(colour) > 200 for colour in colours)
                return min(red, white) > len(colours) / 8
    raise AssertionError("the video is too short")


UNKNOWN_ID, UNKNOWN_URL = "0" * 32, "http://elsewhere.oss-cn-shanghai.aliyuncs.com/no.mp4"


def test_unknown_material_is_marked_in_the_picture_and_in_the_log(
    studio: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk(studio)
    signed = f"{UNKNOWN_URL}?Signature=a-secret"
    media = [[UNKNOWN_ID, signed], ["oss://ice-emulator/blue.png"]]
    groups = [
        {"GroupName": f"g{number}", "MediaArray": array, "Duration": 1}
        for number, array in enumerate(media)
    ]
    job_id = sdk.submit(inputs={"MediaGroupArray": groups}, output={"Count": 4, **SMALL})
    studio.finish_all()
    assert sdk.get(job_id).status == "Finished"
    folder = studio.settings.data_dir / "objects" / "shop" / "day"
    for index in range(4):
        assert striped(folder / f"v_{index}.mp4", 10)
        assert not striped(folder / f"v_{index}.mp4", 35)
    told = [record.message for record in caplog.records if "unknown material" in record.message]
    assert [(job_id in line, line.count(";")) for line in told] == [(True, 1)] * 2
    assert UNKNOWN_ID in told[0]
    assert UNKNOWN_URL in told[1]
    assert "a-secret" not in caplog.text
    assert "blue.png" not in caplog.text


def test_a_clip_that_the_media_dir_does_not_hold_is_named_in_the_log(
    studio: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk(studio)
    media = ["oss://ice-emulator/a.mp4", "oss://ice-emulator/b.mp4", "an id\nand a line"]
    groups = [{"GroupName": "one", "MediaArray": media, "Duration": 1}]
    job_id = sdk.submit(inputs={"MediaGroupArray": groups}, output=SMALL)
    (told,) = [record.message for record in caplog.records if "fails" in record.message]
    assert told == f'job {job_id} fails: there is no "oss://ice-emulator/b.mp4" here'
    (strange,) = [record.message for record in caplog.records if "unknown" in record.message]
    assert r'"an id\nand a line"' in strange


def test_what_the_emulator_makes_or_finds_itself_is_not_marked(
    studio: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk(studio)
    first = sdk.submit(
        inputs={
            "MediaGroupArray": [{"GroupName": "g", "MediaArray": ["oss://ice-emulator/a.mp4"]}]
        },
        output={"Count": 1, **SMALL},
    )
    studio.finish_all()
    made = sdk.get(first).sub_job_list[0].media_id
    (studio.settings.data_dir / "objects" / "shop" / "day" / "v_0.mp4").unlink()
    found = {"MediaSearchInput": {"LibSearchCondition": {"SearchLibs": ["l"], "SearchText": "t"}}}
    used = {"MediaGroupArray": [{"GroupName": "g", "MediaArray": [made], "Duration": 1}]}
    for name, inputs in (("found", found), ("used", used)):
        url = f"http://shop.oss-cn-shanghai.aliyuncs.com/{name}_{{index}}.mp4"
        sdk.submit(inputs=inputs, output={"MediaURL": url, "Count": 1, **SMALL})
        studio.finish_all()
        assert not striped(studio.settings.data_dir / "objects" / "shop" / f"{name}_0.mp4", 10)
    assert [record for record in caplog.records if "material" in record.message] == []


def test_own_clips_are_cut_and_joined(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    ids = {item["key"]: item["media_id"] for item in studio.media()}
    assert set(ids) == {"a.mp4", "sub/b.mp4", "red.png", "blue.png", "broken.mp4"}
    groups = [
        {
            "GroupName": "one",
            "MediaArray": [ids["red.png"], "oss://ice-emulator/blue.png"],
            "Duration": 1,
        },
        {
            "GroupName": "two",
            "MediaArray": ["http://ice-emulator.oss-cn-beijing.aliyuncs.com/blue.png"],
            "Duration": 0.6,
        },
        {
            "GroupName": "three",
            "MediaArray": [f"{studio.url}/objects/ice-emulator/sub/b.mp4"],
            "Duration": 1,
        },
    ]
    job_id = sdk.submit(
        inputs={"MediaGroupArray": groups},
        output={"MediaURL": f"{studio.url}/objects/shop/own_{{index}}.mp4", **SMALL},
        editing_config='{"MediaConfig":{"Volume":1}}',
    )
    studio.finish_all()
    job = sdk.get(job_id)
    assert [(sub_job.status, sub_job.duration) for sub_job in job.sub_job_list] == [
        ("Success", 2.6)
    ] * 2
    files = [studio.settings.data_dir / "objects" / "shop" / f"own_{index}.mp4" for index in (0, 1)]
    for path in files:
        assert facts(path)[:5] == ("h264", "aac", 192, 128, 65)
        red, _, blue = middle_pixel(path, 30)
        assert blue > 200 > red
    assert middle_pixel(files[0], 10)[0] > 200
    assert middle_pixel(files[1], 10)[2] > 200

    # The output of one job is material for the next, by media id and by URL.
    media = [job.sub_job_list[0].media_id, job.sub_job_list[1].media_url]
    second = sdk.submit(
        inputs={"MediaGroupArray": [{"GroupName": "a", "MediaArray": media, "Duration": 0.4}]},
        output=SMALL,
    )
    studio.finish_all()
    assert [sub_job.status for sub_job in sdk.get(second).sub_job_list] == ["Success"] * 2
    again = studio.settings.data_dir / "objects" / "shop" / "day" / "v_0.mp4"
    assert middle_pixel(again, 5)[0] > 200


def test_clips_are_found_whatever_their_names(tmp_path: Path) -> None:
    names = {"take #1.mp4", "what?.mp4", "50%25.mp4", "a+b & c.mp4", "Laden größer/店.mp4"}
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with LocalIce(media_dir=tmp_path, render=False, job_seconds=0) as ice:
        sdk = Sdk(ice)
        media = {item["key"]: item for item in ice.media()}
        assert set(media) == names
        for item in media.values():
            info = sdk.media(media_id=item["media_id"])
            assert sdk.media(input_url=info.media_basic_info.input_url).media_id == item["media_id"]
        urls = [item["url"] for item in media.values()]
        job_id = sdk.submit(inputs={"MediaGroupArray": [{"GroupName": "a", "MediaArray": urls}]})
        assert sdk.get(job_id).status == "Finished"


def test_a_project_is_rendered_at_the_size_asked_for(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    preview = sdk.submit(output={"GeneratePreviewOnly": True, "Count": 1})
    studio.finish_all()
    project = sdk.get(preview).sub_job_list[0].project_id
    output = '{"MediaURL":"http://shop.oss-cn-shanghai.aliyuncs.com/p_{index}.mp4","Width":128,"Height":160}'
    request = models.SubmitSceneBatchEditingJobRequest(project_ids=project, output_config=output)
    job_id = sdk.client.submit_scene_batch_editing_job(request).body.job_id
    studio.finish_all()
    assert sdk.get(job_id).sub_job_list[0].duration == 1.5
    assert facts(studio.settings.data_dir / "objects" / "shop" / "p_0.mp4")[:5] == (
        "h264",
        "aac",
        128,
        160,
        38,
    )


def test_a_render_that_fails_fails_its_sub_job(
    studio: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk(studio)
    groups = [
        {
            "GroupName": "one",
            "MediaArray": ["oss://ice-emulator/a.mp4", "oss://ice-emulator/broken.mp4"],
            "Duration": 0.4,
        }
    ]
    job_id = sdk.submit(inputs={"MediaGroupArray": groups}, output=SMALL)
    studio.finish_all()
    job = sdk.get(job_id)
    assert (job.status, [sub_job.status for sub_job in job.sub_job_list]) == (
        "Finished",
        ["Success", "Failed"],
    )
    failed = job.sub_job_list[1]
    assert failed.error_code == "InvalidParameter.ResourceContentBad"
    assert failed.error_message == "The resource operated InputFile is bad"
    assert sdk.media(media_id=failed.media_id).media_basic_info.status == "PrepareFail"
    (told,) = [record for record in caplog.records if "rendering" in record.message]
    assert "broken.mp4" in told.message
    assert told.exc_info is None


def test_renders_go_on_after_a_restart(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    job_id = sdk.submit(output={"Count": 4, "Width": 640, "Height": 360})
    studio.restart()
    studio.finish_all()
    job = sdk.get(job_id)
    assert [sub_job.status for sub_job in job.sub_job_list] == ["Success"] * 4
    for index in range(4):
        assert (
            facts(studio.settings.data_dir / "objects" / "shop" / "day" / f"v_{index}.mp4")[4] == 38
        )
    assert list((studio.settings.data_dir / "unfinished").iterdir()) == []


def test_a_restart_without_rendering_waits_for_no_file(tmp_path: Path) -> None:
    with LocalIce(data_dir=tmp_path, job_seconds=0) as ice:
        job_id = Sdk(ice).submit(output={"Count": 8, "Width": 1080, "Height": 1920})
    with LocalIce(data_dir=tmp_path, job_seconds=0, render=False) as ice:
        ice.finish_all()
        assert Sdk(ice).get(job_id).status == "Finished"


def test_a_signed_url_opens_one_object_until_it_expires(studio: LocalIce) -> None:
    sdk = Sdk(studio)
    url = file_url(sdk, input_url="oss://ice-emulator/a.mp4", auth_timeout=60)
    whole = fetch(url)
    assert whole.status_code == 200
    part = fetch(url, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"

    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))

    def code(path: str = parts.path, **changes: str) -> tuple[int, str]:
        reply = fetch(f"{studio.url}{path}?{urlencode({**query, **changes})}")
        assert reply.headers["content-type"].startswith("application/xml")
        return reply.status_code, reply.text.partition("<Code>")[2].partition("<")[0]

    assert fetch(f"{studio.url}{parts.path}").status_code == 403
    assert code(Expires=str(int(query["Expires"]) + 1)) == (403, "SignatureDoesNotMatch")
    assert code(Signature="AAAA") == (403, "SignatureDoesNotMatch")
    assert code(OSSAccessKeyId="other") == (403, "InvalidAccessKeyId")
    assert code("/objects/ice-emulator/sub/b.mp4") == (403, "SignatureDoesNotMatch")
    studio.advance(62)
    assert code() == (403, "AccessDenied")


def test_no_key_leads_out_of_the_store(studio: LocalIce, media_dir: Path) -> None:
    store = studio.settings.data_dir / "objects" / "shop"
    store.mkdir(parents=True)
    (studio.settings.data_dir / "secret.txt").write_text("secret")
    (store / "link.txt").symlink_to(studio.settings.data_dir / "secret.txt")
    for path in (
        "/objects/ice-emulator/../secret.txt",
        "/objects/ice-emulator/%2e%2e/%2e%2e/secret.txt",
        "/objects/../ice.sqlite3",
        "/objects/%2e%2e/ice.sqlite3",
        "/objects/shop/%2e%2e%2f%2e%2e%2fice.sqlite3",
    ):
        assert fetch(f"{studio.url}{path}").status_code in (400, 403, 404)
    sdk = Sdk(studio)
    for name in (
        "oss://ice-emulator/../secret.txt",
        "oss://ice-emulator/%2e%2e/secret.txt",
        "oss://shop/link.txt",
    ):
        with pytest.raises(ClientException, match="Resource not found"):
            sdk.media(input_url=name)
