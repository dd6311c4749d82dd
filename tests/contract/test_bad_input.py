"""Bad input ends in one clear error, in time, with its cause kept and nothing lost: at the hook and
in all three modes."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.api.errors import IceError, IceInputError, IceJobNotFoundError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook
from airflow_ice.operators import IceGetBatchMediaProducingJobOperator
from tests.three_modes import MODES, Mode, Outcome, Run, TaskInstance, task_runner

__all__ = ["task_runner"]
pytestmark = pytest.mark.usefixtures("task_runner")

SetConnection = Callable[..., None]
SECRETS = ("testsecret", "wr0ng-s3cret", "hunter22", "Signature=")


@pytest.fixture
def ice(connected_ice: LocalIce) -> LocalIce:
    return connected_ice


@pytest.fixture(scope="module")
def refusing_proxy() -> Iterator[str]:
    """Run a proxy that lets nobody through, and return its address, a password in it."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(407, "Proxy Authentication Required")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_POST  # noqa: N815 - http.server's own spelling

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:hunter22@127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Bad:
    """Something that cannot work.

    :param connection: fields of the connection. sensor: arguments of the sensor. ends: the error,
        in every mode.
    """

    name: str
    ends: str
    says: tuple[str, ...]
    connection: dict[str, Any] = field(default_factory=dict)
    sensor: dict[str, Any] = field(default_factory=dict)


# What can never work ends at once.
AT_ONCE = [
    Bad(
        "empty job id",
        "NonRetryableIceInputError",
        ("job_id", "Nothing was sent"),
        sensor={"job_id": ""},
    ),
    Bad("blank job id", "NonRetryableIceInputError", ("job_id",), sensor={"job_id": "  "}),
    Bad("no job id", "NonRetryableIceInputError", ("job_id",), sensor={"job_id": None}),
    Bad(
        "wrong secret",
        "NonRetryableIceAuthenticationError",
        ("SignatureDoesNotMatch", "password", "RequestId"),
        {"password": "wr0ng-s3cret"},
    ),
    Bad(
        "unknown key",
        "NonRetryableIceAuthenticationError",
        ("InvalidAccessKeyId", "login"),
        {"login": "LTAIunknown"},
    ),
    Bad(
        "odd region",
        "NonRetryableIceInputError",
        ("region_id", "cn-shanghai"),
        {"host": None},
        {"region_id": "Atlantis"},
    ),
    Bad(
        "no such CA file",
        "NonRetryableIceInputError",
        ("verify", "/nowhere.pem"),
        {"host": "https://127.0.0.1:9", "extra": {"verify": "/nowhere.pem"}},
    ),
    Bad(
        "no proxy at all",
        "NonRetryableIceInputError",
        ("proxy",),
        {"extra": {"proxy": "not a proxy"}},
    ),
    Bad(
        "unknown credential type",
        "NonRetryableIceInputError",
        ("credential_type",),
        {"extra": {"credential_type": "magic"}},
    ),
    Bad(
        "no such connection",
        "NonRetryableIceConnectionNotFoundError",
        ("nobody",),
        sensor={"ice_conn_id": "nobody"},
    ),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", AT_ONCE, ids=lambda bad: bad.name)
def test_what_can_never_work_ends_at_once(
    bad: Bad, mode: Mode, ice: LocalIce, set_connection: SetConnection
) -> None:
    set_connection(ice, **bad.connection)
    began = time.monotonic()
    outcome = Run(mode, timeout=60, poke_interval=0.1, **bad.sensor).outcome()
    assert time.monotonic() - began < 2
    assert isinstance(outcome.error, AirflowFailException)  # and is not retried
    clear(outcome, bad)


# What may pass is tried until the sensor's own time limit, and a little longer.
@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the time shorter in which polls that fail at the deadline are repeated."""
    monkeypatch.setattr("airflow_ice.waiting.DEADLINE_GRACE", 0.3)


UNTIL_THE_TIMEOUT = [
    Bad("unreachable host", "AirflowSensorTimeout", ("no connection",), {"host": "127.0.0.1:9"}),
    Bad(
        "a region that does not exist",
        "AirflowSensorTimeout",
        ("ice.xx-nowhere.invalid",),
        {"host": "ice.xx-nowhere.invalid"},
    ),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", UNTIL_THE_TIMEOUT, ids=lambda bad: bad.name)
def test_what_may_pass_ends_soon_after_the_timeout(
    bad: Bad, mode: Mode, ice: LocalIce, set_connection: SetConnection, short_grace: None
) -> None:
    set_connection(ice, **bad.connection)
    ends_in_time(bad, mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_proxy_that_refuses(
    mode: Mode,
    refusing_proxy: str,
    ice: LocalIce,
    set_connection: SetConnection,
    short_grace: None,
) -> None:
    # Through an http proxy the request itself goes to the proxy; through a tunnel, CONNECT does.
    for host in (ice.url, "https://127.0.0.1:9"):
        set_connection(ice, host=host, extra={"proxy": refusing_proxy})
        ends_in_time(Bad("proxy", "", ("407",)), mode)


def ends_in_time(bad: Bad, mode: Mode) -> None:
    began = time.monotonic()
    outcome = Run(mode, timeout=0.3, poke_interval=0.1, **bad.sensor).outcome()
    assert time.monotonic() - began < 2.5
    clear(outcome, bad)
    assert "stays billed" in str(outcome.error)


def clear(outcome: Outcome, bad: Bad) -> None:
    assert outcome.kind == bad.ends or not bad.ends
    said = str(outcome.error)
    for word in bad.says:
        assert word in said
    for secret in SECRETS:
        assert secret not in said + repr(outcome.error)


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_job_ends_a_wait_when_doubt_ends(
    mode: Mode, ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_ice.waiting.DOUBT", 0.25)
    before = len(ice.requests("GetBatchMediaProducingJob"))
    outcome = Run(mode, job_id="0" * 32, timeout=60, poke_interval=0.1).outcome()
    assert isinstance(outcome.error, IceJobNotFoundError)
    for said in ("ResourceNotFound", "region_id", "RequestId"):
        assert said in str(outcome.error)
    assert 3 <= len(ice.requests("GetBatchMediaProducingJob")) - before <= 8


# The hook alone


def raised(what: Callable[[], Any]) -> IceError:
    with pytest.raises(IceError) as caught:
        what()
    return caught.value


CONFIG: dict[str, Any] = {"MediaGroupArray": [{"GroupName": "a", "MediaArray": ["m"]}]}
OUTPUT: dict[str, Any] = {
    "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4",
    "Count": 1,
    "Width": 320,
    "Height": 240,
}


@pytest.mark.parametrize(
    ("config", "output"),
    [
        ("{not json", OUTPUT),
        ("[]", OUTPUT),
        (7, OUTPUT),
        ({}, OUTPUT),
        ({"MediaGroupArray": [float("nan")]}, OUTPUT),
        (CONFIG, "{"),
        (CONFIG, {}),
        (CONFIG, {**OUTPUT, "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/same.mp4"}),
        (CONFIG, {**OUTPUT, "Count": 0}),
    ],
)
async def test_a_malformed_config_is_refused_before_anything_is_sent(
    config: Any, output: Any, ice: LocalIce
) -> None:
    before = len(ice.requests())
    with pytest.raises(IceInputError, match="Nothing was sent"):
        IceHook().submit_batch_media_producing_job(input_config=config, output_config=output)
    with pytest.raises(IceInputError):
        await IceHook().asubmit_batch_media_producing_job(input_config=config, output_config=output)
    assert len(ice.requests()) == before


def test_the_cause_is_kept(
    ice: LocalIce, set_connection: SetConnection, refusing_proxy: str
) -> None:
    set_connection(ice, host="127.0.0.1:9")
    refused = raised(lambda: IceHook(tries=1).get_batch_media_producing_job("j"))
    assert type(refused.__cause__).__name__ == "ConnectError"
    set_connection(ice, host="https://127.0.0.1:9", extra={"proxy": refusing_proxy})
    behind = raised(lambda: IceHook(tries=1).get_batch_media_producing_job("j"))
    assert type(behind.__cause__).__name__ == "ProxyError"


def test_a_submit_whose_fate_is_unknown_says_so_and_one_that_was_not_sent_too(
    ice: LocalIce, set_connection: SetConnection
) -> None:
    ice.fault("lost_reply", action="SubmitBatchMediaProducingJob")
    before = len(ice.jobs())
    lost = raised(
        lambda: IceHook(tries=1).submit_batch_media_producing_job(
            input_config=CONFIG, output_config=OUTPUT
        )
    )
    assert (lost.submitted, len(ice.jobs()) - before) == ("unknown", 1)
    assert "may be running and billed" in str(lost)
    set_connection(ice, host="127.0.0.1:9")
    refused = raised(
        lambda: IceHook(tries=1).submit_batch_media_producing_job(
            input_config=CONFIG, output_config=OUTPUT
        )
    )
    assert refused.submitted == "no"
    assert "nothing is billed" in str(refused)


def test_collecting_an_unknown_job_is_one_clear_error(ice: LocalIce) -> None:
    context: Any = {"ti": TaskInstance()}
    error = raised(
        lambda: IceGetBatchMediaProducingJobOperator(task_id="c", job_id="0" * 32).execute(context)
    )
    assert isinstance(error, IceJobNotFoundError)
