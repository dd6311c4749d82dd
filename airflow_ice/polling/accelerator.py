"""What ListBatchMediaProducingJobs is worth, and what it shows.

A page of it covers a hundred jobs, where Get covers one. But it is only an accelerator: it may be
down, slow, refused or behind, it may miss kinds of jobs, and a busy account may fill its pages with
other jobs. Each of these costs some requests, after which Get serves the waits for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from airflow_ice.api import operations
from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceAuthenticationError, IceCredentialsError, IceError

log = logging.getLogger(__name__)

RUNNING_STATES: Final = ("Init", "Processing")
"""Listed in this order: a job that moves on between the two lists is then seen in one of them."""

ENDED_STATES: Final = ("Finished", "Failed")

FEW: Final = 4
"""Polls up to which Get is asked for each, whatever the list would cost."""

PRICE_HALVES: Final = 300.0
"""Seconds in which half of what the list has cost is forgotten."""

REFUSED_FOR: Final = 600.0
"""Seconds without a list after it was refused, for lack of ice:ListBatchMediaProducingJobs say."""

LONGEST_PAUSE: Final = 60.0
"""Seconds without a list after failures in a row."""

STALE_AFTER: Final = 2.0
"""Seconds after Get has shown the end of a job, from which a list that shows it running is
behind."""

DISTRUSTED_FOR: Final = 120.0
LONGEST_DISTRUST: Final = 600.0
"""Seconds without a list after it was found to be behind; doubled each time in a row."""

REMEMBERED: Final = 1000
"""Ended jobs that are remembered in order to find out whether the list is behind."""

DRY_PAGES: Final = 3
"""Pages of ended jobs in a row without one that is waited for, after which the rest is left."""

_OF_THE_KEY: Final = (IceAuthenticationError, IceCredentialsError)


@dataclass(frozen=True, slots=True)
class RunningJobs:
    """What the lists of running jobs have shown.

    :param states: job id to state.
    :param complete: whether these are all running jobs of the account.
    """

    states: Mapping[str, str]
    complete: bool


class EndedJob(NamedTuple):
    """A job that a list has shown as ended. extend: holds the error of a Failed one, as JSON."""

    status: str
    extend: str | None


class ListAccelerator:
    """Reads the lists, and knows what that cost and whether it can be trusted.

    :param name: of the connection, for messages.
    :param clock: monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._pages = float(len(RUNNING_STATES))
        self._priced_at = clock()
        self._given_up = 0
        self._failures = 0
        self._distrusted = 0
        self._off_until = float("-inf")
        self._ended: dict[str, float] = {}
        self.requests = 0
        """Pages read, or tried, so far."""

    def is_worth(self, due: int) -> bool:
        """Tell whether reading the list is likely to take fewer requests than so many Gets."""
        now = self._clock()
        # What the list would cost is forgotten bit by bit, so that it is tried again one day.
        price = self._pages * 0.5 ** ((now - self._priced_at) / PRICE_HALVES)
        return now >= self._off_until and due > max(price, FEW)

    def _note_price(self, pages: float) -> None:
        self._pages, self._priced_at = pages, self._clock()

    async def running(self, calls: AsyncCalls, most: int) -> RunningJobs:
        """Return the running jobs.

        :param most: requests at which reading on costs no less than asking Get for each job, and is
            given up: a busy account, whose other jobs fill the pages.
        :raises IceError: a page could not be read.
        """
        began = self._clock()
        states: dict[str, str] = {}
        requests = 0
        for state in RUNNING_STATES:
            token: str | None = None
            while True:
                if requests >= most:
                    # Given up again and again, it is tried ever less often.
                    self._given_up = min(self._given_up + 1, 6)
                    self._note_price(requests * 2.0**self._given_up)
                    return RunningJobs(states, complete=False)
                requests += 1
                self.requests += 1
                page = await calls.acall(operations.list_job_states(state, next_token=token))
                states |= page.states
                if page.next_token in (None, token):
                    break
                token = page.next_token
        self._note_price(float(requests))
        self._given_up = self._failures = 0
        if self._is_behind(states, began):
            return RunningJobs({}, complete=False)
        return RunningJobs(states, complete=True)

    async def ended(
        self, calls: AsyncCalls, wanted: Collection[str], since: float
    ) -> dict[str, EndedJob]:
        """Return those of the wanted jobs that a list shows as ended.

        :param since: epoch seconds; jobs that were created before are not looked for.
        :raises IceError: a page could not be read.
        """
        found: dict[str, EndedJob] = {}
        left = set(wanted)
        for state in ENDED_STATES:
            token: str | None = None
            dry = 0
            while left and dry < DRY_PAGES:
                self.requests += 1
                page = await calls.acall(
                    operations.list_job_states(
                        state,
                        next_token=token,
                        start_time=datetime.fromtimestamp(since, UTC),
                        sort_by="desc",
                    )
                )
                # A list that takes no filter shows other states, too.
                hits = {job for job in left & page.states.keys() if page.states[job] == state}
                found |= {job: EndedJob(state, page.errors.get(job)) for job in hits}
                left -= hits
                dry = 0 if hits else dry + 1
                if page.next_token in (None, token):
                    break
                token = page.next_token
        return found

    def failed(self, error: IceError, interval: float) -> None:
        """Do without the list for a while.

        :param interval: seconds between the polls of the waits.
        """
        self._failures += 1
        refused = not (error.transient or isinstance(error, _OF_THE_KEY))
        growing = max(interval, 1.0) * 2.0 ** min(self._failures - 1, 10)
        pause = REFUSED_FOR if refused else min(growing, LONGEST_PAUSE)
        self._off_until = self._clock() + pause
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
            log.warning(
                "ListBatchMediaProducingJobs on %s %s, so for %.0f s each job is polled by "
                "GetBatchMediaProducingJob, which takes more requests. %s",
                self._name,
                "is refused" if refused else "failed",
                pause,
                error.brief(),
            )

    def note_ended(self, job_id: str) -> None:
        """Note that Get has shown the end of a job: from now on a list that shows it running is
        behind.
        """
        self._ended[job_id] = self._clock()
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _is_behind(self, states: Mapping[str, str], began: float) -> bool:
        known = [job for job, at in self._ended.items() if began - at > STALE_AFTER]
        late = [job for job in known if states.get(job) in RUNNING_STATES]
        if not late:
            if known:
                self._distrusted = 0
            return False
        self.distrust(f"it shows {len(late)} jobs as running that have ended, {late[0]} for one")
        return True

    def distrust(self, why: str) -> None:
        """Do without the list for a while, because it was found to be wrong."""
        pause = min(DISTRUSTED_FOR * 2.0**self._distrusted, LONGEST_DISTRUST)
        self._distrusted += 1
        self._off_until = self._clock() + pause
        log.warning(
            "ListBatchMediaProducingJobs on %s is behind or wrong: %s. For %.0f s each job is "
            "polled by GetBatchMediaProducingJob.",
            self._name,
            why,
            pause,
        )
