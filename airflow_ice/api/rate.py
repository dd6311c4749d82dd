"""A limit on requests a second, so that waiting tasks leave the account's quota to the submissions.

It spaces requests evenly, lets those of a higher priority go first (submits before pages of the
list before other reads), and gives way when the service throttles: the rate is halved, and comes
back bit by bit with each answer that is no throttling (additive increase, multiplicative decrease).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DEFAULT_REQUESTS_PER_SECOND = 10.0
"""Well under the only documented quota, 30 a second and account (SubmitMediaProducingJob); the
batch actions document none.
"""

SLOWEST = 0.1
"""The rate below which throttling pushes no further, in requests a second."""

CLOCK_STEP = 1e-7
"""Seconds too short to sleep for: a float clock may not move by them at all."""

RECOVERY = 0.02
"""What an answer gives back of the full rate, so that 50 answers make up for a halving."""


class RateLimiter:
    """Spaces requests: no burst, and no more than so many a second. Threads and tasks may share
    one.

    :param per_second: requests a second, more than 0.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        per_second: float = DEFAULT_REQUESTS_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not per_second > 0:
            raise ValueError(f"per_second must be more than 0, not {per_second}")
        self._full = per_second
        self._rate = per_second
        self._clock = clock
        self._last = float("-inf")
        self._halved_at = float("-inf")
        self._waiting: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Requests a second that are allowed now."""
        return self._rate

    def acquire(self, *, priority: int = 0) -> None:
        """Block until a request may go.

        :param priority: while a request of a higher one waits, a lower one does not go.
        """
        with self._in_line(priority):
            while (seconds := self.take(priority=priority)) > 0:
                time.sleep(seconds)

    async def aacquire(self, *, priority: int = 0) -> None:
        """Wait until a request may go, without blocking the event loop; see `acquire`."""
        with self._in_line(priority):
            while (seconds := self.take(priority=priority)) > 0:  # noqa: ASYNC110 - for time
                await asyncio.sleep(seconds)

    def take(self, *, priority: int = 0) -> float:
        """Take the moment if it is free, and return 0; else return the seconds after which to ask
        again.
        """
        with self._lock:
            now = self._clock()
            spacing = 1.0 / self._rate
            left = self._last + spacing - now
            if left > CLOCK_STEP:
                return left
            if any(other > priority for other in self._waiting):
                return spacing
            self._last = now
            return 0.0

    @contextmanager
    def _in_line(self, priority: int) -> Iterator[None]:
        """Keep a request counted, by its priority, while it waits."""
        with self._lock:
            self._waiting[priority] = self._waiting.get(priority, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[priority] -= 1
                if not self._waiting[priority]:
                    del self._waiting[priority]

    def answered(self, *, throttled: bool) -> None:
        """Note an answer: slow down after throttling, recover after anything else."""
        with self._lock:
            now = self._clock()
            if not throttled:
                self._rate = min(self._full, self._rate + self._full * RECOVERY)
            elif now - self._halved_at > 1.0:
                # Requests that were under way together are throttled together: that is one reason
                # to slow down, not many.
                self._halved_at = now
                self._rate = max(min(SLOWEST, self._full), self._rate / 2)
