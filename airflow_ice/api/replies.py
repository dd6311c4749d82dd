"""A reply becomes a result or an error. Pure: no I/O, no clock but the one that `retry_after` may
be given.

Codes and statuses: the product's error table (help.aliyun.com, document 197855) and recorded
replies of the gateway. Every reply of ICE, good or bad, holds a RequestId (the API pages of all
actions); one without it comes from something between here and ICE.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceError,
    IceJobNotFoundError,
    IceNotFoundError,
    IceParameterError,
    IcePermissionError,
    IceServiceError,
    IceThrottledError,
    IceUnavailableError,
)
from airflow_ice.api.operations import Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back over HTTP.

    :param headers: by lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def result(operation: Operation[T], reply: Reply) -> T:
    """Return the typed result of a reply.

    :raises IceServiceError: the reply is not a success, is not ICE's, or could not be read.
    """
    try:
        return _result(operation, reply)
    except (IceError, MemoryError):
        raise
    except Exception as cause:  # no reply may raise anything but an IceError
        raise IceUnavailableError(
            f"a reply that could not be read ({type(cause).__name__}: {cause})",
            http_status=reply.status,
            action=operation.action,
            job_id=operation.job_id,
            submitted="unknown" if operation.submit else None,
        ) from cause


def _result(operation: Operation[T], reply: Reply) -> T:
    succeeded = 200 <= reply.status < 300
    if (
        succeeded
        and operation.glance is not None
        and (glanced := operation.glance(reply.body)) is not None
    ):
        return glanced
    body = _json_object(reply.body)
    # The JobId of a submit counts wherever it comes from: a job that was made must not be lost.
    if succeeded and body is not None and (operation.submit or _has_request_id(body)):
        return operation.read(body)
    raise error_from_reply(
        status=reply.status,
        body=body,
        action=operation.action,
        submit=operation.submit,
        retry_after=retry_after(reply.headers),
        excerpt=reply.body[:2000].decode("utf-8", "replace"),
        job_id=operation.job_id,
    )


def _has_request_id(body: Mapping[str, Any]) -> bool:
    return any(name.lower() == "requestid" and _text(value) for name, value in body.items())


_AUTHENTICATION: Final = (
    "InvalidAccessKeyId",
    "InvalidSecurityToken",
    "InvalidTimeStamp",
    "MissingAccessKeyId",
    "MissingSecurityToken",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidBearerToken",
)
_PERMISSION: Final = ("Forbidden", "NoPermission", "OperationDenied", "InvalidProtocol")
# A nonce is new for every try, so a used one means that something between here and ICE has sent the
# request twice.
_TRANSIENT: Final = (
    "InternalError",
    "ServiceUnavailable",
    "ServiceUnAvailable",
    "SignatureNonceUsed",
)
_TIMED_OUT: Final = re.compile(r"timed?[-_. ]?out", re.IGNORECASE)


def error_from_reply(
    *,
    status: int,
    body: Mapping[str, Any] | None,
    action: str,
    submit: bool,
    retry_after: float | None = None,
    excerpt: str = "",
    job_id: str | None = None,
) -> IceServiceError:
    """Return the exception for a reply that is not a success.

    Only ICE itself proves that a submit made no job: a 4xx in JSON with a RequestId and a Code, and
    neither a time-out nor a code of those that pass. What has no RequestId comes from something
    between here and ICE, and says nothing about the job.

    :param status: the HTTP status.
    :param body: the JSON object of the reply; None where it was none.
    :param submit: whether the action makes a paid job.
    :param retry_after: the seconds that the reply's headers ask to wait.
    :param excerpt: the beginning of a body that is not JSON.
    :param job_id: the job asked for: the error names it, and an unknown job is told from another
        bad parameter.
    """
    fields = {name.lower(): value for name, value in (body or {}).items()}
    code = _text(fields.get("code"))
    message = _text(fields.get("message")) or _what_came_instead(status, excerpt)
    request_id = _text(fields.get("requestid"))
    facts: dict[str, Any] = {
        "code": code,
        "http_status": status,
        "request_id": request_id,
        "recommend": _text(fields.get("recommend")),
        "action": action,
        "job_id": job_id,
        "retry_after": retry_after,
    }
    ours = request_id is not None and code is not None and 400 <= status < 500
    passes = _is_passing(code, status)
    if submit:
        facts["submitted"] = "no" if ours and not passes else "unknown"
    if _is_throttling(code, status, retry_after):
        return IceThrottledError(message, **facts)
    if not ours or passes:
        return IceUnavailableError(message, **facts)
    return _kind(code or "", message, job_id)(
        message, advice=_permission_advice(code, fields), **facts
    )


def _is_passing(code: str | None, status: int) -> bool:
    """Return whether a reply is about a moment, not about the request: whatever gave up on ICE may
    have reached it all the same.
    """
    return (
        status == 408
        or status >= 500
        or (code is not None and (code.startswith(_TRANSIENT) or bool(_TIMED_OUT.search(code))))
    )


def _kind(code: str, message: str, job_id: str | None) -> type[IceServiceError]:
    if code.startswith(_AUTHENTICATION):
        return IceAuthenticationError
    if code.startswith(_PERMISSION):
        return IcePermissionError
    # How ICE answers an unknown JobId is documented nowhere; these are the forms that its tables
    # and other ICE jobs show.
    about_the_job = code in {"ResourceNotFound", "JobNotFound"} or '"JobId"' in message
    if code == "InvalidParameter.JobNotFound" or (
        job_id and about_the_job and not code.startswith("Missing")
    ):
        return IceJobNotFoundError
    if code.endswith("NotFound") and not code.startswith(
        ("InvalidAction", "InvalidApi", "InvalidProduct")
    ):
        return IceNotFoundError
    return IceParameterError


def _is_throttling(code: str | None, status: int, retry_after: float | None) -> bool:
    # 503 with Retry-After is a service that is down, not one that throttles; the 4xx forms are
    # throttling whatever the code.
    asked_to_wait = retry_after is not None and 400 <= status < 500
    return (
        asked_to_wait
        or status == 429
        or (code or "").startswith(("Throttling", "RequestsTooFrequent"))
    )


def _permission_advice(code: str | None, fields: Mapping[str, Any]) -> str | None:
    detail = fields.get("accessdenieddetail")
    if isinstance(detail, Mapping) and (needed := _text(detail.get("AuthAction"))):
        denied = (
            " It is denied explicitly." if detail.get("NoPermissionType") == "ExplicitDeny" else ""
        )
        return (
            f"Allow {needed} in the RAM policy of the user or role behind the connection.{denied}"
        )
    return None


def _what_came_instead(status: int, excerpt: str) -> str:
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", excerpt)).strip()[:120]
    return (
        f"HTTP {status} with a body that is not ICE's ({shown!r})"
        if shown
        else f"HTTP {status} with an empty body"
    )


def _text(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a reply asks to wait, or None.

    `x-acs-retry-after` is in milliseconds and is what the official SDK looks for (tea-openapi,
    `get_throttling_time_left`); `Retry-After` is in seconds or a date (RFC 9110, 10.2.3) and is
    what a proxy says.
    """
    if milliseconds := _finite(headers.get("x-acs-retry-after")):
        return milliseconds / 1000
    value = headers.get("retry-after")
    if not value:
        return None
    seconds = _finite(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _finite(value: str | None) -> float | None:
    """Return a number that can be waited for, 0 for a negative one; None for anything else."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return max(0.0, found) if math.isfinite(found) else None


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
