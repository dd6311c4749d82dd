"""Operators: submit a batch job, and collect what a job that has ended has made.

What lands in XCom is plain JSON, small, and made for publishing tasks: a row for each good sub-job, a row for each other one, no
secret and no signed URL.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

from airflow.sdk import BaseOperator

from airflow_ice.api.errors import IceInputError, IceJobNotEndedError, redact
from airflow_ice.api.models import BatchMediaProducingJob, SubJob, parsed
from airflow_ice.exceptions import UnretriedIceJobFailedError, UnretriedIceTooFewVideosError
from airflow_ice.hooks import IceHook
from airflow_ice.waiting import JOB_ENDED, SUB_JOB_ENDED, Outcome, Require, is_settled, job_failed, judge, progress, required

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

SETTLE_PAUSES: Final = (3.0, 6.0, 9.0, 12.0)
"""Seconds between re-reads of a Finished job that does not show its whole outcome yet. Programs around this API wait 3, 6 and 9 s."""

Returns = Literal["job", "media", "media_ids", "media_urls", "project_ids", "failed"]


class IceGetBatchMediaProducingJobOperator(BaseOperator):
    """Collects a batch job that has ended: the MediaIds and URLs of its good sub-jobs, and why the others failed.

    Pushes to XCom:

    * `return_value`: `{"job_id", "job_type", "status", "request_id", "create_time", "complete_time", "media": [...],
      "failed": [...], "extend_output": parsed JSON or null}`, times as ISO 8601 UTC
    * `media`: `[{"index", "subjob_id", "media_id", "media_url", "duration", "project_id"}]`, the good sub-jobs by index
    * `media_ids`, `media_urls`, `project_ids`: lists of text, without the nulls that previews have
    * `failed`: `[{"index", "subjob_id", "error_code", "error_message"}]`

    The rows are pushed before the task fails for lack of good videos, so that a clean-up task can still read them.

    :param job_id: the batch job (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: None for the connection's own (templated).
    :param require: how many sub-jobs must be good: "all" (default), "any", an int (at least so many), or a float in (0, 1] (at
        least that share). For a selection job, that it has a result (templated).
    :param returns: what return_value is: `job` (default), or one of the lists, for a mapped task: Airflow maps over return values
        only, so `publish.expand(media=collect.output)` needs `returns="media"`. The job is then under the key `job`.

    :raises IceJobNotEndedError: the job is still running.
    :raises IceJobFailedError: the job is Failed; not retried.
    :raises IceTooFewVideosError: fewer good sub-jobs than required; not retried.
    :raises IceError: the job could not be read.
    """

    template_fields: Sequence[str] = ("job_id", "ice_conn_id", "region_id", "require")
    ui_color = "#d7efdf"

    def __init__(
        self,
        *,
        job_id: str | XComArg,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        require: Require | str = "all",
        returns: Returns = "job",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if returns not in _RETURNS:
            raise IceInputError("returns", returns, f"must be one of {', '.join(_RETURNS)}")
        self.job_id = cast("str", job_id)  # an upstream output is resolved before execute()
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.require = require
        self.returns = returns

    def execute(self, context: Context) -> Any:
        """Read the job, push its rows, judge it."""
        require = required(self.require)  # before anything is sent: templates are rendered only now
        with IceHook(self.ice_conn_id, self.region_id) as hook:
            job = self._settled_job(hook)
        outcome = judge(job, require)
        result = job_result(job, outcome)
        self._push(context, result, outcome)
        self._report(job, outcome)
        if job.status == "Failed":
            error = job_failed(job)
            raise UnretriedIceJobFailedError(error.message, code=error.code, request_id=error.request_id, job_id=job.job_id)
        if not outcome.enough:
            raise UnretriedIceTooFewVideosError(outcome.reason, request_id=job.request_id, job_id=job.job_id)
        return result if self.returns == "job" else _lists(result, outcome)[self.returns]

    def _settled_job(self, hook: IceHook) -> BatchMediaProducingJob:
        """Return the job once it shows its whole outcome, or as it is when it does not within the settle time."""
        job = hook.get_batch_media_producing_job(self.job_id)
        if job.status not in JOB_ENDED:
            raise IceJobNotEndedError(
                f"Batch job {job.job_id} is {job.status or 'in no known state'}, so it cannot be collected yet",
                request_id=job.request_id,
                job_id=job.job_id,
            )
        for pause in SETTLE_PAUSES:
            if is_settled(job):
                break
            self.log.info(
                "Batch job %s is Finished but not settled%s; reading again in %.0f s.", job.job_id, progress(job), pause
            )
            time.sleep(pause)
            job = hook.get_batch_media_producing_job(self.job_id)
        return job

    def _push(self, context: Context, result: Mapping[str, Any], outcome: Outcome) -> None:
        lists = _lists(result, outcome)
        for key, value in lists.items():
            context["ti"].xcom_push(key=key, value=value)
        if self.returns != "job":
            context["ti"].xcom_push(key="job", value=result)

    def _report(self, job: BatchMediaProducingJob, outcome: Outcome) -> None:
        self.log.info(
            "Batch job %s (%s) is %s: %d good sub-jobs, %d others (RequestId %s).",
            *(job.job_id, job.job_type, job.status, len(outcome.good), len(outcome.bad), job.request_id),
        )
        if job.status == "Finished" and job.error:
            self.log.warning("The job is Finished and reports an error: %s", redact(str(job.error)))
        for sub in outcome.bad:
            row = failed_row(sub)
            self.log.warning(
                "Sub-job %s (index %d) is %s: %s: %s",
                *(sub.job_id, sub.index, sub.status, row["error_code"], row["error_message"]),
            )


class IceSubmitBatchMediaProducingJobOperator(BaseOperator):
    """Submits a Script or Smart_Mix batch job and returns its job id. This costs money.

    The keys of `input_config` decide: MediaGroupArray makes it Script; MediaArray or MediaSearchInput, Smart_Mix. What the service
    is known to refuse is refused here, before anything is sent. A config is a dict, or the JSON string of one.

    :param input_config: the clips, titles and texts (templated).
    :param output_config: where the videos go, how many and how large; MediaURL must contain `{index}` (templated).
    :param editing_config: volumes, voices, effects (templated).
    :param template_config: ids of templates, one of which is drawn for each video (templated).
    :param user_data: at most 512 bytes of JSON, echoed by the service (templated).
    :param ice_conn_id: the connection (templated).
    :param region_id: None for the connection's own (templated).

    :raises IceInputError: refused here, nothing was sent.
    :raises IceError: refused by the service, or no reply; the message says whether a job may have been made.
    """

    template_fields: Sequence[str] = (
        *("input_config", "output_config", "editing_config", "template_config", "user_data", "ice_conn_id", "region_id"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "input_config": "json",
        "output_config": "json",
        "editing_config": "json",
        "user_data": "json",
    }
    ui_color = "#fdebd0"

    def __init__(
        self,
        *,
        input_config: Mapping[str, Any] | str,
        output_config: Mapping[str, Any] | str,
        editing_config: Mapping[str, Any] | str | None = None,
        template_config: Sequence[str] | str | None = None,
        user_data: Mapping[str, Any] | str | None = None,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_config = input_config
        self.output_config = output_config
        self.editing_config = editing_config
        self.template_config = template_config
        self.user_data = user_data
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id

    def execute(self, context: Context) -> str:
        """Submit the job and return its id."""
        job_id = IceHook(self.ice_conn_id, self.region_id).submit_batch_media_producing_job(
            input_config=self.input_config,
            output_config=self.output_config,
            editing_config=self.editing_config,
            template_config=self.template_config,
            user_data=self.user_data,
            client_token=uuid.uuid4().hex,  # makes the tries within this call harmless
        )
        self.log.info("Submitted batch job %s. It is paid, takes minutes to an hour and cannot be cancelled.", job_id)
        return job_id


def job_result(job: BatchMediaProducingJob, outcome: Outcome) -> dict[str, Any]:
    """Return what a job has made, as plain JSON."""
    return {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "status": job.status,
        "request_id": job.request_id,
        "create_time": job.create_time.isoformat() if job.create_time else None,
        "complete_time": job.complete_time.isoformat() if job.complete_time else None,
        "media": [media_row(sub) for sub in outcome.good],
        "failed": [failed_row(sub) for sub in outcome.bad],
        "extend_output": parsed(job.extend_output),
    }


def media_row(sub: SubJob) -> dict[str, Any]:
    """Return the row of a good sub-job."""
    return {
        "index": sub.index,
        "subjob_id": sub.job_id,
        "media_id": sub.media_id,
        "media_url": sub.media_url,
        "duration": sub.duration,
        "project_id": sub.project_id,
    }


def failed_row(sub: SubJob) -> dict[str, Any]:
    """Return the row of a sub-job that is not good."""
    message = redact(sub.error_message) if sub.error_message else None
    if sub.status not in SUB_JOB_ENDED:
        message = f"the sub-job is still {sub.status or 'in no known state'} although its job has ended"
    return {"index": sub.index, "subjob_id": sub.job_id, "error_code": sub.error_code, "error_message": message}


_RETURNS: Final = ("job", "media", "media_ids", "media_urls", "project_ids", "failed")


def _lists(result: Mapping[str, Any], outcome: Outcome) -> dict[str, list[Any]]:
    return {
        "media": result["media"],
        "media_ids": [sub.media_id for sub in outcome.good if sub.media_id],
        "media_urls": [sub.media_url for sub in outcome.good if sub.media_url],
        "project_ids": [sub.project_id for sub in outcome.good if sub.project_id],
        "failed": result["failed"],
    }
