"""Where credentials come from: fixed ones, and the real library against a credentials server on
loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from alibabacloud_credentials.client import Client
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.models import Config
from alibabacloud_credentials.provider.refreshable import RefreshCachedSupplier

from airflow_ice.api.credentials import FixedCredentials, LibraryCredentials, usable
from airflow_ice.api.errors import IceCredentialsError
from airflow_ice.api.signature import Credentials

SECRET = "s3cretKeyOfTheServer"
TOKEN = "t0kenOfTheServer"


class CredentialsServer:
    """Answers each request with the next of `replies`; the last one stays."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str]] = []
        self.asked = 0
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                time.sleep(outer.delay)
                status, body = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                with contextlib.suppress(OSError):  # the client has given up
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/credentials"

    def answer(self, *keys: tuple[str, timedelta]) -> None:
        self.replies = [(200, good(key, lifetime)) for key, lifetime in keys]


def good(key: str, lifetime: timedelta, **more: Any) -> str:
    expires = (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "Code": "Success",
        "AccessKeyId": key,
        "AccessKeySecret": SECRET,
        "SecurityToken": TOKEN,
        "Expiration": expires,
    }
    return json.dumps({**body, **more})


@pytest.fixture
def server() -> Iterator[CredentialsServer]:
    found = CredentialsServer()
    thread = threading.Thread(
        target=lambda: found.http.serve_forever(poll_interval=0.01), daemon=True
    )
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


def library(url: str) -> LibraryCredentials:
    return LibraryCredentials(
        lambda: Client(
            Config(type="credentials_uri", credentials_uri=url, connect_timeout=200, timeout=200)
        )
    )


def test_fixed_credentials_are_what_was_given() -> None:
    credentials = Credentials("id", "secret", "token")
    assert FixedCredentials(credentials).get() is credentials


async def test_fixed_credentials_are_so_asynchronously() -> None:
    credentials = Credentials(bearer_token="b")
    assert await FixedCredentials(credentials).aget() is credentials


def test_fixed_credentials_never_load_the_library() -> None:
    script = (
        "import sys\nfrom airflow_ice.api.credentials import *\n"
        "from airflow_ice.api.signature import Credentials\n"
        "FixedCredentials(Credentials('i', 's')).get()\nLibraryCredentials(lambda: None)\n"
        "sys.exit('alibabacloud_credentials' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_library_s_credentials(server: CredentialsServer) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    source = library(server.url)
    assert server.asked == 0, "nothing is asked before it is needed"
    assert source.get() == Credentials("STS.one", SECRET, TOKEN, provider_name="credential_uri")
    assert source.get().access_key_id == "STS.one"
    assert server.asked == 1, "good credentials are kept"


async def test_the_library_s_credentials_asynchronously(server: CredentialsServer) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    assert await library(server.url).aget() == Credentials(
        "STS.one", SECRET, TOKEN, provider_name="credential_uri"
    )


def test_credentials_that_are_about_to_expire_are_refreshed(server: CredentialsServer) -> None:
    server.answer(("STS.one", timedelta(minutes=10)), ("STS.two", timedelta(hours=2)))
    source = library(server.url)
    assert [source.get().access_key_id for _ in range(3)] == ["STS.one", "STS.two", "STS.two"]
    assert server.asked == 2


async def test_a_slow_server_does_not_block_the_loop(server: CredentialsServer) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    server.delay = 0.15
    asked = asyncio.create_task(library(server.url).aget())
    ticks = 0
    while not asked.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert (await asked).access_key_id == "STS.one"
    assert ticks > 5


def test_the_client_is_made_once_by_any_number_of_threads() -> None:
    made: list[int] = []

    def make_client() -> Any:
        made.append(1)
        time.sleep(0.02)
        model = SimpleNamespace(
            access_key_id="i",
            access_key_secret="s",
            security_token="",
            bearer_token=None,
            provider_name="p",
        )
        return SimpleNamespace(get_credential=lambda: model)

    source = LibraryCredentials(make_client)
    found: list[Credentials] = []
    threads = [threading.Thread(target=lambda: found.append(source.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == [Credentials("i", "s", None, None, "p")] * 8


def test_a_bearer_token_of_the_library() -> None:
    source = LibraryCredentials(lambda: Client(Config(type="bearer", bearer_token="b-token")))
    assert source.get() == Credentials(bearer_token="b-token")


def test_a_library_without_an_access_key() -> None:
    model = SimpleNamespace(
        access_key_id="",
        access_key_secret=None,
        security_token=None,
        bearer_token=None,
        provider_name="p",
    )
    with pytest.raises(IceCredentialsError, match="returned no AccessKey"):
        LibraryCredentials(lambda: SimpleNamespace(get_credential=lambda: model)).get()


def refusal(source: LibraryCredentials) -> IceCredentialsError:
    with pytest.raises(IceCredentialsError) as caught:
        source.get()
    return caught.value


def everything_shown(error: BaseException) -> str:
    as_dict = error.as_dict() if isinstance(error, IceCredentialsError) else ""
    return f"{error} {error!r} {error.__dict__} {as_dict} {error.__cause__}"


@pytest.mark.parametrize(
    ("status", "transient"),
    [(500, True), (503, True), (429, True), (400, False), (403, False), (404, False)],
)
def test_a_refusal_whose_body_holds_keys_shows_none(
    server: CredentialsServer, status: int, transient: bool
) -> None:
    server.replies = [(status, good("STS.one", timedelta(hours=2)))]
    error = refusal(library(server.url))
    assert not any(leak in everything_shown(error) for leak in (SECRET, TOKEN, "STS.one"))
    assert error.transient is transient
    assert str(status) in str(error)


@pytest.mark.parametrize(
    "body",
    [
        good("STS.one", timedelta(hours=2), Code="Failed"),
        json.dumps(
            {
                "Code": "Success",
                "AccessKeyId": "STS.one",
                "AccessKeySecret": SECRET,
                "SecurityToken": TOKEN,
            }
        ),
        good("STS.one", timedelta(hours=2), Expiration="soon"),
        good("STS.one", timedelta(hours=2))[:-20],
        f"<html>{SECRET}{TOKEN}STS.one</html>",
        "",
    ],
)
def test_a_reply_that_is_no_set_of_credentials_shows_none(
    server: CredentialsServer, body: str
) -> None:
    server.replies = [(200, body)]
    error = refusal(library(server.url))
    assert not any(leak in everything_shown(error) for leak in (SECRET, TOKEN, "STS.one"))
    assert not error.transient
    assert error.__suppress_context__, (
        "the library's own message, keys included, is not printed as a cause"
    )


def test_a_server_that_is_down_is_transient(server: CredentialsServer) -> None:
    url = server.url
    server.http.server_close()
    error = refusal(library(url))
    assert error.transient
    assert "no credentials could be had" in str(error)


def test_a_server_that_does_not_answer_is_transient(server: CredentialsServer) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    server.delay = 0.3
    assert refusal(library(server.url)).transient


@pytest.fixture
def everything_written(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Return what tells all that was logged or printed, down to the last line of every library."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: stream.getvalue() + "".join(capfd.readouterr())
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("status", [200, 403, 503])
def test_the_library_logs_no_keys(
    server: CredentialsServer, everything_written: Callable[[], str], status: int
) -> None:
    server.replies = [(status, good("STS.one", timedelta(hours=2), Code="Failed"))]
    refusal(library(f"{server.url}?token={TOKEN}"))
    assert everything_written() == ""


def test_nor_does_a_role_whose_sts_is_out_of_reach(everything_written: Callable[[], str]) -> None:
    keys = {
        "access_key_id": "LTAItest",
        "access_key_secret": SECRET,
        "role_arn": "acs:ram::1:role/r",
    }
    config = Config(
        type="ram_role_arn", sts_endpoint="127.0.0.1:9", connect_timeout=200, timeout=200, **keys
    )
    refusal(LibraryCredentials(lambda: Client(config)))
    assert everything_written() == ""


def test_credentials_that_come_are_not_logged_either(
    server: CredentialsServer, everything_written: Callable[[], str]
) -> None:
    server.answer(("STS.one", timedelta(minutes=10)), ("STS.two", timedelta(hours=2)))
    source = library(f"{server.url}?token={TOKEN}")
    source.get()
    source.get()
    assert everything_written() == ""


def test_a_refresh_in_a_thread_of_the_librarys_own_is_silent_too(
    server: CredentialsServer, everything_written: Callable[[], str]
) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    library(server.url).get()

    def fail() -> Any:
        raise CredentialException(f"result: {SECRET}")

    def refresh() -> None:
        with contextlib.suppress(CredentialException):
            RefreshCachedSupplier(fail, fail)._sync_call()

    thread = threading.Thread(target=refresh)
    thread.start()
    thread.join()
    assert everything_written() == ""


def test_what_others_log_to_the_same_loggers_stays(
    server: CredentialsServer, everything_written: Callable[[], str]
) -> None:
    server.answer(("STS.one", timedelta(hours=2)))
    library(server.url).get()
    for name in ("credentials", "urllib3.connectionpool"):
        logging.getLogger(name).warning("the user's own, on %s", name)
    written = everything_written()
    assert "the user's own, on credentials" in written
    assert "the user's own, on urllib3.connectionpool" in written


def test_an_error_is_not_kept(server: CredentialsServer) -> None:
    server.replies = [(503, "busy"), (200, good("STS.one", timedelta(hours=2)))]
    source = library(server.url)
    assert refusal(source).transient
    assert source.get().access_key_id == "STS.one"


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("error refreshing credentials from oidc_role_arn, http_code: 503, result: {}", True),
        ("error refreshing credentials from oidc_role_arn, http_code: 429, result: {}", True),
        ("error refreshing credentials from ram_role_arn, http_code: 403, result: {}", False),
        ("error refreshing credentials from x, http_code=500, result: http_code=400", True),
        ("Connect timeout", True),
        ("request timed out", True),
        ("invalid type option, support: ...", False),
    ],
)
def test_what_the_library_says_decides_whether_asking_again_may_help(
    said: str, transient: bool
) -> None:
    def make_client() -> Any:
        raise CredentialException(said)

    assert refusal(LibraryCredentials(make_client)).transient is transient


@pytest.mark.parametrize(
    "cause", [ValueError("role_arn cannot be empty"), OSError("no route"), KeyError("x")]
)
def test_whatever_the_library_raises_is_one_clear_error(cause: Exception) -> None:
    def make_client() -> Any:
        raise cause

    error = refusal(LibraryCredentials(make_client))
    assert type(cause).__name__ in str(error)
    assert "credential_type" in str(error)
    assert error.transient is isinstance(cause, OSError)


def test_a_failed_client_is_made_again() -> None:
    tried: list[int] = []

    def make_client() -> Any:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("later")
        return Client(Config(type="bearer", bearer_token="b"))

    source = LibraryCredentials(make_client)
    assert refusal(source).transient
    assert source.get().bearer_token == "b"


@pytest.mark.parametrize(
    "name", ["access_key_id", "security_token", "bearer_token", "provider_name"]
)
@pytest.mark.parametrize("value", ["hunter2\n", " hunter2", "hunter 2", "hunter2密"])
def test_what_cannot_travel_in_a_header_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(IceCredentialsError) as caught:
        usable(Credentials(**{"access_key_id": "i", name: value}))
    assert name in str(caught.value)
    assert "hunter" not in everything_shown(caught.value)
    assert not caught.value.transient


def test_the_secret_may_be_anything() -> None:
    credentials = Credentials("i", "se cret\n密", "tok+en/==")
    assert usable(credentials) is credentials
