"""IceBatchMediaProducingJobSensor: waits for the end of a batch job, in three modes.

Poke, reschedule and deferrable mode feed the same `waiting.Wait`, so a job's history has one
outcome: green when the job is Finished, red at once and without retry when it is Failed, and the
time-out, `soft_fail` and `never_fail` mean the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError
from airflow_ice.exceptions import not_retried, unretried
from airflow_ice.hooks import IceHook
from airflow_ice.links import IceVideosLink, push_link
from airflow_ice.literals import check_job_id
from airflow_ice.polling.worker import WorkerPoller, last_poll
from airflow_ice.results import push_job
from airflow_ice.triggers import defer_wait, outcome_of, trigger_crashed
from airflow_ice.waiting import GiveUp, JobFinished, PollAgain, PollOutcome, TimedOut, Wait

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

T = TypeVar("T")


class IceBatchMediaProducingJobSensor(BaseSensorOperator):
    """Waits until a batch job has ended.

    Green when the job is Finished, even if some sub-jobs failed: judging them is the business of
    `IceGetBatchMediaProducingJobOperator`. Red at once, and not retried, when the job is Failed:
    waiting again does not help. A poll that fails (network, throttling, 5xx) is repeated until the
    time-out, and credentials that are refused in the middle of a wait are given a minute, since a
    key may be in rotation. Returns the job id, so the next task can take `wait.output`, and pushes
    `ice_job` before the first poll: `{"job_id", "ice_conn_id", "region_id"}`.

    :param job_id: the batch job (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: for example `cn-shanghai`; None for the connection's own (templated).
    :param poke_interval: seconds (or timedelta) between polls.
    :param timeout: seconds (or timedelta) to wait in all; None for `[sensors] default_timeout`.
    :param max_wait: seconds (or timedelta) between polls at most, with exponential_backoff.
    :param deferrable: wait in the triggerer, without a worker slot; the default is `[operators]
        default_deferrable`.
    :param end_from_trigger: when the job is Finished, end the task in the triggerer, without a
        worker. Then Airflow runs no post_execute for it and makes no outlet events, so it is
        refused together with outlets; where a plugin has listeners (OpenLineage), Airflow 3.3.2
        imports no DAG with it (airflow/dag_processing/dagbag.py, `bag_dag`).

    Lengths of time are 0 s to 366 days. The other arguments are BaseSensorOperator's. With
    `soft_fail` the task is skipped when the time-out comes, and only then.

    A job id that is written out in the DAG file, without a template, is checked when the file is
    parsed.

    :raises NonRetryableIceInputError: an argument that cannot work; nothing was sent.
    :raises NonRetryableIceJobFailedError: the job is Failed.
    :raises AirflowSensorTimeout: the time-out came first.
    :raises IceError: polling fails for good: wrong key, missing permission, unknown job. A wrong
        key, a missing permission and an unknown connection on the first poll are not retried; see
        `airflow_ice.exceptions`.
    """

    template_fields: Sequence[str] = ("job_id", "ice_conn_id", "region_id")
    operator_extra_links = (IceVideosLink(),)
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
        with not_retried():
            check_job_id(job_id)
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
        self._poller: WorkerPoller | None = None

    def execute(self, context: Context) -> str:
        """Wait, and return the job id."""
        push_link(context, self.log)
        push_job(context, self.job_id, self.ice_conn_id, self.region_id, self.log)
        since = self._waiting_since(context)
        self._begin(since)
        return self._one_outcome(self._wait_until_over)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Poll once.

        :raises IceError: the wait is over: the job is Failed, or polling it fails for good.
        :raises AirflowSensorTimeout: the deadline has come.
        """
        if self._wait is None:
            self._begin(since=None)
        outcome = self._poll()
        if isinstance(outcome, PollAgain):
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._result(outcome))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> str:
        """Take the trigger's event.

        :raises IceError: the trigger gave up.
        :raises AirflowSensorTimeout: the deadline came.
        """
        outcome = outcome_of(event)
        if isinstance(outcome, JobFinished):
            self.log.info("Batch job %s has ended.", outcome.job_id)
            # Not self.job_id: it is rendered again, and may be that of a job submitted meanwhile.
            return outcome.job_id
        return self._result(outcome)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Resume after the trigger, with `soft_fail` and `never_fail` as in the other modes."""

        def resume() -> Any:
            try:
                # Past BaseSensorOperator, which would skip whatever ends in an exception.
                return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
            except (TaskDeferralTimeout, TaskDeferralError) as cause:
                return self._without_event(cause)

        return self._one_outcome(resume)

    def _without_event(self, cause: Exception) -> str:
        """End a wait whose trigger did not run until its deadline, or crashed."""
        outcome = last_poll(
            self.job_id, self.ice_conn_id, self.region_id, waited=self.timeout, log=self.log
        )
        if isinstance(outcome, TimedOut) and isinstance(cause, TaskDeferralError):
            raise TaskDeferralError(trigger_crashed(self.job_id, cause)) from cause
        return self._result(outcome)

    def _begin(self, since: float | None) -> None:
        """Start to wait, or continue a wait that an earlier try started.

        :param since: when a rescheduled sensor began, epoch seconds.
        """
        started_at = time.time() if since is None else since
        self._wait = Wait(
            self.job_id,
            interval=self.poke_interval,
            started_at=started_at,
            deadline=started_at + self.timeout,
            exponential_backoff=self.exponential_backoff,
            max_wait=self._longest_interval(),
            silent_fail=self.silent_fail,
            continues=since is not None,
            is_first_poll=since is None,
            log=self.log,
        )
        self._poller = WorkerPoller(self.ice_conn_id, self.region_id)

    def _poll(self) -> PollOutcome:
        assert self._wait is not None  # noqa: S101 - _begin() sets both
        assert self._poller is not None  # noqa: S101
        return self._poller.poll_once(self._wait)

    def _wait_until_over(self) -> str:
        while isinstance(outcome := self._poll(), PollAgain):
            if self.deferrable:
                self._defer()
            if self.reschedule and not outcome.same_process:
                date = self._reschedule_date(outcome)
                raise AirflowRescheduleException(date)  # type: ignore[no-untyped-call]
            time.sleep(outcome.seconds)
        return self._result(outcome)

    def _result(self, outcome: JobFinished | GiveUp | TimedOut) -> str:
        match outcome:
            case JobFinished():
                return self.job_id
            case GiveUp(error=error, at_first_poll=at_first):
                raise unretried(error, at_first=at_first)
            case TimedOut(reason=reason):
                raise AirflowSensorTimeout(reason)

    def _one_outcome(self, wait: Callable[[], T]) -> T:
        """Give what ends a wait the same meaning in every mode.

        BaseSensorOperator skips other things in execute() than in resume_execution(), a Failed job
        among them. Here `soft_fail` skips a time-out and nothing else, and `never_fail` skips
        whatever would fail.
        """
        try:
            return wait()
        except (AirflowRescheduleException, AirflowSkipException):
            raise
        except Exception as error:
            timed_out = isinstance(error, (AirflowSensorTimeout, AirflowTaskTimeout))
            if self.never_fail or (self.soft_fail and timed_out):
                policy = "never_fail" if self.never_fail else "soft_fail"
                raise AirflowSkipException(
                    f"Skipped instead of failed, because {policy} is set: {error}"
                ) from error
            raise

    def _waiting_since(self, context: Context) -> float | None:
        """Return when a rescheduled sensor began to wait, epoch seconds; None if it begins now."""
        if self.reschedule and not self.deferrable:
            first = context["ti"].get_first_reschedule_date(context)
            if isinstance(first, datetime):
                return first.timestamp()
        return None

    def _reschedule_date(self, outcome: PollAgain) -> datetime:
        assert self._wait is not None  # noqa: S101 - it has just been polled for
        # A rescheduled poll starts the task again, which is no small thing: never sooner than
        # asked.
        left = max(self._wait.deadline - time.time(), 0.0)
        seconds = max(outcome.seconds, min(self.poke_interval, left))
        return datetime.fromtimestamp(time.time() + seconds, UTC)

    def _defer(self) -> NoReturn:
        assert self._wait is not None  # noqa: S101 - it has just been polled for
        defer_wait(
            self,
            self._wait,
            ice_conn_id=self.ice_conn_id,
            region_id=self.region_id,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self._longest_interval(),
            silent_fail=self.silent_fail,
            seen_in=self._poller.region if self._poller else None,
            end_from_trigger=self.end_from_trigger,
        )

    def _longest_interval(self) -> float | None:
        return (
            self.max_wait.total_seconds() if isinstance(self.max_wait, timedelta) else self.max_wait
        )
