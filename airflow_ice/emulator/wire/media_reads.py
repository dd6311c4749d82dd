"""The actions that read media assets and projects, with signed URLs of their files."""

from __future__ import annotations

import json
import mimetypes
from typing import Any, Final

from airflow_ice.emulator.media.material import Material, MaterialFinder
from airflow_ice.emulator.media.objects import ObjectStore, object_url, parse_object_url
from airflow_ice.emulator.media.probe import MediaFacts, probe
from airflow_ice.emulator.media.snapshot import COVER_PROCESS
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.errors import (
    invalid_parameter,
    missing_parameter,
    project_not_found,
    resource_not_found,
)
from airflow_ice.emulator.model.jobs import FAILED, SUCCESS
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import Store, SubJob
from airflow_ice.emulator.model.timeline import Timeline
from airflow_ice.emulator.wire import projects, replies
from airflow_ice.emulator.wire.parameters import Parameters, one_of, required, whole_number

_DEFAULT_AUTH_SECONDS: Final = 3600
_LONGEST_AUTH_SECONDS: Final = 86_400


class MediaReads:
    """Answers the actions that read media assets and projects."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        objects: ObjectStore,
        finder: MaterialFinder,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._objects = objects
        self._finder = finder

    def get_media_info(self, parameters: Parameters, base_url: str) -> dict[str, Any]:
        """Answer GetMediaInfo."""
        seconds = whole_number(
            parameters, "AuthTimeout", _DEFAULT_AUTH_SECONDS, _LONGEST_AUTH_SECONDS
        )
        if parameters.get("OutputType") not in (None, "", "oss", "cdn"):
            raise invalid_parameter("OutputType")
        named = parameters.get("MediaId") or parameters.get("InputURL")
        if not named:
            raise missing_parameter("MediaId")
        material = self._finder.find(named)
        if material.media_id is None:
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
            media_id=material.media_id or "",
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
        if made_by is not None and (status := self._unready(made_by)):
            return replies.facts_without_file(made_by), status
        if material.path is not None:
            facts = probe(material.path)
            return facts, "Normal" if facts.readable else "PrepareFail"
        if made_by is not None:
            return replies.facts_without_file(made_by), "Normal"
        raise resource_not_found()

    def _unready(self, made_by: SubJob) -> str | None:
        """Return the Status of an output that is not there (yet); None for one that is."""
        # Guess: what is asked about an output before its sub-job has ended, or after it has failed.
        if made_by.status != SUCCESS:
            return "PrepareFail" if made_by.status == FAILED else "Preparing"
        ready = (made_by.completed or 0.0) + self._settings.media_lag_seconds
        return "Preparing" if self._clock.now() < ready else None

    def _created(self, material: Material) -> float:
        if material.made_by is not None:
            return material.made_by.completed or material.made_by.created
        return material.path.stat().st_mtime if material.path is not None else self._clock.now()

    def get_project(self, parameters: Parameters, base_url: str) -> dict[str, Any]:
        """Answer GetEditingProject."""
        source = one_of(parameters, "RequestSource", ("OpenAPI", "WebSDK")) or "OpenAPI"
        sub_job = self._project(parameters)
        cover = None
        for clip in self._clips(sub_job):
            cover = cover or self._cover_url(self._finder.find(clip), base_url, self._expiry())
        shown = projects.project(
            sub_job,
            request_source=source,
            cover_url=cover,
            timeline=projects.timeline_of(sub_job, self._finder),
        )
        return {"Project": shown}

    def get_project_materials(self, parameters: Parameters, base_url: str) -> dict[str, Any]:
        """Answer GetEditingProjectMaterials."""
        sub_job = self._project(parameters)
        # Guess: material that is no media asset, such as one that the emulator does not know, is
        # left out; that URLs live as long as those of GetMediaInfo.
        infos = {}
        for clip in self._clips(sub_job):
            material = self._finder.find(clip)
            if (known := material.media_id) is not None and known not in infos:
                infos[known] = self._media_info(clip, material, self._expiry(), base_url)
        return {
            "ProjectId": sub_job.project_id,
            "MediaInfos": list(infos.values()),
            "ProjectMaterials": [],
            "LiveMaterials": [],
        }

    def _project(self, parameters: Parameters) -> SubJob:
        sub_job = self._store.sub_job_of_project(required(parameters, "ProjectId"))
        if sub_job is None or not projects.exists(sub_job):
            raise project_not_found()
        return sub_job

    def _clips(self, sub_job: SubJob) -> list[str]:
        """Return the media ids and URLs that a sub-job is made of, its music last."""
        timeline = Timeline.from_dict(json.loads(sub_job.timeline))
        clips = [segment.media for segment in timeline.segments]
        return [*clips, timeline.music] if timeline.music else clips

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
