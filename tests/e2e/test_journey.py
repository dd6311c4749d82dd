"""The journey of a batch on a real scheduler, triggerer and api-server, against the emulator."""

from __future__ import annotations

import http.server
import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from rich.console import Console

from airflow_ice.demo.local_airflow import LocalAirflow
from airflow_ice.demo.run import DemoError, DemoOptions, _client, _conf, _follow
from airflow_ice.emulator.local import LocalIce
from tests.e2e.conftest import SECRET

EXAMPLE = "ice_produce_and_publish"
SCENARIOS = "ice_scenarios"


# A connection that leads to these does not hold them: Airflow cannot have masked them by itself.
ISSUED = {
    "AccessKeyId": "STS.issued",
    "AccessKeySecret": "issued-s3cret-of-nobody",
    "SecurityToken": "issued-t0ken-of-nobody",
}
TICKET = "t1cket-in-the-uri"


@pytest.fixture(scope="module")
def issued(airflow: LocalAirflow) -> Iterator[LocalIce]:
    """Run an ICE that knows issued keys only, one that issues them, and make a connection to both:
    `ice_issued`."""

    class Issuer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = json.dumps({"Code": "Success", **ISSUED, "Expiration": expires}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    keys = dict(
        zip(("access_key_id", "access_key_secret", "security_token"), ISSUED.values(), strict=True)
    )
    with (
        LocalIce(job_seconds=3.0, render=False, **keys) as ice,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        uri = f"http://127.0.0.1:{server.server_address[1]}/keys?ticket={TICKET}"
        extra = json.dumps({"credential_type": "credentials_uri", "credentials_uri": uri})
        fields = {
            "connection_id": "ice_issued",
            "conn_type": "alibaba_ice",
            "host": ice.url,
            "extra": extra,
        }
        airflow.api("POST", "connections", json=fields)
        yield ice
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def runs(
    airflow: LocalAirflow,
    ices: dict[str, LocalIce],
    issued: LocalIce,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """All scenarios, begun together; scenario to run id. Each test waits for its own."""
    ices["failing"].fault(
        "job_fails", code="InvalidMaterial.NotFound", message="The specified clips id not found"
    )
    for name in ("half", "half_any"):
        ices[name].fault(
            "sub_jobs_fail",
            indexes=[1, 3],
            code="InvalidParameter.ResourceContentBad",
            message="bad file",
        )
    ices["throttled"].fault("throttle", action="GetBatchMediaProducingJob", times=6)
    ices["throttled"].fault("html", action="GetBatchMediaProducingJob", times=2)
    published = tmp_path_factory.mktemp("published")
    output = {
        "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/video_{index}.mp4",
        "Count": 3,
        "Width": 320,
        "Height": 180,
        "FixedDuration": 2,
    }
    begun = {
        EXAMPLE: airflow.trigger(
            EXAMPLE, {"output_config": output, "publish_folder": str(published)}
        )
    }
    begun["no_clip"] = airflow.trigger(
        EXAMPLE, _conf(DemoOptions(published, count=1), {"all": ["gone.mp4"]}, "ice-emulator")
    )
    issued.fault("throttle", action="GetBatchMediaProducingJob", times=2)
    for name in ("failing", "half", "half_any", "throttled", "issued"):
        conf = {"connection": f"ice_{name}", "require": "any" if name == "half_any" else "all"}
        begun[name] = airflow.trigger(SCENARIOS, conf)
    return begun


def states(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, Any]:
    """Return task id to state; for a mapped task, the list of states."""
    found: dict[str, Any] = {}
    for row in airflow.tasks(dag_id, run_id):
        if row["map_index"] >= 0:
            found.setdefault(row["task_id"], []).append(row["state"])
        else:
            found[row["task_id"]] = row["state"]
    return found


def test_the_example_dag_publishes_playable_videos(
    airflow: LocalAirflow, runs: dict[str, str]
) -> None:
    run_id = runs[EXAMPLE]
    assert airflow.wait_for_run(EXAMPLE, run_id) == "success"
    rows = airflow.xcom(EXAMPLE, run_id, "collect")
    assert [row["index"] for row in rows] == [0, 1, 2]
    for place, row in enumerate(rows):
        file = Path(airflow.xcom(EXAMPLE, run_id, "publish", map_index=place))
        assert row["media_id"] in file.name
        with av.open(str(file)) as container:
            video = container.streams.video[0]
            assert (video.width, video.height) == (320, 180)
            assert len(list(container.decode(video=0))) == 50
    assert airflow.xcom(EXAMPLE, run_id, "wait") == airflow.xcom(EXAMPLE, run_id, "submit")
    assert airflow.xcom(EXAMPLE, run_id, "collect", "job")["status"] == "Finished"


def test_a_failed_job_is_red_at_once_in_both_modes_and_is_not_retried(
    airflow: LocalAirflow, runs: dict[str, str]
) -> None:
    run_id = runs["failing"]
    assert airflow.wait_for_run(SCENARIOS, run_id) == "failed"
    found = states(airflow, SCENARIOS, run_id)
    assert (found["wait_deferred"], found["wait_poking"], found["collect"]) == (
        "failed",
        "failed",
        "upstream_failed",
    )
    for task_id in ("wait_deferred", "wait_poking"):
        tries = {row["task_id"]: row["try_number"] for row in airflow.tasks(SCENARIOS, run_id)}
        assert tries[task_id] == 1
        log = airflow.task_log(SCENARIOS, run_id, task_id)
        assert "InvalidMaterial.NotFound" in log
        assert "waiting again cannot help" in log


def test_a_half_failed_job_delivers_its_rows_and_fails_when_all_are_required(
    airflow: LocalAirflow, runs: dict[str, str]
) -> None:
    run_id = runs["half"]
    assert airflow.wait_for_run(SCENARIOS, run_id) == "failed"
    found = states(airflow, SCENARIOS, run_id)
    assert (found["collect"], found["clean_up"], found["publish"]) == (
        "failed",
        "success",
        "upstream_failed",
    )
    assert [row["index"] for row in airflow.xcom(SCENARIOS, run_id, "collect", "media")] == [0, 2]
    failed = airflow.xcom(SCENARIOS, run_id, "collect", "failed")
    assert [(row["index"], row["error_code"]) for row in failed] == [
        (1, "InvalidParameter.ResourceContentBad"),
        (3, "InvalidParameter.ResourceContentBad"),
    ]
    assert airflow.xcom(SCENARIOS, run_id, "clean_up") == 2


def test_a_half_failed_job_publishes_what_is_good_when_any_is_enough(
    airflow: LocalAirflow, runs: dict[str, str]
) -> None:
    run_id = runs["half_any"]
    assert airflow.wait_for_run(SCENARIOS, run_id) == "success"
    assert states(airflow, SCENARIOS, run_id)["publish"] == ["success", "success"]
    good = [row["media_id"] for row in airflow.xcom(SCENARIOS, run_id, "collect")]
    assert [airflow.xcom(SCENARIOS, run_id, "publish", map_index=place) for place in (0, 1)] == good


def test_the_demo_follows_a_run_that_fails_and_says_why(
    airflow: LocalAirflow, runs: dict[str, str], ices: dict[str, LocalIce]
) -> None:
    shown = io.StringIO()
    with (
        _client(ices["default"]) as client,
        pytest.raises(DemoError, match=r"^task wait failed: .*InvalidMaterial\.NotFound"),
    ):
        _follow(airflow, client, runs["no_clip"], Console(file=shown, width=200))
    assert "wait failed, collect upstream_failed" in shown.getvalue()


def test_a_throttled_account_only_takes_longer(
    airflow: LocalAirflow, runs: dict[str, str], ices: dict[str, LocalIce]
) -> None:
    run_id = runs["throttled"]
    assert airflow.wait_for_run(SCENARIOS, run_id) == "success"
    codes = [request["code"] for request in ices["throttled"].requests("GetBatchMediaProducingJob")]
    assert codes.count("Throttling.User") == 6
    assert len(ices["throttled"].jobs()) == 1


@pytest.fixture
def ended(airflow: LocalAirflow, runs: dict[str, str]) -> None:
    """All runs have ended."""
    for name, run_id in runs.items():
        airflow.wait_for_run(EXAMPLE if name in {EXAMPLE, "no_clip"} else SCENARIOS, run_id)


def test_issued_keys_serve_a_whole_run(
    airflow: LocalAirflow, runs: dict[str, str], issued: LocalIce
) -> None:
    assert airflow.wait_for_run(SCENARIOS, runs["issued"]) == "success"
    assert len(issued.jobs()) == 1


@pytest.mark.usefixtures("ended")
def test_no_secret_and_no_signature_is_in_any_log_or_xcom(airflow: LocalAirflow) -> None:
    logs = [file for file in airflow.home.rglob("*.log*") if file.is_file()]
    assert any("task_id=wait" in str(file) for file in logs)
    marks = (
        SECRET,
        ISSUED["AccessKeySecret"],
        ISSUED["SecurityToken"],
        TICKET,
        "Signature=",
        "OSSAccessKeyId",
        "security-token",
        "ACS3-HMAC-SHA256",
    )
    leaks = [
        (file.name, mark)
        for file in logs
        for mark in marks
        if mark in file.read_text(errors="replace")
    ]
    assert leaks == []
    with sqlite3.connect(airflow.home / "airflow.db") as database:
        xcoms = database.execute("select * from xcom").fetchall()
        rendered = database.execute("select * from rendered_task_instance_fields").fetchall()
        triggers = database.execute("select * from trigger").fetchall()
    database.close()
    assert xcoms
    assert rendered
    assert [mark for mark in marks if mark in repr((xcoms, rendered, triggers))] == []
