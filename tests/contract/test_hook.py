"""The hook against a local ICE: every action in both colours, its connection test, and an async path that blocks nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk import BaseHook, Connection

from airflow_ice.api import client
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.errors import IceAuthenticationError, IceError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook

GROUPS: dict[str, Any] = {"MediaGroupArray": [{"GroupName": "a", "MediaArray": ["icepublic-1", "icepublic-2"]}]}
URL = "http://bucket.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4"
OUTPUT: dict[str, Any] = {"MediaURL": URL, "Count": 2, "Width": 320, "Height": 240}
BATCH: dict[str, Any] = {"input_config": GROUPS, "output_config": OUTPUT}
CLIPS: dict[str, Any] = {"MediaArray": ["icepublic-1", "icepublic-2"]}
SetConnection = Callable[..., None]


@pytest.fixture
def ice(connected_ice: LocalIce) -> LocalIce:
    return connected_ice


ACTIONS = [name for name, member in vars(Calls).items() if callable(member) and not name.startswith("_") and name != "call"]


def test_every_action_has_both_colours() -> None:
    assert len(ACTIONS) == 10
    for name in ACTIONS:
        assert callable(getattr(IceHook, name))
        twin = getattr(IceHook, f"a{name}")
        assert list(inspect.signature(twin).parameters) == list(inspect.signature(getattr(IceHook, name)).parameters)
    assert {name.removeprefix("a") for name in vars(AsyncCalls) if name.startswith(("aget", "asubmit", "alist"))} == set(ACTIONS)


def test_the_journey_of_a_batch(ice: LocalIce) -> None:
    hook = IceHook()
    job_id = hook.submit_batch_media_producing_job(**BATCH, user_data={"Shop": "7"}, client_token="t-1")
    assert hook.submit_batch_media_producing_job(**BATCH, user_data={"Shop": "7"}, client_token="t-1") == job_id
    ice.finish_all()
    job = hook.get_batch_media_producing_job(job_id)
    assert (job.job_id, job.job_type, job.status) == (job_id, "Script", "Finished")
    assert [sub.status for sub in job.sub_jobs] == ["Success", "Success"]
    assert job.user_data == '{"Shop": "7"}'
    sub = hook.get_media_producing_job(job.sub_jobs[1].job_id)
    assert (sub.media_id, sub.status) == (job.sub_jobs[1].media_id, "Success")
    assert job_id in [row.job_id for row in hook.list_batch_media_producing_jobs(status="Finished")]


async def test_the_same_journey_in_the_other_colour(ice: LocalIce) -> None:
    async with IceHook() as hook:
        job_id = await hook.asubmit_batch_media_producing_job(**BATCH, client_token="t-2")
        await asyncio.to_thread(ice.finish_all)
        job = await hook.aget_batch_media_producing_job(job_id)
        assert [sub.status for sub in job.sub_jobs] == ["Success", "Success"]
        sub = await hook.aget_media_producing_job(job.sub_jobs[0].job_id)
        assert sub.media_id == job.sub_jobs[0].media_id
        rows = [row.job_id async for row in hook.alist_batch_media_producing_jobs(status="Finished", page_size=1)]
        assert job_id in rows


SUBMITS: dict[str, dict[str, Any]] = {
    "submit_batch_media_producing_job": BATCH,
    "submit_screen_media_highlights_job": {"input_config": CLIPS, "output_config": OUTPUT},
    "submit_scene_media_selection_job": {"job_type": "Smart_Mix_Media_Select", "input_config": CLIPS, "output_config": OUTPUT},
}


@pytest.mark.parametrize("name", SUBMITS)
async def test_submits_in_both_colours(name: str, ice: LocalIce) -> None:
    hook = IceHook()
    jobs = [await asyncio.to_thread(getattr(hook, name), **SUBMITS[name]), await getattr(hook, f"a{name}")(**SUBMITS[name])]
    assert jobs == [job["job_id"] for job in ice.jobs()][-2:]


async def test_the_scene_actions_pass_their_results_on(ice: LocalIce) -> None:
    def ended(job_id: str) -> Any:
        ice.finish_all()
        return hook.get_batch_media_producing_job(job_id)

    hook = IceHook()
    scene: dict[str, Any] = {"input_config": CLIPS, "output_config": OUTPUT}
    selected = await asyncio.to_thread(ended, hook.submit_scene_media_selection_job(job_type="Smart_Mix_Media_Select", **scene))
    arranged = await asyncio.to_thread(
        ended,
        await hook.asubmit_scene_timeline_organization_job(
            job_type="Smart_Mix_Timeline_Organize", media_select_result=selected.extend_output, **scene
        ),
    )
    assert len(arranged.sub_jobs) == 2
    edited = await asyncio.to_thread(
        ended,
        hook.submit_scene_batch_editing_job(
            project_ids=[sub.project_id for sub in arranged.sub_jobs],
            output_config={"MediaURL": URL, "Width": 320, "Height": 240},
        ),
    )
    assert [bool(sub.media_id) for sub in edited.sub_jobs] == [True, True]


def test_a_block_shares_one_connection_and_calls_alone_do_not(ice: LocalIce, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    enter = client.IceClient.__enter__

    def counted(self: client.IceClient) -> client.IceClient:
        opened.append(self)
        return enter(self)

    monkeypatch.setattr(client.IceClient, "__enter__", counted)
    with IceHook() as hook:
        for _ in range(3):
            list(hook.list_batch_media_producing_jobs())
        assert len(opened) == 1
    assert opened[0]._http is None
    list(hook.list_batch_media_producing_jobs())  # and the hook may be used after its block
    assert len(opened) == 2


def test_the_connection_is_read_once_and_not_when_the_hook_is_made(ice: LocalIce, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(_cls: type[IceHook], conn_id: str) -> Any:
        read.append(conn_id)
        return BaseHook.get_connection(conn_id)

    monkeypatch.setattr(IceHook, "get_connection", classmethod(counted))
    hook = IceHook()
    assert read == []
    for _ in range(2):
        list(hook.list_batch_media_producing_jobs())
    assert read == ["ice_default"]


# The async path


async def test_the_async_path_reads_and_sends_nothing_that_blocks(ice: LocalIce, monkeypatch: pytest.MonkeyPatch) -> None:
    async with IceHook() as warm:  # what is loaded once is not the path's business
        [job async for job in warm.alist_batch_media_producing_jobs()]

    def blocks(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a blocking call on the event loop")

    monkeypatch.setattr(BaseHook, "get_connection", blocks)
    monkeypatch.setattr(Connection, "get", blocks)
    monkeypatch.setattr(Connection, "extra_dejson", property(blocks))
    monkeypatch.setattr("airflow_ice.hooks.mask_secret", blocks)
    monkeypatch.setattr(httpx, "Client", blocks)
    monkeypatch.setattr("airflow_ice.api.client.time.sleep", blocks)
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        assert self.gettimeout() == 0, "a blocking socket"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    ice.fault("error")  # so that a pause is in it
    assert await IceHook().aget_media_producing_job(await anew(ice))


async def anew(ice: LocalIce) -> str:
    hook = IceHook()
    job_id = await hook.asubmit_batch_media_producing_job(**BATCH, client_token="t-3")
    await asyncio.to_thread(ice.finish_all)
    return (await hook.aget_batch_media_producing_job(job_id)).sub_jobs[0].job_id


async def test_the_async_path_leaves_the_loop_to_others(ice: LocalIce, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    async with IceHook() as warm:
        [job async for job in warm.alist_batch_media_producing_jobs()]
    loop.set_debug(True)
    loop.slow_callback_duration = 0.2  # from here on a triggerer complains, too
    lags = [0.0]

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - began - 0.005)

    watcher = asyncio.create_task(watch())
    caplog.set_level(logging.WARNING, logger="asyncio")
    ice.fault("slow", seconds=0.3)
    async with IceHook() as hook:
        await asyncio.gather(*(listed(hook) for _ in range(4)))
    watcher.cancel()
    assert max(lags) < 0.2
    assert not [record for record in caplog.records if record.name == "asyncio" and "took" in record.getMessage()]


async def listed(hook: IceHook) -> int:
    return len([job async for job in hook.alist_batch_media_producing_jobs()])


async def test_credentials_that_block_are_asked_in_a_thread(
    ice: LocalIce, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    threads: list[str] = []

    class Library:
        def get_credential(self) -> Any:
            from alibabacloud_credentials.models import CredentialModel

            threads.append(threading.current_thread().name)
            return CredentialModel(access_key_id=ice.access_key_id, access_key_secret=ice.access_key_secret)

    monkeypatch.setattr("alibabacloud_credentials.client.Client", Library)
    set_connection(ice, login=None, password=None, extra={"credential_type": "default"})
    await listed(IceHook())
    assert threads
    assert threading.main_thread().name not in threads


# The connection test


def said_of_connection() -> tuple[bool, str]:
    return IceHook().test_connection()


def test_a_good_connection_is_told_so_after_one_free_call(ice: LocalIce) -> None:
    before = len(ice.requests())
    good, said = said_of_connection()
    assert good, said
    assert f"127.0.0.1:{ice.port}" in said
    assert [seen["action"] for seen in ice.requests()[before:]] == ["ListBatchMediaProducingJobs"]


def test_it_works_as_airflow_calls_it(ice: LocalIce) -> None:
    connection = BaseHook.get_connection("ice_default")
    good, said = Connection.from_uri(connection.get_uri(), conn_id="random_name").test_connection()
    assert good, said


UNUSED = "127.0.0.1:9"


@pytest.mark.parametrize(
    ("fields", "fault", "says"),
    [
        ({"password": "wr0ng-s3cret"}, {}, "AccessKey secret of the connection (password) is wrong"),
        ({"login": "LTAIunknown"}, {}, "AccessKey ID of the connection (login) does not exist"),
        ({"login": ""}, {}, "login"),
        ({}, {"kind": "unauthorized_ram"}, "ice:ListBatchMediaProducingJobs"),
        ({}, {"kind": "error", "status": 403, "code": "OperationDenied"}, "Open Intelligent Media Services"),
        ({}, {"kind": "error", "status": 403, "code": "Forbidden.SubscriptionRequired"}, "subscription"),
        ({}, {"kind": "throttle"}, "Throttling"),
        ({}, {"kind": "html"}, "502"),
        ({}, {"kind": "reset"}, "no reply"),
        ({"host": UNUSED}, {}, "Check the endpoint"),
        ({"extra": {"proxy": f"http://user:hunter22@{UNUSED}"}}, {}, "proxy"),
        ({"extra": {"proxy": "not a proxy"}}, {}, "proxy"),
        ({"extra": {"verify": "/nowhere.pem"}, "host": f"https://{UNUSED}"}, {}, "verify"),
        ({"extra": {"security_token": "t0k3n-of-sts"}}, {}, "STS token"),
        ({"extra": {"region_id": "Atlantis"}, "host": ""}, {}, "region_id"),
        ({"extra": {"connect_timeout": "soon"}}, {}, "connect_timeout"),
        (
            {
                "extra": {
                    "credential_type": "credentials_uri",
                    "credentials_uri": f"http://u:hunter22@{UNUSED}/c?token=t0k3n-of-sts",
                }
            },
            {},
            "no credentials could be had",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_that_help(
    fields: dict[str, Any], fault: dict[str, Any], says: str, ice: LocalIce, set_connection: SetConnection
) -> None:
    set_connection(ice, **fields)
    if fault:
        ice.fault(**fault)
    began = time.monotonic()
    good, said = said_of_connection()
    assert not good
    assert says in said
    assert "billed" not in said  # there may be no job at all
    assert time.monotonic() - began < 8
    for secret in (ice.access_key_secret, "wr0ng-s3cret", "hunter22", "t0k3n-of-sts", "Signature="):
        assert secret not in said


def test_a_clock_that_is_off_is_named(ice: LocalIce, monkeypatch: pytest.MonkeyPatch) -> None:
    late = SimpleNamespace(now=lambda zone: datetime.now(zone) - timedelta(minutes=20))
    monkeypatch.setattr(client, "datetime", late)
    good, said = said_of_connection()
    assert not good
    assert "clock of this machine" in said


def test_it_does_not_retry(ice: LocalIce) -> None:
    before = len(ice.requests())
    ice.fault("error", times=3)
    assert not said_of_connection()[0]
    assert len(ice.requests()) - before == 1


# Secrets


async def test_secrets_are_masked_in_both_colours(set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []

    async def amask(secret: str) -> None:
        masked.append(secret)

    monkeypatch.setattr("airflow_ice.hooks.mask_secret", masked.append)
    monkeypatch.setattr("airflow_ice.hooks.amask_secret", amask)
    set_connection(extra={"security_token": "t0k3n-of-sts", "proxy": "http://user:hunter22@proxy.example:1"})
    secrets = {"testsecret", "t0k3n-of-sts", "hunter22"}
    IceHook()._read()
    assert set(masked) == secrets
    masked.clear()
    await IceHook()._aread()
    assert set(masked) == secrets


def test_nothing_is_logged_that_is_secret(ice: LocalIce, set_connection: SetConnection, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    set_connection(ice, password="wr0ng-s3cret")
    hook = IceHook()
    with pytest.raises(IceAuthenticationError) as caught:
        hook.get_batch_media_producing_job("job-1")
    error: IceError = caught.value
    shown = caplog.text + str(error) + repr(error) + json.dumps(error.as_dict()) + repr(vars(hook))
    for secret in ("wr0ng-s3cret", "Signature=", "StringToSign"):
        assert secret not in shown
    assert error.request_id
    assert error.recommend
