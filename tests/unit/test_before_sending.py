"""Mistakes are refused before anything is sent, say what to do, and are not retried: when the DAG
is parsed where the mistake is written out, else when the task runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import structlog
from airflow.sdk import DAG, XComArg, literal
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from airflow_ice.api import errors
from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
    IceParameterError,
    IcePermissionError,
    IceThrottledError,
    error_from_dict,
)
from airflow_ice.api.limits.keys import INPUT_KEYS, OUTPUT_KEYS
from airflow_ice.exceptions import (
    NonRetryableIceAuthenticationError,
    NonRetryableIceConnectionNotFoundError,
    NonRetryableIceInputError,
    NonRetryableIceJobFailedError,
    NonRetryableIceParameterError,
    NonRetryableIcePermissionError,
    not_retried,
    unretried,
)
from airflow_ice.hooks import IceHook
from airflow_ice.literals import is_literal
from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
    IceSubmitOperator,
    IceSubmitSceneBatchEditingJobOperator,
    IceSubmitSceneMediaSelectionJobOperator,
    IceSubmitSceneTimelineOrganizationJobOperator,
    IceSubmitScreenMediaHighlightsJobOperator,
    IceSubmitSportsHighlightsJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor
from airflow_ice.submission.store import RECORD
from tests.accounts import Accounts
from tests.memory_ice import DagRun, MemoryStore, TaskInstance
from tests.three_modes import MODES, Clock, Mode, Run

SetConnection = Callable[..., None]
BUCKET = "http://b.oss-cn-shanghai.aliyuncs.com"
OUTPUT: dict[str, Any] = {"MediaURL": f"{BUCKET}/x_{{index}}.mp4", "Count": 2}
MIX: dict[str, Any] = {"MediaArray": ["icepublic-1"]}
SPORTS: dict[str, Any] = {"SportsCategory": "basketball", "InputMedia": "m"}

BATCH = IceSubmitBatchMediaProducingJobOperator
ARGUMENTS: dict[type[IceSubmitOperator], dict[str, Any]] = {
    BATCH: {"input_config": MIX, "output_config": OUTPUT},
    IceSubmitScreenMediaHighlightsJobOperator: {"input_config": MIX, "output_config": OUTPUT},
    IceSubmitSportsHighlightsJobOperator: {"input_config": SPORTS, "output_config": OUTPUT},
    IceSubmitSceneMediaSelectionJobOperator: {
        "job_type": "Smart_Mix_Media_Select",
        "input_config": MIX,
        "output_config": {"Count": 2},
    },
    IceSubmitSceneTimelineOrganizationJobOperator: {
        "job_type": "Smart_Mix_Timeline_Organize",
        "input_config": MIX,
        "media_select_result": {},
        "output_config": {"Count": 2},
    },
    IceSubmitSceneBatchEditingJobOperator: {
        "project_ids": ["p"],
        "output_config": {"MediaURL": f"{BUCKET}/x_{{index}}.mp4"},
    },
}
TEMPLATE = "{{ params.x }}"
NOT_RENDERED = "rendered to None"
TOJSON = "| tojson"


@pytest.fixture(autouse=True)
def task_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


@pytest.fixture
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch, set_connection: SetConnection) -> None:
    """Fail the test where a client is opened, in either colour."""
    set_connection(extra={"region_id": "cn-shanghai"})

    def opened(*_: object) -> None:
        raise AssertionError("a client was opened")

    monkeypatch.setattr(IceHook, "get_conn", opened)
    monkeypatch.setattr(IceHook, "aget_conn", opened)


class Task:
    """One task instance of a submit operator, and what it stores."""

    def __init__(self, kind: type[IceSubmitOperator] = BATCH, **arguments: Any) -> None:
        self.store = MemoryStore()
        self.operator = kind(task_id="submit", **{**ARGUMENTS[kind], **arguments})

    def run(self, rendered: Mapping[str, Any] | None = None, *, number: int = 1) -> Any:
        """Run one try. rendered: what templates have become."""
        for name, value in (rendered or {}).items():
            setattr(self.operator, name, value)
        context: Any = {
            "ti": TaskInstance(max_tries=3, try_number=number),
            "dag_run": DagRun(),
            "task_state_store": self.store.of_next_try(),
        }
        return self.operator.execute(context)


# When the DAG is parsed

WRITTEN_OUT: list[tuple[type[IceSubmitOperator], dict[str, Any], str]] = [
    (BATCH, {"output_config": {**OUTPUT, "Count": 0}}, "OutputConfig.Count"),
    (BATCH, {"output_config": {"MediaURL": f"{BUCKET}/x.mp4"}}, "OutputConfig.MediaURL"),
    (BATCH, {"output_config": "{not json"}, "OutputConfig"),
    (BATCH, {"output_config": json.dumps({**OUTPUT, "Count": 101})}, "OutputConfig.Count"),
    (BATCH, {"input_config": {}}, "InputConfig"),
    (BATCH, {"input_config": None}, "InputConfig"),
    (BATCH, {"input_config": {"MediaArray": ["/data/a.mp4"]}}, "InputConfig.MediaArray[0]"),
    (BATCH, {"input_config": TEMPLATE, "output_config": {"Count": 2}}, "OutputConfig"),
    (
        BATCH,
        {"output_config": TEMPLATE, "input_config": {"MediaArray": "m"}},
        "InputConfig.MediaArray",
    ),
    (
        BATCH,
        {"editing_config": {"MediaConfig": {"Volume": 11}}},
        "EditingConfig.MediaConfig.Volume",
    ),
    (BATCH, {"user_data": "no json"}, "UserData"),
    (BATCH, {"user_data": {"a": "x" * 450}}, "UserData"),
    (BATCH, {"require": "most"}, "require"),
    (BATCH, {"on_clear": "again"}, "on_clear"),
    (BATCH, {"timeout": -1}, "timeout"),
    (BATCH, {"template_config": [""]}, "TemplateConfig[0]"),
    (IceSubmitSportsHighlightsJobOperator, {"input_config": MIX}, "InputConfig.SportsCategory"),
    (IceSubmitSceneMediaSelectionJobOperator, {"job_type": "Smart_Mix"}, "job_type"),
    (
        IceSubmitSceneTimelineOrganizationJobOperator,
        {"media_select_result": "x"},
        "MediaSelectResult",
    ),
    (IceSubmitSceneBatchEditingJobOperator, {"project_ids": []}, "project_ids"),
    (IceSubmitSceneBatchEditingJobOperator, {"output_config": OUTPUT}, "OutputConfig.Count"),
]


@pytest.mark.parametrize(("kind", "wrong", "field"), WRITTEN_OUT)
def test_what_is_written_out_is_checked_when_the_dag_is_parsed(
    kind: type[IceSubmitOperator], wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(NonRetryableIceInputError) as caught:
        kind(task_id="t", **{**ARGUMENTS[kind], **wrong})
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_good_arguments_pass_the_check_of_the_parsing(kind: type[IceSubmitOperator]) -> None:
    kind(task_id="t", **ARGUMENTS[kind])


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_a_template_or_an_output_anywhere_skips_the_argument_as_a_whole(
    kind: type[IceSubmitOperator],
) -> None:
    with DAG("d"):
        upstream = IceSubmitBatchMediaProducingJobOperator(task_id="u", **ARGUMENTS[BATCH])
        values: list[Any] = [TEMPLATE, {"a": [f"x{TEMPLATE}"]}, {TEMPLATE: 1}, upstream.output]
        for number, later in enumerate([*values, [upstream.output]]):
            arguments: dict[str, Any] = dict.fromkeys(ARGUMENTS[kind], later)
            kind(task_id=f"t{number}", **arguments, user_data=later, require=TEMPLATE)
    assert isinstance(upstream.output, XComArg)


def test_a_mapped_task_is_checked_when_it_runs() -> None:
    wrong = {**OUTPUT, "Count": 0}
    with DAG("d"):
        mapped = BATCH.partial(task_id="m", output_config=wrong).expand(input_config=[MIX])
    with pytest.raises(NonRetryableIceInputError, match=r"OutputConfig\.Count"):
        mapped.operator_class(task_id="m", output_config=wrong, input_config=MIX)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("x_{index}.mp4", True),
        ("{% if x %}a{% endif %}", False),
        ("{# nothing #}", False),
        ({"a": (1, 2.5, None, True)}, True),
        ({"a": [literal("{{ x }}")]}, False),
        (object(), False),
        (b"x", False),
    ],
)
def test_what_is_literal(value: object, plain: bool) -> None:
    assert is_literal(value) is plain


# Ids of jobs

NO_JOB_IDS: list[tuple[Any, str]] = [
    (None, NOT_RENDERED),
    ("None", NOT_RENDERED),
    (" None ", NOT_RENDERED),
    ("null", NOT_RENDERED),
    ("", NOT_RENDERED),
    ("my job", "one word"),
    ("a/b", "one word"),
    ("x" * 129, "at most 128"),
    ("{'job_id': 'j', 'media': []}", 'output["job_id"]'),
    ('{"job_id": "j"}', 'output["job_id"]'),
    ({"job_id": "j"}, 'output["job_id"]'),
    ("['j']", 'output["job_id"]'),
]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("job_id", "says"), NO_JOB_IDS)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_job_id_is_refused_before_the_first_poll(
    job_id: Any, says: str, mode: Mode
) -> None:
    run = Run(mode, job_id=TEMPLATE)
    sensor = run.sensor()
    sensor.job_id = job_id
    outcome = run.ended_by(lambda: sensor.execute(run.context))
    assert isinstance(outcome.error, NonRetryableIceInputError)
    assert says in str(outcome.error)
    assert "job_id" in str(outcome.error)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("job_id", "says"), NO_JOB_IDS)
def test_what_is_no_job_id_is_not_collected(job_id: Any, says: str) -> None:
    collect = IceGetBatchMediaProducingJobOperator(task_id="c", job_id=TEMPLATE)
    collect.job_id = job_id
    context: Any = {"ti": TaskInstance(max_tries=0)}
    with pytest.raises(NonRetryableIceInputError) as caught:
        collect.execute(context)
    assert says in str(caught.value)
    for kind in (IceGetBatchMediaProducingJobOperator, IceBatchMediaProducingJobSensor):
        with pytest.raises(NonRetryableIceInputError):
            kind(task_id="c", job_id=job_id)


@pytest.mark.parametrize("job_id", ["0" * 32, "****b4549d46c88681030f6e****", "job-1", "a.b_c"])
def test_what_may_be_a_job_id(job_id: str) -> None:
    IceBatchMediaProducingJobSensor(task_id="w", job_id=job_id)


# What templates make of structured arguments

RENDERED: list[tuple[type[IceSubmitOperator], dict[str, Any], str, str]] = [
    (BATCH, {"input_config": "None"}, "InputConfig", NOT_RENDERED),
    (BATCH, {"input_config": ""}, "InputConfig", NOT_RENDERED),
    (BATCH, {"input_config": "null"}, "InputConfig", NOT_RENDERED),
    (BATCH, {"input_config": "{'MediaArray': ['m']}"}, "InputConfig", TOJSON),
    (BATCH, {"output_config": "{'Count': 1}"}, "OutputConfig", TOJSON),
    (BATCH, {"editing_config": "None"}, "EditingConfig", NOT_RENDERED),
    (BATCH, {"user_data": "{'a': 'hunter22'}"}, "UserData", TOJSON),
    (BATCH, {"template_config": "['t']"}, "TemplateConfig", TOJSON),
    (BATCH, {"template_config": "None"}, "TemplateConfig", NOT_RENDERED),
    (BATCH, {"require": "None"}, "require", "must be"),
    (IceSubmitSceneBatchEditingJobOperator, {"project_ids": "None"}, "project_ids", NOT_RENDERED),
    (IceSubmitSceneBatchEditingJobOperator, {"project_ids": "['p']"}, "project_ids", TOJSON),
    (
        IceSubmitSceneBatchEditingJobOperator,
        {"project_ids": ["p", "None"]},
        "project_ids[1]",
        NOT_RENDERED,
    ),
    (
        IceSubmitSceneTimelineOrganizationJobOperator,
        {"media_select_result": "[{'a': 1}]"},
        "MediaSelectResult",
        TOJSON,
    ),
]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("kind", "rendered", "field", "says"), RENDERED)
def test_what_a_template_made_of_nothing_or_of_a_dict_is_refused(
    kind: type[IceSubmitOperator], rendered: dict[str, Any], field: str, says: str
) -> None:
    task = Task(kind)
    with pytest.raises(NonRetryableIceInputError) as caught:
        task.run(rendered)
    assert caught.value.field == field
    assert says in str(caught.value)
    assert "hunter22" not in str(caught.value)
    assert not task.store.values


# Clips

NO_CLIPS = [
    ("None", NOT_RENDERED),
    ("", NOT_RENDERED),
    ("null", NOT_RENDERED),
    ("/data/a.mp4", "upload it to OSS"),
    ("./a.mp4", "upload it to OSS"),
    ("~/a.mp4", "upload it to OSS"),
    ("C:\\clips\\a.mp4", "upload it to OSS"),
    ("file:///data/a.mp4", "upload it to OSS"),
    ("s3://bucket/a.mp4", "copy it to OSS"),
    ("['m']", TOJSON),
    ("a.mp4", "media id"),
    ("https:/b.oss-cn-shanghai.aliyuncs.com/a.mp4", "media id"),
    ("https://b.oss-cn-shanghai.aliyuncs.com", "media id"),
]
PLACES: list[tuple[type[IceSubmitOperator], Callable[[str], dict[str, Any]], str]] = [
    (BATCH, lambda clip: {"MediaArray": ["m", clip]}, "MediaArray[1]"),
    (
        BATCH,
        lambda clip: {"MediaGroupArray": [{"GroupName": "g", "MediaArray": [clip]}]},
        "MediaGroupArray[0].MediaArray[0]",
    ),
    (BATCH, lambda clip: {**MIX, "StickerArray": [{"MediaURL": clip}]}, "StickerArray[0].MediaURL"),
    (BATCH, lambda clip: {**MIX, "StickerArray": [{"MediaId": clip}]}, "StickerArray[0].MediaId"),
    (BATCH, lambda clip: {**MIX, "BackgroundMusicArray": [clip]}, "BackgroundMusicArray[0]"),
    (BATCH, lambda clip: {**MIX, "BackgroundImageArray": [clip]}, "BackgroundImageArray[0]"),
    (BATCH, lambda clip: {**MIX, "BackgroundMusic": clip}, "BackgroundMusic"),
    (
        IceSubmitScreenMediaHighlightsJobOperator,
        lambda clip: {"MediaArray": [clip]},
        "MediaArray[0]",
    ),
    (
        IceSubmitScreenMediaHighlightsJobOperator,
        lambda clip: {**MIX, "OpeningArray": [clip]},
        "OpeningArray[0]",
    ),
    (
        IceSubmitScreenMediaHighlightsJobOperator,
        lambda clip: {**MIX, "EndingArray": [clip]},
        "EndingArray[0]",
    ),
    (
        IceSubmitSportsHighlightsJobOperator,
        lambda clip: {**SPORTS, "InputMedia": clip},
        "InputMedia",
    ),
    (
        IceSubmitSportsHighlightsJobOperator,
        lambda clip: {**SPORTS, "FaceRegister": [{"Name": "n", "FaceUrls": [clip]}]},
        "FaceRegister[0].FaceUrls[0]",
    ),
    (
        IceSubmitSportsHighlightsJobOperator,
        lambda clip: {**SPORTS, "SlowMotionLogoRegister": {"SlowMotionLogoUrls": [clip]}},
        "SlowMotionLogoRegister.SlowMotionLogoUrls[0]",
    ),
]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("clip", "says"), NO_CLIPS)
@pytest.mark.parametrize(("kind", "config", "field"), PLACES)
def test_what_is_no_clip_is_refused_wherever_a_clip_stands(
    kind: type[IceSubmitOperator],
    config: Callable[[str], dict[str, Any]],
    field: str,
    clip: str,
    says: str,
) -> None:
    task = Task(kind)
    may_be_empty = {"StickerArray[0].MediaURL", "StickerArray[0].MediaId", "BackgroundMusic"}
    if not clip and field in may_be_empty | {"InputMedia"}:
        return  # an empty field counts as left out; InputMedia has a rule of its own
    with pytest.raises(NonRetryableIceInputError) as caught:
        task.run({"input_config": config(clip)})
    assert caught.value.field == f"InputConfig.{field}"
    assert says in str(caught.value)
    assert not task.store.values


@pytest.mark.parametrize(
    "clip",
    [
        "icepublic-1",
        "0" * 32,
        "****9d46c886b45481030f6e****",
        f"{BUCKET}/a b+c.mp4",
        "HTTPS://cdn.example/a.mp4?x=1",
        "oss://bucket/a.mp4",
    ],
)
@pytest.mark.parametrize(("kind", "config", "field"), PLACES)
def test_what_is_a_clip(
    kind: type[IceSubmitOperator], config: Callable[[str], dict[str, Any]], field: str, clip: str
) -> None:
    Task(kind, input_config=config(clip))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"output_config": {**OUTPUT, "Cuont": 3}},
            "OutputConfig.Cuont is a key that no API page names (did you mean Count?)",
        ),
        (
            {"input_config": {**MIX, "TitelArray": []}},
            "InputConfig.TitelArray is a key that no API page names (did you mean TitleArray?)",
        ),
        (
            {
                "input_config": {
                    "MediaGroupArray": [
                        {"GroupName": "g", "MediaArray": ["m"], "Splitmode": "NoSplit"}
                    ]
                }
            },
            "InputConfig.MediaGroupArray[0].Splitmode is a key that no API page names "
            "(did you mean SplitMode?)",
        ),
        (
            {"editing_config": '{"SpechConfig": {}}'},
            "EditingConfig.SpechConfig is a key that no API page names "
            "(did you mean SpeechConfig?)",
        ),
        (
            {"editing_config": {"SpeechConfig": {"Speed": 2}}},
            "EditingConfig.SpeechConfig.Speed is a key that no API page names",
        ),
        (
            {"output_config": {**OUTPUT, "Qqqqq": 3}},
            "OutputConfig.Qqqqq is a key that no API page names. It is sent as it is.",
        ),
    ],
)
def test_an_unknown_key_is_named_in_a_warning_and_sent(
    wrong: dict[str, Any], said: str, accounts: Accounts
) -> None:
    task = Task(**wrong)
    with structlog.testing.capture_logs() as lines:
        assert task.run() == "job-1"
    (warning,) = [line["event"] for line in lines if "no API page names" in line["event"]]
    assert warning.startswith(said)
    assert accounts.submitted == 1


def test_known_keys_are_not_warned_about() -> None:
    from airflow_ice.api import limits

    known = {
        "input_config": {**dict.fromkeys(INPUT_KEYS), "Title": "t"},
        "output_config": dict.fromkeys(OUTPUT_KEYS),
        "editing_config": {
            "SpeechConfig": {"Voice": "v"},
            "CoverConfig": {},
            "TitleConfig": {"X": 1},
        },
    }
    assert limits.unknown_keys(known) == []
    assert limits.unknown_keys({"input_config": "no json", "project_ids": ["p"]}) == []


# Regions

OTHER = "http://b.oss-cn-beijing.aliyuncs.com"
ELSEWHERE: list[tuple[dict[str, Any], str]] = [
    (
        {"input_config": {"MediaArray": ["m", f"{OTHER}/a.mp4?Signature=c0ffee"]}},
        "InputConfig.MediaArray[1]",
    ),
    (
        {
            "input_config": json.dumps(
                {"MediaArray": ["https://b.oss-cn-beijing-internal.aliyuncs.com/a"]}
            )
        },
        "InputConfig.MediaArray[0]",
    ),
    ({"output_config": {"MediaURL": f"{OTHER}/x_{{index}}.mp4"}}, "OutputConfig.MediaURL"),
    (
        {
            "output_config": {
                "StorageLocation": "outin-1.oss-cn-beijing.aliyuncs.com",
                "FileName": "x_{index}.mp4",
            }
        },
        "OutputConfig.StorageLocation",
    ),
]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(("arguments", "field"), ELSEWHERE)
def test_a_bucket_of_another_region_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], field: str
) -> None:
    task = Task(**arguments)
    with pytest.raises(NonRetryableIceInputError) as caught:
        task.run()
    assert caught.value.field == field
    for said in ("cn-beijing", "cn-shanghai", "aliyuncs.com"):
        assert said in str(caught.value)
    assert "c0ffee" not in str(caught.value)
    assert not task.store.values
    with pytest.raises(IceInputError, match=r"is in the region cn-beijing"):
        IceHook().submit_batch_media_producing_job(**{**ARGUMENTS[BATCH], **arguments})


@pytest.mark.usefixtures("nothing_is_sent")
async def test_the_async_hook_refuses_a_bucket_of_another_region_too() -> None:
    with pytest.raises(IceInputError, match=r"is in the region cn-beijing"):
        await IceHook().asubmit_batch_media_producing_job(
            input_config={"MediaArray": [f"{OTHER}/a.mp4"]}, output_config=OUTPUT
        )


@pytest.mark.parametrize(
    "url",
    [
        f"{BUCKET}/a.mp4",
        "http://b.oss-cn-shanghai-internal.aliyuncs.com/a.mp4",
        "https://media.example/oss-cn-beijing.aliyuncs.com/a.mp4",
        "oss://bucket/a.mp4",
    ],
)
def test_buckets_of_the_region_and_custom_domains_pass(url: str, accounts: Accounts) -> None:
    titles = [f"see {OTHER}/", f"{OTHER}/"]
    assert Task(input_config={"MediaArray": [url], "TitleArray": titles}).run() == "job-1"


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "https://gateway.example"])
def test_an_endpoint_of_no_region_takes_any_bucket(
    host: str, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(host=host)
    task = Task(input_config={"MediaArray": [f"{OTHER}/a.mp4"]})

    class OpenedError(Exception):
        pass

    def opened(*_: object) -> None:
        raise OpenedError

    monkeypatch.setattr(IceHook, "get_conn", opened)
    with pytest.raises(OpenedError):
        task.run()


# What is retried


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    found.install(monkeypatch)
    return found


@pytest.fixture
def accounts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Return an account in cn-shanghai that holds job-1."""
    found = Accounts(clock, jobs={"ice.cn-shanghai.aliyuncs.com": {"job-1": 10.0}})
    found.install(monkeypatch)
    return found


def said_by_ice(kind: type[IceError], code: str) -> IceError:
    return kind("no", code=code, http_status=400, request_id="R", submitted="no")


REFUSED_FIRST = [
    (
        said_by_ice(IceAuthenticationError, "SignatureDoesNotMatch"),
        NonRetryableIceAuthenticationError,
    ),
    (said_by_ice(IcePermissionError, "Forbidden.RAM"), NonRetryableIcePermissionError),
    (said_by_ice(IceParameterError, "InvalidParameter"), NonRetryableIceParameterError),
]


@pytest.mark.parametrize(("error", "kind"), REFUSED_FIRST)
def test_a_first_send_that_is_refused_is_not_retried_and_keeps_its_record(
    error: IceError, kind: type[IceError], accounts: Accounts
) -> None:
    accounts.fault = lambda passed: error
    task = Task()
    with pytest.raises(kind) as caught:
        task.run()
    assert isinstance(caught.value, AirflowFailException)
    assert (caught.value.code, caught.value.request_id) == (error.code, "R")
    assert json.loads(task.store.values[RECORD])["no_job_created"]
    # Fixed and cleared, the task submits: with the same key, since there is no job.
    accounts.fault = lambda passed: None
    assert task.run(number=2) == "job-1"


@pytest.mark.parametrize(("error", "kind"), REFUSED_FIRST)
def test_a_refusal_is_retried_where_an_earlier_send_may_have_created_a_job(
    error: IceError, kind: type[IceError], accounts: Accounts
) -> None:
    task = Task()
    lost = errors.IceTransportError("the connection broke", submitted="unknown")
    faults = [lost]
    accounts.fault = lambda passed: faults.pop() if faults else error
    with pytest.raises(type(error)) as caught:
        task.run()
    assert not isinstance(caught.value, AirflowFailException)
    with pytest.raises(type(error)) as caught:
        task.run(number=2)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_connection_that_does_not_exist_is_not_retried_before_a_job_may_exist(
    accounts: Accounts,
) -> None:
    accounts.connection = lambda passed: None
    task = Task()
    with pytest.raises(NonRetryableIceConnectionNotFoundError, match="ice_default"):
        task.run()
    with pytest.raises(AirflowNotFoundException) as caught:
        task.run(number=2)  # without a record, a try before this one may have sent
    assert not isinstance(caught.value, AirflowFailException)


def test_collecting_with_wrong_keys_is_not_retried(accounts: Accounts) -> None:
    accounts.takes = lambda key, passed: False
    context: Any = {"ti": TaskInstance(max_tries=0)}
    with pytest.raises(NonRetryableIceAuthenticationError):
        IceGetBatchMediaProducingJobOperator(task_id="c", job_id="job-1").execute(context)


def test_which_errors_have_a_class_that_is_not_retried() -> None:
    failed = IceJobFailedError("x", job_id="j", code="E", advice="read the code")
    for error, at_first, kind in (
        (failed, False, NonRetryableIceJobFailedError),
        (IceInputError("f", 1, "r"), True, NonRetryableIceInputError),
        (IceParameterError("x", code="MissingParameter"), False, NonRetryableIceParameterError),
        (IcePermissionError("x"), True, NonRetryableIcePermissionError),
    ):
        found = unretried(error, at_first=at_first)
        assert type(found) is kind
        assert (vars(found), str(found)) == (vars(error), str(error))
        assert unretried(found, at_first=True) is found
    for error in (
        IceInputError("f", 1, "r"),
        IcePermissionError("x"),
        IceParameterError("x", code="IdempotentParameterMismatch", submitted="unknown"),
        IceParameterError("x", code="QuotaUsedUp"),
    ):
        assert unretried(error) is error
    passing: list[IceError] = [
        IceCredentialsError("out of reach", transient=True),
        IceThrottledError("x"),
        IceJobNotFoundError("x"),
    ]
    for each in passing:
        assert unretried(each, at_first=True) is each


def test_the_cause_of_an_error_that_is_not_retried_is_kept() -> None:
    cause = OSError("the cause")
    with pytest.raises(NonRetryableIceInputError) as caught, not_retried():
        raise IceInputError("f", 1, "r") from cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("name", ["UnretriedIceJobFailedError", "NonRetryableIceJobFailedError"])
def test_events_that_an_earlier_version_stored_are_read(name: str) -> None:
    stored = {**IceJobFailedError("gone", job_id="j").as_dict(), "error": name}
    assert type(error_from_dict(stored)) is NonRetryableIceJobFailedError
