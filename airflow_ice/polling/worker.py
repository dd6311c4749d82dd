"""Polls one job from a task's own process.

For the sensor in poke and reschedule mode, for the first poll of a deferred wait, and for submit
operators that wait.
"""

from __future__ import annotations

import time

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.errors import IceError, IceJobNotFoundError
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import connection_not_found, poll_error
from airflow_ice.hooks import TRIES, IceHook
from airflow_ice.waiting import GiveUp, JobFinished, Log, PollAgain, PollOutcome, TimedOut, Wait


class WorkerPoller:
    """Polls the job of one wait. Each poll reads the connection again.

    :param ice_conn_id: the connection. region_id: None for the connection's own.
    """

    def __init__(self, ice_conn_id: str, region_id: str | None) -> None:
        self._ice_conn_id = ice_conn_id
        self._region_id = region_id
        self._seen_by: IceHook | None = None

    def poll_once(self, wait: Wait) -> PollOutcome:
        """Poll, and return what the wait decides.

        :raises NonRetryableIceConnectionNotFoundError: on a task's first poll, if there is no such
            connection.
        """
        try:
            job = self._job(wait.job_id)
        except AirflowNotFoundException as cause:
            if wait.is_first_poll and not wait.silent_fail:
                raise connection_not_found(cause) from cause  # later: out of reach for now
            return wait.on_error(poll_error(cause), time.time())
        except Exception as cause:  # noqa: BLE001 - whatever goes wrong in a poll is its error
            return wait.on_error(poll_error(cause), time.time())
        return wait.on_job(job, time.time())

    @property
    def region(self) -> str | None:
        """The region in which the job was last seen; None where that is not known, or no region."""
        return None if self._seen_by is None else self._seen_by.connection().region

    def hook(self) -> IceHook:
        """Return a hook that leads to where the job was last seen, with the tries of a task."""
        if self._seen_by is None:
            return IceHook(self._ice_conn_id, self._region_id)
        return self._seen_by.pinned(tries=TRIES)

    def _job(self, job_id: str) -> BatchMediaProducingJob:
        # One try a poll: pausing between polls is the wait's business, and it knows the deadline.
        hook = IceHook(self._ice_conn_id, self._region_id, tries=1)
        try:
            job = hook.get_batch_media_producing_job(job_id)
        except IceJobNotFoundError as unknown:
            return self._job_from_before(job_id, unknown, hook)
        self._seen_by = hook.pinned()
        return job

    def _job_from_before(
        self, job_id: str, unknown: IceJobNotFoundError, hook: IceHook
    ) -> BatchMediaProducingJob:
        """Look where the job was seen before the connection was edited.

        :raises IceJobNotFoundError: it was not, or is not known there either.
        """
        before = self._seen_by
        if before is None or before.connection() == hook.connection():
            raise unknown
        try:
            return before.get_batch_media_producing_job(job_id)
        except IceError as error:
            raise (error if error.transient else unknown) from None


def poll_until_over(poller: WorkerPoller, wait: Wait) -> JobFinished | GiveUp | TimedOut:
    """Poll until a wait is over, sleeping between polls, and return how it ended."""
    while isinstance(outcome := poller.poll_once(wait), PollAgain):
        time.sleep(outcome.seconds)
    return outcome


def last_poll(
    job_id: str, ice_conn_id: str, region_id: str | None, *, waited: float, log: Log
) -> JobFinished | GiveUp | TimedOut:
    """Poll once more for a wait whose trigger did not say how it ended: first look, then judge.

    :param waited: seconds that the wait has lasted, for the message of a time-out.
    """
    now = time.time()
    wait = Wait(job_id, interval=10, started_at=now - waited, deadline=now, log=log)
    return poll_until_over(WorkerPoller(ice_conn_id, region_id), wait)
