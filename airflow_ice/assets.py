"""Asset events: what a batch job has made, for the DAGs that are scheduled on it.

A task with `outlets=[AssetAlias("...")]` adds events to each alias when it succeeds, and its facts
to the event of each asset in `outlets`. URIs are `oss://bucket/key`, without query: a signed URL is
no name. Where a signature stands in the path, as it does once its question mark is percent-encoded,
there is no URI: Airflow keeps the names of assets for ever, and shows them to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.media_urls import bucket_of
from airflow_ice.api.redaction import holds_signature, redact

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ice.waiting import Log

AssetEvents = Literal["job", "video"]
"""How many events an alias gets: one a job, or one a video."""

_SAFE: Final = "/~!$&'()*+,;=:@%"
_LONGEST_URI: Final = 1500
"""Characters (airflow/sdk/definitions/asset, `_validate_identifier`)."""


def checked_asset_events(value: str) -> AssetEvents:
    """Return the value.

    :raises IceInputError: it is none of those allowed.
    """
    for allowed in get_args(AssetEvents):
        if value == allowed:
            return allowed  # type: ignore[no-any-return]
    rule = f"must be one of {', '.join(get_args(AssetEvents))}"
    raise IceInputError("asset_events", limits.shown("asset_events", value), rule)


def oss_place(url: str) -> tuple[str, str] | None:
    """Return bucket and key of a file on OSS, unquoted; None for another place, and for a key that
    holds a signature.

    :param url: `http(s)://BUCKET.oss-REGION.aliyuncs.com/KEY` or `oss://BUCKET/KEY`.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    if parts.scheme.lower() == "oss":
        bucket: str | None = parts.hostname
    else:
        bucket = bucket_of(parts.hostname or "")
    key = unquote(parts.path.lstrip("/"))
    return (bucket, key) if bucket and key and not holds_signature(key) else None


def asset_uri(url: str) -> str | None:
    """Return the URI of the asset that a URL names: without query, user and fragment; None for what
    is no URL, and where a signature would be left.

    :param url: a file on OSS becomes `oss://bucket/key`; another one keeps its scheme and host.
    """
    if place := oss_place(url):
        bucket, key = place
        found = f"oss://{bucket}/{quote(key)}"
    else:
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            return None
        _, _, host = parts.netloc.rpartition("@")
        if not parts.scheme or not (host or parts.scheme.lower() == "file"):
            return None
        found = f"{parts.scheme.lower()}://{host}{quote(parts.path, safe=_SAFE)}"
    return None if len(found) > _LONGEST_URI or holds_signature(found) else found


def normalized_oss_uri(uri: SplitResult) -> SplitResult:
    """Return an `oss://bucket/key` as Airflow compares it: without query.

    Airflow calls it for each asset with this scheme (`asset-uris` of the provider info).

    :raises ValueError: it has no bucket, or its key holds a signature.
    """
    if not uri.netloc:
        raise ValueError("URI format oss:// must contain a bucket name")
    if holds_signature(uri.path):
        raise ValueError("URI format oss:// must not contain a signature: name the key alone")
    return uri._replace(query="", fragment="")


def add_job_events(
    context: Context,
    result: Mapping[str, Any],
    *,
    asset_events: AssetEvents,
    ice_conn_id: str,
    region_id: str | None,
    log: Log,
) -> None:
    """Add the events of a job that was collected, to what the task has as `outlets`.

    :param result: as `results.job_result` makes it, publishable.
    :param ice_conn_id: as the task has it. So is region_id.
    """
    rows = result["media"]
    ice_job = {"job_id": result["job_id"], "ice_conn_id": ice_conn_id, "region_id": region_id}
    facts = {
        **ice_job,
        "status": result["status"],
        "job_type": result["job_type"],
        "good": len(rows),
        "failed": len(result["failed"]),
        "media_ids": [row["media_id"] for row in rows if row["media_id"]],
    }
    account = f"x-ice://{ice_conn_id}/batch-jobs"
    if asset_events == "job":
        events = [(_folder(rows) or account, facts)]
    else:
        of_video = ("index", "media_id", "duration")
        events = [
            (
                asset_uri(row["media_url"] or "") or f"{account}/{row['subjob_id']}",
                {**ice_job, **{name: row[name] for name in of_video}},
            )
            for row in rows
        ]
    add_events(context, events, facts, log)


def _folder(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the folder of a job's videos: an asset a job would stay in Airflow for ever."""
    uris = [asset_uri(row["media_url"]) for row in rows if row["media_url"]]
    return min((uri.rpartition("/")[0] for uri in uris if uri), default=None)


def add_events(
    context: Context,
    events: Sequence[tuple[str, Mapping[str, Any]]],
    facts: Mapping[str, Any],
    log: Log,
) -> None:
    """Add events to each alias of the task's outlets, and facts to the event of each asset there.

    Nothing rests on them, so a failure is a warning.

    :param events: URI and extra of each.
    """
    outlets = list(context.get("outlets") or [])
    if not outlets:
        return
    from airflow.sdk import Asset, AssetAlias

    try:
        for outlet in outlets:
            if isinstance(outlet, AssetAlias):
                for uri, extra in events:
                    context["outlet_events"][outlet].add(Asset(uri), extra=dict(extra))
            elif isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(facts)
    except Exception as cause:  # noqa: BLE001 - the videos are there, whatever is told of them
        log.warning("The asset events of this task are not complete: %s", redact(str(cause)))
