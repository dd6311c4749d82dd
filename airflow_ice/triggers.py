"""IceBatchMediaProducingJobTrigger: waits in the triggerer for a batch job to end.

What a poll means is `waiting`'s business, and how jobs are polled for all waits together is that of
`polling`. Its arguments and its event hold ids and times, never a secret: Airflow stores the first
and logs the second.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_ice.api.errors import error_from_dict
from airflow_ice.polling.registry import registry
from airflow_ice.waiting import GiveUp, JobFinished, PollOutcome, TimedOut, Wait

TRIGGER_MARGIN: Final = 600.0
"""Seconds that Airflow's own deferral time-out leaves to the trigger. At the deadline the trigger
polls first and then judges, and a thousand waits with one deadline take their turns."""


class IceBatchMediaProducingJobTrigger(BaseTrigger):
    """Fires once: when a batch job has ended, when polling it fails for good, or at the deadline.

    The event: `{"job_id", "outcome": "finished" | "given_up" | "timed_out", "region_id": str |
    None, "error": {...}, "reason": str}`; `region_id` is where the job was shown as Finished (None
    where that is no region), `error` describes an `IceError` (given_up), `reason` is for people
    (timed_out).

    :param job_id: the batch job.
    :param ice_conn_id: the connection. region_id: None for the connection's own.
    :param poke_interval: seconds between polls.
    :param started_at: when the wait began, epoch seconds.
    :param deadline: when it ends, epoch seconds. Absolute, so a restart of the triggerer does not
        prolong it.
    :param exponential_backoff: double the interval with each poll, up to `max_wait` seconds.
    :param silent_fail: go on after errors that would end the wait.
    :param seen_in: the region in which the job was last seen, should the connection be edited.
    :param end_from_trigger: end the task here when the job is Finished, as a success that returns
        the job id.
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
        seen_in: str | None = None,
        end_from_trigger: bool = False,
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
        self.seen_in = seen_in
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, for the database."""
        names = ("job_id", "ice_conn_id", "region_id", "poke_interval", "started_at", "deadline")
        options = ("exponential_backoff", "max_wait", "silent_fail", "seen_in", "end_from_trigger")
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {name: getattr(self, name) for name in (*names, *options)},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is something to say, and say it once."""
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
        outcome = await registry().watch(
            *(self.ice_conn_id, self.region_id, wait, self.poke_interval), seen_in=self.seen_in
        )
        if isinstance(outcome, JobFinished) and self.end_from_trigger:
            yield TaskSuccessEvent(xcoms={"return_value": self.job_id})
        else:
            event = event_of(self.job_id, outcome, region_id=wait.region)
            yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Say that the job goes on: ICE cannot cancel a batch job.

        Airflow calls this when a user ends or clears the task, and in 3.3 also when another
        triggerer takes the wait over.
        """
        self.log.warning(
            "This wait for batch job %s was ended, by a user or by a hand-over to another "
            "triggerer. The job keeps running and will be billed: ICE cannot cancel it. A later "
            "try waits for it again.",
            self.job_id,
        )


def event_of(job_id: str, outcome: PollOutcome, *, region_id: str | None = None) -> dict[str, Any]:
    """Return the event of an outcome that ends a wait, as plain JSON.

    :param region_id: where the job was shown.
    """
    match outcome:
        case JobFinished():
            return {"job_id": job_id, "outcome": "finished", "region_id": region_id}
        case GiveUp(error=error):
            return {"job_id": job_id, "outcome": "given_up", "error": error.as_dict()}
        case TimedOut(reason=reason):
            return {"job_id": job_id, "outcome": "timed_out", "reason": reason}
        case _:
            raise ValueError(f"{outcome!r} does not end a wait")


def outcome_of(event: Mapping[str, Any]) -> JobFinished | GiveUp | TimedOut:
    """Return the outcome that an event describes.

    :raises RuntimeError: it is no event of this trigger.
    """
    match event:
        case {"outcome": "finished", "job_id": str(job_id)}:
            return JobFinished(job_id)
        case {"outcome": "timed_out", "reason": str(reason)}:
            return TimedOut(reason)
        case {"outcome": "given_up", "error": Mapping() as error}:
            return GiveUp(error_from_dict(error))
        case _:
            raise RuntimeError(f"unexpected trigger event: {event!r}")


def defer_wait(
    operator: BaseOperator,
    wait: Wait,
    *,
    ice_conn_id: str,
    region_id: str | None,
    poke_interval: float,
    **options: Any,
) -> NoReturn:
    """Go on with a wait in the triggerer.

    :param operator: whose `execute_complete` takes the event.
    :param options: of the trigger.
    :raises TaskDeferred: always.
    """
    operator.defer(
        trigger=IceBatchMediaProducingJobTrigger(
            job_id=wait.job_id,
            ice_conn_id=ice_conn_id,
            region_id=region_id,
            poke_interval=poke_interval,
            started_at=wait.started_at,
            deadline=wait.deadline,
            **options,
        ),
        method_name="execute_complete",
        timeout=timedelta(seconds=max(wait.deadline - time.time(), 0) + TRIGGER_MARGIN),
    )


def trigger_crashed(job_id: str, cause: Exception) -> str:
    """Say what a crashed trigger means for the job."""
    return (
        f"The trigger that waited for batch job {job_id} has crashed ({cause}). The job keeps "
        "running and will be billed: ICE cannot cancel it. A retry or a clear waits for it again."
    )
