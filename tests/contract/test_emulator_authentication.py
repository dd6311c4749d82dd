"""Signatures as the gateway checks them: what passes, and what is refused with which code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alibabacloud_credentials.client import Client as CredentialClient
from alibabacloud_credentials.models import Config as CredentialConfig
from alibabacloud_ice20201109 import models
from alibabacloud_tea_openapi.exceptions import ClientException

from airflow_ice.api.signature import Credentials, bearer_query
from airflow_ice.emulator.local import LocalIce
from tests.contract.conftest import Sdk, Wire

ACTION = "ListBatchMediaProducingJobs"


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """One emulator for the whole module."""
    with LocalIce(render=False) as ice:
        yield Wire(ice)


@pytest.fixture
def temporary() -> Iterator[LocalIce]:
    with LocalIce(render=False, security_token="tok+en/==", bearer_token="be+ar/er") as ice:
        yield ice


@pytest.mark.parametrize(
    ("config", "status", "code"),
    [
        ({"access_key_secret": "wrong"}, 400, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"security_token": "any"}, 400, "InvalidSecurityToken.Malformed"),
    ],
)
async def test_the_sdk_with_bad_credentials_is_refused(
    ice: LocalIce, config: dict[str, str], status: int, code: str
) -> None:
    client = Sdk(ice, **config).client
    request = models.ListBatchMediaProducingJobsRequest()
    with pytest.raises(ClientException) as caught:
        client.list_batch_media_producing_jobs(request)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    with pytest.raises(ClientException) as caught:
        await client.list_batch_media_producing_jobs_async(request)
    assert (caught.value.status_code, caught.value.code) == (status, code)


async def test_temporary_credentials_and_bearer_tokens_pass_when_configured(
    temporary: LocalIce,
) -> None:
    request = models.ListBatchMediaProducingJobsRequest()
    for sdk in (Sdk(temporary), Sdk(temporary, security_token="tok+en/==")):
        assert sdk.client.list_batch_media_producing_jobs(request).status_code == 200
        assert (await sdk.client.list_batch_media_producing_jobs_async(request)).status_code == 200
    bearer = CredentialClient(CredentialConfig(type="bearer", bearer_token="be+ar/er"))
    sdk = Sdk(temporary, access_key_id=None, access_key_secret=None, credential=bearer)
    assert sdk.client.list_batch_media_producing_jobs(request).status_code == 200


def test_wrong_tokens_are_refused(temporary: LocalIce) -> None:
    wire = Wire(temporary)
    sts = wire.call(ACTION, credentials=replace(wire.credentials, security_token="other"))
    assert (sts.status_code, sts.json()["Code"]) == (
        400,
        "InvalidSecurityToken.MismatchWithAccessKey",
    )
    bearer = Credentials(bearer_token="other")
    refused = wire.call(ACTION, bearer_query(bearer), credentials=bearer)
    assert (refused.status_code, refused.json()["Code"]) == (400, "InvalidBearerToken")
    unnamed = wire.call(ACTION, credentials=Credentials(bearer_token="be+ar/er"))
    assert unnamed.json()["Code"] == "IncompleteSignature"


def test_a_nonce_is_good_once(wire: Wire) -> None:
    assert wire.call(ACTION, nonce="one").status_code == 200
    again = wire.call(ACTION, nonce="one")
    assert (again.status_code, again.json()["Code"]) == (400, "SignatureNonceUsed")


def test_a_refused_request_does_not_use_its_nonce_up(wire: Wire) -> None:
    wrong = replace(wire.credentials, access_key_secret="wrong")
    assert wire.call(ACTION, nonce="two", credentials=wrong).status_code == 400
    assert wire.call(ACTION, nonce="two").status_code == 200


@pytest.mark.parametrize(
    ("minutes", "code"),
    [(-16, "InvalidTimeStamp.Expired"), (16, "InvalidTimeStamp.Expired"), (-14, None), (14, None)],
)
def test_the_clock_may_be_fifteen_minutes_off(wire: Wire, minutes: int, code: str | None) -> None:
    reply = wire.call(ACTION, now=datetime.now(UTC) + timedelta(minutes=minutes))
    assert reply.json().get("Code") == code


def test_signatures_live_by_real_time_and_not_by_the_emulators_clock(wire: Wire) -> None:
    wire.ice.advance(86_400)
    assert wire.call(ACTION).status_code == 200


def without(name: str) -> Any:
    return lambda headers: headers.pop(name)


def signing_less(name: str) -> Any:
    def change(headers: dict[str, str]) -> None:
        headers["authorization"] = headers["authorization"].replace(f"{name};", "")

    return change


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (without("authorization"), 400, "MissingAccessKeyId"),
        (without("x-acs-date"), 400, "MissingTimestamp"),
        (without("x-acs-version"), 400, "InvalidVersion"),
        (without("accept"), 400, "SignatureDoesNotMatch"),
        (without("x-acs-signature-nonce"), 400, "IncompleteSignature"),
        (signing_less("host"), 400, "IncompleteSignature"),
        (signing_less("x-acs-action"), 400, "IncompleteSignature"),
        (
            lambda headers: headers.update({"x-acs-date": "yesterday"}),
            400,
            "InvalidTimeStamp.Format",
        ),
        (
            lambda headers: headers.update({"x-acs-action": "DeleteEverything"}),
            404,
            "InvalidAction.NotFound",
        ),
        (
            lambda headers: headers.update({"x-acs-content-sha256": "0" * 64}),
            400,
            "SignatureDoesNotMatch",
        ),
        (
            lambda headers: headers.update({"authorization": "Basic abc"}),
            400,
            "IncompleteSignature",
        ),
        (
            lambda headers: headers.update({"authorization": "ACS3-HMAC-SHA256 Credential=testid"}),
            400,
            "IncompleteSignature",
        ),
    ],
)
def test_a_request_with_a_flaw_is_refused(wire: Wire, change: Any, status: int, code: str) -> None:
    headers = wire.headers(ACTION, {})
    change(headers)
    reply = wire.send(headers, {})
    assert (reply.status_code, reply.json()["Code"]) == (status, code)


def test_a_changed_query_or_body_is_refused(wire: Wire) -> None:
    headers = wire.headers(ACTION, {"MaxResults": "1"})
    assert wire.send(headers, {"MaxResults": "2"}).json()["Code"] == "SignatureDoesNotMatch"
    headers = wire.headers(ACTION, {}, b"MaxResults=1")
    assert wire.send(headers, {}, b"MaxResults=2").json()["Code"] == "SignatureDoesNotMatch"


def test_parameters_are_taken_from_query_and_form_alike(wire: Wire) -> None:
    headers = wire.headers(ACTION, {}, b"MaxResults=7")
    assert wire.send(headers, {}, b"MaxResults=7").json()["MaxResults"] == 7


def test_an_error_has_the_services_form(wire: Wire) -> None:
    reply = wire.call("GetBatchMediaProducingJob", {"JobId": "0" * 32})
    body = reply.json()
    request_id = reply.headers["x-acs-request-id"]
    assert reply.headers["content-type"] == "application/json;charset=utf-8"
    assert reply.status_code == 404
    assert body == {
        "RequestId": request_id,
        "HostId": "ice.cn-shanghai.aliyuncs.com",
        "Code": "ResourceNotFound",
        "Message": "Resource not found",
        "Recommend": "https://api.aliyun.com/troubleshoot?q=ResourceNotFound&product=ICE"
        f"&requestId={request_id}",
    }


def test_secrets_are_not_logged(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="airflow_ice"):
        wire.call(ACTION)
        wire.call(ACTION, credentials=replace(wire.credentials, access_key_secret="other-secret"))
    assert "ListBatchMediaProducingJobs 200 OK" in caplog.text
    assert "secret" not in caplog.text
    assert "Signature=" not in caplog.text
