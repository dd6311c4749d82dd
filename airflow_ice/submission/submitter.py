"""Does what `decide` says: finds out the facts that it asks for, then reattaches, submits, or fails
with what a person needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from airflow_ice.api.calls import Calls
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.exceptions import IceSubmissionRecordError
from airflow_ice.submission.decide import (
    MISSING,
    Adopt,
    Decision,
    Deliver,
    Fail,
    JobFact,
    LookAtJob,
    Policies,
    Reattach,
    Resend,
    SearchByKey,
    SearchByPrefix,
    Situation,
    Submit,
    decide,
)
from airflow_ice.submission.failures import failure, foreign_record, lost_reply
from airflow_ice.submission.identity import Wish, new_nonce
from airflow_ice.submission.record import Record
from airflow_ice.submission.request import SubmitRequest, key_in
from airflow_ice.submission.search import FREEZE_SUSPECTED, Clock, JobSearch, Pauses
from airflow_ice.submission.sending import FOUND, Sender
from airflow_ice.submission.store import RecordStore, StateStore
from airflow_ice.waiting import JOB_ENDED, Log


class Submitter:
    """Finds, or creates, the one job of a wish.

    :param calls: the hook.
    :param store: the task instance's state store.
    :param longest_send: seconds that the bytes of one send and its reply can take at most.
    :param on_job: called with the job's id as soon as it is known, before it is stored.
    :param stopped: whether the task was stopped, after which nothing is sent.
    :param clock: the module `time` by default.
    """

    def __init__(
        self,
        request: SubmitRequest,
        wish: Wish,
        policies: Policies,
        *,
        calls: Calls,
        store: StateStore,
        log: Log,
        longest_send: float,
        on_job: Callable[[str], None] = lambda job_id: None,
        stopped: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._request = request
        self._wish = wish
        self._policies = policies
        self._log = log
        self._on_job = on_job
        self._records = RecordStore(store)
        self._pauses = Pauses(stopped, clock)
        self._search = JobSearch(
            calls,
            list_settle_seconds=policies.list_settle_seconds,
            longest_send=longest_send + FREEZE_SUSPECTED,
            pauses=self._pauses,
            log=log,
        )
        self._sender = Sender(
            calls,
            self._records,
            operation=request.operation,
            takes_client_token=request.takes_client_token,
            find=self._find_lost,
            on_job=on_job,
            pauses=self._pauses,
            log=log,
        )

    def job_id(self) -> str:
        """Return the id of the one job, submitting it only where there is none yet.

        :raises IceInputError: the service is known to refuse the request; nothing was sent.
        :raises IceSubmissionRecordError: the record of earlier tries could not be read or written,
            or its job cannot be found.
        :raises NonRetryableIceJobFailedError: the job has failed, and the policy is to fail.
        :raises NonRetryableIceInputsChangedError: the inputs changed, and the policy is to fail.
        :raises IceTaskStoppedError: the task was stopped; nothing was sent after that.
        :raises IceError: the service refused, or could not be reached.
        """
        situation = self._situation(self._records.read())
        while True:
            decision = decide(situation)
            match decision:
                case Submit(why):
                    return self._submit(situation.record, why)
                case Resend(why):
                    return self._resend(situation, why)
                case Reattach(job, changed) | Deliver(job, changed):
                    return self._reattach(situation, job, changed)
                case Fail(reason):
                    raise failure(reason, situation, self._search.unknown)
                case _:
                    situation = self._with_fact(situation, decision)

    def delivered(self, job_id: str) -> None:
        """Note that the task hands the result of its job on: from now on `on_clear` decides what a
        clear means.
        """
        record = self._records.read()
        if record is not None and record.job_id == job_id and not record.delivered:
            delivered = replace(record, delivered=True)
            self._records.write(delivered, f"the result of job {job_id} is delivered all the same")

    def _situation(self, record: Record | None) -> Situation:
        plain = Situation(
            record=record,
            policies=self._policies,
            wish=self._wish.name,
            may_have_sent=self._wish.may_have_sent,
            ever_cleared=self._wish.was_ever_cleared,
            takes_client_token=self._request.takes_client_token,
        )
        if record is None:
            # Bad input fails before anything is looked for or sent.
            self._request.operation(self._wish.key(0, ""))
            return plain
        writer = replace(self._wish, name=record.wish)
        if record.nonce and not record.key.startswith(f"{writer.key_prefix}-"):
            raise foreign_record(record)
        return replace(
            plain,
            cleared=self._wish.is_cleared_since(record.max_tries, record.clear_count),
            # A task that has delivered runs again after a clear only.
            clear_is_sure=record.delivered or self._wish.max_tries != record.max_tries,
            moved=self._request.moved_since(record.account),
            changed=self._request.changed_since(record.inputs),
        )

    def _with_fact(self, situation: Situation, decision: Decision) -> Situation:
        """Return the situation with the fact that a decision asks for."""
        record = situation.record
        match decision:
            case SearchByPrefix():
                return replace(situation, by_prefix=self._search.by_prefix(self._wish.key_prefix))
            case Adopt(job):
                return self._adopt(situation, job)
            case SearchByKey(once) if record is not None:
                by_key: JobFact = self._search.by_key(record, once=once, within_try=False)
                return replace(situation, by_key=by_key)
            case LookAtJob(job_id) if record is not None:
                return replace(situation, job=self._search.get(job_id, record))
            case _:
                raise AssertionError(f"unreachable: {decision}")

    def _adopt(self, situation: Situation, job: BatchMediaProducingJob) -> Situation:
        """Store the id of a job that was found. Whether the task was cleared stays to be decided
        about.
        """
        record = situation.record
        if record is None:
            now = self._pauses.clock.time()
            record = replace(
                new_record(self._request, self._wish, self._pauses.clock.time(), None),
                key=key_in(job) or "",
                sent_at=now,
            )
            # What it was submitted with is not known, so it counts as submitted with the inputs of
            # now.
            self._log.warning(
                "Batch job %s of an earlier try is used as it is: its record is gone, so whether "
                "the inputs changed is not known. Change `wish` for a new, paid job.",
                job.job_id,
            )
        self._log.info(FOUND, job.job_id)
        self._on_job(job.job_id)
        record = replace(record, job_id=job.job_id, job_exists=False, no_job_created=False)
        self._sender.save(record, findable=True)
        return self._situation(record)

    def _submit(self, before: Record | None, why: str) -> str:
        record = new_record(self._request, self._wish, self._pauses.clock.time(), before)
        self._log.info("Submitting a new job: %s (key %s).", why, record.key)
        return self._sender.send(None, record)

    def _resend(self, situation: Situation, why: str) -> str:
        record = situation.record
        if record is None:
            raise AssertionError("unreachable: there is a record to send again")
        self._log.info("%s: submitting with the same key %s.", why, record.key)
        return self._sender.send(record, renewed(record, self._request, self._wish))

    def _reattach(
        self, situation: Situation, job: BatchMediaProducingJob, changed: Sequence[str]
    ) -> str:
        if changed:
            self._log.warning(
                "%s changed since job %s was submitted; the job is used as it is.",
                " and ".join(changed),
                job.job_id,
            )
        what = "delivering its results" if job.status in JOB_ENDED else "reattaching"
        self._log.info(
            "Batch job %s: found %s; %s; nothing is billed again.", job.job_id, job.status, what
        )
        self._on_job(job.job_id)
        record = situation.record
        if record is not None and (situation.cleared or record.job_id != job.job_id):
            wish = self._wish
            record = replace(record, max_tries=wish.max_tries, clear_count=wish.clear_number)
            self._sender.save(replace(record, job_id=job.job_id), findable=True)
        return job.job_id

    def _find_lost(self, record: Record) -> BatchMediaProducingJob | None:
        """Look for the job of a send of this try; see `sending.FindJob`."""
        token = self._request.takes_client_token
        job = self._search.by_key(record, once=token, within_try=True)
        if job is not MISSING:
            return job
        if self._policies.on_lost_reply == "fail" and not token:
            raise lost_reply(record)
        return None


def job_may_exist(store: StateStore, wish: Wish) -> bool:
    """Tell whether an earlier send of this task instance may have created a job.

    "Could not be read" counts as yes.

    :param store: `context["task_state_store"]`.
    """
    try:
        record = RecordStore(store).read()
    except IceSubmissionRecordError:
        return True
    if record is None:
        return wish.may_have_sent
    return record.job_id is not None or not record.no_job_created


def new_record(request: SubmitRequest, wish: Wish, now: float, before: Record | None) -> Record:
    """Return the record of a wish that nothing was sent for.

    :param now: epoch seconds.
    :param before: of the submission before it, whose key must not be used again.
    """
    generation = 0 if before is None else before.generation + 1
    nonce = (before.nonce if before is not None else "") or new_nonce()
    record = Record(
        key=wish.key(generation, nonce),
        generation=generation,
        max_tries=wish.max_tries,
        inputs={},
        intent_at=now,
        sent_at=now,
        nonce=nonce,
        wish=wish.name,
    )
    return renewed(record, request, wish)


def renewed(record: Record, request: SubmitRequest, wish: Wish) -> Record:
    """Return a record with what is sent now, and by which try."""
    return replace(
        record,
        inputs=request.inputs(),
        account=request.account_fingerprints(),
        max_tries=wish.max_tries,
        clear_count=wish.clear_number,
    )
