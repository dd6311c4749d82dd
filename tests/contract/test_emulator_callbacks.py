"""Callbacks, received on loopback: their form, their signature and their tries."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from airflow_ice.emulator.engine.callbacks import may_be_called
from airflow_ice.emulator.local import LocalIce
from tests.callback_receiver import Receiver, documented
from tests.contract.conftest import Sdk


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


def test_the_documented_receiver_takes_an_ended_job_of_signed_events_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = documented(monkeypatch, receiver.address)
    with LocalIce(render=False, job_seconds=0, callback_auth_key="abc123") as ice:
        user_data = json.dumps({"NotifyAddress": receiver.address})
        job_id = Sdk(ice).submit(user_data=user_data, output={"Count": 1})
        receiver.wait_for(2)
    got = [
        ({name.lower(): value for name, value in headers.items()}, json.dumps(body).encode())
        for _, headers, body in receiver.received
    ]
    found = {recipe["ended_job"](*each): each for each in got}
    assert set(found) == {job_id, None}  # the other event is of a sub-job
    headers, body = found[job_id]
    assert recipe["ended_job"]({**headers, "x-ice-signature": "0" * 32}, body) is None
    assert recipe["ended_job"]({}, body) is None
    assert recipe["ended_job"](headers, body.replace(job_id.encode(), b"../x")) is None


class Airflow:
    """Takes the requests of the documented receiver, whose clock it sets."""

    url = "https://example.com/done"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.posted: list[str] = []
        self.timeouts: list[float] = []
        self.now = float(int(time.time()))
        self.recipe = documented(monkeypatch, self.url)
        self.recipe["time"] = SimpleNamespace(time=lambda: self.now)
        monkeypatch.setattr(httpx, "post", self.post)

    def post(self, address: str, *, timeout: float, **sent: Any) -> httpx.Response:
        self.timeouts.append(timeout)
        if address.endswith("/assets/events"):
            self.posted.append(sent["json"]["extra"]["payload"]["job_id"])
        return httpx.Response(
            200, json={"access_token": "t"}, request=httpx.Request("POST", address)
        )

    def callback(self, named: str, at: int) -> int:
        moment = str(int(self.now) + at)
        signature = hashlib.md5(f"{self.url}|{moment}|abc123".encode(), usedforsecurity=False)
        headers = {"x-ice-timestamp": moment, "x-ice-signature": signature.hexdigest()}
        event = {"EventType": "BatchProduceMediaComplete", "MessageBody": {"JobId": named}}
        return int(self.recipe["receive"](headers, json.dumps(event).encode()))


def test_an_early_event_does_not_suppress_an_end_in_the_documented_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The body is not signed: who has seen one callback may name another job under its headers."""
    job_id, other = "a" * 32, "b" * 32
    airflow = Airflow(monkeypatch)
    assert airflow.callback(job_id, -60) == 200
    assert airflow.callback(other, -60) == 200  # forged, while the other job runs
    assert airflow.callback(other, 0) == 200
    assert airflow.posted == [job_id, other, other]


def test_the_documented_receiver_answers_in_time_and_forgets_what_it_would_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airflow = Airflow(monkeypatch)
    for number in range(20):
        assert airflow.callback(f"{number:032x}", 0) == 200
        assert airflow.callback(f"{number:032x}", 0) == 200  # ICE posts it again
        airflow.now += 100
    assert airflow.posted == [f"{number:032x}" for number in range(20)]
    assert len(airflow.recipe["told"]) == 4
    assert set(airflow.timeouts) == {1}  # of two requests; ICE waits for 3 s


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
