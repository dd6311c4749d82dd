"""The page's routes. Every one that shows anything of a DAG checks access to that DAG first.

All of them are GET, and none changes anything: an answer to a question goes from the browser to
Airflow's own HITL API.
"""

from __future__ import annotations

import asyncio
import html
import mimetypes
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import quote

from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.staticfiles import StaticFiles

from airflow_ice.api.errors import IceError
from airflow_ice.hooks import IceHook
from airflow_ice.plugin.access import may_read, xcom_of_run, xcom_of_task
from airflow_ice.plugin.media import domains_of, media_hosts, policy
from airflow_ice.plugin.playing import SIGNED_FOR, Player
from airflow_ice.plugin.service import PAUSE_AFTER_ERROR, Batches, Cache
from airflow_ice.plugin.tasks import (
    Account,
    JobRef,
    PickRef,
    TaskKey,
    job_of,
    map_index_of,
    pick_of,
)
from airflow_ice.plugin.view import job_view, pick_view, run_view, sub_job_of
from airflow_ice.results import ICE_JOB, ICE_PICK

STATIC: Final = Path(__file__).parent / "static"

MOST_JOBS_OF_A_RUN: Final = 40
"""Jobs of one run that are read; the page says how many more there are."""

CONNECTION_KEPT: Final = 60.0
"""Seconds that a connection's media hosts are kept: a secrets backend is not asked by each tab."""

_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(batches: Batches | None = None) -> FastAPI:
    """Return the application that Airflow mounts.

    :param batches: the cache in front of ICE; a new one by default.
    """
    mimetypes.add_type("text/javascript", ".js")  # some systems say otherwise
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, title="ICE videos")
    routes = _Routes(batches or Batches())
    run = "/dags/{dag_id}/runs/{run_id}"
    task = run + "/tasks/{task_id}/{map_index}"
    router = APIRouter(dependencies=list(may_read))
    paths: dict[str, Callable[..., Any]] = {
        run: routes.run_page,
        task: routes.task_page,
        f"/api{run}": routes.run,
        f"/api{task}": routes.task,
        f"/api{task}/videos/{{media_id}}": routes.video,
        f"/api{task}/previews/{{project_id}}": routes.preview,
        f"/api{task}/previews/{{project_id}}/clips/{{place}}": routes.clip,
    }
    for path, route in paths.items():
        router.add_api_route(path, route, methods=["GET"], response_model=None)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.middleware("http")(_with_headers)
    app.add_exception_handler(AnyHTTPException, _refused)
    return app


class _Routes:
    """What is served. A route's arguments are the parts of its path, and nothing else is read."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._player = Player(batches)
        self._hosts: Cache[Account, list[str]] = Cache()

    async def run_page(self, request: Request, dag_id: str, run_id: str) -> Response:
        """Return the page of a DAG run."""
        return _page(request, dag_id, run_id)

    async def task_page(
        self, request: Request, dag_id: str, run_id: str, task_id: str, map_index: str
    ) -> Response:
        """Return the page of a task instance."""
        task = TaskKey(dag_id, run_id, task_id, map_index_of(map_index))
        known = await _known(task)
        hosts = await self._hosts_of(known.account) if known else []
        return _page(request, dag_id, run_id, task, hosts)

    async def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the jobs of a DAG run."""
        found: dict[tuple[str, str], tuple[list[TaskKey], JobRef]] = {}
        for task, value in await run_in_threadpool(xcom_of_run, dag_id, run_id, ICE_JOB):
            if ref := job_of(value):
                key = (ref.job_id, ref.account.ice_conn_id)
                found.setdefault(key, ([], ref))[0].append(task)
        shown = list(found.values())[:MOST_JOBS_OF_A_RUN]
        states = await asyncio.gather(*(self._batches.overview(ref) for _, ref in shown))
        jobs = [(tasks, ref, state) for (tasks, ref), state in zip(shown, states, strict=True)]
        return run_view(jobs, len(found) - len(shown), datetime.now(UTC))

    async def task(self, dag_id: str, run_id: str, task_id: str, map_index: str) -> dict[str, Any]:
        """Return the job of a task, or what it asks a person."""
        known = await _known(TaskKey(dag_id, run_id, task_id, map_index_of(map_index)))
        if known is None:
            return {"kind": "none"}
        if isinstance(known, PickRef):
            rows = [sub_job_of(candidate.row) for candidate in known.candidates]
            asked = [row for row in rows if row.job_id]
            view = pick_view(known, await self._batches.details(known.account, asked))
        else:
            view = job_view(known, await self._batches.state(known), datetime.now(UTC))
        return {**view, "media_hosts": await self._hosts_of(known.account)}

    async def video(
        self, dag_id: str, run_id: str, task_id: str, map_index: str, media_id: str
    ) -> Response:
        """Send the browser to the signed address of a video of the task."""
        known = await _known(TaskKey(dag_id, run_id, task_id, map_index_of(map_index)))
        return _to(await self._player.video(known, media_id))

    async def preview(
        self, dag_id: str, run_id: str, task_id: str, map_index: str, project_id: str
    ) -> dict[str, Any]:
        """Return the timeline of a preview of the task."""
        known = await _known(TaskKey(dag_id, run_id, task_id, map_index_of(map_index)))
        return await self._player.preview(known, project_id)

    async def clip(
        self, dag_id: str, run_id: str, task_id: str, map_index: str, project_id: str, place: int
    ) -> Response:
        """Send the browser to the signed address of a clip of a preview of the task."""
        known = await _known(TaskKey(dag_id, run_id, task_id, map_index_of(map_index)))
        return _to(await self._player.clip(known, project_id, place))

    async def _hosts_of(self, account: Account) -> list[str]:
        """Return where the connection's videos lie; of one that is gone, the usual place."""

        async def read(last: list[str] | None) -> tuple[list[str], float]:
            del last
            try:
                connection = await IceHook(account.ice_conn_id, account.region_id).aconnection()
            except (IceError, AirflowNotFoundException):
                return media_hosts("", {}), PAUSE_AFTER_ERROR
            hosts = media_hosts(connection.endpoint.host, domains_of(connection))
            return hosts, CONNECTION_KEPT

        return await self._hosts.get(account, read)


async def _known(task: TaskKey) -> JobRef | PickRef | None:
    entries = await run_in_threadpool(xcom_of_task, task, (ICE_JOB, ICE_PICK))
    return pick_of(entries.get(ICE_PICK)) or job_of(entries.get(ICE_JOB))


def _to(url: str) -> Response:
    return RedirectResponse(url, status_code=302, headers={"Cache-Control": "no-store"})


def _page(
    request: Request,
    dag_id: str,
    run_id: str,
    task: TaskKey | None = None,
    hosts: list[str] | None = None,
) -> Response:
    """Return the HTML page: a frame that the script fills. It holds names, and no data."""
    mount = str(request.scope.get("root_path", ""))
    run = f"dags/{_part(dag_id)}/runs/{_part(run_id)}"
    data = f"{run}/tasks/{_part(task.task_id)}/{task.map_index}" if task else run
    values = {
        "mount": mount,
        "airflow": mount.removesuffix("/ice"),
        "data": f"{mount}/api/{data}",
        "run": f"{mount}/{run}",
        "hosts": " ".join(hosts or []),
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task.task_id if task else "",
        "map_index": str(task.map_index) if task else "",
        "signed_for": str(SIGNED_FOR),
    }
    template = Template((STATIC / "page.html").read_text(encoding="utf-8"))
    escaped = {name: html.escape(value) for name, value in values.items()}
    return HTMLResponse(
        template.substitute(escaped),
        headers={"Content-Security-Policy": policy(hosts or [])},
    )


def _part(text: str) -> str:
    return quote(text, safe="")


async def _with_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    reply = await call_next(request)
    for name, value in _HEADERS.items():
        reply.headers.setdefault(name, value)
    is_static = request.scope["path"].startswith(f"{request.scope.get('root_path', '')}/static/")
    reply.headers.setdefault("Cache-Control", "no-cache" if is_static else "no-store")
    return reply


async def _refused(request: Request, error: Exception) -> Response:
    """Say why not: to a person in a frame as a sentence, to the script as JSON."""
    if not isinstance(error, AnyHTTPException):
        raise error
    problem = _problem_of(error)
    headers = dict(error.headers or {})
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"problem": problem}, error.status_code, headers=headers)
    words = f"{html.escape(problem['title'])}. {html.escape(problem['detail'])}"
    body = f"<!doctype html><meta charset=utf-8><title>ICE videos</title><p>{words}</p>"
    headers["Content-Security-Policy"] = policy([])
    return HTMLResponse(body, error.status_code, headers=headers)


def _problem_of(error: AnyHTTPException) -> dict[str, Any]:
    if isinstance(error.detail, dict):
        return error.detail
    titles = {
        401: ("You are not logged in", "Log in to Airflow, and open this page again."),
        403: ("You may not see this", "It takes the right to read the XCom of this DAG."),
    }
    title, detail = titles.get(error.status_code, (str(error.detail), ""))
    return {"title": title, "detail": detail, "code": None, "request_id": None}
