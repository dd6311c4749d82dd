"""ACS3-HMAC-SHA256, the signature of every ICE request, and that of ICE's callbacks, as pure
functions.

A signature depends on the request, the credentials, the clock and the nonce, and on nothing else;
the clock and the nonce are arguments, so a captured request can be signed again and compared byte
by byte.

The rules are those of Alibaba Cloud's page "Request syntax and signature method V3"; which headers
are sent and signed follows the official SDK (alibabacloud-tea-openapi 0.4.6, `client.py` and
`utils.py`), as captured on the wire.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "ACS3-HMAC-SHA256"
API_VERSION: Final = "2020-11-09"
FORM_CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
DATE_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"

# What is signed: these, and everything that starts with x-acs-. The SDK signs accept and user-agent
# too; leaving user-agent out lets a proxy rewrite it without breaking the signature (the
# documentation asks only for host, content-type and x-acs-*).
_SIGNED_BESIDE_ACS: Final = frozenset({"host", "content-type", "accept"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of credentials, valid now. Secrets never show in its repr.

    :param access_key_id: the AccessKey ID; empty only for a bearer token.
    :param access_key_secret: the AccessKey secret; empty only for a bearer token.
    :param security_token: the STS token of temporary credentials.
    :param bearer_token: a bearer token, which replaces the signature altogether.
    :param provider_name: where they came from (`static_ak`, `ecs_ram_role`, ...), sent as
        `x-acs-credentials-provider`.
    """

    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    security_token: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    provider_name: str | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an `Authorization` header of this algorithm."""

    access_key_id: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)


def percent_encode(text: str) -> str:
    """Encode for the canonical form: RFC 3986, `~` kept, blank as %20, `*` as %2A, capital hex."""
    return quote(text, safe="-_.~")


def canonical_query(parameters: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Return the query in canonical form: sorted by name, an empty value as `name=`.

    It is also a valid query string, so the client sends exactly what it signs.
    """
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    return "&".join(
        f"{percent_encode(name)}={percent_encode(value)}" for name, value in sorted(pairs)
    )


def body_hash(body: bytes) -> str:
    """Return the lower-case hex SHA-256 of the raw body, the value of `x-acs-content-sha256`."""
    return hashlib.sha256(body).hexdigest()


def canonical_request(
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed_headers: Iterable[str],
    payload_hash: str,
) -> str:
    """Return the canonical request.

    :param query: the query, already canonical (`canonical_query`).
    :param headers: header values by lower-case name; only those named in `signed_headers` count.
    :param payload_hash: `body_hash` of the raw body.
    :raises KeyError: a signed header is missing.
    """
    names = sorted(signed_headers)
    block = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    return "\n".join((method, path, query, block, ";".join(names), payload_hash))


def string_to_sign(request: str) -> str:
    """Return the string to sign of a canonical request."""
    return f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"


def signature(access_key_secret: str, request: str) -> str:
    """Sign a canonical request. The key is the secret as it is, without the trailing `&` of the
    older RPC signature.
    """
    return hmac.new(
        access_key_secret.encode(), string_to_sign(request).encode(), hashlib.sha256
    ).hexdigest()


def parse_authorization(value: str) -> Authorization:
    """Take an `Authorization` header apart.

    :raises ValueError: it is not of this algorithm, or a part is missing.
    """
    algorithm, _, rest = value.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise ValueError(f"the algorithm is not {ALGORITHM}")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    try:
        names = tuple(parts["SignedHeaders"].lower().split(";"))
        return Authorization(parts["Credential"], names, parts["Signature"])
    except KeyError as missing:
        raise ValueError(f"{missing.args[0]} is missing") from None


def _authorization(
    headers: Mapping[str, str], query: Mapping[str, str], credentials: Credentials
) -> str:
    """Return the header that signs these headers and this query."""
    signed = sorted(
        name for name in headers if name in _SIGNED_BESIDE_ACS or name.startswith("x-acs-")
    )
    request = canonical_request(
        method="POST",
        path="/",
        query=canonical_query(query),
        headers=headers,
        signed_headers=signed,
        payload_hash=headers["x-acs-content-sha256"],
    )
    return (
        f"{ALGORITHM} Credential={credentials.access_key_id},SignedHeaders={';'.join(signed)},"
        f"Signature={signature(credentials.access_key_secret, request)}"
    )


def signed_request_headers(
    *,
    action: str,
    host: str,
    query: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    now: datetime,
    nonce: str,
    user_agent: str,
) -> dict[str, str]:
    """Return all headers of one try of one call, by lower-case name, signed.

    :param action: the API action, for example `GetBatchMediaProducingJob`.
    :param host: the host, with the port where it is not the default one, as in the `Host` header.
    :param query: the query parameters, not encoded.
    :param body: the form body as it is sent, or empty.
    :param now: the time of this try, aware; the service refuses one more than 15 minutes off.
    :param nonce: a value never used before, else the service answers SignatureNonceUsed.
    """
    headers = {
        "host": host,
        "accept": "application/json",
        "user-agent": user_agent,
        "x-acs-version": API_VERSION,
        "x-acs-action": action,
        "x-acs-date": now.astimezone(UTC).strftime(DATE_FORMAT),
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": body_hash(body),
    }
    if body:
        headers["content-type"] = FORM_CONTENT_TYPE
    if credentials.provider_name:
        headers["x-acs-credentials-provider"] = credentials.provider_name
    if credentials.bearer_token:
        # A bearer token takes the place of the signature; the query carries
        # SignatureType=BEARERTOKEN (bearer_query below).
        headers["x-acs-bearer-token"] = credentials.bearer_token
        return headers
    if credentials.security_token:
        headers["x-acs-accesskey-id"] = credentials.access_key_id
        headers["x-acs-security-token"] = credentials.security_token
    headers["authorization"] = _authorization(headers, query, credentials)
    return headers


def bearer_query(credentials: Credentials) -> dict[str, str]:
    """Return what a bearer token adds to the query of an RPC-style call such as ICE's; nothing for
    other credentials.
    """
    return {"SignatureType": "BEARERTOKEN"} if credentials.bearer_token else {}


CALLBACK_FRESH_FOR: Final = 300.0
"""Seconds for which a callback's signature holds: what the page suggests."""


def callback_is_signed(
    url: str, timestamp: str, signature: str, *, auth_keys: Iterable[str], now: float
) -> bool:
    """Tell whether ICE has signed a callback. The body is not covered: only its job id is worth
    anything, to ask GetBatchMediaProducingJob for.

    Page 610690 (callback authentication): the lower-case hex MD5 of `url|timestamp|AuthKey`.

    :param url: the address exactly as it is configured at ICE, with its query.
    :param timestamp: the header `X-ICE-TIMESTAMP`, epoch seconds in 10 digits.
    :param signature: the header `X-ICE-SIGNATURE`.
    :param auth_keys: the AuthKey; during a rotation, the old and the new one.
    :param now: epoch seconds. A callback that is more than five minutes off is refused.
    """
    if not re.fullmatch(r"[0-9]{10}", timestamp) or abs(now - int(timestamp)) > CALLBACK_FRESH_FOR:
        return False
    given = signature.encode()
    expected = [
        hashlib.md5(f"{url}|{timestamp}|{key}".encode(), usedforsecurity=False).hexdigest()
        for key in auth_keys
        if key  # an empty key is no secret
    ]
    return any(hmac.compare_digest(each.encode(), given) for each in expected)
