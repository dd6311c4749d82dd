"""What a test or a demo may ask of the emulator itself, as functions and over HTTP.

There is no authentication: the emulator listens on loopback only. Bodies and replies are JSON,
times are seconds; `GET /_control/help` returns the list of routes and the table of faults.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_ice.emulator.emulator import Emulator
from airflow_ice.emulator.media.objects import object_url
from airflow_ice.emulator.model.faults import describe_faults
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


def reads(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the reads of objects since the start, in order; see `ObjectServer.reads`."""
    return [dict(seen) for seen in emulator.object_server.reads]


def fault_table() -> str:
    """Return the faults that can be asked for, as a table in Markdown."""
    head = "| fault | hits | options | what happens |\n|---|---|---|---|\n"
    rows = ("| " + " | ".join((f"`{kind}`", *rest)) + " |\n" for kind, *rest in describe_faults())
    return head + "".join(rows)


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
        "job_id",
        "action",
        "job_type",
        "status",
        "client_token",
        "user_data",
        "created",
        "completed",
        "output_config",
        "extend",
        "extend_input",
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
    return [Route(f"/_control/{name}", serve, methods=verbs) for name, verbs, serve, _ in _ROUTES]


async def _serve_help(_request: Request) -> Response:
    return PlainTextResponse(help_text())


def help_text() -> str:
    """Return what can be asked over HTTP, and the table of faults."""
    lines = [
        f"{'/'.join(verbs):<15} /_control/{name:<9} {text}" for name, verbs, _, text in _ROUTES
    ]
    times = "times: how often a fault hits, -1 until cleared; action: the one action that it hits"
    return "\n".join([*lines, "", times, "", fault_table()])


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


async def _serve_reads(request: Request) -> Response:
    return JSONResponse({"reads": reads(_emulator(request))})


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


_ROUTES: Final = (
    ("help", ["GET"], _serve_help, "this text"),
    (
        "health",
        ["GET"],
        _serve_health,
        "status, now (the emulator's clock), frozen, rendering (files to be made), next_change_in",
    ),
    ("jobs", ["GET"], _serve_jobs, "jobs with their sub-jobs, oldest first"),
    (
        "requests",
        ["GET"],
        _serve_requests,
        "requests: action, time, http_status, code; ?action=NAME keeps those of one action",
    ),
    (
        "reads",
        ["GET"],
        _serve_reads,
        "reads of objects: bucket, key, host, domain, range, http_status, code, sent",
    ),
    ("media", ["GET"], _serve_media, "the files of the media folder: media_id, key, url"),
    (
        "faults",
        ["GET", "POST", "DELETE"],
        _serve_faults,
        'faults that will still hit; POST {"kind": ..., "times": 1, ...options} adds one',
    ),
    (
        "clock",
        ["POST"],
        _serve_clock,
        '{"advance": 60} moves the clock forward, {"frozen": true} stops it, false lets it run',
    ),
)
