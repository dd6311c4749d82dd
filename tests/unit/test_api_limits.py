"""What is refused before anything is sent: each refusal names the field, the value and the rule;
the limit itself passes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.keys import EDITING_BLOCKS, INPUT_KEYS, OUTPUT_KEYS

URL = "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4"
Check = Callable[..., object]


def batch(**config: Any) -> None:
    limits.batch_input(config)


def script(*groups: Any, **more: Any) -> None:
    limits.batch_input({"MediaGroupArray": list(groups), **more})


def group(**more: Any) -> dict[str, Any]:
    return {"GroupName": "g", "MediaArray": ["m"], **more}


def mix(**more: Any) -> None:
    limits.batch_input({"MediaArray": ["m"], **more})


def highlights(**more: Any) -> None:
    limits.highlights_input({"MediaArray": ["m"], **more})


def sports(**more: Any) -> None:
    limits.sports_input({"SportsCategory": "basketball", "InputMedia": "m", **more})


def editing(**config: Any) -> None:
    limits.editing(config)


def output(**more: Any) -> None:
    limits.output({"MediaURL": URL, **more})


def bare_output(**config: Any) -> None:
    limits.output(config)


def scene(**more: Any) -> None:
    limits.scene_output({"MediaURL": URL, **more})


ACCEPTED: list[tuple[Check, dict[str, Any]]] = [
    (mix, {}),
    (batch, {"MediaSearchInput": {"LibSearchCondition": {}}}),
    (mix, {"TitleArray": ["t" * 50] * 50}),
    (mix, {"SpeechTextArray": ["t" * 1000] * 50}),
    (
        mix,
        {
            "BackgroundMusicArray": ["m"] * 50,
            "BackgroundImageArray": ["m"] * 50,
            "StickerArray": [{}] * 50,
        },
    ),
    (mix, {"SubHeadingArray": [{"Level": 5, "TitleArray": ["t" * 50] * 50}]}),
    (mix, {"TitleArray": None, "StickerArray": None, "SubHeadingArray": None, "SomethingNewer": 1}),
    (
        mix,
        {
            "StickerArray": [
                {"Opacity": 0, "DyncFrames": 0},
                {"Opacity": "1", "DyncFrames": 100, "X": 0.5, "MediaId": "m"},
            ]
        },
    ),
    (mix, {"Title": "t" * 50, "SpeechText": "t" * 1000}),
    (mix, {"TitleArray": ["t"], "Title": "t" * 51}),  # the array wins
    (mix, {"Title": None, "SpeechText": ""}),
    (highlights, {"MediaArray": ["m"] * 30, "OpeningArray": ["m"] * 20, "EndingArray": ["m"] * 20}),
    (sports, {}),
    (
        sports,
        {"SportsCategory": "pingpong", "FaceRegister": [{}] * 5, "TransferNameRegister": [{}] * 10},
    ),
    (sports, {"SlowMotionLogoRegister": {"SlowMotionLogoUrls": ["u"] * 5}}),
    (editing, {}),
    (
        editing,
        {
            "MediaConfig": {"Volume": 0},
            "SpeechConfig": {"Volume": "10"},
            "BackgroundMusicConfig": {"Volume": 0.3},
        },
    ),
    (
        editing,
        {
            "SpeechConfig": {"SpeechRate": -500},
            "TitleConfig": {},
            "SubHeadingConfig": {"1": {}},
            "ProcessConfig": {},
        },
    ),
    (
        editing,
        {
            "SpeechConfig": {"SpeechRate": "500"},
            "BackgroundImageConfig": {},
            "CoverConfig": "whatever it is",
        },
    ),
    (output, {}),
    (output, {"Count": 1, "Width": 1080, "Height": 1920}),
    (output, {"Width": 128, "Height": "4096"}),
    (output, {"Width": 4096, "Height": 2160}),
    (output, {"Width": 4096, "Height": None, "Video": None}),
    (output, {"Count": 100, "MaxDuration": 15.5, "Video": {"Crf": 27}}),
    (output, {"Count": "20", "FixedDuration": "15"}),
    (output, {"Count": None, "SomethingNewer": 1}),
    (
        bare_output,
        {"StorageLocation": "outin-x.oss-cn-shanghai.aliyuncs.com", "FileName": "x_{index}.mp4"},
    ),
    (bare_output, {"GeneratePreviewOnly": True, "Count": 3}),
    (scene, {"Width": 1080}),
]


@pytest.mark.parametrize(("check", "config"), ACCEPTED)
def test_what_is_within_the_limits_passes(check: Check, config: dict[str, Any]) -> None:
    check(**config)


REFUSED: list[tuple[Check, dict[str, Any], str, str]] = [
    (batch, {}, "InputConfig", "must hold MediaGroupArray"),
    (batch, {"MediaArray": [], "MediaGroupArray": []}, "InputConfig", "must hold MediaGroupArray"),
    (batch, {"MediaArray": "m"}, "InputConfig.MediaArray", "must be a list"),
    (batch, {"MediaArray": ["m", ""]}, "InputConfig.MediaArray[1]", "must be a media id"),
    (batch, {"MediaArray": [7]}, "InputConfig.MediaArray[0]", "must be a media id"),
    (batch, {"MediaSearchInput": "x"}, "InputConfig.MediaSearchInput", "must be an object"),
    (batch, {"mediaArray": ["m"]}, "InputConfig.mediaArray", "must be spelled MediaArray"),
    (batch, {"MediaGroupArray": "g"}, "InputConfig.MediaGroupArray", "must be a list"),
    (mix, {"TitleArray": ["t"] * 51}, "InputConfig.TitleArray", "at most 50 entries; it has 51"),
    (
        mix,
        {"TitleArray": ["t", "t" * 51]},
        "InputConfig.TitleArray[1]",
        "at most 50 characters; it has 51",
    ),
    (
        mix,
        {"SpeechTextArray": ["t" * 1001]},
        "InputConfig.SpeechTextArray[0]",
        "at most 1000 characters; it has 1001",
    ),
    (mix, {"SpeechTextArray": ["t"] * 51}, "InputConfig.SpeechTextArray", "at most 50 entries"),
    (
        mix,
        {"BackgroundMusicArray": ["m"] * 51},
        "InputConfig.BackgroundMusicArray",
        "at most 50 entries",
    ),
    (
        mix,
        {"BackgroundImageArray": ["m"] * 51},
        "InputConfig.BackgroundImageArray",
        "at most 50 entries",
    ),
    (mix, {"StickerArray": [{}] * 51}, "InputConfig.StickerArray", "at most 50 entries"),
    (mix, {"StickerArray": ["m"]}, "InputConfig.StickerArray[0]", "must be an object"),
    (mix, {"StickerArray": "m"}, "InputConfig.StickerArray", "must be a list"),
    (
        mix,
        {"StickerArray": [{}, {"Opacity": 5}]},
        "InputConfig.StickerArray[1].Opacity",
        "from 0 to 1",
    ),
    (
        mix,
        {"StickerArray": [{"DyncFrames": 1000}]},
        "InputConfig.StickerArray[0].DyncFrames",
        "from 0 to 100",
    ),
    (mix, {"Title": "t" * 51}, "InputConfig.Title", "at most 50 characters; it has 51"),
    (
        mix,
        {"Title": "t" * 51, "TitleArray": []},
        "InputConfig.Title",
        "at most 50 characters; it has 51",
    ),
    (
        mix,
        {"SpeechText": "t" * 2000},
        "InputConfig.SpeechText",
        "at most 1000 characters; it has 2000",
    ),
    (mix, {"SpeechText": ["t"]}, "InputConfig.SpeechText", "must be a text"),
    (
        mix,
        {"SubHeadingArray": [{"TitleArray": ["t"]}]},
        "InputConfig.SubHeadingArray[0].Level",
        "must be given",
    ),
    (mix, {"SubHeadingArray": ["x"]}, "InputConfig.SubHeadingArray[0]", "must be an object"),
    (
        mix,
        {"SubHeadingArray": [{"Level": 6}]},
        "InputConfig.SubHeadingArray[0].Level",
        "from 1 to 5",
    ),
    (
        mix,
        {"SubHeadingArray": [{"Level": 1, "TitleArray": ["t" * 51]}]},
        "InputConfig.SubHeadingArray[0].TitleArray[0]",
        "at most 50",
    ),
    (highlights, {"MediaArray": []}, "InputConfig.MediaArray", "at least one video"),
    (highlights, {"MediaArray": ["m"] * 31}, "InputConfig.MediaArray", "at most 30 entries"),
    (highlights, {"OpeningArray": ["m"] * 21}, "InputConfig.OpeningArray", "at most 20 entries"),
    (highlights, {"EndingArray": ["m"] * 21}, "InputConfig.EndingArray", "at most 20 entries"),
    (
        sports,
        {"SportsCategory": "chess"},
        "InputConfig.SportsCategory",
        "must be one of basketball, pingpong",
    ),
    (sports, {"InputMedia": ["m"]}, "InputConfig.InputMedia", "must name one video"),
    (sports, {"InputMedia": " "}, "InputConfig.InputMedia", "must name one video"),
    (sports, {"FaceRegister": [{}] * 6}, "InputConfig.FaceRegister", "at most 5 entries"),
    (
        sports,
        {"TransferNameRegister": [{}] * 11},
        "InputConfig.TransferNameRegister",
        "at most 10 entries",
    ),
    (
        sports,
        {"SlowMotionLogoRegister": {"SlowMotionLogoUrls": ["u"] * 6}},
        "InputConfig.SlowMotionLogoRegister.SlowMotionLogoUrls",
        "at most 5 entries",
    ),
    (editing, {"MediaConfig": 1}, "EditingConfig.MediaConfig", "must be an object"),
    (
        editing,
        {"SpeechConfig": {"Volume": 10.5}},
        "EditingConfig.SpeechConfig.Volume",
        "from 0 to 10",
    ),
    (
        editing,
        {"BackgroundMusicConfig": {"Volume": "-1"}},
        "EditingConfig.BackgroundMusicConfig.Volume",
        "from 0 to 10",
    ),
    (
        editing,
        {"MediaConfig": {"Volume": True}},
        "EditingConfig.MediaConfig.Volume",
        "from 0 to 10",
    ),
    (
        editing,
        {"MediaConfig": {"Volume": "loud"}},
        "EditingConfig.MediaConfig.Volume",
        "from 0 to 10",
    ),
    (editing, {"ProcessConfig": "fast"}, "EditingConfig.ProcessConfig", "must be an object"),
    (editing, {"TitleConfig": []}, "EditingConfig.TitleConfig", "must be an object"),
    (
        editing,
        {"SpeechConfig": {"SpeechRate": 9999}},
        "EditingConfig.SpeechConfig.SpeechRate",
        "from -500 to 500",
    ),
    (output, {"Count": 0}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": 101}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": "101"}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": 1.5}, "OutputConfig.Count", "whole number"),
    (output, {"Count": True}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": "nan"}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": float("nan")}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": 10**400}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Count": [1]}, "OutputConfig.Count", "from 1 to 100"),
    (output, {"Width": 0}, "OutputConfig.Width", "from 1"),
    (output, {"Height": "inf"}, "OutputConfig.Height", "from 1"),
    (output, {"Width": 127}, "OutputConfig.Width", "from 128 to 4096"),
    (output, {"Height": "4097"}, "OutputConfig.Height", "from 128 to 4096"),
    (
        output,
        {"Width": 2161, "Height": "3840"},
        "OutputConfig.Width",
        "or Height must be at most 2160",
    ),
    (output, {"Video": 27}, "OutputConfig.Video", "must be an object"),
    (output, {"Height": 200.5}, "OutputConfig.Height", "whole number"),
    (output, {"MaxDuration": -1}, "OutputConfig.MaxDuration", "from 0"),
    (output, {"MaxDuration": "nan"}, "OutputConfig.MaxDuration", "from 0"),
    (
        output,
        {"MaxDuration": 1, "FixedDuration": 1},
        "OutputConfig.FixedDuration",
        "cannot stand together with MaxDuration",
    ),
    (output, {"count": 3}, "OutputConfig.count", "must be spelled Count"),
    (bare_output, {}, "OutputConfig", "must say where the videos go"),
    (bare_output, {"GeneratePreviewOnly": False}, "OutputConfig", "must say where the videos go"),
    (
        bare_output,
        {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x.mp4"},
        "OutputConfig.MediaURL",
        "must contain {index}",
    ),
    (
        bare_output,
        {"MediaURL": "http:/b/x_{index}.mp4"},
        "OutputConfig.MediaURL",
        "must be http://BUCKET",
    ),
    (
        bare_output,
        {"MediaURL": "oss://b/x_{index}.mp4"},
        "OutputConfig.MediaURL",
        "must be http://BUCKET",
    ),
    (bare_output, {"MediaURL": "http://b"}, "OutputConfig.MediaURL", "must be http://BUCKET"),
    (bare_output, {"MediaURL": 7}, "OutputConfig.MediaURL", "must be http://BUCKET"),
    (
        bare_output,
        {"MediaURL": "http://b.oss-accelerate.aliyuncs.com/x_{index}.mp4"},
        "OutputConfig.MediaURL",
        "acceleration and CDN hosts are refused",
    ),
    (
        bare_output,
        {"FileName": "x_{index}.mp4"},
        "OutputConfig.StorageLocation",
        "must be a VOD storage host",
    ),
    (
        bare_output,
        {"StorageLocation": "http://x", "FileName": "x_{index}.mp4"},
        "OutputConfig.StorageLocation",
        "without http://",
    ),
    (bare_output, {"StorageLocation": "x"}, "OutputConfig.FileName", "must be a file name"),
    (
        bare_output,
        {"StorageLocation": "x", "FileName": "a/x_{index}.mp4"},
        "OutputConfig.FileName",
        "without a path",
    ),
    (
        bare_output,
        {"StorageLocation": "x", "FileName": "x.mp4"},
        "OutputConfig.FileName",
        "must contain {index}",
    ),
    (scene, {"Count": 1}, "OutputConfig.Count", "is not supported here"),
    (
        scene,
        {"GeneratePreviewOnly": True},
        "OutputConfig.GeneratePreviewOnly",
        "is not supported here",
    ),
    (scene, {"MediaURL": "http://b/x.mp4"}, "OutputConfig.MediaURL", "must contain {index}"),
]


@pytest.mark.parametrize(("check", "config", "field", "rule"), REFUSED)
def test_what_is_beyond_them_is_refused_by_name(
    check: Check, config: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(IceInputError) as caught:
        check(**config)
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert str(caught.value).startswith(field)
    assert rule in str(caught.value)
    assert "Nothing was sent." in str(caught.value)


def refusal(check: Check, *args: Any, **kwargs: Any) -> IceInputError:
    with pytest.raises(IceInputError) as caught:
        check(*args, **kwargs)
    return caught.value


def test_a_refusal_names_the_value() -> None:
    assert "OutputConfig.Count is 101, but it must be a number from 1 to 100" in str(
        refusal(output, Count=101)
    )
    assert "'chess'" in str(refusal(sports, SportsCategory="chess"))


class TestGroups:
    def test_the_limits_themselves_pass(self) -> None:
        script(*[group(GroupName=f"{place:050}") for place in range(40)])
        script(group(MediaArray=["m"] * 200, Volume=10, Duration=2.5))
        script(group(SpeechTextArray=["t" * 1000] * 50))
        script(group(), SpeechTextArray=["t"])
        script(
            group(SplitMode="NoSplit"),
            group(GroupName="2", SplitMode="AverageSplit"),
            group(GroupName="3", SplitMode=None),
        )
        script(group(GroupName="第一组 ★ 1° ©"))

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ("g", "InputConfig.MediaGroupArray[1]"),
            (group(GroupName=""), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(GroupName=None), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(GroupName="n" * 51), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(GroupName="first"), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(GroupName="shop 🛒"), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(GroupName="❤️"), "InputConfig.MediaGroupArray[1].GroupName"),
            (group(SplitMode="Bogus"), "InputConfig.MediaGroupArray[1].SplitMode"),
            (group(MediaArray=[]), "InputConfig.MediaGroupArray[1].MediaArray"),
            (group(MediaArray=None), "InputConfig.MediaGroupArray[1].MediaArray"),
            (group(MediaArray=["m"] * 201), "InputConfig.MediaGroupArray[1].MediaArray"),
            (group(MediaArray=["m", " "]), "InputConfig.MediaGroupArray[1].MediaArray[1]"),
            (group(Volume=11), "InputConfig.MediaGroupArray[1].Volume"),
            (group(Duration=-1), "InputConfig.MediaGroupArray[1].Duration"),
            (
                group(SpeechTextArray=["t" * 1001]),
                "InputConfig.MediaGroupArray[1].SpeechTextArray[0]",
            ),
        ],
    )
    def test_a_wrong_group_is_named_by_its_place(self, wrong: Any, field: str) -> None:
        assert refusal(script, group(GroupName="first"), wrong).field == field

    def test_there_are_at_most_forty(self) -> None:
        groups = [group(GroupName=str(place)) for place in range(41)]
        assert "at most 40 entries; it has 41" in str(refusal(script, *groups))

    def test_narration_is_global_or_per_group(self) -> None:
        error = refusal(script, group(SpeechTextArray=["t"]), SpeechTextArray=["u"])
        assert "either global or per group" in error.rule

    def test_groups_win_over_a_media_array(self) -> None:
        script(group(), MediaArray="not looked at")


class TestSelection:
    @pytest.mark.parametrize("job_type", ["Smart_Mix_Media_Select", "Smart_Mix_Timeline_Organize"])
    def test_a_mix_needs_media(self, job_type: str) -> None:
        limits.selection_input(job_type, {"MediaArray": ["m"] * 31})
        limits.selection_input(job_type, {"MediaSearchInput": {}, "MediaArray": ["m"]})
        assert (
            "must hold MediaArray or MediaSearchInput"
            in refusal(limits.selection_input, job_type, {"MediaGroupArray": [group()]}).rule
        )

    @pytest.mark.parametrize(
        "job_type",
        ["Screen_Media_Highlights_Media_Select", "Screen_Media_Highlights_Timeline_Organize"],
    )
    def test_highlights_have_their_own_limit(self, job_type: str) -> None:
        limits.selection_input(job_type, {"MediaArray": ["m"] * 30})
        assert (
            refusal(limits.selection_input, job_type, {"MediaArray": ["m"] * 31}).field
            == "InputConfig.MediaArray"
        )

    def test_a_job_without_files_needs_no_destination(self) -> None:
        limits.output({"Count": 3}, needs_destination=False)
        assert (
            refusal(limits.output, {"MediaURL": "http://b/x.mp4"}, needs_destination=False).field
            == "OutputConfig.MediaURL"
        )


class TestDurations:
    @pytest.mark.parametrize(
        "narration",
        [
            {"SpeechTextArray": ["t"]},
            {"SpeechText": "t"},
            {"MediaGroupArray": [group(), group(SpeechTextArray=["t"])]},
        ],
    )
    def test_a_fixed_one_and_a_narration_exclude_each_other(
        self, narration: dict[str, Any]
    ) -> None:
        error = refusal(limits.durations, narration, {"FixedDuration": 15})
        assert error.field == "OutputConfig.FixedDuration"
        limits.durations(narration, {"MaxDuration": 15})

    @pytest.mark.parametrize(
        "config", [{}, {"SpeechTextArray": [], "MediaGroupArray": [group(SpeechTextArray=[])]}]
    )
    def test_without_a_narration_it_may_be_fixed(self, config: dict[str, Any]) -> None:
        limits.durations(config, {"FixedDuration": 15})


class TestUserData:
    def test_512_bytes_pass_and_513_do_not(self) -> None:
        fits = json.dumps({"k": "x" * 503})
        assert len(fits.encode()) == 512
        assert limits.user_data(fits) == fits
        error = refusal(limits.user_data, json.dumps({"k": "x" * 504}))
        assert "at most 512 bytes of JSON in UTF-8; this is 513" in str(error)

    def test_bytes_count_and_not_characters(self) -> None:
        assert (
            refusal(limits.user_data, json.dumps({"k": "视" * 200}, ensure_ascii=False)).field
            == "UserData"
        )

    @pytest.mark.parametrize("value", ["", "x", "[]", "1", "null", "{", '{"a":}', "[" * 100_000])
    def test_it_is_a_json_object(self, value: str) -> None:
        assert "must be a JSON object" in refusal(limits.user_data, value).rule

    def test_half_a_surrogate_pair_is_no_crash(self) -> None:
        for value in ('{"k": "\ud800"}', '{"k": "\\ud800"}', '{"\ud800": "v"}'):
            with pytest.raises(IceInputError, match="half a surrogate pair"):
                limits.user_data(value)

    @given(st.integers(0, 600))
    def test_the_line_is_sharp(self, length: int) -> None:
        value = json.dumps({"k": "x" * length})
        if len(value) <= 512:
            limits.user_data(value)
        else:
            refusal(limits.user_data, value)


class TestClientToken:
    @pytest.mark.parametrize("value", ["a", "A-z_0.9~!", "x" * 64])
    def test_printable_ascii_passes(self, value: str) -> None:
        assert limits.client_token(value) == value

    @pytest.mark.parametrize("value", ["", "x" * 65, "a b", "a\n", "\ta", "é", "令", 7, None])
    def test_anything_else_does_not(self, value: Any) -> None:
        error = refusal(limits.client_token, value)
        assert (error.field, error.rule) == (
            "client_token",
            "must be 1 to 64 printable ASCII characters",
        )


class TestParameters:
    def test_what_fits_into_a_url_passes(self) -> None:
        limits.parameters(
            {"MediaSelectResult": "x" * 64_000, "JobType": "t"}, {"InputConfig": "x" * 200_000}
        )

    def test_a_query_that_is_too_long_names_its_longest_parameter(self) -> None:
        error = refusal(
            limits.parameters, {"UserData": "{}", "MediaSelectResult": "视" * 8_000}, {}
        )
        assert error.field == "MediaSelectResult"
        assert (
            "it travels in the URL, which holds 65000 characters, and takes 72000 of them"
            in str(error)
        )

    @pytest.mark.parametrize(
        ("query", "form"), [({"JobId": "\ud800"}, {}), ({}, {"JobId": "a\udfff"})]
    )
    def test_half_a_surrogate_pair_is_refused_by_name(
        self, query: dict[str, str], form: dict[str, str]
    ) -> None:
        assert refusal(limits.parameters, query, form).field == "JobId"


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from([*INPUT_KEYS, *OUTPUT_KEYS, *EDITING_BLOCKS, "Title", "SpeechText", "count"])


@given(st.dictionaries(KEYS, ANY, max_size=5))
def test_anything_is_taken_or_refused_and_nothing_breaks(config: dict[str, Any]) -> None:
    checks: list[Check] = [
        limits.batch_input,
        limits.highlights_input,
        limits.sports_input,
        limits.editing,
        limits.output,
        limits.scene_output,
        lambda given: limits.durations(given, {"FixedDuration": 1}),
    ]
    for check in checks:
        with contextlib.suppress(IceInputError):
            check(config)
