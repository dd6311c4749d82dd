"""One wait, as the poll loop sees it: when it is due, and what is reported to it.

Due times are on the event loop's monotonic clock, so that a clock that is set back delays nothing.
Deadlines are on the wall clock, because a wait may move to another machine.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from airflow_ice.api.errors import IceError
from airflow_ice.waiting import PollAgain, PollOutcome, Wait

if TYPE_CHECKING:
    from airflow_ice.connections import IceConnection
    from airflow_ice.polling.poller import Poller

log = logging.getLogger(__name__)

EARLY: Final = 0.25
"""The part of its pause by which a wait may be polled early, so that waits are polled together."""

GATHER: Final = 0.5
"""Seconds before the first poll of a wait that began long ago: after a restart, waits come back by
the hundred."""

TURN: Final = 200
"""Waits after which the event loop is given to others."""


class Watch:
    """One wait in a loop.

    :param wait: decides what each poll means.
    :param interval: seconds between polls.
    :param region_id: as the wait was given it; with the connection id it says what to read again.
    :param due: monotonic seconds.
    """

    __slots__ = (
        "checked_at",
        "context",
        "due",
        "failures",
        "held_back",
        "interval",
        "listed",
        "over",
        "pause",
        "poller",
        "refused",
        "region_id",
        "rejected",
        "seen_by",
        "told_down",
        "unlisted",
        "wait",
        "was_slow",
    )

    def __init__(self, wait: Wait, interval: float, *, due: float, region_id: str | None) -> None:
        self.wait = wait
        self.interval = interval
        self.due = due
        self.pause = interval
        """Seconds that the wait last asked to pause."""
        self.region_id = region_id
        self.poller: Poller | None = None
        self.failures = 0
        """Failed polls of this very job in a row."""
        self.was_slow = False
        """The last poll of this job took long."""
        self.told_down = False
        """A failure of the service was reported to it, without a poll of its own."""
        self.held_back = False
        """That was reported since its job was last shown."""
        self.listed = False
        self.unlisted = 0
        """Complete lists in a row that did not show the job although it runs."""
        self.checked_at = due
        """When Get last showed the job."""
        self.seen_by: IceConnection | None = None
        """The connection as it was when the job was last seen, from before it was edited."""
        self.rejected: str | None = None
        """Settings of the connection under which the job is unknown."""
        self.refused = False
        """The credentials were refused where the job was last polled."""
        self.over: asyncio.Future[PollOutcome] = asyncio.get_running_loop().create_future()
        # A wait's lines belong into its own task's log.
        self.context = contextvars.copy_context()

    def tell(
        self,
        decide: Callable[..., PollOutcome],
        *args: Any,
        now: float,
        poll_first: float | None = None,
        **more: Any,
    ) -> None:
        """Let the wait decide what a poll means, and take its decision.

        :param decide: one of the methods of `Wait`.
        :param now: monotonic seconds.
        :param poll_first: when to poll before the wait may end; None where it may end now.
        """
        if self.over.done():
            return
        try:
            outcome = self.context.run(decide, *args, **more)
        except Exception:  # a fault in one wait must not reach the others
            log.exception("The wait for batch job %s could not decide.", self.wait.job_id)
            self.due = now + self.interval
            return
        if isinstance(outcome, PollAgain):
            # A minute of doubt is counted by its pauses: none of them is cut short.
            self.pause = 0.0 if outcome.same_process else outcome.seconds
            self.due = now + outcome.seconds
        elif poll_first is not None:
            self.due = max(poll_first, now + self.pause / 10)
        else:
            self.over.set_result(outcome)


class Watches:
    """The waits of a loop: who is there, when the next one is due, and reporting to them.

    :param clock: monotonic seconds, of the event loop.
    :param wall_clock: epoch seconds.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.clock = clock
        self.wall_clock = wall_clock
        self.count = 0
        self.next_due = math.inf
        self.changed = asyncio.Event()
        self._by_job: dict[str, list[Watch]] = {}

    def add(self, watch: Watch) -> None:
        """Add a wait."""
        self._by_job.setdefault(watch.wait.job_id, []).append(watch)
        self.count += 1
        self.note_due(watch.due)

    def remove(self, watch: Watch) -> None:
        """Remove a wait."""
        same = self._by_job[watch.wait.job_id]
        same.remove(watch)
        if not same:
            del self._by_job[watch.wait.job_id]
        self.count -= 1

    def all(self) -> list[Watch]:
        """Return the waits that are not over."""
        return [watch for same in self._by_job.values() for watch in same if not watch.over.done()]

    def of(self, job_id: str) -> list[Watch]:
        """Return the waits for a job that are not over."""
        return [watch for watch in self._by_job.get(job_id, ()) if not watch.over.done()]

    def shortest_interval(self) -> float:
        """Return the shortest interval of all waits, in seconds."""
        return min((watch.interval for watch in self.all()), default=1.0)

    def is_due(self, watch: Watch) -> bool:
        """Tell whether a wait is due, or soon enough to be polled with those that are."""
        return watch.due - self.clock() <= EARLY * watch.pause

    def first_due(self, wait: Wait, interval: float, drawn: float) -> float:
        """Return when a wait is polled first, in monotonic seconds.

        A worker has polled when the wait began: the next poll is an interval later, or soon, where
        that is past. The worker's clock may be off: it is an interval from now at most.

        :param drawn: a number in [0, 1), for the jitter.
        """
        now = self.wall_clock()
        after = wait.started_at + interval * (1 - 0.1 * drawn) - now
        after = min(max(after, min(GATHER, interval / 2)), interval)
        return self.clock() + min(after, max(wait.deadline - now, 0.0))

    def note_due(self, due: float) -> None:
        """Let the loop know of a wait that is due at a time, if it is earlier than all it knows."""
        if due < self.next_due:
            self.next_due = due
            self.changed.set()

    async def tell_error(
        self,
        error: IceError,
        watches: Iterable[Watch],
        *,
        told_down: bool = False,
        poll_first: float | None = None,
    ) -> None:
        """Let waits decide what a failed poll means to them.

        :param told_down: it was not a poll of their own.
        :param poll_first: see `Watch.tell`.
        """
        drop_frames(error)
        async for watch in in_turns(list(watches)):
            watch.told_down = told_down
            watch.held_back = watch.held_back or told_down
            watch.tell(
                watch.wait.on_error,
                error,
                self.wall_clock(),
                now=self.clock(),
                poll_first=poll_first,
            )
            self.note_due(watch.due)


async def in_turns(watches: Iterable[Watch]) -> AsyncIterator[Watch]:
    """Iterate over waits and give way to others now and then."""
    for number, watch in enumerate(watches, start=1):
        yield watch
        if number % TURN == 0:
            await asyncio.sleep(0)


def drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and its causes.

    A wait keeps its last error for minutes, and they keep pages and other waits alive.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
