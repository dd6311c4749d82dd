"""A finished video by its media id: wait until it is ready, sign, read, sign again where needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.client import ClientSettings
from airflow_ice.api.download import Download, Downloaded, DownloadPolicy
from airflow_ice.api.errors import IceDownloadError
from airflow_ice.api.fetch import Log, Progress, afetch, fetch
from airflow_ice.api.files import Sink
from airflow_ice.api.media_urls import readable_url
from airflow_ice.api.models import MediaInfo

SIGNED_SECONDS: Final = 3600
"""How long a signed URL is asked to live. A download that is still reading continues after it."""

FIRST_READY_PAUSE: Final = 3.0
LONGEST_READY_PAUSE: Final = 30.0


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A media asset, and how it is read.

    :param ready_timeout: seconds that it may take to become Normal.
    :param timeout: seconds for the download.
    :param network: `public` or `vpc`. domains: bucket to custom domain; see `media_urls`.
    """

    media_id: str
    settings: ClientSettings
    ready_timeout: float
    timeout: float
    network: str = "public"
    domains: Mapping[str, str] = field(default_factory=dict)

    def url_of(self, info: MediaInfo) -> str:
        """Return the signed URL on the host that is to be read.

        :raises IceDownloadError: it is not an http(s) URL.
        """
        return readable_url(info.file_url or "", network=self.network, domains=self.domains)

    def download(self) -> Download:
        """Return a download that begins now."""
        policy = DownloadPolicy(timeout=self.timeout)
        return Download(f"media {self.media_id}", policy, time.monotonic())

    def progress(self, log: Log) -> Progress:
        """Return where the progress of a download goes."""
        return Progress(f"media {self.media_id}", log, time.monotonic)


def read_media(calls: Calls, source: MediaSource, sink: Sink, log: Log) -> Downloaded:
    """Read the file of a media asset into a sink.

    :raises IceDownloadError: it could not be read, or did not become ready.
    :raises IceError: GetMediaInfo failed for good.
    """
    ready = ReadyWait(source.ready_timeout, time.monotonic())
    while not is_ready(info := _info(calls, source)):
        time.sleep(ready.pause(info, time.monotonic()))
    first = [source.url_of(info)]

    def sign() -> str:
        return first.pop() if first else source.url_of(_info(calls, source))

    return fetch(source.download(), sign, sink, source.settings, source.progress(log))


def _info(calls: Calls, source: MediaSource) -> MediaInfo:
    return calls.get_media_info(source.media_id, auth_timeout=SIGNED_SECONDS)


async def aread_media(calls: AsyncCalls, source: MediaSource, sink: Sink, log: Log) -> Downloaded:
    """Read the file of a media asset into a sink without blocking the event loop; see
    `read_media`.
    """
    ready = ReadyWait(source.ready_timeout, time.monotonic())
    while not is_ready(info := await _ainfo(calls, source)):  # noqa: ASYNC110 - polls the service
        await asyncio.sleep(ready.pause(info, time.monotonic()))
    first = [source.url_of(info)]

    async def sign() -> str:
        return first.pop() if first else source.url_of(await _ainfo(calls, source))

    return await afetch(source.download(), sign, sink, source.settings, source.progress(log))


async def _ainfo(calls: AsyncCalls, source: MediaSource) -> MediaInfo:
    return await calls.aget_media_info(source.media_id, auth_timeout=SIGNED_SECONDS)


def is_ready(info: MediaInfo) -> bool:
    """Tell whether a media asset has a file to read.

    :raises IceDownloadError: it never will: PrepareFail.
    """
    if info.status == "PrepareFail":
        raise IceDownloadError(
            f"media {info.media_id} is PrepareFail: ICE could not prepare its file",
            request_id=info.request_id,
            advice="Look at the asset in the ICE console, and render the video again if it stays.",
            transient=False,
        )
    return info.status in ("Normal", None) and info.file_url is not None


class ReadyWait:
    """How long a media asset may take to become Normal: freshly made ones are not at once.

    :param timeout: seconds from `started_at` on, on the clock of `now`.
    """

    def __init__(self, timeout: float, started_at: float) -> None:
        self._timeout = timeout
        self._deadline = started_at + timeout
        self._pause = FIRST_READY_PAUSE

    def pause(self, info: MediaInfo, now: float) -> float:
        """Return the seconds until the next poll.

        :raises IceDownloadError: the time is over.
        """
        left = self._deadline - now
        if left <= 0:
            raise IceDownloadError(
                f"media {info.media_id} was still {info.status or 'without a file'} after "
                f"{self._timeout:g} s",
                request_id=info.request_id,
            )
        pause, self._pause = self._pause, min(self._pause * 1.5, LONGEST_READY_PAUSE)
        return min(pause, left)
