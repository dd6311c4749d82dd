"""Where the material of a job is: the file behind a media id or URL, and whether it is missing.

Material is missing only when it names the emulator's own store, or the output of one of its jobs,
and is not there. Any other media id or URL is unknown: a job with it works, so that one copied from
the documentation does, but its log and its picture say so, since the service would fail it or show
something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_ice.emulator.media.objects import ObjectName, ObjectStore, media_id, parse_object_url
from airflow_ice.emulator.model.jobs import SUCCESS, Failure
from airflow_ice.emulator.model.store import Store, SubJob
from airflow_ice.emulator.model.timeline import FOUND_BY_SEARCH


@dataclass(frozen=True, slots=True)
class Material:
    """What stands behind a media id or URL.

    :param name: the object that it is; None for material that the emulator does not hold.
    :param path: the file of that object; None when there is none.
    :param made_by: the sub-job whose output it is.
    """

    name: ObjectName | None = None
    path: Path | None = None
    made_by: SubJob | None = None
    own: bool = False

    @property
    def media_id(self) -> str | None:
        """The id of the media asset; None for material that the emulator does not know."""
        if self.name is None or (self.path is None and self.made_by is None):
            return None
        return (self.made_by.media_id if self.made_by else None) or media_id(self.name)

    @property
    def missing(self) -> bool:
        """Whether a job that needs it must fail."""
        if self.path is not None:
            return False
        if self.made_by is not None:
            # A job that was not rendered (render=False) leaves no file, and yet its output counts as there.
            return self.made_by.status != SUCCESS
        return self.own

    @property
    def unknown(self) -> bool:
        """Whether the emulator can only assume that it exists."""
        return self.path is None and self.made_by is None and not self.own


class MaterialFinder:
    """Looks material up among the objects and the outputs of jobs."""

    def __init__(self, store: Store, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    def find(self, media: str) -> Material:
        """Return what stands behind a media id or an object's URL."""
        if "://" in media:
            name = parse_object_url(media)
            return Material() if name is None else self._object(name)
        if made_by := self._store.sub_job_of_media(media):
            return self._output(made_by)
        own = self._objects.own_object(media)
        return Material() if own is None else self._object(own)

    def failure(self, media: Iterable[str]) -> Failure | None:
        """Return why a job with this material fails, in the service's words; None when nothing is missing."""
        missing = self.missing(media)
        if not missing:
            return None
        if urls := [item for item in missing if "://" in item]:
            return Failure(
                "InvalidMaterial.NotFound",
                f"The specified clips url not found:{json.dumps(urls[0], ensure_ascii=False)}",
            )
        ids = json.dumps(missing, ensure_ascii=False, separators=(",", ":"))
        return Failure("InvalidMaterial.NotFound", f"The specified clips id not found:{ids}")

    def missing(self, media: Iterable[str]) -> list[str]:
        """Return what is missing of the media ids and URLs, each once, in their order."""
        return [item for item in dict.fromkeys(media) if self.find(item).missing]

    def unknown(self, media: Iterable[str]) -> list[str]:
        """Return what is unknown of the media ids and URLs, each once, in their order."""
        return [
            item
            for item in dict.fromkeys(media)
            if item != FOUND_BY_SEARCH and self.find(item).unknown
        ]

    def _object(self, name: ObjectName) -> Material:
        made_by = self._store.sub_job_of_object(name.bucket, name.key)
        return Material(
            name, self._objects.find(name), made_by, own=name.bucket == self._objects.bucket
        )

    def _output(self, made_by: SubJob) -> Material:
        if made_by.bucket is None or made_by.object_key is None:
            return Material(made_by=made_by)
        name = ObjectName(made_by.bucket, made_by.object_key)
        return Material(name, self._objects.find(name), made_by)
