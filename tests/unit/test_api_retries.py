"""The retry flow, driven with plain values: no clock, no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api.errors import (
    IceError,
    IceJobNotFoundError,
    IceParameterError,
    IceThrottledError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.operations import (
    Operation,
    get_batch_media_producing_job,
    submit_batch_media_producing_job,
    submit_screen_media_highlights_job,
    submit_sports_highlights_job,
)
from airflow_ice.api.replies import Reply, result, retry_after
from airflow_ice.api.retries import Pause, RetryPolicy, Try, tries

SAMPLES = Path(__file__).parent.parent / "samples"
READ = get_batch_media_producing_job("J")
INPUT = {"MediaArray": ["http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"]}
OUTPUT = {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4", "Count": 1}
SPORTS = {
    "SportsCategory": "basketball",
    "InputMedia": "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4",
}
Outcome = Reply | IceError


def reply(status: int, body: Mapping[str, Any] | str = "", **headers: str) -> Reply:
    content = body if isinstance(body, str) else json.dumps(body)
    return Reply(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, content.encode()
    )


def refused(status: int, code: str, **headers: str) -> Reply:
    return reply(status, {"RequestId": "R", "Code": code, "Message": "m"}, **headers)


GOOD = reply(200, {"RequestId": "R", "EditingBatchJob": {"JobId": "J", "Status": "Finished"}})
SUBMITTED = reply(200, {"RequestId": "R", "JobId": "J"})
BROKEN = IceTransportError("the connection broke", submitted="unknown")
NO_CONNECTION = IceTransportError("no connection", submitted="no")


def drive(
    operation: Operation[Any],
    *outcomes: Outcome,
    policy: RetryPolicy | None = None,
    draw: Callable[[], float] = lambda: 1.0,
) -> tuple[Any, list[float], int]:
    """Feed outcomes to the flow; return what came of it, the pauses and the number of sends."""
    flow: Generator[Try | Pause, Reply | IceError | None, Any] = tries(
        operation, policy or RetryPolicy(), draw
    )
    pauses: list[float] = []
    waiting = list(outcomes)
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = flow.send(None)
            else:
                assert step.number == len(outcomes) - len(waiting) + 1
                step = flow.send(waiting.pop(0))
    except StopIteration as done:
        return done.value, pauses, len(outcomes) - len(waiting)
    except IceError as error:
        return error, pauses, len(outcomes) - len(waiting)


def test_a_good_reply_is_returned_without_a_pause() -> None:
    job, pauses, sends = drive(READ, GOOD)
    assert (job.job_id, pauses, sends) == ("J", [], 1)


@pytest.mark.parametrize(
    "outcome",
    [
        BROKEN,
        NO_CONNECTION,
        reply(500, {"Code": "InternalError", "Message": "m"}),
        reply(503, {"Code": "ServiceUnAvailable", "Message": "m"}),
        reply(400, {"Code": "ServiceUnavailable", "Message": "m"}),
        reply(502, (SAMPLES / "error_502.html").read_text()),
        reply(200, "<html>a captive portal</html>"),
        reply(200, ""),
        reply(200, "[1]"),
        reply(302, ""),
        refused(400, "Throttling.User"),
        refused(429, "Whatever"),
        refused(403, "RequestsTooFrequent"),
        refused(400, "SignatureNonceUsed"),
    ],
)
def test_what_may_pass_is_tried_again(outcome: Outcome) -> None:
    job, pauses, sends = drive(READ, outcome, GOOD)
    assert job.job_id == "J"
    assert (len(pauses), sends) == (1, 2)


@pytest.mark.parametrize(
    "outcome",
    [
        refused(400, "InvalidParameter"),
        refused(404, "ResourceNotFound"),
        refused(404, "InvalidAccessKeyId.NotFound"),
        refused(403, "Forbidden.RAM"),
        refused(400, "SignatureDoesNotMatch"),
        reply(200, {"RequestId": "R"}),
    ],
)
def test_what_stays_wrong_is_not(outcome: Outcome) -> None:
    error, pauses, sends = drive(READ, outcome, GOOD)
    assert isinstance(error, IceError)
    assert not error.transient
    assert (pauses, sends) == ([], 1)


def test_the_tries_are_counted_and_the_last_error_is_raised() -> None:
    last = IceTransportError("the last one")
    error, pauses, sends = drive(READ, BROKEN, BROKEN, last, GOOD, policy=RetryPolicy(tries=3))
    assert error is last
    assert (len(pauses), sends) == (2, 3)


def test_pauses_double_up_to_the_cap() -> None:
    policy = RetryPolicy(tries=7, first_pause=1, longest_pause=10)
    _, pauses, _ = drive(READ, *[BROKEN] * 7, policy=policy)
    assert pauses == [1, 2, 4, 8, 10, 10]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 12))
def test_a_pause_is_drawn_from_its_whole_range(drawn: float, number: int) -> None:
    policy = RetryPolicy(first_pause=0.5, longest_pause=20)
    assert policy.pause(number, lambda: drawn) == drawn * min(20, 0.5 * 2 ** (number - 1))


def test_the_jitter_is_full() -> None:
    _, pauses, _ = drive(READ, BROKEN, GOOD, draw=lambda: 0.0)
    assert pauses == [0.0]
    assert len({RetryPolicy().pause(3) for _ in range(20)}) > 1


def test_a_pause_names_the_failure_that_it_follows() -> None:
    flow = tries(READ, RetryPolicy())
    next(flow)
    step = flow.send(BROKEN)
    assert isinstance(step, Pause)
    assert step.because is BROKEN


def test_the_service_s_own_pause_is_the_least() -> None:
    _, pauses, _ = drive(
        READ, refused(400, "Throttling.User", x_acs_retry_after="2000"), GOOD, draw=lambda: 0.0
    )
    assert pauses == [2.0]
    _, pauses, _ = drive(
        READ, refused(503, "ServiceUnavailable", retry_after="3"), GOOD, draw=lambda: 0.0
    )
    assert pauses == [3.0]
    _, pauses, _ = drive(
        READ,
        refused(400, "Throttling", x_acs_retry_after="2000"),
        GOOD,
        policy=RetryPolicy(first_pause=4),
    )
    assert pauses == [6.0]


def test_a_pause_over_the_cap_is_the_caller_s_to_take() -> None:
    error, pauses, sends = drive(READ, refused(429, "Throttling", retry_after="21"), GOOD)
    assert isinstance(error, IceThrottledError)
    assert error.retry_after == 21
    assert (pauses, sends) == ([], 1)


def test_a_submit_without_a_client_token_is_sent_once() -> None:
    once = [
        submit_batch_media_producing_job(input_config=INPUT, output_config=OUTPUT),
        submit_sports_highlights_job(input_config=SPORTS, output_config=OUTPUT),
        submit_screen_media_highlights_job(input_config=INPUT, output_config=OUTPUT),
    ]
    for operation in once:
        for outcome in (
            BROKEN,
            refused(400, "Throttling.User"),
            reply(502, "<html>"),
            refused(500, "InternalError"),
        ):
            error, pauses, sends = drive(operation, outcome, SUBMITTED)
            assert isinstance(error, IceError)
            assert error.transient
            assert (pauses, sends) == ([], 1)


def test_a_submit_with_a_client_token_is_repeated() -> None:
    for operation in (
        submit_batch_media_producing_job(
            input_config=INPUT, output_config=OUTPUT, client_token="t"
        ),
        submit_sports_highlights_job(input_config=SPORTS, output_config=OUTPUT, client_token="t"),
    ):
        job_id, pauses, sends = drive(operation, BROKEN, reply(502, "<html>"), SUBMITTED)
        assert (job_id, len(pauses), sends) == ("J", 2, 3)


@pytest.mark.parametrize(
    "last", [NO_CONNECTION, refused(400, "InvalidParameter"), refused(400, "Throttling.User")]
)
@pytest.mark.parametrize(
    "first", [BROKEN, reply(502, "<html>"), refused(500, "InternalError"), reply(200, {})]
)
def test_a_later_refusal_does_not_take_back_what_an_earlier_try_may_have_made(
    first: Outcome, last: Outcome
) -> None:
    operation = submit_batch_media_producing_job(
        input_config=INPUT, output_config=OUTPUT, client_token="t"
    )
    error, _, sends = drive(
        operation,
        first,
        IceTransportError("again", submitted="no"),
        last,
        policy=RetryPolicy(tries=3),
    )
    assert isinstance(error, IceError)
    assert error.submitted == "unknown"
    assert "No job was made" not in str(error)
    assert sends == 3


def test_tries_that_certainly_made_no_job_say_so() -> None:
    operation = submit_batch_media_producing_job(
        input_config=INPUT, output_config=OUTPUT, client_token="t"
    )
    error, _, _ = drive(
        operation, IceTransportError("no", submitted="no"), refused(400, "InvalidParameter")
    )
    assert isinstance(error, IceParameterError)
    assert error.submitted == "no"


def test_a_submit_whose_reply_holds_no_job_id_may_have_made_one() -> None:
    operation = submit_screen_media_highlights_job(input_config=INPUT, output_config=OUTPUT)
    error, _, _ = drive(operation, reply(200, {"RequestId": "R"}))
    assert isinstance(error, IceUnavailableError)
    assert (error.submitted, error.request_id, error.action) == (
        "unknown",
        "R",
        "SubmitScreenMediaHighlightsJob",
    )


def test_a_page_of_html_keeps_its_status() -> None:
    with pytest.raises(IceUnavailableError) as caught:
        result(READ, reply(502, (SAMPLES / "error_502.html").read_text()))
    assert caught.value.http_status == 502
    assert caught.value.code is None
    assert "502 Bad Gateway" in str(caught.value)
    assert "<" not in caught.value.message


def test_json_that_nests_too_deeply_is_not_ice_s() -> None:
    with pytest.raises(IceUnavailableError):
        result(READ, reply(200, "[" * 200_000))


def test_a_reply_that_is_not_utf_8_is_not_ice_s() -> None:
    with pytest.raises(IceUnavailableError):
        result(READ, Reply(200, {}, b'{"a":"\xff"}'))


def test_the_operation_s_job_tells_an_unknown_job_from_another_bad_parameter() -> None:
    message = 'The specified parameter "JobId" is not valid.'
    body = {"RequestId": "R", "Code": "InvalidParameter", "Message": message}
    with pytest.raises(IceJobNotFoundError):
        result(READ, reply(400, body))


NOW = datetime(2026, 11, 22, 7, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-acs-retry-after": "1500"}, 1.5),
        ({"x-acs-retry-after": "1500", "retry-after": "9"}, 1.5),
        ({"x-acs-retry-after": "0", "retry-after": "9"}, 9.0),
        ({"x-acs-retry-after": "-5", "retry-after": "9"}, 9.0),
        ({"x-acs-retry-after": "soon", "retry-after": "9"}, 9.0),
        ({"x-acs-retry-after": "nan"}, None),
        ({"retry-after": "9"}, 9.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-9"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 07:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 08:00:30 +0100"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 07:00:30 -0000"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 06:59:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 99 Nov 2026 06:59:00 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 99999999999999999999 06:59:00 GMT"}, None),
    ],
)
def test_every_spelling_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40), st.text(max_size=10))
def test_no_retry_after_breaks_the_flow(value: str, milliseconds: str) -> None:
    found = retry_after({"retry-after": value, "x-acs-retry-after": milliseconds}, NOW)
    assert found is None or 0 <= found < float("inf")


def test_the_body_of_a_reply_does_not_show() -> None:
    assert "secret" not in repr(reply(200, "secret"))
