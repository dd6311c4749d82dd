"""Who is asking: signatures, timestamps, nonces, STS tokens and bearer tokens, checked as Alibaba Cloud's gateway does.

The rules are those of Alibaba Cloud's page "V3 request structure and signature". Any client's choice of SignedHeaders is taken, and
the query is decoded and encoded again before it is compared: the official SDK's synchronous client writes a space as `+`, its
asynchronous one leaves `:` and `/` as they are, and both sign the canonical form.
"""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from airflow_ice.api import signature
from airflow_ice.emulator.model.clock import parse_timestamp
from airflow_ice.emulator.model.errors import ServiceError
from airflow_ice.emulator.model.settings import Settings

MAX_SKEW_SECONDS: Final = 15 * 60


class Authenticator:
    """Checks requests. Nonces are remembered as long as their timestamps are good, in memory: a restart forgets them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nonces: set[str] = set()
        self._expiries: deque[tuple[float, str]] = deque()

    def check(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Let a request pass.

        :param query: the query parameters, decoded.
        :param headers: header values by lower-case name.
        :raises ServiceError: the gateway would refuse it.
        """
        now = time.time()
        if "x-acs-bearer-token" in headers:
            self._check_bearer(dict(query), headers["x-acs-bearer-token"])
            self._check_freshness(headers, now)
            return
        authorization = _authorization(headers)
        if authorization.access_key_id != self._settings.access_key_id:
            raise ServiceError(
                404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."
            )
        self._check_security_token(headers)
        self._check_date(headers, now)
        self._check_signature(authorization, method, path, query, headers, body)
        # Last, so that a request that is refused for something else does not use its nonce up.
        self._check_nonce(headers, now)

    def _check_bearer(self, query: Mapping[str, str], token: str) -> None:
        expected = self._settings.bearer_token
        if query.get("SignatureType") != "BEARERTOKEN":
            raise _incomplete()
        if expected is None or not hmac.compare_digest(expected.encode(), token.encode()):
            # Guess: the code for a bearer token that is not known.
            raise ServiceError(400, "InvalidBearerToken", "Specified bearer token is not valid.")

    def _check_freshness(self, headers: Mapping[str, str], now: float) -> None:
        self._check_date(headers, now)
        self._check_nonce(headers, now)

    def _check_security_token(self, headers: Mapping[str, str]) -> None:
        token, expected = headers.get("x-acs-security-token"), self._settings.security_token
        if token is None:
            if self._settings.access_key_id.startswith("STS."):
                raise ServiceError(
                    400, "MissingSecurityToken", "SecurityToken is mandatory for this action."
                )
            return
        if expected is None:
            raise ServiceError(
                400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed."
            )
        if not hmac.compare_digest(token.encode(), expected.encode()):
            message = "Specified SecurityToken mismatch with the AccessKey."
            raise ServiceError(400, "InvalidSecurityToken.MismatchWithAccessKey", message)

    def _check_date(self, headers: Mapping[str, str], now: float) -> None:
        text = headers.get("x-acs-date")
        if text is None:
            raise ServiceError(400, "MissingTimestamp", "Timestamp is mandatory for this action.")
        try:
            moment = parse_timestamp(text)
        except ValueError:
            message = "Specified time stamp or date value is not well formatted."
            raise ServiceError(400, "InvalidTimeStamp.Format", message) from None
        if abs(moment - now) > MAX_SKEW_SECONDS:
            raise ServiceError(
                400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired."
            )

    def _check_signature(
        self,
        authorization: signature.Authorization,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        signed = authorization.signed_headers
        # The documentation asks for host and every x-acs-* header to be signed; without that they could be changed on the way.
        if "host" not in signed or any(
            name.startswith("x-acs-") and name not in signed for name in headers
        ):
            raise _incomplete()
        payload_hash = headers.get("x-acs-content-sha256", "")
        try:
            request = signature.canonical_request(
                method=method,
                path=path,
                query=signature.canonical_query(query),
                headers=headers,
                signed_headers=signed,
                payload_hash=payload_hash,
            )
        except KeyError:
            raise _incomplete() from None
        expected = signature.signature(self._settings.access_key_secret, request)
        same = hmac.compare_digest(expected.encode(), authorization.signature.encode())
        if not same or not hmac.compare_digest(
            payload_hash.encode(), signature.body_hash(body).encode()
        ):
            message = (
                "Specified signature does not match our calculation. "
                f"server StringToSign is [{signature.string_to_sign(request)}] server CanonicalRequest is [{request}]"
            )
            raise ServiceError(400, "SignatureDoesNotMatch", message)

    def _check_nonce(self, headers: Mapping[str, str], now: float) -> None:
        nonce = headers.get("x-acs-signature-nonce")
        if not nonce:
            raise ServiceError(
                400, "MissingSignatureNonce", "SignatureNonce is mandatory for this action."
            )
        while self._expiries and self._expiries[0][0] < now:
            self._nonces.discard(self._expiries.popleft()[1])
        if nonce in self._nonces:
            raise ServiceError(
                400, "SignatureNonceUsed", "Specified signature nonce was used already."
            )
        self._nonces.add(nonce)
        # A timestamp may be ahead of the clock by the skew and stay good for as long again.
        self._expiries.append((now + 2 * MAX_SKEW_SECONDS, nonce))


def _authorization(headers: Mapping[str, str]) -> signature.Authorization:
    value = headers.get("authorization")
    if not value:
        raise ServiceError(400, "MissingAccessKeyId", "AccessKeyId is mandatory for this action.")
    try:
        return signature.parse_authorization(value)
    except ValueError:
        raise _incomplete() from None


def _incomplete() -> ServiceError:
    return ServiceError(
        400, "IncompleteSignature", "The request signature does not conform to Aliyun standards."
    )
