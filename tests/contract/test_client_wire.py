"""What is on the wire: for the same arguments, our requests and the official SDK's are the same, in
every action and both colours.

A server on loopback writes down what it gets. The SDK is the judge: it knows which parameter
travels in the query and which in the form, how values are written, and which headers a credential
brings.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
from alibabacloud_ice20201109 import models as sdk
from alibabacloud_ice20201109.client import Client as SdkClient
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.request import DaraRequest

from airflow_ice.api import signature
from airflow_ice.api.client import USER_AGENT, AsyncIceClient, ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import endpoint
from airflow_ice.api.errors import IceError
from airflow_ice.api.retries import RetryPolicy
from airflow_ice.api.signature import Credentials

KEYS = Credentials("testid", "testsecret", provider_name="static_ak")


@dataclass(frozen=True)
class Request:
    """A request as it came, its query and form decoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return dict(
            parse_qsl(self.target.partition("?")[2], keep_blank_values=True, strict_parsing=True)
        )

    @property
    def form(self) -> dict[str, str]:
        return (
            dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))
            if self.body
            else {}
        )


@dataclass
class CaptureServer:
    """Writes requests down. Answers with the next of `answers` (status, body), and with `body` when
    there is none."""

    body: Mapping[str, Any] = field(default_factory=dict)
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    def settings(self, tries: int = 1) -> ClientSettings:
        return ClientSettings(
            endpoint(host="127.0.0.1", port=self.port),
            retry=RetryPolicy(tries=tries, first_pause=0.0),
        )

    def sdk_client(self, **keys: str) -> SdkClient:
        return SdkClient(Config(endpoint=f"127.0.0.1:{self.port}", protocol="http", **keys))

    def take(self) -> Request:
        (request,) = self.requests
        self.requests.clear()
        return request


@pytest.fixture(scope="module")
def running() -> Iterator[CaptureServer]:
    found = CaptureServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            found.requests.append(
                Request("POST", self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            status, answer = (
                found.answers.pop(0) if found.answers else (200, json.dumps(found.body))
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(answer.encode())))
            self.send_header("Connection", "close")
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(running: CaptureServer) -> CaptureServer:
    running.body, running.answers, running.requests = {}, [], []
    return running


JOB = {"RequestId": "R", "EditingBatchJob": {"JobId": "J"}}
SUBMITTED = {"RequestId": "R", "JobId": "J"}
ODD = ' "+*~/?&=%中文😀\n\t{index}'
INPUT = json.dumps(
    {"MediaArray": ["http://b.oss-cn-shanghai.aliyuncs.com/a b+c.mp4"], "TitleArray": [ODD]},
    ensure_ascii=False,
)
GROUPS = json.dumps(
    {"MediaGroupArray": [{"GroupName": "一", "MediaArray": ["m"]}], "SpeechTextArray": [ODD]}
)
SPORTS = json.dumps({"SportsCategory": "pingpong", "InputMedia": "http://b/a.mp4"})
OUTPUT = (
    '{"MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x y_{index}.mp4",\n "Count": 2,'
    ' "Width": 1080, "Height": 1920}'
)
SCENE = (
    '{"MediaURL":"http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4","Width":1080,"Height":1920}'
)
EDITING = '{"MediaConfig":{"Volume":0},"SpeechConfig":{"Volume":1}}'
DATA = json.dumps({"NotifyAddress": "https://h/p?a=b&c=d+e", "k": ODD}, ensure_ascii=False)
SELECTED = json.dumps({"textMatchMediaOutputList": [{"text": ODD}]}, ensure_ascii=False)

# The method's name is the SDK's too: arguments of ours, the SDK's request, the reply.
CALLS: list[tuple[str, dict[str, Any], Any, dict[str, Any]]] = [
    (
        "get_batch_media_producing_job",
        {"job_id": "****b6b2.-_"},
        sdk.GetBatchMediaProducingJobRequest(job_id="****b6b2.-_"),
        {"RequestId": "R", "EditingBatchJob": {"JobId": "****b6b2.-_"}},
    ),
    (
        "get_media_producing_job",
        {"job_id": "J"},
        sdk.GetMediaProducingJobRequest(job_id="J"),
        {"MediaProducingJob": {"JobId": "J"}},
    ),
    (
        "get_media_info",
        {"media_id": "M", "input_url": "http://b/a b.mp4?x=1", "auth_timeout": 60},
        sdk.GetMediaInfoRequest(media_id="M", input_url="http://b/a b.mp4?x=1", auth_timeout=60),
        {"MediaInfo": {"MediaId": "M"}},
    ),
    (
        "get_media_info",
        {"input_url": "oss://b/中.mp4"},
        sdk.GetMediaInfoRequest(input_url="oss://b/中.mp4"),
        {"MediaInfo": {"MediaId": "M"}},
    ),
    (
        "get_editing_project",
        {"project_id": "P", "request_source": "WebSDK"},
        sdk.GetEditingProjectRequest(project_id="P", request_source="WebSDK"),
        {"Project": {"ProjectId": "P"}},
    ),
    (
        "get_editing_project_materials",
        {"project_id": "P"},
        sdk.GetEditingProjectMaterialsRequest(project_id="P"),
        {"ProjectId": "P", "MediaInfos": []},
    ),
    (
        "list_batch_media_producing_jobs",
        {},
        sdk.ListBatchMediaProducingJobsRequest(max_results=100),
        {"EditingBatchJobList": []},
    ),
    (
        "list_batch_media_producing_jobs",
        {
            "status": "Finished",
            "job_type": "Script",
            "start_time": datetime(2024, 6, 13, 8, 47, 7, tzinfo=UTC),
            "end_time": "2024-06-13T09:00:00Z",
            "sort_by": "asc",
            "job_id": "J",
            "page_size": 10,
        },
        sdk.ListBatchMediaProducingJobsRequest(
            status="Finished",
            job_type="Script",
            start_time="2024-06-13T08:47:07Z",
            end_time="2024-06-13T09:00:00Z",
            sort_by="asc",
            job_id="J",
            max_results=10,
        ),
        {"EditingBatchJobList": []},
    ),
    (
        "submit_batch_media_producing_job",
        {
            "input_config": GROUPS,
            "output_config": OUTPUT,
            "editing_config": EDITING,
            "template_config": ["t1", "t2"],
            "user_data": DATA,
            "client_token": "k-1_~*",
        },
        sdk.SubmitBatchMediaProducingJobRequest(
            input_config=GROUPS,
            output_config=OUTPUT,
            editing_config=EDITING,
            template_config='["t1", "t2"]',
            user_data=DATA,
            client_token="k-1_~*",
        ),
        SUBMITTED,
    ),
    (
        "submit_batch_media_producing_job",
        {"input_config": INPUT, "output_config": OUTPUT},
        sdk.SubmitBatchMediaProducingJobRequest(input_config=INPUT, output_config=OUTPUT),
        SUBMITTED,
    ),
    (
        "submit_screen_media_highlights_job",
        {
            "input_config": INPUT,
            "output_config": OUTPUT,
            "editing_config": EDITING,
            "user_data": DATA,
        },
        sdk.SubmitScreenMediaHighlightsJobRequest(
            input_config=INPUT, output_config=OUTPUT, editing_config=EDITING, user_data=DATA
        ),
        SUBMITTED,
    ),
    (
        "submit_sports_highlights_job",
        {"input_config": SPORTS, "output_config": OUTPUT, "user_data": DATA, "client_token": "k"},
        sdk.SubmitSportsHighlightsJobRequest(
            input_config=SPORTS, output_config=OUTPUT, user_data=DATA, client_token="k"
        ),
        SUBMITTED,
    ),
    (
        "submit_scene_media_selection_job",
        {
            "job_type": "Smart_Mix_Media_Select",
            "input_config": INPUT,
            "output_config": OUTPUT,
            "editing_config": EDITING,
            "user_data": DATA,
        },
        sdk.SubmitSceneMediaSelectionJobRequest(
            job_type="Smart_Mix_Media_Select",
            input_config=INPUT,
            output_config=OUTPUT,
            editing_config=EDITING,
            user_data=DATA,
        ),
        SUBMITTED,
    ),
    (
        "submit_scene_timeline_organization_job",
        {
            "job_type": "Screen_Media_Highlights_Timeline_Organize",
            "input_config": INPUT,
            "media_select_result": SELECTED,
            "output_config": OUTPUT,
            "editing_config": EDITING,
            "user_data": DATA,
        },
        sdk.SubmitSceneTimelineOrganizationJobRequest(
            job_type="Screen_Media_Highlights_Timeline_Organize",
            input_config=INPUT,
            media_select_result=SELECTED,
            output_config=OUTPUT,
            editing_config=EDITING,
            user_data=DATA,
        ),
        SUBMITTED,
    ),
    (
        "submit_scene_batch_editing_job",
        {"project_ids": ["p1", "p2"], "output_config": SCENE, "user_data": DATA},
        sdk.SubmitSceneBatchEditingJobRequest(
            project_ids="p1,p2", output_config=SCENE, user_data=DATA
        ),
        SUBMITTED,
    ),
]


def ours(
    server: CaptureServer, name: str, arguments: dict[str, Any], credentials: Credentials = KEYS
) -> Request:
    with IceClient(server.settings(), FixedCredentials(credentials)) as client:
        found = getattr(client, name)(**arguments)
        if name.startswith("list"):
            list(found)
    return server.take()


async def ours_async(
    server: CaptureServer, name: str, arguments: dict[str, Any], credentials: Credentials = KEYS
) -> Request:
    async with AsyncIceClient(server.settings(), FixedCredentials(credentials)) as client:
        found = getattr(client, f"a{name}")(**arguments)
        if name.startswith("list"):
            async for _ in found:
                pass
        else:
            await found
    return server.take()


def theirs(server: CaptureServer, name: str, request: Any, **keys: str) -> Request:
    getattr(
        server.sdk_client(
            **(keys or {"access_key_id": "testid", "access_key_secret": "testsecret"})
        ),
        name,
    )(request)
    return server.take()


def acs_headers(request: Request) -> dict[str, str]:
    """Return the headers that the service reads, without those that differ from try to try."""
    own = {"x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
    kept = {"host", "accept", "content-type"}
    return {
        name: value
        for name, value in request.headers.items()
        if (name.startswith("x-acs-") and name not in own) or name in kept
    }


@pytest.mark.parametrize(("name", "arguments", "request_", "reply"), CALLS)
async def test_each_action_sends_what_the_sdk_sends(
    server: CaptureServer,
    name: str,
    arguments: dict[str, Any],
    request_: Any,
    reply: dict[str, Any],
) -> None:
    server.body = {"RequestId": "R", **reply}
    expected = theirs(server, name, request_)
    for request in (ours(server, name, arguments), await ours_async(server, name, arguments)):
        assert request.query == expected.query
        assert request.form == expected.form
        assert request.target.partition("?")[0] == expected.target.partition("?")[0] == "/"
        assert acs_headers(request) == acs_headers(expected)
        assert request.body == expected.body


@pytest.mark.parametrize(("name", "arguments", "request_", "reply"), CALLS)
async def test_the_sdk_s_signer_signs_our_requests_the_same(
    server: CaptureServer,
    name: str,
    arguments: dict[str, Any],
    request_: Any,
    reply: dict[str, Any],
) -> None:
    server.body = {"RequestId": "R", **reply}
    for request in (ours(server, name, arguments), await ours_async(server, name, arguments)):
        given = signature.parse_authorization(request.headers["authorization"])
        twin = DaraRequest()
        twin.method, twin.pathname, twin.query = request.method, "/", request.query
        twin.headers = {name: request.headers[name] for name in given.signed_headers}
        digest = signature.body_hash(request.body)
        assert request.headers["x-acs-content-sha256"] == digest
        assert request.headers["authorization"] == Utils.get_authorization(
            twin, "ACS3-HMAC-SHA256", digest, "testid", "testsecret"
        )


@pytest.mark.parametrize(
    ("credentials", "keys"),
    [
        (
            Credentials("testid", "testsecret", "tok+en/==", provider_name="static_sts"),
            {
                "access_key_id": "testid",
                "access_key_secret": "testsecret",
                "security_token": "tok+en/==",
            },
        ),
        (Credentials(bearer_token="bt"), {"bearer_token": "bt"}),
    ],
)
async def test_each_kind_of_credential_sends_what_the_sdk_sends(
    server: CaptureServer, credentials: Credentials, keys: dict[str, str]
) -> None:
    server.body = JOB
    expected = theirs(
        server,
        "get_batch_media_producing_job",
        sdk.GetBatchMediaProducingJobRequest(job_id="J"),
        **keys,
    )
    for request in (
        ours(server, "get_batch_media_producing_job", {"job_id": "J"}, credentials),
        await ours_async(server, "get_batch_media_producing_job", {"job_id": "J"}, credentials),
    ):
        assert request.query == expected.query
        assert acs_headers(request) == acs_headers(expected)
        assert ("authorization" in request.headers) is ("authorization" in expected.headers)


def test_a_bearer_token_is_announced_in_the_query(server: CaptureServer) -> None:
    server.body = JOB
    request = ours(
        server, "get_batch_media_producing_job", {"job_id": "J"}, Credentials(bearer_token="bt")
    )
    assert request.query == {"JobId": "J", "SignatureType": "BEARERTOKEN"}
    assert request.headers["x-acs-bearer-token"] == "bt"
    assert "authorization" not in request.headers


def test_the_query_is_sent_exactly_as_it_was_signed(server: CaptureServer) -> None:
    server.body = SUBMITTED
    request = ours(
        server,
        "submit_batch_media_producing_job",
        {"input_config": INPUT, "output_config": OUTPUT, "user_data": DATA},
    )
    assert request.target == "/?" + signature.canonical_query(request.query)


def test_we_say_who_we_are(server: CaptureServer) -> None:
    server.body = JOB
    request = ours(server, "get_batch_media_producing_job", {"job_id": "J"})
    assert request.headers["user-agent"] == USER_AGENT
    assert USER_AGENT.startswith("airflow-ice/")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_every_try_has_its_own_nonce_and_signature(
    server: CaptureServer, colour: str
) -> None:
    server.body, server.answers = JOB, [(503, "busy"), (503, "busy"), (503, "busy")]
    if colour == "sync":
        with IceClient(server.settings(tries=4), FixedCredentials(KEYS)) as client:
            client.get_batch_media_producing_job("J")
    else:
        async with AsyncIceClient(server.settings(tries=4), FixedCredentials(KEYS)) as aclient:
            await aclient.aget_batch_media_producing_job("J")
    assert len(server.requests) == 4
    assert len({request.headers["x-acs-signature-nonce"] for request in server.requests}) == 4
    assert len({request.headers["authorization"] for request in server.requests}) == 4
    assert {request.target for request in server.requests} == {"/?JobId=J"}


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_every_try_has_the_date_and_the_credentials_of_its_moment(
    server: CaptureServer, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(
        [datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 0, 20, 0, tzinfo=UTC)]
    )

    class Clock:
        @staticmethod
        def now(_zone: object) -> datetime:
            return next(moments)

    class Rotating(FixedCredentials):
        def __init__(self) -> None:
            self.keys = iter([Credentials("first", "s"), Credentials("second", "s")])

        def get(self) -> Credentials:
            return next(self.keys)

        async def aget(self) -> Credentials:
            return next(self.keys)

    monkeypatch.setattr("airflow_ice.api.client.datetime", Clock)
    server.body, server.answers = JOB, [(503, "busy")]
    if colour == "sync":
        with IceClient(server.settings(tries=2), Rotating()) as client:
            client.get_batch_media_producing_job("J")
    else:
        async with AsyncIceClient(server.settings(tries=2), Rotating()) as aclient:
            await aclient.aget_batch_media_producing_job("J")
    assert [request.headers["x-acs-date"] for request in server.requests] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:20:00Z",
    ]
    used = [
        signature.parse_authorization(request.headers["authorization"]).access_key_id
        for request in server.requests
    ]
    assert used == ["first", "second"]


def test_a_redirect_is_not_followed(server: CaptureServer) -> None:
    server.answers = [(302, "")]
    with (
        IceClient(server.settings(), FixedCredentials(KEYS)) as client,
        pytest.raises(IceError) as caught,
    ):
        client.get_batch_media_producing_job("J")
    assert caught.value.http_status == 302
    assert len(server.requests) == 1


def test_a_later_page_is_asked_for_with_its_token(server: CaptureServer) -> None:
    token = "mRZkKAovub0xWVfH14he4Q=="
    rows = {"RequestId": "R", "EditingBatchJobList": [{"JobId": "a"}], "NextToken": token}
    last = {"RequestId": "R", "EditingBatchJobList": [{"JobId": "b"}], "NextToken": ""}
    server.answers = [(200, json.dumps(rows)), (200, json.dumps(last))]
    with IceClient(server.settings(), FixedCredentials(KEYS)) as client:
        assert [job.job_id for job in client.list_batch_media_producing_jobs(page_size=1)] == [
            "a",
            "b",
        ]
    ours_ = server.requests[1]
    server.requests.clear()
    request = sdk.ListBatchMediaProducingJobsRequest(max_results=1, next_token=token)
    assert ours_.query == theirs(server, "list_batch_media_producing_jobs", request).query
