"""IceClient and AsyncIceClient: the only place that sends requests.

Both drive the same descriptions (`operations`) through the same retry flow (`retries`); what
differs is how they send and how they sleep. A new nonce, date and signature for every try, and a
bound for it in all, from connecting to the reply's last byte.
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
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
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
)
from airflow_ice.api.operations import Operation
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.replies import Reply
from airflow_ice.api.retries import Pause, RetryPolicy, tries
from airflow_ice.api.signature import Credentials
from airflow_ice.api.transport import BoundedTransport, until

T = TypeVar("T")
Observer = Callable[[str, IceError | None], None]

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
    :param read_timeout: seconds without a byte before a request is given up. Both together bound a
        request in all, see `longest_send`.
    :param proxy: `http://host:port` or `socks5://...`; None follows HTTPS_PROXY and the like,
        except for a loopback endpoint.
    :param verify: a CA file (PEM) that replaces the system's; None checks against the usual ones.
        Checks cannot be turned off.
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
        """Note what came of one try: the rate gives way to throttling, and whoever counts requests
        hears of it.
        """
        if self.limiter is not None:
            self.limiter.answered(throttled=isinstance(error, IceThrottledError))
        if self.observer is not None:
            self.observer(operation.action, error)

    @property
    def longest_send(self) -> float:
        """Seconds after which one send is given up, from the moment that it needs a connection to
        the last byte of its reply.
        """
        return self.connect_timeout + self.read_timeout

    def blocking_http(self) -> httpx.Client:
        """Return the HTTP client of a blocking client.

        :raises IceInputError: the CA file cannot be read, or the proxy, given or of the
            environment, is not an address.
        """
        transport = self.blocking_transport()
        return httpx.Client(transport=transport, timeout=self.timeout(), trust_env=False)

    def blocking_transport(self) -> BoundedTransport:
        """Return what sends the requests of a blocking client; raises the same."""
        tls, proxy = self._tls_context(), self._proxy()
        try:
            return BoundedTransport(tls, _LIMITS, proxy)
        except ImportError:
            _no_socks()

    def async_http(self) -> httpx.AsyncClient:
        """Return the HTTP client of an async client. Reads the CA file, so it belongs outside an
        event loop; raises the same.
        """
        transport = self.async_transport()
        return httpx.AsyncClient(transport=transport, timeout=self.timeout(), trust_env=False)

    def async_transport(self) -> httpx.AsyncHTTPTransport:
        """Return what sends the requests of an async client. Reads the CA file, so it belongs
        outside an event loop; raises the same.
        """
        tls, proxy = self._tls_context(), self._proxy()
        try:
            return httpx.AsyncHTTPTransport(
                # Without TLS only for a loopback endpoint, of which `_tls_context` makes None.
                verify=False if tls is None else tls,
                proxy=proxy,
                limits=_LIMITS,
                trust_env=False,
            )
        except ImportError:
            _no_socks()

    def timeout(self) -> httpx.Timeout:
        """Return the time-outs of one wait for the network."""
        return httpx.Timeout(self.read_timeout, connect=self.connect_timeout)

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.endpoint.scheme == "http":
            return None  # no TLS on loopback: spares building a context that nothing uses
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
        given, rule = self.proxy, "must be an address such as http://proxy.example:3128"
        if given is None:
            given, rule = self._environment_proxy(), _NO_ENVIRONMENT_PROXY
        if given is None:
            return None
        try:
            proxy = httpx.Proxy(given)
        except (ValueError, httpx.InvalidURL):
            proxy = None
        # httpx takes any host and any port, and fails at them in ways of its own.
        if (
            proxy is None
            or not _PROXY_HOST.fullmatch(proxy.url.host)
            or not 1 <= (proxy.url.port or 1) <= 65535
        ):
            raise IceInputError("proxy", None, rule)
        return proxy

    def _environment_proxy(self) -> str | None:
        # A proxy that the environment names cannot reach this machine's loopback.
        if self.endpoint.is_loopback or urllib.request.proxy_bypass(self.endpoint.host):
            return None
        proxies = urllib.request.getproxies()
        found = proxies.get(self.endpoint.scheme) or proxies.get("all")
        return found if not found or "://" in found else f"http://{found}"


_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=60.0)
"""Many connections, so that slow replies keep nobody from one; few are kept, since a triggerer
polls from time to time.
"""

_NO_ENVIRONMENT_PROXY = "of the environment (HTTPS_PROXY and its kin) is not an address"


def _no_socks() -> NoReturn:
    rule = (
        "is a SOCKS proxy (given, or named by the environment), which needs the package "
        "httpx[socks]"
    )
    raise IceInputError("proxy", None, rule) from None


class _StoppedBeforeSend(Exception):  # noqa: N818 - carries an error, and never leaves this module
    """`before_send` has raised. A class of its own passes through the HTTP libraries unchanged,
    whatever it carries.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _Trace:
    """What httpcore tells of one send (httpx's request extension `trace`): whether the request may
    have been put on the wire.

    :param before_send: called immediately before the first byte.
    """

    def __init__(self, before_send: Callable[[], None] | None) -> None:
        self._before_send = before_send
        self._began = False
        self._sent = False

    @property
    def nothing_sent(self) -> bool:
        """Whether it is certain that no byte of the request was written. A transport that tells
        nothing proves nothing.
        """
        return self._began and not self._sent

    @property
    def sent(self) -> bool:
        """Whether a byte of the request may have been written."""
        return self._sent

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take an event, for example `connection.connect_tcp.started` or
        `http11.send_request_headers.started`.
        """
        self._began = True
        if not event.endswith(".send_request_headers.started"):
            return
        if getattr(info.get("request"), "method", b"") == b"CONNECT":
            return  # for the proxy; the request itself follows through its tunnel
        if self._before_send is not None:
            try:
                self._before_send()
            except BaseException as error:
                raise _StoppedBeforeSend(error) from error
        self._sent = True

    async def of_async(self, event: str, info: dict[str, Any]) -> None:
        """Take an event of an async client, whose trace is awaited."""
        self(event, info)


class IceClient(Calls):
    """The blocking client. A context manager: it opens its connections on entry and closes them on
    exit.

    :param settings: how to reach the service.
    :param credentials: asked again before each try.
    """

    def __init__(self, settings: ClientSettings, credentials: CredentialsSource) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._http = self._settings.blocking_http()
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

        :raises IceError: see `errors`. What the operation's `before_send` raises is raised as it
            is.
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
            raise RuntimeError("IceClient is not open: use it in a with block")
        if self._settings.limiter is not None:
            self._settings.limiter.acquire(priority=operation.priority)
        trace = _Trace(operation.before_send)
        try:
            credentials = usable(self._credentials.get())
            request = _request(self._http, self._settings, operation, credentials, trace)
        except IceError as error:
            return _not_sent(error, operation)
        deadline = time.monotonic() + self._settings.longest_send
        try:
            with until(deadline):
                reply = self._http.send(request)
        except _StoppedBeforeSend as stopped:
            stop = stopped.error
        except Exception as cause:  # noqa: BLE001 - whatever went wrong is this request's error
            late = time.monotonic() >= deadline
            return _transport_error(cause, operation, self._settings, trace, late=late)
        else:
            return _reply(operation, reply)
        raise stop


class AsyncIceClient(AsyncCalls):
    """The async client; nothing in it blocks the event loop.

    :param settings: how to reach the service.
    :param credentials: asked again before each try.
    """

    def __init__(self, settings: ClientSettings, credentials: CredentialsSource) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        # In a thread: loading CA certificates takes tens of milliseconds, which a triggerer's loop
        # should not lose.
        self._http = await asyncio.to_thread(self._settings.async_http)
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

        :raises IceError: see `errors`. What the operation's `before_send` raises is raised as it
            is.
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
            raise RuntimeError("AsyncIceClient is not open: use it in an async with block")
        if self._settings.limiter is not None:
            await self._settings.limiter.aacquire(priority=operation.priority)
        trace = _Trace(operation.before_send)
        try:
            credentials = usable(await self._credentials.aget())
            request = _request(self._http, self._settings, operation, credentials, trace.of_async)
        except IceError as error:
            return _not_sent(error, operation)
        bound = asyncio.timeout(self._settings.longest_send)
        try:
            async with bound:
                reply = await self._http.send(request)
        except _StoppedBeforeSend as stopped:
            stop = stopped.error
        except Exception as cause:  # noqa: BLE001 - whatever went wrong is this request's error
            late = bound.expired()
            return _transport_error(cause, operation, self._settings, trace, late=late)
        else:
            return _reply(operation, reply)
        raise stop


def _request(
    http: httpx.Client | httpx.AsyncClient,
    settings: ClientSettings,
    operation: Operation[Any],
    credentials: Credentials,
    trace: Callable[[str, dict[str, Any]], Any],
) -> httpx.Request:
    """Return one try of an operation, signed now.

    :raises IceTransportError: it could not be built, so nothing was sent, and nothing else will be.
    """
    try:
        return _built(http, settings, operation, credentials, trace)
    except Exception as cause:  # whatever cannot be built is not sent
        raise IceTransportError(
            f"the request could not be built ({type(cause).__name__}: {cause})", transient=False
        ) from cause


def _built(
    http: httpx.Client | httpx.AsyncClient,
    settings: ClientSettings,
    operation: Operation[Any],
    credentials: Credentials,
    trace: Callable[[str, dict[str, Any]], Any],
) -> httpx.Request:
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
    # The canonical query is sent as it was signed; httpx leaves what is already percent-encoded
    # alone.
    url = httpx.URL(settings.endpoint.url).copy_with(
        query=signature.canonical_query(query).encode() or None
    )
    return http.build_request(
        "POST", url, content=body, headers=headers, extensions={"trace": trace}
    )


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
    return error.with_facts(
        action=operation.action,
        job_id=operation.job_id,
        submitted="no" if operation.submit else None,
    )


_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)


def _transport_error(
    cause: Exception,
    operation: Operation[Any],
    settings: ClientSettings,
    trace: _Trace,
    *,
    late: bool,
) -> IceTransportError:
    """Return the error for whatever came out of a send.

    :param late: whether the bound of the whole request had passed.
    """
    timed_out = isinstance(cause, (httpx.TimeoutException, TimeoutError))
    kind = IceTimeoutError if timed_out else IceTransportError
    never_sent = trace.nothing_sent or (isinstance(cause, _NEVER_SENT) and not trace.sent)
    said = (
        f"no complete reply within {settings.longest_send:g} s"
        if timed_out and late
        else _cause_in_words(cause, settings)
    )
    advice, transient = None, None
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(cause)):
        transient = False
        advice = (
            "The server's certificate is not trusted here: give the CA file of the proxy or "
            "gateway as `verify`."
        )
    elif any(isinstance(link, socket.gaierror) for link in _chain(cause)) and (
        region := _unknown_region(settings)
    ):
        advice = (
            f"Check region_id: {region} is none that is known; ICE runs in {', '.join(REGIONS)}."
        )
    error = kind(
        f"{said} ({_way(settings)})",
        action=operation.action,
        job_id=operation.job_id,
        submitted=("no" if never_sent else "unknown") if operation.submit else None,
        advice=advice,
        transient=transient,
    )
    error.__cause__ = cause
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


def _cause_in_words(cause: Exception, settings: ClientSettings) -> str:
    said = str(cause).strip()  # the error redacts it
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
        case httpx.HTTPError() | OSError():
            return f"the connection broke: {said or type(cause).__name__}"
        case _:
            return f"the request failed: {type(cause).__name__}: {said}".rstrip(": ")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _log_pause(operation: Operation[Any], pause: Pause) -> None:
    # Not a warning: a failure that matters is raised after the last try, and whoever gets it says
    # so.
    log.info(
        "%s will be tried again in %.1f s: %s",
        operation.action,
        pause.seconds,
        pause.because.brief(),
    )
