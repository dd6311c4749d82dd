"""The actions that read jobs: Get and List of batch jobs, Get of a sub-job."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from typing import Any, Final

from airflow_ice.emulator.engine.submit_actions import JOB_TYPES
from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.errors import invalid_parameter, resource_not_found
from airflow_ice.emulator.model.jobs import JOB_STATUSES
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Filter, Store
from airflow_ice.emulator.wire import projects, replies
from airflow_ice.emulator.wire.parameters import (
    Parameters,
    instant,
    one_of,
    required,
    whole_number,
)

_DEFAULT_PAGE: Final = 10
_LARGEST_PAGE: Final = 100
# "Only jobs of the last year can be read", say the pages of GetBatchMediaProducingJob and
# GetMediaProducingJob. Guess: that a year is 365 days, that an older job is answered like one that
# never was, and that List leaves it out.
_READABLE_SECONDS: Final = 365 * 86_400


class JobReads:
    """Answers the actions that read jobs."""

    def __init__(
        self, settings: Settings, store: Store, clock: Clock, finder: MaterialFinder
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._finder = finder

    def get_batch_job(self, parameters: Parameters, _base_url: str) -> dict[str, Any]:
        """Answer GetBatchMediaProducingJob."""
        job = self._store.job(required(parameters, "JobId"))
        if job is None or job.created < self._oldest():
            raise resource_not_found()
        return {
            "EditingBatchJob": replies.batch_job(
                job, self._store.sub_jobs(job.job_id), self._clock.now()
            )
        }

    def get_job(self, parameters: Parameters, _base_url: str) -> dict[str, Any]:
        """Answer GetMediaProducingJob."""
        sub_job = self._store.sub_job(required(parameters, "JobId"))
        parent = self._store.job(sub_job.parent_id) if sub_job else None
        if sub_job is None or parent is None or parent.created < self._oldest():
            raise resource_not_found()
        timeline = projects.timeline_of(sub_job, self._finder)
        return {
            "MediaProducingJob": replies.media_producing_job(
                sub_job, parent, self._clock.now(), timeline
            )
        }

    def list_batch_jobs(self, parameters: Parameters, _base_url: str) -> dict[str, Any]:
        """Answer ListBatchMediaProducingJobs."""
        limit = whole_number(parameters, "MaxResults", _DEFAULT_PAGE, _LARGEST_PAGE)
        order = parameters.get("SortBy") or "desc"
        if order not in ("asc", "desc"):
            raise invalid_parameter("SortBy")
        token = parameters.get("NextToken")
        start, end = instant(parameters, "StartTime"), instant(parameters, "EndTime")
        wanted = Filter(
            job_id=parameters.get("JobId") or None,
            job_type=one_of(parameters, "JobType", JOB_TYPES),
            status=one_of(parameters, "Status", JOB_STATUSES),
            # Guess: both bounds are inclusive, of times in whole seconds.
            start=max(start or 0.0, self._oldest()),
            end=None if end is None else end + 1,
            ascending=order == "asc",
            after=self._read_token(token, order) if token else None,
        )
        jobs = self._store.list_jobs(wanted, limit + 1)
        body: dict[str, Any] = {
            "EditingBatchJobList": [replies.list_row(job) for job in jobs[:limit]],
            "MaxResults": limit,
        }
        if len(jobs) > limit:
            body["NextToken"] = self._token(jobs[limit - 1].seq, order)
        return body

    def _oldest(self) -> float:
        """Return the instant of creation, in seconds since the epoch, before which a job can no longer be read."""
        return self._clock.now() - _READABLE_SECONDS

    def _token(self, seq: int, order: str) -> str:
        """Return the opaque name of a place in the list: the number of the last job shown, and a seal on it."""
        place = struct.pack(">q", seq)
        return base64.b64encode(self._seal(place, order) + place).decode()

    def _read_token(self, token: str, order: str) -> int:
        try:
            data = base64.b64decode(token, validate=True)
        except ValueError:
            raise invalid_parameter("NextToken") from None
        if len(data) != 16 or not hmac.compare_digest(data[:8], self._seal(data[8:], order)):
            raise invalid_parameter("NextToken")
        seq: int = struct.unpack(">q", data[8:])[0]
        return seq

    def _seal(self, place: bytes, order: str) -> bytes:
        return hmac.new(
            self._settings.access_key_secret.encode(), place + order.encode(), hashlib.sha256
        ).digest()[:8]
