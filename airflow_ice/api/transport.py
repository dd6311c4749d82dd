"""The blocking client's transport: httpx's own time-outs count from byte to byte, here a whole
exchange has a deadline too.

An async exchange is cut short by `asyncio.timeout`. A blocking one has no such thing, so every wait
of its sockets (connecting, TLS, a proxy's CONNECT, writing, reading) lasts no longer than what is
left until the deadline: a server that sends a byte a second ends in the same time-out as one that
sends nothing. No thread, no timer, and nothing to find out about which connection a request was
given.

Not bounded: the look-up of a host name, which the system's resolver bounds, and reads through a
proxy that itself is reached by TLS (`https://` as the proxy's scheme), where the deadline counts
from one record to the next.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

_PIECE = 16384  # bytes: a socket takes a piece of this size in one go, or waits for room


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Bound all that this thread sends and receives in the block through a `BoundedTransport`.

    :param deadline: on the clock of `time.monotonic`; a wait that would go past it ends in httpx's
        time-out error for its kind.
    """
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """Return the seconds that one wait may take."""
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the deadline of the request has passed")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            piece = buffer[start : start + _PIECE]
            self._stream.write(piece, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            # Python's own handshake counts its time-out as a whole, not from byte to byte.
            seconds = _left(timeout, httpcore.ConnectTimeout)
            return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds))
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as cause:  # a name that is none is a UnicodeError
            raise httpcore.ConnectError(str(cause)) from cause
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        # One after the other: together they have what is left, where httpcore gives each its own
        # time.
        for *_, address in found:
            try:
                seconds = _left(timeout, httpcore.ConnectTimeout)
                return _Stream(
                    self._backend.connect_tcp(
                        str(address[0]), port, seconds, local_address, socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise httpcore's errors under the names that httpx gives them."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as cause:
        kind = getattr(httpx, type(cause).__name__, httpx.TransportError)
        raise kind(str(cause)) from cause


class BoundedTransport(httpx.BaseTransport):
    """What `httpx.HTTPTransport` does for HTTP/1.1, with a deadline for a whole exchange; see
    `until`.

    :param tls: the checks of the server's certificate; None for the usual ones, should TLS be
        needed.
    :param limits: of the connections that are open and kept.
    :param proxy: http, https or socks5; None for a direct connection.
    :raises ImportError: a SOCKS proxy without the package socksio.
    """

    def __init__(
        self, tls: ssl.SSLContext | None, limits: httpx.Limits, proxy: httpx.Proxy | None = None
    ) -> None:
        self._pool = _pool(
            proxy,
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the reply, whose body is still to be read."""
        url = request.url
        with _as_httpx():
            reply = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        assert isinstance(reply.stream, Iterable)  # noqa: S101 - of the blocking pool it always is
        return httpx.Response(
            status_code=reply.status,
            headers=reply.headers,
            stream=_Body(reply.stream),
            extensions=reply.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _pool(proxy: httpx.Proxy | None, **options: Any) -> httpcore.ConnectionPool:
    if proxy is None:
        return httpcore.ConnectionPool(**options)
    address = httpcore.URL(
        scheme=proxy.url.raw_scheme,
        host=proxy.url.raw_host,
        port=proxy.url.port,
        target=proxy.url.raw_path,
    )
    if proxy.url.scheme.startswith("socks"):
        importlib.import_module("socksio")  # httpcore would miss it with the first request only
        return httpcore.SOCKSProxy(address, proxy_auth=proxy.raw_auth, **options)
    return httpcore.HTTPProxy(
        address,
        proxy_auth=proxy.raw_auth,
        proxy_headers=proxy.headers.raw,
        proxy_ssl_context=proxy.ssl_context,
        **options,
    )
