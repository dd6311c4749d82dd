"""The entry point `airflow.plugins`: where the page shows in Airflow, and what serves it.

Airflow loads plugins in every process, workers included; so nothing heavy is imported here, and the
page's application is built by the first request that asks for it. If it cannot be built, that
request and all later ones get 503, and Airflow's own pages work on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from airflow.sdk.plugins_manager import AirflowPlugin

PREFIX: Final = "/ice"
"""Where the application is mounted, below Airflow's own base path."""

_TASK: Final = "dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}"
_RUN: Final = "dags/{DAG_ID}/runs/{RUN_ID}"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class LazyApp:
    """An ASGI application that is built by its first request.

    :param build: returns the application; whatever it raises becomes a 503 for every request.
    """

    def __init__(self, build: Callable[[], App]) -> None:
        self._build = build
        self._app: App | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._built()(scope, receive, send)

    def _built(self) -> App:
        with self._lock:
            if self._app is None:
                try:
                    self._app = self._build()
                except Exception:  # a fault of the page must not take the api-server down
                    log.exception("The page of airflow-ice could not be built; it answers 503.")
                    self._app = _unavailable
        return self._app


async def _unavailable(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    del receive
    body = b"The page of airflow-ice could not be built; the log of the api-server says why."
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _build() -> App:
    from airflow_ice.plugin.app import create_app

    return create_app()


class IcePlugin(AirflowPlugin):
    """Adds the page "ICE videos" to task instances and DAG runs."""

    name = "airflow_ice"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - declared so by Airflow
        {"app": LazyApp(_build), "url_prefix": PREFIX, "name": "ICE videos"}
    ]
    # Without a leading slash: Airflow's page has a base address, and so the path prefix is kept.
    external_views: list[Any] = [  # noqa: RUF012 - as above
        {
            "name": "ICE videos",
            "href": f"{PREFIX[1:]}/{_TASK}",
            "destination": "task_instance",
            "url_route": "ice-videos",
        },
        {
            "name": "ICE videos",
            "href": f"{PREFIX[1:]}/{_RUN}",
            "destination": "dag_run",
            "url_route": "ice-videos-of-run",
        },
    ]
