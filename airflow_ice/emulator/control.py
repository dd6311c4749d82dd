"""What a test or a demo may ask of the emulator itself, as functions and over HTTP below `/_control/`.

There is no authentication: the emulator listens on loopback only. Bodies and replies are JSON.

    GET    /_control/health     {"status": "ok", "now": <the emulator's clock, seconds since the epoch>, "frozen": false,
                                 "rendering": <files still to be made>, "next_change_in": <seconds, or null>}
    GET    /_control/jobs       {"jobs": [{"job_id", "action", "job_type", "status", "client_token", "user_data", "created",
                                 "completed", "sub_jobs": [{"job_id", "status", "media_id", "media_url", "project_id", ...}]}]}
    GET    /_control/requests   {"requests": [{"action", "time", "http_status", "code"}]}; ?action=NAME keeps those of one action
    GET    /_control/media      {"media": [{"media_id", "key", "url"}]}: the files of --media-dir as objects
    GET    /_control/faults     {"faults": [...]}: what still has to bite
    POST   /_control/faults     {"kind": "throttle", "action": "GetBatchMediaProducingJob", "times": 2, ...options of the kind}
    DELETE /_control/faults     forgets them
    POST   /_control/clock      {"advance": 60} moves the clock forward by seconds; {"frozen": true} stops it, false lets it run

Faults on requests: throttle (retry_after_ms, status, code), error (status, code, message), html (status), reset, slow (seconds),
lost_reply, empty_job, unauthorized_ram. Faults on the next job: sub_jobs_fail (indexes, code, message), job_fails (code,
message), settle_lag (seconds), sub_jobs_hidden (seconds, null), list_lag (seconds), doc_quirks, stuck, status (value, seconds).
`times` is how often a fault bites, -1 until cleared.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_ice.emulator.emulator import Emulator
from airflow_ice.emulator.media.objects import object_url
from airflow_ice.emulator.model.store import Job, SubJob


def health(emulator: Emulator) -> dict[str, Any]:
    """Return the emulator's clock and what it is still waiting for."""
    emulator.lifecycle.settle()
    now, next_at = emulator.clock.now(), emulator.store.next_at()
    return {
        "status": "ok",
        "now": now,
        "frozen": emulator.clock.frozen_at is not None,
        "rendering": emulator.renders.waiting if emulator.renders else 0,
        "next_change_in": None if next_at is None else max(next_at - now, 0.0),
    }


def jobs(emulator: Emulator) -> list[dict[str, Any]]:
    """Return every job with its sub-jobs, oldest first, as it stands now."""
    emulator.lifecycle.settle()
    return [_job(job, emulator.store.sub_jobs(job.job_id)) for job in emulator.store.all_jobs()]


def requests(emulator: Emulator, action: str | None = None) -> list[dict[str, Any]]:
    """Return the requests since the start, in order."""
    return [dict(seen) for seen in emulator.gateway.requests if action in (None, seen["action"])]


def media(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the files of `media_dir` as objects of the emulator's own store."""
    region = emulator.settings.region_id
    return [
        {"media_id": media_id, "key": name.key, "url": object_url(name, region)}
        for media_id, name in emulator.objects.own_media().items()
    ]


def add_fault(
    emulator: Emulator, /, kind: str, action: str | None = None, times: int = 1, **options: Any
) -> None:
    """Ask for a fault.

    :raises ValueError: there is no such kind, or it takes no such option.
    """
    emulator.faults.add(kind, action, times, options)


def set_clock(
    emulator: Emulator, *, advance: float | None = None, frozen: bool | None = None
) -> None:
    """Move the clock forward by seconds, stop it or let it run.

    :raises ValueError: advance is negative.
    """
    if frozen is True:
        emulator.clock.freeze()
    if frozen is False:
        emulator.clock.unfreeze()
    if advance is not None:
        emulator.clock.advance(advance)
    emulator.store.save_clock(emulator.clock.offset, emulator.clock.frozen_at)
    emulator.lifecycle.settle()
    emulator.lifecycle.nudge()


def _job(job: Job, sub_jobs: list[SubJob]) -> dict[str, Any]:
    shown = (
        *(
            "job_id",
            "action",
            "job_type",
            "status",
            "client_token",
            "user_data",
            "created",
            "completed",
        ),
        *("output_config", "extend", "extend_input"),
    )
    return {
        **{name: getattr(job, name) for name in shown},
        "sub_jobs": [_sub_job(sub_job) for sub_job in sub_jobs],
    }


def _sub_job(sub_job: SubJob) -> dict[str, Any]:
    shown = (
        "job_id",
        "position",
        "status",
        "project_id",
        "media_id",
        "media_url",
        "duration",
        "completed",
    )
    return {name: getattr(sub_job, name) for name in shown}


def routes() -> list[Route]:
    """Return the routes below `/_control/`."""
    return [
        Route("/_control/health", _serve_health, methods=["GET"]),
        Route("/_control/jobs", _serve_jobs, methods=["GET"]),
        Route("/_control/requests", _serve_requests, methods=["GET"]),
        Route("/_control/media", _serve_media, methods=["GET"]),
        Route("/_control/faults", _serve_faults, methods=["GET", "POST", "DELETE"]),
        Route("/_control/clock", _serve_clock, methods=["POST"]),
    ]


def _emulator(request: Request) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator


async def _serve_health(request: Request) -> Response:
    return JSONResponse(health(_emulator(request)))


async def _serve_jobs(request: Request) -> Response:
    return JSONResponse({"jobs": jobs(_emulator(request))})


async def _serve_requests(request: Request) -> Response:
    return JSONResponse(
        {"requests": requests(_emulator(request), request.query_params.get("action"))}
    )


async def _serve_media(request: Request) -> Response:
    return JSONResponse({"media": media(_emulator(request))})


async def _serve_faults(request: Request) -> Response:
    emulator = _emulator(request)
    if request.method == "DELETE":
        emulator.faults.clear()
    if request.method == "POST":
        try:
            add_fault(emulator, **await _body(request))
        except (TypeError, ValueError) as error:
            return _refused(error)
    return JSONResponse({"faults": emulator.faults.pending()})


async def _serve_clock(request: Request) -> Response:
    emulator = _emulator(request)
    try:
        set_clock(emulator, **await _body(request))
    except (TypeError, ValueError) as error:
        return _refused(error)
    return JSONResponse(health(emulator))


async def _body(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body())
    if not isinstance(body, dict):
        raise TypeError("the body is a JSON object")
    return body


def _refused(error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)
