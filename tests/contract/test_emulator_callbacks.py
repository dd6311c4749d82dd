"""Callbacks, received on loopback: their form, their signature and their tries."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.emulator.engine.callbacks import may_be_called
from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import Sdk


class Receiver:
    """Takes callbacks; answers the statuses given, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.received.append((self.path, dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.end_headers()

            # The base class names it so.
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/done?tenant=a"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def wait_for(self, count: int, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.received) >= count

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def test_a_job_tells_its_end_and_that_of_its_sub_jobs(
    ice: LocalIce, sdk: Sdk, receiver: Receiver
) -> None:
    ice.fault("sub_jobs_fail", indexes=[1], code="ProduceFailed", message="no")
    user_data = json.dumps({"NotifyAddress": receiver.address, "Key": 1})
    job_id = sdk.submit(user_data=user_data)
    ice.finish_all()
    receiver.wait_for(3)
    job = sdk.get(job_id)
    by_job = {body["MessageBody"]["JobId"]: body for _, _, body in receiver.received}
    assert set(by_job) == {job_id, *(sub_job.job_id for sub_job in job.sub_job_list)}
    event = by_job[job_id]
    assert isinstance(event["UserId"], int)
    assert event == {
        "EventType": "BatchProduceMediaComplete",
        "UserId": event["UserId"],
        "EventTime": job.complete_time,
        "MessageBody": {"Status": "Finished", "UserData": user_data, "JobId": job_id},
    }
    good, bad = (by_job[sub_job.job_id]["MessageBody"] for sub_job in job.sub_job_list)
    assert (good["Status"], good["ErrorCode"], good["MediaURL"]) == (
        "Success",
        "",
        job.sub_job_list[0].media_url,
    )
    assert (bad["Status"], bad["ErrorCode"], bad["ErrorMessage"]) == ("Fail", "ProduceFailed", "no")
    assert "X-ICE-SIGNATURE" not in {name.upper() for name in receiver.received[0][1]}


def test_a_callback_is_sent_though_nobody_looks(receiver: Receiver) -> None:
    with LocalIce(render=False, job_seconds=0.1) as ice:
        Sdk(ice).submit(user_data=json.dumps({"NotifyAddress": receiver.address}))
        receiver.wait_for(3)


def test_callbacks_are_signed_with_the_key(receiver: Receiver) -> None:
    with LocalIce(render=False, job_seconds=0, callback_auth_key="Test123") as ice:
        Sdk(ice).submit(
            user_data=json.dumps({"NotifyAddress": receiver.address}), output={"Count": 1}
        )
        receiver.wait_for(2)
    headers = {name.upper(): value for name, value in receiver.received[0][1].items()}
    moment = headers["X-ICE-TIMESTAMP"]
    assert len(moment) == 10
    expected = hashlib.md5(
        f"{receiver.address}|{moment}|Test123".encode(), usedforsecurity=False
    ).hexdigest()
    assert headers["X-ICE-SIGNATURE"] == expected


RECIPE = Path(__file__).parents[2] / "docs/how-to/events.md"


def test_the_documented_receiver_turns_each_job_into_one_asset_event(receiver: Receiver) -> None:
    [block] = re.findall(r"```python\n(import json.*?)```", RECIPE.read_text(), re.DOTALL)
    recipe: dict[str, Any] = {"__name__": "recipe"}
    exec(block.replace("https://example.com/ice", receiver.address), recipe)  # noqa: S102 - ours
    receiver.statuses = [500]  # so that an event comes twice
    with LocalIce(render=False, job_seconds=0, callback_auth_key="abc123") as ice:
        user_data = json.dumps({"NotifyAddress": receiver.address})
        job_id = Sdk(ice).submit(user_data=user_data, output={"Count": 1})
        receiver.wait_for(3)
    got = [
        ({name.lower(): value for name, value in headers.items()}, json.dumps(body).encode())
        for _, headers, body in receiver.received
    ]
    found = [recipe["asset_event"](headers, body, 7) for headers, body in got]
    payload = {"job_id": job_id, "ice_conn_id": "ice_default", "region_id": None}
    assert [each for each in found if each] == [{"asset_id": 7, "extra": {"payload": payload}}]
    recipe["told"].clear()
    forged = [{**headers, "x-ice-signature": "0" * 32} for headers, _ in got]
    assert not any(
        recipe["asset_event"](headers, body, 7)
        for headers, (_, body) in zip(forged, got, strict=True)
    )


def test_three_tries_a_second_apart(receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    with LocalIce(render=False, job_seconds=0) as ice:
        started = time.monotonic()
        Sdk(ice).submit(
            user_data=json.dumps({"NotifyAddress": receiver.address}), output={"Count": 1}
        )
        receiver.wait_for(3)
    assert 1.9 < time.monotonic() - started < 15
    assert len({body["MessageBody"]["JobId"] for _, _, body in receiver.received[:3]}) == 1


@pytest.mark.parametrize(
    ("address", "called"),
    [
        ("http://127.0.0.1:80/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:80/x", True),
        ("https://127.0.0.1/x", False),
        ("http://127.0.0.1.example.com/x", False),
        ("http://127.0.0.1@example.com/x", False),
        ("http://example.com/", False),
        ("ice-callback-demo", False),
        ("http://[", False),
    ],
)
def test_only_loopback_is_called(address: str, called: bool) -> None:
    assert may_be_called(address) is called
