"""The HTTP server: the API at `/`, objects below `/objects/`, the control API below `/_control/`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_ice.emulator import control
from airflow_ice.emulator.emulator import Emulator
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import STORE_FILE, Store
from airflow_ice.emulator.wire.connection import droppable_protocol

logger = logging.getLogger(__name__)

_SHUTDOWN_SECONDS: Final = 3


def create_app(settings: Settings) -> Starlette:
    """Return the ASGI application. Its lifespan opens the data folder and ends all background work."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with Emulator(settings) as emulator:
            app.state.emulator = emulator
            yield

    routes = [
        Route("/", _Api()),
        Route("/objects/{bucket}/{key:path}", _Objects(), methods=["GET"]),
        *control.routes(),
        Route("/{key:path}", _Objects(), methods=["GET"]),  # by the host of a bucket
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


def _log_address(settings: Settings) -> None:
    logger.info("ICE emulator at http://%s:%d", url_host(settings.host), settings.port)


def serve(settings: Settings, announce: Callable[[Settings], None] = _log_address) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop cleanly and return.

    :param announce: called once requests can arrive, with the settings as they are in use: the port
        is the one that was found where 0 was asked for.
    :raises OSError: the port is taken, the data folder cannot be made, or what it holds cannot be used.
    :raises RuntimeError: the emulator did not start for another reason; the log says which.
    """
    # Opened beforehand: an error of the application's own start would end up in uvicorn's log, and nowhere else.
    Store(settings.data_dir / STORE_FILE).close()
    listener = listen(settings)
    listener.listen()  # what connects before the application is up waits for it
    settings = dataclasses.replace(settings, port=listener.getsockname()[1])
    announce(settings)
    server = make_server(create_app(settings))
    with contextlib.suppress(SystemExit):  # uvicorn's way to say that the application did not start
        server.run(sockets=[listener])
    if not server.started:
        listener.close()
        raise RuntimeError(
            f"the emulator did not start on the data folder {settings.data_dir}; the log says why"
        )


def listen(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the address of the settings, not yet listening."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without, every reply of two packets waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host.strip("[]"), settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def url_host(host: str) -> str:
    """Return a host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def make_server(app: Starlette) -> uvicorn.Server:
    """Return a uvicorn server for the application."""
    config = uvicorn.Config(
        app,
        http=droppable_protocol(),
        lifespan="on",
        # Each request is logged by the gateway, which knows its action; uvicorn's own configuration of logging stays out.
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Ends with a return where uvicorn would raise the signal once more, so that Ctrl-C is no traceback."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup stays what it is
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Api:
    """Hands a request to the emulator's gateway, which may drop the connection instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        emulator: Emulator = scope["app"].state.emulator
        await emulator.gateway(scope, receive, send)


class _Objects:
    """Hands a read to the emulator's object server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        emulator: Emulator = scope["app"].state.emulator
        await emulator.object_server(scope, receive, send)
