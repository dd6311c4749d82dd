"""The API actions: parameters in, body out.

A submit is a row of `engine.submit_actions`; an action that reads is a line of the table here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_ice.emulator.engine import validation
from airflow_ice.emulator.engine.lifecycle import Lifecycle
from airflow_ice.emulator.engine.submit_actions import SUBMIT_ACTIONS
from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.media.objects import ObjectStore
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Store
from airflow_ice.emulator.wire.job_reads import JobReads
from airflow_ice.emulator.wire.media_reads import MediaReads
from airflow_ice.emulator.wire.parameters import Parameters

Answer = Callable[[Parameters, str], dict[str, Any]]


class Actions:
    """Answers the actions of one emulator."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        finder: MaterialFinder,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        jobs = JobReads(settings, store, clock, finder)
        media = MediaReads(settings, store, clock, objects, finder)
        self._reads: Mapping[str, Answer] = {
            "GetBatchMediaProducingJob": jobs.get_batch_job,
            "ListBatchMediaProducingJobs": jobs.list_batch_jobs,
            "GetMediaProducingJob": jobs.get_job,
            "GetMediaInfo": media.get_media_info,
            "GetEditingProject": media.get_project,
            "GetEditingProjectMaterials": media.get_project_materials,
        }

    @property
    def names(self) -> frozenset[str]:
        """The actions that are emulated."""
        return frozenset(SUBMIT_ACTIONS) | frozenset(self._reads)

    def knows(self, action: str) -> bool:
        """Tell whether an action is one of those that are emulated."""
        return action in SUBMIT_ACTIONS or action in self._reads

    def answer(self, action: str, parameters: Parameters, base_url: str) -> dict[str, Any]:
        """Carry an action out and return the body of its reply, without RequestId.

        :param base_url: the address that the request came to, `http://127.0.0.1:PORT`; signed URLs
            lead there.
        :raises ServiceError: it is refused.
        """
        self._lifecycle.settle()
        if action in SUBMIT_ACTIONS:
            submission = validation.submission(
                action, parameters, self._settings.region_id, self._settings.bucket
            )
            return {"JobId": self._lifecycle.submit(submission, parameters)}
        return self._reads[action](parameters, base_url)
