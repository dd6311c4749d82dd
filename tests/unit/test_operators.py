"""What lands in XCom, and how a job that has ended is judged, without a service: the hook's looks
are scripted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.api import models
from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceInputError,
    IceJobFailedError,
    IceJobNotEndedError,
    IceJobNotFoundError,
    IceTooFewVideosError,
)
from airflow_ice.api.models import BatchMediaProducingJob, JobError, SubJob
from airflow_ice.exceptions import NonRetryableIceInputError
from airflow_ice.hooks import IceHook
from airflow_ice.links import LINK_KEY
from airflow_ice.operators import (
    IceGetBatchMediaProducingJobOperator,
    IceSubmitBatchMediaProducingJobOperator,
)
from tests.three_modes import TaskInstance, scripted, task_runner

__all__ = ["task_runner"]
pytestmark = pytest.mark.usefixtures("task_runner")

SETTLE_PAUSES = [3.0, 6.0, 9.0, 12.0]  # seconds; what programs around this API wait, and once more

URL = "http://bucket.oss-cn-shanghai.aliyuncs.com/v_{}.mp4"


def good(index: int, **fields: Any) -> SubJob:
    known: dict[str, Any] = {
        "media_id": f"media-{index}",
        "media_url": URL.format(index),
        "project_id": f"project-{index}",
    }
    return SubJob(
        index=index, job_id=f"sub-{index}", status="Success", duration=12.5, **known | fields
    )


def bad(index: int, **fields: Any) -> SubJob:
    known: dict[str, Any] = {
        "status": "Failed",
        "error_code": "ProduceFailed",
        "error_message": "no tracks",
    }
    return SubJob(index=index, job_id=f"sub-{index}", **known | fields)


def preview(index: int) -> SubJob:
    return good(index, media_id=None, media_url=None)


WHERE = {"job_id": "job-1", "ice_conn_id": "ice_default", "region_id": None}


def finished(*subs: SubJob, **fields: Any) -> BatchMediaProducingJob:
    known: dict[str, Any] = {
        "job_type": "Script",
        "create_time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "complete_time": datetime(2026, 1, 2, 3, 14, 5, tzinfo=UTC),
        "request_id": "R-1",
    }
    return BatchMediaProducingJob(
        job_id="job-1", status="Finished", sub_jobs=subs, **known | fields
    )


class Collection:
    """One run of the operator: what it returned or raised, what it pushed and how long it slept."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, looks: tuple[Any, ...], **arguments: Any
    ) -> None:
        self.slept: list[float] = []
        self.looks = 0

        def counted() -> Any:
            for shown in looks:
                self.looks += 1
                yield shown

        monkeypatch.setattr(IceHook, "get_batch_media_producing_job", scripted(counted())[0])
        monkeypatch.setattr("time.sleep", self.slept.append)
        self.ti = TaskInstance()
        self.operator = IceGetBatchMediaProducingJobOperator(
            task_id="collect", job_id="job-1", **arguments
        )

    def run(self) -> Any:
        context: Any = {"ti": self.ti}
        found = self.operator.execute(context)
        return json.loads(json.dumps(found))

    @property
    def pushed(self) -> dict[str, Any]:
        """What it pushed about the job; the link is pushed whatever becomes of that."""
        return {key: value for key, value in self.ti.pushed.items() if key != LINK_KEY}


Collect = Callable[..., Collection]


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch) -> Collect:
    return lambda *looks, **arguments: Collection(monkeypatch, looks, **arguments)


# What lands in XCom


def test_what_is_returned_and_pushed(collect: Collect) -> None:
    run = collect(finished(good(2), bad(1), good(0)), require="any")
    media = [
        {
            "index": index,
            "subjob_id": f"sub-{index}",
            "media_id": f"media-{index}",
            "media_url": URL.format(index),
            "duration": 12.5,
            "project_id": f"project-{index}",
            "job_id": "job-1",
        }
        for index in (0, 2)
    ]
    failed = [
        {
            "index": 1,
            "subjob_id": "sub-1",
            "error_code": "ProduceFailed",
            "error_message": "no tracks",
            "job_id": "job-1",
        }
    ]
    assert run.run() == {
        "job_id": "job-1",
        "job_type": "Script",
        "status": "Finished",
        "request_id": "R-1",
        "create_time": "2026-01-02T03:04:05+00:00",
        "complete_time": "2026-01-02T03:14:05+00:00",
        "media": media,
        "failed": failed,
        "extend_output": None,
    }
    assert run.pushed == {
        "media": media,
        "media_ids": ["media-0", "media-2"],
        "media_urls": [URL.format(0), URL.format(2)],
        "project_ids": ["project-0", "project-2"],
        "failed": failed,
        "ice_job": WHERE,
    }


def test_rows_hold_the_users_user_data_without_our_key(collect: Collect) -> None:
    signed = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?Expires=1&Signature=s3cr3t"
    user_data = json.dumps({"campaign": "spring", "clip": signed, "airflow_ice": "k-1"})
    run = collect(finished(good(0), bad(1), user_data=user_data), require="any")
    result = run.run()
    own = {"campaign": "spring", "clip": signed.partition("?")[0]}
    for row in (*result["media"], *result["failed"], *run.pushed["media"], *run.pushed["failed"]):
        assert row["user_data"] == own


@pytest.mark.parametrize("user_data", [None, '{"airflow_ice": "k-1"}', '"text"', "[1]", "{"])
def test_rows_of_a_job_without_user_data_have_none(user_data: str | None, collect: Collect) -> None:
    run = collect(finished(good(0), user_data=user_data))
    assert all("user_data" not in row for row in run.run()["media"])


def test_which_job_it_is_is_pushed_before_the_job_is_read(collect: Collect) -> None:
    run = collect(IceJobNotFoundError("unknown"), region_id="cn-beijing", ice_conn_id="other")
    with pytest.raises(IceJobNotFoundError):
        run.run()
    assert run.pushed == {
        "ice_job": {"job_id": "job-1", "ice_conn_id": "other", "region_id": "cn-beijing"}
    }


def test_a_push_that_fails_does_not_keep_the_job_from_being_collected(
    collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = collect(finished(good(0)))
    push = run.ti.xcom_push

    def fails_once(key: str, value: Any) -> None:
        if key == "ice_job":
            raise RuntimeError("out of reach")
        push(key, value)

    monkeypatch.setattr(run.ti, "xcom_push", fails_once)
    assert run.run()["status"] == "Finished"


@pytest.mark.parametrize(
    ("subs", "words"),
    [
        ((good(0),), "1 good sub-job "),
        ((good(0), bad(1)), "1 good sub-job, 1 other "),
        ((good(0), good(1), bad(2), bad(3)), "2 good sub-jobs, 2 others "),
        ((bad(0),), "no good sub-jobs, 1 other "),
    ],
)
def test_the_log_counts_in_english(
    subs: tuple[SubJob, ...], words: str, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    run = collect(finished(*subs))
    with contextlib.suppress(IceTooFewVideosError):
        run.run()
    assert f"Batch job job-1 is Finished: {words}" in capsys.readouterr().out


def test_previews_have_projects_and_no_media(collect: Collect) -> None:
    run = collect(finished(preview(1), preview(0)))
    result = run.run()
    assert [
        (row["index"], row["media_id"], row["media_url"], row["project_id"])
        for row in result["media"]
    ] == [
        (0, None, None, "project-0"),
        (1, None, None, "project-1"),
    ]
    assert (run.pushed["media_ids"], run.pushed["media_urls"]) == ([], [])
    assert run.pushed["project_ids"] == ["project-0", "project-1"]


def test_a_selection_is_its_extend_output(collect: Collect) -> None:
    selection = {"groups": [{"mediaId": "m"}]}
    run = collect(finished(job_type="Smart_Mix_Media_Select", extend_output=json.dumps(selection)))
    result = run.run()
    assert result["extend_output"] == selection
    assert (result["media"], result["failed"], run.slept) == ([], [], [])


def test_a_selection_without_a_result_fails(collect: Collect) -> None:
    run = collect(*[finished(job_type="Smart_Mix_Media_Select")] * 5, require="any")
    with pytest.raises(IceTooFewVideosError, match="without a selection result"):
        run.run()


@pytest.mark.parametrize("require", ["all", "any", 1, 0.1])
def test_a_finished_job_without_sub_jobs_fails(require: Any, collect: Collect) -> None:
    run = collect(*[finished()] * 5, require=require)
    with pytest.raises(IceTooFewVideosError, match="made no video"):
        run.run()


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        ("media_ids", ["media-0"]),
        ("media_urls", [URL.format(0)]),
        ("project_ids", ["project-0"]),
        ("failed", []),
        (
            "media",
            [{"index": 0, "subjob_id": "sub-0", "media_id": "media-0", "media_url": URL.format(0)}],
        ),
    ],
)
def test_a_list_may_be_the_return_value_for_mapped_tasks(
    returns: str, value: Any, collect: Collect
) -> None:
    run = collect(finished(good(0)), returns=returns)
    found = run.run()
    if returns == "media":
        found = [{name: row[name] for name in value[0]} for row in found]
    assert found == value
    assert run.pushed["job"]["job_id"] == "job-1"
    assert run.pushed["media_ids"] == ["media-0"]


def test_an_unknown_return_is_refused_while_the_dag_is_parsed() -> None:
    unknown: Any = "videos"
    with pytest.raises(IceInputError, match="returns"):
        IceGetBatchMediaProducingJobOperator(task_id="c", job_id="j", returns=unknown)


# Whether it is enough


@pytest.mark.parametrize("require", ["all", 3, "3", 0.7, "0.7", 1.0])
def test_too_few_videos_fail_for_good_after_the_rows_are_pushed(
    require: Any, collect: Collect
) -> None:
    run = collect(finished(good(0), bad(1), good(2)), require=require)
    with pytest.raises(IceTooFewVideosError) as caught:
        run.run()
    assert isinstance(caught.value, AirflowFailException)  # collecting again cannot help
    for said in ("2 of the 3", "1 x ProduceFailed", "are billed", "R-1"):
        assert said in str(caught.value)
    assert run.pushed["media_ids"] == ["media-0", "media-2"]
    assert [row["index"] for row in run.pushed["failed"]] == [1]


@pytest.mark.parametrize("require", ["any", 1, 2, "2", 0.5, "0.66"])
def test_enough_videos_succeed(require: Any, collect: Collect) -> None:
    assert len(collect(finished(good(0), bad(1), good(2)), require=require).run()["media"]) == 2


@pytest.mark.parametrize(
    "require", [0, -1, "most", "", None, True, 1.5, "1.5", ["all"], {}, "{{ params.require }}"]
)
def test_a_bad_requirement_is_refused_before_any_request(require: Any, collect: Collect) -> None:
    run = collect(finished(good(0)))
    run.operator.require = require  # what a template rendered to
    with pytest.raises(NonRetryableIceInputError, match="require"):
        run.run()
    assert (run.looks, run.pushed) == (0, {})


def test_status_decides_and_not_an_error_code(collect: Collect) -> None:
    odd = good(0, error_code="InvalidMaterial.NotFound", error_message="?")
    run = collect(finished(odd, error=JobError("InvalidMaterial.NotFound", "?")))
    with structlog.testing.capture_logs() as lines:
        assert run.run()["failed"] == []
    assert any("reports an error" in line["event"] for line in lines)


# Jobs that did not finish


def test_a_failed_job_fails_for_good_with_its_own_reason(collect: Collect) -> None:
    failed = BatchMediaProducingJob(
        job_id="job-1",
        status="Failed",
        error=JobError("InvalidMaterial.NotFound", "gone"),
        request_id="R",
    )
    run = collect(failed, require="any")
    with pytest.raises(IceJobFailedError, match="gone") as caught:
        run.run()
    assert isinstance(caught.value, AirflowFailException)
    assert (caught.value.code, caught.value.job_id, caught.value.request_id) == (
        "InvalidMaterial.NotFound",
        "job-1",
        "R",
    )
    assert (run.pushed["media"], run.pushed["failed"], run.slept) == ([], [], [])


def test_what_a_failed_job_has_made_is_still_pushed(collect: Collect) -> None:
    run = collect(
        BatchMediaProducingJob(job_id="job-1", status="Failed", sub_jobs=(good(0), bad(1)))
    )
    with pytest.raises(IceJobFailedError):
        run.run()
    assert run.pushed["media_ids"] == ["media-0"]


@pytest.mark.parametrize("status", ["Init", "Processing", "", "Paused"])
def test_a_job_that_has_not_ended_is_a_clear_error_that_a_retry_may_mend(
    status: str, collect: Collect
) -> None:
    run = collect(BatchMediaProducingJob(job_id="job-1", status=status, request_id="R-1"))
    with pytest.raises(IceJobNotEndedError) as caught:
        run.run()
    assert not isinstance(caught.value, AirflowFailException)
    for said in ("job-1", "IceBatchMediaProducingJobSensor", "R-1"):
        assert said in str(caught.value)
    assert run.pushed == {"ice_job": WHERE}


# Jobs that are Finished too early


def test_a_job_that_is_not_settled_is_read_again(collect: Collect) -> None:
    unsettled = finished(good(0), bad(1, status="Processing", error_code=None))
    run = collect(finished(), unsettled, finished(good(0), good(1)))
    assert len(run.run()["media"]) == 2
    assert run.slept == SETTLE_PAUSES[:2]


def test_a_job_that_does_not_settle_fails_for_now_and_a_retry_may_find_it_settled(
    collect: Collect,
) -> None:
    unsettled = finished(good(0), bad(1, status="Processing", error_code=None, error_message=None))
    run = collect(*[unsettled] * (len(SETTLE_PAUSES) + 1))
    with pytest.raises(IceTooFewVideosError, match="1 x Processing") as caught:
        run.run()
    assert not isinstance(caught.value, AirflowFailException)
    assert "Let this task retry" in str(caught.value)
    assert (run.slept, run.looks) == (SETTLE_PAUSES, len(SETTLE_PAUSES) + 1)
    (row,) = run.pushed["failed"]
    assert "still Processing although its job has ended" in row["error_message"]


def test_an_error_while_reading_passes_as_it_is(collect: Collect) -> None:
    with pytest.raises(IceAuthenticationError):
        collect(IceAuthenticationError("no", code="SignatureDoesNotMatch")).run()


# What must not show


def test_no_signed_url_and_no_secret_reaches_xcom_or_the_log(collect: Collect) -> None:
    leaky = "see http://b.oss/x.mp4?OSSAccessKeyId=i&Signature=c0ffee&Expires=1"
    wire = {
        "JobId": "job-1",
        "Status": "Finished",
        "Extend": json.dumps({"ErrorCode": "E", "ErrorMessage": leaky}),
        "SubJobList": [
            {"JobId": "sub-0", "Status": "Success", "MediaId": "m", "MediaURL": leaky[4:]},
            {"JobId": "sub-1", "Status": "Failed", "ErrorCode": "E", "ErrorMessage": leaky},
        ],
    }
    run = collect(models.batch_media_producing_job(wire), require="any")
    with structlog.testing.capture_logs() as lines:
        found = run.run()
    assert "http://b.oss/x.mp4" in json.dumps(found)
    assert "c0ffee" not in json.dumps([found, run.pushed]) + str(lines)


def test_job_id_and_friends_are_templated() -> None:
    assert set(IceGetBatchMediaProducingJobOperator.template_fields) >= {
        "job_id",
        "ice_conn_id",
        "region_id",
        "require",
    }
    assert set(IceSubmitBatchMediaProducingJobOperator.template_fields) >= {
        "input_config",
        "output_config",
        "editing_config",
        "template_config",
        "user_data",
        "ice_conn_id",
        "region_id",
    }


def test_nothing_is_read_while_a_dag_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IceHook, "get_connection", pytest.fail)
    IceGetBatchMediaProducingJobOperator(task_id="c", job_id="{{ x }}", require="{{ y }}")
    IceSubmitBatchMediaProducingJobOperator(
        task_id="s", input_config="{{ x }}", output_config="{{ z }}"
    )
