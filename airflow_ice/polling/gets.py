"""Polls single jobs with GetBatchMediaProducingJob, a few at a time.

A job whose last poll failed or was slow goes into a lane of its own, and a poll that turns out to
be slow makes room for others, so that slow and failing jobs hold up each other only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError, IceJobNotFoundError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import poll_error
from airflow_ice.polling.accelerator import ListAccelerator
from airflow_ice.polling.backoff import Backoff
from airflow_ice.polling.watch import Watch, Watches
from airflow_ice.waiting import CREDENTIAL_ERRORS, JOB_ENDED

log = logging.getLogger(__name__)

AT_A_TIME: Final = 8
"""Gets at a time, for jobs whose last poll worked."""

SUSPECTS_AT_A_TIME: Final = 16
"""Gets at a time, for jobs whose last poll failed or was slow."""

SLOW_AFTER: Final = 2.0
"""Seconds after which a Get that is under way no longer counts as one of those at a time."""

MOST_SLOW: Final = 32
"""Slow Gets, in addition to the others; together they are fewer than a client's connections."""


class Lane:
    """Jobs to ask for, and how many at a time."""

    def __init__(self, most: int) -> None:
        self.queue: OrderedDict[str, None] = OrderedDict()
        self.most = most
        self.busy = 0


class Gets:
    """Gets single jobs, and reports to their waits.

    :param on_doubt: called with an error of all, or of an unknown job: the connection may have been
        edited, or its credentials be refused.
    :param on_unknown: called with a wait whose job is unknown here; returns whether it has moved
        the wait to where the job was seen.
    """

    def __init__(
        self,
        watches: Watches,
        backoff: Backoff,
        accelerator: ListAccelerator,
        *,
        on_doubt: Callable[[IceError], None],
        on_unknown: Callable[[Watch], bool],
    ) -> None:
        self._watches = watches
        self._backoff = backoff
        self._accelerator = accelerator
        self._on_doubt = on_doubt
        self._on_unknown = on_unknown
        self._calls: AsyncCalls | None = None
        self._lanes = (Lane(AT_A_TIME), Lane(SUSPECTS_AT_A_TIME))
        self._asked: set[str] = set()
        self._checks: set[str] = set()
        self._under_way: set[str] = set()
        self._slow = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, calls: AsyncCalls) -> None:
        """Ask through a client from now on."""
        self._calls = calls

    async def close(self) -> None:
        """Stop asking; what is under way is dropped."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes:
            lane.queue.clear()
            lane.busy = 0
        self._asked.clear()
        self._checks.clear()
        self._under_way.clear()
        self._slow = 0
        self._calls = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is being asked for."""
        return bool(self._asked)

    @property
    def is_answer_near(self) -> bool:
        """Whether a job is being asked for whose answer does not take long yet."""
        return len(self._asked) > self._slow

    def is_asked(self, job_id: str) -> bool:
        """Tell whether a job is being asked for, so that its waits hear of it."""
        return job_id in self._asked

    def is_queued(self, job_id: str) -> bool:
        """Tell whether a job is still to be asked for, and only because a wait for it is due: a
        list may tell it sooner.
        """
        return job_id in self._asked and not (job_id in self._checks or job_id in self._under_way)

    def withdraw(self, job_id: str) -> None:
        """Do not ask for a queued job: a list has told it."""
        if self.is_queued(job_id):
            for lane in self._lanes:
                lane.queue.pop(job_id, None)
            self._asked.discard(job_id)

    def ask(self, watch: Watch, *, check: bool = False) -> None:
        """Ask for the job of a wait.

        :param check: also if the wait is not due.
        """
        job_id = watch.wait.job_id
        if watch.over.done():
            return
        if check:
            self._checks.add(job_id)
        if job_id in self._asked:
            return
        self._asked.add(job_id)
        lane = self._lanes[watch.failures > 0 or watch.was_slow]
        lane.queue[job_id] = None
        if lane.busy < lane.most:
            lane.busy += 1
            self._spawn(self._serve(lane))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, lane: Lane) -> None:
        try:
            while lane.queue:
                job_id, _ = lane.queue.popitem(last=False)
                self._under_way.add(job_id)
                asking = self._spawn(self._ask_for(job_id))
                await asyncio.wait({asking}, timeout=SLOW_AFTER)
                if not asking.done():
                    await self._make_room(asking)
        finally:
            lane.busy -= 1

    async def _make_room(self, asking: asyncio.Task[None]) -> None:
        """Let a slow Get continue next to the others, unless there are too many of those."""
        if self._slow >= MOST_SLOW:
            await asyncio.wait({asking})
            return

        def ended(_: object) -> None:
            self._slow -= 1

        self._slow += 1
        asking.add_done_callback(ended)
        # A probe that hangs is an answer too: another one may get a reply.
        self._watches.note_due(float("-inf"))

    async def _ask_for(self, job_id: str) -> None:
        began = self._watches.clock()
        try:
            await self._poll(job_id)
        except Exception:  # a fault here must not stop the others
            log.exception("Polling batch job %s met a fault.", job_id)
            for watch in self._watches.of(job_id):
                watch.due = self._watches.clock() + watch.interval
        finally:
            for watch in self._watches.of(job_id):
                watch.was_slow = self._watches.clock() - began > SLOW_AFTER
            self._answered(job_id)

    def _answered(self, job_id: str) -> None:
        self._asked.discard(job_id)
        self._checks.discard(job_id)
        self._under_way.discard(job_id)
        for watch in self._watches.of(job_id):
            self._watches.note_due(watch.due)
        if not self._asked:
            # Others may be due that were held back while these were asked for.
            self._watches.note_due(float("-inf"))

    async def _poll(self, job_id: str) -> None:
        # A list may have reported to its waits meanwhile, or they have left.
        watches = self._watches.of(job_id)
        if not any(map(self._watches.is_due, watches)) and not (watches and job_id in self._checks):
            return
        assert self._calls is not None  # noqa: S101 - it is open while this runs
        began = self._watches.clock()
        try:
            job = await self._calls.aget_batch_media_producing_job(job_id)
        except Exception as cause:  # noqa: BLE001 - whatever goes wrong in a poll is its error
            await self._failed(poll_error(cause), job_id, began)
        else:
            self._worked(job, job_id)

    def _worked(self, job: BatchMediaProducingJob, job_id: str) -> None:
        now, wall = self._watches.clock(), self._watches.wall_clock()
        if self._backoff.worked(now):
            self._resume(now)
        if job.status in JOB_ENDED:
            self._accelerator.note_ended(job_id)
        for watch in self._watches.of(job_id):
            watch.failures = 0
            watch.told_down = watch.held_back = watch.refused = False
            watch.checked_at = now
            watch.tell(watch.wait.on_job, job, wall, now=now)

    def _resume(self, now: float) -> None:
        """Poll soon for the waits to which a failure was reported without a poll of their own."""
        for watch in self._watches.all():
            if watch.told_down:
                watch.told_down = False
                watch.wait.on_recovery()
                watch.due = min(watch.due, now)
        self._watches.note_due(now)

    async def _failed(self, error: IceError, job_id: str, began: float) -> None:
        watches = self._watches.of(job_id)
        if isinstance(error, IceJobNotFoundError):
            watches = [watch for watch in watches if not self._on_unknown(watch)]
        concerns_all = self._backoff.failed(
            error,
            self._watches.clock(),
            began=began,
            # Where a wait was held back and others work since, its failure is its own.
            before=min((watch.failures + watch.held_back for watch in watches), default=0),
            shortest=self._watches.shortest_interval(),
        )
        if concerns_all or isinstance(error, IceJobNotFoundError):
            self._on_doubt(error)
        refused = isinstance(error, CREDENTIAL_ERRORS) and not error.transient
        for watch in watches:
            watch.failures += 1
            if refused:
                # Where the connection leads now is the only place left, even if the job was not
                # known there: that may have been a reply of the moment.
                watch.refused, watch.rejected = True, None
        # A probe may come before a wait is due: its minute of doubt is counted by its own pauses.
        due = [watch for watch in watches if self._watches.is_due(watch)]
        await self._watches.tell_error(error, due)
        if concerns_all:
            await self._drop_queued(error)

    async def _drop_queued(self, error: IceError) -> None:
        """Ask for no other job now, and report to the waits of those that were queued."""
        dropped = [job_id for lane in self._lanes for job_id in lane.queue]
        for lane in self._lanes:
            lane.queue.clear()
        self._under_way.update(dropped)  # their answer is this error
        watches = [watch for job_id in dropped for watch in self._watches.of(job_id)]
        due = [watch for watch in watches if self._watches.is_due(watch)]
        await self._watches.tell_error(error, due, told_down=True)
        for job_id in dropped:
            self._answered(job_id)
