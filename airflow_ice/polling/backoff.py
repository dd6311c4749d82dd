"""How long all waits of a loop hold back after failures that concern all of them.

While the service is down, one poll at a time probes it instead of one a wait. A pause is never
longer than the shortest interval of all waits, so that nobody hears of the recovery late, and a
wait that joins shortens it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from airflow_ice.api.errors import IceError
from airflow_ice.waiting import CREDENTIAL_ERRORS, LONGEST_ASKED_PAUSE

FAILURES_OF_ALL: Final = 3
"""Failed polls in a row, of different jobs, that count as a failure of the service or network."""

WORKED_LATELY: Final = 60.0
"""Seconds since a poll that worked, within which jobs that failed before fail on their own."""

SHORTEST_PROBE_PAUSE: Final = 1.0
LONGEST_PROBE_PAUSE: Final = 60.0
"""Seconds between polls while the service fails, or the shortest interval of all waits."""

NEWS: Final = 5.0
"""Seconds after a failed poll within which other waits may end by it."""


class Backoff:
    """Counts failed polls in a row, and tells whether all waits must pause, and until when.

    :param draw: returns numbers in [0, 1), for the jitter.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._failures = 0
        self._probes = 0
        self._worked_at = float("-inf")
        self.error: IceError | None = None
        """What the service fails with; None while it works."""
        self._failed_at = float("-inf")
        self._opened_at = float("-inf")
        self.not_before = float("-inf")
        """Monotonic seconds of the next probe."""

    @property
    def is_open(self) -> bool:
        """Whether all hold back."""
        return self.error is not None

    @property
    def probes_at_once(self) -> int:
        """How many jobs to ask for: two after two that failed, which may be failures of theirs."""
        return 1 if self._probes < 2 else 2

    def is_news(self, now: float) -> bool:
        """Tell whether the last failure is so recent that a wait may end by it."""
        return now - self._failed_at <= NEWS

    def probe_now(self, now: float) -> None:
        """Make the next probe due, because a wait must end and may end only by fresh news."""
        self.not_before = min(self.not_before, now)

    def worked(self, now: float) -> bool:
        """Note a poll that worked, and tell whether all were held back until now."""
        self._worked_at = now
        was_open = self.is_open
        self.error, self._failures, self._probes = None, 0, 0
        return was_open

    def failed(
        self, error: IceError, now: float, *, began: float, before: int, shortest: float
    ) -> bool:
        """Note a failed poll, and tell whether all hold back because of it.

        :param began: monotonic seconds at which the poll began.
        :param before: failures in a row, before this one, that the job has met or heard of.
        :param shortest: the shortest interval of all waits, in seconds.
        """
        of_credentials = isinstance(error, CREDENTIAL_ERRORS)
        if not (error.transient or of_credentials):
            return False
        if self.is_open and began < self._opened_at:
            return True  # a poll from before all were held back
        if not self.is_open:
            if before > 0 and now - self._worked_at <= WORKED_LATELY:
                return False  # others work: this job fails on its own
            self._failures += FAILURES_OF_ALL if of_credentials else 1
            if self._failures < FAILURES_OF_ALL:
                return False
            self._opened_at = now
        self.error = error
        self._failed_at = now
        self._probes += 1
        widest = min(2.0 ** min(self._probes - 1, 10), LONGEST_PROBE_PAUSE)
        asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED_PAUSE)
        pause = max(SHORTEST_PROBE_PAUSE, widest * (0.5 + 0.5 * self._draw()))
        self.not_before = now + asked + min(pause, max(shortest, SHORTEST_PROBE_PAUSE))
        return True

    def joined(self, now: float, interval: float) -> None:
        """Let a wait that joins shorten the pause to its own interval."""
        if self.is_open and not getattr(self.error, "retry_after", None):
            self.not_before = min(self.not_before, now + max(interval, SHORTEST_PROBE_PAUSE))
