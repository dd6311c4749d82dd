"""The loop that polls jobs for many waits of one connection.

A thousand waiting tasks that ask for their job each take a thousand requests an interval, out of a
quota of some tens a second that the account's submissions need, too. Here a page of
ListBatchMediaProducingJobs serves a hundred waits, and jobs that end together are found on a page
of ended jobs. Get serves the rest: jobs that no list shows, those that ended alone, a few listed
ones to check the list, and every due wait whenever the list is no help.

Nothing holds up anybody else: lists and Gets run next to each other, a Get that is slow or fails
holds up its own job only, and whatever goes wrong in a poll is an error of that poll.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from airflow_ice import metrics
from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError
from airflow_ice.exceptions import poll_error
from airflow_ice.polling.accelerator import ListAccelerator
from airflow_ice.polling.backoff import Backoff
from airflow_ice.polling.gets import Gets
from airflow_ice.polling.listing import Listing
from airflow_ice.polling.watch import EARLY, Watch, Watches
from airflow_ice.waiting import CREDENTIAL_ERRORS, PollOutcome, Wait

if TYPE_CHECKING:
    from airflow_ice.connections import IceConnection

log = logging.getLogger(__name__)

SHORTEST_TURN: Final = 0.05
LONGEST_TURN: Final = 1.0
"""Seconds between two turns of the loop, each of which polls what is due."""

WAITS_A_SECOND: Final = 4000
"""Waits that are looked through in a second, at the most."""

LONGEST_FAULT_PAUSE: Final = 30.0

RESTART_PAUSE: Final = 1.0
"""Seconds before a loop that was cancelled starts again."""

FOLLOW_WHILE_BUSY: Final = 30.0
"""Seconds after which an edit of the connection is looked for, however long an answer takes."""

FOLLOW_PATIENCE: Final = 2.0
"""Seconds that a turn waits for the connection to be read again."""

OpenClient = Callable[[], AbstractAsyncContextManager[AsyncCalls]]


class Following:
    """Reads the connection again before polls.

    :param name: of the connection, for messages.
    :param follow: see Poller; None for a connection that nobody edits.
    """

    def __init__(self, name: str, follow: Callable[[bool], Awaitable[None]] | None) -> None:
        self._name = name
        self._follow = follow
        self.doubtful = False
        """What was read before no longer counts."""

    def __bool__(self) -> bool:
        return self._follow is not None

    async def follow(self) -> None:
        """Move the waits whose connection was edited."""
        if self._follow is None:
            return
        doubtful, self.doubtful = self.doubtful, False
        try:
            async with asyncio.timeout(FOLLOW_PATIENCE):
                await self._follow(doubtful)
        except Exception:  # an unreadable connection is no edited one: poll with what is known
            log.debug("The connection %s could not be read again.", self._name, exc_info=True)


class Poller:
    """Polls jobs for many waits. It runs while there are waits, with one client.

    :param open_client: makes the context that holds the client.
    :param name: of the connection, for metrics and logs. So is region.
    :param wall_clock: epoch seconds.
    :param draw: returns numbers in [0, 1), for the jitter.
    :param on_idle: called when the last wait has left: no wait may join any more.
    :param follow: called before polls, to move waits whose connection was edited. Its argument says
        that what was read before no longer counts.
    :param on_unknown: see Gets.
    """

    def __init__(
        self,
        open_client: OpenClient,
        *,
        name: str,
        region: str | None = None,
        wall_clock: Callable[[], float] | None = None,
        draw: Callable[[], float] = random.random,
        on_idle: Callable[[], None] = lambda: None,
        follow: Callable[[bool], Awaitable[None]] | None = None,
        on_unknown: Callable[[Watch], bool] = lambda watch: False,
    ) -> None:
        self._open_client = open_client
        self._name = name
        self.region = region
        self._draw = draw
        self._on_idle = on_idle
        self._following = Following(name, follow)
        self.watches = Watches(asyncio.get_running_loop().time, wall_clock or time.time)
        self._backoff = Backoff(draw)
        accelerator = ListAccelerator(name, self.watches.clock)
        self._gets = Gets(
            self.watches,
            self._backoff,
            accelerator,
            on_doubt=self._note_doubt,
            on_unknown=on_unknown,
        )
        self._listing = Listing(self.watches, self._gets, accelerator)
        self._task: asyncio.Task[None] | None = None
        self._next_turn = -math.inf
        self._reopen = False

    async def watch(
        self,
        wait: Wait,
        interval: float,
        *,
        region_id: str | None = None,
        seen_by: IceConnection | None = None,
    ) -> PollOutcome:
        """Poll until a wait is over, and return how it ended.

        :param interval: seconds within which each poll follows the last one.
        :param region_id: as the wait was given it.
        :param seen_by: the connection that led to the job before, if that is another one.
        """
        due = self.watches.first_due(wait, interval, self._draw())
        watch = Watch(wait, interval, due=due, region_id=region_id)
        watch.seen_by = seen_by
        self.join(watch)
        try:
            return await watch.over
        finally:
            if watch.poller is not None:
                wait.region = watch.poller.region
                watch.poller.leave(watch)

    def join(self, watch: Watch) -> None:
        """Poll for a wait from now on."""
        watch.poller = self
        self._backoff.joined(self.watches.clock(), watch.interval)
        self.watches.add(watch)
        if self._task is None:
            self._start(self._run())

    def _start(self, run: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: the loop's lines are nobody's task log.
        name = f"airflow-ice-poller[{self._name}]"
        self._task = asyncio.create_task(run, name=name, context=contextvars.Context())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start the loop again if it was cancelled while waits are left.

        A cancellation that was meant for another task can reach it through what it awaits.
        """
        if self.watches.count and not task.get_loop().is_closed():
            log.warning("The poll loop of %s was cancelled; it starts again.", self._name)
            self._start(self._run_again())

    async def _run_again(self) -> None:
        await asyncio.sleep(RESTART_PAUSE)  # what has cancelled it may do so each time
        await self._run()

    def leave(self, watch: Watch) -> None:
        """Poll no more for a wait; after the last one, close the client and end."""
        watch.poller = None
        self.watches.remove(watch)
        if not self.watches.count:
            self._on_idle()
            metrics.polled(self._name, self.region, 0, 0.0, None)
            if self._task is not None:
                self._task.cancel()

    async def _run(self) -> None:
        pause = 1.0
        while self.watches.count:
            try:
                async with self._open_client() as calls:
                    self._gets.open(calls)
                    self._reopen = False
                    try:
                        while self.watches.count and not self._reopen:
                            if await self._is_time():
                                await self._turn(calls)
                                pause = 1.0
                    finally:
                        await self._listing.close()
                        await self._gets.close()
            except Exception as fault:  # the loop survives its own bugs: it logs and continues
                log.exception(
                    "The poll loop of %s met a fault; it continues in %.0f s.", self._name, pause
                )
                # Each wait decides for itself, so that deadlines hold whatever is broken here.
                due = [watch for watch in self.watches.all() if self.watches.is_due(watch)]
                await self.watches.tell_error(poll_error(fault), due)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_FAULT_PAUSE)
            self.watches.next_due = -math.inf

    async def _is_time(self) -> bool:
        """Wait until a poll is due, or what is due has changed, and tell which."""
        self.watches.changed.clear()
        seconds = max(self.watches.next_due, self._next_turn) - self.watches.clock()
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await self.watches.changed.wait()
        except TimeoutError:
            return True
        return False

    async def _turn(self, calls: AsyncCalls) -> None:
        """Begin to poll all that is due."""
        began = self.watches.clock()
        await self._following.follow()
        now = self.watches.clock()
        watches = self.watches.all()
        due = self._due(watches, now)
        self._listing.begin(calls, len(due))
        ready = [
            watch
            for watch in due
            if self._listing.held_until(watch) <= now and not self._gets.is_asked(watch.wait.job_id)
        ]
        has_news = self._backoff.is_news(now)
        wall = self.watches.wall_clock()
        if not has_news and any(watch.wait.is_at_its_end(wall) for watch in ready):
            self._backoff.probe_now(now)
        if not self._backoff.is_open:
            for watch in ready:
                self._gets.ask(watch)
        elif now >= self._backoff.not_before:
            if ready and not self._gets.is_answer_near:
                self._probe(watches, now)
        elif self._backoff.error is not None:
            await self.watches.tell_error(
                self._backoff.error,
                ready,
                told_down=True,
                poll_first=None if has_news else self._backoff.not_before,
            )
        self._schedule(watches)
        now = self.watches.wall_clock()
        oldest = now - min((watch.wait.started_at for watch in watches), default=now)
        took = self.watches.clock() - began
        metrics.polled(self._name, self.region, len(watches), oldest, took)

    def _probe(self, watches: list[Watch], now: float) -> None:
        """Ask for a job or two while all others hold back."""
        if self._gets.is_busy:  # one next to a probe that hangs, and the next an interval later
            self._backoff.not_before = now + self.watches.shortest_interval()
        free = [watch for watch in watches if not self._gets.is_asked(watch.wait.job_id)]
        # Any that have failed least, due or not: a job that fails on its own proves nothing, and
        # those that do may stand side by side.
        number = self._backoff.probes_at_once
        for watch in heapq.nsmallest(number, free, key=lambda one: (one.failures, self._draw())):
            self._gets.ask(watch, check=True)

    def _due(self, watches: list[Watch], now: float) -> list[Watch]:
        """Return the waits to poll now: if one is due, also those that are due soon.

        Those that are queued for a Get are among them. Else thousands that came into that queue,
        while a list was late, would be out of sight of the next one.
        """
        if all(watch.due > now for watch in watches):
            return []
        return [
            watch
            for watch in watches
            if watch.due - now <= EARLY * watch.pause
            and (
                not self._gets.is_asked(watch.wait.job_id)
                or self._gets.is_queued(watch.wait.job_id)
            )
        ]

    def _schedule(self, watches: list[Watch]) -> None:
        """Find out when the next turn is."""
        now = self.watches.clock()
        probing = self._backoff.is_open and self._gets.is_answer_near
        next_due = shortest = math.inf
        for watch in watches:
            shortest = min(shortest, watch.interval)
            if (probing and watch.due <= now) or self._gets.is_asked(watch.wait.job_id):
                continue  # the answer says when
            due = watch.due if watch.due > now else self._listing.held_until(watch)
            next_due = min(next_due, due)
        if self._following and self._gets.is_busy:
            # A Get may wait for a limit of requests that was set by mistake, and corrected since.
            next_due = min(next_due, now + FOLLOW_WHILE_BUSY)
        self.watches.next_due = next_due
        # Looking through ten thousand waits takes milliseconds: with many, more are due a turn.
        turn = max(SHORTEST_TURN, min(len(watches) / WAITS_A_SECOND, LONGEST_TURN, shortest / 10))
        self._next_turn = now + turn

    def _note_doubt(self, error: IceError) -> None:
        """Read the connection again, and where credentials were refused, open a new client.

        The source of credentials then hands out new ones: a token may have expired.
        """
        self._following.doubtful = True
        if isinstance(error, CREDENTIAL_ERRORS) and not error.transient:
            self._reopen = True
            self.watches.changed.set()
