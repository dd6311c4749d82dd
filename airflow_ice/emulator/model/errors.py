"""The errors that the service answers: HTTP status, code and message.

The wording is that of the product's error table and of recorded replies of Alibaba Cloud's gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ServiceError(Exception):
    """A request is refused.

    :param http_status: the HTTP status of the reply.
    :param code: the service's error code.
    :param message: the service's message.
    :param extra: further fields of the body, such as AccessDeniedDetail.
    :param headers: further headers of the reply.
    """

    def __init__(
        self,
        http_status: int,
        code: str,
        message: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.http_status = http_status
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


class OssError(Exception):
    """A read of an object is refused.

    :param http_status: the HTTP status of the reply.
    :param code: OSS's error code.
    :param message: OSS's message.
    :param ec: the number of OSS's error page; empty for none.
    :param extra: further fields of the body.
    """

    def __init__(
        self,
        http_status: int,
        code: str,
        message: str,
        *,
        ec: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.http_status = http_status
        self.code = code
        self.message = message
        self.ec = ec
        self.extra = dict(extra or {})


def missing_parameter(name: str) -> ServiceError:
    """Say that a mandatory parameter is not there."""
    reason = "that is mandatory for processing this request is not supplied."
    return ServiceError(400, "MissingParameter", f'The input parameter "{name}" {reason}')


def invalid_parameter(name: str) -> ServiceError:
    """Say that a parameter, or a key within one (`OutputConfig.MediaURL`), cannot be used."""
    return ServiceError(400, "InvalidParameter", f'The specified parameter "{name}" is not valid.')


def resource_not_found() -> ServiceError:
    """Say that there is no such job or media."""
    # Guess: no source shows what an unknown JobId or MediaId gets; this is the entry of the product's error table.
    return ServiceError(404, "ResourceNotFound", "Resource not found")


def project_not_found() -> ServiceError:
    """Say that there is no such online editing project."""
    # Guess: that SubmitSceneBatchEditingJob tells so at once, and not in the job.
    return ServiceError(404, "ProjectNotFound", "Project not found.")


def idempotent_parameter_mismatch() -> ServiceError:
    """Say that a ClientToken came again with other parameters."""
    # Guess: the code and text are those of Alibaba Cloud's common table; ICE documents neither.
    return ServiceError(
        400, "IdempotentParameterMismatch", "The request is retried with updated parameters."
    )


def throttled(
    code: str = "Throttling.User", http_status: int = 400, retry_after_ms: int | None = None
) -> ServiceError:
    """Say that there were too many requests.

    :param retry_after_ms: sent as `x-acs-retry-after`, which the official SDK looks for; milliseconds.
    """
    reasons = {"Throttling.User": "user flow control", "Throttling.Api": "api flow control"}
    message = f"Request was denied due to {reasons.get(code, 'request throttling')}."
    if code == "RequestsTooFrequent":
        message = "Requests are too frequent"
    headers = {} if retry_after_ms is None else {"x-acs-retry-after": str(retry_after_ms)}
    return ServiceError(http_status, code, message, headers=headers)


def forbidden_by_ram(action: str) -> ServiceError:
    """Say that the RAM user lacks the permission for an action, with the detail that real replies carry."""
    message = (
        "User not authorized to operate on the specified resource, or this API doesn't support RAM."
    )
    detail = {
        "AuthAction": f"ice:{action}",
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": "1234567890123456",
        "AuthPrincipalDisplayName": "2345678901234567",
        "PolicyType": "AccountLevelIdentityBasedPolicy",
        "NoPermissionType": "ImplicitDeny",
        "EncodedDiagnosticMessage": "AQIBIAAAAOZlbXVsYXRvcg==",
    }
    return ServiceError(403, "Forbidden.RAM", message, extra={"AccessDeniedDetail": detail})
