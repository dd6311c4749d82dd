"""Nothing answers as it should: names, ports, proxies, certificates and timeouts. Each ends in one
clear error, in time.

All of it on loopback: the name lookup is replaced, and proxies and TLS servers are small servers of
the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import h11
import httpx
import pytest

from airflow_ice.api.client import AsyncIceClient, ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import Endpoint, endpoint
from airflow_ice.api.errors import (
    IceCredentialsError,
    IceError,
    IceInputError,
    IceTimeoutError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.retries import RetryPolicy
from airflow_ice.api.signature import Credentials

KEYS = Credentials("testid", "testsecret", "t0ken")
BATCH: dict[str, Any] = {
    "input_config": {"MediaArray": ["http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"]},
    "output_config": {"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4"},
}
SECONDS = 2.0
"""No case here takes longer than this, and most take milliseconds."""


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Server:
    """A TCP server on loopback that treats each connection as it is told to."""

    def __init__(self, treat: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._treat = treat
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1.0)
                self._treat(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    with contextlib.ExitStack() as stack:

        def start(treat: Callable[[socket.socket], None]) -> Server:
            server = Server(treat)
            stack.callback(server.close)
            return server

        yield start


Serve = Callable[[Callable[[socket.socket], None]], Server]


def request_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
        head += more
    return head


def says(reply: bytes) -> Callable[[socket.socket], None]:
    def treat(connection: socket.socket) -> None:
        request_head(connection)
        connection.sendall(reply)

    return treat


def hold(connection: socket.socket) -> None:
    """Say nothing until the other side gives up."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Caller:
    def __init__(self, colour: str) -> None:
        self.colour = colour

    async def __call__(
        self, where: Endpoint, name: str, /, settings: dict[str, Any], **arguments: Any
    ) -> Any:
        built = ClientSettings(
            where, **{"retry": RetryPolicy(tries=2, first_pause=0.0), **settings}
        )
        if self.colour == "sync":
            with IceClient(built, FixedCredentials(KEYS)) as client:
                return getattr(client, name)(**arguments)
        async with AsyncIceClient(built, FixedCredentials(KEYS)) as aclient:
            return await getattr(aclient, f"a{name}")(**arguments)

    async def fails(self, where: Endpoint, **settings: Any) -> tuple[IceError, IceError]:
        """Return the errors of a look and of a submit, after what holds for every one of them."""
        started = time.monotonic()
        with pytest.raises(IceError) as look:
            await self(where, "get_batch_media_producing_job", settings, job_id="J")
        with pytest.raises(IceError) as submit:
            await self(where, "submit_batch_media_producing_job", settings, **BATCH)
        assert time.monotonic() - started < SECONDS
        for error, action in (
            (look.value, "GetBatchMediaProducingJob"),
            (submit.value, "SubmitBatchMediaProducingJob"),
        ):
            assert error.action == action
            assert str(error).startswith(action)
            shown = f"{error} {error!r} {error.as_dict()} {error.__cause__!r}"
            assert not any(
                secret in shown for secret in ("testsecret", "t0ken", "hunter2", "Signature=")
            )
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
            assert str(again) == str(error)
        assert look.value.submitted is None
        return look.value, submit.value


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


async def test_a_region_that_does_not_exist(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def unknown(host: object, *_: object, **__: object) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    look, submit = await call.fails(endpoint(region_id="cn-nowhere"))
    assert {host.decode() if isinstance(host, bytes) else host for host in asked} == {
        "ice.cn-nowhere.aliyuncs.com"
    }
    assert len(asked) == 3, "a look is tried again, a submit without a ClientToken is not"
    for error in (look, submit):
        assert type(error) is IceTransportError
        assert "(endpoint ice.cn-nowhere.aliyuncs.com)" in str(error)
        assert "Name or service not known" in str(error)
        assert (
            "Check region_id: cn-nowhere is none that is known; ICE runs in cn-shanghai, cn-beijing"
            in str(error)
        )
        assert isinstance(error.__cause__, httpx.ConnectError)
        assert error.transient
    assert submit.submitted == "no"
    assert "nothing is billed" in str(submit)


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        (endpoint(), {}),
        (endpoint(network="vpc"), {}),
        (endpoint(host="gateway.example"), {}),
        (endpoint(region_id="cn-nowhere"), {"proxy": "http://proxy.example:1"}),
    ],
)
async def test_a_host_or_proxy_name_that_is_not_found_gives_advice_on_the_endpoint(
    call: Caller, monkeypatch: pytest.MonkeyPatch, where: Endpoint, settings: dict[str, Any]
) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for error in await call.fails(where, **settings):
        assert "Name or service not known" in str(error)
        assert "ICE runs in" not in str(error)
        assert "Check the endpoint" in str(error)


async def test_a_host_that_does_not_listen(call: Caller) -> None:
    where = endpoint(host="127.0.0.1", port=closed_port())
    look, submit = await call.fails(where)
    for error in (look, submit):
        assert type(error) is IceTransportError
        assert "no connection" in str(error)
        assert where.host in str(error)
        assert isinstance(error.__cause__, httpx.ConnectError)
    assert submit.submitted == "no"


async def test_a_connection_that_takes_too_long(call: Caller, serve: Serve) -> None:
    silent = serve(hold)
    look, submit = await call.fails(
        endpoint(host=f"https://127.0.0.1:{silent.port}"), connect_timeout=0.1, read_timeout=9.0
    )
    for error in (look, submit):
        assert type(error) is IceTimeoutError
        assert "no connection within 0.1 s" in str(error)
        assert isinstance(error.__cause__, httpx.ConnectTimeout)
    assert submit.submitted == "no"


async def test_a_reply_that_takes_too_long(call: Caller, serve: Serve) -> None:
    silent = serve(hold)
    look, submit = await call.fails(
        endpoint(host="127.0.0.1", port=silent.port), connect_timeout=9.0, read_timeout=0.1
    )
    for error in (look, submit):
        assert type(error) is IceTimeoutError
        assert "no reply within 0.1 s" in str(error)
        assert isinstance(error.__cause__, httpx.ReadTimeout)
    assert submit.submitted == "unknown"
    assert "it may be running and billed" in str(submit)
    assert silent.connections == 3


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz",
    ],
)
async def test_a_connection_that_breaks(call: Caller, serve: Serve, reply: bytes) -> None:
    broken = serve(says(reply))
    look, submit = await call.fails(endpoint(host="127.0.0.1", port=broken.port))
    for error in (look, submit):
        assert type(error) is IceTransportError
        assert "the connection broke" in str(error)
        assert error.__cause__ is not None
        assert error.transient
    assert submit.submitted == "unknown"


@pytest.mark.parametrize(
    ("cause", "kind", "said", "submitted"),
    [
        (httpx.ConnectError("e"), IceTransportError, "no connection: e", "no"),
        (httpx.ProxyError("e"), IceTransportError, "the proxy refused: e", "no"),
        (httpx.ConnectTimeout("e"), IceTimeoutError, "no connection within 5 s", "no"),
        (
            httpx.PoolTimeout("e"),
            IceTimeoutError,
            "no free connection of this client within 10 s",
            "no",
        ),
        (httpx.ReadTimeout("e"), IceTimeoutError, "no reply within 10 s", "unknown"),
        (httpx.WriteTimeout("e"), IceTimeoutError, "no reply within 10 s", "unknown"),
        (httpx.ReadError("e"), IceTransportError, "the connection broke: e", "unknown"),
        (httpx.WriteError(""), IceTransportError, "the connection broke: WriteError", "unknown"),
        (httpx.CloseError("e"), IceTransportError, "the connection broke: e", "unknown"),
        (httpx.RemoteProtocolError("e"), IceTransportError, "the connection broke: e", "unknown"),
        (httpx.LocalProtocolError("e"), IceTransportError, "the connection broke: e", "unknown"),
        (
            httpx.DecodingError("http://b/x?Signature=s"),
            IceTransportError,
            "the connection broke: http://b/x?***",
            "unknown",
        ),
        (httpx.StreamConsumed(), IceTransportError, "failed: StreamConsumed", "unknown"),
        (httpx.InvalidURL("e"), IceTransportError, "the request failed: InvalidURL: e", "unknown"),
        (RuntimeError("e"), IceTransportError, "the request failed: RuntimeError: e", "unknown"),
        (h11.LocalProtocolError("e"), IceTransportError, "LocalProtocolError: e", "unknown"),
        (anyio.BrokenResourceError(), IceTransportError, "BrokenResourceError", "unknown"),
        (anyio.ClosedResourceError(), IceTransportError, "ClosedResourceError", "unknown"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "e"), IceTransportError, "Unicode", "unknown"),
        (AssertionError(), IceTransportError, "failed: AssertionError", "unknown"),
        (ssl.SSLError(1, "bad record"), IceTransportError, "broke: bad record", "unknown"),
        (ConnectionResetError(104, "reset"), IceTransportError, "connection broke", "unknown"),
        (TimeoutError("e"), IceTimeoutError, "the connection broke: e", "unknown"),
    ],
)
async def test_each_failure_of_the_transport_in_words(
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception,
    kind: type[IceError],
    said: str,
    submitted: str,
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise cause

    async def afail(*_: object, **__: object) -> Any:
        raise cause

    monkeypatch.setattr(httpx.Client, "send", fail)
    monkeypatch.setattr(httpx.AsyncClient, "send", afail)
    with pytest.raises(IceError) as caught:
        await call(
            endpoint(host="127.0.0.1", port=1), "submit_batch_media_producing_job", {}, **BATCH
        )
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert caught.value.submitted == submitted
    assert caught.value.__cause__ is cause


async def test_a_request_that_cannot_be_built_is_not_sent(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise httpx.InvalidURL("e")

    monkeypatch.setattr(httpx.URL, "copy_with", fail)
    for error in await call.fails(endpoint(host="127.0.0.1", port=1)):
        assert type(error) is IceTransportError
        assert "the request could not be built (InvalidURL: e)" in str(error)
        assert error.submitted in {None, "no"}
        assert not error.transient


@pytest.mark.parametrize("cause", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
async def test_what_is_no_error_passes_through(
    call: Caller, monkeypatch: pytest.MonkeyPatch, cause: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise cause

    monkeypatch.setattr(httpx.Client, "send", fail)
    monkeypatch.setattr(httpx.AsyncClient, "send", fail)
    where = endpoint(host="127.0.0.1", port=1)
    with pytest.raises(cause):
        await call(where, "get_batch_media_producing_job", {}, job_id="J")


async def test_a_page_of_a_proxy_between(call: Caller, serve: Serve) -> None:
    page = (Path(__file__).parent.parent / "samples" / "error_502.html").read_bytes()
    head = (
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n"
        f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
    )
    server = serve(says(head.encode() + page))
    look, submit = await call.fails(endpoint(host="127.0.0.1", port=server.port))
    for error in (look, submit):
        assert type(error) is IceUnavailableError
        assert (error.http_status, error.code, error.request_id) == (502, None, None)
        assert "502 Bad Gateway" in str(error)
    assert submit.submitted == "unknown"


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
async def test_a_proxy_that_refuses(call: Caller, serve: Serve, status: str) -> None:
    seen: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        seen.append(request_head(connection))
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )

    proxy = serve(refuse)
    look, submit = await call.fails(endpoint(), proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}")
    assert {head.split(b"\r\n")[0] for head in seen} == {
        b"CONNECT ice.cn-shanghai.aliyuncs.com:443 HTTP/1.1"
    }
    for error in (look, submit):
        assert type(error) is IceTransportError
        assert f"the proxy refused: {status}" in str(error)
        assert "ice.cn-shanghai.aliyuncs.com" in str(error)
        assert isinstance(error.__cause__, httpx.ProxyError)
    assert submit.submitted == "no"


async def test_a_proxy_that_does_not_listen(call: Caller) -> None:
    port = closed_port()
    _, submit = await call.fails(endpoint(), proxy=f"http://user:hunter2@127.0.0.1:{port}")
    assert type(submit) is IceTransportError
    assert submit.submitted == "no"
    assert f"(endpoint ice.cn-shanghai.aliyuncs.com, through the proxy 127.0.0.1:{port})" in str(
        submit
    )


async def test_a_proxy_of_the_environment_is_used_but_not_for_loopback(
    call: Caller, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    look, _ = await call.fails(endpoint())
    assert "the proxy refused: 403" in str(look)
    used = proxy.connections
    assert used == 3
    look, _ = await call.fails(endpoint(host="127.0.0.1", port=closed_port()))
    assert "no connection" in str(look)
    assert proxy.connections == used


@pytest.mark.parametrize(
    "proxy",
    ["proxy", "ftp://proxy:21", "http://[bad", "http://", "http://a b", "http://proxy:99999", ""],
)
async def test_a_proxy_that_is_no_address(call: Caller, proxy: str) -> None:
    with pytest.raises(IceInputError, match="proxy must be an address such as"):
        await call(endpoint(), "get_batch_media_producing_job", {"proxy": proxy}, job_id="J")


async def test_a_socks_proxy_without_its_package(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    with pytest.raises(IceInputError, match=r"SOCKS proxy .* needs the package"):
        await call(
            endpoint(),
            "get_batch_media_producing_job",
            {"proxy": "socks5://127.0.0.1:1"},
            job_id="J",
        )
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(IceInputError, match=r"SOCKS proxy .* needs the package"):
        await call(endpoint(), "get_batch_media_producing_job", {}, job_id="J")


async def test_a_proxy_of_the_environment_that_is_no_address(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://user:hunter2@proxy:21")
    with pytest.raises(IceInputError, match="proxy of the environment") as caught:
        await call(endpoint(), "get_batch_media_producing_job", {}, job_id="J")
    assert "hunter2" not in str(caught.value)


class TestCertificates:
    @pytest.fixture
    def where(self, serve: Serve, certificate: tuple[Path, Path]) -> Endpoint:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

        def treat(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as tls:
                body = b'{"RequestId":"R","EditingBatchJob":{"JobId":"J"}}'
                says(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(body), body)
                )(tls)

        return endpoint(host=f"https://127.0.0.1:{serve(treat).port}")

    async def test_one_that_is_not_trusted(self, call: Caller, where: Endpoint) -> None:
        look, submit = await call.fails(where)
        for error in (look, submit):
            assert type(error) is IceTransportError
            assert "self-signed certificate" in str(error)
            assert "give the CA file of the proxy or gateway as `verify`" in str(error)
            assert isinstance(error.__cause__, httpx.ConnectError)
            assert not error.transient, "trying again cannot help"
        assert submit.submitted == "no"

    async def test_it_is_not_tried_again(
        self, serve: Serve, call: Caller, certificate: tuple[Path, Path]
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server = serve(lambda connection: context.wrap_socket(connection, server_side=True).close())
        await call.fails(endpoint(host=f"https://127.0.0.1:{server.port}"))
        assert server.connections == 2

    async def test_one_that_is_trusted_through_verify(
        self, call: Caller, where: Endpoint, certificate: tuple[Path, Path]
    ) -> None:
        job = await call(
            where, "get_batch_media_producing_job", {"verify": str(certificate[0])}, job_id="J"
        )
        assert (job.job_id, job.request_id) == ("J", "R")

    async def test_one_for_another_name(
        self, call: Caller, where: Endpoint, certificate: tuple[Path, Path]
    ) -> None:
        elsewhere = endpoint(host=where.url.replace("127.0.0.1", "localhost"))
        look, _ = await call.fails(elsewhere, verify=str(certificate[0]))
        assert "localhost" in str(look)
        assert not look.transient

    async def test_a_ca_file_that_is_none(
        self, call: Caller, tmp_path: Path, certificate: tuple[Path, Path]
    ) -> None:
        (tmp_path / "text.pem").write_text("no certificate")
        for path in (tmp_path / "missing.pem", tmp_path, tmp_path / "text.pem", certificate[1]):
            with pytest.raises(IceInputError, match="must be a file of CA certificates") as caught:
                await call(
                    endpoint(), "get_batch_media_producing_job", {"verify": str(path)}, job_id="J"
                )
            assert caught.value.field == "verify"
            assert str(path)[:40] in str(caught.value)

    async def test_a_ca_file_that_cannot_be_read(
        self, call: Caller, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(**_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(ssl, "create_default_context", denied)
        with pytest.raises(
            IceInputError, match=r"must be a file of CA certificates \(PEM\): Permission denied"
        ):
            await call(
                endpoint(),
                "get_batch_media_producing_job",
                {"verify": str(certificate[0])},
                job_id="J",
            )


class Out(FixedCredentials):
    """A source that has none for the first tries."""

    def __init__(self, failures: int, *, transient: bool) -> None:
        super().__init__(KEYS)
        self.failures, self.transient, self.asked = failures, transient, 0

    def get(self) -> Credentials:
        self.asked += 1
        if self.asked <= self.failures:
            raise IceCredentialsError(
                "no credentials could be had: out of reach", transient=self.transient
            )
        return KEYS

    async def aget(self) -> Credentials:
        return self.get()


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("failures", "transient", "asked"), [(1, True, 2), (9, True, 3), (9, False, 1)]
)
async def test_credentials_that_cannot_be_had(
    serve: Serve, colour: str, failures: int, transient: bool, asked: int
) -> None:
    body = b'{"RequestId":"R","JobId":"J"}'
    server = serve(
        says(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
    )
    source = Out(failures, transient=transient)
    settings = ClientSettings(
        endpoint(host="127.0.0.1", port=server.port), retry=RetryPolicy(tries=3, first_pause=0.0)
    )
    expected: contextlib.AbstractContextManager[Any] = (
        pytest.raises(IceCredentialsError) if failures > 2 else contextlib.nullcontext()
    )
    with expected as caught:
        if colour == "sync":
            with IceClient(settings, source) as client:
                client.submit_batch_media_producing_job(**BATCH, client_token="k")
        else:
            async with AsyncIceClient(settings, source) as aclient:
                await aclient.asubmit_batch_media_producing_job(**BATCH, client_token="k")
    assert source.asked == asked
    if caught is not None:
        assert (caught.value.action, caught.value.submitted) == (
            "SubmitBatchMediaProducingJob",
            "no",
        )
        assert server.connections == 0


def test_no_proxy_password_shows_in_the_settings() -> None:
    assert "hunter2" not in repr(ClientSettings(endpoint(), proxy="http://user:hunter2@proxy:3128"))
