"""Sends a submit: the intent first, each send only when no earlier one can have left a job, then
the id until it is stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_ice.api.calls import Calls
from airflow_ice.api.errors import IceError, IceInputError, Submitted
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.api.operations import Operation
from airflow_ice.exceptions import (
    IceSubmissionRecordError,
    IceTaskStoppedError,
    IceTryReplacedError,
    NonRetryableIceSubmissionRecordError,
)
from airflow_ice.submission.record import Record
from airflow_ice.submission.search import FREEZE_SUSPECTED, Pauses
from airflow_ice.submission.store import RecordStore
from airflow_ice.waiting import Log

SENDS: Final = 4
"""Sends in all within one try of the task, each after a refusal that created no job or a lost reply
that left none.
"""

LONGEST_PAUSE: Final = 600.0
"""Seconds that a service may ask to wait before the next send; for longer the task fails, and its
retry comes later.
"""

SUBMITTED: Final = (
    "Batch job %s: submitted; it is billed, takes minutes to an hour and cannot be cancelled."
)
FOUND: Final = (
    "Batch job %s: found by its key; its reply was lost, the job was not; nothing is billed again."
)

_CHECKS: Final = 3
_SAVE_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_SAVE_WITHIN: Final = 300.0

FindJob = Callable[[Record], BatchMediaProducingJob | None]
"""Looks for a job whose reply was lost a moment ago; None where there is none. Raises where a
person has to look.
"""


class Intent:
    """The stored intent to send, and the last check before the bytes go.

    A worker can be frozen between its intent and its send (SIGSTOP, a suspended machine) for so
    long that Airflow starts the next try. When it wakes, the intent is old by one of the clocks, so
    it is looked up and written again: Airflow refuses the write of a try that was replaced. What
    remains is a freeze in the few instructions between the check and the socket.

    :param records: the store.
    """

    def __init__(
        self, records: RecordStore, record: Record, pauses: Pauses, consequence: str
    ) -> None:
        self.record = record
        self.sends_begun = 0
        self._records = records
        self._pauses = pauses
        self._consequence = consequence
        self._noted = (0.0, 0.0)
        self.write()

    def write(self) -> None:
        """Store that a send is about to begin.

        :raises IceSubmissionRecordError: it could not be stored; nothing was sent.
        """
        clock = self._pauses.clock
        # Before the write: a process that is frozen in it finds its intent old, too.
        self._noted = (clock.time(), clock.monotonic())
        self.record = replace(self.record, sent_at=self._noted[0], no_job_created=False)
        self._records.write(self.record, self._so_far())

    def before_send(self) -> None:
        """Return only where the bytes may go.

        :raises IceTaskStoppedError: the task was stopped.
        :raises IceTryReplacedError: another try has replaced this one.
        :raises IceSubmissionRecordError: the intent could not be checked.
        """
        checks = 0
        while self._age() > FREEZE_SUSPECTED:
            if checks == _CHECKS:
                raise IceSubmissionRecordError(
                    f"Airflow's state store took more than {FREEZE_SUSPECTED:.0f} s for each of "
                    f"{_CHECKS} writes",
                    consequence=self._at_this_moment(),
                )
            checks += 1
            # Read first: a store with a backend on the worker could be written before Airflow
            # refuses the write.
            if self._records.read() != self.record:
                raise IceTryReplacedError(consequence=self._at_this_moment())
            self.write()
        if self._pauses.stopped():
            raise IceTaskStoppedError("The task was stopped before its job was sent")
        self.sends_begun += 1

    def _so_far(self) -> str:
        # The client sends again by itself where there is a ClientToken.
        return "a job may have been created" if self.sends_begun else self._consequence

    def _at_this_moment(self) -> str:
        return f"At this moment {self._so_far()}."

    def _age(self) -> float:
        # Whichever says more: a suspended machine stops the monotonic clock, and the wall clock may
        # be set back.
        clock = self._pauses.clock
        return max(clock.time() - self._noted[0], clock.monotonic() - self._noted[1])


class Sender:
    """Sends one request until there is a job.

    :param operation: from a key to the call.
    :param takes_client_token: whether the same key returns the same job.
    :param find: looks for a job whose reply was lost.
    :param on_job: called with the id as soon as there is a job, before it is stored.
    """

    def __init__(
        self,
        calls: Calls,
        records: RecordStore,
        *,
        operation: Callable[[str], Operation[str]],
        takes_client_token: bool,
        find: FindJob,
        on_job: Callable[[str], None],
        pauses: Pauses,
        log: Log,
    ) -> None:
        self._calls = calls
        self._records = records
        self._operation = operation
        self._takes_token = takes_client_token
        self._find = find
        self._on_job = on_job
        self._pauses = pauses
        self._log = log

    def send(self, before: Record | None, record: Record) -> str:
        """Send until there is a job, each time only when no send before can have left one, or the
        same token returns it.

        :param before: what the store holds of this key; None for a new key. record: what to store
            instead.
        :raises IceError: there is no job, or it is not known whether there is one; the error says
            which.
        """
        operation = self._operation(record.key)  # bad input fails before anything is stored
        certain = before is None or before.no_job_created  # no send so far can have created a job
        for number in range(1, SENDS + 1):
            intent = self._intent(record, certain=certain)
            try:
                job_id = self._calls.call(replace(operation, before_send=intent.before_send))
            except (IceTaskStoppedError, IceSubmissionRecordError) as not_sent:
                raise self._not_sent(not_sent, intent, certain=certain) from not_sent
            except IceError as error:
                if error.code == "IdempotentParameterMismatch":
                    raise self._mismatch(error, before or intent.record) from error
                certain = certain and _created_no_job(error, intent)
                job = self._job_after(error, intent.record, certain=certain)
                if job is None:
                    self._pause(error, number, certain=certain)
                    continue
                self._log.info(FOUND, job.job_id)
                job_id, findable = job.job_id, True
            else:
                self._log.info(SUBMITTED, job_id)
                findable = self._takes_token
            self._keep(replace(intent.record, job_id=job_id), job_id, findable=findable)
            return job_id
        raise AssertionError("unreachable: the last send returns or raises")

    def _keep(self, record: Record, job_id: str, *, findable: bool) -> None:
        """Show and store the id of the job that there is now.

        :raises AirflowTaskTimeout: the task's time was over first; a retry finds the job.
        :raises NonRetryableIceSubmissionRecordError: the same, and a retry might submit a second
            job.
        """
        try:
            self._on_job(job_id)
            self.save(record, findable=findable)
        except AirflowTaskTimeout as cause:
            # Raised by a signal, wherever the process is: in a pause, in a call of the store, or
            # before there was any. The alarm comes once, so there is time for one more write.
            try:
                self._records.write(record, f"job {job_id} exists and is billed")
            except IceSubmissionRecordError as error:
                if findable or isinstance(error, IceTryReplacedError):
                    raise cause from error
                raise _id_not_stored(error, record) from cause
            raise

    def save(self, record: Record, *, findable: bool) -> None:
        """Store a job's id, again and again: this process holds the most expensive fact of the
        task.

        :param findable: whether a retry surely gets at the job without the stored id.
        :raises IceTryReplacedError: another try has replaced this one, and waits for the job.
        :raises IceSubmissionRecordError: it could not be stored; a retry finds the job.
        :raises NonRetryableIceSubmissionRecordError: it could not be stored, and a retry might
            submit a second job.
        """
        give_up_at = self._pauses.clock.monotonic() + _SAVE_WITHIN
        for number in itertools.count():
            try:
                self._records.write(record, f"job {record.job_id} exists and is billed")
            except IceTryReplacedError:
                raise
            except IceSubmissionRecordError as error:
                left = give_up_at - self._pauses.clock.monotonic()
                pause = min(_SAVE_PAUSES[min(number, len(_SAVE_PAUSES) - 1)], left)
                if left <= 0 or not self._pauses.pause(pause):
                    raise error if findable else _id_not_stored(error, record) from error
                self._log.warning(
                    "The id of batch job %s could not be stored; trying again. %s",
                    record.job_id,
                    error.message,
                )
            else:
                return

    def _intent(self, record: Record, *, certain: bool) -> Intent:
        if self._pauses.stopped():
            raise IceTaskStoppedError(
                "The task was stopped before its job was sent", submitted=_submitted(certain)
            )
        consequence = "nothing was sent" if certain else "a job may have been created"
        return Intent(self._records, record, self._pauses, consequence)

    def _not_sent(self, error: IceError, intent: Intent, *, certain: bool) -> IceError:
        """Return the error of a send that was called off in its last moment."""
        certain = certain and intent.sends_begun == 0
        if certain and isinstance(error, IceTaskStoppedError):
            # So that the next try need not look for a job. Without this note it looks, and finds
            # none.
            with suppress(IceSubmissionRecordError):
                self._records.write(replace(intent.record, no_job_created=True), "nothing was sent")
        return error.with_facts(submitted=_submitted(certain))

    def _mismatch(self, error: IceError, before: Record) -> IceError:
        """Return the error of a key that has created a job before, with other inputs, which was not
        found: there is one.
        """
        self._records.write(
            replace(before, job_exists=True, no_job_created=False),
            "the job of an earlier try keeps running and stays billed",
        )
        return error.with_facts(
            submitted="unknown",
            advice="A job of an earlier try exists. Let this task retry later: it finds that "
            "job, and on_changed_inputs decides.",
        )

    def _job_after(
        self, error: IceError, record: Record, *, certain: bool
    ) -> BatchMediaProducingJob | None:
        """Return the job that a failed send has created after all, or None where the next send may
        go.
        """
        if certain:
            self._records.write(replace(record, no_job_created=True), "no job was created")
            return None
        if error.submitted == "no" and not self._takes_token:
            return None  # the list had settled before this send, and this one created none
        # From now on, not from when the send began: the send itself may have taken long.
        record = replace(record, sent_at=self._pauses.clock.time())
        self._records.write(record, "a job may have been created")
        try:
            return self._find(record)
        except IceError as not_found:
            raise not_found.with_facts(submitted="unknown") from error

    def _pause(self, error: IceError, number: int, *, certain: bool) -> None:
        pause = (getattr(error, "retry_after", None) or 0.0) + 2.0 ** (number - 1)
        if not error.transient or number == SENDS or pause > LONGEST_PAUSE:
            if certain:
                raise error
            raise error.with_facts(
                submitted="unknown",
                advice="Let this task retry: it looks for the job by its key, and sends again "
                "only if there is none.",
            ) from error
        self._log.warning(
            "This send created no job that is found; sending again in %.0f s. %s",
            pause,
            error.message,
        )
        if not self._pauses.pause(pause):
            raise IceTaskStoppedError(
                "The task was stopped before its job was sent", submitted=_submitted(certain)
            ) from error


def _created_no_job(error: IceError, intent: Intent) -> bool:
    """Tell whether a failed send proves that it created no job. An error that does not say so
    proves nothing.
    """
    # A refusal on this side: the connection cannot be used, or the request breaks a rule.
    refused_here = isinstance(error, IceInputError) and intent.sends_begun == 0
    return refused_here or error.submitted == "no"


def _submitted(certain: bool) -> Submitted:
    return "no" if certain else "unknown"


def _id_not_stored(
    error: IceSubmissionRecordError, record: Record
) -> NonRetryableIceSubmissionRecordError:
    return NonRetryableIceSubmissionRecordError(
        f"Batch job {record.job_id} was submitted, and its id could not be stored in Airflow's "
        f"state store ({error.message})",
        consequence=f"Job {record.job_id} is billed and keeps running. This action has no "
        "ClientToken, so a retry might pay for a second one; the task fails without a retry.",
        advice=f"Wait for it with IceBatchMediaProducingJobSensor(job_id='{record.job_id}'), "
        "which is also in XCom under job_id, and collect it with "
        "IceGetBatchMediaProducingJobOperator.",
        job_id=record.job_id,
    )
