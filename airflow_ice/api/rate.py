"""A limit on requests a second, so that waiting tasks leave the account's quota to the submissions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEFAULT_REQUESTS_PER_SECOND = 10.0
"""Well under the only documented quota, 30 a second and account (SubmitMediaProducingJob); the batch actions document none."""


class RateLimiter:
    """Spaces requests evenly: no burst, and no more than so many a second. Threads and tasks may share one.

    :param per_second: requests a second, more than 0.
    :param clock: monotonic seconds.
    """

    def __init__(self, per_second: float = DEFAULT_REQUESTS_PER_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        if not per_second > 0:
            raise ValueError(f"per_second must be more than 0, not {per_second}")
        self._spacing = 1.0 / per_second
        self._clock = clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next free moment and return the seconds until then."""
        with self._lock:
            now = self._clock()
            at = max(now, self._free_at)
            self._free_at = at + self._spacing
            return at - now
