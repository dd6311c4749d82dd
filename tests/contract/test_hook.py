"""The hook against a local ICE: every action in both colours, its connection test, and an async
path that blocks nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import unquote

import httpx
import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk._shared.secrets_masker import SecretsMasker

from airflow_ice import hooks
from airflow_ice.api import client
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.errors import IceAuthenticationError, IceError, IceTransportError
from airflow_ice.api.models import MediaFile, MediaInfo
from airflow_ice.api.redaction import secrets_of_urls
from airflow_ice.api.signature import Credentials
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook
from tests.three_modes import Run, task_runner

__all__ = ["task_runner"]

GROUPS: dict[str, Any] = {
    "MediaGroupArray": [{"GroupName": "a", "MediaArray": ["icepublic-1", "icepublic-2"]}]
}
URL = "http://bucket.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4"
OUTPUT: dict[str, Any] = {"MediaURL": URL, "Count": 2, "Width": 320, "Height": 240}
BATCH: dict[str, Any] = {"input_config": GROUPS, "output_config": OUTPUT}
CLIPS: dict[str, Any] = {"MediaArray": ["icepublic-1", "icepublic-2"]}
SetConnection = Callable[..., None]
UNUSED = "127.0.0.1:9"


@pytest.fixture
def ice(connected_ice: LocalIce) -> LocalIce:
    return connected_ice


ACTIONS = [
    name
    for name, member in vars(Calls).items()
    if callable(member) and not name.startswith("_") and name != "call"
]


def test_every_action_has_both_colours() -> None:
    assert ACTIONS
    for name in ACTIONS:
        assert callable(getattr(IceHook, name))
        twin = getattr(IceHook, f"a{name}")
        assert list(inspect.signature(twin).parameters) == list(
            inspect.signature(getattr(IceHook, name)).parameters
        )
    assert {
        name.removeprefix("a")
        for name in vars(AsyncCalls)
        if name.startswith(("aget", "asubmit", "alist"))
    } == set(ACTIONS)


def test_the_journey_of_a_batch(ice: LocalIce) -> None:
    hook = IceHook()
    job_id = hook.submit_batch_media_producing_job(
        **BATCH, user_data={"Shop": "7"}, client_token="t-1"
    )
    assert (
        hook.submit_batch_media_producing_job(**BATCH, user_data={"Shop": "7"}, client_token="t-1")
        == job_id
    )
    ice.finish_all()
    job = hook.get_batch_media_producing_job(job_id)
    assert (job.job_id, job.job_type, job.status) == (job_id, "Script", "Finished")
    assert [sub.status for sub in job.sub_jobs] == ["Success", "Success"]
    assert job.user_data == '{"Shop": "7"}'
    sub = hook.get_media_producing_job(job.sub_jobs[1].job_id)
    assert (sub.media_id, sub.status) == (job.sub_jobs[1].media_id, "Success")
    assert job_id in [row.job_id for row in hook.list_batch_media_producing_jobs(status="Finished")]


async def test_the_same_journey_with_the_async_twins(ice: LocalIce) -> None:
    async with IceHook() as hook:
        job_id = await hook.asubmit_batch_media_producing_job(**BATCH, client_token="t-2")
        await asyncio.to_thread(ice.finish_all)
        job = await hook.aget_batch_media_producing_job(job_id)
        assert [sub.status for sub in job.sub_jobs] == ["Success", "Success"]
        sub = await hook.aget_media_producing_job(job.sub_jobs[0].job_id)
        assert sub.media_id == job.sub_jobs[0].media_id
        rows = [
            row.job_id
            async for row in hook.alist_batch_media_producing_jobs(status="Finished", page_size=1)
        ]
        assert job_id in rows


SUBMITS: dict[str, dict[str, Any]] = {
    "submit_batch_media_producing_job": BATCH,
    "submit_screen_media_highlights_job": {"input_config": CLIPS, "output_config": OUTPUT},
    "submit_scene_media_selection_job": {
        "job_type": "Smart_Mix_Media_Select",
        "input_config": CLIPS,
        "output_config": OUTPUT,
    },
}


@pytest.mark.parametrize("name", SUBMITS)
async def test_submits_in_both_colours(name: str, ice: LocalIce) -> None:
    hook = IceHook()
    jobs = [
        await asyncio.to_thread(getattr(hook, name), **SUBMITS[name]),
        await getattr(hook, f"a{name}")(**SUBMITS[name]),
    ]
    assert jobs == [job["job_id"] for job in ice.jobs()][-2:]


async def test_the_scene_actions_pass_their_results_on(ice: LocalIce) -> None:
    def ended(job_id: str) -> Any:
        ice.finish_all()
        return hook.get_batch_media_producing_job(job_id)

    hook = IceHook()
    scene: dict[str, Any] = {"input_config": CLIPS, "output_config": OUTPUT}
    selected = await asyncio.to_thread(
        ended, hook.submit_scene_media_selection_job(job_type="Smart_Mix_Media_Select", **scene)
    )
    arranged = await asyncio.to_thread(
        ended,
        await hook.asubmit_scene_timeline_organization_job(
            job_type="Smart_Mix_Timeline_Organize",
            media_select_result=selected.extend_output,
            **scene,
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


def test_a_block_shares_one_connection_and_calls_alone_do_not(
    ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_connection_is_read_once_and_not_when_the_hook_is_made(
    ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_the_async_path_reads_and_sends_nothing_that_blocks(
    ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert await IceHook().aget_media_producing_job(await new_sub_job(ice))


async def new_sub_job(ice: LocalIce) -> str:
    hook = IceHook()
    job_id = await hook.asubmit_batch_media_producing_job(**BATCH, client_token="t-3")
    await asyncio.to_thread(ice.finish_all)
    return (await hook.aget_batch_media_producing_job(job_id)).sub_jobs[0].job_id


async def test_the_async_path_leaves_the_loop_to_others(
    ice: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert not [
        record
        for record in caplog.records
        if record.name == "asyncio" and "took" in record.getMessage()
    ]


async def listed(hook: IceHook) -> int:
    return len([job async for job in hook.alist_batch_media_producing_jobs()])


async def test_a_tls_context_is_made_outside_of_the_loop(
    ice: LocalIce, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = httpx.create_ssl_context
    made_in: list[threading.Thread] = []

    def create(*args: Any, **kwargs: Any) -> Any:
        made_in.append(threading.current_thread())
        return make(*args, **kwargs)

    monkeypatch.setattr(httpx, "create_ssl_context", create)
    set_connection(ice, host=f"https://{UNUSED}")
    with pytest.raises(IceTransportError):
        await listed(IceHook(tries=1))
    assert made_in
    assert threading.main_thread() not in made_in


async def test_tasks_that_begin_together_share_one_client(
    ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[Any] = []
    enter = client.AsyncIceClient.__aenter__

    async def counted(self: client.AsyncIceClient) -> client.AsyncIceClient:
        entered.append(self)
        return await enter(self)

    monkeypatch.setattr(client.AsyncIceClient, "__aenter__", counted)
    async with IceHook() as hook:
        await asyncio.gather(*(listed(hook) for _ in range(4)))
    assert len(entered) == 1


# Credentials that come from elsewhere


class Library:
    """Stands in for the credentials library's client; `keys` is what it has, `made` and `asked`
    count."""

    keys: ClassVar[tuple[str, str]]
    made = 0
    asked: ClassVar[list[threading.Thread]]

    def __init__(self) -> None:
        type(self).made += 1

    def get_credential(self) -> Any:
        from alibabacloud_credentials.models import CredentialModel

        self.asked.append(threading.current_thread())
        key, secret = self.keys
        return CredentialModel(access_key_id=key, access_key_secret=secret, security_token="")


@pytest.fixture
def library(
    ice: LocalIce, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> type[Library]:
    """Let `ice_default` take its credentials from a library that counts."""

    class Own(Library):
        keys = (ice.access_key_id, ice.access_key_secret)
        asked: ClassVar[list[threading.Thread]] = []

    monkeypatch.setattr("alibabacloud_credentials.client.Client", Own)
    monkeypatch.setattr("airflow_ice.hooks._sources", OrderedDict())
    set_connection(ice, login=None, password=None, extra={"credential_type": "default"})
    return Own


async def test_credentials_that_block_are_asked_in_a_thread(library: type[Library]) -> None:
    await listed(IceHook())
    assert library.asked
    assert threading.main_thread() not in library.asked


async def test_a_process_asks_one_client_for_its_credentials(library: type[Library]) -> None:
    for _ in range(3):
        list(IceHook().list_batch_media_producing_jobs())
        await listed(IceHook("ice_default", "cn-beijing"))
    assert IceHook().test_connection()[0]
    assert library.made == 1


def test_a_sensor_that_pokes_asks_one_client_for_its_credentials(
    library: type[Library], ice: LocalIce, task_runner: None
) -> None:
    ice.freeze()
    job_id = IceHook().submit_batch_media_producing_job(**BATCH, client_token="t-poke")
    before = len(library.asked)
    run = Run("poke", job_id=job_id, timeout=0.5, poke_interval=0.1)
    assert run.outcome().kind == "AirflowSensorTimeout"
    assert len(library.asked) - before >= 2
    assert library.made == 1


def test_each_poll_of_a_sensor_reads_the_connection_once(
    ice: LocalIce, monkeypatch: pytest.MonkeyPatch, task_runner: None
) -> None:
    ice.freeze()
    job_id = IceHook().submit_batch_media_producing_job(**BATCH, client_token="t-read")
    read: list[str] = []

    def counted(_cls: type[IceHook], conn_id: str) -> Any:
        read.append(conn_id)
        return BaseHook.get_connection(conn_id)

    monkeypatch.setattr(IceHook, "get_connection", classmethod(counted))
    run = Run("poke", job_id=job_id, timeout=0.5, poke_interval=0.1)
    before = len(ice.requests("GetBatchMediaProducingJob"))
    assert run.outcome().kind == "AirflowSensorTimeout"
    polls = len(ice.requests("GetBatchMediaProducingJob")) - before
    assert polls >= 3
    assert read == ["ice_default"] * polls


def test_changed_settings_are_another_source(
    library: type[Library],
    ice: LocalIce,
    set_connection: SetConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_ice.hooks.MOST_SOURCES", 2)
    for read_timeout in (1, 2, 2, 1, 3):
        set_connection(
            ice,
            login=None,
            password=None,
            extra={"credential_type": "default", "read_timeout": read_timeout},
        )
        list(IceHook().list_batch_media_producing_jobs())
    assert library.made == 3
    assert len(hooks._sources) == 2, "an old one is let go"


async def test_credentials_that_are_refused_are_had_anew(
    library: type[Library], ice: LocalIce
) -> None:
    good = library.keys
    hook = IceHook()
    refusals: list[Callable[[], Any]] = [
        lambda: list(hook.list_batch_media_producing_jobs()),
        lambda: asyncio.run(listed(hook)),
    ]
    for made, call in enumerate(refusals, start=1):
        library.keys = ("LTAIunknown", "wr0ng-s3cret")
        with pytest.raises(IceAuthenticationError):
            await asyncio.to_thread(call)
        library.keys = good
        await asyncio.to_thread(call)
        assert library.made == made + 1
    library.keys = ("LTAIunknown", "wr0ng-s3cret")
    assert not hook.test_connection()[0]
    library.keys = good
    assert IceHook().test_connection()[0]
    assert library.made == 4


async def test_what_the_library_hands_out_is_masked_once(
    library: type[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []

    async def amask(secret: str) -> None:
        masked.append(secret)

    monkeypatch.setattr("airflow_ice.hooks.mask_secret", masked.append)
    monkeypatch.setattr("airflow_ice.hooks.amask_secret", amask)
    source = hooks.MaskedCredentials(Rotating())
    for _ in range(2):
        source.get()
    assert masked == ["secret-1", "token-1"]
    for _ in range(2):
        await source.aget()
    assert masked == ["secret-1", "token-1", "secret-2", "token-2"]
    masked.clear()
    list(IceHook().list_batch_media_producing_jobs())
    assert masked == [library.keys[1]]


class Rotating:
    """Has other credentials from the third time on."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self) -> Credentials:
        self.asked += 1
        turn = 1 + self.asked // 3
        return Credentials(f"STS.{turn}", f"secret-{turn}", f"token-{turn}")

    async def aget(self) -> Credentials:
        return self.get()


def test_no_thread_is_left_for_each_hook() -> None:
    # In a process of its own: the thread of the library's client for ECS roles outlives it.
    extra = {
        "credential_type": "ecs_ram_role",
        "role_name": "worker",
        "connect_timeout": 0.1,
        "read_timeout": 0.1,
    }
    fields = {"conn_type": "alibaba_ice", "host": UNUSED, "extra": extra}
    code = """if True:
        import os, threading
        from airflow_ice.api.errors import IceCredentialsError
        from airflow_ice.hooks import IceHook
        for _ in range(4):
            try:
                IceHook(tries=1).get_batch_media_producing_job("j")
            except IceCredentialsError:
                pass
        names = [thread.name for thread in threading.enumerate()]
        print(len([name for name in names if "APScheduler" in name]), flush=True)
        os._exit(0)
    """
    environment = {**os.environ, "AIRFLOW_CONN_ICE_DEFAULT": json.dumps(fields)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.splitlines()[-1] == "1", done.stderr


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


@pytest.mark.parametrize(
    ("fields", "fault", "says"),
    [
        (
            {"password": "wr0ng-s3cret"},
            {},
            "AccessKey secret of the connection (password) is wrong",
        ),
        ({"login": "LTAIunknown"}, {}, "AccessKey ID of the connection (login) does not exist"),
        ({"login": ""}, {}, "login"),
        ({}, {"kind": "unauthorized_ram"}, "ice:ListBatchMediaProducingJobs"),
        (
            {},
            {"kind": "error", "status": 403, "code": "OperationDenied"},
            "Open Intelligent Media Services",
        ),
        (
            {},
            {"kind": "error", "status": 403, "code": "Forbidden.SubscriptionRequired"},
            "subscription",
        ),
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
    fields: dict[str, Any],
    fault: dict[str, Any],
    says: str,
    ice: LocalIce,
    set_connection: SetConnection,
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


def test_the_test_of_a_connection_does_not_retry(ice: LocalIce) -> None:
    before = len(ice.requests())
    ice.fault("error", times=3)
    assert not said_of_connection()[0]
    assert len(ice.requests()) - before == 1


# Secrets


async def test_secrets_are_masked_in_both_colours(
    set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []

    async def amask(secret: str) -> None:
        masked.append(secret)

    monkeypatch.setattr("airflow_ice.hooks.mask_secret", masked.append)
    monkeypatch.setattr("airflow_ice.hooks.amask_secret", amask)
    set_connection(
        extra={"security_token": "t0k3n-of-sts", "proxy": "http://user:hunter22@proxy.example:1"}
    )
    secrets = {"testsecret", "t0k3n-of-sts", "hunter22"}
    IceHook()._read()
    assert set(masked) == secrets
    masked.clear()
    await IceHook()._aread()
    assert set(masked) == secrets


MEDIA_URL = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?"
SIGNED_URLS = [
    "Expires=1&OSSAccessKeyId=STS.x&Signature=s1gn4ture%2BA%3D&security-token=t0ken%2Fof-sts",
    "x-oss-signature-version=OSS4&x-oss-signature=s1gn4ture&x-oss-security-token=t0ken-of-sts",
    "auth_key=1790000000-0-0-s1gn4ture",
]


@pytest.mark.parametrize("query", SIGNED_URLS)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_signed_url_is_masked_in_logs(
    query: str,
    set_connection: SetConnection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    asynchronous: bool,
) -> None:
    set_connection(host="http://127.0.0.1:9")
    info = MediaInfo("m-1", files=(MediaFile(MEDIA_URL + query, file_type="source_file"),))

    async def answer(client: Any, operation: Any) -> MediaInfo:
        return info

    monkeypatch.setattr("airflow_ice.api.client.IceClient.call", lambda client, operation: info)
    monkeypatch.setattr("airflow_ice.api.client.AsyncIceClient.acall", answer)
    # A fresh one: what is masked stays masked.
    masker = SecretsMasker()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("airflow.sdk.log._secrets_masker", lambda: masker)
    found = (
        await IceHook().aget_media_info("m-1") if asynchronous else IceHook().get_media_info("m-1")
    )
    for line in (found.file_url, unquote(found.file_url or "")):
        event: Any = {"event": f"Client error '403 Forbidden' for url '{line}'"}
        redacted: Any = masker.redact(event)
        shown = redacted["event"]
        assert "s1gn4ture" not in shown
        assert "t0ken" not in shown
        assert "***" in shown
        assert "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?" in shown


def test_a_signature_that_is_too_short_is_not_masked() -> None:
    # It would blank other words of the log.
    assert secrets_of_urls(
        ["http://b/a.mp4?Signature=1234567", "http://b/?Signature=12345678"]
    ) == {"12345678"}


@pytest.mark.parametrize("mark", ["?", "%3F", "%253F", ";", "&", "#", "%26", "%3B", "\\u003f"])
@pytest.mark.parametrize("equals", ["=", "%3D", "\\u003d"])
def test_a_signature_is_masked_however_it_is_separated(mark: str, equals: str) -> None:
    url = f"http://b.oss-cn-shanghai.aliyuncs.com/a.mp4{mark}Signature{equals}s1gn4ture"
    assert secrets_of_urls({"FileUrl": url}) == {"s1gn4ture"}


def test_nothing_is_logged_that_is_secret(
    ice: LocalIce, set_connection: SetConnection, caplog: pytest.LogCaptureFixture
) -> None:
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
