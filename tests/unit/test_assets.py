"""What a task tells of a job: asset events and their URIs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.assets import AssetEvents, add_events, add_job_events, asset_uri
from airflow_ice.exceptions import NonRetryableIceInputError, NonRetryableIceTooFewVideosError
from airflow_ice.lineage import clips_of, of_uri
from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from tests.memory_ice import INPUT, OUTPUT, DagRun, MemoryIce, MemoryStore, TaskInstance

VIDEOS, ONE = AssetAlias("videos"), Asset("campaign_videos")


def context(outlets: list[Any]) -> Any:
    return {
        "ti": TaskInstance(max_tries=0),
        "dag_run": DagRun(),
        "task_state_store": MemoryStore().of_next_try(),
        "outlets": outlets,
        "outlet_events": OutletEventAccessors(),
    }


def added(of: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return URI and extra of each event of the alias."""
    return [
        (event.dest_asset_key.uri, event.extra)
        for event in of["outlet_events"][VIDEOS].asset_alias_events
    ]


@pytest.fixture
def ice(monkeypatch: pytest.MonkeyPatch) -> MemoryIce:
    ice = MemoryIce()
    ice.install(monkeypatch)
    return ice


def waiting(ice: MemoryIce, outlets: list[Any], asset_events: AssetEvents = "job") -> Any:
    """Run a submit operator that waits, and return its context."""
    ran = context(outlets)
    operator = IceSubmitBatchMediaProducingJobOperator(
        task_id="submit",
        input_config=INPUT,
        output_config=OUTPUT,
        wait_for_completion=True,
        asset_events=asset_events,
        outlets=outlets,
    )
    ice.after_submit = lambda: setattr(ice.jobs[-1], "status", "Finished")
    operator.execute(ran)
    return ran


def collected(asset_events: AssetEvents = "job", **arguments: Any) -> Any:
    ran = context([VIDEOS])
    operator = IceGetBatchMediaProducingJobOperator(
        task_id="collect", job_id="job-0", asset_events=asset_events, **arguments
    )
    operator.execute(ran)
    return ran


def test_an_alias_gets_one_event_a_job(ice: MemoryIce) -> None:
    ran = waiting(ice, [VIDEOS])
    extra = {
        "job_id": "job-0",
        "ice_conn_id": "ice_default",
        "region_id": None,
        "status": "Finished",
        "job_type": "Script",
        "good": 2,
        "failed": 0,
        "media_ids": ["m-job-0-0", "m-job-0-1"],
    }
    assert added(ran) == [("oss://bucket/", extra)]
    assert added(collected()) == added(ran)


def test_an_alias_gets_one_event_a_video_where_asked_for(ice: MemoryIce) -> None:
    ran = waiting(ice, [VIDEOS], "video")
    assert [(uri, extra["index"], extra["media_id"]) for uri, extra in added(ran)] == [
        ("oss://bucket/v_0.mp4", 0, "m-job-0-0"),
        ("oss://bucket/v_1.mp4", 1, "m-job-0-1"),
    ]


def test_the_event_of_an_asset_gets_the_facts(ice: MemoryIce) -> None:
    ran = waiting(ice, [ONE])
    assert ran["outlet_events"][ONE].extra["job_id"] == "job-0"


def test_a_job_that_is_not_good_enough_has_no_event(ice: MemoryIce) -> None:
    waiting(ice, [])
    ran = context([VIDEOS])
    operator = IceGetBatchMediaProducingJobOperator(task_id="c", job_id="job-0", require=3)
    with pytest.raises(NonRetryableIceTooFewVideosError):
        operator.execute(ran)
    assert added(ran) == []


def test_events_that_fail_do_not_fail_the_task(
    ice: MemoryIce, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no api-server")

    monkeypatch.setattr(OutletEventAccessors, "__getitem__", fails)
    waiting(ice, [VIDEOS])


def test_without_outlets_nothing_is_asked_of_the_context() -> None:
    add_events({}, [("oss://b/k", {})], {}, None)  # type: ignore[arg-type]


def test_an_unknown_choice_is_refused_when_the_file_is_parsed() -> None:
    with pytest.raises(NonRetryableIceInputError, match="must be one of job, video"):
        IceGetBatchMediaProducingJobOperator(
            task_id="c",
            job_id="j",
            asset_events="each",  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        (
            "https://b.oss-cn-shanghai.aliyuncs.com/v/a.mp4?Expires=1&OSSAccessKeyId=k&Signature=s",
            "oss://b/v/a.mp4",
        ),
        (
            "http://b.oss-cn-shanghai-internal.aliyuncs.com/a%20b/%E8%A7%86.mp4",
            "oss://b/a%20b/%E8%A7%86.mp4",
        ),
        ("http://b.oss-cn-shanghai.aliyuncs.com/视.mp4", "oss://b/%E8%A7%86.mp4"),
        ("oss://b/v/a.mp4?Signature=s", "oss://b/v/a.mp4"),
        (
            "https://user:secret@video.example.com/a.mp4?Signature=s#t",
            "https://video.example.com/a.mp4",
        ),
        ("s3://bucket/v/a b.mp4", "s3://bucket/v/a%20b.mp4"),
        ("file:///data/a%20b.mp4", "file:///data/a%20b.mp4"),
        ("no url", None),
        ("http://[broken/a.mp4", None),
        ("oss://b/" + "a" * 1500, None),
    ],
)
def test_a_uri_names_the_file_and_holds_nothing_signed(url: str, uri: str | None) -> None:
    assert asset_uri(url) == uri
    if uri is not None:
        assert Asset(uri).uri == uri  # Airflow changes nothing of it


PLACES = ("https://b.oss-cn-shanghai.aliyuncs.com", "oss://b", "https://v.example.com", "s3://b")
SEPARATORS = [
    *("%3F", "%253F", "%25253f", ";", "&", "#", "%26", "%3B", "%23", "%EF%BC%9F", "\uff1f"),
    *("?", "??", "%3f?", "/;", "\\u003f", "!", ",", "%20?", "%0a", "%5C", "\\"),
]
PARAMETERS = [
    *("Signature", "sIgNaTuRe", "x-oss-signature", "X-Amz-Signature", "security-token"),
    *("auth_key", "OSSAccessKeyId", "x-oss-credential", "Sign%61ture", "%2553ignature"),
]
ODDLY_SIGNED = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(PLACES),
        st.sampled_from(["/v/a.mp4", "/a%20b.mp4", "/"]),
        st.sampled_from(SEPARATORS),
        st.sampled_from(["", "Expires=1&", "Expires%3D1%26"]),
        st.sampled_from(PARAMETERS),
        st.sampled_from(["=", "%3D", "%253d", "\\u003d", "\uff1d"]),
        st.just("l3akl3ak"),
        st.sampled_from(["", "/more.mp4", "?a=b", "#t=1"]),
    ),
)


@given(ODDLY_SIGNED)
def test_nothing_is_named_by_a_signature_however_it_is_separated(url: str) -> None:
    """As what pastes and encodes addresses leaves them: then the signature is in the path."""
    names: list[object] = [asset_uri(url), of_uri(url), clips_of({"MediaArray": [url]})]
    rows = [{"media_url": url, "subjob_id": "s", "index": 0, "media_id": None, "duration": 1}]
    result = {"job_id": "j", "status": "Finished", "job_type": None, "media": rows, "failed": []}
    choices: tuple[AssetEvents, ...] = ("job", "video")
    for choice in choices:
        ran = context([VIDEOS])
        add_job_events(
            *(ran, result),
            asset_events=choice,
            ice_conn_id="ice_default",
            region_id=None,
            log=logging.getLogger("task"),
        )
        assert len(added(ran)) == 1
        names += added(ran)
    assert "l3ak" not in str(names)


@pytest.mark.parametrize(
    "url", ["https:///user:s3cret@v.example.com/a.mp4", "https:\\\\user:s3cret@v.example.com/a.mp4"]
)
def test_a_url_without_a_host_names_nothing(url: str) -> None:
    assert asset_uri(url) is None
    assert of_uri(url) is None


def test_an_asset_of_a_user_is_not_named_by_a_signature() -> None:
    with pytest.raises(ValueError, match="signature") as caught:
        Asset("oss://b/v.mp4%3FSignature=l3ak")
    assert "l3ak" not in str(caught.value)


def test_airflow_normalises_the_scheme_with_our_handler() -> None:
    assert Asset("oss://b/v.mp4?Signature=s").uri == "oss://b/v.mp4"
    with pytest.raises(ValueError, match="bucket"):
        Asset("oss:///v.mp4")
