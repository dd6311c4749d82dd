"""What the page is told: of a job, of a question to a person, of a preview, of trouble."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceError,
    IceJobNotFoundError,
    IcePermissionError,
    IceTimeoutError,
    IceUnavailableError,
)
from airflow_ice.api.models import BatchMediaProducingJob, MediaFile, MediaInfo, SubJob
from airflow_ice.plugin.media import media_hosts, playable, policy, with_domain
from airflow_ice.plugin.previews import captions_of, clips_of, preview_view
from airflow_ice.plugin.service import BatchState, Detail
from airflow_ice.plugin.tasks import (
    Account,
    JobRef,
    TaskKey,
    job_of,
    map_index_of,
    pick_of,
)
from airflow_ice.plugin.view import job_view, pick_view, run_view
from airflow_ice.plugin.wording import advice_for_sub_job, problem

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ACCOUNT = Account("ice_default", "cn-shanghai")
REF = JobRef("j1", ACCOUNT)


def job(*subs: SubJob, status: str = "Processing") -> BatchMediaProducingJob:
    created = NOW - timedelta(seconds=90)
    return BatchMediaProducingJob("j1", status=status, create_time=created, sub_jobs=subs)


GOOD = SubJob(0, "s0", media_id="m0", status="Success", duration=12.5)
RUNNING = SubJob(1, "s1", status="Processing")
FAILED = SubJob(
    2, "s2", status="Failed", error_code="InvalidMaterial.NotFound", error_message="no such clip"
)


def test_a_job_is_read_from_what_the_task_pushed_and_nothing_else() -> None:
    pushed = {"job_id": "j1", "ice_conn_id": "ice_default", "region_id": None}
    assert job_of(pushed) == JobRef("j1", Account("ice_default", None))
    wrong: list[object] = [None, "j1", [], {}, {**pushed, "job_id": 3}, {"job_id": "j1"}]
    assert [job_of(value) for value in wrong] == [None] * len(wrong)


@pytest.mark.parametrize(
    ("text", "index"), [("3", 3), ("-1", -1), ("{MAP_INDEX}", -1), ("", -1), ("9" * 30, -1)]
)
def test_a_map_index_that_airflows_page_left_open_is_none(text: str, index: int) -> None:
    assert map_index_of(text) == index


def test_a_running_job_has_counts_percents_and_the_time_that_has_passed() -> None:
    state = BatchState(job(GOOD, RUNNING, FAILED), {"s1": Detail(percent=40, title="Now open")})
    view = job_view(REF, state, NOW)
    assert view["counts"] == {"total": 3, "good": 1, "failed": 1, "running": 1}
    assert view["percent"] == 80
    assert view["job"]["elapsed"] == 90
    assert [video["percent"] for video in view["videos"]] == [100, 40, 100]
    assert view["videos"][1]["title"] == "Now open"
    assert not view["ended"]


def test_a_failed_video_says_what_to_do_and_a_good_one_shows_no_stray_code() -> None:
    stray = SubJob(0, "s0", media_id="m", status="Success", error_code="Ignore", error_message="x")
    good, failed = job_view(REF, BatchState(job(stray, FAILED)), NOW)["videos"]
    assert good["error_code"] is None
    assert failed["error_code"] == "InvalidMaterial.NotFound"
    assert "clip" in failed["advice"]


@pytest.mark.parametrize("code", [None, "ProduceFailed", "InvalidParameter.X", "Never.Seen"])
def test_every_code_has_an_advice(code: str | None) -> None:
    assert advice_for_sub_job(code).endswith(".")


def test_nothing_signed_is_told() -> None:
    signed = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?Expires=1&OSSAccessKeyId=i&Signature=s3cr"
    failed = SubJob(0, "s", status="Failed", error_message=f"cannot read {signed}")
    view = job_view(REF, BatchState(job(failed), {"s": Detail(title=signed)}), NOW)
    assert "Signature" not in json.dumps(view)


def test_a_job_is_settled_once_nothing_is_left_to_read() -> None:
    ended = job(GOOD, FAILED, status="Finished")
    known = {"s0": Detail(settled=True), "s2": Detail(settled=True)}
    assert BatchState(ended, known).settled
    assert not BatchState(ended, {"s0": Detail(settled=True)}).settled
    assert not BatchState(ended, known, problem={"title": "down"}).settled
    assert not BatchState(job(GOOD, RUNNING, status="Finished"), known).settled


def test_a_run_adds_its_jobs_up() -> None:
    key = TaskKey("d", "r", "produce")
    state = BatchState(job(GOOD, FAILED, status="Finished"))
    view = run_view([([key], REF, state), ([key], REF, BatchState())], 3, NOW)
    assert view["counts"] == {"total": 2, "good": 1, "failed": 1, "running": 0}
    assert (view["seconds"], view["left_out"]) == (12.5, 3)
    assert not view["ended"]


PICK: dict[str, Any] = {
    "ice_conn_id": "ice_default",
    "region_id": None,
    "none": "none of these",
    "rows": [
        {"option": "video 0", "index": 0, "subjob_id": "s0", "project_id": "p0", "media_id": None},
        {"option": "video 1", "index": 1, "subjob_id": "s1", "project_id": "p1", "media_id": None},
    ],
}


def test_a_question_shows_its_rows_by_option_and_says_that_previews_are_billed() -> None:
    pick = pick_of(PICK)
    assert pick is not None
    view = pick_view(pick, {"s0": Detail(title="Now open", settled=True)})
    assert [video["option"] for video in view["videos"]] == ["video 0", "video 1"]
    assert view["videos"][0]["is_preview"]
    assert view["billed"]
    assert not view["settled"]
    with_files = {**PICK, "rows": [{**PICK["rows"][0], "media_id": "m"}]}
    rendered = pick_of(with_files)
    assert rendered is not None
    assert not pick_view(rendered, {})["billed"]


@pytest.mark.parametrize("wrong", [None, {}, {**PICK, "rows": []}, {**PICK, "ice_conn_id": None}])
def test_what_is_no_question_is_none(wrong: object) -> None:
    assert pick_of(wrong) is None


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (IceJobNotFoundError("x"), "ICE does not know this"),
        (AirflowNotFoundException("x"), "The connection is gone"),
        (
            IcePermissionError("x", action="GetMediaInfo"),
            "No permission ice:GetMediaInfo",
        ),
        (IceAuthenticationError("x"), "ICE refused the keys"),
        (IceUnavailableError("x"), "ICE is down"),
        (IceTimeoutError("x"), "ICE does not answer"),
        (TimeoutError(), "ICE does not answer"),
        (IceError("x"), "ICE refused"),
        (KeyError("secret"), "Something went wrong here"),
    ],
)
def test_trouble_is_said_in_words(error: Exception, title: str) -> None:
    words = problem(error, ACCOUNT)
    assert words["title"] == title
    assert words["detail"].endswith((".", ")"))
    assert "secret" not in words["detail"]


def source(media_id: str, seconds: float, url: str | None = None) -> MediaInfo:
    file = MediaFile(file_url="http://signed", file_type="source_file", duration=seconds)
    return MediaInfo(media_id, input_url=url, files=(file,))


def timeline(*clips: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"VideoTracks": [{"VideoTrackClips": list(clips)}], **more}


def test_clips_play_their_part_one_after_another() -> None:
    parts = clips_of(
        timeline(
            {"MediaId": "a", "In": 1, "Out": 3},
            {"MediaId": "b", "In": "0.5", "Out": "2"},
            {
                "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/c.jpg",
                "Type": "Image",
                "Duration": 2,
            },
        ),
        [],
    )
    assert [(clip.start, clip.end, clip.begin) for clip in parts] == [
        (0.0, 2.0, 1.0),
        (2.0, 3.5, 0.5),
        (3.5, 5.5, 0.0),
    ]
    assert [clip.is_image for clip in parts] == [False, False, True]


def test_a_whole_clip_is_as_long_as_its_source() -> None:
    url = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"
    clips = clips_of(
        timeline({"MediaURL": url}, {"MediaId": "m"}, {"MediaId": "unknown"}),
        [source("x", 4, url.replace("http:", "https:")), source("m", 3)],
    )
    assert [(clip.start, clip.end) for clip in clips] == [(0.0, 4.0), (4.0, 7.0), (7.0, None)]


def test_the_main_track_plays_and_not_the_one_of_effects() -> None:
    effects = {"Type": "Effect", "VideoTrackClips": [{"MediaId": "no"}]}
    above = {"VideoTrackClips": [{"MediaId": "above"}]}
    main = {"MainTrack": True, "VideoTrackClips": [{"MediaId": "main"}]}
    shown = clips_of({"VideoTracks": [effects, above, main]}, [])
    assert [clip.media_id for clip in shown] == ["main"]
    assert clips_of({"VideoTracks": None}, []) == []


def test_captions_are_the_texts_of_subtitle_tracks_and_text_effects() -> None:
    tracks = [
        {
            "SubtitleTrackClips": [
                {"Content": "Now open", "TimelineIn": 0, "TimelineOut": 2, "Y": 0.1},
                {"Content": "", "TimelineIn": 0},
                {"Content": "Fresh", "Y": 900},
            ]
        }
    ]
    effect = {"Type": "Text", "Content": "Sale"}
    clip = {"MediaId": "a", "TimelineIn": 1, "TimelineOut": 2, "Effects": [effect]}
    texts = captions_of(timeline(clip, SubtitleTracks=tracks))
    assert [(text.text, text.start, text.end, text.y) for text in texts] == [
        ("Now open", 0.0, 2.0, 0.1),
        ("Fresh", 0.0, None, None),
        ("Sale", 1.0, None, None),
    ]


def test_a_preview_names_no_address() -> None:
    view = preview_view(timeline({"MediaId": "a", "Out": 2}), [source("a", 9)])
    assert view["seconds"] == 2
    assert "signed" not in json.dumps(view)


def test_only_own_files_and_the_media_hosts_are_allowed() -> None:
    domains = {"videos": "media.example.com", "odd": "x; script-src *"}
    hosts = media_hosts("127.0.0.1:8765", domains)
    assert hosts == ["https://*.aliyuncs.com", "https://media.example.com", "http://127.0.0.1:8765"]
    header = policy(hosts)
    assert "media-src 'self' https://*.aliyuncs.com https://media.example.com" in header
    assert "unsafe" not in header
    assert "default-src 'none'" in header
    assert media_hosts("ice.cn-shanghai.aliyuncs.com", {}) == ["https://*.aliyuncs.com"]


@pytest.mark.parametrize(
    ("url", "browser"),
    [
        (
            "http://b.oss-cn-shanghai.aliyuncs.com/a?S=1",
            "https://b.oss-cn-shanghai.aliyuncs.com/a?S=1",
        ),
        ("http://127.0.0.1:8765/a?S=1", "http://127.0.0.1:8765/a?S=1"),
        ("https://cdn.example.com/a", "https://cdn.example.com/a"),
    ],
)
def test_videos_play_over_https_unless_they_are_this_machines_own(url: str, browser: str) -> None:
    assert playable(url) == browser


def test_a_custom_domain_takes_the_place_of_the_buckets_own() -> None:
    url = "http://videos.oss-cn-shanghai.aliyuncs.com/a.mp4?Expires=1&Signature=s"
    assert with_domain(url, {"videos": "media.example.com"}) == (
        "https://media.example.com/a.mp4?Expires=1&Signature=s"
    )
    assert with_domain(url, {"others": "media.example.com"}) == url
