"""Typed results, read from recorded replies: the documentation's own sample first, then each oddity
of the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api import models
from airflow_ice.api.models import BatchMediaProducingJob, JobError, SubJob
from airflow_ice.api.operations import (
    get_batch_media_producing_job,
    get_editing_project,
    get_editing_project_materials,
    get_media_info,
    get_media_producing_job,
    list_batch_media_producing_jobs,
)
from airflow_ice.api.redaction import unsigned_url

SAMPLES = Path(__file__).parent.parent / "samples"
NINE_JOB_TYPES = (
    "Script",
    "Smart_Mix",
    "Sports_Highlights",
    "Screen_Media_Highlights",
    "Smart_Mix_Media_Select",
    "Smart_Mix_Timeline_Organize",
    "Screen_Media_Highlights_Media_Select",
    "Screen_Media_Highlights_Timeline_Organize",
    "Scene_Batch_Editing",
)


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / name).read_text())
    return found


def job(name: str) -> BatchMediaProducingJob:
    reply = sample(name)
    asked = str(reply["EditingBatchJob"].get("JobId") or "J")
    return get_batch_media_producing_job(asked).read(reply)


def read(**wire: Any) -> BatchMediaProducingJob:
    return models.batch_media_producing_job({"JobId": "J", "Status": "Finished", **wire})


def sub_jobs(output_config: object, *urls: object) -> list[int]:
    rows = [
        {"JobId": str(place), "Status": "Success", "MediaURL": url}
        for place, url in enumerate(urls)
    ]
    return [sub.index for sub in read(OutputConfig=output_config, SubJobList=rows).sub_jobs]


def output(media_url: str, **more: Any) -> str:
    return json.dumps({"MediaURL": media_url, "Count": 2, **more}, ensure_ascii=False)


class TestTheDocumentationsSample:
    """Every field of the page, and everything odd that its sample shows."""

    wire: Mapping[str, Any] = sample("get_batch_job_documentation.json")["EditingBatchJob"]
    job = job("get_batch_job_documentation.json")

    def test_the_sample_is_the_one_of_the_page(self) -> None:
        assert len(self.wire) == 14
        assert len(self.wire["SubJobList"][0]) == 8

    def test_ids_type_and_state(self) -> None:
        assert self.job.job_id == "****b6b2750d4308892ac3330238****"
        assert self.job.job_type == "Script"
        assert self.job.status == "Finished"
        assert self.job.request_id == "****36-3C1E-4417-BDB2-1E034F****"

    def test_times_lose_their_trailing_newline_and_are_aware(self) -> None:
        assert self.wire["ModifiedTime"].endswith("\n")
        assert self.job.create_time == datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)
        assert self.job.modified_time == datetime(2024, 6, 13, 8, 57, 7, tzinfo=UTC)
        assert self.job.complete_time == datetime(2024, 6, 13, 8, 57, 7, tzinfo=UTC)
        assert self.job.create_time.utcoffset() is not None

    @pytest.mark.parametrize(
        ("attribute", "name"),
        [
            ("input_config", "InputConfig"),
            ("editing_config", "EditingConfig"),
            ("output_config", "OutputConfig"),
            ("user_data", "UserData"),
            ("extend", "Extend"),
            ("extend_input", "ExtendInput"),
            ("extend_output", "ExtendOutput"),
        ],
    )
    def test_what_is_only_echoed_is_kept_to_the_letter(self, attribute: str, name: str) -> None:
        assert getattr(self.job, attribute) == self.wire[name]

    def test_an_echoed_config_need_not_be_json(self) -> None:
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(self.wire["InputConfig"])
        assert models.parsed(self.job.input_config) is None

    def test_the_selection_result_and_the_projects_can_be_read(self) -> None:
        found = models.parsed(self.job.extend_output)
        sentence = found["textMatchMediaOutputList"][0]["textMatchMediaSentenceOutputList"][0]
        assert sentence["duration"] == 3.366667
        assert sentence["matchClipList"][0]["score"] == -0.253
        assert models.parsed(self.job.extend_input) == [
            "****7cc47fe04eaa81bd853acb6a****",
            "****04eaa7cc47fe81bd853acb6a****",
        ]

    def test_a_finished_job_may_report_an_error(self) -> None:
        assert self.job.error == JobError(
            "InvalidMaterial.NotFound",
            'The specified clips id not found:["****30d0b5e871eebb2ff7f6c75a****"]',
        )
        assert str(self.job.error).startswith("InvalidMaterial.NotFound: The specified")

    def test_the_sub_job(self) -> None:
        assert self.job.sub_jobs == (
            SubJob(
                index=0,
                job_id="****8e81933d44e3ae69e2f81485****",
                media_id="****1470b11171ee9d19e7e6c66a****",
                media_url="http://xxx.oss-cn-shanghai.aliyuncs.com/xxx_0.mp4",
                status="Success",
                project_id="****7cc47fe04eaa81bd853acb6a****",
                duration=24.5,
                error_code="InvalidMaterial.NotFound",
                error_message="The specified clips id not found:"
                '["****30d0b5e871eebb2ff7f6c75a****"]',
            ),
        )

    def test_nothing_is_left_over(self) -> None:
        assert self.job.other_fields == {}
        assert self.job.sub_jobs[0].other_fields == {}

    def test_the_repr_is_short(self) -> None:
        assert "MediaGroupArray" not in repr(self.job)
        assert "Finished" in repr(self.job)


@pytest.mark.parametrize("job_type", NINE_JOB_TYPES)
def test_all_nine_job_types_pass(job_type: str) -> None:
    wire = sample("get_batch_job_documentation.json")
    wire["EditingBatchJob"]["JobType"] = job_type
    asked = wire["EditingBatchJob"]["JobId"]
    assert get_batch_media_producing_job(asked).read(wire).job_type == job_type


@pytest.mark.parametrize("status", ["Init", "Processing", "Finished", "Failed", "SomethingNewer"])
def test_any_state_even_an_unknown_one_is_kept_as_it_is(status: str) -> None:
    assert read(Status=status).status == status
    assert read(SubJobList=[{"JobId": "s", "Status": status}]).sub_jobs[0].status == status


def test_a_job_that_has_just_begun_holds_next_to_nothing() -> None:
    found = job("get_batch_job_bare.json")
    assert found == BatchMediaProducingJob(
        job_id="61195f35cc7d4786a0bda02390cb4587",
        status="Init",
        request_id="9F0E2A11-DB8D-4A9A-875B-275798F14A5E",
    )
    assert (found.complete_time, found.error, found.user_data) == (None, None, None)


def test_null_is_as_good_as_missing() -> None:
    found = job("get_batch_job_null_list.json")
    assert found.sub_jobs == ()
    assert (found.complete_time, found.editing_config, found.error) == (None, None, None)
    assert found.extend == "{}"


@pytest.mark.parametrize("value", [None, [], {}, "", "[]", 7, [None], ["x"]])
def test_a_list_of_sub_jobs_that_is_none(value: object) -> None:
    assert read(SubJobList=value).sub_jobs == ()


class TestAnOddReply:
    """A later service: new states, new fields, a list out of order with holes, strings for numbers,
    signed URLs."""

    job = job("get_batch_job_odd.json")

    def test_ids_are_stripped(self) -> None:
        assert self.job.job_id == "61195f35cc7d4786a0bda02390cb4587"

    def test_newer_states_types_and_fields_pass_through(self) -> None:
        assert (self.job.status, self.job.job_type) == ("Archiving", "Smart_Mix_3D")
        assert self.job.sub_jobs[2].status == "Transcoding"
        assert self.job.other_fields == {"FutureField": {"Nested": [1, "two"]}}
        assert self.job.sub_jobs[1].other_fields == {"FutureSubField": True}

    def test_the_index_is_that_of_the_url_not_the_place_in_the_list(self) -> None:
        assert [(sub.index, sub.job_id) for sub in self.job.sub_jobs] == [
            (2, "b2"),
            (0, "b0"),
            (2, "b1"),
        ]

    def test_a_signed_url_loses_its_query(self) -> None:
        assert (
            self.job.sub_jobs[0].media_url
            == "http://bucket.oss-cn-shanghai.aliyuncs.com/out/clip_2.mp4"
        )
        assert not any(leak in repr(self.job) for leak in ("Signature", "c2VjcmV0", "CAISfake"))

    def test_one_slash_is_completed(self) -> None:
        assert (
            self.job.sub_jobs[1].media_url
            == "http://bucket.oss-cn-shanghai.aliyuncs.com/out/clip_0.mp4"
        )

    def test_numbers_may_be_strings_and_strings_may_be_empty(self) -> None:
        assert [sub.duration for sub in self.job.sub_jobs] == [24.5, 12.0, None]
        unfinished = self.job.sub_jobs[2]
        assert unfinished.media_id is unfinished.media_url is unfinished.project_id is None

    def test_an_empty_extend_is_no_error(self) -> None:
        assert self.job.error is None


@pytest.mark.parametrize(
    "extend",
    [
        None,
        "",
        "{}",
        "[]",
        "null",
        "not json",
        '{"ErrorMessage":"m"}',
        '{"ErrorCode":""}',
        '{"ErrorCode":null}',
        "[" * 100_000,
    ],
)
def test_an_extend_without_an_error(extend: str | None) -> None:
    assert read(Extend=extend).error is None
    assert read(Extend=extend).extend == extend


def test_an_extend_with_an_error() -> None:
    assert read(Extend='{"ErrorCode":"E"}').error == JobError("E", "")
    assert str(JobError("E", "")) == "E"
    assert read(Extend={"ErrorCode": "E", "ErrorMessage": " m\n"}).error == JobError("E", "m")


def test_a_config_that_came_as_an_object_becomes_json() -> None:
    assert read(UserData={"名": 1}).user_data == '{"名": 1}'


class TestIndex:
    """The number that stands for {index}, where the OutputConfig tells it."""

    def test_it_is_taken_from_the_url(self) -> None:
        template = output("http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4")
        base = "http://b.oss-cn-shanghai.aliyuncs.com/x_"
        assert sub_jobs(template, f"{base}3.mp4", f"{base}0.mp4", f"{base}12.mp4") == [3, 0, 12]

    @pytest.mark.parametrize("scheme", ["http://", "https://", "http:/", "https:/"])
    def test_the_scheme_does_not_count(self, scheme: str) -> None:
        assert sub_jobs(output("http://b/x_{index}.mp4"), f"{scheme}b/x_7.mp4") == [7]

    def test_digits_around_it_do_not_confuse(self) -> None:
        assert sub_jobs(output("http://b/2024/v1{index}2.mp4"), "http://b/2024/v1342.mp4") == [34]

    def test_it_may_stand_twice(self) -> None:
        assert sub_jobs(output("http://b/{index}/x_{index}.mp4"), "http://b/7/x_7.mp4") == [7]

    def test_a_vod_output_has_a_file_name(self) -> None:
        config = json.dumps(
            {"StorageLocation": "outin-x.oss-cn-shanghai.aliyuncs.com", "FileName": "v_{index}.mp4"}
        )
        assert sub_jobs(config, "http://outin-x.oss-cn-shanghai.aliyuncs.com/sv/v_5.mp4") == [5]

    def test_characters_that_mean_something_to_a_pattern_mean_nothing(self) -> None:
        assert sub_jobs(
            output("http://b/a+(b).[c]_{index}.mp4"),
            "http://b/a+(b).[c]_4.mp4",
            "http://b/aab.c_9.mp4",
        ) == [4, 1]

    def test_other_alphabets_escaped_or_not(self) -> None:
        for config in (
            output("http://b/视频_{index}.mp4"),
            json.dumps({"MediaURL": "http://b/视频_{index}.mp4"}),
        ):
            assert sub_jobs(config, "http://b/视频_6.mp4") == [6]
            assert sub_jobs(config, "http://b/%E8%A7%86%E9%A2%91_6.mp4") == [6]
        assert sub_jobs(output("http://b/my%20video_{index}.mp4"), "http://b/my video_6.mp4") == [6]
        assert sub_jobs('{"MediaURL":"http:\\/\\/b\\/x_{index}.mp4"}', "http://b/x_6.mp4") == [6]

    def test_the_echoed_config_need_not_be_json(self) -> None:
        assert sub_jobs(
            '{"Count": 2 "MediaURL" : "http://b/x_{index}.mp4"', "http://b/x_8.mp4"
        ) == [8]

    def test_lower_case_keys_count_too(self) -> None:
        assert sub_jobs('{"mediaURL":"http://b/x_{index}.mp4"}', "http://b/x_8.mp4") == [8]

    def test_a_query_does_not_matter(self) -> None:
        assert sub_jobs(
            output("http://b/x_{index}.mp4"), "http://b/x_8.mp4?Signature=s", "http://b/x_9.mp4?v=1"
        ) == [8, 9]

    @pytest.mark.parametrize(
        "config",
        [
            None,
            "",
            "{}",
            "not json",
            output("http://b/fixed.mp4"),
            output("http://other/y_{index}.mp4"),
            7,
            [],
        ],
    )
    def test_it_is_the_place_in_the_list_elsewhere(self, config: object) -> None:
        assert sub_jobs(config, "http://b/x_8.mp4", None, "") == [0, 1, 2]


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_config_and_no_url_breaks_the_reading(config: str, url: str) -> None:
    assert len(sub_jobs(config, url)) == 1
    assert len(sub_jobs(json.dumps({"MediaURL": config + "{index}"}), url, f"http://{url}")) == 2


@pytest.mark.parametrize(
    ("url", "unsigned"),
    [
        (None, None),
        ("", None),
        ("http://b/x.mp4", "http://b/x.mp4"),
        ("http://b/x.mp4?v=1", "http://b/x.mp4?v=1"),
        ("http://b/x.mp4?Expires=1&OSSAccessKeyId=a&Signature=s", "http://b/x.mp4"),
        ("http://b/x.mp4?X-OSS-SIGNATURE=s#f", "http://b/x.mp4"),
        ("http://b/x.mp4?security-token=", "http://b/x.mp4"),
        ("http://cdn/x.mp4?auth_key=1-0-0-md5", "http://cdn/x.mp4"),
        ("http://[b/x.mp4?Signature=s", "http://[b/x.mp4"),
    ],
)
def test_a_signed_url_is_cut_and_another_one_is_left(url: str | None, unsigned: str | None) -> None:
    assert unsigned_url(url) == unsigned


@pytest.mark.parametrize(
    ("url", "fixed"),
    [
        ("http:/b/x", "http://b/x"),
        ("HTTPS:/b/x", "HTTPS://b/x"),
        ("http://b/x", "http://b/x"),
        (" http:/b/x\n", "http://b/x"),
        ("oss://b/x", "oss://b/x"),
        ("x:/y", "x:/y"),
        (None, None),
        ("  ", None),
    ],
)
def test_one_slash_is_completed_and_nothing_else(url: object, fixed: str | None) -> None:
    assert models.fixed_url(url) == fixed


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (24.5, 24.5),
        ("24.5", 24.5),
        (" 24.5\n", 24.5),
        (0, 0.0),
        ("", None),
        ("x", None),
        (None, None),
        (True, None),
        ([], None),
        ("nan", None),
        ("inf", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_numbers(value: object, number: float | None) -> None:
    assert models.number(value) == number
    assert models.whole(value) == (None if number is None else int(number))


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2024-06-13T08:47:07Z", datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)),
        ("2024-06-13T08:47:07Z\n", datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)),
        ("2024-06-13T16:47:07+08:00", datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)),
        ("2024-06-13T08:47:07", datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)),
        ("2024-06-13T08:47:07.250Z", datetime(2024, 6, 13, 8, 47, 7, 250000, tzinfo=UTC)),
        ("", None),
        (None, None),
        ("soon", None),
        ("0000-00-00T00:00:00Z", None),
        ("0001-01-01T00:00:00+08:00", None),
        (1718268427, None),
    ],
)
def test_times(value: object, time: datetime | None) -> None:
    found = models.time(value)
    assert found == time
    assert found is None or found.tzinfo is UTC


WIRE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "JobId",
        "Status",
        "OutputConfig",
        "Extend",
        "CreateTime",
        "SubJobList",
        "MediaURL",
        "Duration",
        "Progress",
    ]
)


@given(st.dictionaries(FIELDS, WIRE), st.lists(st.dictionaries(FIELDS, WIRE), max_size=3))
def test_no_reply_breaks_the_reading(wire: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    found = models.batch_media_producing_job({**wire, "SubJobList": rows})
    assert len(found.sub_jobs) == len(rows)
    models.batch_media_producing_job(wire)
    models.media_producing_job(wire)
    models.media_info({"MediaBasicInfo": wire, "FileInfoList": [{"FileBasicInfo": wire}, wire]})


def test_a_page_of_the_list() -> None:
    page = list_batch_media_producing_jobs().read(sample("list_batch_jobs.json"))
    assert page.next_token == "mRZkKAovub0xWVfH14he4Q=="
    assert page.request_id == "3FDE2411-DB8D-4A9A-875B-275798F14A5E"
    assert [(row.job_id, row.status) for row in page.jobs] == [("j1", "Finished"), ("j2", "Failed")]
    assert all(row.request_id == page.request_id and row.sub_jobs == () for row in page.jobs)
    assert page.jobs[0].error is None
    assert page.jobs[1].error == JobError(
        "InvalidMaterial.NotFound", "The specified clips url not found"
    )


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"EditingBatchJobList": None, "NextToken": ""},
        {"EditingBatchJobList": [], "NextToken": " "},
    ],
)
def test_the_last_page(reply: dict[str, Any]) -> None:
    page = list_batch_media_producing_jobs().read(reply)
    assert (page.jobs, page.next_token) == ((), None)


def test_a_single_producing_job() -> None:
    wire = sample("get_media_producing_job.json")["MediaProducingJob"]
    found = get_media_producing_job("J").read(sample("get_media_producing_job.json"))
    assert (found.job_id, found.status, found.progress) == (
        "****8e81933d44e3ae69e2f81485****",
        "Failed",
        100,
    )
    assert (found.project_id, found.media_id) == (
        "****7cc47fe04eaa81bd853acb6a****",
        "****1470b11171ee9d19e7e6c66a****",
    )
    assert (found.vod_media_id, found.template_id) == ("vod1", "t1")
    assert found.media_url == "http://example-bucket.oss-cn-shanghai.aliyuncs.com/example2.mp4"
    assert found.duration == 30.5
    assert (found.code, found.message) == (
        "ExceededMaximumValue",
        'The specified "Width_Height" has exceeded maximum value.',
    )
    assert found.create_time == datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)
    assert found.modified_time == found.complete_time == datetime(2024, 6, 13, 8, 57, 7, tzinfo=UTC)
    assert (found.timeline, found.clips_param, found.user_data) == (
        wire["Timeline"],
        wire["ClipsParam"],
        wire["UserData"],
    )
    assert found.sub_job_materials == wire["SubJobMaterials"]
    assert models.parsed(found.sub_job_materials) == {
        "Title": "Huilongguan",
        "SpeechText": "A new store",
    }
    assert found.other_fields == {"FutureField": 7}
    assert found.request_id == "5FDE2411-DB8D-4A9A-875B-275798F14A5E"


def test_a_media_asset() -> None:
    found = get_media_info("icepublic-1").read(sample("get_media_info.json"))
    assert (found.media_id, found.status, found.media_type) == ("icepublic-1", "Normal", "video")
    assert (found.title, found.description, found.tags, found.user_data) == (
        "example",
        "d",
        "a,b",
        "{}",
    )
    assert found.create_time == datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC)
    assert found.modified_time == datetime(2024, 6, 13, 8, 57, 7, tzinfo=UTC)
    assert [file.file_type for file in found.files] == ["transcode_file", "source_file"]
    assert found.other_fields == {"AiRoughData": {"AiJobId": "a"}}
    file = found.source_file
    assert file is not None
    assert (file.file_size, file.duration, file.bitrate, file.width, file.height) == (
        30611502,
        216.206667,
        1132.68,
        960,
        540,
    )
    assert (file.file_name, file.file_status, file.region) == (
        "example.mp4",
        "Normal",
        "cn-shanghai",
    )
    assert file.format_name == "mov,mp4,m4a,3gp,3g2,mj2"


def test_only_the_file_s_own_url_is_signed_and_it_does_not_show() -> None:
    found = get_media_info("icepublic-1").read(sample("get_media_info.json"))
    assert found.file_url is not None
    assert "Signature=c2VjcmV0" in found.file_url
    assert found.input_url == "http://example-bucket.oss-cn-shanghai.aliyuncs.com/example.mp4"
    assert not any(
        leak in f"{found} {found!r}"
        for leak in ("Signature", "c2VjcmV0", "CAISfake", "STS.NSfkeid")
    )


def test_an_asset_without_a_file() -> None:
    found = get_media_info("m").read(
        {
            "MediaInfo": {
                "MediaBasicInfo": {"MediaId": "m", "Status": "Preparing"},
                "FileInfoList": None,
            }
        }
    )
    assert (found.media_id, found.files, found.source_file, found.file_url) == ("m", (), None, None)


def test_an_editing_project_and_its_timeline() -> None:
    found = get_editing_project("P").read(sample("get_editing_project.json"))
    assert found.project_id == "****7cc47fe04eaa81bd853acb6a****"
    assert (found.title, found.description, found.status) == ("preview 0", "d", "Draft")
    assert (found.duration, found.template_id) == (5.0, None)
    assert found.modified_time == datetime(2024, 6, 13, 8, 57, 7, tzinfo=UTC)
    assert found.timeline is not None
    first, second = found.timeline["VideoTracks"][0]["VideoTrackClips"]
    assert (first["MediaId"], first["In"], first["Out"]) == ("icepublic-1", 1.5, 4.5)
    assert second["TimelineIn"] == 3
    assert found.other_fields == {
        "CreateSource": "OpenAPI",
        "TimelineConvertStatus": "Unconverted",
    }
    assert found.cover_url is not None
    assert "Signature" in found.cover_url
    assert "Signature" not in repr(found)


@pytest.mark.parametrize("timeline", [None, "", "not JSON", "[]", "7", 7, []])
def test_a_timeline_that_is_no_object_is_none(timeline: object) -> None:
    assert models.editing_project({"ProjectId": "P", "Timeline": timeline}).timeline is None


def test_a_timeline_may_come_as_an_object() -> None:
    found = models.editing_project({"ProjectId": "P", "Timeline": {"VideoTracks": []}})
    assert found.timeline == {"VideoTracks": []}


def test_the_materials_of_a_project() -> None:
    reply = sample("get_editing_project_materials.json")
    found = get_editing_project_materials("P").read(reply)
    assert found.project_id == "****7cc47fe04eaa81bd853acb6a****"
    assert found.request_id == "8FDE2411-DB8D-4A9A-875B-275798F14A5E"
    (clip,) = found.media
    assert (clip.media_id, clip.status, clip.title) == ("icepublic-1", "Normal", "a")
    assert (clip.duration, clip.file_size) == (216.206667, 30611502)
    assert clip.file_url is not None
    assert clip.file_url.startswith("http://example-bucket.oss-cn-shanghai.aliyuncs.com/a.mp4?")
    assert clip.request_id == found.request_id
    assert found.project_materials == ('{"Source":"x"}',)
    assert found.other_fields == {"LiveMaterials": []}
    assert "Signature" not in repr(found)


def test_a_media_asset_without_a_file_has_neither_url_nor_duration() -> None:
    found = models.media_info({"MediaId": "M"})
    assert (found.file_url, found.duration, found.file_size) == (None, None, None)


def test_fields_that_nobody_knows_yet_are_kept_at_every_level() -> None:
    found = models.media_info(
        {
            "MediaId": "M",
            "MediaBasicInfo": {"Biz": "b"},
            "FileInfoList": [{"FileBasicInfo": {"FileType": "source_file", "Codec": "av1"}}],
            "New": 1,
        }
    )
    assert found.other_fields == {"Biz": "b", "New": 1}
    assert found.files[0].other_fields == {"Codec": "av1"}
