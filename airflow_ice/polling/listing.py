"""One reading of the lists at a time, and what it reports to the waits.

A job that the list shows as running is running. One that a list shows as ended has ended. One that
no list shows is asked for, and so are a few that are listed, to find out whether the list is
behind.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Mapping
from typing import Final

from airflow_ice.api.calls import AsyncCalls
from airflow_ice.exceptions import poll_error
from airflow_ice.polling.accelerator import EndedJob, ListAccelerator, RunningJobs
from airflow_ice.polling.gets import Gets
from airflow_ice.polling.watch import Watch, Watches, drop_frames, in_turns
from airflow_ice.waiting import CLOCK_TOLERANCE, JOB_ENDED, JOB_RUNNING

PATIENCE: Final = 0.5
"""The part of its interval for which a due wait is held for a list that is being read."""

LEAST_ENDED: Final = 5
"""Jobs that left the lists of running jobs together, from which the lists of ended ones are
read."""

CREATED_BEFORE: Final = 600.0
"""Seconds before its wait began that a job may have been created, to be found among ended jobs."""

MOST_CHECKS: Final = 4
CHECKED_WAITS: Final = 400
"""Listed jobs that Get checks after each reading: `CHECKED_WAITS` over the number of waits, from 1
to `MOST_CHECKS`. So few waits are checked within few readings, and many cost next to nothing."""


MOST_HEARTBEATS: Final = 20
HEARTBEAT_WAITS: Final = 1000
"""Listed jobs that Get asks for after each reading, for the progress that their logs show:
`HEARTBEAT_WAITS` over the number of waits, from 1 to `MOST_HEARTBEATS`. Heartbeats come at growing
intervals, so for few waits each has its Get, and for many they cost next to nothing.
"""


class Listing:
    """Reads the lists, and reports to the waits what they show."""

    def __init__(self, watches: Watches, gets: Gets, accelerator: ListAccelerator) -> None:
        self._watches = watches
        self._gets = gets
        self._accelerator = accelerator
        self._task: asyncio.Task[None] | None = None

    def begin(self, calls: AsyncCalls, due: int) -> None:
        """Read the lists, if that is likely to take fewer requests than asking for each due job."""
        if due and self._task is None and self._accelerator.is_worth(due):
            self._task = asyncio.create_task(self._read(calls, most=due))

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def held_until(self, watch: Watch) -> float:
        """Return until when a due wait is left to the list, in monotonic seconds."""
        if self._task is None:
            return watch.due
        return watch.due + PATIENCE * watch.interval

    async def _read(self, calls: AsyncCalls, most: int) -> None:
        try:
            running = await self._accelerator.running(calls, most)
            missing = self._missing(running)
            ended = await self._ended_among(calls, missing) if running.complete else {}
            await self._tell(running, ended, missing)
        except Exception as cause:  # noqa: BLE001 - whatever goes wrong, each job is asked for
            self._accelerator.failed(poll_error(cause), self._watches.shortest_interval())
        finally:
            self._task = None
            self._watches.note_due(float("-inf"))

    def _missing(self, running: RunningJobs) -> list[Watch]:
        """Return the waits whose jobs are to be looked for elsewhere."""
        return [
            watch
            for watch in self._watches.all()
            if watch.wait.job_id not in running.states
            and (self._watches.is_due(watch) or (watch.listed and running.complete))
        ]

    async def _ended_among(self, calls: AsyncCalls, missing: list[Watch]) -> Mapping[str, EndedJob]:
        # Without those that no list has shown: they would be looked for each time.
        wanted = [watch for watch in missing if watch.unlisted < 2]
        if len(wanted) < LEAST_ENDED:
            return {}
        since = min(watch.wait.started_at for watch in wanted) - CREATED_BEFORE
        ended = await self._accelerator.ended(calls, {w.wait.job_id for w in wanted}, since)
        for job_id in itertools.islice(ended, 1):
            # Get is the truth: one of them answers for the page.
            try:
                job = await calls.aget_batch_media_producing_job(job_id)
            except Exception as cause:  # noqa: BLE001 - then each is asked for
                drop_frames(cause)
                return {}
            if job.status not in JOB_ENDED:
                self._accelerator.distrust(f"it shows job {job_id} as ended, which is {job.status}")
                return {}
        return ended

    async def _tell(
        self, running: RunningJobs, ended: Mapping[str, EndedJob], missing: list[Watch]
    ) -> None:
        listed: list[Watch] = []
        async for watch in in_turns(self._watches.all()):
            now, wall = self._watches.clock(), self._watches.wall_clock()
            job_id = watch.wait.job_id
            state = running.states.get(job_id)
            if (end := ended.get(job_id)) is not None:
                watch.tell(watch.wait.on_listed, end.status, wall, extend=end.extend, now=now)
                self._gets.withdraw(job_id)
            elif state is None:
                continue
            elif state not in JOB_RUNNING or watch.wait.deadline - wall < CLOCK_TOLERANCE:
                # A list that takes no filter shows ended jobs, too; and a time-out asks Get first.
                self._gets.ask(watch, check=True)
            else:
                watch.listed, watch.unlisted, watch.told_down = True, 0, False
                watch.tell(watch.wait.on_listed, state, wall, now=now)
                self._gets.withdraw(job_id)
                listed.append(watch)
        for watch in missing:
            if watch.poller is not None and watch.wait.job_id not in ended:
                watch.unlisted += running.complete and not watch.listed
                watch.listed = False
                # Where the list is cut short, the next one may show it before its turn comes.
                self._gets.ask(watch, check=running.complete)
        self._ask_for_heartbeats(listed)
        self._check(listed)

    def _ask_for_heartbeats(self, listed: list[Watch]) -> None:
        """Ask for jobs whose waits are to say in their logs how far they are, the latest first."""
        wall = self._watches.wall_clock()
        due = [watch for watch in listed if watch.wait.is_heartbeat_due(wall)]
        most = max(1, min(MOST_HEARTBEATS, HEARTBEAT_WAITS // max(1, len(listed))))
        for watch in heapq.nsmallest(most, due, key=lambda watch: watch.wait.next_heartbeat):
            self._gets.ask(watch, check=True)

    def _check(self, listed: list[Watch]) -> None:
        """Ask for a few jobs that the list shows as running, those longest not asked for."""
        if listed:
            some = max(1, min(MOST_CHECKS, CHECKED_WAITS // len(listed)))
            for watch in heapq.nsmallest(some, listed, key=lambda watch: watch.checked_at):
                self._gets.ask(watch, check=True)
