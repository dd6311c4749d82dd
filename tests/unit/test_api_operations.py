"""One description per action: what travels where, what is refused, and what a reply becomes. No
I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.api import operations
from airflow_ice.api.errors import (
    IceInputError,
    IceJobNotFoundError,
    IceNotFoundError,
    IceUnavailableError,
)
from airflow_ice.api.operations import Operation

SAMPLES = Path(__file__).parent.parent / "samples"
MEDIA = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"
INPUT = {"MediaArray": [MEDIA]}
OUTPUT = {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4", "Count": 2}
SCENE_OUTPUT = {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4"}
SPORTS = {"SportsCategory": "basketball", "InputMedia": MEDIA}
EDITING = {"MediaConfig": {"Volume": 0}}
DATA = {"NotifyAddress": "http://xx.xx.xxx"}
SELECTED: dict[str, Any] = {"textMatchMediaOutputList": []}


def sent(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


ACTIONS: list[tuple[Operation[Any], str, dict[str, str], dict[str, str]]] = [
    (
        operations.get_batch_media_producing_job(" J\n"),
        "GetBatchMediaProducingJob",
        {"JobId": "J"},
        {},
    ),
    (operations.get_media_producing_job("J"), "GetMediaProducingJob", {"JobId": "J"}, {}),
    (operations.get_media_info("M"), "GetMediaInfo", {"MediaId": "M"}, {}),
    (operations.get_editing_project(" P "), "GetEditingProject", {"ProjectId": "P"}, {}),
    (
        operations.get_editing_project("P", request_source="WebSDK"),
        "GetEditingProject",
        {"ProjectId": "P", "RequestSource": "WebSDK"},
        {},
    ),
    (
        operations.get_editing_project_materials("P"),
        "GetEditingProjectMaterials",
        {"ProjectId": "P"},
        {},
    ),
    (
        operations.get_media_info("M", "http://u", auth_timeout=60),
        "GetMediaInfo",
        {"MediaId": "M", "InputURL": "http://u", "AuthTimeout": "60"},
        {},
    ),
    (
        operations.get_media_info(input_url="oss://b/o"),
        "GetMediaInfo",
        {"InputURL": "oss://b/o"},
        {},
    ),
    (
        operations.list_batch_media_producing_jobs(),
        "ListBatchMediaProducingJobs",
        {"MaxResults": "100"},
        {},
    ),
    (
        operations.list_batch_media_producing_jobs(
            status="Finished",
            job_type="Script",
            start_time="2024-06-13T08:47:07Z",
            end_time=datetime(2024, 6, 13, 17, 0, 0, 999, tzinfo=timezone(timedelta(hours=8))),
            sort_by="asc",
            job_id="J",
            page_size=7,
            next_token="mRZkKAovub0xWVfH14he4Q==",
        ),
        "ListBatchMediaProducingJobs",
        {
            "Status": "Finished",
            "JobType": "Script",
            "StartTime": "2024-06-13T08:47:07Z",
            "EndTime": "2024-06-13T09:00:00Z",
            "SortBy": "asc",
            "JobId": "J",
            "MaxResults": "7",
            "NextToken": "mRZkKAovub0xWVfH14he4Q==",
        },
        {},
    ),
    (
        operations.submit_batch_media_producing_job(
            input_config=INPUT,
            output_config=OUTPUT,
            editing_config=EDITING,
            template_config=["t1", "t2"],
            user_data=DATA,
            client_token="k",
        ),
        "SubmitBatchMediaProducingJob",
        {
            "OutputConfig": sent(OUTPUT),
            "TemplateConfig": '["t1", "t2"]',
            "UserData": sent(DATA),
            "ClientToken": "k",
        },
        {"InputConfig": sent(INPUT), "EditingConfig": sent(EDITING)},
    ),
    (
        operations.submit_screen_media_highlights_job(
            input_config=INPUT, output_config=OUTPUT, editing_config=EDITING, user_data=DATA
        ),
        "SubmitScreenMediaHighlightsJob",
        {"OutputConfig": sent(OUTPUT), "UserData": sent(DATA)},
        {"InputConfig": sent(INPUT), "EditingConfig": sent(EDITING)},
    ),
    (
        operations.submit_sports_highlights_job(
            input_config=SPORTS, output_config=OUTPUT, user_data=DATA, client_token="k"
        ),
        "SubmitSportsHighlightsJob",
        {"OutputConfig": sent(OUTPUT), "UserData": sent(DATA), "ClientToken": "k"},
        {"InputConfig": sent(SPORTS)},
    ),
    (
        operations.submit_scene_media_selection_job(
            job_type="Smart_Mix_Media_Select",
            input_config=INPUT,
            output_config={"Count": 1},
            editing_config=EDITING,
            user_data=DATA,
        ),
        "SubmitSceneMediaSelectionJob",
        {
            "JobType": "Smart_Mix_Media_Select",
            "OutputConfig": '{"Count": 1}',
            "UserData": sent(DATA),
        },
        {"InputConfig": sent(INPUT), "EditingConfig": sent(EDITING)},
    ),
    (
        operations.submit_scene_timeline_organization_job(
            job_type="Screen_Media_Highlights_Timeline_Organize",
            input_config=INPUT,
            media_select_result=SELECTED,
            output_config=OUTPUT,
            editing_config=EDITING,
            user_data=DATA,
        ),
        "SubmitSceneTimelineOrganizationJob",
        {
            "JobType": "Screen_Media_Highlights_Timeline_Organize",
            "MediaSelectResult": sent(SELECTED),
            "OutputConfig": sent(OUTPUT),
            "UserData": sent(DATA),
        },
        {"InputConfig": sent(INPUT), "EditingConfig": sent(EDITING)},
    ),
    (
        operations.submit_scene_batch_editing_job(
            project_ids=["p1", " p2 "], output_config=SCENE_OUTPUT, user_data=DATA
        ),
        "SubmitSceneBatchEditingJob",
        {"ProjectIds": "p1,p2", "OutputConfig": sent(SCENE_OUTPUT), "UserData": sent(DATA)},
        {},
    ),
]


@pytest.mark.parametrize(("operation", "action", "query", "form"), ACTIONS)
def test_each_parameter_travels_in_its_place(
    operation: Operation[Any], action: str, query: dict[str, str], form: dict[str, str]
) -> None:
    assert operation.action == action
    assert operation.query == query
    assert operation.form == form
    assert operation.submit is action.startswith("Submit")


def minimal_submits(**more: Any) -> list[tuple[Callable[..., Operation[str]], dict[str, Any]]]:
    both = {"input_config": INPUT, "output_config": OUTPUT}
    return [
        (operations.submit_batch_media_producing_job, {**both, **more}),
        (operations.submit_screen_media_highlights_job, {**both, **more}),
        (operations.submit_sports_highlights_job, {**both, "input_config": SPORTS, **more}),
        (
            operations.submit_scene_media_selection_job,
            {**both, "job_type": "Smart_Mix_Media_Select", **more},
        ),
        (
            operations.submit_scene_timeline_organization_job,
            {
                **both,
                "job_type": "Smart_Mix_Timeline_Organize",
                "media_select_result": SELECTED,
                **more,
            },
        ),
        (
            operations.submit_scene_batch_editing_job,
            {"project_ids": "p1", "output_config": SCENE_OUTPUT, **more},
        ),
    ]


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits())
def test_what_is_not_given_is_not_sent(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    operation = describe(**arguments)
    assert not {"UserData", "ClientToken", "TemplateConfig"} & operation.query.keys()
    assert "EditingConfig" not in operation.form
    assert "" not in {*operation.query.values(), *operation.form.values()}


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits())
def test_only_a_submit_with_a_client_token_may_be_repeated(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    assert not describe(**arguments).repeatable
    if describe in {
        operations.submit_batch_media_producing_job,
        operations.submit_sports_highlights_job,
    }:
        assert describe(**arguments, client_token="k").repeatable
    else:
        with pytest.raises(TypeError, match="client_token"):
            describe(**arguments, client_token="k")


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits())
def test_a_submit_returns_its_job_id_stripped(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    reply = json.loads((SAMPLES / "submit.json").read_text())
    assert reply["JobId"].endswith("\n")
    assert describe(**arguments).read(reply) == "****d80e4e4044975745c14b****"


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits())
@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"JobId": None},
        {"JobId": " \n"},
        {"JobId": []},
        {"JobId": ["J"]},
        {"JobId": {}},
        {"JobId": False},
        {"JobId": True},
        {"JobId": float("nan")},
        {"JobId": "a\nb"},
    ],
)
def test_a_submit_without_a_job_id_is_an_unknown_outcome(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any], reply: dict[str, Any]
) -> None:
    operation = describe(**arguments)
    with pytest.raises(IceUnavailableError) as caught:
        operation.read({"RequestId": "R", **reply})
    assert (caught.value.submitted, caught.value.request_id, caught.value.http_status) == (
        "unknown",
        "R",
        200,
    )
    assert caught.value.action == operation.action


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits(user_data={"k": "x" * 600}))
def test_every_submit_checks_its_user_data(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    with pytest.raises(IceInputError, match=r"UserData must be at most 512 bytes"):
        describe(**arguments)


@pytest.mark.parametrize(
    ("describe", "arguments"), minimal_submits(output_config={"MediaURL": "http://b/x.mp4"})
)
def test_every_submit_checks_its_output(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    with pytest.raises(IceInputError, match=r"must contain \{index\}"):
        describe(**arguments)


@pytest.mark.parametrize(("describe", "arguments"), minimal_submits()[:5])
@pytest.mark.parametrize("config", [{}, "{}", "", "x", "[]", None, 7, ["x"]])
def test_every_submit_checks_its_input(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any], config: Any
) -> None:
    with pytest.raises(IceInputError) as caught:
        describe(**{**arguments, "input_config": config})
    assert caught.value.field.startswith("InputConfig")


@pytest.mark.parametrize(
    "describe",
    [
        d
        for d, _ in minimal_submits()
        if d
        not in (operations.submit_sports_highlights_job, operations.submit_scene_batch_editing_job)
    ],
)
def test_an_editing_config_is_checked_and_an_empty_one_left_out(
    describe: Callable[..., Operation[str]],
) -> None:
    arguments = next(arguments for other, arguments in minimal_submits() if other is describe)
    assert "EditingConfig" not in describe(**arguments, editing_config="").form
    assert describe(**arguments, editing_config={}).form["EditingConfig"] == "{}"
    with pytest.raises(IceInputError, match=r"EditingConfig\.MediaConfig\.Volume is 11"):
        describe(**arguments, editing_config={"MediaConfig": {"Volume": 11}})


def test_the_documented_job_is_within_every_limit() -> None:
    job = json.loads((SAMPLES / "get_batch_job_documentation.json").read_text())["EditingBatchJob"]
    # The documentation's own InputConfig lacks a comma between its two narrations.
    fixed = re.sub(r'"(\s*)"(?=There are)', r'",\1"', job["InputConfig"])
    operation = operations.submit_batch_media_producing_job(
        input_config=fixed,
        output_config=job["OutputConfig"],
        editing_config=job["EditingConfig"],
        user_data=job["UserData"],
        template_config='["****b4549d46c88681030f6e****","****549d46c88b4681030f6e****"]',
    )
    assert operation.form == {"InputConfig": fixed, "EditingConfig": job["EditingConfig"]}


NARRATED: list[tuple[Callable[..., Operation[str]], dict[str, Any]]] = [
    (operations.submit_batch_media_producing_job, {}),
    (operations.submit_scene_media_selection_job, {"job_type": "Smart_Mix_Media_Select"}),
    (
        operations.submit_scene_timeline_organization_job,
        {"job_type": "Smart_Mix_Timeline_Organize", "media_select_result": SELECTED},
    ),
]


@pytest.mark.parametrize(("describe", "more"), NARRATED)
def test_a_fixed_duration_and_a_narration_are_refused_together(
    describe: Callable[..., Operation[str]], more: dict[str, Any]
) -> None:
    configs = {
        "input_config": {**INPUT, "SpeechTextArray": ["t"]},
        "output_config": {**OUTPUT, "FixedDuration": 15},
    }
    with pytest.raises(IceInputError, match=r"OutputConfig.FixedDuration .* SpeechTextArray"):
        describe(**configs, **more)


def test_a_json_string_is_sent_as_it_stands() -> None:
    given = '{ "MediaArray" : ["m"],\n "X": 1 }'
    operation = operations.submit_batch_media_producing_job(
        input_config=given, output_config=json.dumps(OUTPUT), user_data=' {"a": 1}'
    )
    assert operation.form["InputConfig"] == given
    assert operation.query["UserData"] == ' {"a": 1}'


@pytest.mark.parametrize(
    "user_data",
    [
        '{"Key":"topsecretkey"',
        '["topsecretkey"]',
        ["topsecretkey"],
        json.dumps({"Key": "topsecretkey" * 50}),
    ],
)
def test_what_is_wrong_with_user_data_is_said_without_showing_it(user_data: Any) -> None:
    with pytest.raises(IceInputError, match="UserData") as caught:
        operations.submit_batch_media_producing_job(
            input_config=INPUT, output_config=OUTPUT, user_data=user_data
        )
    assert "topsecretkey" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


def test_a_repr_shows_no_parameters() -> None:
    operation = operations.submit_batch_media_producing_job(
        input_config=INPUT, output_config=OUTPUT, user_data={"Key": "topsecretkey"}
    )
    assert "SubmitBatchMediaProducingJob" in repr(operation)
    assert "topsecretkey" not in repr(operation)
    assert MEDIA not in repr(operation)


def test_other_alphabets_are_sent_as_they_are() -> None:
    operation = operations.submit_batch_media_producing_job(
        input_config={**INPUT, "TitleArray": ["回龙观盒马鲜生开业啦"]},
        output_config=OUTPUT,
        user_data={"店": "😀"},
    )
    assert "回龙观" in operation.form["InputConfig"]
    assert operation.query["UserData"] == '{"店": "😀"}'


@pytest.mark.parametrize(
    "config",
    [{**INPUT, "x": {1, 2}}, {**INPUT, "x": float("nan")}, {**INPUT, "x": datetime.now(UTC)}],
)
def test_what_is_not_json_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(IceInputError, match=r"InputConfig\.x .* written as JSON"):
        operations.submit_batch_media_producing_job(input_config=config, output_config=OUTPUT)


def test_a_config_that_holds_itself_is_refused() -> None:
    config: dict[str, Any] = dict(INPUT)
    config["x"] = config
    with pytest.raises(IceInputError, match=r"InputConfig must not .* hold itself"):
        operations.submit_batch_media_producing_job(input_config=config, output_config=OUTPUT)


def test_half_a_surrogate_pair_is_refused() -> None:
    for arguments in (
        {"input_config": {**INPUT, "x": "\ud800"}},
        {"input_config": INPUT, "user_data": {"k": "\ud800"}},
    ):
        with pytest.raises(IceInputError, match="half a surrogate pair"):
            operations.submit_batch_media_producing_job(output_config=OUTPUT, **arguments)


@pytest.mark.parametrize("value", [None, "", "  ", 7, b"J"])
def test_a_job_id_is_a_text(value: Any) -> None:
    for describe in (operations.get_batch_media_producing_job, operations.get_media_producing_job):
        with pytest.raises(IceInputError, match="job_id"):
            describe(value)


@pytest.mark.parametrize(
    "value", ["p1,p2", ["p1", "p2"], ("p1", "p2"), '["p1", "p2"]', " p1 , p2 "]
)
def test_project_ids_come_in_several_forms(value: Any) -> None:
    operation = operations.submit_scene_batch_editing_job(
        project_ids=value, output_config=SCENE_OUTPUT
    )
    assert operation.query["ProjectIds"] == "p1,p2"


@pytest.mark.parametrize(
    "value", ["", "p1,,p2", [], ["p1", ""], ["p1,p2"], [7], "[1]", "[x", None, 7]
)
def test_project_ids_that_are_none(value: Any) -> None:
    with pytest.raises(IceInputError) as caught:
        operations.submit_scene_batch_editing_job(project_ids=value, output_config=SCENE_OUTPUT)
    assert caught.value.field.startswith("project_ids")
    assert "a submit returned" not in caught.value.rule


def test_templates_come_in_several_forms() -> None:
    for value in (["t1", "t2"], "t1,t2", '["t1", "t2"]'):
        operation = operations.submit_batch_media_producing_job(
            input_config=INPUT, output_config=OUTPUT, template_config=value
        )
        assert json.loads(operation.query["TemplateConfig"]) == ["t1", "t2"]


@pytest.mark.parametrize(
    ("describe", "arguments"),
    [
        minimal_submits(job_type="Smart_Mix")[3],
        minimal_submits(job_type="Smart_Mix_Media_Select")[4],
    ],
)
def test_the_job_type_of_a_scene_action_is_its_own(
    describe: Callable[..., Operation[str]], arguments: dict[str, Any]
) -> None:
    with pytest.raises(IceInputError, match=r"job_type is .* must be one of"):
        describe(**arguments)


@pytest.mark.parametrize(
    "filters",
    [
        {"page_size": 0},
        {"page_size": 101},
        {"page_size": "many"},
        {"sort_by": "up"},
        {"start_time": "yesterday"},
        {"end_time": datetime(2024, 6, 13)},  # noqa: DTZ001 - naive on purpose
    ],
)
def test_filters_that_cannot_be(filters: dict[str, Any]) -> None:
    with pytest.raises(IceInputError) as caught:
        operations.list_batch_media_producing_jobs(**filters)
    assert caught.value.field in filters


def test_media_is_named_somehow() -> None:
    with pytest.raises(IceInputError, match="media_id must be given, or input_url"):
        operations.get_media_info()
    wrong: list[Any] = [0, 86401, "an hour", True, 1.5]
    for seconds in wrong:
        with pytest.raises(IceInputError, match="must be a whole number from 1 to 86400"):
            operations.get_media_info("M", auth_timeout=seconds)
    assert operations.get_media_info("M", auth_timeout=86400).query["AuthTimeout"] == "86400"


@pytest.mark.parametrize(
    "reply", [{}, {"EditingBatchJob": None}, {"EditingBatchJob": {}}, {"EditingBatchJob": "x"}]
)
def test_a_success_without_a_batch_job_is_an_unknown_job(reply: dict[str, Any]) -> None:
    with pytest.raises(IceJobNotFoundError) as caught:
        operations.get_batch_media_producing_job("J-1").read({"RequestId": "R", **reply})
    error = caught.value
    assert (error.http_status, error.request_id, error.action) == (
        200,
        "R",
        "GetBatchMediaProducingJob",
    )
    assert '"J-1"' in str(error)
    assert not error.transient


def test_a_reply_about_another_job_is_no_answer() -> None:
    operation = operations.get_batch_media_producing_job("job-a")
    with pytest.raises(IceUnavailableError, match="about job job-b") as caught:
        operation.read(
            {"RequestId": "R", "EditingBatchJob": {"JobId": "job-b", "Status": "Finished"}}
        )
    assert (caught.value.job_id, caught.value.transient) == ("job-a", True)
    for same in ("job-a", "JOB-A\n", None):
        found = operation.read({"RequestId": "R", "EditingBatchJob": {"JobId": same, "a": 1}})
        assert found.job_id == (same or "").strip()


def test_the_recorded_empty_reply_is_an_unknown_job() -> None:
    with pytest.raises(IceJobNotFoundError):
        operations.get_batch_media_producing_job("J").read(
            json.loads((SAMPLES / "get_batch_job_empty.json").read_text())
        )


def test_a_success_without_a_job_or_a_media_asset() -> None:
    with pytest.raises(IceJobNotFoundError) as job:
        operations.get_media_producing_job("J-1").read(
            {"RequestId": "R", "MediaProducingJob": None}
        )
    assert (job.value.request_id, job.value.action) == ("R", "GetMediaProducingJob")
    with pytest.raises(IceNotFoundError) as media:
        operations.get_media_info(input_url="http://b/x.mp4?Signature=s3cret").read(
            {"RequestId": "R"}
        )
    assert media.value.request_id == "R"
    assert "s3cret" not in str(media.value)


def test_a_selection_that_does_not_fit_into_a_url_is_refused_before_it_is_sent() -> None:
    with pytest.raises(
        IceInputError, match="MediaSelectResult must be shorter: it travels in the URL"
    ):
        operations.submit_scene_timeline_organization_job(
            job_type="Smart_Mix_Timeline_Organize",
            input_config=INPUT,
            media_select_result={"textMatchMediaOutputList": ["视" * 8000]},
            output_config=OUTPUT,
        )


@pytest.mark.parametrize("reply", [{}, {"Project": None}, {"Project": {}}, {"Project": ["x"]}])
def test_a_reply_without_the_project_is_an_unknown_project(reply: dict[str, Any]) -> None:
    with pytest.raises(IceNotFoundError, match='holds no Project for the ProjectId "P"') as caught:
        operations.get_editing_project("P").read({**reply, "RequestId": "R"})
    assert (caught.value.request_id, caught.value.action) == ("R", "GetEditingProject")
    assert not caught.value.transient


@pytest.mark.parametrize(
    "describe", [operations.get_editing_project, operations.get_editing_project_materials]
)
@pytest.mark.parametrize("project_id", ["", " ", "None", "a\nb", None, 7])
def test_a_project_id_is_an_id(describe: Callable[..., Any], project_id: Any) -> None:
    with pytest.raises(IceInputError, match=r"^project_id"):
        describe(project_id)
