"""Makes jobs, and moves them along: what the clock and the finished renders imply is written down, told and acted upon."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Final

from airflow_ice.emulator.engine import planning
from airflow_ice.emulator.engine.callbacks import (
    Callbacks,
    batch_event,
    notify_address,
    sub_job_event,
)
from airflow_ice.emulator.engine.planning import Video
from airflow_ice.emulator.engine.validation import INDEX, Submission
from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.media.objects import parse_object_url
from airflow_ice.emulator.media.render_queue import RenderQueue
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.errors import idempotent_parameter_mismatch, project_not_found
from airflow_ice.emulator.model.faults import Fault, Faults
from airflow_ice.emulator.model.jobs import (
    Failure,
    JobPlan,
    Render,
    State,
    SubJobPlan,
    job_state,
    next_change,
    sub_job_state,
)
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Job, Store, SubJob
from airflow_ice.emulator.model.timeline import Timeline

logger = logging.getLogger(__name__)

# Guess: the shares of a job's time that it waits to begin, and after which an error in its input shows.
_SHARE_BEFORE_START: Final = 0.1
_SHARE_BEFORE_FAILURE: Final = 0.3
# The actions that take a ClientToken; the others ignore one.
# Guess: a token never expires.
_TOKEN_ACTIONS: Final = frozenset({"SubmitBatchMediaProducingJob", "SubmitSportsHighlightsJob"})


class Lifecycle:
    """The jobs of an emulator. Used from the server's event loop only."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        faults: Faults,
        finder: MaterialFinder,
        callbacks: Callbacks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._faults = faults
        self._finder = finder
        self._callbacks = callbacks
        self._changed = asyncio.Event()
        self.renders: RenderQueue | None = None

    # Making jobs

    def submit(self, submission: Submission, parameters: Mapping[str, str]) -> str:
        """Make a job and return its id; the same id again for the same client token.

        :raises ServiceError: the token was used with other parameters, or a project is unknown.
        """
        token = parameters.get("ClientToken") if submission.action in _TOKEN_ACTIONS else None
        fingerprint = _fingerprint(parameters) if token else None
        if token and (known := self._store.job_of_token(submission.action, token)):
            if known[1] != fingerprint:
                raise idempotent_parameter_mismatch()
            return known[0]
        videos = self._videos(submission)
        faults = self._faults.take_for_job(submission.action)
        now = self._clock.now()
        plan = self._job_plan(submission, faults, now)
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
            client_token=token or None,
            listed_status=None,
            modified=now,
        )
        if plan.failure:
            job.extend = json.dumps(
                {"ErrorCode": plan.failure.code, "ErrorMessage": plan.failure.message},
                ensure_ascii=False,
            )
        elif submission.selects:
            job.extend_output = json.dumps(planning.selection_result(submission))
        if submission.project_ids:
            job.extend_input = json.dumps(submission.project_ids)
        elif submission.selection:
            job.extend_input = parameters["MediaSelectResult"]
        # Guess: a job with an error in its input has no sub-jobs.
        sub_jobs = [] if plan.failure else self._sub_jobs(submission, job, videos, faults)
        with self._store.transaction():
            self._store.add_job(job, sub_jobs, fingerprint)
            self._update(job, now)
        self._log_material(job, submission, videos)
        for sub_job in sub_jobs:
            if sub_job.plan.renders and sub_job.plan.failure is None and self.renders is not None:
                self.renders.add(sub_job)
        self.nudge()
        return job.job_id

    def _log_material(self, job: Job, submission: Submission, videos: list[Video]) -> None:
        """Log what the emulator does not know of a job's material, each clip once."""
        media = planning.mentioned(submission)
        media += [segment.media for video in videos for segment in video.timeline.segments]
        for item in self._finder.missing(media):
            logger.warning("job %s fails: there is no %s here", job.job_id, _unsigned(item))
        for item in self._finder.unknown(media):
            logger.warning(
                "job %s: unknown material %s; a video that uses it shows red stripes instead",
                job.job_id,
                _unsigned(item),
            )

    def _videos(self, submission: Submission) -> list[Video]:
        if submission.selects:
            return []
        if submission.action != "SubmitSceneBatchEditingJob":
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

    def _job_plan(self, submission: Submission, faults: Mapping[str, Fault], now: float) -> JobPlan:
        whole = self._settings.job_seconds
        failure = self._input_failure(submission)
        if fault := faults.get("job_fails"):
            first = next(iter(planning.mentioned(submission)), "unknown")
            code = fault.options.get("code", "InvalidMaterial.NotFound")
            failure = Failure(
                code,
                fault.options.get(
                    "message", f"The specified clips id not found:{json.dumps([first])}"
                ),
            )
        odd, hidden = faults.get("status"), faults.get("sub_jobs_hidden")
        return JobPlan(
            begins=now + _SHARE_BEFORE_START * whole,
            ends=None
            if "stuck" in faults
            else now + whole * (_SHARE_BEFORE_FAILURE if failure else 1.0),
            failure=failure,
            waits_for_sub_jobs="settle_lag" not in faults,
            hidden_seconds=hidden.seconds(whole) if hidden else 0.0,
            hidden_as_null=bool(hidden and hidden.options.get("null")),
            list_lag=faults["list_lag"].seconds(whole) if "list_lag" in faults else 0.0,
            odd_status=odd.options["value"] if odd else None,
            odd_until=now + odd.seconds(whole) if odd else 0.0,
            doc_quirks="doc_quirks" in faults,
        )

    def _input_failure(self, submission: Submission) -> Failure | None:
        url = submission.output.media_url
        if url is not None and "://" not in url:
            # A URL with one slash is taken at submit and fails the job.
            return Failure("InvalidParameter", 'The specified parameter "MediaURL" is not valid.')
        return self._finder.failure(planning.mentioned(submission))

    def _sub_jobs(
        self, submission: Submission, job: Job, videos: list[Video], faults: Mapping[str, Fault]
    ) -> list[SubJob]:
        fault = faults.get("sub_jobs_fail")
        failing = set(fault.options.get("indexes", [0])) if fault else set()
        failure = None
        if fault:
            code = fault.options.get("code", "ProduceFailed")
            failure = Failure(
                code, fault.options.get("message", "Both video tracks and audio tracks are empty.")
            )
        lag = (
            faults["settle_lag"].seconds(self._settings.job_seconds)
            if "settle_lag" in faults
            else None
        )
        makes_files = not submission.previews
        sub_jobs = []
        for index, video in enumerate(videos):
            begins, ends = _sub_job_times(job, index, len(videos), lag)
            url = submission.output.media_url
            media_url = url.replace(INDEX, str(index)) if url and makes_files else None
            name = parse_object_url(media_url) if media_url else None
            materials = {"Title": video.title, "SpeechText": video.speech_text}
            sub_jobs.append(
                SubJob(
                    job_id=new_id(),
                    parent_id=job.job_id,
                    position=index,
                    created=job.created,
                    modified=job.created,
                    plan=SubJobPlan(
                        begins,
                        ends,
                        failure if index in failing else None,
                        makes_files and self._settings.render,
                    ),
                    project_id=new_id(),
                    duration=video.timeline.seconds,
                    materials=json.dumps(materials),
                    timeline=json.dumps(video.timeline.to_dict()),
                    media_id=new_id() if makes_files else None,
                    media_url=media_url,
                    bucket=name.bucket if name else None,
                    object_key=name.key if name else None,
                )
            )
        return sub_jobs

    # Moving them along

    def settle(self) -> None:
        """Bring every job up to the clock. Called before each look at a job, so no look is ever stale."""
        now = self._clock.now()
        due = self._store.due_jobs(now)
        if due:
            with self._store.transaction():
                for job in due:
                    self._update(job, now)

    def nudge(self) -> None:
        """Wake the background task: the clock was moved, or a job is new."""
        self._changed.set()

    def rendered(self, sub_job_id: str, failure: Failure | None) -> None:
        """Take note of a file that is done."""
        self._store.save_render(sub_job_id, Render(self._clock.now(), failure))
        self.settle()
        self.nudge()

    async def run(self) -> None:
        """Settle whenever something is due, for callbacks to leave in time without anybody looking."""
        while True:
            self._changed.clear()
            self.settle()
            next_at = self._store.next_at()
            stands_still = self._clock.frozen_at is not None
            # At least a millisecond, so that a rounding error of the clock is no hot loop.
            timeout = (
                None if next_at is None or stands_still else max(next_at - self._clock.now(), 0.001)
            )
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def _update(self, job: Job, now: float) -> None:
        sub_jobs = self._store.sub_jobs(job.job_id)
        states, ended = [], []
        for sub_job in sub_jobs:
            state = sub_job_state(sub_job.plan, sub_job.render, now)
            states.append(state)
            if state.status != sub_job.status:
                sub_job.status, sub_job.modified = state.status, state.since
                sub_job.completed = state.since if state.ended else None
                self._store.save_sub_job_state(sub_job)
                if state.ended:
                    ended.append(sub_job_event(job, sub_job))
        was = job.status
        state = job_state(job.plan, states, now, job.created)
        job.status, job.modified = state.status, state.since
        job.completed = state.since if state.ended else None
        job.listed_status = self._listed_status(job, sub_jobs, state, now)
        plans = [sub_job.plan for sub_job in sub_jobs]
        renders = [sub_job.render for sub_job in sub_jobs if sub_job.render is not None]
        self._store.save_job_state(job, next_change(job.plan, plans, renders, job.created, now))
        if state.ended and state.status != was:
            ended.append(batch_event(job))
            logger.info("job %s ended %s", job.job_id, job.status)
        if ended and (address := notify_address(job.user_data)):
            self._callbacks.send(address, ended)

    def _listed_status(
        self, job: Job, sub_jobs: list[SubJob], state: State, now: float
    ) -> str | None:
        lag = job.plan.list_lag
        if not lag:
            return state.status
        then = now - lag
        if then < job.created:
            return None
        states = [sub_job_state(sub_job.plan, sub_job.render, then) for sub_job in sub_jobs]
        return job_state(job.plan, states, then, job.created).status


def _sub_job_times(
    job: Job, index: int, count: int, settle_lag: float | None
) -> tuple[float, float | None]:
    """Return when a sub-job begins and ends: one after the other, the last with its job.

    Under a settle lag the later half ends only after its job.
    """
    plan = job.plan
    if plan.ends is None:
        return plan.begins, None
    span = plan.ends - plan.begins
    begins = plan.begins + span * index / (2 * count)
    if settle_lag is not None and index >= count // 2:
        return begins, plan.ends + settle_lag
    return begins, plan.ends if index == count - 1 else plan.begins + span * (index + 1) / count


def _unsigned(media: str) -> str:
    """Return a media id or URL as it is logged: in quotes, and without a query, which may sign."""
    return json.dumps(media.partition("?")[0] if "://" in media else media, ensure_ascii=True)


def _fingerprint(parameters: Mapping[str, str]) -> str:
    wanted = sorted((name, value) for name, value in parameters.items() if name != "ClientToken")
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def new_id() -> str:
    """Return a new id in the service's form: 32 lower-case hex characters."""
    return uuid.uuid4().hex
