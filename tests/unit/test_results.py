"""What a selection has found is in XCom under a key of its own, so that the next step of a chain
needs no glue."""

from __future__ import annotations

import json
import logging
from typing import Any, get_args

import pytest

from airflow_ice.api.models import BatchMediaProducingJob, SubJob
from airflow_ice.hooks import IceHook
from airflow_ice.results import Returns, deliver
from airflow_ice.waiting import judge
from tests.three_modes import TaskInstance

SELECTION: dict[str, Any] = {"textMatchMediaOutputList": [{"textMatchMediaSentenceOutputList": []}]}


def delivered(
    monkeypatch: pytest.MonkeyPatch, job: BatchMediaProducingJob, returns: Returns
) -> dict[str, Any]:
    monkeypatch.setattr(IceHook, "get_batch_media_producing_job", lambda hook, job_id: job)
    ti = TaskInstance()
    context: Any = {"ti": ti}
    ti.pushed["return_value"] = deliver(
        IceHook(), job.job_id, "all", returns, context, logging.getLogger()
    )
    return ti.pushed


@pytest.mark.parametrize("returns", ["job", "project_ids"])
def test_a_selection_is_pushed_whatever_is_returned(
    monkeypatch: pytest.MonkeyPatch, returns: Returns
) -> None:
    job = BatchMediaProducingJob(
        job_id="job-1",
        job_type="Smart_Mix_Media_Select",
        status="Finished",
        extend_output=json.dumps(SELECTION),
    )
    pushed = delivered(monkeypatch, job, returns)
    assert pushed["extend_output"] == SELECTION
    assert pushed["return_value" if returns == "job" else "job"]["extend_output"] == SELECTION


def test_a_job_without_one_pushes_no_null(monkeypatch: pytest.MonkeyPatch) -> None:
    job = BatchMediaProducingJob(
        job_id="job-1",
        job_type="Script",
        status="Finished",
        sub_jobs=(SubJob(index=0, job_id="sub-0", status="Success"),),
    )
    pushed = delivered(monkeypatch, job, "job")
    assert "extend_output" not in pushed
    assert pushed["return_value"]["extend_output"] is None


def test_a_signed_url_in_a_selection_lands_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = (
        "http://bucket.oss-cn-shanghai.aliyuncs.com/a.mp4"
        "?Expires=1&OSSAccessKeyId=id&Signature=secret"
    )
    found = {
        "list": [{"url": signed, "score": -0.2, "plain": "http://a.example/x?page=2", "none": None}]
    }
    job = BatchMediaProducingJob(
        job_id="job-1",
        job_type="Smart_Mix_Media_Select",
        status="Finished",
        extend_output=json.dumps(found),
    )
    assert delivered(monkeypatch, job, "job")["extend_output"] == {
        "list": [
            {
                "url": signed.partition("?")[0],
                "score": -0.2,
                "plain": "http://a.example/x?page=2",
                "none": None,
            }
        ]
    }


SIGNED = "http:/b/a.mp4?Expires=1&OSSAccessKeyId=LTAI&Signature=s3cr3t%3D"


def test_all_that_is_pushed_is_plain_json_without_a_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = SubJob(index=0, job_id="sub-0", status="Success", media_id="m", media_url=f"\n{SIGNED}")
    bad = SubJob(index=1, job_id=SIGNED, status="Failed", error_code=SIGNED, error_message=SIGNED)
    job = BatchMediaProducingJob(
        job_id="job-1",
        job_type="Script",
        status="Finished",
        extend_output=json.dumps({SIGNED: [json.dumps({"url": SIGNED}), float("nan"), "oss://b"]}),
        sub_jobs=(good, bad),
    )
    pushed: dict[str, Any] = {}
    for returns in get_args(Returns):
        monkeypatch.setattr("airflow_ice.results.judge", lambda job, _: judge(job, "any"))
        pushed[returns] = delivered(monkeypatch, job, returns)
    text = json.dumps(pushed, allow_nan=False)
    assert "s3cr3t" not in text
    assert "LTAI" not in text
    assert pushed["media_urls"]["return_value"] == ["\nhttp:/b/a.mp4"]
    assert pushed["job"]["extend_output"] == {
        "http:/b/a.mp4": ['{"url": "http:/b/a.mp4"}', None, "oss://b"]
    }


def test_an_extend_output_of_any_depth_can_be_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    for depth in (50, 200, 900, 5_000):
        job = BatchMediaProducingJob(
            job_id="job-1",
            job_type="Script",
            status="Finished",
            extend_output="[" * depth + "1" + "]" * depth,
            sub_jobs=(SubJob(index=0, job_id="sub-0", status="Success"),),
        )
        pushed = delivered(monkeypatch, job, "job")
        assert len(json.dumps(pushed)) < 2_000
