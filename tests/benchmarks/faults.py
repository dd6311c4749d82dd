"""What can go wrong between a client and ICE, drawn at random."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

THROTTLED = (
    b'{"RequestId":"9D2A3B7C","Code":"Throttling.User",'
    b'"Message":"Request was denied due to user flow control.","HostId":"ice"}'
)
BROKEN = (
    b'{"RequestId":"9D2A3B7C","Code":"InternalError",'
    b'"Message":"The request processing has failed.","HostId":"ice"}'
)
GATEWAY = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """How much goes wrong.

    :param storms_every: mean seconds between storms, in which nearly all requests meet one fault; 0
        for none.
    :param storm_seconds: the length of a storm, at most.
    :param single: the share of requests that meet a fault outside of storms.
    :param slow_seconds: how long a slow answer takes, at most.
    """

    storms_every: float = 0.0
    storm_seconds: float = 6.0
    single: float = 0.0
    slow_seconds: float = 4.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request instead of, or before, its answer. delay: seconds."""

    status: int = 0
    body: bytes = b""
    reset: bool = False
    delay: float = 0.0


NONE = Fault()
KINDS = ("throttled", "broken", "gateway", "reset", "slow")


@dataclass
class Faults:
    """Draws the fault of each request."""

    settings: FaultSettings
    draw: random.Random = field(default_factory=random.Random)
    counts: Counter[str] = field(default_factory=Counter)
    _storm: str = ""
    _storm_ends: float = 0.0
    _next_storm: float = 0.0

    def next(self, now: float) -> Fault:
        """Return what happens to the next request."""
        kind = self._kind(now)
        if not kind:
            return NONE
        self.counts[kind] += 1
        match kind:
            case "throttled":
                return Fault(400, THROTTLED)
            case "broken":
                return Fault(self.draw.choice((500, 503)), BROKEN)
            case "gateway":
                return Fault(502, GATEWAY)
            case "reset":
                return Fault(reset=True, delay=self.draw.random() * 0.2)
            case _:
                return Fault(delay=self.draw.random() * self.settings.slow_seconds)

    def _kind(self, now: float) -> str:
        if self.settings.storms_every:
            self._next_storm = self._next_storm or now + self.draw.expovariate(
                1 / self.settings.storms_every
            )
            while now >= self._next_storm:  # by the clock: those that nobody met are over
                self._storm = self.draw.choice(KINDS)
                self._storm_ends = (
                    self._next_storm + self.settings.storm_seconds * self.draw.random()
                )
                self._next_storm = self._storm_ends + self.draw.expovariate(
                    1 / self.settings.storms_every
                )
                self.counts[f"storms: {self._storm}"] += 1
            if now < self._storm_ends and self.draw.random() < 0.9:
                return self._storm
        return self.draw.choice(KINDS) if self.draw.random() < self.settings.single else ""
