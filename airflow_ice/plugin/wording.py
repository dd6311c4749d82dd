"""What went wrong, in words for the person at the page, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceError,
    IceInputError,
    IceNotFoundError,
    IcePermissionError,
    IceThrottledError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.plugin.tasks import Account

_TITLES: Final[tuple[tuple[type[IceError], str], ...]] = (
    (IceNotFoundError, "ICE does not know this"),
    (IceAuthenticationError, "ICE refused the keys"),
    (IceCredentialsError, "There are no keys to ask ICE with"),
    (IcePermissionError, "The keys may not do this"),
    (IceThrottledError, "ICE is being asked too often"),
    (IceUnavailableError, "ICE is down"),
    (IceTransportError, "ICE does not answer"),
    (IceInputError, "The connection is not valid"),
)

_SUB_JOBS: Final[Mapping[str, str]] = {
    "InvalidMaterial.NotFound": "A clip is not where the job looked for it. Check that the clip "
    "exists, in the region of the job, and that its id or URL is spelled right.",
    "InvalidParameter.ResourceContentBad": "A clip is broken or of a kind that ICE cannot read. "
    "Play it, and replace it or encode it again.",
    "QueryMaterialFailed": "ICE could not analyse a clip. Check that it plays, and submit again.",
    "InvalidParameter": "An argument of the job was refused. Compare it with the API page.",
    "ExceededMaximumValue": "A size is too large: width and height are at most 4096, and the "
    "shorter side at most 2160 pixels.",
    "ProduceTimelineFormatError": "The timeline is not valid. Check EditingConfig.",
    "InvalidTimelineFormat": "The timeline is not valid. Check EditingConfig.",
    "TimelineFormatError": "The timeline is not valid. Check EditingConfig.",
    "InvalidEffectParam": "An effect is not valid. Check EditingConfig.",
    "QuotaExceeded": "A quota of the account is used up. Ask for more, or submit later.",
    "ProduceFailed": "Rendering failed on the side of ICE. Submit again; if it lasts, give the "
    "sub-job's id to support.",
    "InternalError": "A fault on the side of ICE. Submit again; if it lasts, give the sub-job's "
    "id to support.",
    "Forbidden.SubscriptionRequired": "The account has not bought this part of the service.",
}
"""What to do by the code of a failed sub-job. The codes: ICE's error-code pages and its own skill
for video editing; the list is open.
"""

_ELSE: Final = "Look the code up in ICE's list of error codes, or give the sub-job's id to support."


def advice_for_sub_job(code: str | None) -> str:
    """Return what to do about a failed sub-job, in one or two sentences."""
    if not code:
        return "ICE gives no reason. Give the sub-job's id to support."
    return _SUB_JOBS.get(code) or _SUB_JOBS.get(code.partition(".")[0]) or _ELSE


def problem(error: Exception, account: Account) -> dict[str, Any]:
    """Return an error as `{"title", "detail", "code", "request_id"}`, safe to show.

    :param account: where ICE was asked.
    """
    if isinstance(error, AirflowNotFoundException):
        return _problem(
            "The connection is gone",
            f"The task used the connection {account.ice_conn_id}, and Airflow's api-server finds "
            "none of that id. Create it again, or make it known to the api-server, too.",
        )
    if isinstance(error, TimeoutError):
        return _problem("ICE does not answer", "The page asks again by itself.")
    if not isinstance(error, IceError):
        return _problem(
            "Something went wrong here",
            f"{type(error).__name__}: the log of the api-server has more. The page asks again.",
        )
    title = next((words for kind, words in _TITLES if isinstance(error, kind)), "ICE refused")
    if isinstance(error, IcePermissionError) and error.action:
        title = f"No permission ice:{error.action}"
    asked = f"Asked through the connection {account.ice_conn_id}"
    asked += f" in {account.region_id}." if account.region_id else "."
    return _problem(title, f"{error} {asked}", error.code, error.request_id)


def _problem(
    title: str, detail: str, code: str | None = None, request_id: str | None = None
) -> dict[str, Any]:
    return {"title": title, "detail": detail, "code": code, "request_id": request_id}
