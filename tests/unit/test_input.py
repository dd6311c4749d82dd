"""Any value for any argument works, or is one IceInputError before anything is sent; nothing
else."""

from __future__ import annotations

import contextlib
import decimal
import inspect
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_ice.api import operations
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits import MAX_DEPTH, MAX_SECONDS, MAX_VALUES, seconds, user_data_object
from airflow_ice.api.limits.keys import EDITING_BLOCKS, INPUT_KEYS, OUTPUT_KEYS
from airflow_ice.api.operations import Operation
from airflow_ice.connections import read_connection
from airflow_ice.hooks import IceHook
from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.sensors import IceBatchMediaProducingJobSensor

SetConnection = Callable[..., None]


class Unspeakable:
    """A value whose repr fails."""

    def __repr__(self) -> str:
        raise LookupError

    __str__ = __repr__


def circular() -> Any:
    found: dict[str, Any] = {}
    found["self"] = [found]
    return found


def deep(levels: int) -> Any:
    found: Any = {}
    for _ in range(levels):
        found = {"a": [found]}
    return found


def wide(levels: int) -> Any:
    """Return few objects that are a great many values."""
    found: Any = []
    for _ in range(levels):
        found = [found] * 10
    return {"a": found}


NAIVE = datetime(2024, 6, 13)  # noqa: DTZ001 - naive on purpose
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 900, 10**400, -(10**20), 0.0, 1e300, 1e-300, math.nan, math.inf]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", " ", "a\nb", "\x00", "\ud800", "nan", "1e999", "[1]", "{}", '{"a":NaN}']),
    st.sampled_from(["[" * 5_000, '{"a":' * 5_000, "9" * 5_000, '"text"', "http://h/{index}.mp4"]),
    st.sampled_from([b"x", bytearray(b"x"), decimal.Decimal("1.5"), 1j, ..., int]),
    st.sampled_from([date(2024, 6, 13), NAIVE, datetime.min.replace(tzinfo=UTC)]),
    st.sampled_from([timedelta.max, timedelta.min, timedelta(seconds=1)]),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=3)
        | st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=5,
)
VALUES = st.one_of(
    PLAIN,
    st.builds(set),
    st.builds(object),
    st.builds(Unspeakable),
    st.builds(circular),
    st.builds(deep, st.sampled_from([70, 2_000])),
    st.builds(iter, st.just(["p1"])),
)


def refused_or_fine(call: Callable[..., Any], **arguments: Any) -> Any:
    """Return what a call returns, None where it refuses its arguments."""
    try:
        return call(**arguments)
    except IceInputError as error:
        refusal = error
    assert refusal.field
    assert refusal.rule in str(refusal)
    assert "Nothing was sent" in str(refusal)
    return None


# Operations

INPUT: dict[str, Any] = {"MediaArray": ["m"], "TitleArray": ["t"], "SportsCategory": "basketball"}
OUTPUT = {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4"}
GOOD: dict[str, Any] = {
    "job_id": "J",
    "media_id": "M",
    "project_id": "P",
    "status": "Finished",
}
READS: list[Callable[..., Operation[Any]]] = [
    operations.get_batch_media_producing_job,
    operations.get_media_producing_job,
    operations.get_media_info,
    operations.get_editing_project,
    operations.get_editing_project_materials,
    operations.list_batch_media_producing_jobs,
    operations.list_job_states,
]
SUBMITS: list[Callable[..., Operation[Any]]] = [
    getattr(operations, name) for name in operations.SUBMIT_ACTIONS
]
DESCRIPTIONS = [*READS, *SUBMITS]
KEYS = sorted({*INPUT_KEYS, *OUTPUT_KEYS, *EDITING_BLOCKS, "Title", "SpeechText", "Volume"})


def good(describe: Callable[..., Operation[Any]]) -> dict[str, Any]:
    if action := operations.SUBMIT_ACTIONS.get(describe.__name__):
        return dict(action.sample)
    names = inspect.signature(describe).parameters
    return {name: value for name, value in GOOD.items() if name in names}


def test_every_operation_is_tried_here() -> None:
    public = {
        member
        for name, member in inspect.getmembers(operations, inspect.isfunction)
        if not name.startswith("_") and member.__module__ == operations.__name__
    }
    assert public == set(DESCRIPTIONS)
    for describe in DESCRIPTIONS:
        assert describe(**good(describe)).action


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_any_value_of_any_argument(data: st.DataObject) -> None:
    describe = data.draw(st.sampled_from(DESCRIPTIONS))
    arguments = good(describe)
    names = list(inspect.signature(describe).parameters)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        arguments[name] = data.draw(VALUES)
    operation = refused_or_fine(describe, **arguments)
    if operation is not None:
        for value in (*operation.query.values(), *operation.form.values()):
            assert isinstance(value.encode(), bytes)


CONFIGS = ("input_config", "output_config", "editing_config", "user_data", "media_select_result")


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_any_value_of_any_key_of_a_config(data: st.DataObject) -> None:
    describe = data.draw(st.sampled_from(SUBMITS))
    arguments = good(describe)
    names = [name for name in inspect.signature(describe).parameters if name in CONFIGS]
    name = data.draw(st.sampled_from(names))
    nested = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2)
    arguments[name] = {
        **arguments.get(name, {}),
        **data.draw(
            st.dictionaries(
                st.sampled_from(KEYS), VALUES | nested | st.lists(nested, max_size=2), max_size=2
            )
        ),
    }
    operation = refused_or_fine(describe, **arguments)
    if operation is not None:
        for value in (*operation.query.values(), *operation.form.values()):
            assert "NaN" not in value or "NaN" in str(arguments)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({1: "a"}, "UserData"),
        ({"a": {None: 1}}, "UserData.a"),
        ({"a": [1, math.nan]}, "UserData.a[1]"),
        ('{"a": NaN}', "UserData"),
        ({"a": {"b": {1, 2}}}, "UserData.a.b"),
        ({"a": datetime.now(UTC)}, "UserData.a"),
        ({"a": b"x"}, "UserData.a"),
        ({"http://h/?Signature=s": {1}}, "UserData.http://h/?***"),
        ({"a": "\ud800"}, "UserData.a"),
        ({"\ud800": "a"}, "UserData"),
        ({"a": 2**80}, "UserData.a"),
        (circular(), "UserData"),
        (deep(40), "UserData"),
        (deep(5_000), "UserData"),
        (wide(20), "UserData"),
        ('{"a":' * 5_000, "UserData"),
        (["a"], "UserData"),
        (None, "UserData"),
        ("x", "UserData"),
    ],
)
def test_user_data_that_is_no_json_object(value: Any, field: str) -> None:
    with pytest.raises(IceInputError) as caught:
        user_data_object(value)
    assert (caught.value.field, caught.value.value) == (field, None)


def test_user_data_comes_back_plain() -> None:
    given_data = {"a": [1, 2.5, None, True, "店"], "b": {"c": ("x", "y")}}
    plain = {"a": [1, 2.5, None, True, "店"], "b": {"c": ["x", "y"]}}
    assert user_data_object(given_data) == plain
    assert user_data_object(json.dumps(given_data)) == plain
    levels = deep(MAX_DEPTH // 2)
    assert user_data_object(levels) == levels
    assert len(user_data_object({"a": [0] * (MAX_VALUES - 1)})["a"]) == MAX_VALUES - 1


@pytest.mark.parametrize("value", ["J\nK", "J\x00", "J\u2028K", "J\x7fK", "", 7, b"J", ["J"], None])
@pytest.mark.parametrize("describe", READS[:2])
def test_a_job_id_is_text_on_one_line(describe: Callable[..., Any], value: Any) -> None:
    with pytest.raises(IceInputError, match="job_id"):
        describe(value)


# Seconds


@given(VALUES)
@example(True)
@example("5")
@example(timedelta.max)
def test_any_value_of_a_length_of_time(value: Any) -> None:
    found = refused_or_fine(seconds, field="timeout", value=value)
    if found is not None:
        assert 0 <= found <= MAX_SECONDS
        assert timedelta(seconds=found) == timedelta(seconds=float(found))
        assert isinstance(value, (int, float, timedelta))
        assert not isinstance(value, bool)


def test_the_longest_and_the_shortest_time() -> None:
    assert seconds("t", timedelta(days=366)) == MAX_SECONDS
    assert seconds("t", 0) == 0.0
    for value in (MAX_SECONDS + 1, -0.1, True, "1", None):
        with pytest.raises(IceInputError, match=r"t .*from 0 to 31,622,400 \(366 days\)"):
            seconds("t", value)
    with pytest.raises(IceInputError, match="from 5 to"):
        seconds("t", 4, least=5)


# Operators and the sensor

OPERATORS: dict[type, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    IceBatchMediaProducingJobSensor: (
        {"job_id": "J"},
        ("poke_interval", "timeout", "max_wait"),
        ("job_id", "ice_conn_id", "region_id", "deferrable", "end_from_trigger"),
    ),
    IceSubmitBatchMediaProducingJobOperator: (
        {"input_config": INPUT, "output_config": OUTPUT},
        ("poke_interval", "timeout", "list_settle_seconds"),
        (
            "input_config",
            "output_config",
            "editing_config",
            "template_config",
            "user_data",
            "ice_conn_id",
            "region_id",
            "wait_for_completion",
            "deferrable",
            "require",
            "returns",
            "on_failed_job",
            "on_clear",
            "on_changed_inputs",
            "on_lost_reply",
        ),
    ),
    IceGetBatchMediaProducingJobOperator: (
        {"job_id": "J"},
        (),
        ("job_id", "ice_conn_id", "region_id", "require", "returns"),
    ),
}


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_value_of_any_argument_of_a_task(kind: type, data: st.DataObject) -> None:
    arguments, times, others = OPERATORS[kind]
    name = data.draw(st.sampled_from([*times, *others]))
    # Airflow itself follows any container that a template field holds, however deep it is.
    value = data.draw(VALUES if name in times else PLAIN)
    task = refused_or_fine(kind, **{"task_id": "t", **arguments, name: value})
    for each in times if task is not None else ():
        found = getattr(task, each)
        if isinstance(found, timedelta):  # how Airflow keeps max_wait
            found = found.total_seconds()
        assert found is None or 0 <= found <= MAX_SECONDS


@pytest.mark.parametrize("kind", list(OPERATORS)[:2], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", [math.inf, math.nan, -1, True, "60", 1e300, timedelta.max])
def test_a_length_of_time_that_cannot_work_is_refused_when_the_dag_is_parsed(
    kind: Any, value: Any
) -> None:
    arguments, times, _ = OPERATORS[kind]
    for name in times:
        with pytest.raises(IceInputError) as caught:
            kind(task_id="t", **arguments, **{name: value})
        assert caught.value.field == name
        with pytest.raises(IceInputError):
            kind(task_id="t", **arguments, default_args={name: value})


# Connections

EXTRAS = (
    "region_id",
    "region",
    "network",
    "credential_type",
    "security_token",
    "access_key_id",
    "access_key_secret",
    "connect_timeout",
    "read_timeout",
    "proxy",
    "verify",
    "max_requests_per_second",
    "role_arn",
    "role_session_name",
    "role_session_expiration",
    "policy",
    "external_id",
    "sts_endpoint",
    "role_name",
    "disable_imds_v1",
    "credentials_uri",
    "oidc_provider_arn",
    "oidc_token_file_path",
    "unknown",
)
SECRET = "s3cr3tOfTheKey"
KINDS = st.sampled_from(["access_key", "sts", "ram_role_arn", "ecs_ram_role", "oidc_role_arn"])


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_any_value_of_any_field_of_a_connection(data: st.DataObject) -> None:
    extra = {"credential_type": data.draw(KINDS), "role_arn": "r", "security_token": SECRET}
    fields: dict[str, Any] = {"login": "L", "password": SECRET, "host": "h.example", "port": 443}
    for name in data.draw(
        st.lists(st.sampled_from([*fields, "schema", "region_id", "extra"]), max_size=1)
    ):
        fields[name] = data.draw(VALUES)
    for name in data.draw(st.lists(st.sampled_from(EXTRAS), max_size=2, unique=True)):
        extra[name] = data.draw(VALUES)
    found = refused_or_fine(read_connection, **{"extra": extra, **fields})
    if found is not None:
        for time in (found.connect_timeout, found.read_timeout):
            assert 0 < time <= 86_400
        assert 0 < 1 / found.max_requests_per_second <= 1_000
        assert found.secrets() is not None
        assert found.credentials_key()
        for text in (found.proxy, found.verify, found.endpoint.host):
            assert text is None or isinstance(text, str)


WRONG: dict[str, tuple[Any, ...]] = {
    "region_id": (5, ["cn-shanghai"], {}),
    "network": (3, True, []),
    "proxy": ([SECRET], 3, {"http": SECRET}, False),
    "verify": (7, 1, 0, 1.0, [], {}),
    "connect_timeout": ("x", "nan", "inf", -1, True, 0, [], 1e300),
    "read_timeout": ("1e999", 2**60, 1e-300),
    "max_requests_per_second": ("nan", "inf", 0, 1e-300, True, 1e9),
    "role_arn": (5, ["r"], {"policy": SECRET}),
    "policy": ({"Statement": SECRET}, 5),
    "role_session_expiration": ([], "soon", True, 899, 43_201),
    "disable_imds_v1": ("maybe", 2, []),
    "credential_type": (["sts"], 1, "STS"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_field_of_extra_that_cannot_work(name: str, value: Any) -> None:
    with pytest.raises(IceInputError) as caught:
        read_connection(login="L", password="P", host=None, extra={name: value})
    assert caught.value.field == name
    assert SECRET not in f"{caught.value} {vars(caught.value)}"


NO_OBJECTS = ["[1]", '"text"', "7", "null", "hello", '{"a":', "[" * 300, f'["{SECRET}"]', "NaN"]


@pytest.mark.parametrize(
    "extra", [*NO_OBJECTS, '{"region_id": 5}', '{"a": ' * 500 + "1" + "}" * 500]
)
async def test_an_extra_that_is_no_object_is_refused_in_both_colours(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "alibaba_ice", "login": "L", "password": "P", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ICE_DEFAULT", json.dumps(fields))
    hook = IceHook()
    with pytest.raises(IceInputError) as caught:
        hook.get_conn()
    with pytest.raises(IceInputError) as again:
        await IceHook().aget_conn()
    assert str(again.value) == str(caught.value)
    assert SECRET not in f"{caught.value} {vars(caught.value)}"
    assert hook.test_connection() == (False, str(caught.value))


@pytest.mark.parametrize("extra", [None, "", "  ", "{}"])
def test_an_empty_extra_is_none(extra: str | None, set_connection: SetConnection) -> None:
    set_connection(extra=extra)
    assert IceHook().endpoint_host() == "ice.cn-shanghai.aliyuncs.com"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"region_id": 5}, "region_id"),
        ({"region_id": ["cn-shanghai"]}, "region_id"),
        ({"ice_conn_id": ""}, "ice_conn_id"),
        ({"ice_conn_id": None}, "ice_conn_id"),
        ({"ice_conn_id": 5}, "ice_conn_id"),
    ],
)
async def test_arguments_of_a_hook_that_cannot_work(
    arguments: dict[str, Any], field: str, set_connection: SetConnection
) -> None:
    set_connection()
    with pytest.raises(IceInputError) as caught:
        IceHook(**arguments).endpoint_host()
    assert caught.value.field == field
    with pytest.raises(IceInputError):
        await IceHook(**arguments).aget_conn()


@pytest.mark.parametrize("port", [-1, 65_536, True, "443", 1.5, []])
def test_a_port_out_of_its_range(port: Any) -> None:
    with pytest.raises(IceInputError, match=r"port .*from 0 to 65535"):
        read_connection(login="L", password="P", host="h.example", port=port, extra={})


def test_a_value_whose_repr_fails_is_refused_all_the_same() -> None:
    for call in (
        lambda: seconds("t", Unspeakable()),
        lambda: operations.get_media_info(auth_timeout=Unspeakable()),  # type: ignore[arg-type]
        lambda: user_data_object({"a": Unspeakable()}),
    ):
        with pytest.raises(IceInputError):
            call()
    with contextlib.suppress(IceInputError):
        operations.list_batch_media_producing_jobs(start_time=datetime.max.replace(tzinfo=UTC))
