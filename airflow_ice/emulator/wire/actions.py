"""The API actions: parameters in, body out. Each one is a few lines, because what it needs lies in its own module."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import mimetypes
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from airflow_ice.emulator.engine import validation
from airflow_ice.emulator.engine.lifecycle import Lifecycle
from airflow_ice.emulator.engine.submit_actions import JOB_TYPES, SUBMIT_ACTIONS
from airflow_ice.emulator.media.material import Material, MaterialFinder
from airflow_ice.emulator.media.objects import ObjectStore, media_id, object_url, parse_object_url
from airflow_ice.emulator.media.probe import MediaFacts, probe
from airflow_ice.emulator.media.snapshot import COVER_PROCESS
from airflow_ice.emulator.model.clock import Clock, parse_timestamp
from airflow_ice.emulator.model.errors import (
    invalid_parameter,
    missing_parameter,
    project_not_found,
    resource_not_found,
)
from airflow_ice.emulator.model.jobs import FAILED, JOB_STATUSES, SUCCESS
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Filter, Store, SubJob
from airflow_ice.emulator.model.timeline import Timeline
from airflow_ice.emulator.wire import projects, replies

_DEFAULT_PAGE: Final = 10
_LARGEST_PAGE: Final = 100
_DEFAULT_AUTH_SECONDS: Final = 3600
_LONGEST_AUTH_SECONDS: Final = 86_400
# "Only jobs of the last year can be read", say the pages of GetBatchMediaProducingJob and GetMediaProducingJob.
# Guess: that a year is 365 days, that an older job is answered like one that never was, and that List leaves it out.
_READABLE_SECONDS: Final = 365 * 86_400


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
        self._store = store
        self._clock = clock
        self._objects = objects
        self._finder = finder
        self._lifecycle = lifecycle
        self._reads: dict[str, Callable[[Mapping[str, str], str], dict[str, Any]]] = {
            "GetBatchMediaProducingJob": self._get_batch_job,
            "ListBatchMediaProducingJobs": self._list_batch_jobs,
            "GetMediaProducingJob": self._get_job,
            "GetMediaInfo": self._get_media_info,
            "GetEditingProject": self._get_project,
            "GetEditingProjectMaterials": self._get_project_materials,
        }

    def knows(self, action: str) -> bool:
        """Tell whether an action is one of those that are emulated."""
        return action in SUBMIT_ACTIONS or action in self._reads

    def answer(self, action: str, parameters: Mapping[str, str], base_url: str) -> dict[str, Any]:
        """Carry an action out and return the body of its reply, without RequestId.

        :param base_url: the address that the request came to, `http://127.0.0.1:PORT`; signed URLs lead there.
        :raises ServiceError: it is refused.
        """
        self._lifecycle.settle()
        if action in SUBMIT_ACTIONS:
            submission = validation.submission(
                action, parameters, self._settings.region_id, self._settings.bucket
            )
            return {"JobId": self._lifecycle.submit(submission, parameters)}
        return self._reads[action](parameters, base_url)

    def _get_batch_job(self, parameters: Mapping[str, str], _base_url: str) -> dict[str, Any]:
        job = self._store.job(_job_id(parameters))
        if job is None or job.created < self._oldest():
            raise resource_not_found()
        return {
            "EditingBatchJob": replies.batch_job(
                job, self._store.sub_jobs(job.job_id), self._clock.now()
            )
        }

    def _get_job(self, parameters: Mapping[str, str], _base_url: str) -> dict[str, Any]:
        sub_job = self._store.sub_job(_job_id(parameters))
        parent = self._store.job(sub_job.parent_id) if sub_job else None
        if sub_job is None or parent is None or parent.created < self._oldest():
            raise resource_not_found()
        timeline = self._wire_timeline(sub_job)
        return {
            "MediaProducingJob": replies.media_producing_job(
                sub_job, parent, self._clock.now(), timeline
            )
        }

    def _get_project(self, parameters: Mapping[str, str], base_url: str) -> dict[str, Any]:
        source = _one_of(parameters, "RequestSource", ("OpenAPI", "WebSDK")) or "OpenAPI"
        sub_job = self._project(parameters)
        cover = None
        for clip in self._clips(sub_job):
            cover = cover or self._cover_url(self._finder.find(clip), base_url, self._expiry())
        shown = projects.project(
            sub_job,
            request_source=source,
            cover_url=cover,
            timeline=self._wire_timeline(sub_job),
        )
        return {"Project": shown}

    def _get_project_materials(
        self, parameters: Mapping[str, str], base_url: str
    ) -> dict[str, Any]:
        sub_job = self._project(parameters)
        # Guess: material that is no media asset, such as one that the emulator does not know, is
        # left out; that URLs live as long as those of GetMediaInfo.
        infos = {}
        for clip in self._clips(sub_job):
            material = self._finder.find(clip)
            if (known := _media_id(material)) is not None and known not in infos:
                infos[known] = self._media_info(clip, material, self._expiry(), base_url)
        return {
            "ProjectId": sub_job.project_id,
            "MediaInfos": list(infos.values()),
            "ProjectMaterials": [],
            "LiveMaterials": [],
        }

    def _project(self, parameters: Mapping[str, str]) -> SubJob:
        project_id = parameters.get("ProjectId")
        if not project_id:
            raise missing_parameter("ProjectId")
        sub_job = self._store.sub_job_of_project(project_id)
        if sub_job is None or not projects.exists(sub_job):
            raise project_not_found()
        return sub_job

    def _clips(self, sub_job: SubJob) -> list[str]:
        """Return the media ids and URLs that a sub-job is made of, its music last."""
        timeline = Timeline.from_dict(json.loads(sub_job.timeline))
        clips = [segment.media for segment in timeline.segments]
        return [*clips, timeline.music] if timeline.music else clips

    def _wire_timeline(self, sub_job: SubJob) -> str:
        timeline = Timeline.from_dict(json.loads(sub_job.timeline))
        shown = projects.wire_timeline(timeline, lambda media: _media_id(self._finder.find(media)))
        return json.dumps(shown, ensure_ascii=False)

    def _expiry(self, seconds: int = _DEFAULT_AUTH_SECONDS) -> int:
        return int(self._clock.now()) + seconds

    def _cover_url(self, material: Material, base_url: str, expires: int) -> str | None:
        if material.name is None or material.path is None:
            return None
        kind = (mimetypes.guess_type(material.path.name)[0] or "").partition("/")[0]
        if kind not in ("image", "video"):
            return None
        process = COVER_PROCESS if kind == "video" else ""
        return self._objects.signed_url(base_url, material.name, expires, process)

    def _list_batch_jobs(self, parameters: Mapping[str, str], _base_url: str) -> dict[str, Any]:
        limit = _whole(parameters, "MaxResults", _DEFAULT_PAGE, _LARGEST_PAGE)
        order = parameters.get("SortBy") or "desc"
        if order not in ("asc", "desc"):
            raise invalid_parameter("SortBy")
        token = parameters.get("NextToken")
        start, end = _instant(parameters, "StartTime"), _instant(parameters, "EndTime")
        wanted = Filter(
            job_id=parameters.get("JobId") or None,
            job_type=_one_of(parameters, "JobType", JOB_TYPES),
            status=_one_of(parameters, "Status", JOB_STATUSES),
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

    def _get_media_info(self, parameters: Mapping[str, str], base_url: str) -> dict[str, Any]:
        seconds = _whole(parameters, "AuthTimeout", _DEFAULT_AUTH_SECONDS, _LONGEST_AUTH_SECONDS)
        if parameters.get("OutputType") not in (None, "", "oss", "cdn"):
            raise invalid_parameter("OutputType")
        named = parameters.get("MediaId") or parameters.get("InputURL")
        if not named:
            raise missing_parameter("MediaId")
        material = self._finder.find(named)
        if _media_id(material) is None:
            raise resource_not_found()
        return {"MediaInfo": self._media_info(named, material, self._expiry(seconds), base_url)}

    def _media_info(
        self, named: str, material: Material, expires: int, base_url: str
    ) -> dict[str, Any]:
        made_by, name = material.made_by, material.name
        if name is None:
            raise resource_not_found()
        parent = self._store.job(made_by.parent_id) if made_by else None
        facts, status = self._facts(material)
        own_url = object_url(name, self._settings.region_id)
        return replies.media_info(
            media_id=_media_id(material) or media_id(name),
            name=name,
            facts=facts,
            status=status,
            input_url=(made_by.media_url if made_by else None)
            or (named if parse_object_url(named) else own_url),
            file_url=self._objects.signed_url(base_url, name, expires)
            if status == "Normal"
            else None,
            cover_url=self._cover_url(material, base_url, expires) if status == "Normal" else None,
            region_id=self._settings.region_id,
            created=self._created(material),
            user_data=parent.user_data if parent else None,
        )

    def _facts(self, material: Material) -> tuple[MediaFacts, str]:
        """Return the facts of a file and the media's Status."""
        made_by = material.made_by
        # Guess: what is asked about an output before its sub-job has ended, or after it has failed.
        if made_by is not None and made_by.status != SUCCESS:
            return replies.facts_without_file(
                made_by
            ), "PrepareFail" if made_by.status == FAILED else "Preparing"
        if material.path is not None:
            facts = probe(material.path)
            return facts, "Normal" if facts.readable else "PrepareFail"
        if made_by is not None:
            return replies.facts_without_file(made_by), "Normal"
        raise resource_not_found()

    def _created(self, material: Material) -> float:
        if material.made_by is not None:
            return material.made_by.completed or material.made_by.created
        return material.path.stat().st_mtime if material.path is not None else self._clock.now()


def _media_id(material: Material) -> str | None:
    """Return the id of a media asset; None for material that the emulator does not know."""
    if material.name is None or (material.path is None and material.made_by is None):
        return None
    made = material.made_by.media_id if material.made_by else None
    return made or media_id(material.name)


def _job_id(parameters: Mapping[str, str]) -> str:
    job_id = parameters.get("JobId")
    if not job_id:
        # Guess: no page shows what a missing JobId gets; this is the entry of the product's error table.
        raise missing_parameter("JobId")
    return job_id


def _one_of(parameters: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = parameters.get(name) or None
    if value is not None and value not in allowed:
        raise invalid_parameter(name)
    return value


def _whole(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = parameters.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not 1 <= int(text) <= most:
        raise invalid_parameter(name)
    return int(text)


def _instant(parameters: Mapping[str, str], name: str) -> float | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        raise invalid_parameter(name) from None
