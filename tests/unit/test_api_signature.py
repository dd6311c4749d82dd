"""ACS3-HMAC-SHA256 against captured requests of the official SDK, and against the SDK's own
signer."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ice.api import signature
from airflow_ice.api.signature import Credentials, callback_is_signed

SAMPLES = Path(__file__).parent.parent / "samples"
CAPTURES = ("sdk_ak_get", "sdk_sts_get", "sdk_ak_submit", "sdk_ak_list")
NOW = datetime(2026, 11, 22, 7, 23, 17, tzinfo=UTC)
KEYS = Credentials("testid", "testsecret", provider_name="static_ak")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9.]*", fullmatch=True)  # the SDK does not encode names


class Captured:
    """A request of the official SDK as it was on the wire."""

    def __init__(self, name: str) -> None:
        head, _, body = (SAMPLES / f"{name}.http").read_text().partition("\n\n")
        first, *lines = head.strip().split("\n")
        self.method, target, _ = first.split(" ")
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        self.body = body.strip().encode()
        self.canonical = (SAMPLES / f"{name}.canonical").read_text().removesuffix("\n")


def sign(
    query: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    credentials: Credentials = KEYS,
    now: datetime = NOW,
    nonce: str = "60a28ce4286bbcb5b21af6ab915fb314",
    action: str = "GetBatchMediaProducingJob",
    host: str = "127.0.0.1:44547",
) -> dict[str, str]:
    return signature.signed_request_headers(
        action=action,
        host=host,
        query=query or {},
        body=body,
        credentials=credentials,
        now=now,
        nonce=nonce,
        user_agent="a",
    )


def sdk_authorization(headers: dict[str, str], query: dict[str, str], secret: str) -> str:
    """Return what the official SDK's signer makes of the same request."""
    names = signature.parse_authorization(headers["authorization"]).signed_headers
    request = DaraRequest()
    request.method, request.pathname, request.query = "POST", "/", query
    request.headers = {name: headers[name] for name in names}
    signed: str = Utils.get_authorization(
        request,
        "ACS3-HMAC-SHA256",
        headers["x-acs-content-sha256"],
        signature.parse_authorization(headers["authorization"]).access_key_id,
        secret,
    )
    return signed


@pytest.mark.parametrize("name", CAPTURES)
def test_a_captured_request_is_signed_again_byte_for_byte(name: str) -> None:
    captured = Captured(name)
    given_ = signature.parse_authorization(captured.headers["authorization"])
    request = signature.canonical_request(
        method=captured.method,
        path=captured.path,
        query=signature.canonical_query(captured.query),
        headers=captured.headers,
        signed_headers=given_.signed_headers,
        payload_hash=signature.body_hash(captured.body),
    )
    assert request == captured.canonical
    assert signature.signature("testsecret", request) == given_.signature
    assert signature.body_hash(captured.body) == captured.headers["x-acs-content-sha256"]
    assert given_.access_key_id == "testid"


@pytest.mark.parametrize("name", CAPTURES)
def test_our_headers_are_those_of_the_sdk(name: str) -> None:
    captured = Captured(name)
    token = captured.headers.get("x-acs-security-token")
    headers = sign(
        captured.query,
        body=captured.body,
        credentials=Credentials(
            "testid", "testsecret", token, provider_name="static_sts" if token else "static_ak"
        ),
        nonce=captured.headers["x-acs-signature-nonce"],
        action=captured.headers["x-acs-action"],
    )
    not_ours = {"accept-encoding", "content-length", "authorization", "user-agent"}
    assert {k: v for k, v in headers.items() if k not in not_ours} == {
        k: v for k, v in captured.headers.items() if k not in not_ours
    }
    theirs = signature.parse_authorization(captured.headers["authorization"]).signed_headers
    assert signature.parse_authorization(headers["authorization"]).signed_headers == tuple(
        name for name in theirs if name != "user-agent"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(NAMES, TEXT, max_size=4),
    st.binary(max_size=40),
    st.text(max_size=10).filter(str.isascii),
)
def test_the_sdks_signer_agrees(query: dict[str, str], body: bytes, secret: str) -> None:
    headers = sign(query, body=body, credentials=Credentials("id", secret, provider_name="p"))
    assert headers["authorization"] == sdk_authorization(headers, query, secret)


def test_the_sdks_signer_agrees_on_an_sts_token() -> None:
    headers = sign({"JobId": "J"}, credentials=Credentials("testid", "testsecret", "tok+en/=="))
    assert headers["x-acs-security-token"] == "tok+en/=="
    assert headers["x-acs-accesskey-id"] == "testid"
    assert (
        "x-acs-security-token"
        in signature.parse_authorization(headers["authorization"]).signed_headers
    )
    assert headers["authorization"] == sdk_authorization(headers, {"JobId": "J"}, "testsecret")


def test_every_acs_header_and_the_host_is_signed() -> None:
    headers = sign(
        {"a": "b"}, body=b"c=d", credentials=Credentials("i", "s", "t", provider_name="p")
    )
    signed = set(signature.parse_authorization(headers["authorization"]).signed_headers)
    assert {"host", "content-type"} | {
        name for name in headers if name.startswith("x-acs-")
    } <= signed
    assert "user-agent" not in signed


def test_a_bearer_token_replaces_the_signature() -> None:
    bearer = Credentials(bearer_token="bt")
    headers = sign({"JobId": "J"}, credentials=bearer)
    assert headers["x-acs-bearer-token"] == "bt"
    assert "authorization" not in headers
    assert "x-acs-credentials-provider" not in headers
    assert headers["x-acs-content-sha256"] == hashlib.sha256(b"").hexdigest()
    assert signature.bearer_query(bearer) == {"SignatureType": "BEARERTOKEN"}
    assert signature.bearer_query(KEYS) == {}


def test_each_input_changes_the_signature() -> None:
    variants = [
        sign({"a": "1"}),
        sign({"a": "2"}),
        sign({"b": "1"}),
        sign({"a": "1"}, body=b"x=1"),
        sign({"a": "1"}, nonce="other"),
        sign({"a": "1"}, action="Other"),
        sign({"a": "1"}, host="other"),
        sign({"a": "1"}, now=NOW + timedelta(seconds=1)),
        sign({"a": "1"}, credentials=Credentials("testid", "other", provider_name="static_ak")),
        sign(
            {"a": "1"},
            credentials=Credentials("testid", "testsecret", "token", provider_name="static_ak"),
        ),
    ]
    assert len({headers["authorization"][-64:] for headers in variants}) == len(variants)
    assert sign({"a": "1"}) == sign({"a": "1"})


def test_the_date_is_utc_whatever_the_zone() -> None:
    shanghai = NOW.astimezone(timezone(timedelta(hours=8)))
    assert sign(now=shanghai) == sign(now=NOW)
    assert sign()["x-acs-date"] == "2026-11-22T07:23:17Z"


def test_the_content_type_is_there_only_with_a_body() -> None:
    assert "content-type" not in sign()
    assert sign(body=b"a=b")["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (" ", "%20"),
        ("*", "%2A"),
        ("~", "~"),
        ("/", "%2F"),
        ("-_.", "-_."),
        (":", "%3A"),
        ("+", "%2B"),
        ("中", "%E4%B8%AD"),
        ("\n", "%0A"),
    ],
)
def test_percent_encoding_follows_rfc_3986(text: str, encoded: str) -> None:
    assert signature.percent_encode(text) == encoded


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=5))
def test_the_canonical_query_is_sorted_and_decodes_to_what_went_in(query: dict[str, str]) -> None:
    canonical = signature.canonical_query(query)
    pairs = parse_qsl(canonical, keep_blank_values=True)
    assert pairs == sorted(query.items())
    assert signature.canonical_query(reversed(list(query.items()))) == canonical


def test_an_empty_value_keeps_its_equals_sign() -> None:
    assert signature.canonical_query({"b": "", "a": "1"}) == "a=1&b="


def test_header_values_are_trimmed_and_a_missing_one_is_an_error() -> None:
    canonical = signature.canonical_request(
        method="POST",
        path="/",
        query="",
        headers={"host": " h "},
        signed_headers=["host"],
        payload_hash="x",
    )
    assert canonical == "POST\n/\n\nhost:h\n\nhost\nx"
    with pytest.raises(KeyError):
        signature.canonical_request(
            method="POST", path="/", query="", headers={}, signed_headers=["host"], payload_hash="x"
        )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic abc",
        "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=b",
        "ACS3-HMAC-SHA256 Credential=a,Signature=b",
    ],
)
def test_an_authorization_header_of_another_kind_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"algorithm|missing"):
        signature.parse_authorization(value)


def test_an_authorization_header_is_taken_apart_with_blanks_or_without() -> None:
    for text in (
        "Credential=a,SignedHeaders=x;Host,Signature=s",
        "Credential=a, SignedHeaders=x;host, Signature=s",
    ):
        assert signature.parse_authorization(f"ACS3-HMAC-SHA256 {text}") == signature.Authorization(
            "a", ("x", "host"), "s"
        )


def test_no_repr_shows_a_secret() -> None:
    shown = repr(Credentials("id", "sec-ret", "tok-en", "bear-er")) + repr(
        signature.Authorization("id", ("host",), "sig-nature")
    )
    assert not any(secret in shown for secret in ("sec-ret", "tok-en", "bear-er", "sig-nature"))


# Page 610690. Its text names the key Test123, but the digest that it shows begins as that of
# test123.
CALLBACK = "https://www.example.com/your/callback"
CALLBACK_AT = "1519375990"
CALLBACK_DIGESTS = {
    "test123": "c72b60894140fa98920f1279219b7ed4",
    "Test123": "c587b80d2d0ede300e8967937da7219b",
}


@pytest.mark.parametrize(("key", "digest"), CALLBACK_DIGESTS.items())
def test_the_documented_callback_is_signed(key: str, digest: str) -> None:
    now = float(CALLBACK_AT) + 1
    assert callback_is_signed(CALLBACK, CALLBACK_AT, digest, auth_keys=["new", key], now=now)


@pytest.mark.parametrize(
    "changed",
    [
        {"url": CALLBACK + "?a=b"},
        {"timestamp": "1519375991"},
        {"timestamp": "x"},
        {"timestamp": ""},
        {"signature": ""},
        {"signature": "c72b60894140fa98920f1279219b7ed5"},
        {"signature": "\u00e9"},
        {"auth_keys": []},
        {"auth_keys": ["Test123"]},
        {"now": float(CALLBACK_AT) + 301},
        {"now": float(CALLBACK_AT) - 301},
    ],
    ids=str,
)
def test_another_callback_is_not(changed: dict[str, Any]) -> None:
    valid: dict[str, Any] = {
        "url": CALLBACK,
        "timestamp": CALLBACK_AT,
        "signature": CALLBACK_DIGESTS["test123"],
        "auth_keys": ["test123"],
        "now": float(CALLBACK_AT),
    }
    assert callback_is_signed(**valid)
    assert not callback_is_signed(**{**valid, **changed})


def test_an_empty_key_signs_nothing() -> None:
    digest = hashlib.md5(f"{CALLBACK}|{CALLBACK_AT}|".encode(), usedforsecurity=False).hexdigest()
    now = float(CALLBACK_AT)
    assert not callback_is_signed(CALLBACK, CALLBACK_AT, digest, auth_keys=[""], now=now)
