"""One poll loop for all waits of a connection and region in a triggerer.

A thousand waiting tasks that ask for their job each cost a thousand requests an interval, out of a quota of some tens a second that
the account's submissions need, too. Here a page of ListBatchMediaProducingJobs covers a hundred running jobs, and
GetBatchMediaProducingJob is asked once for each job that has left the list. With few waits in a busy account, asking for each is
cheaper: before each poll both are counted, and the cheaper one is taken.

The list is a hint, and Get is the truth. A job that is not among the running ones is asked for, not taken as ended; one that the list
never shows is asked for at a bounded pace of its own; and one that the list shows as running for very long is asked for now and then.
So no wait can hang on a wrong guess about the list.

What a look means is decided by each wait's own `Wait`, in the wait's own context, so that its lines land in its own task's log.
Airflow's shared streams (`BaseEventTrigger.open_shared_stream`) are not used: they wake every subscriber for every event, where here a
wait is woken once, when it is over.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import random
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice import metrics
from airflow_ice.api import operations
from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceError,
    IceThrottledError,
)
from airflow_ice.hooks import IceHook
from airflow_ice.waiting import JOB_ENDED, LONGEST_ASKED_PAUSE, LookAgain, TimedOut, Verdict, Wait

log = logging.getLogger(__name__)

RUNNING_STATES: Final = ("Init", "Processing")
"""Listed in this order: a job that moves on between the two lists is then seen in one of them."""

EARLY: Final = 0.25
"""The part of its interval by which a wait may be looked at early, so that waits are looked at together."""

GATHER: Final = 0.5
"""Seconds before the first look of a wait that began long ago: after a restart, waits come back by the hundred."""

CONCURRENT_GETS: Final = 4
TURN: Final = 200
"""Waits after which the event loop is given to others."""

WORKED_LATELY: Final = 60.0
"""Seconds since a look that worked, within which jobs that failed before are taken for faults of their own."""

FAILURES_OF_ALL: Final = 3
"""Failed looks in a row that are taken for a fault of the service or the network, and no longer of single jobs."""

SLOWEST_UNLISTED: Final = 120.0
"""Seconds between looks at a running job that the list never shows, or its own interval, where that is longer."""

TRUTH_CHECK: Final = 1800.0
"""Seconds after which a job that the list still shows as running is asked for all the same."""

LIST_REFUSED_FOR: Final = 600.0
"""Seconds for which the list is not asked again after it was refused, for lack of ice:ListBatchMediaProducingJobs for example."""

LONGEST_BACKOFF: Final = 300.0
LAST_LOOK_SECONDS: Final = 15.0
"""How long the last look, which begins at the deadline itself, may take."""

_FOR_ALL: Final = (IceAuthenticationError, IceCredentialsError)
"""Errors of the credentials: when one wait has met them, all have."""


class Watch:
    """One wait, as the loop sees it."""

    __slots__ = (
        "context",
        "due",
        "failures",
        "interval",
        "listed",
        "over",
        "truth_at",
        "unlisted",
        "wait",
    )

    def __init__(self, wait: Wait, due: float, interval: float, now: float) -> None:
        self.wait = wait
        self.due = due
        self.interval = interval
        self.failures = 0
        self.listed = False
        self.unlisted = 0
        self.truth_at = now + TRUTH_CHECK * (1 + random.random())  # noqa: S311 - spreads looks, keeps no secret
        self.over: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()

    def apply(self, verdict: Verdict, now: float) -> None:
        """Take a decision of the wait: look again later, or end."""
        if isinstance(verdict, LookAgain):
            self.due = now + verdict.seconds
        elif not self.over.done():
            self.over.set_result(verdict)


class Poller:
    """Looks at jobs for many waits. It runs while there are waits, and holds one client while it runs.

    :param open_calls: makes the context that holds the client.
    :param name: of the connection. region: of the jobs; both for metrics and logs.
    :param clock: epoch seconds.
    :param draw: returns numbers in [0, 1), for the jitter.
    :param on_idle: called when the last wait has left, or the loop has crashed: no wait may join any more.
    """

    def __init__(
        self,
        open_calls: Callable[[], AbstractAsyncContextManager[AsyncCalls]],
        *,
        name: str,
        region: str | None = None,
        clock: Callable[[], float] | None = None,
        draw: Callable[[], float] = random.random,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_calls = open_calls
        self._name = name
        self._region = region
        self._clock = clock or time.time
        self._draw = draw
        self._on_idle = on_idle
        self._watches: dict[str, list[Watch]] = {}
        self._count = 0
        self._next_due = math.inf
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._failures = 0
        self._pages = float(len(RUNNING_STATES))
        self._given_up = 0
        self._list_refused_until = 0.0
        self._worked_at = self._clock()
        self._reopened = self._reopen = False

    async def watch(self, wait: Wait, interval: float) -> Verdict:
        """Return how a wait has ended.

        :param interval: seconds within which each look follows the last one.
        """
        now = self._clock()
        # The worker has looked when the wait began: the first look is due an interval later, or soon, where that is past.
        due = min(
            max(
                wait.started_at + interval * (1 - 0.1 * self._draw()),
                now + min(GATHER, interval / 2),
            ),
            max(wait.deadline, now),
        )
        watch = Watch(wait, due, interval, now)
        self._add(watch)
        try:
            async with asyncio.timeout(max(wait.deadline - now, 0) + LAST_LOOK_SECONDS) as limit:
                return await watch.over
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            return TimedOut(wait.timeout_reason(self._clock()))
        finally:
            self._remove(watch)

    def _add(self, watch: Watch) -> None:
        self._watches.setdefault(watch.wait.job_id, []).append(watch)
        self._count += 1
        if watch.due < self._next_due:
            self._next_due = watch.due
            self._changed.set()
        if self._task is None:
            # In a context of its own: the loop's lines are nobody's task log.
            self._task = asyncio.create_task(
                self._run(), name=f"airflow-ice-poller[{self._name}]", context=contextvars.Context()
            )

    def _remove(self, watch: Watch) -> None:
        others = self._watches[watch.wait.job_id]
        others.remove(watch)
        if not others:
            del self._watches[watch.wait.job_id]
        self._count -= 1
        if self._count == 0:
            # From here on a new wait gets a new poller; this one's task closes its client and ends, whatever it is doing.
            self._on_idle()
            metrics.polled(self._name, self._region, 0, 0.0, None)
            if self._task is not None:
                self._task.cancel()

    def _all(self) -> list[Watch]:
        return [
            watch
            for watches in self._watches.values()
            for watch in watches
            if not watch.over.done()
        ]

    async def _run(self) -> None:
        try:
            while self._count:
                self._reopen = False
                async with self._open_calls() as calls:
                    while self._count and not self._reopen:
                        if await self._is_time():
                            await self._poll(calls)
        except BaseException as crash:
            self._on_idle()
            cause = (
                crash.exceptions[0]
                if isinstance(crash, BaseExceptionGroup) and len(crash.exceptions) == 1
                else crash
            )
            for watch in self._all():
                if isinstance(cause, asyncio.CancelledError):
                    watch.over.cancel()
                else:
                    watch.over.set_exception(cause)
            if not isinstance(crash, Exception):
                raise
            log.exception(
                "The poll loop of %s has crashed, and all its waits with it; their tasks fail and may retry.",
                self._name,
            )

    async def _is_time(self) -> bool:
        """Wait for the next look to come due, or for a change of what is waited for; tell which."""
        self._changed.clear()
        at = max(self._next_due, self._not_before)
        if (seconds := at - self._clock()) <= 0:
            return True
        # A minute at the most, in case the clock is set back meanwhile.
        return not await set_within(self._changed, min(seconds, 60.0)) and self._clock() >= at

    async def _poll(self, calls: AsyncCalls) -> None:
        """Look at all that is due, in the cheaper way."""
        began = self._clock()
        watches = self._all()
        due = [watch for watch in watches if watch.due - began <= EARLY * watch.interval]
        oldest = began - min((watch.wait.started_at for watch in watches), default=began)
        try:
            asked = await self._look(calls, watches, due, began)
        except IceError as error:
            asked = 0
            if isinstance(error, _FOR_ALL) and not self._reopened:
                # The key may have been changed in the connection since: read it once more before all waits are told.
                self._reopened = self._reopen = True
            else:
                if isinstance(error, _FOR_ALL):
                    await self._tell(error, self._all())
                self._back_off(error)
        else:
            self._failures = 0
            self._reopened = False
        self._next_due = min((watch.due for watch in self._all()), default=math.inf)
        took = self._clock() - began
        log.debug(
            "Looked at %d of %d waits on %s with %d requests in %.2f s.",
            len(due),
            len(watches),
            self._name,
            asked,
            took,
        )
        metrics.polled(self._name, self._region, len(watches), oldest, took)

    async def _look(
        self, calls: AsyncCalls, watches: list[Watch], due: list[Watch], now: float
    ) -> int:
        """Look, and return how many requests it took.

        :raises IceError: a look has failed in a way that concerns all of them.
        """
        if len(watches) <= self._pages or now < self._list_refused_until:
            # What the list would cost is forgotten bit by bit, so that it is tried again one day.
            self._pages = max(float(len(RUNNING_STATES)), self._pages * 0.9)
            return await self._get_each(calls, due, missed=None)
        if len(due) <= self._pages:
            return await self._get_each(calls, due, missed=0)
        try:
            states, requests, complete = await self._list(calls, len(due))
        except IceError as error:
            if error.transient and not isinstance(error, _FOR_ALL):
                await self._tell(error, due)
            if error.transient or isinstance(error, _FOR_ALL):
                raise
            self._list_refused_until = now + LIST_REFUSED_FOR
            log.warning(
                "ListBatchMediaProducingJobs on %s is refused, so each job is asked for, which takes many more requests. %s",
                *(self._name, error),
            )
            return await self._get_each(calls, due, missed=None)
        ask = await self._unsettled(states, watches, due, complete=complete)
        return requests + await self._get_each(calls, ask, missed=int(complete))

    async def _list(self, calls: AsyncCalls, most: int) -> tuple[dict[str, str], int, bool]:
        """Return the states of the running jobs, how many requests it took, and whether these are all running jobs.

        :param most: requests at which it costs no less than asking for each job, and is given up: a busy account, whose other jobs
            fill the pages.
        """
        states: dict[str, str] = {}
        requests = 0
        for state in RUNNING_STATES:
            token: str | None = None
            while True:
                if requests >= most:
                    # Each time in a row it is taken for twice as dear, so that it is tried ever less often.
                    self._given_up = min(self._given_up + 1, 6)
                    self._pages = requests * 2.0**self._given_up
                    return states, requests, False
                try:
                    page = await calls.acall(operations.list_job_states(state, next_token=token))
                except AirflowNotFoundException as cause:
                    raise unread_connection(cause) from cause
                requests += 1
                states |= page.states
                if page.next_token in (None, token):
                    break
                token = page.next_token
        self._pages, self._given_up = float(requests), 0
        self._worked_at = self._clock()
        return states, requests, True

    async def _unsettled(
        self, states: dict[str, str], watches: list[Watch], due: list[Watch], *, complete: bool
    ) -> list[Watch]:
        """Let the list speak for the jobs that it shows, and return those to ask for."""
        now = self._clock()
        dues = set(map(id, due))
        ask = []
        async for watch in in_turns(watches):
            state = states.get(watch.wait.job_id)
            if state is None:
                # It has left the running states, or the list does not know it, or was not read to its end.
                if id(watch) in dues or (watch.listed and complete):
                    ask.append(watch)
            elif state in JOB_ENDED or now >= watch.truth_at:
                # A list that has just gone stale, or that takes no filter, shows ended jobs, too.
                watch.truth_at = now + TRUTH_CHECK * (1 + self._draw())
                ask.append(watch)
            else:
                watch.listed, watch.unlisted = True, 0
                watch.apply(watch.context.run(watch.wait.on_listed, state, now), now)
        return ask

    async def _get_each(
        self, calls: AsyncCalls, watches: Iterable[Watch], *, missed: int | None
    ) -> int:
        """Ask for each job, a few at a time, and return how many requests it took.

        :param missed: how many complete lists have just not shown these jobs, 0 or 1; None where no list is read at all.
        :raises IceError: one that concerns all; what is left of them is not asked for now.
        """
        by_job: dict[str, list[Watch]] = {}
        for watch in watches:
            by_job.setdefault(watch.wait.job_id, []).append(watch)
        # Those that failed before come last, so that a few jobs that cannot be looked at hold up nobody else.
        left = iter(sorted(by_job.values(), key=lambda same: same[0].failures > 0))
        failures: list[IceError] = []  # in a row
        asked = 0

        def concerns_all() -> bool:
            return bool(failures) and (
                len(failures) >= FAILURES_OF_ALL
                or isinstance(failures[-1], (IceThrottledError, *_FOR_ALL))
            )

        async def some() -> None:
            nonlocal asked
            for same in left:
                if concerns_all():
                    return
                asked += 1
                failed_before = same[0].failures > 0
                if (error := await self._get(calls, same, missed=missed)) is None:
                    failures.clear()
                elif (
                    not failed_before
                    or isinstance(error, _FOR_ALL)
                    or self._clock() - self._worked_at > WORKED_LATELY
                ):
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(CONCURRENT_GETS, len(by_job))):
                group.create_task(some())
        if concerns_all():
            raise failures[-1]
        return asked

    async def _get(
        self, calls: AsyncCalls, watches: list[Watch], *, missed: int | None
    ) -> IceError | None:
        """Ask for one job; return an error that others may meet as well."""
        try:
            job = await calls.aget_batch_media_producing_job(watches[0].wait.job_id)
        except (IceError, AirflowNotFoundException) as cause:
            error = cause if isinstance(cause, IceError) else unread_connection(cause)
            if not isinstance(error, _FOR_ALL):
                await self._tell(error, watches)
            return error if error.transient or isinstance(error, _FOR_ALL) else None
        now = self._clock()
        self._worked_at = now
        for watch in watches:
            watch.failures = 0
            watch.apply(watch.context.run(watch.wait.on_job, job, now), now)
            # A job that has just left the list and still runs was on its way from one state to the next.
            was_listed, watch.listed = watch.listed, False
            watch.unlisted = 0 if missed is None or was_listed else watch.unlisted + missed
            if watch.unlisted and not watch.over.done():
                # It runs, and the list does not show it: ask for it at a pace of its own, while each list has its chance to.
                slow = max(
                    watch.interval,
                    min(SLOWEST_UNLISTED, watch.interval * 2.0 ** min(watch.unlisted - 1, 10)),
                )
                watch.due = min(
                    max(watch.due, now + slow * (1 - 0.1 * self._draw())),
                    max(watch.wait.deadline, now),
                )
        return None

    async def _tell(self, error: IceError, watches: Iterable[Watch]) -> None:
        """Let waits decide what a failed look means to them."""
        drop_frames(error)
        now = self._clock()
        async for watch in in_turns(watches):
            if not watch.over.done():
                watch.failures += 1
                watch.apply(watch.context.run(watch.wait.on_error, error, now), now)

    def _back_off(self, error: IceError) -> None:
        """Slow the whole loop down after a failure that concerns all."""
        drop_frames(error)  # those since the waits were told
        self._failures += 1
        shortest = min((watch.interval for watch in self._all()), default=1.0)
        widest = min(LONGEST_BACKOFF, max(shortest, 1.0) * 2.0 ** min(self._failures - 1, 20))
        floor = shortest if isinstance(error, IceThrottledError) else min(shortest, 1.0)
        asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED_PAUSE)
        pause = asked + max(floor, widest * self._draw())
        # Not past the first deadline: the last look is taken at the deadline itself.
        now = self._clock()
        left = min((watch.wait.deadline for watch in self._all()), default=math.inf) - now
        self._not_before = now + min(pause, max(left, floor))
        if (
            self._failures & (self._failures - 1) == 0
        ):  # the 1st, 2nd, 4th, 8th ...: an outage is not a line a look
            log.warning(
                "Looking at the jobs of %s failed; the next look is in %.0f s. %s",
                self._name,
                pause,
                error,
            )


async def in_turns(watches: Iterable[Watch]) -> AsyncIterator[Watch]:
    """Iterate over waits, and let others have the loop now and then: a line in each of ten thousand logs takes a fifth of a second."""
    for number, watch in enumerate(watches, start=1):
        yield watch
        if number % TURN == 0:
            await asyncio.sleep(0)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so many seconds, and tell whether it came."""
    try:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            return await event.wait()
    except TimeoutError:
        return False


def drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and its causes. A wait keeps its last error for minutes, and they keep pages and other waits."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


def unread_connection(cause: AirflowNotFoundException) -> IceCredentialsError:
    """Return the error of a connection that is gone, though it was read before: Airflow says so of a backend out of reach, too."""
    error = IceCredentialsError(f"the connection could not be read: {cause}", transient=True)
    error.__cause__ = cause
    return error


_pollers: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[str, str | None], Poller]
] = weakref.WeakKeyDictionary()


def poller(ice_conn_id: str, region_id: str | None) -> Poller:
    """Return the poller of a connection and region in the running event loop; one is made for the first wait, and again after the last."""
    of_loop = _pollers.setdefault(asyncio.get_running_loop(), {})
    key = (ice_conn_id, region_id)
    found = of_loop.get(key)
    if found is None:

        def forget() -> None:
            if of_loop.get(key) is made:
                del of_loop[key]

        # One try a look: pausing between looks is the loop's business.
        made = Poller(
            lambda: IceHook(ice_conn_id, region_id, tries=1),
            name=ice_conn_id,
            region=region_id,
            on_idle=forget,
        )
        found = of_loop[key] = made
    return found
