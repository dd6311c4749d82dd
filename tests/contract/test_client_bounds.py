"""What one request may cost at the most, and what is known of it: a bound in all, errors for
whatever breaks, a last word before it.

Real servers on loopback that dribble, fall silent, break TLS, or note what arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_ice.api.client import AsyncIceClient, ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import Endpoint, endpoint
from airflow_ice.api.errors import IceError, IceTimeoutError, IceTransportError
from airflow_ice.api.operations import (
    Operation,
    get_batch_media_producing_job,
    submit_batch_media_producing_job,
)
from airflow_ice.api.retries import RetryPolicy
from airflow_ice.api.signature import Credentials

KEYS = Credentials("testid", "testsecret")
CONNECT, READ = 0.25, 0.35
BOUND = CONNECT + READ
SLACK = 0.4
GET = get_batch_media_producing_job("J")
SUBMIT = submit_batch_media_producing_job(
    input_config={"MediaArray": ["http://b.oss-cn-shanghai.aliyuncs.com/a.mp4"]},
    output_config={"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4"},
)
BODY = b'{"RequestId":"R","JobId":"J","EditingBatchJob":{"JobId":"J","Status":"Finished"}}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

Treat = Callable[[socket.socket, int], None]
"""What a server does with one request: its connection, and its number on that connection, from 0.
"""


class Server:
    """A server on loopback with a thread for each connection.

    :ivar received: all bytes of all connections.
    :ivar connections: how many there were.
    :ivar one_closed: set as soon as the client has closed one.
    """

    def __init__(self, treat: Treat, wrap: Callable[[socket.socket], socket.socket]) -> None:
        self._treat, self._wrap = treat, wrap
        self.received, self.connections, self.one_closed = b"", 0, threading.Event()
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5.0)
        with contextlib.suppress(OSError), contextlib.closing(self._wrap(connection)) as stream:
            number = 0
            while head := self._request(stream):
                self._treat(stream, number)
                number += 1
                del head
            self.one_closed.set()
        connection.close()

    def _request(self, stream: socket.socket) -> bytes:
        """Read a request, or nothing where the client has closed the connection."""
        found = b""
        while b"\r\n\r\n" not in found:
            more = stream.recv(65536)
            if not more:
                return b""
            found += more
            self.received += more
        head, _, body = found.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        while len(body) < length:
            more = stream.recv(65536)
            body += more
            self.received += more
        return found

    def close(self) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(
            treat: Treat, wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
        ) -> Server:
            server = Server(treat, wrap)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> Callable[[socket.socket], socket.socket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return lambda plain: context.wrap_socket(plain, server_side=True)


def dribble(stream: socket.socket, data: bytes) -> None:
    """Send a byte at a time, each well within the client's patience between two bytes."""
    for place in range(len(data)):
        stream.sendall(data[place : place + 1])
        time.sleep(0.1)


def dribbled_head(stream: socket.socket, _: int) -> None:
    dribble(stream, b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * 30)


def dribbled_body(stream: socket.socket, _: int) -> None:
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    dribble(stream, BODY)


def silent(stream: socket.socket, _: int) -> None:
    stream.recv(1)


def after_a_good_one(treat: Treat) -> Treat:
    def second(stream: socket.socket, number: int) -> None:
        if number == 0:
            stream.sendall(GOOD)
        else:
            treat(stream, number)

    return second


class Client:
    """One client of either colour, open for a test; the calls run beside the test's servers."""

    def __init__(self, client: IceClient | AsyncIceClient) -> None:
        self.client = client

    async def __call__(self, operation: Operation[Any]) -> Any:
        if isinstance(self.client, IceClient):
            return self.client.call(operation)
        return await self.client.acall(operation)

    async def fails(self, operation: Operation[Any] = GET) -> tuple[IceError, float]:
        """Return the error and the seconds that it took."""
        began = time.monotonic()
        with pytest.raises(IceError) as caught:
            await self(operation)
        return caught.value, time.monotonic() - began


Open = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest) -> Open:
    @contextlib.asynccontextmanager
    async def opened(where: Endpoint, **changes: Any) -> AsyncIterator[Client]:
        settings = ClientSettings(
            where,
            **{
                "connect_timeout": CONNECT,
                "read_timeout": READ,
                "retry": RetryPolicy(tries=1),
                **changes,
            },
        )
        if request.param == "sync":
            with IceClient(settings, FixedCredentials(KEYS)) as client:
                yield Client(client)
        else:
            async with AsyncIceClient(settings, FixedCredentials(KEYS)) as aclient:
                yield Client(aclient)

    return opened


def at(server: Server, scheme: str = "http") -> Endpoint:
    return endpoint(host=f"{scheme}://127.0.0.1:{server.port}")


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("treat", [dribbled_head, dribbled_body, silent])
@pytest.mark.parametrize("operation", [GET, SUBMIT])
async def test_a_reply_has_a_bound_in_all(
    opened: Open, serve: Serve, treat: Treat, reused: bool, operation: Operation[Any]
) -> None:
    server = serve(after_a_good_one(treat) if reused else treat)
    async with opened(at(server)) as client:
        if reused:
            assert (await client(GET)).job_id == "J"
        error, seconds = await client.fails(operation)
    assert type(error) is IceTimeoutError
    assert seconds < BOUND + SLACK
    if treat is silent:
        assert f"no reply within {READ:g} s" in str(error)
    else:
        assert f"no complete reply within {BOUND:g} s" in str(error)
    assert error.submitted == ("unknown" if operation.submit else None)
    assert error.job_id == operation.job_id
    assert server.connections == 1


async def test_a_reply_over_tls_has_a_bound_in_all(
    opened: Open,
    serve: Serve,
    tls: Callable[[socket.socket], socket.socket],
    certificate: tuple[Path, Path],
) -> None:
    server = serve(dribbled_body, tls)
    async with opened(at(server, "https"), verify=str(certificate[0])) as client:
        error, seconds = await client.fails()
    assert type(error) is IceTimeoutError
    assert f"no complete reply within {BOUND:g} s" in str(error)
    assert seconds < BOUND + SLACK


async def test_a_handshake_has_a_bound(opened: Open, serve: Serve) -> None:
    def wrap(plain: socket.socket) -> socket.socket:
        dribble(plain, b"\x16\x03\x03\x40\x00" + b"\x02" * 40)
        return plain

    server = serve(silent, wrap)
    async with opened(at(server, "https")) as client:
        error, seconds = await client.fails(SUBMIT)
    assert type(error) is IceTimeoutError
    assert (error.submitted, seconds < BOUND + SLACK) == ("no", True)


async def test_a_proxy_that_dribbles_has_a_bound_and_was_sent_nothing_of_the_request(
    opened: Open, serve: Serve
) -> None:
    server = serve(lambda stream, _: dribble(stream, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40))
    async with opened(endpoint(), proxy=f"http://127.0.0.1:{server.port}") as client:
        error, seconds = await client.fails(SUBMIT)
    assert type(error) is IceTimeoutError
    assert (error.submitted, seconds < BOUND + SLACK) == ("no", True)
    assert b"POST" not in server.received


async def test_a_large_request_that_nobody_reads_has_a_bound(opened: Open, serve: Serve) -> None:
    def wrap(plain: socket.socket) -> socket.socket:
        for _ in range(8):
            plain.recv(20000)
            time.sleep(0.1)
        return plain

    server = serve(silent, wrap)
    huge = replace(GET, form={"Filler": "a" * 20_000_000})
    async with opened(at(server)) as client:
        error, seconds = await client.fails(huge)
    assert type(error) is IceTimeoutError
    assert seconds < BOUND + SLACK + 0.3  # 20 MB are encoded and signed first


async def test_a_host_with_many_silent_addresses_has_a_bound(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        # A full backlog answers no further connection.
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(full.getsockname())
        known = socket.getaddrinfo

        def many(host: Any, port: Any, *more: Any, **named: Any) -> Any:
            if host in {"localhost", b"localhost"}:
                return known("127.0.0.1", port, *more, **named) * 6
            return known(host, port, *more, **named)

        monkeypatch.setattr(socket, "getaddrinfo", many)
        async with opened(endpoint(host=f"http://localhost:{full.getsockname()[1]}")) as client:
            error, seconds = await client.fails(SUBMIT)
    assert type(error) is IceTimeoutError
    assert (error.submitted, seconds < BOUND + SLACK) == ("no", True)


async def test_connections_of_requests_that_were_given_up_are_closed_and_others_go_on(
    opened: Open, serve: Serve
) -> None:
    requests = iter(range(100))

    def treat(stream: socket.socket, number: int) -> None:
        if next(requests) < 6:
            dribbled_body(stream, number)
        else:
            stream.sendall(GOOD)

    threads = threading.active_count()
    server = serve(treat)
    async with opened(at(server)) as client:
        if isinstance(client.client, AsyncIceClient):
            failed = await asyncio.gather(*(client.fails() for _ in range(6)))
        else:
            failed = [await client.fails() for _ in range(6)]
        assert {type(error) for error, _ in failed} == {IceTimeoutError}
        assert [(await client(GET)).job_id for _ in range(3)] == ["J", "J", "J"]
        assert server.connections == 7, "the last three share a connection"
        assert client.client._http is not None
        pool = client.client._http._transport._pool  # type: ignore[union-attr]
        assert len(pool.connections) == 1
    server.close()
    assert threading.active_count() <= threads + 1  # the loop's own for name look-ups


async def test_a_slow_reply_keeps_nobody_from_a_connection(opened: Open, serve: Serve) -> None:
    def treat(stream: socket.socket, _: int) -> None:
        time.sleep(0.15)
        stream.sendall(GOOD)

    server = serve(treat)
    async with opened(at(server)) as client:
        if isinstance(client.client, AsyncIceClient):
            await asyncio.gather(*(client(GET) for _ in range(30)))
        else:
            blocking = client.client
            threads = [threading.Thread(target=blocking.call, args=(GET,)) for _ in range(30)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert server.connections == 30


async def test_garbage_in_a_tls_reply_is_an_error_of_that_request(
    opened: Open,
    serve: Serve,
    tls: Callable[[socket.socket], socket.socket],
    certificate: tuple[Path, Path],
) -> None:
    def treat(stream: socket.socket, _: int) -> None:
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        with socket.socket(fileno=os.dup(stream.fileno())) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)

    server = serve(treat, tls)
    async with opened(at(server, "https"), verify=str(certificate[0])) as client:
        for operation in (GET, SUBMIT):
            error, _ = await client.fails(operation)
            assert type(error) is IceTransportError
            assert error.transient
            assert "the connection broke" in str(error)
            assert error.submitted == ("unknown" if operation.submit else None)


class StopError(Exception):
    pass


@pytest.mark.parametrize(
    "raised",
    [
        StopError("stopped"),
        IceTransportError("of the caller"),
        TimeoutError("of the caller"),
        httpx.ReadTimeout("of the caller"),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda raised: type(raised).__name__,
)
@pytest.mark.parametrize("reused", [False, True])
async def test_nothing_is_sent_when_the_last_word_is_no(
    opened: Open, serve: Serve, raised: BaseException, reused: bool
) -> None:
    def refuse() -> None:
        raise raised

    server = serve(lambda stream, _: stream.sendall(GOOD))
    async with opened(at(server), retry=RetryPolicy(tries=3, first_pause=0.0)) as client:
        if reused:
            await client(GET)
        before = server.received
        with pytest.raises(type(raised)) as caught:
            await client(replace(SUBMIT, repeatable=True, before_send=refuse))
        assert caught.value is raised
        assert await asyncio.to_thread(server.one_closed.wait, 2), "the connection is closed"
        assert server.connections == 1
        assert server.received == before, "not one byte has arrived"
        assert (await client(GET)).job_id == "J"


async def test_the_last_word_comes_after_connecting_and_tls_and_before_each_send(
    opened: Open,
    serve: Serve,
    tls: Callable[[socket.socket], socket.socket],
    certificate: tuple[Path, Path],
) -> None:
    said: list[tuple[int, int]] = []
    shaken = threading.Event()

    def wrap(plain: socket.socket) -> socket.socket:
        stream = tls(plain)
        shaken.set()
        return stream

    def treat(stream: socket.socket, number: int) -> None:
        refusal = b'{"RequestId":"R","Code":"Throttling","Message":"m"}'
        reply = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal)
        stream.sendall(reply if number < 2 else GOOD)

    server = serve(treat, wrap)

    def note() -> None:
        assert shaken.wait(2)
        said.append((server.connections, server.received.count(b"POST ")))

    operation = replace(SUBMIT, repeatable=True, before_send=note)
    async with opened(
        at(server, "https"),
        verify=str(certificate[0]),
        connect_timeout=2.0,
        retry=RetryPolicy(tries=3, first_pause=0.0),
    ) as client:
        assert await client(operation) == "J"
    assert said == [(1, 0), (1, 1), (1, 2)]


async def test_the_last_word_is_not_about_the_proxys_connect(
    opened: Open,
    serve: Serve,
    tls: Callable[[socket.socket], socket.socket],
    certificate: tuple[Path, Path],
) -> None:
    """The proxy is the server, too: after CONNECT it goes on with TLS, and notes each request that
    it was sent in clear or within.
    """
    said: list[bytes] = []

    class Tunnel(Server):
        def _serve(self, connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                connection.settimeout(5.0)
                self._request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                super()._serve(connection)

    server = Tunnel(lambda stream, _: stream.sendall(GOOD), tls)
    try:
        async with opened(
            endpoint(host="https://127.0.0.1:9"),
            proxy=f"http://127.0.0.1:{server.port}",
            verify=str(certificate[0]),
            connect_timeout=2.0,
        ) as client:
            noting = replace(SUBMIT, before_send=lambda: said.append(server.received))
            assert await client(noting) == "J"

            def refuse() -> None:
                raise StopError

            with pytest.raises(StopError):
                await client(replace(SUBMIT, before_send=refuse))
    finally:
        server.close()
    assert [head.split(b" ")[0] for head in said] == [b"CONNECT"], "once, after the CONNECT"
    assert server.received.count(b"POST ") == 1
