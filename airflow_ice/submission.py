"""Exactly one paid job for one intent.

Two invariants, and neither may be relaxed, because each pays twice or loses what was paid for:

1. Nothing is sent before the intent to send it is in Airflow's state store. So a try that dies at any moment leaves a trace that
   the next one finds, and the next one looks for the job before it sends again.
2. "The store could not be read", "the list could not be read", "the job could not be looked at" are errors. None of them means
   "there is no job", and none leads to a submit.

A key names the intended job. It travels as ClientToken, where the action has one, and inside UserData, always; ICE echoes UserData
in ListBatchMediaProducingJobs, so a job whose reply was lost is found again by it. The key is a hash over the task instance, the
start of its DAG run (run ids repeat: in another deployment on the same account, and when a run is deleted and made again), its
*clear epoch* and a generation that grows with each deliberate resubmit and is never reset, so that no key names two wishes.

The clear epoch is `ti.max_tries - task.retries`: on a clear, Airflow 3.3 sets max_tries to the tries so far plus the task's retries
(airflow/models/taskinstance.py, `clear_task_instances`), and on a retry it leaves it alone. So a clear is seen by max_tries alone,
whatever was done to the task's retries meanwhile.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from airflow_ice.api import limits, operations
from airflow_ice.api.calls import Calls
from airflow_ice.api.errors import IceError, IceInputError, IceJobNotFoundError
from airflow_ice.api.models import BatchMediaProducingJob, parsed
from airflow_ice.api.operations import Config, Operation
from airflow_ice.exceptions import (
    IceSubmissionRecordError,
    UnretriedIceInputsChangedError,
    UnretriedIceJobFailedError,
)
from airflow_ice.waiting import JOB_ENDED, Log, job_failed

OnFailedJob = Literal["fail", "resubmit"]
OnClear = Literal["resubmit", "reuse"]
OnChangedInputs = Literal["fail", "reattach", "resubmit"]
OnLostReply = Literal["resubmit", "fail"]

RECORD: Final = "ice_submission"
"""The key in the state store. Not a name with `token` in it: Airflow's masker would blank it in the rendered view."""

USER_DATA_KEY: Final = "airflow_ice"
"""The key of our own beside the user's in UserData."""

LIST_SETTLE: Final = 60.0
"""Seconds after which ListBatchMediaProducingJobs is trusted to show a job. How long it lags is documented nowhere."""

SENDS: Final = 4
"""Sends in all within one try of the task, each after a refusal that made no job or a lost reply that left none."""

LONGEST_PAUSE: Final = 600.0
"""Seconds that a service may ask to wait before the next send; for longer the task fails, and its retry comes later."""

_FAR_BACK: Final = (
    30 * 24 * 3600.0
)  # how far back a job is looked for that ICE says was made, and whose time is not known
_CLOCKS_APART: Final = (
    20 * 60.0
)  # the service refuses requests whose clock is more than 15 minutes off
_LOOK_PAUSES: Final = (2.0, 3.0, 5.0, 10.0)


class StateStore(Protocol):
    """Airflow's `context["task_state_store"]`, as far as it is used here."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value, or the default where there is none."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Store a value."""


@dataclass(frozen=True, slots=True)
class Intent:
    """Which task instance wants a job, and how often it was cleared.

    :param map_index: -1 for a task that is not mapped.
    :param max_tries: of the task instance; Airflow sets it anew on a clear, and only then.
    :param retries: of the task. try_number: which try this is, from 1.
    :param run_started: when the DAG run began.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    max_tries: int
    retries: int
    try_number: int = 1
    run_started: str = ""

    @property
    def epoch(self) -> int:
        """How far the task instance has been cleared: 0 before the first clear, more after each."""
        return self.max_tries - self.retries

    @property
    def family(self) -> str:
        """What all keys of this task instance begin with, whatever was cleared or resubmitted."""
        return _hash(self.dag_id, self.run_id, self.task_id, str(self.map_index), self.run_started)[
            :16
        ]

    def key(self, generation: int) -> str:
        """Return the key of a generation: 49 characters of [0-9a-f-], which any ClientToken may hold (64 ASCII characters)."""
        return f"{self.family}-{_hash(self.family, str(self.epoch), str(generation))[:32]}"


def _hash(*parts: str) -> str:
    # NUL-joined: with a separator that ids may contain, two task instances could share a key, and so a job.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Record:
    """What the state store holds of a submission.

    :param key: names the job. generation: grows with each deliberate resubmit.
    :param max_tries: of the task instance when this was written; more means that it was cleared since.
    :param inputs: field name to a short hash of what was sent, to tell changed inputs.
    :param intent_at: epoch seconds of the first intent. sent_at: of the last send, or of its failure.
    :param refused: no send so far can have made a job.
    :param taken: ICE says that the key has made a job, which was not found yet.
    :param job_id: the job; None while the reply is outstanding, or was lost.
    :param delivered: the task has handed its result on.
    """

    key: str
    generation: int
    max_tries: int
    inputs: Mapping[str, str]
    intent_at: float
    sent_at: float
    refused: bool = False
    taken: bool = False
    job_id: str | None = None
    delivered: bool = False

    @classmethod
    def from_store(cls, stored: Any) -> Record:
        """Read what `asdict` wrote; fields of a newer version are passed over.

        :raises TypeError: it is no record.
        """
        if not isinstance(stored, Mapping):
            raise TypeError(f"{type(stored).__name__} instead of an object")
        record = cls(
            **{each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        )
        if not (
            isinstance(record.key, str)
            and isinstance(record.inputs, Mapping)
            and isinstance(record.max_tries, int)
        ):
            raise TypeError("a field of another type")
        return record


@dataclass(frozen=True, slots=True)
class Policies:
    """What the user decides.

    :param on_failed_job: on a retry, when the job has failed: "fail", or "resubmit" a new, paid one.
    :param on_clear: after a clear of a task that had delivered: "resubmit" a new, paid job, or "reuse" the old one.
    :param on_changed_inputs: when the inputs differ from what was submitted: "fail", "reattach" or "resubmit".
    :param on_lost_reply: when a reply was lost, the list has settled and does not show the job, and the action has no ClientToken:
        "resubmit", or "fail" for a person to look.
    :param list_settle_seconds: how long after a send the list is not yet trusted to show the job.
    """

    on_failed_job: OnFailedJob = "fail"
    on_clear: OnClear = "resubmit"
    on_changed_inputs: OnChangedInputs = "fail"
    on_lost_reply: OnLostReply = "resubmit"
    list_settle_seconds: float = LIST_SETTLE


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be submitted: a description of a submit action and its arguments.

    :param describe: one of `operations.submit_...`.
    :param arguments: without user_data and client_token.
    :param user_data: the user's own.
    :param takes_client_token: whether the action has a ClientToken.
    :param account: what else makes it another job: the connection and the region.
    """

    describe: Callable[..., Operation[str]]
    arguments: Mapping[str, Any]
    user_data: Config | None = None
    takes_client_token: bool = False
    account: Mapping[str, str] = field(default_factory=dict)

    def operation(self, key: str) -> Operation[str]:
        """Return the call that submits the job under a key.

        :raises IceInputError: the service is known to refuse it.
        """
        token = {"client_token": key} if self.takes_client_token else {}
        return self.describe(**self.arguments, **token, user_data=with_key(self.user_data, key))

    def inputs(self) -> dict[str, str]:
        """Return a short hash for each field that makes the job what it is. The layout of JSON does not count."""
        plain = self.describe(**self.arguments)
        own = {"UserData": _canonical(self.user_data)} if self.user_data else {}
        sent = {name: _canonical(value) for name, value in {**plain.query, **plain.form}.items()}
        account = {name: _canonical(value) for name, value in self.account.items()}
        return {name: _hash(value)[:12] for name, value in {**sent, **own, **account}.items()}


def with_key(user_data: Config | None, key: str) -> dict[str, Any]:
    """Return the user's UserData with our key beside theirs.

    :raises IceInputError: not a JSON object, the name is taken, or together more than 512 bytes.
    """
    if user_data is None or user_data == "":
        own: dict[str, Any] = {}
    elif isinstance(user_data, str):
        own = limits.json_object("UserData", user_data)
    elif isinstance(user_data, Mapping):
        own = dict(user_data)
    else:
        raise IceInputError(
            "UserData", None, f"must be a dict or a JSON string, not {type(user_data).__name__}"
        )
    if USER_DATA_KEY in own:
        raise IceInputError(
            f"UserData.{USER_DATA_KEY}",
            own[USER_DATA_KEY],
            "is the name that this package keeps its own key under",
        )
    merged = {**own, USER_DATA_KEY: key}
    try:
        size = len(json.dumps(merged, ensure_ascii=False).encode())
    except (TypeError, ValueError) as cause:
        raise IceInputError("UserData", None, f"cannot be written as JSON: {cause}") from None
    if size > limits.MAX_USER_DATA_BYTES:
        ours = len(json.dumps({USER_DATA_KEY: key}))
        rule = f"must be at most {limits.MAX_USER_DATA_BYTES} bytes together with the {ours} by which this package finds the job again"
        raise IceInputError("UserData", None, f"{rule}; together they are {size}")
    return merged


def key_in(job: BatchMediaProducingJob) -> str | None:
    """Return the key that a job's UserData holds, or None."""
    found = parsed(job.user_data)
    key = found.get(USER_DATA_KEY) if isinstance(found, Mapping) else None
    return key if isinstance(key, str) else None


class Submission:
    """Finds, or makes, the one job of an intent.

    :param calls: the hook.
    :param store: the task instance's state store.
    :param longest_send: seconds that one send can take at the most, so that a try that died in it is not looked for too soon.
    :param stopped: whether the task was told to stop, after which nothing is sent any more.
    :param clock: epoch seconds. sleep: waits that many.
    """

    def __init__(
        self,
        order: Order,
        intent: Intent,
        policies: Policies,
        *,
        calls: Calls,
        store: StateStore,
        log: Log,
        longest_send: float = 60.0,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._order = order
        self._intent = intent
        self._policies = policies
        self._calls = calls
        self._store = store
        self._log = log
        self._longest_send = longest_send
        self._stopped = stopped
        self._clock = clock
        self._sleep = sleep

    def job_id(self) -> str:
        """Return the id of the one job, submitting it only where there is none yet.

        :raises IceInputError: the service is known to refuse the order; nothing was sent.
        :raises IceSubmissionRecordError: the record of earlier tries could not be read or written, or its job cannot be found.
        :raises UnretriedIceJobFailedError: the job has failed, and the policy is to fail.
        :raises UnretriedIceInputsChangedError: the inputs changed, and the policy is to fail.
        :raises IceError: the service refused, or could not be reached.
        """
        record = self._read()
        if record is None:
            return self._without_record()
        if record.job_id is None:
            return self._unanswered(record)
        return self._with_job(record, record.job_id)

    def delivered(self, job_id: str) -> None:
        """Note that the task hands the result of its job on: from now on a clear is a wish for a new one."""
        record = self._read()
        if record is not None and record.job_id == job_id and not record.delivered:
            self._write(
                replace(record, delivered=True), "the result of its job is delivered all the same"
            )

    def _without_record(self) -> str:
        """Begin, or begin again where the record of earlier tries is gone with the state store."""
        self._order.operation(self._intent.key(0))  # bad input speaks before anything is sent
        earlier = (
            self._job_of_an_earlier_try()
            if self._intent.epoch > 0 or self._intent.try_number > 1
            else None
        )
        if earlier is not None:
            now = self._clock()
            inputs = self._order.inputs()
            self._adopt(
                Record(
                    key_in(earlier) or "",
                    0,
                    self._intent.max_tries,
                    inputs,
                    now,
                    now,
                    job_id=earlier.job_id,
                )
            )
            return self._with_job(self._read_back(), earlier.job_id)
        return self._submit(None, "no earlier submission")

    def _unanswered(self, record: Record) -> str:
        """Go on where an earlier try meant to submit and does not know whether it did."""
        cleared = self._cleared(record)
        if record.refused:
            why = "An earlier try was refused and made no job"
            if cleared:
                return self._submit(record, "an earlier try was refused, and the task was cleared")
        elif moved := self._moved(record):
            if not cleared:
                raise _elsewhere("A job that an earlier try may have submitted", moved)
            return self._submit(
                record,
                f"cleared; what an earlier try may have submitted before {moved} changed is not looked for",
            )
        else:
            if (job_id := self._find(record, within_try=False)) is not None:
                self._adopt(replace(record, job_id=job_id, taken=False))
                return self._with_job(self._read_back(), job_id)
            if cleared and (record.taken or self._gives_up_lost_replies()):
                return self._submit(
                    record, "cleared; the job that an earlier try may have submitted is not found"
                )
            if record.taken or self._gives_up_lost_replies():
                raise _not_found(record)
            why = (
                "An earlier try may have submitted a job and lost the reply; no job carries its key"
            )
        self._log.info("%s: submitting with the same key. One job will be billed.", why)
        return self._send(record, lost=self._order.takes_client_token and not record.refused)

    def _with_job(self, record: Record, job_id: str) -> str:
        cleared = self._cleared(record)
        if cleared and record.delivered and self._policies.on_clear == "resubmit":
            return self._submit(record, f"cleared after job {job_id} was delivered")
        try:
            job = self._calls.call(operations.get_batch_media_producing_job(job_id))
        except IceJobNotFoundError as unknown:
            if cleared:
                return self._submit(
                    record,
                    f"job {job_id} is not known here, and the task was cleared; it stays billed where it is",
                )
            raise self._unknown(record, job_id, unknown) from unknown
        if job.status == "Failed":
            return self._after_failed_job(record, job, cleared=cleared)
        if changed := self._changed(record):
            what = " and ".join(changed)
            if self._policies.on_changed_inputs == "fail":
                raise _inputs_changed(job, what)
            if self._policies.on_changed_inputs == "resubmit":
                state = (
                    "stays delivered and billed"
                    if job.status in JOB_ENDED
                    else "goes on and stays billed, too"
                )
                return self._submit(
                    record, f"{what} changed; job {job_id} is {job.status} and {state}"
                )
            self._log.warning(
                "%s changed since job %s was submitted; it is taken as it is.", what, job_id
            )
        what = "its results are taken" if job.status in JOB_ENDED else "reattaching"
        self._say(f"found {job.status}", job_id, f"{what}; nothing is billed again")
        if cleared:
            self._adopt(replace(record, max_tries=self._intent.max_tries))
        return job_id

    def _after_failed_job(
        self, record: Record, job: BatchMediaProducingJob, *, cleared: bool
    ) -> str:
        if cleared:
            return self._submit(record, f"job {job.job_id} has failed and the task was cleared")
        error = job_failed(job)
        if self._policies.on_failed_job == "resubmit":
            return self._submit(
                record, f"job {job.job_id} has failed ({error.code}), on_failed_job is resubmit"
            )
        raise UnretriedIceJobFailedError(
            error.message,
            code=error.code,
            request_id=error.request_id,
            job_id=job.job_id,
            advice="Mend the input and clear this task for a new, paid job; on_failed_job='resubmit' makes retries do so.",
        )

    def _unknown(self, record: Record, job_id: str, unknown: IceJobNotFoundError) -> IceError:
        """Return the error of a job that was made and is not known here. It is no reason to make another."""
        if moved := self._moved(record):
            return _elsewhere(f"Job {job_id} of an earlier try", moved)
        unknown.advice = (
            f"Job {job_id} was made by an earlier try. Check that the connection still leads to the account that submitted it; nothing "
            "was submitted by this try. If the job is gone, clear this task for a new, paid one."
        )
        return unknown

    def _submit(self, before: Record | None, why: str) -> str:
        """Submit under a key that no earlier wish had."""
        generation = 0 if before is None else before.generation + 1
        now = self._clock()
        key = self._intent.key(generation)
        self._log.info("Submitting a new job: %s. One job will be billed (key %s).", why, key)
        return self._send(
            Record(key, generation, self._intent.max_tries, self._order.inputs(), now, now)
        )

    def _send(self, record: Record, *, lost: bool = False) -> str:
        """Send until there is a job, each time only when no send before can have left one, or the same token returns it.

        :param lost: an earlier send may have made a job, which the list does not show yet.
        """
        operation = self._order.operation(record.key)
        before = record
        record = replace(record, inputs=self._order.inputs(), max_tries=self._intent.max_tries)
        for number in range(1, SENDS + 1):
            if self._stopped():
                raise IceError(
                    "The task was told to stop before its job was sent",
                    action=operation.action,
                    submitted="no",
                )
            record = replace(record, sent_at=self._clock(), refused=False)
            self._write(record, "a job may have been made" if lost else "nothing was sent")
            try:
                job_id = self._calls.call(operation)
            except IceError as error:
                found = self._after_failed_send(error, record, before, lost=lost)
                lost = self._order.takes_client_token and (lost or error.submitted == "unknown")
                if found is None:
                    self._pause_before_next_send(error, number)
                    continue
                job_id = found
            self._adopt(replace(record, job_id=job_id))
            self._say(
                "submitted",
                job_id,
                "it is billed, takes minutes to an hour and cannot be cancelled",
            )
            return job_id
        raise AssertionError("unreachable: the last send returns or raises")

    def _after_failed_send(
        self, error: IceError, record: Record, before: Record, *, lost: bool
    ) -> str | None:
        """Return the job that a failed send has made after all, or None where it made none."""
        if error.code == "IdempotentParameterMismatch":
            # The key has made a job before, with other inputs, and it was not found: what is certain is that there is one.
            error.submitted = "unknown"
            self._write(
                replace(before, taken=True, refused=False),
                "the job of an earlier try goes on and stays billed",
            )
            error.advice = "A job of an earlier try exists. Let this task retry later: it finds that job, and on_changed_inputs decides."
            raise error
        if error.submitted == "no" and not lost:
            self._write(replace(record, refused=True), "no job was made")
            return None
        error.submitted = "unknown"
        # From now on, not from when the send began: the send itself may have taken long.
        record = replace(record, sent_at=self._clock())
        self._write(record, "a job may have been made")
        found = self._find(record, within_try=True)
        if found is None and self._gives_up_lost_replies():
            raise _not_found(record) from error
        return found

    def _pause_before_next_send(self, error: IceError, number: int) -> None:
        pause = (getattr(error, "retry_after", None) or 0.0) + 2.0 ** (number - 1)
        if not error.transient or number == SENDS or pause > LONGEST_PAUSE:
            if error.submitted == "unknown":
                error.advice = "Let this task retry: it looks for the job by its key, and sends again only if there is none."
            raise error
        self._log.warning(
            "No job was made by this send; sending again in %.0f s. %s", pause, error.message
        )
        self._sleep(pause)

    def _gives_up_lost_replies(self) -> bool:
        return self._policies.on_lost_reply == "fail" and not self._order.takes_client_token

    def _find(self, record: Record, *, within_try: bool) -> str | None:
        """Look for a job by its key, for as long as the list may still lag behind the last send.

        With a ClientToken one look is enough: a job that the list does not show yet is what the same token returns, unless the inputs
        have changed.

        :param within_try: whether the send has ended in this try; else it may have gone on for a while after it was noted.
        """
        once = self._order.takes_client_token and (within_try or not self._changed(record))
        settled_at = (
            record.sent_at
            + self._policies.list_settle_seconds
            + (0.0 if within_try else self._longest_send)
        )
        for number in itertools.count():
            try:
                job_id = self._listed(record)
            except IceError as error:
                error.advice = "A job may have been made, and it could not be looked for. Let this task retry: it looks again by its key."
                error.submitted = "unknown"
                raise
            if job_id is not None:
                self._say(
                    "found by its key",
                    job_id,
                    "its reply was lost, the job was not; nothing is billed again",
                )
                return job_id
            left = settled_at - self._clock()
            if once or left <= 0:
                return None
            pause = min(left, _LOOK_PAUSES[min(number, len(_LOOK_PAUSES) - 1)])
            self._log.info(
                "No job carries the key %s yet; the list may lag, looking again in %.0f s.",
                record.key,
                pause,
            )
            self._sleep(pause)
        return None

    def _listed(self, record: Record) -> str | None:
        since = record.intent_at - (_FAR_BACK if record.taken else _CLOCKS_APART)
        jobs = [job for job in self._listed_since(since) if key_in(job) == record.key]
        if len(jobs) > 1:
            ids = ", ".join(job.job_id for job in jobs)
            self._log.warning(
                "%d jobs carry the key %s: %s. The oldest is taken; the others are billed, too.",
                len(jobs),
                record.key,
                ids,
            )
        return jobs[-1].job_id if jobs else None  # the list is sorted newest first

    def _job_of_an_earlier_try(self) -> BatchMediaProducingJob | None:
        """Return a job of this task instance whose record is gone, if it is one to take up.

        Airflow 3.4 is to discard the state store on a clear (apache/airflow#72100), and a database may be restored. A job that runs
        must be found even so; one that has ended is taken only where there was no clear, which is a wish for a new one.
        """
        mine = [
            job
            for job in self._listed_since(
                self._clock() - 24 * 3600 - _CLOCKS_APART
            )  # a day is far more than a batch takes
            if (key_in(job) or "").startswith(f"{self._intent.family}-")
        ]
        running = [job for job in mine if job.status not in JOB_ENDED]
        if running or self._intent.epoch > 0:
            return running[0] if running else None
        return mine[0] if mine else None

    def _listed_since(self, since: float) -> list[BatchMediaProducingJob]:
        return list(
            self._calls.list_batch_media_producing_jobs(
                start_time=datetime.fromtimestamp(since, UTC), sort_by="desc"
            )
        )

    def _cleared(self, record: Record) -> bool:
        return self._intent.max_tries != record.max_tries

    def _moved(self, record: Record) -> str:
        """Return which of what leads to the account differs from when the job was submitted; nothing where all is the same."""
        account = self._order.account
        return " and ".join(
            sorted(
                name
                for name in account
                if record.inputs.get(name) != _hash(_canonical(account[name]))[:12]
            )
        )

    def _changed(self, record: Record) -> list[str]:
        """Return the names of the fields that differ from what was submitted; where it leads to is `_moved`'s business."""
        try:
            inputs = self._order.inputs()
        except IceInputError as error:
            return [error.field]
        names = {*inputs, *record.inputs} - {*self._order.account}
        return sorted(name for name in names if inputs.get(name) != record.inputs.get(name))

    def _read(self) -> Record | None:
        try:
            stored = self._store.get(RECORD)
            return None if stored is None else Record.from_store(stored)
        except Exception as cause:  # a store's backend may raise anything; whatever it is, it never means "no record"
            raise IceSubmissionRecordError(
                f"The record of this task's submission could not be read from Airflow's state store: {type(cause).__name__}: {cause}",
                consequence="Nothing was submitted by this try; a job of an earlier try, if there is one, goes on and stays billed.",
            ) from cause

    def _read_back(self) -> Record:
        record = self._read()
        if record is None:
            raise IceSubmissionRecordError(
                "The record of this task's submission was written and is not there",
                consequence="Nothing was submitted by this try; a job of an earlier try, if there is one, goes on and stays billed.",
            )
        return record

    def _write(self, record: Record, consequence: str) -> None:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # exported lazily, and missing in its stub

        try:
            self._store.set(RECORD, asdict(record), retention=NEVER_EXPIRE)
        except Exception as cause:  # a store's backend may raise anything; whatever it is, what was to be noted is not safe
            raise IceSubmissionRecordError(
                f"The record of this task's submission could not be written to Airflow's state store: {type(cause).__name__}: {cause}",
                consequence=f"At this moment {consequence}. A retry finds by its key whatever was made.",
            ) from cause

    def _adopt(self, record: Record) -> None:
        self._write(record, f"job {record.job_id} is there, goes on and stays billed")

    def _say(self, found: str, job_id: str, then: str) -> None:
        self._log.info("Batch job %s: %s; %s.", job_id, found, then)


def _elsewhere(what: str, moved: str) -> IceSubmissionRecordError:
    return IceSubmissionRecordError(
        f"{what} cannot be looked for here, because {moved} changed since",
        consequence="Nothing was submitted by this try; that job, if there is one, goes on where it was submitted and stays billed.",
        advice="Restore the connection and region, or clear this task to submit a new, paid job with the new ones.",
    )


def _not_found(record: Record) -> IceSubmissionRecordError:
    certain = "ICE says that an earlier try made a job" if record.taken else "A submit got no reply"
    return IceSubmissionRecordError(
        f"{certain}, and ListBatchMediaProducingJobs shows none with its key {record.key}",
        consequence="That job, if there is one, goes on and stays billed; nothing more was submitted.",
        advice="Look for it in the console by its UserData, and let this task retry, or clear it for a new, paid job.",
    )


def _inputs_changed(job: BatchMediaProducingJob, what: str) -> UnretriedIceInputsChangedError:
    return UnretriedIceInputsChangedError(
        f"{what} changed since job {job.job_id} was submitted, which is {job.status}",
        job_id=job.job_id,
        request_id=job.request_id,
    )


def _canonical(value: Any) -> str:
    """Return a text that is equal for equal values: JSON sorted and without blanks, other text as it is."""
    found = parsed(value) if isinstance(value, str) else value
    if isinstance(value, str) and not isinstance(found, (dict, list)):
        return value
    return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
