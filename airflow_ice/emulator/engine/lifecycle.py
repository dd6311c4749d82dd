"""Moves jobs along: what the clock and the finished renders imply is stored, and callbacks sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from airflow_ice.emulator.engine.callbacks import (
    Callbacks,
    batch_event,
    notify_address,
    sub_job_event,
)
from airflow_ice.emulator.engine.making import JobMaker
from airflow_ice.emulator.engine.submissions import Submission
from airflow_ice.emulator.media.render_queue import RenderQueue
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.jobs import (
    Failure,
    Render,
    State,
    job_state,
    next_change,
    sub_job_state,
)
from airflow_ice.emulator.model.store import Job, Store, SubJob

logger = logging.getLogger(__name__)


class Lifecycle:
    """The jobs of an emulator. Used from the server's event loop only."""

    def __init__(self, store: Store, clock: Clock, maker: JobMaker, callbacks: Callbacks) -> None:
        self._store = store
        self._clock = clock
        self._maker = maker
        self._callbacks = callbacks
        self._changed = asyncio.Event()
        self.renders: RenderQueue | None = None

    def submit(self, submission: Submission, parameters: Mapping[str, str]) -> str:
        """Make a job and return its id; the same id again for the same ClientToken.

        :raises ServiceError: the token was used with other parameters, or a project is unknown.
        """
        if existing := self._maker.existing(submission, parameters):
            return existing
        new = self._maker.make(submission, parameters)
        with self._store.transaction():
            self._store.add_job(new.job, new.sub_jobs, new.fingerprint)
            self._update(new.job, new.job.created)
        for sub_job in new.sub_jobs:
            if sub_job.plan.renders and sub_job.plan.failure is None and self.renders is not None:
                self.renders.add(sub_job)
        self.nudge()
        return new.job.job_id

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
        if not job.plan.listed:
            return None
        if not lag:
            return state.status
        then = now - lag
        if then < job.created:
            return None
        states = [sub_job_state(sub_job.plan, sub_job.render, then) for sub_job in sub_jobs]
        return job_state(job.plan, states, then, job.created).status
