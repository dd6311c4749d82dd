"""A reply of any shape becomes a typed result or an IceError; nothing else comes out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api import operations
from airflow_ice.api.errors import IceError, IceJobNotFoundError, IceServiceError
from airflow_ice.api.errors import IceUnavailableError as Unavailable
from airflow_ice.api.models import (
    BatchMediaProducingJob,
    BatchMediaProducingJobPage,
    JobStatePage,
    MediaInfo,
    MediaProducingJob,
)
from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import Reply, result

MEDIA = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"
OUTPUT = {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4", "Count": 1}
GET = operations.get_batch_media_producing_job("J")
LIST = operations.list_batch_media_producing_jobs()
STATES = operations.list_job_states("Failed")
SUBMIT = operations.submit_batch_media_producing_job(
    input_config={"MediaArray": [MEDIA]}, output_config=OUTPUT
)
ACTIONS: dict[str, tuple[Operation[Any], type]] = {
    "get": (GET, BatchMediaProducingJob),
    "list": (LIST, BatchMediaProducingJobPage),
    "states": (STATES, JobStatePage),
    "media": (operations.get_media_info("M"), MediaInfo),
    "sub-job": (operations.get_media_producing_job("J"), MediaProducingJob),
    "submit": (SUBMIT, str),
}


def reply(status: int, body: Any) -> Reply:
    return Reply(status, {}, json.dumps(body).encode())


NAMES = [
    "RequestId",
    "JobId",
    "Code",
    "Message",
    "Status",
    "Extend",
    "NextToken",
    "EditingBatchJob",
    "EditingBatchJobList",
    "SubJobList",
    "MediaInfo",
    "FileInfoList",
    "FileBasicInfo",
    "MediaBasicInfo",
    "MediaProducingJob",
    "CreateTime",
    "Duration",
    "Progress",
    "UserData",
    "Recommend",
    "AccessDeniedDetail",
    "MediaURL",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["Failed", "2026-11-24T07:00:00Z", "{}", '{"ErrorCode": 1}', "[[[", "1e999"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)
BODIES = VALUES | st.fixed_dictionaries(
    {"RequestId": SCALARS | st.just("R")},
    optional={name: VALUES for name in NAMES if name != "RequestId"},
)


@given(
    action=st.sampled_from(sorted(ACTIONS)), status=st.sampled_from([200, 200, 400]), body=BODIES
)
def test_any_json_is_a_typed_result_or_an_error_of_that_call(
    action: str, status: int, body: Any
) -> None:
    operation, kind = ACTIONS[action]
    try:
        found: Any = result(operation, reply(status, body))
    except IceError as error:
        found = error
    if isinstance(found, IceError):
        assert isinstance(found, IceServiceError)
        assert (found.action, found.http_status) == (operation.action, status)
        assert found.job_id == operation.job_id
        assert (found.submitted is not None) is operation.submit
        assert isinstance(str(found), str)
        json.dumps(found.as_dict())
    else:
        assert status == 200
        assert isinstance(found, kind)


@given(body=st.binary(max_size=200), status=st.integers(100, 599))
def test_any_bytes_are_an_error_of_that_call(body: bytes, status: int) -> None:
    for operation, _ in ACTIONS.values():
        with pytest.raises(IceServiceError):
            result(operation, Reply(status, {}, body))


@pytest.mark.parametrize("broken", [TypeError("t"), RecursionError("r"), KeyError("k")])
@pytest.mark.parametrize("operation", [GET, SUBMIT])
def test_a_reply_that_cannot_be_read_is_an_error_of_that_call(
    operation: Operation[Any], broken: Exception
) -> None:
    def read(_: Any) -> Any:
        raise broken

    odd: Operation[Any] = Operation("A", read, submit=operation.submit, job_id=operation.job_id)
    with pytest.raises(Unavailable, match=f"could not be read .{type(broken).__name__}") as caught:
        result(odd, reply(200, {"RequestId": "R"}))
    assert caught.value.__cause__ is broken
    assert (caught.value.http_status, caught.value.job_id) == (200, operation.job_id)
    assert caught.value.submitted == ("unknown" if operation.submit else None)
    assert caught.value.transient


def test_memory_that_runs_out_is_no_reply() -> None:
    def read(_: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        result(Operation("A", read), reply(200, {"RequestId": "R"}))


@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "submit"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"RequestId": ""},
        {"RequestId": None},
        {"status": "ok"},
        {"EditingBatchJobList": []},
        {"EditingBatchJobList": [{"JobId": "J", "Status": "Finished"}]},
        {"EditingBatchJob": {"JobId": "J", "Status": "Finished"}},
    ],
)
def test_a_success_without_a_request_id_is_not_ices(action: str, body: Any) -> None:
    # An empty list or a missing job would be read as "no such job", and that may cost a second one.
    with pytest.raises(Unavailable, match="not ICE's"):
        result(ACTIONS[action][0], reply(200, body))


def test_an_unknown_job_is_one_where_ice_says_so() -> None:
    with pytest.raises(IceJobNotFoundError) as caught:
        result(GET, reply(200, {"RequestId": "R"}))
    assert (caught.value.job_id, caught.value.request_id) == ("J", "R")


def test_a_job_id_counts_wherever_it_comes_from() -> None:
    assert result(SUBMIT, reply(200, {"JobId": "J"})) == "J"


ROWS = [
    {"JobId": "a", "Status": "Failed", "Extend": '{"ErrorCode":"E"}', "InputConfig": "x"},
    {"JobId": "b", "Status": "Failed"},
    {"JobId": "c", "Status": "Failed", "Extend": None},
    {"JobId": "d", "Status": "Finished", "Extend": '{"ErrorCode":"E"}'},
]


def test_a_page_of_states_has_the_errors_of_failed_jobs() -> None:
    body = {"RequestId": "R", "EditingBatchJobList": ROWS, "NextToken": "t"}
    quick = result(STATES, reply(200, body))
    assert quick == JobStatePage(
        {"a": "Failed", "b": "Failed", "c": "Failed", "d": "Finished"},
        "t",
        {"a": '{"ErrorCode":"E"}'},
        "R",
    )
    assert STATES.glance is not None
    assert STATES.glance(reply(200, body).body) == quick
    assert STATES.read(body) == quick


@pytest.mark.parametrize("odd", [{"Extend": {"ErrorCode": "E"}}, {"Status": None}, {"JobId": 5}])
def test_an_odd_row_is_read_the_slow_way(odd: dict[str, Any]) -> None:
    row = {"JobId": "a", "Status": "Failed", **odd}
    body = {"RequestId": "R", "EditingBatchJobList": [row]}
    assert STATES.glance is not None
    assert STATES.glance(reply(200, body).body) is None
    page = result(STATES, reply(200, body))
    assert len(page.states) == 1
    assert bool(page.errors) == ("Extend" in odd)


def test_a_page_of_states_can_be_filtered() -> None:
    operation = operations.list_job_states(
        "Failed", start_time=datetime(2026, 11, 24, 7, tzinfo=UTC), sort_by="asc", next_token="t"
    )
    assert operation.query == {
        "Status": "Failed",
        "StartTime": "2026-11-24T07:00:00Z",
        "SortBy": "asc",
        "MaxResults": "100",
        "NextToken": "t",
    }


def test_submits_go_first_and_a_page_for_many_waits_second() -> None:
    assert {name: operation.priority for name, (operation, _) in ACTIONS.items()} == {
        "get": 0,
        "list": 0,
        "states": 1,
        "media": 0,
        "sub-job": 0,
        "submit": 2,
    }
