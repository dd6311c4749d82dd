"""Renders files next to the server: a few worker threads, since FFmpeg releases the interpreter's
lock.

A file is made under another name and moved into place when it is complete, so nobody ever sees half
a video. A render that fails fails its sub-job; one that is cut off by the end of the process is
made again after a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.media.objects import ObjectName, ObjectStore
from airflow_ice.emulator.media.render import RenderStoppedError, Sources, render
from airflow_ice.emulator.model.jobs import Failure
from airflow_ice.emulator.model.store import SubJob
from airflow_ice.emulator.model.timeline import Timeline

logger = logging.getLogger(__name__)

_WORKERS: Final = 2


class RenderQueue:
    """The files that are still to be made. Used from the server's event loop only.

    :param staging: the folder for unfinished files, on the same disk as the objects.
    :param report: told, on the event loop, the id of each sub-job whose file is done, and why it
        could not be made.
    """

    def __init__(
        self,
        objects: ObjectStore,
        finder: MaterialFinder,
        staging: Path,
        report: Callable[[str, Failure | None], None],
    ) -> None:
        self._objects = objects
        self._finder = finder
        self._staging = staging
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._workers: ThreadPoolExecutor | None = None
        self.waiting = 0

    def add(self, sub_job: SubJob) -> None:
        """Have the file of a sub-job made."""
        if sub_job.bucket is None or sub_job.object_key is None:
            raise ValueError("a sub-job without an object has nothing to render")
        timeline = Timeline.from_dict(json.loads(sub_job.timeline))
        # Looked up here: the tables are read from the event loop only.
        found = [self._finder.find(segment.media) for segment in timeline.segments]
        self.waiting += 1
        if failure := self._finder.failure(segment.media for segment in timeline.segments):
            self._loop.call_soon(self._done, sub_job.job_id, failure)
            return
        if self._workers is None:
            self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ice-render")
        target = self._objects.path_to_write(ObjectName(sub_job.bucket, sub_job.object_key))
        sources = Sources(
            [material.path for material in found],
            frozenset(self._finder.unknown(segment.media for segment in timeline.segments)),
            self._finder.find(timeline.music).path if timeline.music else None,
        )
        self._workers.submit(self._work, sub_job.job_id, timeline, sources, target)

    def close(self) -> None:
        """Stop the workers; returns when they have."""
        self._stopping.set()
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)

    def _work(self, job_id: str, timeline: Timeline, sources: Sources, target: Path) -> None:
        unfinished = self._staging / f"{job_id}.mp4"
        failure = None
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            render(timeline, sources, unfinished, self._stopping.is_set)
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(target)
        except RenderStoppedError:
            unfinished.unlink(missing_ok=True)
            return
        except Exception as error:
            # Whatever went wrong, the sub-job must end Failed, and not wait for ever.
            unfinished.unlink(missing_ok=True)
            failure = _failure(error)
            # A broken clip is an error in the input: one line in the log, no traceback.
            own_fault = failure.code == "ProduceFailed"
            logger.warning(
                "rendering sub-job %s failed: %s",
                job_id,
                error,
                exc_info=error if own_fault else None,
            )
        self._loop.call_soon_threadsafe(self._done, job_id, failure)

    def _done(self, job_id: str, failure: Failure | None) -> None:
        self.waiting -= 1
        if not self._stopping.is_set():
            self._report(job_id, failure)


def _failure(error: Exception) -> Failure:
    from av import FFmpegError

    if isinstance(error, FFmpegError | IndexError | ValueError):
        return Failure(
            "InvalidParameter.ResourceContentBad", "The resource operated InputFile is bad"
        )
    return Failure("ProduceFailed", f"The video could not be produced: {type(error).__name__}")
