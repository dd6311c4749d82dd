"""What a hook offers to whoever reads finished videos in a task of their own, in both colours."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.download import Downloaded
from airflow_ice.api.files import LocalFile, Overwrite, checked_overwrite

if TYPE_CHECKING:
    from airflow_ice.api.media import MediaSource

READY_TIMEOUT: Final = 600.0
"""Seconds that a media asset may take to become Normal."""

DOWNLOAD_TIMEOUT: Final = 3600.0
"""Seconds for a download."""


class MediaDownloads(Calls, AsyncCalls):
    """The download of a media asset to a file of this machine."""

    @property
    @abstractmethod
    def log(self) -> Any:
        """The logger that progress of a download goes to."""

    @abstractmethod
    async def aconnection(self) -> Any:
        """Read the connection, once."""

    @abstractmethod
    def media_source(self, media_id: str, *, ready_timeout: float, timeout: float) -> MediaSource:
        """Return a media asset, and how it is read."""

    def download_media(
        self,
        media_id: str,
        path: str | PathLike[str],
        *,
        overwrite: Overwrite = "if_different",
        ready_timeout: float = READY_TIMEOUT,
        timeout: float = DOWNLOAD_TIMEOUT,
    ) -> Downloaded:
        """Download the file of a media asset. It appears at `path` whole, or not at all.

        Resumes after a broken connection or an expired signature, and checks length and CRC-64.

        :param path: a file of this machine; its folder is made.
        :param overwrite: "if_different" (default) keeps an equal file, "never" any, "always" none.
        :param ready_timeout: seconds that the asset may take to become Normal.
        :param timeout: seconds for the download.
        :raises IceInputError: an argument that cannot work; nothing was sent.
        :raises IceDownloadError: it could not be read.
        :raises IceError: GetMediaInfo failed for good.
        """
        from airflow_ice.api.media import read_media

        with _local_file(path, overwrite) as sink:
            if overwrite == "never" and (size := sink.size) is not None:
                return Downloaded(size, skipped=True)
            source = self.media_source(media_id, ready_timeout=ready_timeout, timeout=timeout)
            found = read_media(self, source, sink, self.log)
            if not found.skipped:
                sink.commit()
        return found

    async def adownload_media(
        self,
        media_id: str,
        path: str | PathLike[str],
        *,
        overwrite: Overwrite = "if_different",
        ready_timeout: float = READY_TIMEOUT,
        timeout: float = DOWNLOAD_TIMEOUT,  # noqa: ASYNC109 - as in the blocking twin
    ) -> Downloaded:
        """Download the file of a media asset without blocking the event loop; see
        `download_media`.
        """
        from airflow_ice.api.media import aread_media

        with _local_file(path, overwrite) as sink:
            if overwrite == "never" and (size := sink.size) is not None:
                return Downloaded(size, skipped=True)
            await self.aconnection()  # so that the next line reads nothing in the event loop
            source = self.media_source(media_id, ready_timeout=ready_timeout, timeout=timeout)
            found = await aread_media(self, source, sink, self.log)
            if not found.skipped:
                await asyncio.to_thread(sink.commit)
        return found


def _local_file(path: str | PathLike[str], overwrite: Overwrite) -> LocalFile:
    return LocalFile(Path(path), checked_overwrite(overwrite))
