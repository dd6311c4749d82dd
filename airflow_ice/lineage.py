"""OpenLineage: what a job has read and made. No dependency: without the provider nobody calls it.

The provider finds the methods of `IceLineage` by their names. Datasets are named like those of S3
and GCS: namespace `oss://{bucket}`, name the key without leading slash (OpenLineage has no naming
for OSS). A media asset of which only the id is known has the namespace `ice`.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from airflow_ice.api.models import BatchMediaProducingJob, parsed
from airflow_ice.assets import asset_uri, oss_place

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset

log = logging.getLogger(__name__)

MOST_DATASETS: Final = 1_000
"""Inputs of one event, and outputs."""

CLIP_KEYS: Final = (
    "MediaGroupArray",
    "MediaArray",
    "InputMedia",
    "StickerArray",
    "Sticker",
    "BackgroundMusicArray",
    "BackgroundMusic",
    "BackgroundImageArray",
    "OpeningArray",
    "EndingArray",
)
"""The keys of InputConfig that hold clips; below them, texts that are none are left out."""

_NOT_CLIPS: Final = frozenset({"GroupName", "SpeechTextArray", "SplitMode"})
_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,128}")

Name = tuple[str, str]
"""Namespace and name of a dataset."""


@dataclass
class Lineage:
    """What a task knows of its job so far.

    :param facts: of the run facet `ice_batch_job`.
    """

    inputs: list[Name] = field(default_factory=list)
    outputs: list[Name] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class IceLineage:
    """The methods that the OpenLineage provider calls, for an operator to inherit."""

    _lineage: Lineage | None = None

    def lineage_before(self) -> Lineage:
        """Return what is known before the task has run."""
        return Lineage()

    def note_lineage(self, result: Mapping[str, Any], job: BatchMediaProducingJob) -> None:
        """Note what a job has read and made, as `results.deliver` calls it."""
        try:
            self._lineage = of_job(result, job.input_config)
        except Exception:  # facts about a job that was paid for never fail its task
            log.warning("The lineage of batch job %s is not known.", job.job_id, exc_info=True)

    def get_openlineage_facets_on_start(self) -> OperatorLineage:
        """Return the inputs."""
        return operator_lineage(self.lineage_before())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return inputs, outputs and facts, also after a deferral."""
        return operator_lineage(self._lineage or self.lineage_before())

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        """Return what is known."""
        return self.get_openlineage_facets_on_complete(task_instance)


def of_job(result: Mapping[str, Any], input_config: object) -> Lineage:
    """Return the lineage of a job that was collected.

    :param result: as `results.job_result` makes it.
    :param input_config: a dict, or JSON.
    """
    rows = result["media"]
    facts = {
        **{name: result[name] for name in ("job_id", "job_type", "status", "request_id")},
        "good": len(rows),
        "failed": len(result["failed"]),
    }
    outputs = [found for row in rows if (found := of_media(row)) is not None]
    return Lineage(clips_of(input_config), outputs, facts)


def of_media(row: Mapping[str, Any]) -> Name | None:
    """Return the name of a video."""
    return of_clip(row.get("media_url") or row.get("media_id"))


def clips_of(input_config: object) -> list[Name]:
    """Return the names of the clips in an InputConfig, each once."""
    config = parsed(input_config) if isinstance(input_config, str) else input_config
    if not isinstance(config, Mapping):
        return []
    texts = (text for key in CLIP_KEYS for text in _texts(config.get(key)))
    names = (of_clip(text) for text in texts)
    return list(dict.fromkeys(name for name in names if name is not None))[:MOST_DATASETS]


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for key, each in value.items():
                if key not in _NOT_CLIPS:
                    yield from _texts(each)
        case Iterable():
            for each in value:
                yield from _texts(each)


def of_clip(clip: object) -> Name | None:
    """Return the name of a clip: a URL, or the id of a media asset."""
    if not isinstance(clip, str):
        return None
    if "://" not in clip:
        return ("ice", clip) if _MEDIA_ID.fullmatch(clip) else None
    return of_uri(clip)


def of_uri(url: str) -> Name | None:
    """Return the name of a file by its URL, of which query and user are left out; None where a
    signature would be left.
    """
    if place := oss_place(url):
        return f"oss://{place[0]}", place[1]
    if (uri := asset_uri(url)) is None:
        return None
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme == "file":
        return "file", path
    return f"{parts.scheme}://{parts.netloc}", path.lstrip("/")


def operator_lineage(found: Lineage) -> OperatorLineage:
    """Return it in the provider's own classes."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    def datasets(names: list[Name]) -> list[Any]:
        return [Dataset(namespace=place, name=name) for place, name in names[:MOST_DATASETS]]

    facets = {"ice_batch_job": _facet_class()(**found.facts)} if found.facts else {}
    return OperatorLineage(
        inputs=datasets(found.inputs), outputs=datasets(found.outputs), run_facets=facets
    )


@functools.cache
def _facet_class() -> Any:
    from airflow.providers.common.compat.openlineage.facet import RunFacet
    from attrs import define

    @define(kw_only=True)
    class IceBatchJobRunFacet(RunFacet):  # type: ignore[misc]
        """A batch job: ids and counts."""

        job_id: str
        job_type: str | None = None
        status: str | None = None
        request_id: str | None = None
        good: int | None = None
        failed: int | None = None

    return IceBatchJobRunFacet


def openlineage_dataset(asset: Asset, lineage_context: Any) -> Any:
    """Return the dataset of an asset with the scheme oss.

    The OpenLineage provider calls it for each such asset (`asset-uris` of the provider info).
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    name = of_uri(asset.uri)
    return None if name is None else Dataset(namespace=name[0], name=name[1])
