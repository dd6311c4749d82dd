"""Reads a finished video, in both colours: does what `download` decides.

The requests go to the transports themselves, not through httpx's client, which logs the URL of each
request: these are signed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from airflow_ice.api.client import ClientSettings
from airflow_ice.api.download import EXCERPT, Download, Downloaded, DownloadInterruptedError
from airflow_ice.api.endpoints import Endpoint
from airflow_ice.api.errors import IceDownloadError, IceError
from airflow_ice.api.files import Sink
from airflow_ice.api.transport import until

log = logging.getLogger(__name__)


class Log(Protocol):
    """Where the progress of a download goes: a logger, the standard library's or Airflow's."""

    def info(self, message: Any, /, *args: Any) -> Any:
        """Log a message with its arguments."""


class Progress:
    """Tells how far a download is, at growing intervals: after 10, 20, 40 ... s, at most every 5
    minutes.

    :param what: names the file.
    """

    def __init__(self, what: str, logger: Log, clock: Callable[[], float]) -> None:
        self._what = what
        self._log = logger
        self._clock = clock
        self._interval = 10.0
        self._next = clock() + self._interval

    def __call__(self, download: Download) -> None:
        """Take note of where a download is."""
        now = self._clock()
        if now >= self._next:
            self._interval = min(2 * self._interval, 300.0)
            self._next = now + self._interval
            of = f" of {download.size / 1e6:,.1f}" if download.size else ""
            self._log.info("%s: %s%s MB read.", self._what, f"{download.offset / 1e6:,.1f}", of)


def fetch(
    download: Download,
    sign: Callable[[], str],
    sink: Sink,
    settings: ClientSettings,
    progress: Callable[[Download], None],
) -> Downloaded:
    """Read a file into a sink.

    :param download: started, by `time.monotonic`.
    :param sign: returns a fresh signed URL.
    :param settings: proxy, CA file and time-outs, as for the API.
    :raises IceDownloadError: it could not be read. What the sink raises is raised as it is.
    """
    url = ""
    with ExitStack() as transports:
        opened: dict[str, httpx.BaseTransport] = {}
        while True:
            try:
                if download.needs_url:
                    url = sign()
                    download.needs_url = False
                origin, of_host = _of_origin(settings, url)
                if origin not in opened:
                    opened[origin] = transports.enter_context(of_host.blocking_transport())
                with until(download.deadline):
                    return _read(
                        opened[origin], _request(of_host, download, url), download, sink, progress
                    )
            except (DownloadInterruptedError, httpx.HTTPError, IceError) as cause:
                pause = _pause(download, cause)
            time.sleep(pause)


def _read(
    transport: httpx.BaseTransport,
    request: httpx.Request,
    download: Download,
    sink: Sink,
    progress: Callable[[Download], None],
) -> Downloaded:
    reply = transport.handle_request(request)
    try:
        excerpt = b"" if reply.is_success else next(reply.iter_raw(EXCERPT), b"")
        download.begin(reply.status_code, reply.headers, excerpt)
        if download.offset == 0:
            if sink.holds(download.size, download.expected_crc):
                return Downloaded(download.size or 0, download.expected_crc, skipped=True)
            sink.restart()
        # As it comes, about 64 kB at a time: what a larger piece waits for is lost in a reset.
        for data in reply.iter_raw():
            sink.write(data)
            download.received(data)
            progress(download)
            if time.monotonic() >= download.deadline:
                raise download.overdue()
        return download.ended()
    finally:
        reply.close()


async def afetch(
    download: Download,
    sign: Callable[[], Awaitable[str]],
    sink: Sink,
    settings: ClientSettings,
    progress: Callable[[Download], None],
) -> Downloaded:
    """Read a file into a sink without blocking the event loop; see `fetch`."""
    url = ""
    async with AsyncExitStack() as transports:
        opened: dict[str, httpx.AsyncBaseTransport] = {}
        while True:
            try:
                if download.needs_url:
                    url = await sign()
                    download.needs_url = False
                origin, of_host = _of_origin(settings, url)
                if origin not in opened:
                    transport = await asyncio.to_thread(of_host.async_transport)
                    opened[origin] = await transports.enter_async_context(transport)
                async with asyncio.timeout(max(download.deadline - time.monotonic(), 0.0)):
                    return await _aread(
                        opened[origin], _request(of_host, download, url), download, sink, progress
                    )
            except (DownloadInterruptedError, httpx.HTTPError, IceError, TimeoutError) as cause:
                pause = _pause(download, cause)
            await asyncio.sleep(pause)


async def _aread(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    download: Download,
    sink: Sink,
    progress: Callable[[Download], None],
) -> Downloaded:
    reply = await transport.handle_async_request(request)
    try:
        excerpt = b"" if reply.is_success else await anext(reply.aiter_raw(EXCERPT), b"")
        download.begin(reply.status_code, reply.headers, excerpt)
        if download.offset == 0:
            if await asyncio.to_thread(sink.holds, download.size, download.expected_crc):
                return Downloaded(download.size or 0, download.expected_crc, skipped=True)
            await asyncio.to_thread(sink.restart)
        async for data in reply.aiter_raw():
            await asyncio.to_thread(sink.write, data)
            download.received(data)
            progress(download)
        return download.ended()
    finally:
        await reply.aclose()


def _of_origin(settings: ClientSettings, url: str) -> tuple[str, ClientSettings]:
    """Return the origin of a URL, and the settings for requests to it: its TLS, its proxy."""
    parts = urlsplit(url)
    endpoint = Endpoint(parts.scheme, parts.netloc)
    return endpoint.url, replace(settings, endpoint=endpoint)


def _request(settings: ClientSettings, download: Download, url: str) -> httpx.Request:
    return httpx.Request(
        "GET",
        url,
        headers={"user-agent": settings.user_agent, **download.headers()},
        extensions={"timeout": settings.timeout().as_dict()},
    )


def _pause(download: Download, cause: Exception) -> float:
    """Return the seconds until the next request.

    :raises IceError: there is none.
    """
    if isinstance(cause, IceError) and (isinstance(cause, IceDownloadError) or not cause.transient):
        raise cause
    said = cause.brief() if isinstance(cause, IceError) else str(cause) or type(cause).__name__
    pause = download.interrupted(said, time.monotonic())
    log.info("The download continues in %.1f s at byte %d: %s", pause, download.offset, said)
    return pause
