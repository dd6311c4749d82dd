"""The emulator's clock: jobs and signed URLs live by it, and a test may stop it or move it forward.

Signatures do not: a client signs with its own clock, so `x-acs-date` is always held against real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch, as real time plus what was advanced, or standing still.

    :param offset: seconds that the clock is ahead of real time.
    :param frozen_at: the instant at which it stands still; None lets it run.
    :param real_time: where real time comes from, in seconds since the epoch.
    """

    def __init__(
        self,
        offset: float = 0.0,
        frozen_at: float | None = None,
        real_time: Callable[[], float] = time.time,
    ) -> None:
        self.offset = offset
        self.frozen_at = frozen_at
        self._real_time = real_time

    def now(self) -> float:
        """Return the emulator's time in seconds since the epoch."""
        return self._real_time() + self.offset if self.frozen_at is None else self.frozen_at

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        :raises ValueError: seconds is negative; a life cycle cannot run backwards.
        """
        if not seconds >= 0:
            raise ValueError("the clock moves forward only")
        if self.frozen_at is None:
            self.offset += seconds
        else:
            self.frozen_at += seconds

    def freeze(self) -> None:
        """Let the clock stand still until it is advanced or let go."""
        if self.frozen_at is None:
            self.frozen_at = self.now()

    def unfreeze(self) -> None:
        """Let the clock run on from where it stands."""
        if self.frozen_at is not None:
            self.offset = self.frozen_at - self._real_time()
            self.frozen_at = None


def timestamp(seconds: float) -> str:
    """Write an instant as the service does: ISO 8601, UTC, whole seconds, `Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Read an instant in the service's form, to seconds since the epoch.

    :raises ValueError: it is not in that form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
