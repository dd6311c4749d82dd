"""IceBatchMediaProducingJobSensor: waits for the end of a batch job, in poke, reschedule or deferrable mode.

All three modes feed the same `waiting.Wait`, so a job's history has one outcome: green when the job is Finished, red at once and
without retry when it is Failed, and the time-out, `soft_fail` and `never_fail` mean the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import (
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)

from airflow_ice.api import limits
from airflow_ice.api.errors import IceError, IceInputError, error_from_dict
from airflow_ice.exceptions import unretried
from airflow_ice.hooks import IceHook
from airflow_ice.polling import unread_connection
from airflow_ice.triggers import TRIGGER_MARGIN, IceBatchMediaProducingJobTrigger
from airflow_ice.waiting import (
    SHORTEST_PAUSE,
    Ended,
    GiveUp,
    LookAgain,
    TimedOut,
    Verdict,
    Wait,
    timeout_reason,
)

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

T = TypeVar("T")


class IceBatchMediaProducingJobSensor(BaseSensorOperator):
    """Waits until a batch job has ended.

    Green when the job is Finished, even if some sub-jobs failed: judging them is the business of
    `IceGetBatchMediaProducingJobOperator`. Red at once, and not retried, when the job is Failed: waiting again cannot help. A look
    that fails (network, throttling, 5xx) is taken again until the time-out. Returns the job id, so the next task can take
    `wait.output`.

    :param job_id: the batch job (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: for example `cn-shanghai`; None for the connection's own (templated).
    :param poke_interval: seconds (or timedelta) between looks.
    :param timeout: seconds (or timedelta) to wait in all; None for `[sensors] default_timeout`.
    :param max_wait: seconds (or timedelta) between looks at most, with exponential_backoff.
    :param deferrable: wait in the triggerer, without a worker slot; the default is `[operators] default_deferrable`.

    :param end_from_trigger: when the job is Finished, end the task in the triggerer, without a worker. Then Airflow runs no listener
        and no post_execute for it, and makes no outlet events, so it is refused together with outlets.

    Lengths of time are 0 s to 366 days.

    The other arguments are BaseSensorOperator's. With `soft_fail` the task is skipped when the time-out comes, and only then.

    :raises IceInputError: an argument that cannot work; nothing was sent.
    :raises IceJobFailedError: the job is Failed.
    :raises AirflowSensorTimeout: the time-out came first.
    :raises IceError: looking at the job fails for good: wrong key, missing permission, unknown job.
    """

    template_fields: Sequence[str] = ("job_id", "ice_conn_id", "region_id")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        job_id: str | XComArg,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        poke_interval: timedelta | float = 30,
        timeout: timedelta | float | None = None,
        max_wait: timedelta | float | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=limits.seconds("poke_interval", poke_interval),
            timeout=None if timeout is None else limits.seconds("timeout", timeout),
            max_wait=None if max_wait is None else limits.seconds("max_wait", max_wait),
            **kwargs,
        )
        if end_from_trigger and not deferrable:
            raise IceInputError(
                "end_from_trigger",
                end_from_trigger,
                "needs deferrable=True: there is no trigger to end from",
            )
        if end_from_trigger and self.outlets:
            raise IceInputError(
                "end_from_trigger",
                end_from_trigger,
                "cannot serve outlets: their events are made by a worker",
            )
        self.job_id = cast("str", job_id)  # an upstream output is resolved before execute()
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.deferrable = deferrable
        self.end_from_trigger = end_from_trigger
        self._wait: Wait | None = None
        self._hook: IceHook | None = None
        self._first_look = True
        self._verdict: Verdict | None = None

    def execute(self, context: Context) -> str:
        """Wait, and return the job id."""
        before = self._waiting_since(context)
        self._first_look = before is None
        started_at = time.time() if before is None else before
        self._wait = Wait(
            self.job_id,
            interval=self.poke_interval,
            started_at=started_at,
            deadline=started_at + self.timeout,
            exponential_backoff=self.exponential_backoff,
            max_wait=self._longest_interval(),
            silent_fail=self.silent_fail,
            log=self.log,
        )
        wait = self._wait
        self._hook = None
        if self.deferrable:
            return self._one_outcome(lambda: self._defer_unless_ended(wait))
        return str(self._one_outcome(lambda: BaseSensorOperator.execute(self, context)))

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once.

        :raises IceError: the wait is over: the job has failed, or looking fails for good.
        """
        if self._wait is None:
            raise RuntimeError("poke() needs the wait that execute() begins")
        self._verdict = None  # until this look has one
        self._verdict = self._look(self._wait)
        return (
            PokeReturnValue(is_done=True, xcom_value=self.job_id)
            if self._has_ended(self._verdict)
            else False
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> str:
        """Take up the trigger's event.

        :raises IceError: the trigger gave up.
        :raises AirflowSensorTimeout: the deadline came.
        """
        match event:
            case {"outcome": "finished", "job_id": str(job_id)}:
                self.log.info("Batch job %s has ended.", job_id)
                return job_id
            case {"outcome": "timed_out", "reason": str(reason)}:
                raise AirflowSensorTimeout(reason)
            case {"outcome": "given_up", "error": Mapping() as error}:
                raise unretried(error_from_dict(error))
            case _:
                raise RuntimeError(
                    f"The trigger of batch job {self.job_id} sent an event that is not its own: {event!r}"
                )

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Resume after the trigger, with `soft_fail` and `never_fail` as in the other modes."""

        def resume() -> Any:
            try:
                # Past BaseSensorOperator, which would skip whatever ends in an exception.
                return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
            except TaskDeferralTimeout as cause:
                # The trigger was to say this itself, but did not run; all that Airflow says is `Trigger timeout`.
                raise AirflowSensorTimeout(
                    f"{timeout_reason(self.job_id, None, self.timeout)} ({cause})"
                ) from cause
            except TaskDeferralError as cause:
                raise TaskDeferralError(
                    f"The trigger that waited for batch job {self.job_id} has crashed ({cause}). The job goes on in ICE and stays "
                    "billed. Clear this task to wait again."
                ) from cause

        return self._one_outcome(resume)

    def _one_outcome(self, wait: Callable[[], T]) -> T:
        """Give what ends a wait the same meaning in every mode.

        BaseSensorOperator skips other things in execute() than in resume_execution(), a failed job among them. Here `soft_fail`
        skips a time-out and nothing else, and `never_fail` skips whatever would fail.
        """
        error: BaseException
        try:
            return wait()
        except AirflowRescheduleException:
            raise
        except AirflowSkipException as skip:
            if skip.__cause__ is None:
                raise
            error = skip.__cause__
        except Exception as failure:  # noqa: BLE001 - it is raised again below, or named in the skip
            error = failure
        if self.never_fail or (
            self.soft_fail and isinstance(error, (AirflowSensorTimeout, AirflowTaskTimeout))
        ):
            raise AirflowSkipException(
                f"Skipped instead of failed, as this task is told to: {error}"
            ) from error
        raise error

    def _waiting_since(self, context: Context) -> float | None:
        """Return when a rescheduled sensor began to wait, epoch seconds; None where the wait begins now."""
        if self.reschedule and not self.deferrable:
            first = context["ti"].get_first_reschedule_date(context)
            if isinstance(first, datetime):
                return first.timestamp()
        return None

    def _look(self, wait: Wait) -> Verdict:
        if self._hook is None:
            # One try a look: pausing between looks is the wait's business, and it knows the deadline.
            self._hook = IceHook(self.ice_conn_id, self.region_id, tries=1)
        try:
            job = self._hook.get_batch_media_producing_job(self.job_id)
        except AirflowNotFoundException as cause:
            if self._first_look and not self.silent_fail:
                raise  # there is no such connection; afterwards it is one that is out of reach for now
            return wait.on_error(unread_connection(cause), time.time())
        except IceError as error:
            return wait.on_error(error, time.time())
        finally:
            self._first_look = False
        return wait.on_job(job, time.time())

    def _has_ended(self, verdict: Verdict) -> bool:
        match verdict:
            case Ended():
                return True
            case GiveUp(error=error):
                raise unretried(error)
            case TimedOut(reason=reason):
                raise AirflowSensorTimeout(reason)
            case LookAgain():
                return False

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        # BaseSensorOperator asks here how long to sleep, or when to reschedule: the wait decides, as it does for the trigger.
        if self._wait is None or not isinstance(self._verdict, LookAgain):
            # With silent_fail BaseSensorOperator goes on after any exception, also one that is none of ICE's.
            return max(self.poke_interval, SHORTEST_PAUSE)
        if not self.reschedule:
            return self._verdict.seconds
        # A rescheduled look starts the task anew, which is no small thing: never sooner than asked for.
        left = max(self._wait.deadline - time.time(), 0.0)
        return max(self._verdict.seconds, min(self.poke_interval, left))

    def _defer_unless_ended(self, wait: Wait) -> str:
        if not self._has_ended(self._look(wait)):
            self._defer(wait)
        return self.job_id

    def _defer(self, wait: Wait) -> NoReturn:
        self.defer(
            trigger=IceBatchMediaProducingJobTrigger(
                job_id=self.job_id,
                ice_conn_id=self.ice_conn_id,
                region_id=self.region_id,
                poke_interval=self.poke_interval,
                started_at=wait.started_at,
                deadline=wait.deadline,
                exponential_backoff=self.exponential_backoff,
                max_wait=self._longest_interval(),
                silent_fail=self.silent_fail,
                end_from_trigger=self.end_from_trigger,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(wait.deadline - time.time(), 0) + TRIGGER_MARGIN),
        )

    def _longest_interval(self) -> float | None:
        return (
            self.max_wait.total_seconds() if isinstance(self.max_wait, timedelta) else self.max_wait
        )
