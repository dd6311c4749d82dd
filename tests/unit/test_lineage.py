"""What OpenLineage is told: clips, videos and facts, and nothing signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias

from airflow_ice.lineage import Lineage, clips_of, of_uri
from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from airflow_ice.transfers import IceMediaToObjectStorageOperator
from tests.memory_ice import OUTPUT, MemoryIce
from tests.unit.test_assets import context

SIGNED = "?Expires=1&OSSAccessKeyId=key&Signature=leak"
CLIP = "http://b.oss-cn-shanghai.aliyuncs.com/clips/a.mp4"
MEDIA = "0123456789abcdef0123456789abcdef"
INPUT = {
    "MediaGroupArray": [
        {"GroupName": "opening-group", "MediaArray": [CLIP + SIGNED, MEDIA]},
        {"GroupName": "more", "MediaArray": [CLIP], "SpeechTextArray": ["Come.and.see-it"]},
    ],
    "TitleArray": ["Titles-are-no-clips"],
    "StickerArray": [{"MediaId": "icepublic-" + "0" * 32, "X": 10}],
    "BackgroundMusicArray": ["https://music.example.com/m.mp3?token=leak"],
}
CLIPS = [
    ("oss://b", "clips/a.mp4"),
    ("ice", MEDIA),
    ("ice", "icepublic-" + "0" * 32),
    ("https://music.example.com", "m.mp3"),
]
VIDEOS = [("oss://bucket", "v_0.mp4"), ("oss://bucket", "v_1.mp4")]


@pytest.fixture
def ice(monkeypatch: pytest.MonkeyPatch) -> MemoryIce:
    ice = MemoryIce()
    ice.install(monkeypatch)
    return ice


def submit(**arguments: Any) -> IceSubmitBatchMediaProducingJobOperator:
    return IceSubmitBatchMediaProducingJobOperator(
        task_id="submit", input_config=INPUT, output_config=OUTPUT, **arguments
    )


@pytest.mark.parametrize("config", [INPUT, json.dumps(INPUT)])
def test_clips_are_named_once_and_unsigned(config: Any) -> None:
    assert clips_of(config) == CLIPS


@pytest.mark.parametrize("config", [None, "", "{{ params.x }}", [1], {"MediaArray": [1, None, {}]}])
def test_a_config_that_names_none_has_none(config: Any) -> None:
    assert clips_of(config) == []


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/v/a%20b.mp4", ("s3://bucket", "v/a b.mp4")),
        ("file:///data/a%20b.mp4", ("file", "/data/a b.mp4")),
        ("http://[broken", None),
    ],
)
def test_a_copy_is_named_as_its_store_names_it(uri: str, name: Any) -> None:
    assert of_uri(uri) == name


def test_a_submit_that_waits_tells_clips_videos_and_facts(ice: MemoryIce) -> None:
    operator = submit(wait_for_completion=True)
    assert operator.lineage_before() == Lineage(CLIPS)
    ice.after_submit = lambda: setattr(ice.jobs[-1], "status", "Finished")
    operator.execute(context([]))
    found = operator._lineage
    assert found is not None
    assert (found.outputs, found.facts["job_id"], found.facts["good"]) == (VIDEOS, "job-0", 2)


def test_a_submit_that_does_not_wait_tells_its_job(ice: MemoryIce) -> None:
    operator = submit()
    operator.execute(context([]))
    assert operator.lineage_before() == Lineage(CLIPS, facts={"job_id": "job-0"})


def test_what_cannot_be_told_fails_no_task(ice: MemoryIce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_ice.lineage.clips_of", lambda config: 1 / 0)
    operator = submit(wait_for_completion=True)
    ice.after_submit = lambda: setattr(ice.jobs[-1], "status", "Finished")
    assert operator.execute(context([]))["status"] == "Finished"
    assert operator._lineage is None


def emitted(operator: Any, folder: Path) -> dict[str, Any]:
    """Emit the lineage of a task by the real provider and client; return the event as written."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.transport.file import FileConfig, FileTransport

    found = DefaultExtractor(operator).extract_on_complete(None)
    file = folder / "events.json"
    config = FileConfig(log_file_path=str(file), append=True)
    OpenLineageClient(transport=FileTransport(config)).emit(
        RunEvent(
            eventType=RunState.COMPLETE,
            eventTime="2026-01-31T00:00:00Z",
            run=Run("01234567-89ab-7cde-8123-456789abcdef", facets=found.run_facets),
            job=Job("airflow", "dag.task", facets=found.job_facets),
            producer="https://example.com/airflow-ice",
            inputs=found.inputs,
            outputs=found.outputs,
        )
    )
    text = file.read_text()
    assert "leak" not in text
    return dict(json.loads(text))


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["namespace"], each["name"]) for each in datasets]


def resumed(ice: MemoryIce, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Submit, and resume after a deferral: with an operator that Airflow has made again."""
    monkeypatch.setattr(MemoryIce, "in_region", lambda self, region: self, raising=False)
    shared = context([])
    submit().execute(shared)
    ice.jobs[-1].status = "Finished"
    operator = submit(wait_for_completion=True, deferrable=True)
    operator.execute_complete(shared, {"job_id": "job-0", "outcome": "finished"})
    return operator


def test_it_survives_a_deferral(ice: MemoryIce, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resumed(ice, monkeypatch)._lineage
    assert (found.outputs, found.facts["job_id"]) == (VIDEOS, "job-0")


def test_the_real_provider_emits_it_after_a_deferral(
    ice: MemoryIce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the provider is installed; it is none of the dependencies."""
    event = emitted(resumed(ice, monkeypatch), tmp_path)
    assert names(event["outputs"]) == VIDEOS
    facet = event["run"]["facets"]["ice_batch_job"]
    assert (facet["job_id"], facet["status"], facet["good"]) == ("job-0", "Finished", 2)


def test_the_real_provider_emits_what_a_collect_has_read(ice: MemoryIce, tmp_path: Path) -> None:
    ice.after_submit = lambda: setattr(ice.jobs[-1], "status", "Finished")
    submit().execute(context([]))
    operator = IceGetBatchMediaProducingJobOperator(task_id="collect", job_id="job-0")
    operator.execute(context([]))
    assert names(emitted(operator, tmp_path)["outputs"]) == VIDEOS


def test_a_copy_leads_from_the_video_to_its_destination(tmp_path: Path) -> None:
    row = {
        "index": 0,
        "media_id": MEDIA,
        "media_url": "http://bucket.oss-cn-shanghai.aliyuncs.com/v_0.mp4" + SIGNED,
        "job_id": "job-0",
    }
    operator = IceMediaToObjectStorageOperator(task_id="p", media=row, destination="/data")
    uri = "s3://videos/v_0.mp4"
    operator._tell(
        context([]), {"index": 0, "media_id": MEDIA, "uri": uri, "size": 1, "crc64": None}
    )
    assert operator._lineage == Lineage(
        [VIDEOS[0]], [("s3://videos", "v_0.mp4")], {"job_id": "job-0"}
    )


@pytest.mark.parametrize("name", ["v_0.mp4", "v_0.mp4%3FSignature=leak", "v" * 1_600])
def test_a_copy_is_told_to_the_outlets(name: str) -> None:
    """A name that may name no asset is told to the assets that are named already."""
    alias, asset = AssetAlias("copies"), Asset("all_copies")
    ran = context([alias, asset])
    row = {"index": 0, "media_id": MEDIA, "media_url": None, "job_id": "job-0"}
    operator = IceMediaToObjectStorageOperator(task_id="p", media=row, destination="/data")
    facts = {"index": 0, "media_id": MEDIA, "size": 1, "crc64": None}
    operator._tell(ran, {**facts, "uri": f"s3://aws_default@videos/{name}"})
    added = ran["outlet_events"][alias].asset_alias_events
    if len(name) == 7:
        [event] = added
        assert event.dest_asset_key.uri == f"s3://videos/{name}"
        assert event.extra == {"job_id": "job-0", **facts}
    else:
        assert added == []
    assert ran["outlet_events"][asset].extra == {"job_id": "job-0", **facts}


def test_the_real_provider_is_told_what_is_known_at_the_start_and_of_a_failure(
    ice: MemoryIce,
) -> None:
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    def told(found: Any) -> tuple[list[tuple[str, str]], list[Any], Any]:
        inputs = [(each.namespace, each.name) for each in found.inputs]
        return inputs, found.outputs, found.run_facets.get("ice_batch_job")

    operator = submit(wait_for_completion=True)
    extractor = DefaultExtractor(operator)
    assert told(extractor.extract()) == (CLIPS, [], None)
    ice.after_submit = lambda: setattr(ice.jobs[-1], "status", "Failed")
    with pytest.raises(Exception, match="job-0"):
        operator.execute(context([]))
    inputs, outputs, facet = told(extractor.extract_on_failure(None))
    assert (inputs, outputs, facet.job_id) == (CLIPS, [], "job-0")


def test_the_real_provider_emits_the_clips_at_the_start(tmp_path: Path) -> None:
    event = emitted(submit(), tmp_path)
    assert names(event["inputs"]) == CLIPS
