"""One retry flow for both colours, as a generator of plain values.

The flow yields what is to be done (`Try`, `Pause`) and gets back what came of it; the sync and the async client only drive it. It
knows no clock and no network, so its tests need neither.

The rules: transport errors, 5xx, replies that are not ICE's and throttling are tried again, with exponential pauses of full
jitter up to a cap, and no sooner than the service asks. A submit is tried again only where a ClientToken makes that harmless.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from airflow_ice.api.errors import IceError, error_from_reply
from airflow_ice.api.operations import Operation

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
class Reply:
    """What came back over HTTP.

    :param headers: by lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long.

    :param tries: sends in all, the first one included.
    :param first_pause: the upper end of the first pause, in seconds; it doubles each time.
    :param longest_pause: the cap of a pause, in seconds. A service that asks for a longer one is not waited for here: the
        error goes to the caller, who knows whether there is time.
    """

    tries: int = 4
    first_pause: float = 0.5
    longest_pause: float = 20.0

    def pause(self, number: int, draw: Callable[[], float] = random.random) -> float:
        """Return the pause after try `number` (from 1), in seconds: full jitter, so that callers who failed together part."""
        return draw() * min(self.longest_pause, self.first_pause * 2.0 ** (number - 1))


def tries(
    operation: Operation[T],
    policy: RetryPolicy,
    draw: Callable[[], float] = random.random,
    noted: Callable[[IceError | None], None] = lambda error: None,
) -> Generator[Try | Pause, Reply | IceError | None, T]:
    """Try an operation until it has a result, or an error that trying again does not mend.

    Driven by `send`: a `Try` is answered with the reply or the error of the transport, a `Pause` with None.

    :param draw: returns numbers in [0, 1), for the jitter.
    :param noted: called with what came of each try: None for a success.
    :raises IceError: the last try's.
    """
    number = 1
    maybe_taken = False
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
        # What an earlier try may have left in ICE, a later one that certainly made no job does not take back.
        maybe_taken = maybe_taken or error.submitted == "unknown"
        if maybe_taken and error.submitted == "no":
            error.submitted = "unknown"
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


def result(operation: Operation[T], reply: Reply) -> T:
    """Return the typed result of a reply.

    :raises IceServiceError: the reply is not a success.
    """
    succeeded = 200 <= reply.status < 300
    if (
        succeeded
        and operation.glance is not None
        and (glanced := operation.glance(reply.body)) is not None
    ):
        return glanced
    body = _json_object(reply.body)
    if succeeded and body is not None:
        return operation.read(body)
    raise error_from_reply(
        status=reply.status,
        body=body,
        action=operation.action,
        submit=operation.submit,
        retry_after=retry_after(reply.headers),
        excerpt=reply.body[:2000].decode("utf-8", "replace"),
        job_id=operation.job_id,
    )


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a reply asks to wait, or None.

    `x-acs-retry-after` is in milliseconds and is what the official SDK looks for (tea-openapi, `get_throttling_time_left`);
    `Retry-After` is in seconds or a date (RFC 9110, 10.2.3) and is what a proxy says.
    """
    if milliseconds := _finite(headers.get("x-acs-retry-after")):
        return milliseconds / 1000
    value = headers.get("retry-after")
    if not value:
        return None
    seconds = _finite(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _finite(value: str | None) -> float | None:
    """Return a number that can be waited for, 0 for a negative one; None for anything else."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return max(0.0, found) if math.isfinite(found) else None


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
