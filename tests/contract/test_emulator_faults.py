"""Every fault: what the client sees, and what the emulator has done meanwhile."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from alibabacloud_tea_openapi.exceptions import (
    ClientException,
    ServerException,
    ThrottlingException,
)

from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import GROUPS, OUTPUT, Sdk, Wire

GET = "GetBatchMediaProducingJob"
LIST = "ListBatchMediaProducingJobs"
SUBMIT = {"InputConfig": json.dumps(GROUPS), "OutputConfig": json.dumps(OUTPUT)}


@pytest.mark.parametrize(
    ("kind", "options", "status", "code"),
    [
        ("throttle", {}, 400, "Throttling.User"),
        ("throttle", {"status": 429, "code": "Throttling.Api"}, 429, "Throttling.Api"),
        ("throttle", {"status": 403, "code": "RequestsTooFrequent"}, 403, "RequestsTooFrequent"),
        ("error", {}, 503, "ServiceUnAvailable"),
        (
            "error",
            {"status": 500, "code": "InternalError", "message": "oops"},
            500,
            "InternalError",
        ),
        ("unauthorized_ram", {}, 403, "Forbidden.RAM"),
    ],
)
def test_a_fault_answers_one_request_with_its_error(
    ice: LocalIce, wire: Wire, kind: str, options: dict[str, Any], status: int, code: str
) -> None:
    ice.fault(kind, **options)
    reply = wire.call(LIST)
    assert (reply.status_code, reply.json()["Code"]) == (status, code)
    assert options.get("message", "") in reply.json()["Message"]
    assert wire.call(LIST).status_code == 200
    assert [(seen["http_status"], seen["code"]) for seen in ice.requests(LIST)] == [
        (status, code),
        (200, ""),
    ]


def test_the_sdk_recognises_the_errors(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("throttle", retry_after_ms=1500)
    with pytest.raises(ThrottlingException) as throttled:
        sdk.list()
    assert throttled.value.retry_after == 1500
    ice.fault("error", status=503)
    with pytest.raises(ServerException):
        sdk.list()
    ice.fault("unauthorized_ram")
    with pytest.raises(ClientException) as forbidden:
        sdk.list()
    assert forbidden.value.access_denied_detail["AuthAction"] == f"ice:{LIST}"


@pytest.mark.parametrize("status", [502, 200])
def test_html_in_place_of_json(ice: LocalIce, wire: Wire, status: int) -> None:
    ice.fault("html", status=status)
    reply = wire.call(LIST)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.text.startswith("<html>")


def test_a_reset_comes_before_the_work(ice: LocalIce, wire: Wire) -> None:
    ice.fault("reset", action="SubmitBatchMediaProducingJob")
    with pytest.raises(httpx.TransportError):
        wire.call("SubmitBatchMediaProducingJob", SUBMIT)
    assert ice.jobs() == []
    assert [(seen["http_status"], seen["code"]) for seen in ice.requests()] == [(0, "reset")]
    assert wire.call("SubmitBatchMediaProducingJob", SUBMIT).status_code == 200


def test_a_lost_reply_comes_after_the_work(ice: LocalIce, wire: Wire) -> None:
    ice.fault("lost_reply")
    with pytest.raises(httpx.TransportError):
        wire.call("SubmitBatchMediaProducingJob", {**SUBMIT, "ClientToken": "one"})
    (job,) = ice.jobs()
    again = wire.call("SubmitBatchMediaProducingJob", {**SUBMIT, "ClientToken": "one"})
    assert again.json()["JobId"] == job["job_id"]


def test_a_slow_reply_and_an_error_together(ice: LocalIce, wire: Wire) -> None:
    ice.fault("slow", seconds=0.2)
    ice.fault("throttle")
    started = time.monotonic()
    assert wire.call(LIST).json()["Code"] == "Throttling.User"
    assert time.monotonic() - started >= 0.2


def test_an_empty_job(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit()
    ice.fault("empty_job")
    assert sdk.list().editing_batch_job_list
    assert sdk.get(job_id) is None
    assert sdk.get(job_id).job_id == job_id


def test_faults_match_by_action_and_count(ice: LocalIce, wire: Wire) -> None:
    ice.fault("throttle", action=GET, times=2)
    ice.fault("error", action=LIST, times=-1)
    assert [wire.call(GET, {"JobId": "x"}).json()["Code"] for _ in range(3)] == [
        *["Throttling.User"] * 2,
        "ResourceNotFound",
    ]
    assert [wire.call(LIST).status_code for _ in range(4)] == [503] * 4
    ice.clear_faults()
    assert wire.call(LIST).status_code == 200


def test_a_fault_does_not_excuse_a_bad_signature(ice: LocalIce, wire: Wire) -> None:
    ice.fault("throttle")
    assert wire.call(LIST, nonce="one").json()["Code"] == "Throttling.User"
    assert wire.call(LIST, nonce="one").json()["Code"] == "SignatureNonceUsed"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("unheard_of", {}),
        ("throttle", {"secnods": 1}),
        ("status", {}),
        ("reset", {"times": 0}),
        ("slow", {"times": -2}),
        ("slow", {"seconds": "long"}),
    ],
)
def test_a_fault_that_could_never_bite_is_an_error(
    ice: LocalIce, kind: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"fault|times"):
        ice.fault(kind, **options)


# Faults that shape a job


def test_job_fails(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("job_fails")
    ice.fault("job_fails", code="QuotaExceeded", message="no more")
    first, second, third = sdk.submit(), sdk.submit(), sdk.submit()
    ice.finish_all()
    extend = json.loads(sdk.get(first).extend)
    assert extend["ErrorCode"] == "InvalidMaterial.NotFound"
    assert "****9d46c886b45481030f6e****" in extend["ErrorMessage"]  # the first clip of GROUPS
    assert json.loads(sdk.get(second).extend) == {
        "ErrorCode": "QuotaExceeded",
        "ErrorMessage": "no more",
    }
    assert [sdk.get(job_id).status for job_id in (first, second, third)] == [
        "Failed",
        "Failed",
        "Finished",
    ]


def test_settle_lag(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("settle_lag", seconds=30)
    job_id = sdk.submit()
    ice.advance(101)
    job = sdk.get(job_id)
    assert (job.status, [sub_job.status for sub_job in job.sub_job_list]) == (
        "Finished",
        ["Success", "Processing"],
    )
    ice.advance(30)
    assert [sub_job.status for sub_job in sdk.get(job_id).sub_job_list] == ["Success", "Success"]


@pytest.mark.parametrize(("null", "shown"), [(False, []), (True, None)])
def test_sub_jobs_hidden(ice: LocalIce, sdk: Sdk, wire: Wire, null: bool, shown: Any) -> None:
    ice.fault("sub_jobs_hidden", seconds=30, null=null)
    job_id = sdk.submit()
    ice.advance(101)
    job = wire.call(GET, {"JobId": job_id}).json()["EditingBatchJob"]
    assert (job["Status"], job["SubJobList"]) == ("Finished", shown)
    ice.advance(30)
    assert len(sdk.get(job_id).sub_job_list) == 2


def test_list_lag(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("list_lag", seconds=40)
    job_id = sdk.submit()
    seen = []
    for seconds in (1, 40, 60, 40):
        ice.advance(seconds)
        rows = sdk.list().editing_batch_job_list
        seen.append(
            (sdk.get(job_id).status, [(row.status, row.complete_time is None) for row in rows])
        )
    assert seen == [
        ("Init", []),
        ("Processing", [("Init", True)]),
        ("Finished", [("Processing", True)]),
        ("Finished", [("Finished", False)]),
    ]


def test_doc_quirks(ice: LocalIce, wire: Wire) -> None:
    ice.fault("doc_quirks")
    job_id = wire.call("SubmitBatchMediaProducingJob", SUBMIT).json()["JobId"]
    assert wire.call(GET, {"JobId": job_id}).json()["EditingBatchJob"]["SubJobList"] is None
    ice.finish_all()
    job = wire.call(GET, {"JobId": job_id}).json()["EditingBatchJob"]
    assert job["JobId"] == f"{job_id}\n"
    assert job["CompleteTime"].endswith("Z\n")
    assert "EmulatorExtraField" in job
    (sub_job, _) = job["SubJobList"]
    assert sub_job["MediaURL"] == "http:/shop.oss-cn-shanghai.aliyuncs.com/day/v_0.mp4"
    assert (sub_job["Status"], sub_job["ErrorCode"], sub_job["Duration"]) == (
        "Success",
        "InvalidMaterial.NotFound",
        "1.5",
    )
    (row,) = wire.call(LIST).json()["EditingBatchJobList"]
    assert row["JobId"] == f"{job_id}\n"


def test_stuck(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("stuck")
    job_id = sdk.submit()
    ice.finish_all()
    ice.advance(300 * 86_400)
    job = sdk.get(job_id)
    assert (job.status, [sub_job.status for sub_job in job.sub_job_list]) == (
        "Processing",
        ["Processing", "Processing"],
    )


def test_a_status_nobody_knows(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("status", value="Reviewing", seconds=500)
    job_id = sdk.submit()
    ice.advance(400)
    assert sdk.get(job_id).status == "Reviewing"
    assert sdk.list().editing_batch_job_list[0].status == "Reviewing"
    ice.advance(101)
    assert sdk.get(job_id).status == "Finished"


def test_a_jobs_faults_outlive_a_restart(ice: LocalIce, sdk: Sdk) -> None:
    ice.fault("sub_jobs_fail", indexes=[1])
    job_id = sdk.submit()
    ice.restart()
    ice.finish_all()
    assert [sub_job.status for sub_job in sdk.get(job_id).sub_job_list] == ["Success", "Failed"]


# The control API over HTTP


def test_control_over_http(ice: LocalIce, sdk: Sdk) -> None:
    with httpx.Client(base_url=f"{ice.url}/_control", trust_env=False) as control:
        assert control.get("/health").json()["status"] == "ok"
        asked = control.post("/faults", json={"kind": "sub_jobs_fail", "times": 1, "indexes": [0]})
        assert asked.json()["faults"] == [
            {"kind": "sub_jobs_fail", "action": None, "times": 1, "indexes": [0]}
        ]
        assert control.delete("/faults").json() == {"faults": []}
        assert control.post("/faults", json={"kind": "nothing"}).status_code == 400
        assert control.post("/faults", content=b"no json").status_code == 400
        assert control.post("/clock", json={"advance": -1}).status_code == 400
        assert control.post("/clock", json={"turn": 1}).status_code == 400
        job_id = sdk.submit()
        health = control.post("/clock", json={"advance": 101}).json()
        assert (health["frozen"], health["next_change_in"]) == (True, None)
        (job,) = control.get("/jobs").json()["jobs"]
        assert (job["job_id"], job["status"], len(job["sub_jobs"])) == (job_id, "Finished", 2)
        assert control.post("/clock", json={"frozen": False}).json()["frozen"] is False
        assert [seen["action"] for seen in control.get("/requests").json()["requests"]] == [
            "SubmitBatchMediaProducingJob"
        ]
        assert control.get("/media").json() == {"media": []}
