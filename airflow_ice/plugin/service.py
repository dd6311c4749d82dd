"""What the page asks of ICE: through a cache, so that ten open tabs cost one poll an interval.

The cache is one for each process of the api-server, and holds no signed URL.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.errors import IceError
from airflow_ice.api.models import BatchMediaProducingJob, MediaInfo, SubJob, parsed
from airflow_ice.hooks import IceHook
from airflow_ice.plugin.tasks import Account, JobRef
from airflow_ice.plugin.wording import problem
from airflow_ice.waiting import JOB_ENDED, SUB_JOB_ENDED

INTERVAL: Final = 5.0
"""Seconds between polls of a running job, whoever looks and however many."""

PAUSE_AFTER_ERROR: Final = 10.0
"""Seconds until a read that failed is tried again."""

KEPT: Final = 600.0
"""Seconds that a job is kept once nothing about it changes any more."""

LONGEST_READ: Final = 25.0
"""Seconds after which one read is given up."""

DETAILS_A_POLL: Final = 8
"""Sub-jobs whose percent, title or size is read in one poll. The others follow in the next ones."""

MOST_JOBS: Final = 200

Value = TypeVar("Value")
Key = TypeVar("Key")
Clock = Callable[[], float]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Detail:
    """What is known of a sub-job in addition to its row in the job.

    :param percent: 0 to 100; None while unknown.
    :param title: the title that was drawn for this video. So is speech, the spoken text.
    :param size: bytes. width, height: pixels.
    :param settled: nothing about it changes any more.
    :param read_at: on the cache's clock; before all time for what was never read.
    """

    percent: int | None = None
    title: str | None = None
    speech: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    settled: bool = False
    read_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class BatchState:
    """A job as it was last seen.

    :param job: None before it was ever seen.
    :param details: by sub-job id.
    :param problem: why the last read failed, see `wording.problem`; None where it did not.
    :param seen_at: when the job was last seen, UTC.
    """

    job: BatchMediaProducingJob | None = None
    details: dict[str, Detail] = field(default_factory=dict)
    problem: dict[str, Any] | None = None
    seen_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether the job and all its sub-jobs have ended."""
        return (
            self.job is not None
            and self.job.status in JOB_ENDED
            and all(sub.status in SUB_JOB_ENDED for sub in self.job.sub_jobs)
        )

    @property
    def settled(self) -> bool:
        """Whether nothing is left to read."""
        if self.job is None or not self.ended or self.problem:
            return False
        known = (self.details.get(sub.job_id) for sub in self.job.sub_jobs)
        return all(detail is not None and detail.settled for detail in known)


@dataclass(slots=True)
class _Entry(Generic[Value]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: Value | None = None
    good_until: float = 0.0


class Cache(Generic[Key, Value]):
    """Values by key; each is read by one reader at a time, and the others get what it read.

    :param most: entries held; the one that was used longest ago goes first.
    """

    def __init__(self, clock: Clock = time.monotonic, most: int = MOST_JOBS) -> None:
        self._clock = clock
        self._most = most
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    async def get(
        self,
        key: Key,
        read: Callable[[Value | None], Awaitable[tuple[Value, float]]],
    ) -> Value:
        """Return a value that is fresh enough.

        :param read: gets the last value, and returns a new one and for how many seconds it is good.
        """
        entry = self._entries.pop(key, None) or _Entry()
        self._entries[key] = entry
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        async with entry.lock:
            if entry.value is None or self._clock() >= entry.good_until:
                entry.value, good_for = await read(entry.value)
                entry.good_until = self._clock() + good_for
            return entry.value


class Batches:
    """Batch jobs, as the page shows them.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._jobs: Cache[JobRef, BatchState] = Cache(clock)
        self._overviews: Cache[JobRef, BatchState] = Cache(clock)
        self._videos: Cache[tuple[Account, tuple[str, ...]], dict[str, Detail]] = Cache(clock)

    async def state(self, ref: JobRef) -> BatchState:
        """Return a job as it was last seen, at most `INTERVAL` seconds ago while it runs."""

        async def read(last: BatchState | None) -> tuple[BatchState, float]:
            state = await self._read(ref, last or BatchState())
            if state.problem:
                return state, PAUSE_AFTER_ERROR
            return state, KEPT if state.settled else INTERVAL

        return await self._jobs.get(ref, read)

    async def overview(self, ref: JobRef) -> BatchState:
        """Return a job without details: one request an interval, however many sub-jobs it has."""

        async def read(last: BatchState | None) -> tuple[BatchState, float]:
            state = await self._read(ref, last or BatchState(), with_details=False)
            if state.problem:
                return state, PAUSE_AFTER_ERROR
            return state, KEPT if state.ended else INTERVAL

        return await self._overviews.get(ref, read)

    async def details(self, account: Account, sub_jobs: Iterable[SubJob]) -> dict[str, Detail]:
        """Return what is known of sub-jobs that have ended, by id; of whom not, is left out."""
        rows = tuple(sub_jobs)

        async def read(last: dict[str, Detail] | None) -> tuple[dict[str, Detail], float]:
            try:
                async with asyncio.timeout(LONGEST_READ), _hook(account) as hook:
                    known = await self._read_details(hook, rows, last or {})
            except (IceError, AirflowNotFoundException, TimeoutError):
                return last or {}, PAUSE_AFTER_ERROR
            done = all(known.get(sub.job_id, Detail()).settled for sub in rows)
            return known, KEPT if done else INTERVAL

        return await self._videos.get((account, tuple(sub.job_id for sub in rows)), read)

    async def _read(
        self, ref: JobRef, last: BatchState, *, with_details: bool = True
    ) -> BatchState:
        try:
            async with asyncio.timeout(LONGEST_READ), _hook(ref.account) as hook:
                job = await hook.aget_batch_media_producing_job(ref.job_id)
                last = replace(last, job=job, problem=None, seen_at=datetime.now(UTC))
                if with_details:
                    details = await self._read_details(hook, job.sub_jobs, last.details)
                    last = replace(last, details=details)
                return last
        except (IceError, AirflowNotFoundException, TimeoutError) as error:
            return replace(last, problem=problem(error, ref.account))
        except Exception as error:  # the page says so, and keeps what it has
            log.exception("A job could not be read for its page (JobId=%s)", ref.job_id)
            return replace(last, problem=problem(error, ref.account))

    async def _read_details(
        self, hook: IceHook, sub_jobs: Iterable[SubJob], known: dict[str, Detail]
    ) -> dict[str, Detail]:
        """Read what is missing, running sub-jobs first, those read longest ago before others."""
        waiting = [sub for sub in sub_jobs if not known.get(sub.job_id, Detail()).settled]
        waiting.sort(
            key=lambda sub: (
                sub.status in SUB_JOB_ENDED,
                known.get(sub.job_id, Detail()).read_at,
                sub.index,
            )
        )
        now = [sub for sub in waiting if sub.job_id][:DETAILS_A_POLL]
        found = await asyncio.gather(*(self._read_detail(hook, sub) for sub in now))
        return {**known, **{sub.job_id: detail for sub, detail in zip(now, found, strict=True)}}

    async def _read_detail(self, hook: IceHook, sub: SubJob) -> Detail:
        """Read one; what cannot be read stays unknown, for the page has its row already."""
        ended = sub.status in SUB_JOB_ENDED
        detail = Detail(read_at=self._clock(), settled=ended)
        try:
            job = await hook.aget_media_producing_job(sub.job_id)
            drawn = parsed(job.sub_job_materials)
            drawn = drawn if isinstance(drawn, dict) else {}
            detail = replace(
                detail,
                percent=job.progress,
                title=_shown(drawn.get("Title")),
                speech=_shown(drawn.get("SpeechText")),
            )
            if ended and sub.media_id:
                info = await hook.aget_media_info(sub.media_id)
                detail = replace(_with_file(detail, info), settled=info.status == "Normal")
        except IceError as error:
            log.debug("A sub-job's details could not be read: %s", error.brief())
            if error.transient:
                detail = replace(detail, settled=False)
        return detail


def _hook(account: Account) -> IceHook:
    # The page asks again by itself; a person who waits for it hears soon.
    return IceHook(account.ice_conn_id, account.region_id, tries=1)


def _with_file(detail: Detail, info: MediaInfo) -> Detail:
    file = info.source_file
    if file is None:
        return detail
    return replace(detail, size=file.file_size, width=file.width, height=file.height)


def _shown(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
