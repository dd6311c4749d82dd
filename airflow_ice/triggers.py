"""IceBatchMediaProducingJobTrigger: waits in the triggerer for a batch job to end.

It only looks and waits; what a look means is `waiting`'s business. Its arguments and its event hold ids and times, never a secret:
Airflow stores the first and logs the second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_ice.api.errors import IceCredentialsError, IceError
from airflow_ice.hooks import IceHook
from airflow_ice.waiting import Ended, GiveUp, LookAgain, TimedOut, Verdict, Wait

TRIGGER_MARGIN = 60.0
"""Seconds that Airflow's own deferral time-out leaves to the trigger, whose message says more."""

LAST_LOOK_SECONDS = 15.0


class IceBatchMediaProducingJobTrigger(BaseTrigger):
    """Fires once, when a batch job has ended, when looking at it fails for good, or at the deadline.

    The event: `{"job_id", "outcome": "finished" | "given_up" | "timed_out", "error": {...}, "reason": str}`; `error` describes an
    `IceError` (given_up), `reason` is for people (timed_out).

    :param job_id: the batch job.
    :param ice_conn_id: the connection. region_id: None for the connection's own.
    :param poke_interval: seconds between looks.
    :param started_at: when the wait began, epoch seconds.
    :param deadline: when it ends, epoch seconds. Absolute, so a restart of the triggerer does not prolong it.
    :param exponential_backoff: double the interval with each look, up to `max_wait` seconds.
    :param silent_fail: go on after errors that would end the wait.
    """

    def __init__(
        self,
        *,
        job_id: str,
        ice_conn_id: str,
        poke_interval: float,
        started_at: float,
        deadline: float,
        region_id: str | None = None,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_id = job_id
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.poke_interval = poke_interval
        self.started_at = started_at
        self.deadline = deadline
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.silent_fail = silent_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, for the database."""
        names = ("job_id", "ice_conn_id", "region_id", "poke_interval", "started_at", "deadline")
        options = ("exponential_backoff", "max_wait", "silent_fail")
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {name: getattr(self, name) for name in (*names, *options)},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say, and say it once."""
        wait = Wait(
            self.job_id,
            interval=self.poke_interval,
            started_at=self.started_at,
            deadline=self.deadline,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait,
            silent_fail=self.silent_fail,
            log=self.log,
        )
        async with IceHook(self.ice_conn_id, self.region_id, tries=1) as hook:
            verdict = await self._look(hook, wait)
            while isinstance(verdict, LookAgain):
                await asyncio.sleep(verdict.seconds)
                verdict = await self._look(hook, wait)
        yield TriggerEvent(event_of(self.job_id, verdict))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Say that the job goes on: ICE cannot cancel a batch job.

        Airflow calls this when a user ends or clears the task, and in 3.3 also when another triggerer takes the wait over.
        """
        self.log.warning(
            "Killed while waiting for batch job %s: ICE cannot cancel it, it goes on in ICE and stays billed.", self.job_id
        )

    async def _look(self, hook: IceHook, wait: Wait) -> Verdict:
        # One try a look: pausing between looks is the wait's business, and it knows the deadline.
        try:
            # A look may not outlast the wait; the margin is for the last look, which begins at the deadline itself.
            async with asyncio.timeout(max(self.deadline - time.time(), 0) + LAST_LOOK_SECONDS) as limit:
                job = await hook.aget_batch_media_producing_job(self.job_id)
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            return TimedOut(wait.timeout_reason(time.time()))
        except AirflowNotFoundException as cause:
            # The worker has read this connection before it deferred.
            return wait.on_error(unread_connection(cause), time.time())
        except IceError as error:
            return wait.on_error(error, time.time())
        return wait.on_job(job, time.time())


def unread_connection(cause: AirflowNotFoundException) -> IceCredentialsError:
    """Return the error of a connection that is gone, though it was read before: Airflow says so of a backend out of reach, too."""
    error = IceCredentialsError(f"the connection could not be read: {cause}", transient=True)
    error.__cause__ = cause
    return error


def event_of(job_id: str, verdict: Verdict) -> dict[str, Any]:
    """Return the event of a verdict that ends a wait, as plain JSON."""
    match verdict:
        case Ended():
            return {"job_id": job_id, "outcome": "finished"}
        case GiveUp(error=error):
            return {"job_id": job_id, "outcome": "given_up", "error": error.as_dict()}
        case TimedOut(reason=reason):
            return {"job_id": job_id, "outcome": "timed_out", "reason": reason}
        case _:
            raise ValueError(f"{verdict!r} does not end a wait")
