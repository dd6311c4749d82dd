"""Triggers: one waits in the triggerer for a batch job to end, one watches an account for all ends.

What a poll means is the business of `waiting` and `watching`, and how jobs are polled is that of
`polling`. Arguments and events hold ids and times, never a secret: Airflow stores the first and
logs the second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError, error_from_dict
from airflow_ice.exceptions import not_retried, poll_error
from airflow_ice.polling.account import AccountPoller, EndedJobs
from airflow_ice.polling.memory import WatcherMemory, keys_of, stores_of
from airflow_ice.polling.registry import registry
from airflow_ice.selection import ENDED, Selection
from airflow_ice.waiting import GiveUp, JobFinished, PollOutcome, TimedOut, Wait
from airflow_ice.watching import Ledger, payload

log = logging.getLogger(__name__)

TRIGGER_MARGIN: Final = 600.0
"""Seconds that Airflow's own deferral time-out leaves to the trigger. At the deadline the trigger
polls first and then judges, and a thousand waits with one deadline take their turns."""

SHORTEST_INTERVAL: Final = 1.0
"""Seconds between polls of an account, at least."""

NEXT_PART: Final = 10.0
"""Seconds until the next poll, at most, where one poll could not confirm all ends."""

LONGEST_BACKOFF: Final = 900.0
"""Seconds between polls of an account, at most, while they fail."""


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


class IceBatchJobEventTrigger(BaseEventTrigger):
    """Fires for each batch job of an account that ends, whoever submitted it.

    It is for an AssetWatcher:

        ended = Asset(
            "ice_jobs",
            watchers=[AssetWatcher(name="ice_jobs", trigger=IceBatchJobEventTrigger())],
        )

    A DAG with `schedule=[ended]` finds the payload of each event in `event.extra["payload"]`:
    `{"job_id", "ice_conn_id", "region_id", "status", "job_type", "user_data", "create_time",
    "complete_time"}`. `user_data` is the user's own UserData as an object, without the key of this
    package and addresses of callbacks; times are ISO 8601 UTC; `region_id` is None where the
    connection leads to no region.

    At least once: an end that Airflow may not have stored is reported again after a restart. Let
    the DAG get its jobs by `airflow_ice.claims.claim_ended_jobs`: each one is then one run's own,
    also where Airflow 3.3 gives an event to no run. What was reported is remembered in the state
    store of the asset, one poll late.

    One request every `poll_interval` as long as nothing ends, one more for each end, and for a job
    that runs while many later ones end (ListBatchMediaProducingJobs, GetBatchMediaProducingJob).
    The list is documented for Script and Smart_Mix jobs only; a kind that it does not show is not
    seen.

    :param ice_conn_id: the connection. It is read again before each poll.
    :param region_id: None for the connection's own.
    :param job_types: for example `["Script"]`; None for all.
    :param statuses: of `Finished` and `Failed`; both by default.
    :param user_data_contains: a text that UserData contains, or a dict of fields that it has with
        these values; None for all.
    :param poll_interval: seconds between polls, at least 1; 60 by default.
    :param since: ISO 8601 with a time zone: on the first start, jobs created since then are
        reported as well. By default only those that end from the first start on.
    :param name: of what is remembered, one for each watcher. With a name, every other argument may
        be edited, and no end is lost: jobs that match only then are reported if they run, or ended
        in the half hour before the last poll or later. By default the connection, the region and
        the filters are the name, and an edit of them is a first start. Airflow makes equal triggers
        of several assets one: give each its own name.

    :raises NonRetryableIceInputError: an argument is none of these.
    """

    def __init__(
        self,
        ice_conn_id: str = "ice_default",
        region_id: str | None = None,
        job_types: Sequence[str] | None = None,
        statuses: Sequence[str] = ENDED,
        user_data_contains: str | Mapping[str, Any] | None = None,
        poll_interval: float = 60,
        since: str | None = None,
        name: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.name = name
        self.since = since
        with not_retried():
            self.job_types = None if job_types is None else _names("job_types", job_types)
            self.statuses = _names("statuses", statuses, ENDED)
            self.user_data_contains = _contained(user_data_contains)
            self.poll_interval = limits.seconds("poll_interval", poll_interval)
            if self.poll_interval < SHORTEST_INTERVAL:
                rule = f"must be at least {SHORTEST_INTERVAL:g} s"
                raise IceInputError("poll_interval", str(poll_interval), rule)
            self._since = None if since is None else _epoch("since", since)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, for the database.

        JSON only: Airflow takes a tuple for another trigger at each parse (apache/airflow#64617).
        """
        return "airflow_ice.triggers.IceBatchJobEventTrigger", {
            "ice_conn_id": self.ice_conn_id,
            "region_id": self.region_id,
            "job_types": self.job_types,
            "statuses": self.statuses,
            "user_data_contains": self.user_data_contains,
            "poll_interval": self.poll_interval,
            "since": self.since,
            "name": self.name,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for ever, and report each end. Whatever goes wrong in a poll is logged: a trigger
        that ends is started again by Airflow about every second (apache/airflow#72376).
        """
        selection = Selection(
            tuple(self.statuses),
            None if self.job_types is None else tuple(self.job_types),
            self.user_data_contains,
        )
        keys = keys_of(self.name, self.ice_conn_id, self.region_id, selection)
        memory = WatcherMemory(stores_of(self.asset_state_store), *keys)
        ledger = await memory.load(Ledger.first(time.time(), self._since))
        poller = AccountPoller(
            *(self.ice_conn_id, self.region_id),
            ledger=ledger,
            selection=selection,
            interval=self.poll_interval,
        )
        failures = 0
        while True:
            await memory.store()
            pause = self.poll_interval
            try:
                ended = await poller.poll()
            except Exception as cause:  # noqa: BLE001 - it is an error of this poll
                failures += 1
                pause = max(pause, min(pause * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF))
                error = poll_error(cause)
                log.warning(
                    "Poll %d in a row failed; the next one is in %.0f s, and no end is lost: %s",
                    *(failures, pause, error),
                )
            else:
                failures = 0
                for job in ended.jobs:
                    found = payload(job, ice_conn_id=self.ice_conn_id, region_id=ended.region_id)
                    yield TriggerEvent(found)  # type: ignore[no-untyped-call]
                memory.note(ledger)
                self._report(ended)
                pause = min(pause, NEXT_PART) if ended.left else pause
            await asyncio.sleep(pause)

    def _report(self, ended: EndedJobs) -> None:
        if ended.jobs or ended.left:
            log.info(
                "%d batch jobs of %s have ended and are reported%s.",
                len(ended.jobs),
                self.ice_conn_id,
                f"; at least {ended.left} more follow with the next polls" if ended.left else "",
            )


def _names(field: str, value: object, allowed: Sequence[str] | None = None) -> list[str]:
    """Return texts as a sorted list, so that their order makes no other trigger.

    :raises IceInputError: one is no text, or not allowed.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names:
        raise IceInputError(field, limits.shown(field, value), "must be a list of texts")
    for name in names:
        if not isinstance(name, str) or not name or (allowed and name not in allowed):
            rule = f"must be of {', '.join(allowed)}" if allowed else "must be a list of texts"
            raise IceInputError(field, limits.shown(field, value), rule)
    return sorted(set(names))


def _contained(value: object) -> str | dict[str, Any] | None:
    """Return what UserData is to contain, as plain JSON.

    :raises IceInputError: it is neither a text nor an object.
    """
    if value is None or (isinstance(value, str) and value):
        return value
    try:
        if isinstance(value, Mapping) and value:
            return dict(json.loads(json.dumps(dict(value), sort_keys=True, allow_nan=False)))
    except (TypeError, ValueError):
        pass
    field = "user_data_contains"
    rule = "must be a text or a dict of JSON values, not empty"
    raise IceInputError(field, limits.shown(field, value), rule)


def _epoch(field: str, value: object) -> float:
    """Return a time in epoch seconds.

    :raises IceInputError: it is none with a time zone.
    """
    try:
        time_ = datetime.fromisoformat(str(value))
    except ValueError:
        time_ = None
    if time_ is None or time_.tzinfo is None:
        rule = "must be a time such as 2026-01-31T00:00:00Z, with its time zone"
        raise IceInputError(field, limits.shown(field, value), rule)
    return time_.timestamp()


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
