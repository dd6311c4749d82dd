"""What a submit must not say: refused at once with the service's 400, and no job is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import GROUPS, OUTPUT, Wire

GROUP = {"GroupName": "a", "MediaArray": ["m"]}


def groups(*groups: Any, **more: Any) -> dict[str, Any]:
    return {"InputConfig": {"MediaGroupArray": list(groups), **more}}


def output(**changes: Any) -> dict[str, Any]:
    return {
        "OutputConfig": {
            name: value for name, value in {**OUTPUT, **changes}.items() if value is not None
        }
    }


def media_url(url: str) -> dict[str, Any]:
    return output(MediaURL=url)


BATCH: dict[str, Any] = {"InputConfig": GROUPS, "OutputConfig": OUTPUT}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"InputConfig": None}, "MissingParameter", "InputConfig"),
    ({"OutputConfig": None}, "MissingParameter", "OutputConfig"),
    ({"InputConfig": "{not json"}, "InvalidParameter", "InputConfig"),
    ({"InputConfig": "[]"}, "InvalidParameter", "InputConfig"),
    ({"InputConfig": {"TitleArray": []}}, "InvalidParameter", "InputConfig"),
    (
        groups(*({**GROUP, "GroupName": str(n)} for n in range(41))),
        "InvalidParameter",
        "InputConfig.MediaGroupArray",
    ),
    (groups(GROUP, GROUP), "InvalidParameter", "InputConfig.MediaGroupArray.GroupName"),
    (groups({"MediaArray": ["m"]}), "InvalidParameter", "InputConfig.MediaGroupArray.GroupName"),
    (
        groups({**GROUP, "MediaArray": []}),
        "InvalidParameter",
        "InputConfig.MediaGroupArray.MediaArray",
    ),
    (
        groups({**GROUP, "MediaArray": ["m"] * 201}),
        "InvalidParameter",
        "InputConfig.MediaGroupArray.MediaArray",
    ),
    (
        groups({**GROUP, "SplitMode": "Half"}),
        "InvalidParameter",
        "InputConfig.MediaGroupArray.SplitMode",
    ),
    (groups({**GROUP, "Duration": -1}), "InvalidParameter", "InputConfig.MediaGroupArray.Duration"),
    (
        groups({**GROUP, "SpeechTextArray": ["a"]}, SpeechTextArray=["b"]),
        "InvalidParameter",
        "InputConfig.SpeechTextArray",
    ),
    (groups(GROUP, TitleArray=["x" * 51]), "InvalidParameter", "InputConfig.TitleArray"),
    (
        groups(GROUP, SpeechTextArray=["x" * 1001]),
        "InvalidParameter",
        "InputConfig.SpeechTextArray",
    ),
    (
        groups(GROUP, SubHeadingArray=[{"Level": 6}]),
        "InvalidParameter",
        "InputConfig.SubHeadingArray",
    ),
    (
        groups({**GROUP, "MediaArray": ["http://b.oss-cn-beijing.aliyuncs.com/a.mp4"]}),
        "InvalidParameter",
        "InputConfig.MediaGroupArray",
    ),
    (output(Count=0), "InvalidParameter", "OutputConfig.Count"),
    (output(Count=101), "InvalidParameter", "OutputConfig.Count"),
    (output(Count=True), "InvalidParameter", "OutputConfig.Count"),
    (output(Count="many"), "InvalidParameter", "OutputConfig.Count"),
    (output(Width=None), "MissingParameter", "OutputConfig.Width"),
    (output(Height=100), "InvalidParameter", "OutputConfig.Height"),
    (output(Width=2162, Height=2162), "InvalidParameter", "OutputConfig.Width"),
    (output(Video={"Crf": 52}), "InvalidParameter", "OutputConfig.Video.Crf"),
    (output(MaxDuration=5, FixedDuration=5), "InvalidParameter", "OutputConfig.FixedDuration"),
    (
        {**groups(GROUP, SpeechTextArray=["b"]), **output(FixedDuration=5)},
        "InvalidParameter",
        "OutputConfig.FixedDuration",
    ),
    (output(GeneratePreviewOnly="yes"), "InvalidParameter", "OutputConfig.GeneratePreviewOnly"),
    (output(MediaURL=None), "MissingParameter", "OutputConfig.MediaURL"),
    (
        media_url("http://shop.oss-cn-shanghai.aliyuncs.com/v.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        media_url("http://shop.oss-cn-beijing.aliyuncs.com/v_{index}.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        media_url("https://cdn.example.com/v_{index}.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        media_url("http://shop.oss-cn-shanghai.aliyuncs.com/../v_{index}.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        media_url("http://shop.oss-cn-shanghai.aliyuncs.com/%2e%2e/v_{index}.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        media_url("http://127.0.0.1:1/objects/shop/..%2F..%2Fv_{index}.mp4"),
        "InvalidParameter",
        "OutputConfig.MediaURL",
    ),
    (
        {"EditingConfig": {"MediaConfig": {"Volume": 11}}},
        "InvalidParameter",
        "EditingConfig.MediaConfig.Volume",
    ),
    ({"TemplateConfig": {"a": 1}}, "InvalidParameter", "TemplateConfig"),
    ({"UserData": "no json"}, "InvalidParameter", "UserData"),
    ({"UserData": {"Key": "中" * 170}}, "InvalidParameter", "UserData"),
    ({"ClientToken": "x" * 65}, "InvalidParameter", "ClientToken"),
    ({"ClientToken": "中文"}, "InvalidParameter", "ClientToken"),
]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """One emulator for the whole module."""
    with LocalIce(render=False) as ice:
        yield Wire(ice)


def query_of(parameters: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in parameters.items()
        if value is not None
    }


def check_refused(
    wire: Wire, action: str, parameters: dict[str, Any], code: str, name: str
) -> None:
    before = len(wire.ice.jobs())
    reply = wire.call(action, query_of(parameters))
    assert (reply.status_code, reply.json()["Code"]) == (400, code), reply.text
    assert f'"{name}"' in reply.json()["Message"]
    assert len(wire.ice.jobs()) == before


def test_what_a_batch_submit_refuses(wire: Wire) -> None:
    for changes, code, name in REFUSED:
        check_refused(wire, "SubmitBatchMediaProducingJob", {**BATCH, **changes}, code, name)


@pytest.mark.parametrize(
    ("action", "parameters", "code", "name"),
    [
        (
            "SubmitScreenMediaHighlightsJob",
            {"InputConfig": {"MediaArray": ["m"] * 31}, "OutputConfig": OUTPUT},
            "InvalidParameter",
            "InputConfig.MediaArray",
        ),
        (
            "ListBatchMediaProducingJobs",
            {"MaxResults": "9" * 5000},
            "InvalidParameter",
            "MaxResults",
        ),
        (
            "SubmitScreenMediaHighlightsJob",
            {"InputConfig": {}, "OutputConfig": OUTPUT},
            "InvalidParameter",
            "InputConfig",
        ),
        (
            "SubmitSportsHighlightsJob",
            {"InputConfig": {"SportsCategory": "chess", "InputMedia": "m"}, "OutputConfig": OUTPUT},
            "InvalidParameter",
            "InputConfig.SportsCategory",
        ),
        ("SubmitSceneMediaSelectionJob", {**BATCH}, "MissingParameter", "JobType"),
        (
            "SubmitSceneMediaSelectionJob",
            {**BATCH, "JobType": "Script"},
            "InvalidParameter",
            "JobType",
        ),
        (
            "SubmitSceneTimelineOrganizationJob",
            {
                "InputConfig": {"MediaArray": ["m"]},
                "OutputConfig": OUTPUT,
                "JobType": "Smart_Mix_Timeline_Organize",
            },
            "MissingParameter",
            "MediaSelectResult",
        ),
        (
            "SubmitSceneTimelineOrganizationJob",
            {
                "InputConfig": {"MediaArray": ["m"]},
                "OutputConfig": OUTPUT,
                "JobType": "Smart_Mix_Timeline_Organize",
                "MediaSelectResult": {"textMatchMediaOutputList": []},
            },
            "InvalidParameter",
            "MediaSelectResult",
        ),
        ("SubmitSceneBatchEditingJob", {"OutputConfig": OUTPUT}, "MissingParameter", "ProjectIds"),
        (
            "SubmitSceneBatchEditingJob",
            {"ProjectIds": "a", "OutputConfig": OUTPUT},
            "InvalidParameter",
            "OutputConfig.Count",
        ),
        ("GetBatchMediaProducingJob", {}, "MissingParameter", "JobId"),
        ("GetMediaProducingJob", {}, "MissingParameter", "JobId"),
        ("GetMediaInfo", {}, "MissingParameter", "MediaId"),
        (
            "GetMediaInfo",
            {"MediaId": "a", "AuthTimeout": "86401"},
            "InvalidParameter",
            "AuthTimeout",
        ),
        ("ListBatchMediaProducingJobs", {"MaxResults": "101"}, "InvalidParameter", "MaxResults"),
        ("ListBatchMediaProducingJobs", {"SortBy": "up"}, "InvalidParameter", "SortBy"),
        ("ListBatchMediaProducingJobs", {"Status": "Done"}, "InvalidParameter", "Status"),
        ("ListBatchMediaProducingJobs", {"JobType": "Film"}, "InvalidParameter", "JobType"),
        (
            "ListBatchMediaProducingJobs",
            {"StartTime": "2024-01-01"},
            "InvalidParameter",
            "StartTime",
        ),
        ("ListBatchMediaProducingJobs", {"NextToken": "AAAA"}, "InvalidParameter", "NextToken"),
        (
            "ListBatchMediaProducingJobs",
            {"NextToken": "A" * 21 + "B=="},
            "InvalidParameter",
            "NextToken",
        ),
    ],
)
def test_what_the_other_actions_refuse(
    wire: Wire, action: str, parameters: dict[str, Any], code: str, name: str
) -> None:
    check_refused(wire, action, parameters, code, name)


@pytest.mark.parametrize(
    "action", ["GetBatchMediaProducingJob", "GetMediaProducingJob", "GetMediaInfo"]
)
def test_an_unknown_id_is_not_found(wire: Wire, action: str) -> None:
    reply = wire.call(action, {"MediaId" if action == "GetMediaInfo" else "JobId": "0" * 32})
    assert (reply.status_code, reply.json()["Code"]) == (404, "ResourceNotFound")


def test_an_unknown_project_is_not_found(wire: Wire) -> None:
    query = query_of({"ProjectIds": "0" * 32, **output(Count=None)})
    reply = wire.call("SubmitSceneBatchEditingJob", query)
    assert (reply.status_code, reply.json()["Code"]) == (404, "ProjectNotFound")


@pytest.mark.parametrize(
    "changes",
    [
        {
            "InputConfig": {
                "MediaSearchInput": {
                    "LibSearchCondition": {"SearchLibs": ["lib"], "SearchText": "a shop"}
                }
            }
        },
        {
            "InputConfig": '{"MediaGroupArray":[{"GroupName":"a","MediaArray":["m"]}],'
            '"TitleArray":["one"\n "two", "th\\"ree"]}'
        },
        {"EditingConfig": ""},
        {"EditingConfig": {"MediaConfig": {"Volume": "0.35"}}},
        output(Count="3"),
        {
            "OutputConfig": {
                "StorageLocation": "outin-x.oss-cn-shanghai.aliyuncs.com",
                "FileName": "v_{index}.mp4",
                "Width": 320,
                "Height": 180,
            }
        },
        media_url("http://127.0.0.1:8765/objects/shop/v_{index}.mp4"),
        {"TemplateConfig": ["****b4549d46c88681030f6e****"]},
        groups(
            {**GROUP, "MediaArray": ["http://ice-emulator.oss-us-west-1.aliyuncs.com/gone.mp4"]}
        ),
    ],
)
def test_what_a_batch_submit_takes(wire: Wire, changes: dict[str, Any]) -> None:
    reply = wire.call("SubmitBatchMediaProducingJob", query_of({**BATCH, **changes}))
    assert reply.status_code == 200, reply.text
    assert wire.ice.jobs()[-1]["job_id"] == reply.json()["JobId"]
