"""Makes a job of a submit: what it will produce, when it will end, and how.

Everything is settled here, from the submit, the emulator's settings and the faults that were asked
for; afterwards only the clock and the renders move the job along.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from airflow_ice.emulator.engine import planning
from airflow_ice.emulator.engine.faults import Circumstances, JobFault, failed
from airflow_ice.emulator.engine.planning import Video
from airflow_ice.emulator.engine.submissions import Submission
from airflow_ice.emulator.engine.submit_actions import SUBMIT_ACTIONS
from airflow_ice.emulator.engine.validation import INDEX
from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.media.objects import parse_object_url
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.errors import idempotent_parameter_mismatch, project_not_found
from airflow_ice.emulator.model.faults import Faults
from airflow_ice.emulator.model.jobs import Failure, JobPlan, SubJobPlan
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Job, Store, SubJob
from airflow_ice.emulator.model.timeline import Timeline

logger = logging.getLogger(__name__)

# Guess: the share of a job's time that it waits to begin.
_SHARE_BEFORE_START: Final = 0.1


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is not stored yet.

    :param fingerprint: of the parameters that its ClientToken stands for; None without a token.
    """

    job: Job
    sub_jobs: Sequence[SubJob]
    fingerprint: str | None


class JobMaker:
    """Makes jobs. Used from the server's event loop only."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        faults: Faults,
        finder: MaterialFinder,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._faults = faults
        self._finder = finder

    def existing(self, submission: Submission, parameters: Mapping[str, str]) -> str | None:
        """Return the job that was made for the ClientToken of a submit; None for a new one.

        Guess: a token never expires.

        :raises ServiceError: the token was used with other parameters.
        """
        token = _client_token(submission, parameters)
        known = self._store.job_of_token(submission.action, token) if token else None
        if known is None:
            return None
        if known[1] != _fingerprint(parameters):
            raise idempotent_parameter_mismatch()
        return known[0]

    def make(self, submission: Submission, parameters: Mapping[str, str]) -> NewJob:
        """Make the job of a submit, and use up the faults that shape it.

        :raises ServiceError: a project is unknown.
        """
        videos = self._videos(submission)
        mentioned = planning.mentioned(submission)
        faults = self._faults.take(JobFault, lambda fault: fault.hits(submission.action))
        circumstances = Circumstances(
            self._clock.now(), self._settings.job_seconds, next(iter(mentioned), "")
        )
        plan = self._plan(submission, mentioned, faults, circumstances)
        job = _job(submission, parameters, plan, circumstances.now)
        # Guess: a job with an error in its input has no sub-jobs.
        sub_jobs = (
            []
            if plan.failure
            else [
                self._sub_job(submission, job, index, videos, faults, circumstances)
                for index in range(len(videos))
            ]
        )
        self._log_material(job, mentioned, videos)
        return NewJob(job, sub_jobs, _fingerprint(parameters) if job.client_token else None)

    def _log_material(self, job: Job, mentioned: list[str], videos: list[Video]) -> None:
        """Log what the emulator does not know of a job's material, each clip once."""
        used = [segment.media for video in videos for segment in video.timeline.segments]
        media = [*mentioned, *used]
        for item in self._finder.missing(media):
            logger.warning("job %s fails: there is no %s here", job.job_id, _unsigned(item))
        for item in self._finder.unknown(media):
            logger.warning(
                "job %s: unknown material %s; a video that uses it shows red stripes instead",
                job.job_id,
                _unsigned(item),
            )

    def _videos(self, submission: Submission) -> list[Video]:
        if submission.makes == "selection":
            return []
        if not submission.project_ids:
            return planning.videos(submission)
        videos = []
        for index, project_id in enumerate(submission.project_ids):
            source = self._store.sub_job_of_project(project_id)
            if source is None:
                raise project_not_found()
            materials = json.loads(source.materials)
            timeline = planning.rescaled(
                Timeline.from_dict(json.loads(source.timeline)), submission, index
            )
            videos.append(Video(timeline, materials["Title"], materials["SpeechText"]))
        return videos

    def _plan(
        self,
        submission: Submission,
        mentioned: list[str],
        faults: Sequence[JobFault],
        circumstances: Circumstances,
    ) -> JobPlan:
        begins = circumstances.now + _SHARE_BEFORE_START * circumstances.job_seconds
        ends = circumstances.now + circumstances.job_seconds
        plan = JobPlan(begins, ends, listed=SUBMIT_ACTIONS[submission.action].listed)
        if failure := self._input_failure(submission, mentioned):
            plan = failed(plan, failure, circumstances)
        for fault in faults:
            plan = fault.job(plan, circumstances)
        return plan

    def _input_failure(self, submission: Submission, mentioned: list[str]) -> Failure | None:
        url = submission.output.media_url
        if url is not None and "://" not in url:
            # A URL with one slash is accepted at submit and fails the job.
            return Failure("InvalidParameter", 'The specified parameter "MediaURL" is not valid.')
        return self._finder.failure(mentioned)

    def _sub_job(
        self,
        submission: Submission,
        job: Job,
        index: int,
        videos: list[Video],
        faults: Sequence[JobFault],
        circumstances: Circumstances,
    ) -> SubJob:
        video, makes_files = videos[index], not submission.previews
        plan = _sub_job_times(job.plan, index, len(videos))
        plan = replace(plan, renders=makes_files and self._settings.render)
        for fault in faults:
            plan = fault.sub_job(plan, index, len(videos), job.plan, circumstances)
        url = submission.output.media_url
        media_url = url.replace(INDEX, str(index)) if url and makes_files else None
        name = parse_object_url(media_url) if media_url else None
        materials = {"Title": video.title, "SpeechText": video.speech_text}
        return SubJob(
            job_id=new_id(),
            parent_id=job.job_id,
            position=index,
            created=job.created,
            modified=job.created,
            plan=plan,
            project_id=new_id(),
            duration=video.timeline.seconds,
            materials=json.dumps(materials),
            timeline=json.dumps(video.timeline.to_dict()),
            media_id=new_id() if makes_files else None,
            media_url=media_url,
            bucket=name.bucket if name else None,
            object_key=name.key if name else None,
        )


def _job(submission: Submission, parameters: Mapping[str, str], plan: JobPlan, now: float) -> Job:
    job = Job(
        job_id=new_id(),
        action=submission.action,
        job_type=submission.job_type,
        created=now,
        plan=plan,
        input_config=parameters.get("InputConfig"),
        editing_config=parameters.get("EditingConfig"),
        output_config=parameters.get("OutputConfig"),
        user_data=parameters.get("UserData"),
        client_token=_client_token(submission, parameters),
        listed_status=None,
        modified=now,
    )
    if plan.failure:
        error = {"ErrorCode": plan.failure.code, "ErrorMessage": plan.failure.message}
        job.extend = json.dumps(error, ensure_ascii=False)
    elif submission.makes == "selection":
        job.extend_output = json.dumps(planning.selection_result(submission))
    if submission.project_ids:
        job.extend_input = json.dumps(submission.project_ids)
    elif submission.selection:
        job.extend_input = parameters["MediaSelectResult"]
    return job


def _sub_job_times(plan: JobPlan, index: int, count: int) -> SubJobPlan:
    """Return when a sub-job begins and ends: one after the other, the last with its job."""
    if plan.ends is None:
        return SubJobPlan(plan.begins, None)
    span = plan.ends - plan.begins
    begins = plan.begins + span * index / (2 * count)
    last = index == count - 1
    return SubJobPlan(begins, plan.ends if last else plan.begins + span * (index + 1) / count)


def _client_token(submission: Submission, parameters: Mapping[str, str]) -> str | None:
    takes_one = SUBMIT_ACTIONS[submission.action].client_token
    return (parameters.get("ClientToken") or None) if takes_one else None


def _fingerprint(parameters: Mapping[str, str]) -> str:
    wanted = sorted((name, value) for name, value in parameters.items() if name != "ClientToken")
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def _unsigned(media: str) -> str:
    """Return a media id or URL as it is logged: in quotes, and without a query, which may sign."""
    return json.dumps(media.partition("?")[0] if "://" in media else media, ensure_ascii=True)


def new_id() -> str:
    """Return a new id in the service's form: 32 lower-case hex characters."""
    return uuid.uuid4().hex
