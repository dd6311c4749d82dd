"""Operators: submit a batch job exactly once, and collect what a job that has ended has made.

The six submit operators differ in their arguments alone; what they share stands once, in
`IceSubmitOperator`. Which job is found, reattached or made is decided in `submission`; what lands
in XCom is made in `results`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_args

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

from airflow_ice.api import limits, operations
from airflow_ice.api.errors import IceError, IceInputError, IceJobFailedError
from airflow_ice.api.operations import Operation
from airflow_ice.assets import AssetEvents, add_job_events, checked_asset_events
from airflow_ice.exceptions import IceJobTimeoutError, not_retried, unretried
from airflow_ice.hooks import IceHook
from airflow_ice.lineage import IceLineage, Lineage, clips_of
from airflow_ice.links import IceVideosLink, push_link
from airflow_ice.literals import check_job_id, check_submit, is_literal
from airflow_ice.polling.worker import WorkerPoller, last_poll, poll_until_over
from airflow_ice.results import Returns, checked_returns, deliver, push_job
from airflow_ice.submission.decide import (
    LIST_SETTLE,
    OnChangedInputs,
    OnClear,
    OnFailedJob,
    OnLostReply,
    Policies,
)
from airflow_ice.submission.identity import Wish
from airflow_ice.submission.request import SubmitRequest
from airflow_ice.submission.submitter import Submitter, job_may_exist
from airflow_ice.triggers import defer_wait, outcome_of, trigger_crashed
from airflow_ice.waiting import GiveUp, JobFinished, PollAgain, Require, TimedOut, Wait, required

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    Config = Mapping[str, Any] | str | XComArg
    """A structured argument: a dict, the JSON string of one, or the output of an upstream task."""


_LONGEST_WISH: Final = 200
"""Characters of `wish`: it is logged and stored."""


class IceGetBatchMediaProducingJobOperator(IceLineage, BaseOperator):
    """Collects a batch job that has ended: the MediaIds and URLs of its good sub-jobs, and why the
    others failed.

    Pushes to XCom:

    * `return_value`: `{"job_id", "job_type", "status", "request_id", "create_time",
      "complete_time", "media": [...], "failed": [...], "extend_output": parsed JSON or null}`,
      times as ISO 8601 UTC
    * `media`: `[{"index", "subjob_id", "media_id", "media_url", "duration", "project_id",
      "job_id"}]`, the good sub-jobs by index
    * `media_ids`, `media_urls`, `project_ids`: lists of text, without the nulls that previews have
    * `failed`: `[{"index", "subjob_id", "error_code", "error_message", "job_id"}]`
    * `extend_output`: as above, where the job has one: selections do
    * `ice_job`: `{"job_id", "ice_conn_id", "region_id"}`, before the job is read

    Where the job was submitted with UserData of the user's own, each row has it, too: `user_data`,
    a parsed JSON object.

    The rows are pushed before the task fails for lack of good videos, so that a clean-up task can
    still read them.

    :param job_id: the batch job (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: None for the connection's own (templated).
    :param require: how many sub-jobs must be good: "all" (default), "any", an int (at least so
        many), or a float in (0, 1] (at least that share). For a selection job, that it has a result
        (templated).
    :param returns: what return_value is: `job` (default), or one of the lists, for a mapped task:
        Airflow maps over return values only, so `publish.expand(media=collect.output)` needs
        `returns="media"`. The job is then under the key `job`.

    :param asset_events: how many asset events each AssetAlias in `outlets` gets: one a `job`
        (default), its URI the folder of the videos, or one a `video`.

    An argument that is written out in the DAG file, without a template, is checked when the file is
    parsed.

    :raises NonRetryableIceInputError: an argument that cannot work; nothing was sent.
    :raises IceJobNotEndedError: the job is still running.
    :raises NonRetryableIceJobFailedError: the job is Failed.
    :raises NonRetryableIceTooFewVideosError: fewer good sub-jobs than required.
    :raises IceError: the job could not be read. Wrong keys, a missing permission and an unknown
        connection are not retried either; see `airflow_ice.exceptions`.
    """

    template_fields: Sequence[str] = ("job_id", "ice_conn_id", "region_id", "require")
    operator_extra_links = (IceVideosLink(),)
    ui_color = "#d7efdf"

    def __init__(
        self,
        *,
        job_id: str | XComArg,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        require: Require | str = "all",
        returns: Returns = "job",
        asset_events: AssetEvents = "job",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = cast("str", job_id)  # an upstream output is resolved before execute()
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.require = require
        with not_retried():
            self.returns = checked_returns(returns)
            self.asset_events = checked_asset_events(asset_events)
            check_job_id(job_id)
            if is_literal(require):
                required(require)

    def execute(self, context: Context) -> Any:
        """Read the job, push its rows, judge it."""
        push_link(context, self.log)
        with not_retried(), IceHook(self.ice_conn_id, self.region_id) as hook:
            require = required(self.require)  # before anything is sent
            push_job(context, self.job_id, self.ice_conn_id, self.region_id, self.log)
            return deliver(
                *(hook, self.job_id, require, self.returns, context, self.log),
                on_rows=self.note_lineage,
                on_enough=lambda result: _add_events(self, context, result),
            )


def _add_events(
    operator: IceGetBatchMediaProducingJobOperator | IceSubmitOperator,
    context: Context,
    result: Mapping[str, Any],
) -> None:
    add_job_events(
        context,
        result,
        asset_events=operator.asset_events,
        ice_conn_id=operator.ice_conn_id,
        region_id=operator.region_id,
        log=operator.log,
    )


def _arguments_of(describe: Callable[..., Operation[str]]) -> tuple[str, ...]:
    """Return the names of the arguments that an operator of this action has for it alone."""
    names = inspect.signature(describe).parameters
    return tuple(name for name in names if name not in {"user_data", "client_token"})


# Longer than other classes here: the arguments of six operators are documented once, and what
# Airflow calls must be methods of it. What it decides is in `submission`, `polling` and `results`.
class IceSubmitOperator(IceLineage, BaseOperator):
    """What all submit operators share: one paid job for one intent, and, if asked for, the wait for
    it and its results.

    Returns the job id, which is in XCom under `job_id` as soon as there is a job, with `ice_job`
    as IceGetBatchMediaProducingJobOperator pushes it; with `wait_for_completion` it returns what
    IceGetBatchMediaProducingJobOperator returns, with the same keys.

    A retry finds the job of an earlier try: by the id that Airflow's state store holds, or, if the
    reply was lost, by a key that travels in UserData and, where the action has one, as ClientToken.

    :param user_data: the user's own UserData; 512 bytes with the 68 that this operator adds
        (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: None for the connection's own (templated).
    :param wait_for_completion: wait for the end of the job and collect it.
    :param deferrable: wait in the triggerer; the default is `[operators] default_deferrable`.
    :param poke_interval: seconds (or timedelta) between polls.
    :param timeout: seconds (or timedelta) that one try waits; the default is `[sensors]
        default_timeout`. The job keeps running after it.
    :param require: see IceGetBatchMediaProducingJobOperator (templated). So are `returns` and, with
        `wait_for_completion`, `asset_events`.
    :param on_failed_job: on a retry whose job has failed: "fail" (default), or "resubmit" a new,
        paid job.
    :param on_clear: after a clear of a task that had delivered: "reuse" its job (default), which
        bills nothing, or "resubmit" a new, paid one from the same inputs. With changed inputs a
        clear submits a new, paid job, unless on_changed_inputs is "reattach".
    :param on_changed_inputs: on a retry whose inputs differ from the submitted ones: "fail"
        (default), "reattach" to the existing job, also after a clear, or "resubmit" a new,
        paid job in addition.
    :param on_lost_reply: for actions without a ClientToken, when a reply was lost and the list does
        not show the job: "resubmit" (default), or "fail" for a person to look. ICE documents the
        list for Script and Smart_Mix jobs only.
    :param list_settle_seconds: how long ListBatchMediaProducingJobs may lag behind a submit.
    :param wish: change it to buy again (templated). A text of at most 200 characters; a try that
        finds another one than the last submission had submits a new, paid job, whatever became of
        the earlier one, which stays billed. A template here must render to the same text in every
        try: one with the time or the try number buys in every try.

    Lengths of time are 0 s to 366 days. An argument that is written out in the DAG file, without a
    template, is checked when the file is parsed; those of a mapped task when it runs.

    :raises NonRetryableIceInputError: refused here, nothing was sent.
    :raises NonRetryableIceParameterError: ICE refused a parameter; no job was created.
    :raises NonRetryableIceAuthenticationError: wrong keys, while no job can exist. So are
        NonRetryableIcePermissionError, NonRetryableIceCredentialsError and
        NonRetryableIceConnectionNotFoundError; where a job may exist, all of these are retried.
    :raises IceError: refused by the service, or no reply; the message says whether a job may have
        been made.
    """

    describe: ClassVar[Callable[..., Operation[str]]]
    """The submit action, one of `operations.submit_...`. Its arguments are attributes of the same
    names, and templated.
    """

    template_fields: Sequence[str] = ("user_data", "ice_conn_id", "region_id", "require", "wish")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("input_config", "output_config", "editing_config", "media_select_result", "user_data"),
            "json",
        )
    }
    operator_extra_links = (IceVideosLink(),)
    ui_color = "#fdebd0"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "describe" in cls.__dict__ and "template_fields" not in cls.__dict__:
            cls.template_fields = (*_arguments_of(cls.describe), *IceSubmitOperator.template_fields)

    def __init__(
        self,
        *,
        user_data: Config | None = None,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 30,
        timeout: timedelta | float | None = None,
        require: Require | str = "all",
        returns: Returns = "job",
        asset_events: AssetEvents = "job",
        on_failed_job: OnFailedJob = "fail",
        on_clear: OnClear = "reuse",
        on_changed_inputs: OnChangedInputs = "fail",
        on_lost_reply: OnLostReply = "resubmit",
        list_settle_seconds: float = LIST_SETTLE,
        wish: str | XComArg = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.user_data = user_data
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        with not_retried():
            self.poke_interval = limits.seconds("poke_interval", poke_interval)
            self.timeout = limits.seconds(
                "timeout",
                conf.getfloat("sensors", "default_timeout") if timeout is None else timeout,
            )
            self.require = require
            self.returns = checked_returns(returns)
            self.asset_events = checked_asset_events(asset_events)
            self.on_failed_job = _choice("on_failed_job", on_failed_job, get_args(OnFailedJob))
            self.on_clear = _choice("on_clear", on_clear, get_args(OnClear))
            self.on_changed_inputs = _choice(
                "on_changed_inputs", on_changed_inputs, get_args(OnChangedInputs)
            )
            self.on_lost_reply = _choice("on_lost_reply", on_lost_reply, get_args(OnLostReply))
            self.list_settle_seconds = limits.seconds("list_settle_seconds", list_settle_seconds)
            if is_literal(require):
                required(require)
        self.wish = wish
        self._job_id: str | None = None
        self._shown: set[str] = set()  # ids that are in XCom
        self._killed = False

    def _check_literals(self) -> None:
        """Check what is written out in the DAG file; the last step of each operator's constructor.

        :raises NonRetryableIceInputError: the service is known to refuse it.
        """
        with not_retried():
            check_submit(type(self).describe, self.arguments(), self.user_data)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the submit action, without user_data and client_token: attributes
        of the same names.
        """
        return {name: getattr(self, name) for name in _arguments_of(type(self).describe)}

    def lineage_before(self) -> Lineage:
        """Return the clips, and the job where it is known."""
        facts = {"job_id": self._job_id} if self._job_id else {}
        return Lineage(clips_of(getattr(self, "input_config", None)), facts=facts)

    def execute(self, context: Context) -> Any:
        """Find or make the job; wait for it and collect it, if asked for."""
        push_link(context, self.log)  # it knows no job: nothing comes between a job and its record
        with not_retried():
            require = required(self.require)  # before anything is sent
        for unknown in limits.unknown_keys(self.arguments()):
            self.log.warning("%s", unknown)
        with IceHook(self.ice_conn_id, self.region_id) as hook:
            submission, job_id = self._find_or_submit(hook, context)
            if job_id not in self._shown:
                self._push(job_id, context)
            if not self.wait_for_completion:
                submission.delivered(job_id)
                return job_id
        # The connection may have been edited while the job ran: it is collected where it was seen.
        with self._wait_for(job_id) as seen_by:
            return self._deliver(seen_by, job_id, require, submission, context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Take the trigger's event: collect the job, or say why not.

        :raises IceError: the trigger gave up, or the deadline came.
        """
        self._job_id = str(event.get("job_id") or "") or None
        return self._after_wait(outcome_of(event), context, seen_in=event.get("region_id"))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Resume after the trigger, also one that crashed or did not run until the deadline."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as cause:
            pulled = context["ti"].xcom_pull(
                task_ids=self.task_id, key="job_id", map_indexes=context["ti"].map_index
            )
            if not isinstance(pulled, str):
                raise  # there is nothing to poll for
            self._job_id = job_id = pulled
            outcome = last_poll(
                job_id, self.ice_conn_id, self.region_id, waited=self.timeout, log=self.log
            )
            if isinstance(outcome, TimedOut) and isinstance(cause, TaskDeferralError):
                raise TaskDeferralError(trigger_crashed(job_id, cause)) from cause
            return self._after_wait(outcome, context)

    def _after_wait(
        self,
        outcome: JobFinished | GiveUp | TimedOut,
        context: Context,
        *,
        seen_in: str | None = None,
    ) -> Any:
        """Collect a job, where it was seen: the connection may have been edited while it ran.

        :param seen_in: the region; None for what the task and the connection say.
        """
        job_id = self._check_ended(outcome)
        with (
            IceHook(self.ice_conn_id, self.region_id) as hook,
            hook.in_region(seen_in) as seen_by,
        ):
            submission = self._submission(hook, context)
            return self._deliver(seen_by, job_id, required(self.require), submission, context)

    def _check_ended(self, outcome: JobFinished | GiveUp | TimedOut) -> str:
        match outcome:
            case JobFinished(job_id=job_id):
                return job_id
            case GiveUp(error=error):
                raise self._policy_on(error)
            case TimedOut(reason=reason):
                raise IceJobTimeoutError(reason, job_id=self._job_id or "")

    def on_kill(self) -> None:
        """Send nothing any more, and say which job keeps running: ICE cannot cancel a batch job."""
        self._killed = True
        if self._job_id is None:
            self.log.warning(
                "Task killed before a job id was known. If a job was submitted, a later try of "
                "this task finds it by its key."
            )
        else:
            self.log.warning(
                "Task killed. Batch job %s keeps running and will be billed: ICE cannot cancel it. "
                "A later try of this task reattaches to it.",
                self._job_id,
            )

    def _find_or_submit(self, hook: IceHook, context: Context) -> tuple[Submitter, str]:
        """Return the submission and the id of its job.

        Refused credentials are retried only where a job may exist, which the retry then finds.
        """
        wish = self._wish(context)
        with not_retried(unless=lambda: job_may_exist(context["task_state_store"], wish)):
            submission = self._submission(hook, context)
            try:
                return submission, submission.job_id()
            except IceInputError as error:
                # The arguments: the connection was valid a moment ago.
                raise unretried(error, at_first=True) from error.__cause__

    def _wish(self, context: Context) -> Wish:
        return Wish.of(context["ti"], context["dag_run"], self.retries or 0, _wish(self.wish))

    def _submission(self, hook: IceHook, context: Context) -> Submitter:
        describe = type(self).describe
        return Submitter(
            SubmitRequest(
                describe=describe,
                arguments=self.arguments(),
                user_data=cast("Mapping[str, Any] | str | None", self.user_data),
                takes_client_token="client_token" in inspect.signature(describe).parameters,
                account=hook.account(),
            ),
            self._wish(context),
            Policies(
                self.on_failed_job,
                self.on_clear,
                self.on_changed_inputs,
                self.on_lost_reply,
                self.list_settle_seconds,
            ),
            calls=hook,
            store=context["task_state_store"],
            log=self.log,
            longest_send=hook.longest_send(),
            on_job=lambda job_id: self._show(job_id, context),
            stopped=lambda: self._killed,
            clock=time,
        )

    def _show(self, job_id: str, context: Context) -> None:
        """Push the id of a job as soon as it is known, so that it shows in the UI whatever happens
        next.
        """
        self._job_id = job_id
        if job_id in self._shown:
            return
        try:
            self._push(job_id, context)
        except Exception as cause:  # noqa: BLE001 - whatever it is, storing the id goes first
            self.log.warning(
                "Could not push the id of batch job %s to XCom; trying again after the submit: %s",
                job_id,
                cause,
            )

    def _push(self, job_id: str, context: Context) -> None:
        context["ti"].xcom_push(key="job_id", value=job_id)
        push_job(context, job_id, self.ice_conn_id, self.region_id, self.log)
        self._shown.add(job_id)

    def _wait_for(self, job_id: str) -> IceHook:
        """Return when the job is Finished, with a hook that leads to it.

        :raises TaskDeferred: to wait in the triggerer.
        :raises IceError: it is Failed, the time is over, or polling it fails for good.
        """
        started_at = time.time()
        wait = Wait(
            job_id,
            interval=self.poke_interval,
            started_at=started_at,
            deadline=started_at + self.timeout,
            log=self.log,
        )
        poller = WorkerPoller(self.ice_conn_id, self.region_id)
        outcome = poller.poll_once(wait)
        if isinstance(outcome, PollAgain):
            if self.deferrable:
                defer_wait(
                    self,
                    wait,
                    ice_conn_id=self.ice_conn_id,
                    region_id=self.region_id,
                    poke_interval=self.poke_interval,
                    seen_in=poller.region,
                )
            time.sleep(outcome.seconds)
            outcome = poll_until_over(poller, wait)
        self._check_ended(outcome)
        return poller.hook()

    def _deliver(
        self, hook: IceHook, job_id: str, require: Require, submission: Submitter, context: Context
    ) -> Any:
        try:
            result = deliver(
                *(hook, job_id, require, self.returns, context, self.log),
                on_rows=self.note_lineage,
                on_enough=lambda result: _add_events(self, context, result),
            )
        except IceJobFailedError as error:
            raise self._policy_on(error) from None
        # Only what was good enough counts as delivered: a clear after too few videos collects again
        # and pays nothing, whatever `on_clear` says. Who wants a new job then changes `wish`.
        submission.delivered(job_id)
        return result

    def _policy_on(self, error: IceError) -> IceError:
        """Return a failed job's error as one that Airflow retries only where a retry makes a new
        job.
        """
        if not isinstance(error, IceJobFailedError) or self.on_failed_job == "fail":
            return unretried(error)
        return IceJobFailedError(
            error.message,
            code=error.code,
            request_id=error.request_id,
            job_id=error.job_id,
            advice="on_failed_job is 'resubmit': if this task retries, it submits a new, paid job.",
        )


class IceSubmitBatchMediaProducingJobOperator(IceSubmitOperator):
    """Submits a Script or Smart_Mix batch job. This costs money, once.

    The keys of `input_config` decide: MediaGroupArray makes it Script; MediaArray or
    MediaSearchInput, Smart_Mix. What the service is known to refuse is refused here, before
    anything is sent. A config is a dict, or the JSON string of one.

    :param input_config: the clips, titles and texts (templated).
    :param output_config: where the videos go, how many and how large; MediaURL must contain
        `{index}`. GeneratePreviewOnly makes projects instead of videos (templated).
    :param editing_config: volumes, voices, effects (templated).
    :param template_config: ids of templates, one of which is drawn for each video (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_batch_media_producing_job)

    def __init__(
        self,
        *,
        input_config: Config,
        output_config: Config,
        editing_config: Config | None = None,
        template_config: Sequence[str] | str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_config = input_config
        self.output_config = output_config
        self.editing_config = editing_config
        self.template_config = template_config
        self._check_literals()


class IceSubmitScreenMediaHighlightsJobOperator(IceSubmitOperator):
    """Submits a high-energy mashup of videos. This costs money, once.

    :param input_config: MediaArray of videos, openings, endings, titles (templated).
    :param output_config: where the videos go, how many and how large; MediaURL must contain
        `{index}` (templated).
    :param editing_config: volumes, transitions (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_screen_media_highlights_job)

    def __init__(
        self,
        *,
        input_config: Config,
        output_config: Config,
        editing_config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_config = input_config
        self.output_config = output_config
        self.editing_config = editing_config
        self._check_literals()


class IceSubmitSportsHighlightsJobOperator(IceSubmitOperator):
    """Submits highlights of a sports video. This costs money, once. Offered in cn-shanghai only.

    :param input_config: SportsCategory (basketball, pingpong), InputMedia, faces and names to look
        for (templated).
    :param output_config: where the videos go, how many and how large; MediaURL must contain
        `{index}` (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_sports_highlights_job)

    def __init__(self, *, input_config: Config, output_config: Config, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_config = input_config
        self.output_config = output_config
        self._check_literals()


class IceSubmitSceneMediaSelectionJobOperator(IceSubmitOperator):
    """Submits the selection of material, first of three steps. This costs money, once.

    With `wait_for_completion`, the result's `extend_output` is what the next step takes as
    `media_select_result`.

    :param job_type: Smart_Mix_Media_Select or Screen_Media_Highlights_Media_Select (templated).
    :param input_config: as for the matching one-step job (templated).
    :param output_config: how many videos and how large; needs no destination (templated).
    :param editing_config: as for the matching one-step job (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_scene_media_selection_job)

    def __init__(
        self,
        *,
        job_type: str,
        input_config: Config,
        output_config: Config,
        editing_config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_type = job_type
        self.input_config = input_config
        self.output_config = output_config
        self.editing_config = editing_config
        self._check_literals()


class IceSubmitSceneTimelineOrganizationJobOperator(IceSubmitOperator):
    """Submits the arrangement of selected material into projects, second of three steps. This costs
    money, once.

    With `wait_for_completion`, the result's `project_ids` are what the last step takes.

    :param job_type: Smart_Mix_Timeline_Organize or Screen_Media_Highlights_Timeline_Organize
        (templated).
    :param input_config: as for the selection (templated).
    :param media_select_result: the selection's extend_output, edited or not (templated).
    :param output_config: how many videos and how large; needs no destination (templated).
    :param editing_config: as for the selection (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_scene_timeline_organization_job)

    def __init__(
        self,
        *,
        job_type: str,
        input_config: Config,
        media_select_result: Config,
        output_config: Config,
        editing_config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_type = job_type
        self.input_config = input_config
        self.media_select_result = media_select_result
        self.output_config = output_config
        self.editing_config = editing_config
        self._check_literals()


class IceSubmitSceneBatchEditingJobOperator(IceSubmitOperator):
    """Submits the rendering of editing projects, one video each. This costs money, once.

    :param project_ids: a list, or ids separated by commas; previews and arrangements push them as
        `project_ids` (templated).
    :param output_config: where the videos go and how large; MediaURL must contain `{index}`, Count
        is not supported (templated).

    The other arguments, and what is raised: IceSubmitOperator.
    """

    describe = staticmethod(operations.submit_scene_batch_editing_job)

    def __init__(
        self, *, project_ids: Sequence[str] | str | XComArg, output_config: Config, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.project_ids = project_ids
        self.output_config = output_config
        self._check_literals()


def _wish(value: Any) -> str:
    """Return the name of a wish, as it was rendered.

    :raises IceInputError: it is no text, or more than 200 characters.
    """
    name = str(value) if isinstance(value, int) else value or ""
    if not isinstance(name, str) or len(name) > _LONGEST_WISH:
        raise IceInputError(
            "wish",
            limits.shown("wish", value),
            f"must be a text of at most {_LONGEST_WISH} characters",
        )
    return name


def _choice(name: str, value: Any, allowed: Sequence[str]) -> Any:
    if value not in allowed:
        raise IceInputError(name, limits.shown(name, value), f"must be one of {', '.join(allowed)}")
    return value
