"""Polls all batch jobs of an account: which have ended since the last poll.

The list shows what has changed, Get confirms each end. A job whose Get fails holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from airflow_ice.api import operations
from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError, IceJobNotFoundError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.connections import IceConnection
from airflow_ice.exceptions import poll_error
from airflow_ice.polling.accelerator import FEW, RUNNING_STATES
from airflow_ice.polling.gets import AT_A_TIME
from airflow_ice.polling.poller import OpenClient
from airflow_ice.polling.registry import READ_PATIENCE, Read, open_hook, read_connection
from airflow_ice.selection import Edit, Selection, Watched
from airflow_ice.waiting import JOB_ENDED
from airflow_ice.watching import KNOWN_FOR, Ledger, epoch

log = logging.getLogger(__name__)

MOST_ENDS: Final = 100
"""Ends that one poll confirms. The rest follows with the next polls."""

MOST_PAGES: Final = 1_000
"""Pages of one list; against a service whose pages never end."""

LONGEST_DOUBT: Final = 900.0
"""Seconds at most between Gets of a job that the list shows as ended and Get does not, or that
hangs."""

HANGS_AFTER: Final = 86_400.0
"""Seconds after its creation at which a job that runs is no longer asked for with each poll."""


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """What a poll has found.

    :param jobs: as Get shows them, the oldest first.
    :param region_id: where; None where that is no region.
    :param left: how many more seem to have ended, which the next polls confirm.
    """

    jobs: tuple[BatchMediaProducingJob, ...]
    region_id: str | None
    left: int


@dataclass(slots=True)
class _Doubt:
    """A job that seems to have ended, and whose last Get did not show it."""

    times: int
    until: float


class AccountPoller:
    """Polls one account for one watcher. Each poll reads the connection again.

    To be made in a running event loop.

    :param region_id: None for the connection's own.
    :param interval: seconds between polls.
    """

    def __init__(
        self,
        ice_conn_id: str,
        region_id: str | None,
        *,
        ledger: Ledger,
        selection: Selection,
        interval: float,
        read: Read = read_connection,
        open_client: Callable[[str, IceConnection], OpenClient] = open_hook,
    ) -> None:
        self._ice_conn_id = ice_conn_id
        self._region_id = region_id
        self._ledger = ledger
        self._selection = selection
        self._interval = interval
        self._read = read
        self._open_client = open_client
        self._doubts: dict[str, _Doubt] = {}
        self._made_at = asyncio.get_running_loop().time()

    async def poll(self) -> EndedJobs:
        """Return the jobs that have ended and are selected. Each is then settled in the ledger: it
        must be reported, or the ledger be dropped.

        :raises IceError: nothing could be read; nothing is settled.
        :raises Exception: the connection could not be read; nothing is settled.
        """
        async with asyncio.timeout(READ_PATIENCE):
            connection = await self._read(self._ice_conn_id, self._region_id)
        watched = Watched(self._ice_conn_id, connection.region, self._selection)
        edit = self._ledger.edit_to(watched)
        polled_at = time.time()
        async with self._open_client(self._ice_conn_id, connection)() as calls:
            seen = await self._read_lists(calls, polled_at, edit)
            unconfirmed = self._ledger.unconfirmed(await self._running(calls))
            ready = [job_id for job_id in unconfirmed if self._is_ready(job_id)]
            jobs = await self._confirmed(calls, ready[:MOST_ENDS])
        # Nothing is awaited from here on: what is settled is reported.
        for job_id in jobs:
            self._ledger.settle(job_id)
        self._ledger.advance(seen, watched, polled_at)
        if edit is not None:
            _log_edit(edit)
        selected = tuple(job for job in jobs.values() if self._selection.matches(job))
        self._doubts = {name: self._doubts[name] for name in unconfirmed if name in self._doubts}
        return EndedJobs(selected, connection.region, max(len(ready) - MOST_ENDS, 0))

    async def _read_lists(
        self, calls: AsyncCalls, now: float, edit: Edit | None
    ) -> Sequence[float]:
        """Note in the ledger what the lists show; return the creation times that were shown."""
        self._ledger.correct_start(now - (asyncio.get_running_loop().time() - self._made_at))
        first = self._ledger.started_at is not None
        running = await self._list_running(calls) if first or edit else []
        # Only this poll distinguishes what had ended before the start from what ends later.
        to_end = first and self._ledger.since < (self._ledger.started_at or 0)
        since = min(self._ledger.since, edit.list_from) if edit else self._ledger.since
        rows, is_whole = await self._list_since(calls, since, to_end=to_end or edit is not None)
        # In this order: a job that ends between the two lists is in both.
        self._ledger.note_older(
            [*running, *(rows if edit else [])], self._selection, now, edit=edit
        )
        self._ledger.note_listed(rows, self._selection, now, is_whole=is_whole, edit=edit)
        return sorted(row.create_time.timestamp() for row in rows if row.create_time)

    async def _list_since(
        self, calls: AsyncCalls, since: float, *, to_end: bool
    ) -> tuple[list[BatchMediaProducingJob], bool]:
        """Return the jobs created since a time, the oldest first, and whether these are all.

        :param to_end: else as many as one poll confirms are enough.
        """
        # Whether StartTime is inclusive is not documented; nor are fractions of a second known.
        start_time = datetime.fromtimestamp(int(since) - 1, UTC)
        rows: list[BatchMediaProducingJob] = []
        new = 0
        async for page in _pages(calls, start_time=start_time, sort_by="asc"):
            rows += page
            new += sum(self._is_new_end(row) for row in page)
            if new > MOST_ENDS and not to_end and _is_ascending(rows):
                return rows, False
        return rows, True

    def _is_new_end(self, row: BatchMediaProducingJob) -> bool:
        return (
            row.status in JOB_ENDED
            and row.job_id not in self._ledger.settled
            and epoch(row.create_time, self._ledger.since) >= self._ledger.since
            and self._selection.may_match(row)
            and self._is_ready(row.job_id)
        )

    async def _list_running(self, calls: AsyncCalls) -> list[BatchMediaProducingJob]:
        return [
            row
            for state in RUNNING_STATES
            async for page in _pages(calls, status=state)
            for row in page
        ]

    async def _running(self, calls: AsyncCalls) -> list[str]:
        """Return the open jobs that still run, as far as a list saves Gets."""
        if len(self._ledger.open) <= FEW:
            return []
        return [row.job_id for row in await self._list_running(calls)]

    async def _confirmed(
        self, calls: AsyncCalls, job_ids: Sequence[str]
    ) -> dict[str, BatchMediaProducingJob]:
        """Ask for jobs, a few at a time, and return those that have ended."""
        ended: dict[str, BatchMediaProducingJob] = {}
        for place in range(0, len(job_ids), AT_A_TIME):
            some = job_ids[place : place + AT_A_TIME]
            gets = map(calls.aget_batch_media_producing_job, some)
            failed = 0
            for job_id, job in zip(
                some, await asyncio.gather(*gets, return_exceptions=True), strict=True
            ):
                if isinstance(job, Exception):
                    failed += not isinstance(job, IceJobNotFoundError)
                    self._doubt(job_id, poll_error(job))
                elif isinstance(job, BaseException):
                    raise job
                elif job.status in JOB_ENDED:
                    ended[job_id] = job
                    self._doubts.pop(job_id, None)
                elif self._is_awaited(job_id):
                    self._doubts.pop(job_id, None)
                else:
                    self._doubt(job_id, None)
            if failed == len(some):
                break  # the service, not these jobs: the next poll asks again
        return ended

    def _is_awaited(self, job_id: str) -> bool:
        """Tell whether only Get shows the end of a job: it runs longer than those after it, so the
        watermark has passed it. That is no doubt about what the list shows.
        """
        created = self._ledger.open.get(job_id)
        return created is not None and time.time() < created + HANGS_AFTER

    def _is_ready(self, job_id: str) -> bool:
        doubt = self._doubts.get(job_id)
        return doubt is None or asyncio.get_running_loop().time() >= doubt.until

    def _doubt(self, job_id: str, error: IceError | None) -> None:
        """Ask for a job again later, ever less often."""
        created = self._ledger.created(job_id)
        if (
            isinstance(error, IceJobNotFoundError)
            and created is not None
            and created + KNOWN_FOR < time.time()
        ):
            log.warning(
                "Batch job %s is more than a year old, and ICE no longer knows it: no event.",
                job_id,
            )
            self._ledger.settle(job_id)
            return
        before = self._doubts.get(job_id)
        times = 1 if before is None else before.times + 1
        pause = min(self._interval * 2.0 ** min(times - 1, 10), LONGEST_DOUBT)
        # An interval's poll must not come a moment too early for it.
        until = asyncio.get_running_loop().time() + pause * 0.9
        self._doubts[job_id] = _Doubt(times, until)
        if error is not None:
            log.warning("The end of batch job %s is not confirmed yet: %s", job_id, error)


def _log_edit(edit: Edit) -> None:
    """Say what an edit reports. A new connection or region may also be a mistake."""
    if not edit.changes_place:
        log.info(
            "The filters were edited. Jobs that did not match before are reported if they run, or "
            "ended in the half hour before the last poll or later."
        )
        return
    log.warning(
        "This watcher watched the jobs of %s in region %s; now it watches those of %s in region "
        "%s. Of these, it reports the ones that run, or ended in the half hour before the last "
        "poll or later; it may report some twice. To have older ones, give it a new `name` and "
        "`since`. If another watcher of this asset has the same `name`, give each one its own.",
        *(edit.before.ice_conn_id, edit.before.region_id),
        *(edit.after.ice_conn_id, edit.after.region_id),
    )


async def _pages(
    calls: AsyncCalls,
    *,
    status: str | None = None,
    start_time: datetime | None = None,
    sort_by: str | None = None,
) -> AsyncIterator[tuple[BatchMediaProducingJob, ...]]:
    token: str | None = None
    for _ in range(MOST_PAGES):
        page = await calls.acall(
            operations.list_batch_media_producing_jobs(
                status=status, start_time=start_time, sort_by=sort_by, next_token=token
            )
        )
        yield page.jobs
        if page.next_token in (None, token):
            return
        token = page.next_token
    log.warning("The list of batch jobs was left after %d pages.", MOST_PAGES)


def _is_ascending(rows: Iterable[BatchMediaProducingJob]) -> bool:
    times = [row.create_time for row in rows if row.create_time]
    return times == sorted(times)
