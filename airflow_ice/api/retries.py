"""One retry flow for the blocking and the async client, as a generator of plain values.

The flow yields what is to be done (`Try`, `Pause`) and gets back what came of it; the sync and the
async client only drive it. It knows no clock and no network, so its tests need neither.

The rules: transport errors, 5xx, replies that are not ICE's and throttling are tried again, with
exponential pauses of full jitter up to a cap, and no sooner than the service asks. A submit is
tried again only where a ClientToken makes that harmless.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from airflow_ice.api.errors import IceError
from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import Reply, result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Try:
    """Send the operation, freshly signed."""

    number: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep.

    :param seconds: how long. because: the failure that it follows.
    """

    seconds: float
    because: IceError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long.

    :param tries: sends in all, the first one included.
    :param first_pause: the upper end of the first pause, in seconds; it doubles each time.
    :param longest_pause: the cap of a pause, in seconds. A service that asks for a longer one is
        not waited for here: the error goes to the caller, who knows whether there is time.
    """

    tries: int = 4
    first_pause: float = 0.5
    longest_pause: float = 20.0

    def pause(self, number: int, draw: Callable[[], float] = random.random) -> float:
        """Return the pause after try `number` (from 1), in seconds: full jitter, so that callers
        who failed together part.
        """
        return draw() * min(self.longest_pause, self.first_pause * 2.0 ** (number - 1))


def tries(
    operation: Operation[T],
    policy: RetryPolicy,
    draw: Callable[[], float] = random.random,
    noted: Callable[[IceError | None], None] = lambda error: None,
) -> Generator[Try | Pause, Reply | IceError | None, T]:
    """Try an operation until it has a result, or an error that trying again cannot fix.

    Driven by `send`: a `Try` is answered with the reply or the error of the transport, a `Pause`
    with None.

    :param draw: returns numbers in [0, 1), for the jitter.
    :param noted: called with what came of each try: None for a success.
    :raises IceError: the last try's.
    """
    number = 1
    maybe_created = False
    while True:
        outcome = yield Try(number)
        try:
            if isinstance(outcome, Reply):
                found = result(operation, outcome)
                noted(None)
                return found
            assert isinstance(outcome, IceError)  # noqa: S101 - the driver's contract
            error = outcome
        except IceError as refused:
            error = refused
        noted(error)
        # Once any try may have created a job, a later definite failure cannot rule it out.
        maybe_created = maybe_created or error.submitted == "unknown"
        if maybe_created and error.submitted == "no":
            error = error.with_facts(submitted="unknown")
        if not (error.transient and operation.repeatable and number < policy.tries):
            raise error
        seconds = policy.pause(number, draw)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            if asked > policy.longest_pause:
                raise error
            seconds += asked
        yield Pause(seconds, error)
        number += 1
