"""The emulator's pure parts: life cycles, plans, names of objects, the clock, settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as run
from hypothesis import strategies as st

from airflow_ice.emulator.engine.config_values import parse_json
from airflow_ice.emulator.engine.planning import sentences_of, videos
from airflow_ice.emulator.engine.validation import submission
from airflow_ice.emulator.media.objects import (
    ObjectName,
    ObjectStore,
    is_safe_key,
    object_url,
    parse_object_url,
)
from airflow_ice.emulator.model.clock import Clock, parse_timestamp, timestamp
from airflow_ice.emulator.model.jobs import (
    Failure,
    JobPlan,
    Render,
    State,
    SubJobPlan,
    job_state,
    next_change,
    sub_job_state,
)
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.timeline import Timeline

ORDER = {"Init": 0, "Processing": 1, "Success": 2, "Failed": 2, "Finished": 2}
instants = st.floats(0, 1000)


@run(deadline=None)
@given(
    begins=instants,
    lasts=instants,
    done=st.none() | instants,
    failure=st.booleans(),
    first=instants,
    second=instants,
)
def test_a_sub_job_never_goes_back(
    begins: float, lasts: float, done: float | None, failure: bool, first: float, second: float
) -> None:
    plan = SubJobPlan(begins, begins + lasts, Failure("c", "m") if failure else None, renders=True)

    def at(now: float) -> State:
        return sub_job_state(plan, Render(done) if done is not None and done <= now else None, now)

    early, late = at(min(first, second)), at(max(first, second))
    assert ORDER[early.status] <= ORDER[late.status]
    if early.ended:
        assert early == late
    if late.status == "Success":
        assert done is not None


@run(deadline=None)
@given(
    states=st.lists(st.sampled_from(["Init", "Processing", "Success", "Failed"]), max_size=5),
    now=instants,
)
def test_a_job_is_finished_when_all_of_its_sub_jobs_have_ended(
    states: list[str], now: float
) -> None:
    subs = [State(status, 5.0) for status in states]
    state = job_state(JobPlan(begins=10, ends=100), subs, now, created=0)
    ended = all(sub.ended for sub in subs)
    assert state.status == (
        "Init" if now < 10 else "Finished" if now >= 100 and ended else "Processing"
    )


@run(deadline=None)
@given(now=instants, lag=instants)
def test_the_next_change_is_in_the_future(now: float, lag: float) -> None:
    plan = JobPlan(begins=10, ends=100, list_lag=lag)
    change = next_change(plan, [SubJobPlan(10, 60), SubJobPlan(20, None)], [Render(70)], 0, now)
    assert change is None or change > now


def test_a_list_that_lags_shows_the_past() -> None:
    plan, render = SubJobPlan(10, 60, renders=True), Render(80)
    assert sub_job_state(plan, render, 79).status == "Processing"
    assert sub_job_state(plan, render, 80) == State("Success", 80)
    assert next_change(JobPlan(begins=10, ends=60, list_lag=100), [plan], [render], 0, 170) == 180


def planned(inputs: Any, output: Any = None, editing: Any = None) -> list[Any]:
    wanted = {
        "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/{index}.mp4",
        "Width": 320,
        "Height": 180,
        **(output or {}),
    }
    parameters = {
        "InputConfig": json.dumps(inputs),
        "OutputConfig": json.dumps(wanted),
        "EditingConfig": json.dumps(editing or {}),
    }
    return videos(
        submission("SubmitBatchMediaProducingJob", parameters, "cn-shanghai", "ice-emulator")
    )


def groups(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = [
        {"GroupName": str(number), "MediaArray": ["a", "b"], **group}
        for number, group in enumerate(groups)
    ]
    return {"MediaGroupArray": named, **more}


@pytest.mark.parametrize(
    ("inputs", "output", "editing", "seconds"),
    [
        (groups({}, {}), {}, {}, 10),
        (groups({"Duration": 2}, {"Duration": 1.5}), {}, {}, 3.5),
        (groups({}, {}), {}, {"ProcessConfig": {"SingleShotDuration": 2}}, 4),
        (groups({}, {}), {"MaxDuration": 7}, {}, 7),
        (groups({}, {}), {"FixedDuration": 12}, {}, 12),
        (groups({}, {}, SpeechTextArray=["one two three four five"]), {}, {}, 2),
        (
            groups(
                {"SpeechTextArray": ["one two three four five"], "Duration": 9}, {"Duration": 3}
            ),
            {},
            {},
            5,
        ),
        ({"MediaArray": ["a", "b"]}, {"FixedDuration": 8}, {}, 8),
        ({"MediaArray": ["a", "b"]}, {"MaxDuration": 6}, {}, 6),
        (
            {
                "MediaArray": ["a"],
                "SpeechTextArray": ["one two three four five, six seven eight nine ten"],
            },
            {},
            {},
            4,
        ),
        ({"MediaArray": ["a"], "SpeechTextArray": ["今天是开业的第一天"]}, {}, {}, 2),
    ],
)
def test_how_long_a_video_is(inputs: Any, output: Any, editing: Any, seconds: float) -> None:
    (video,) = planned(inputs, output, editing)
    assert video.timeline.seconds == pytest.approx(seconds, abs=0.01)


def test_videos_differ_as_long_as_they_can() -> None:
    made = planned(groups({}, {}, TitleArray=["x", "y", "z"]), {"Count": 4})
    assert len({tuple(segment.media for segment in video.timeline.segments) for video in made}) == 4
    assert [video.title for video in made] == ["x", "y", "z", "x"]
    assert (
        Timeline.from_dict(json.loads(json.dumps(made[1].timeline.to_dict()))) == made[1].timeline
    )


def test_sentences() -> None:
    assert sentences_of(
        'A shop, <break time="1s"/>nearby.\u4eca\u5929\uff0c\u5f00\u4e1a\u3002'
    ) == [
        "A shop,",
        "nearby.",
        "\u4eca\u5929\uff0c",
        "\u5f00\u4e1a\u3002",
    ]


def test_json_as_the_documentation_writes_it() -> None:
    assert parse_json('{"a": ["x, y"\n  "z\\"", "w"], "b": ""}') == {
        "a": ["x, y", 'z"', "w"],
        "b": "",
    }
    with pytest.raises(ValueError, match="delimiter"):
        parse_json('{"a" "b" 1}')


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (
            "http://b.oss-cn-shanghai.aliyuncs.com/x/y.mp4",
            ObjectName("b", "x/y.mp4", "cn-shanghai"),
        ),
        (
            "https://b.oss-us-west-1-internal.aliyuncs.com/%E4%B8%AD.mp4",
            ObjectName("b", "中.mp4", "us-west-1"),
        ),
        ("oss://b/x.mp4", ObjectName("b", "x.mp4")),
        ("http://127.0.0.1:8765/objects/b/x.mp4", ObjectName("b", "x.mp4")),
        ("http://localhost/objects/b/x.mp4", ObjectName("b", "x.mp4")),
        ("http://example.com/objects/b/x.mp4", None),
        ("http://b.oss-accelerate.example.com/x.mp4", None),
        ("http://b.oss-cn-shanghai.aliyuncs.com/", None),
        ("http://b.oss-cn-shanghai.aliyuncs.com/a/../b", None),
        ("http://b.oss-cn-shanghai.aliyuncs.com/a%2f..%2fb", None),
        ("http://b.oss-cn-shanghai.aliyuncs.com//etc/passwd", None),
        ("oss://b/a\\b", None),
        ("http://[", None),
        ("****4549d886810b46c30f6e****", None),
    ],
)
def test_names_of_objects(url: str, name: ObjectName | None) -> None:
    assert parse_object_url(url) == name


@run(deadline=None)
@given(key=st.text() | st.text("a#?%&+ /:;@25"))
@example("take #1.mp4")
@example("what?.mp4")
@example("50%25.mp4")
def test_the_url_of_an_object_leads_back_to_it(key: str) -> None:
    if is_safe_key(key):
        name = ObjectName("b", key, "cn-shanghai")
        assert parse_object_url(object_url(name, "cn-shanghai")) == name


@run(deadline=None)
@given(key=st.text())
def test_no_key_leads_out(key: str) -> None:
    store = ObjectStore(Settings(data_dir=Path("/data")))
    if is_safe_key(key):
        assert store.path_to_write(ObjectName("b", key)).is_relative_to("/data/objects/b")


def test_the_clock() -> None:
    real = 1000.0
    clock = Clock(real_time=lambda: real)
    clock.advance(10)
    assert clock.now() == 1010
    clock.freeze()
    real = 2000.0
    assert clock.now() == 1010
    clock.advance(5)
    assert clock.now() == 1015
    clock.unfreeze()
    real = 2001.0
    assert clock.now() == 1016
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
    assert parse_timestamp(timestamp(1718268427.9)) == 1718268427
    assert timestamp(1718268427) == "2024-06-13T08:47:07Z"


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "0.0.0.0"},  # noqa: S104 - that it is refused is the point
        {"host": "example.com"},
        {"port": 65536},
        {"job_seconds": -1},
        {"job_seconds": float("nan")},
        {"access_key_secret": ""},
        {"media_dir": Path("/nowhere/at/all")},
        {"bucket": "a/b"},
        {"callback_auth_key": ""},
        {"callback_auth_key": "k" * 33},
        {"callback_auth_key": "no-dashes"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**{"data_dir": Path("/data"), **wrong})


def test_settings_do_not_show_secrets() -> None:
    settings = Settings(
        data_dir=Path(),
        access_key_secret="s3cr3t",
        security_token="t0ken",
        bearer_token="b3arer",
        callback_auth_key="k3y",
    )
    assert not any(secret in repr(settings) for secret in ("s3cr3t", "t0ken", "b3arer", "k3y"))
