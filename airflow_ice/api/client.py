"""IceClient and AsyncIceClient: the only place that speaks HTTP.

Both drive the same descriptions (`operations`) through the same retry flow (`retries`); what differs is how they send and
how they sleep. A new nonce, date and signature for every try.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx

from airflow_ice import __version__
from airflow_ice.api import signature
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.credentials import CredentialsSource, usable
from airflow_ice.api.endpoints import REGIONS, Endpoint
from airflow_ice.api.errors import (
    IceError,
    IceInputError,
    IceThrottledError,
    IceTimeoutError,
    IceTransportError,
    redact,
)
from airflow_ice.api.operations import Operation
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.retries import Pause, Reply, RetryPolicy, tries
from airflow_ice.api.signature import Credentials

T = TypeVar("T")
Observer = Callable[[str, IceError | None], None]

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

log = logging.getLogger(__name__)

_REGIONAL_HOST = re.compile(r"ice(?:-vpc)?\.([a-z0-9-]+)\.aliyuncs\.com")
_PROXY_HOST = re.compile(r"[A-Za-z0-9._:-]+")

USER_AGENT = (
    f"airflow-ice/{__version__} python/{platform.python_version()} httpx/{httpx.__version__}"
)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client reaches the service.

    :param endpoint: where requests go.
    :param connect_timeout: seconds to make a connection.
    :param read_timeout: seconds without a byte before a request is given up.
    :param proxy: `http://host:port` or `socks5://...`; None follows HTTPS_PROXY and its kin, except for a loopback endpoint.
    :param verify: a CA file (PEM) that replaces the system's; None checks against the usual ones. Checks cannot be turned off.
    :param retry: how often and how long a call is tried.
    :param limiter: shared by all clients that should stay within one rate; None for no limit.
    :param user_agent: sent with every request.
    :param observer: called with the action and the error of each request, None for a success.
    """

    endpoint: Endpoint
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    verify: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limiter: RateLimiter | None = None
    user_agent: str = USER_AGENT
    observer: Observer | None = None

    def note(self, operation: Operation[Any], error: IceError | None) -> None:
        """Note what came of one try: the rate gives way to throttling, and whoever counts requests hears of it."""
        if self.limiter is not None:
            self.limiter.answered(throttled=isinstance(error, IceThrottledError))
        if self.observer is not None:
            self.observer(operation.action, error)

    def httpx_arguments(self) -> dict[str, Any]:
        """Return what both httpx clients take. Reads the CA file, so it belongs outside an event loop.

        :raises IceInputError: the CA file cannot be read, or the proxy is not an address.
        """
        return {
            "timeout": httpx.Timeout(self.read_timeout, connect=self.connect_timeout),
            "verify": self._tls_context(),
            "proxy": self._proxy(),
            # A proxy that the environment names cannot reach this machine's loopback.
            "trust_env": not self.endpoint.is_loopback,
            "follow_redirects": False,
            "limits": httpx.Limits(
                max_connections=8, max_keepalive_connections=8, keepalive_expiry=60.0
            ),
        }

    def _tls_context(self) -> ssl.SSLContext | bool:
        if self.endpoint.scheme == "http":
            return False  # no TLS on loopback: spares building a context that nothing uses
        if self.verify is None:
            return httpx.create_ssl_context()
        if not Path(self.verify).is_file():
            raise IceInputError(
                "verify",
                self.verify,
                "must be a file of CA certificates (PEM); there is none on this machine",
            )
        try:
            return ssl.create_default_context(cafile=self.verify)
        except OSError as cause:  # not readable, or an SSLError: not PEM
            raise IceInputError(
                "verify", self.verify, f"must be a file of CA certificates (PEM): {cause.strerror}"
            ) from None

    def _proxy(self) -> httpx.Proxy | None:
        if self.proxy is None:
            return None
        try:
            proxy = httpx.Proxy(self.proxy)
        except (ValueError, httpx.InvalidURL):
            proxy = None
        # httpx takes any host and any port, and fails at them in ways of its own.
        if (
            proxy is None
            or not _PROXY_HOST.fullmatch(proxy.url.host)
            or not 1 <= (proxy.url.port or 1) <= 65535
        ):
            raise IceInputError(
                "proxy", None, "must be an address such as http://proxy.example:3128"
            )
        return proxy


class IceClient(Calls):
    """The blocking client. A context manager: it opens its connections on entry and closes them on exit.

    :param settings: how to reach the service.
    :param credentials: asked anew before each try.
    """

    def __init__(self, settings: ClientSettings, credentials: CredentialsSource) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._http = _opened(httpx.Client, self._settings.httpx_arguments())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def call(self, operation: Operation[T]) -> T:
        """Make one call, with the retries that are safe, and return its typed result.

        :raises IceError: see `errors`.
        """
        flow = tries(operation, self._settings.retry, noted=partial(self._settings.note, operation))
        step = next(flow)
        try:
            while True:
                if isinstance(step, Pause):
                    _log_pause(operation, step)
                    time.sleep(step.seconds)
                    step = flow.send(None)
                else:
                    step = flow.send(self._try(operation))
        except StopIteration as done:
            value: T = done.value
            return value

    def _try(self, operation: Operation[Any]) -> Reply | IceError:
        if self._http is None:
            raise RuntimeError("IceClient is closed: use it in a with block")
        if self._settings.limiter is not None:
            self._settings.limiter.acquire(urgent=operation.submit)
        try:
            credentials = usable(self._credentials.get())
        except IceError as error:
            return _not_sent(error, operation)
        if operation.before_send is not None:
            operation.before_send()
        try:
            reply = self._http.send(_request(self._http, self._settings, operation, credentials))
        except httpx.HTTPError as cause:
            return _transport_error(cause, operation, self._settings)
        return _reply(operation, reply)


class AsyncIceClient(AsyncCalls):
    """The async client; nothing in it blocks the event loop.

    :param settings: how to reach the service.
    :param credentials: asked anew before each try.
    """

    def __init__(self, settings: ClientSettings, credentials: CredentialsSource) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        # In a thread: loading CA certificates takes tens of milliseconds, which a triggerer's loop should not lose.
        arguments = await asyncio.to_thread(self._settings.httpx_arguments)
        self._http = _opened(httpx.AsyncClient, arguments)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def acall(self, operation: Operation[T]) -> T:
        """Make one call, with the retries that are safe, and return its typed result.

        :raises IceError: see `errors`.
        """
        flow = tries(operation, self._settings.retry, noted=partial(self._settings.note, operation))
        step = next(flow)
        try:
            while True:
                if isinstance(step, Pause):
                    _log_pause(operation, step)
                    await asyncio.sleep(step.seconds)
                    step = flow.send(None)
                else:
                    step = flow.send(await self._try(operation))
        except StopIteration as done:
            value: T = done.value
            return value

    async def _try(self, operation: Operation[Any]) -> Reply | IceError:
        if self._http is None:
            raise RuntimeError("AsyncIceClient is closed: use it in an async with block")
        if self._settings.limiter is not None:
            await self._settings.limiter.aacquire(urgent=operation.submit)
        try:
            credentials = usable(await self._credentials.aget())
        except IceError as error:
            return _not_sent(error, operation)
        if operation.before_send is not None:
            operation.before_send()
        try:
            reply = await self._http.send(
                _request(self._http, self._settings, operation, credentials)
            )
        except httpx.HTTPError as cause:
            return _transport_error(cause, operation, self._settings)
        return _reply(operation, reply)


def _opened(kind: Callable[..., H], arguments: Mapping[str, Any]) -> H:
    """Return an httpx client; here it also reads the proxies that the environment names."""
    try:
        return kind(**arguments)
    except ImportError:
        rule = "is a SOCKS proxy (given, or named by the environment), which needs the package httpx[socks]"
        raise IceInputError("proxy", None, rule) from None
    except (ValueError, httpx.InvalidURL):
        raise IceInputError(
            "proxy", None, "of the environment (HTTPS_PROXY and its kin) is not an address"
        ) from None


def _request(
    http: httpx.Client | httpx.AsyncClient,
    settings: ClientSettings,
    operation: Operation[Any],
    credentials: Credentials,
) -> httpx.Request:
    """Return one try of an operation, signed now."""
    query = {**operation.query, **signature.bearer_query(credentials)}
    body = urlencode(sorted(operation.form.items())).encode()  # sorted as the SDK does
    headers = signature.signed_request_headers(
        action=operation.action,
        host=settings.endpoint.host,
        query=query,
        body=body,
        credentials=credentials,
        now=datetime.now(UTC),
        nonce=secrets.token_hex(16),
        user_agent=settings.user_agent,
    )
    # The canonical query is sent as it was signed; httpx leaves what is already percent-encoded alone.
    url = httpx.URL(settings.endpoint.url).copy_with(
        query=signature.canonical_query(query).encode() or None
    )
    return http.build_request("POST", url, content=body, headers=headers)


def _reply(operation: Operation[Any], reply: httpx.Response) -> Reply:
    log.debug(
        "%s: HTTP %s, request id %s, %.0f ms",
        operation.action,
        reply.status_code,
        reply.headers.get("x-acs-request-id", "none"),
        reply.elapsed.total_seconds() * 1000,
    )
    return Reply(reply.status_code, reply.headers, reply.content)


def _not_sent(error: IceError, operation: Operation[Any]) -> IceError:
    error.action = operation.action
    error.submitted = "no" if operation.submit else None
    return error


def _transport_error(
    cause: httpx.HTTPError, operation: Operation[Any], settings: ClientSettings
) -> IceTransportError:
    kind = IceTimeoutError if isinstance(cause, httpx.TimeoutException) else IceTransportError
    never_sent = isinstance(
        cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)
    )
    error = kind(
        f"{_cause_in_words(cause, settings)} ({_way(settings)})",
        action=operation.action,
        submitted=("no" if never_sent else "unknown") if operation.submit else None,
    )
    error.__cause__ = cause
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(cause)):
        error.transient = False
        error.advice = "The server's certificate is not trusted here: give the CA file of the proxy or gateway as `verify`."
    elif any(isinstance(link, socket.gaierror) for link in _chain(cause)) and (
        region := _unknown_region(settings)
    ):
        error.advice = (
            f"Check region_id: {region} is none that is known; ICE runs in {', '.join(REGIONS)}."
        )
    return error


def _unknown_region(settings: ClientSettings) -> str | None:
    found = _REGIONAL_HOST.fullmatch(settings.endpoint.host)
    # Where a proxy is given, it is the proxy's name that was not found.
    return found[1] if found and found[1] not in REGIONS and settings.proxy is None else None


def _way(settings: ClientSettings) -> str:
    way = f"endpoint {settings.endpoint.host}"
    # host and port only: the address may hold a password
    return (
        f"{way}, through the proxy {httpx.URL(settings.proxy).netloc.decode()}"
        if settings.proxy
        else way
    )


def _cause_in_words(cause: httpx.HTTPError, settings: ClientSettings) -> str:
    said = redact(str(cause)).strip()
    match cause:
        case httpx.ConnectTimeout():
            return f"no connection within {settings.connect_timeout:g} s"
        case httpx.PoolTimeout():
            return f"no free connection of this client within {settings.read_timeout:g} s"
        case httpx.TimeoutException():
            return f"no reply within {settings.read_timeout:g} s"
        case httpx.ProxyError():
            return f"the proxy refused: {said}"
        case httpx.ConnectError():
            return f"no connection: {said}"
        case _:
            return f"the connection broke: {said or type(cause).__name__}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _log_pause(operation: Operation[Any], pause: Pause) -> None:
    log.warning(
        "%s will be tried again in %.1f s: %s", operation.action, pause.seconds, pause.because
    )
