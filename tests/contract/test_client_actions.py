"""Both clients, blocking and async, against the local ICE: every action, every fault that a wait
meets."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from alibabacloud_ice20201109 import models as sdk
from alibabacloud_ice20201109.client import Client as SdkClient
from alibabacloud_tea_openapi.utils_models import Config

from airflow_ice.api.client import AsyncIceClient, ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import endpoint
from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceInputError,
    IceJobNotFoundError,
    IceNotFoundError,
    IceParameterError,
    IcePermissionError,
    IceThrottledError,
    IceTimeoutError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.retries import RetryPolicy
from airflow_ice.api.signature import Credentials
from airflow_ice.emulator.local import LocalIce

GET, LIST, SUBMIT = (
    "GetBatchMediaProducingJob",
    "ListBatchMediaProducingJobs",
    "SubmitBatchMediaProducingJob",
)
BUCKET = "http://b.oss-cn-shanghai.aliyuncs.com"
INPUT = {"MediaArray": [f"{BUCKET}/a.mp4"], "SpeechTextArray": ["回龙观盒马鲜生开业啦"]}
OUTPUT = {"MediaURL": f"{BUCKET}/x_{{index}}.mp4", "Count": 2, "Width": 128, "Height": 128}
SCENE_OUTPUT = {"MediaURL": f"{BUCKET}/y_{{index}}.mp4", "Width": 128, "Height": 128}
BATCH: dict[str, Any] = {"input_config": INPUT, "output_config": OUTPUT}


@pytest.fixture
def ice() -> Iterator[LocalIce]:
    with LocalIce(render=False, security_token="tok+en/==", bearer_token="b-token") as found:
        found.freeze()
        yield found


class Caller:
    """Makes calls, blocking or async, by the name of the action's method."""

    def __init__(self, colour: str, ice: LocalIce) -> None:
        self.colour = colour
        self.ice = ice
        self.credentials = Credentials(ice.access_key_id, ice.access_key_secret)
        self.settings: dict[str, Any] = {"retry": RetryPolicy(tries=3, first_pause=0.0)}

    async def __call__(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        settings = ClientSettings(endpoint(host=self.ice.url), **self.settings)
        source = FixedCredentials(self.credentials)
        if self.colour == "sync":
            with IceClient(settings, source) as client:
                found = getattr(client, name)(*args, **kwargs)
                return list(found) if name.startswith("list") else found
        async with AsyncIceClient(settings, source) as aclient:
            found = getattr(aclient, f"a{name}")(*args, **kwargs)
            return [job async for job in found] if name.startswith("list") else await found

    async def refused(self, kind: type[Exception], name: str, /, *args: Any, **kwargs: Any) -> Any:
        with pytest.raises(kind) as caught:
            await self(name, *args, **kwargs)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, ice: LocalIce) -> Caller:
    return Caller(request.param, ice)


def statuses(ice: LocalIce, action: str) -> list[int]:
    return [seen["http_status"] for seen in ice.requests(action)]


async def test_a_batch_from_submit_to_its_videos(call: Caller, ice: LocalIce) -> None:
    data = {"k": "键 +&="}
    job_id = await call(
        "submit_batch_media_producing_job",
        **BATCH,
        user_data=data,
        client_token="k",
        editing_config={},
    )
    begun = await call("get_batch_media_producing_job", job_id)
    assert (begun.job_id, begun.job_type, begun.status, begun.complete_time) == (
        job_id,
        "Smart_Mix",
        "Init",
        None,
    )
    assert json.loads(begun.input_config) == INPUT
    assert json.loads(begun.output_config) == OUTPUT
    assert json.loads(begun.user_data) == data
    ice.finish_all()
    ended = await call("get_batch_media_producing_job", job_id)
    assert ended.status == "Finished"
    assert ended.complete_time >= ended.create_time
    assert [(sub.index, sub.status, sub.media_url) for sub in ended.sub_jobs] == [
        (0, "Success", f"{BUCKET}/x_0.mp4"),
        (1, "Success", f"{BUCKET}/x_1.mp4"),
    ]
    single = await call("get_media_producing_job", ended.sub_jobs[0].job_id)
    assert (single.status, single.progress, single.media_id) == (
        "Success",
        100,
        ended.sub_jobs[0].media_id,
    )
    assert single.duration == ended.sub_jobs[0].duration
    assert json.loads(single.sub_job_materials)["SpeechText"]


async def test_a_media_asset_has_a_signed_url(call: Caller, ice: LocalIce) -> None:
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    sub = (await call("get_batch_media_producing_job", job_id)).sub_jobs[0]
    info = await call("get_media_info", sub.media_id, auth_timeout=60)
    assert (info.media_id, info.status, info.input_url) == (sub.media_id, "Normal", sub.media_url)
    assert info.source_file.width == 128
    assert "Expires=" in info.file_url
    assert info.file_url not in repr(info)
    assert (await call("get_media_info", input_url=sub.media_url)).media_id == sub.media_id


async def test_the_chain_of_three_scene_actions(call: Caller, ice: LocalIce) -> None:
    selection = await call(
        "submit_scene_media_selection_job",
        job_type="Smart_Mix_Media_Select",
        input_config=INPUT,
        output_config=OUTPUT,
    )
    ice.finish_all()
    selected = await call("get_batch_media_producing_job", selection)
    assert (selected.job_type, selected.sub_jobs) == ("Smart_Mix_Media_Select", ())
    organization = await call(
        "submit_scene_timeline_organization_job",
        job_type="Smart_Mix_Timeline_Organize",
        input_config=INPUT,
        media_select_result=selected.extend_output,
        output_config=OUTPUT,
    )
    ice.finish_all()
    organized = await call("get_batch_media_producing_job", organization)
    assert organized.job_type == "Smart_Mix_Timeline_Organize"
    assert json.loads(organized.extend_input) == json.loads(selected.extend_output)
    projects = [sub.project_id for sub in organized.sub_jobs]
    assert all(projects)
    editing = await call(
        "submit_scene_batch_editing_job", project_ids=projects, output_config=SCENE_OUTPUT
    )
    ice.finish_all()
    edited = await call("get_batch_media_producing_job", editing)
    assert edited.job_type == "Scene_Batch_Editing"
    assert json.loads(edited.extend_input) == projects
    assert [sub.index for sub in edited.sub_jobs] == list(range(len(projects)))


@pytest.mark.parametrize(
    ("name", "arguments", "job_type"),
    [
        (
            "submit_screen_media_highlights_job",
            {**BATCH, "input_config": {"MediaArray": [f"{BUCKET}/a.mp4"]}},
            "Screen_Media_Highlights",
        ),
        (
            "submit_sports_highlights_job",
            {
                "input_config": {"SportsCategory": "basketball", "InputMedia": f"{BUCKET}/a.mp4"},
                "output_config": OUTPUT,
            },
            "Sports_Highlights",
        ),
        (
            "submit_batch_media_producing_job",
            {
                **BATCH,
                "input_config": {"MediaGroupArray": [{"GroupName": "g", "MediaArray": ["m"]}]},
            },
            "Script",
        ),
    ],
)
async def test_the_other_submits(
    call: Caller, name: str, arguments: dict[str, Any], job_type: str
) -> None:
    job_id = await call(name, **arguments, user_data={"k": 1})
    job = await call("get_batch_media_producing_job", job_id)
    assert (job.job_type, job.user_data) == (job_type, '{"k": 1}')


async def test_all_pages_and_all_filters_of_the_list(call: Caller, ice: LocalIce) -> None:
    ids = []
    for _ in range(5):
        ids.append(await call("submit_batch_media_producing_job", **BATCH))
        ice.advance(60)

    async def listed(**filters: Any) -> list[str]:
        return [job.job_id for job in await call("list_batch_media_producing_jobs", **filters)]

    assert await listed(page_size=2) == ids[::-1]
    assert statuses(ice, LIST) == [200, 200, 200]
    assert await listed(page_size=2, sort_by="asc") == ids
    assert await listed() == ids[::-1]
    assert await listed(job_id=ids[1]) == [ids[1]]
    assert await listed(job_type="Script") == []
    assert await listed(job_type="Smart_Mix", status="Finished", page_size=3) == ids[::-1]
    assert await listed(status="Failed") == []
    times = [
        job.create_time for job in await call("list_batch_media_producing_jobs", sort_by="asc")
    ]
    assert await listed(start_time=times[1], end_time=times[3], sort_by="asc") == ids[1:4]
    assert await listed(start_time=times[4].strftime("%Y-%m-%dT%H:%M:%SZ")) == [ids[4]]
    rows = await call("list_batch_media_producing_jobs")
    assert all(
        job.sub_jobs == () and job.extend_output is None and job.error is None for job in rows
    )


async def test_sub_jobs_fail_one_by_one(call: Caller, ice: LocalIce) -> None:
    ice.fault("sub_jobs_fail", indexes=[1], code="ProduceFailed", message="cannot")
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    job = await call("get_batch_media_producing_job", job_id)
    assert job.status == "Finished"
    assert [(sub.status, sub.error_code, sub.error_message) for sub in job.sub_jobs] == [
        ("Success", None, None),
        ("Failed", "ProduceFailed", "cannot"),
    ]


async def test_a_failed_job_says_why(call: Caller, ice: LocalIce) -> None:
    ice.fault("job_fails", code="InvalidMaterial.NotFound", message="not there")
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    job = await call("get_batch_media_producing_job", job_id)
    assert (job.status, str(job.error)) == ("Failed", "InvalidMaterial.NotFound: not there")
    (row,) = await call("list_batch_media_producing_jobs", status="Failed")
    assert (row.job_id, row.error) == (job_id, job.error)


async def test_the_documentation_s_oddities(call: Caller, ice: LocalIce) -> None:
    ice.fault("doc_quirks")
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    job = await call("get_batch_media_producing_job", f"{job_id}\n")
    assert job.job_id == job_id
    assert job.complete_time is not None
    assert [(sub.index, sub.media_url, sub.status) for sub in job.sub_jobs] == [
        (0, f"{BUCKET}/x_0.mp4", "Success"),
        (1, f"{BUCKET}/x_1.mp4", "Success"),
    ]
    assert isinstance(job.sub_jobs[0].duration, float)
    assert job.sub_jobs[0].error_code == "InvalidMaterial.NotFound"
    assert job.other_fields == {"EmulatorExtraField": {"Unknown": [1, 2, 3]}}


@pytest.mark.parametrize("null", [True, False])
async def test_sub_jobs_that_are_not_there_yet(call: Caller, ice: LocalIce, null: bool) -> None:
    ice.fault("sub_jobs_hidden", seconds=30, null=null)
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    assert isinstance((await call("get_batch_media_producing_job", job_id)).sub_jobs, tuple)


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("throttle", {}, IceThrottledError),
        ("throttle", {"code": "RequestsTooFrequent", "status": 403}, IceThrottledError),
        ("throttle", {"status": 429, "code": "Busy"}, IceThrottledError),
        ("error", {}, IceUnavailableError),
        ("error", {"status": 500, "code": "InternalError"}, IceUnavailableError),
        ("html", {"status": 502}, IceUnavailableError),
        ("reset", {}, IceTransportError),
    ],
)
async def test_what_passes_is_outlived_and_what_stays_is_told(
    call: Caller, ice: LocalIce, kind: str, options: dict[str, Any], error: type[Exception]
) -> None:
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.fault(kind, action=GET, times=2, **options)
    assert (await call("get_batch_media_producing_job", job_id)).job_id == job_id
    assert len(ice.requests(GET)) == 3
    ice.fault(kind, action=GET, times=3, **options)
    told = await call.refused(error, "get_batch_media_producing_job", job_id)
    assert told.transient
    assert told.submitted is None
    assert told.action == GET
    assert told.http_status == (options.get("status", {"throttle": 400, "error": 503}.get(kind)))
    assert len(ice.requests(GET)) == 6


async def test_a_throttled_call_waits_as_long_as_the_service_asks(
    call: Caller, ice: LocalIce, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("airflow_ice.api.client.time.sleep", slept.append)
    monkeypatch.setattr("airflow_ice.api.client.asyncio.sleep", sleep)
    ice.fault("throttle", action=LIST, retry_after_ms=1500)
    assert await call("list_batch_media_producing_jobs") == []
    assert slept == [1.5]
    ice.fault("throttle", action=LIST, retry_after_ms=60_000)
    error = await call.refused(IceThrottledError, "list_batch_media_producing_jobs")
    assert error.retry_after == 60
    assert slept == [1.5]


async def test_the_rate_limit_is_kept_by_every_try(call: Caller, ice: LocalIce) -> None:
    reserved: list[int] = []

    class Limiter(RateLimiter):
        def take(self, *, priority: int = 0) -> float:
            reserved.append(1)
            return 0.0

    call.settings["limiter"] = Limiter()
    ice.fault("error", action=LIST, times=2)
    await call("list_batch_media_producing_jobs")
    assert len(reserved) == 3


async def test_an_unknown_job(call: Caller, ice: LocalIce) -> None:
    error = await call.refused(IceJobNotFoundError, "get_batch_media_producing_job", "nosuchjob")
    assert (error.http_status, error.code) == (404, "ResourceNotFound")
    assert error.request_id
    assert error.recommend.startswith("https://api.aliyun.com/troubleshoot?q=ResourceNotFound")
    assert len(ice.requests(GET)) == 1
    await call.refused(IceJobNotFoundError, "get_media_producing_job", "nosuchjob")
    await call.refused(IceNotFoundError, "get_media_info", "nosuchmedia")


async def test_a_success_without_a_job(call: Caller, ice: LocalIce) -> None:
    job_id = await call("submit_batch_media_producing_job", **BATCH)
    ice.fault("empty_job")
    error = await call.refused(IceJobNotFoundError, "get_batch_media_producing_job", job_id)
    assert (error.http_status, bool(error.request_id)) == (200, True)


async def test_permission_is_asked_for_by_name(call: Caller, ice: LocalIce) -> None:
    ice.fault("unauthorized_ram", action=LIST)
    error = await call.refused(IcePermissionError, "list_batch_media_producing_jobs")
    assert "Allow ice:ListBatchMediaProducingJobs in the RAM policy" in str(error)
    assert (error.http_status, error.code) == (403, "Forbidden.RAM")


class TestSubmitOnce:
    """A submit is repeated only where a ClientToken makes that harmless."""

    async def test_a_lost_reply_with_a_client_token_finds_the_same_job(
        self, call: Caller, ice: LocalIce
    ) -> None:
        ice.fault("lost_reply", action=SUBMIT)
        job_id = await call("submit_batch_media_producing_job", **BATCH, client_token="k")
        assert [job["job_id"] for job in ice.jobs()] == [job_id]
        assert len(ice.requests(SUBMIT)) == 2

    @pytest.mark.parametrize("kind", ["lost_reply", "error", "html", "throttle"])
    async def test_without_one_it_is_sent_once(
        self, call: Caller, ice: LocalIce, kind: str
    ) -> None:
        ice.fault(kind, action=SUBMIT)
        with pytest.raises((IceTransportError, IceUnavailableError, IceThrottledError)) as caught:
            await call("submit_batch_media_producing_job", **BATCH)
        assert len(ice.requests(SUBMIT)) == 1
        assert caught.value.submitted == ("no" if kind == "throttle" else "unknown")
        assert len(ice.jobs()) == (1 if kind == "lost_reply" else 0)

    async def test_a_lost_reply_stays_unknown_whatever_comes_after(
        self, call: Caller, ice: LocalIce
    ) -> None:
        ice.fault("lost_reply", action=SUBMIT)
        ice.fault("error", action=SUBMIT, status=403, code="OperationDenied.Suspended")
        error = await call.refused(
            IcePermissionError, "submit_batch_media_producing_job", **BATCH, client_token="k"
        )
        assert error.submitted == "unknown"
        assert len(ice.jobs()) == 1

    async def test_no_reply_in_time(self, call: Caller, ice: LocalIce) -> None:
        call.settings["read_timeout"] = 0.1
        ice.fault("slow", action=SUBMIT, seconds=0.25)
        error = await call.refused(IceTimeoutError, "submit_batch_media_producing_job", **BATCH)
        assert error.submitted == "unknown"
        assert "no reply within 0.1 s" in str(error)
        assert error.__cause__ is not None

    async def test_a_refusal_made_no_job(self, call: Caller, ice: LocalIce) -> None:
        elsewhere = {**OUTPUT, "MediaURL": "http://b.oss-cn-beijing.aliyuncs.com/x_{index}.mp4"}
        error = await call.refused(
            IceParameterError,
            "submit_batch_media_producing_job",
            input_config=INPUT,
            output_config=elsewhere,
        )
        assert (error.submitted, error.http_status) == ("no", 400)
        assert '"OutputConfig.MediaURL" is not valid' in str(error)
        assert "an OSS URL must be in the region of the endpoint" in str(error)
        assert "No job was made and nothing is billed." in str(error)
        assert ice.jobs() == []

    async def test_a_client_token_names_one_set_of_parameters(self, call: Caller) -> None:
        await call("submit_batch_media_producing_job", **BATCH, client_token="k")
        error = await call.refused(
            IceParameterError,
            "submit_batch_media_producing_job",
            **BATCH,
            user_data={"other": 1},
            client_token="k",
        )
        assert error.code == "IdempotentParameterMismatch"

    async def test_what_is_known_to_be_refused_is_not_sent(
        self, call: Caller, ice: LocalIce
    ) -> None:
        with pytest.raises(IceInputError):
            await call(
                "submit_batch_media_producing_job",
                input_config=INPUT,
                output_config={**OUTPUT, "Count": 101},
            )
        assert ice.requests() == []


class TestCredentials:
    """What the service says to wrong ones, and that no text of ours repeats them."""

    @pytest.mark.parametrize("submit", [False, True])
    @pytest.mark.parametrize(
        ("credentials", "code", "status"),
        [
            (Credentials("testid", "wr0ngsecret"), "SignatureDoesNotMatch", 400),
            (Credentials("unknownid", "testsecret"), "InvalidAccessKeyId.NotFound", 404),
            (Credentials("testid", "testsecret", "wr0ngt0ken"), None, 400),
            (Credentials(bearer_token="wr0ngbearer"), "InvalidBearerToken", 400),
        ],
    )
    async def test_wrong_credentials_are_an_authentication_error(
        self,
        call: Caller,
        ice: LocalIce,
        credentials: Credentials,
        code: str | None,
        status: int,
        submit: bool,
    ) -> None:
        call.credentials = credentials
        arguments: dict[str, Any] = BATCH if submit else {"job_id": "J"}
        name = "submit_batch_media_producing_job" if submit else "get_batch_media_producing_job"
        error = await call.refused(IceAuthenticationError, name, **arguments)
        assert error.http_status == status
        assert error.code == code or (
            code is None and error.code.startswith("InvalidSecurityToken")
        )
        assert error.submitted == ("no" if submit else None)
        assert len(ice.requests()) == 1
        shown = f"{error} {error!r} {error.as_dict()} {error.__dict__}"
        for secret in ("wr0ng", "testsecret", "CanonicalRequest", "x-acs-"):
            assert secret not in shown

    @pytest.mark.parametrize(
        "credentials",
        [
            Credentials("testid", "testsecret"),
            Credentials("testid", "testsecret", "tok+en/==", provider_name="static_sts"),
            Credentials(bearer_token="b-token"),
        ],
    )
    async def test_right_credentials_are_accepted(
        self, call: Caller, credentials: Credentials
    ) -> None:
        call.credentials = credentials
        job_id = await call("submit_batch_media_producing_job", **BATCH, user_data={"k": "键 +*~"})
        assert (await call("get_batch_media_producing_job", job_id)).job_id == job_id
        assert len(await call("list_batch_media_producing_jobs")) == 1

    @pytest.mark.parametrize("value", ["hunter2\n", "hunter2密"])
    async def test_one_that_cannot_travel_in_a_header_is_refused_here(
        self, call: Caller, ice: LocalIce, value: str
    ) -> None:
        call.credentials = Credentials("testid", "testsecret", value)
        with pytest.raises(Exception, match="security_token holds a blank, a line end") as caught:
            await call("submit_batch_media_producing_job", **BATCH)
        assert getattr(caught.value, "submitted", None) == "no"
        assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"
        assert ice.requests() == []


@pytest.mark.parametrize(
    "keys",
    [
        {"access_key_id": "testid", "access_key_secret": "testsecret"},
        {
            "access_key_id": "testid",
            "access_key_secret": "testsecret",
            "security_token": "tok+en/==",
        },
        {"bearer_token": "b-token"},
    ],
)
def test_the_official_sdk_is_accepted_by_the_same_service(
    ice: LocalIce, keys: dict[str, str]
) -> None:
    client = SdkClient(Config(endpoint=f"127.0.0.1:{ice.port}", protocol="http", **keys))
    data = json.dumps({"k": "键 +*~"}, ensure_ascii=False)
    request = sdk.SubmitBatchMediaProducingJobRequest(
        input_config=json.dumps(INPUT),
        output_config=json.dumps(OUTPUT),
        user_data=data,
        client_token="k",
    )
    job_id = client.submit_batch_media_producing_job(request).body.job_id
    found = client.get_batch_media_producing_job(
        sdk.GetBatchMediaProducingJobRequest(job_id=job_id)
    ).body.editing_batch_job
    assert (found.job_id, found.user_data) == (job_id, data)
    listed = client.list_batch_media_producing_jobs(
        sdk.ListBatchMediaProducingJobsRequest(max_results=10)
    ).body
    assert [job.job_id for job in listed.editing_batch_job_list] == [job_id]


async def test_both_clients_and_the_sdk_read_the_same_job(ice: LocalIce) -> None:
    ours = await Caller("sync", ice)("submit_batch_media_producing_job", **BATCH)
    ice.finish_all()
    sync, asynchronous = [
        await Caller(colour, ice)("get_batch_media_producing_job", ours)
        for colour in ("sync", "async")
    ]
    client = SdkClient(
        Config(
            endpoint=f"127.0.0.1:{ice.port}",
            protocol="http",
            access_key_id="testid",
            access_key_secret="testsecret",
        )
    )
    theirs = client.get_batch_media_producing_job(
        sdk.GetBatchMediaProducingJobRequest(job_id=ours)
    ).body.editing_batch_job
    for job in (sync, asynchronous):
        for name in ("job_id", "job_type", "status", "input_config", "output_config", "extend"):
            assert getattr(job, name) == getattr(theirs, name)
        assert [
            (sub.job_id, sub.media_id, sub.media_url, sub.project_id, sub.duration)
            for sub in job.sub_jobs
        ] == [
            (sub.job_id, sub.media_id, sub.media_url, sub.project_id, sub.duration)
            for sub in theirs.sub_job_list
        ]


def test_a_closed_client_says_so(ice: LocalIce) -> None:
    client = IceClient(
        ClientSettings(endpoint(host=ice.url)), FixedCredentials(Credentials("i", "s"))
    )
    with pytest.raises(RuntimeError, match="use it in a with block"):
        client.get_batch_media_producing_job("J")
    with client:
        pass
    with pytest.raises(RuntimeError, match="use it in a with block"):
        client.get_batch_media_producing_job("J")
    client.close()


async def test_a_closed_async_client_says_so(ice: LocalIce) -> None:
    client = AsyncIceClient(
        ClientSettings(endpoint(host=ice.url)), FixedCredentials(Credentials("i", "s"))
    )
    with pytest.raises(RuntimeError, match="use it in an async with block"):
        await client.aget_batch_media_producing_job("J")
    await client.aclose()


def test_threads_share_one_client(ice: LocalIce) -> None:
    settings = ClientSettings(endpoint(host=ice.url), retry=RetryPolicy(tries=1))
    failed: list[BaseException] = []
    with IceClient(settings, FixedCredentials(Credentials("testid", "testsecret"))) as client:

        def look() -> None:
            try:
                assert list(client.list_batch_media_producing_jobs()) == []
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                failed.append(error)

        threads = [threading.Thread(target=look) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert statuses(ice, LIST) == [200] * 16


async def test_tasks_share_one_client(ice: LocalIce) -> None:
    settings = ClientSettings(endpoint(host=ice.url), retry=RetryPolicy(tries=1))
    async with AsyncIceClient(
        settings, FixedCredentials(Credentials("testid", "testsecret"))
    ) as client:

        async def look() -> int:
            return len([job async for job in client.alist_batch_media_producing_jobs()])

        looks: list[Callable[[], Coroutine[Any, Any, int]]] = [look] * 16
        assert await asyncio.gather(*(one() for one in looks)) == [0] * 16
    assert statuses(ice, LIST) == [200] * 16


async def test_a_repeated_call_is_told_in_the_log_without_secrets(
    call: Caller, ice: LocalIce, caplog: pytest.LogCaptureFixture
) -> None:
    ice.fault("error", action=LIST, message="http://b/x?Signature=s3cret")
    with caplog.at_level(logging.DEBUG, "airflow_ice"):
        await call("list_batch_media_producing_jobs")
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.INFO and record.name.startswith("airflow_ice.api")
    ]
    assert len(lines) == 1
    assert lines[0].startswith("ListBatchMediaProducingJobs will be tried again in 0.0 s:")
    # What to do, and where to read more, is said by the exception.
    assert "Recommend" not in lines[0]
    assert not any(record.levelno >= logging.WARNING for record in caplog.records)
    told = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("airflow_ice.api")
    ]
    assert any("request id" in message for message in told)
    assert not any("s3cret" in message or "testsecret" in message for message in told)
