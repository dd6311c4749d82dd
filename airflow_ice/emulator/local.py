"""A local ICE inside a test: `with LocalIce() as ice:` serves one on a free port of 127.0.0.1, from
its own thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import uvicorn
from starlette.applications import Starlette

from airflow_ice.emulator import control
from airflow_ice.emulator.emulator import Emulator
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.server import create_app, listen, make_server, url_host

_START_SECONDS: Final = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class LocalIce:
    """An emulator that runs while its `with` block does.

    :param overrides: fields of `Settings`; without `data_dir` a temporary folder is used and
        removed, without `port` a free one.
    """

    def __init__(self, **overrides: Any) -> None:
        self._overrides = {"port": 0, **overrides}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._app: Starlette | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests_before: list[dict[str, Any]] = []
        self.settings: Settings = Settings(**{"data_dir": Path(), **self._overrides})

    def __enter__(self) -> Self:
        if "data_dir" not in self._overrides:
            self._temporary = tempfile.TemporaryDirectory(prefix="local-ice-")
            self.settings = dataclasses.replace(self.settings, data_dir=Path(self._temporary.name))
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._clean_up()

    @property
    def url(self) -> str:
        """The address, `http://127.0.0.1:PORT`."""
        return f"http://{url_host(self.settings.host)}:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.settings.port

    @property
    def access_key_id(self) -> str:
        """The AccessKey ID that it knows."""
        return self.settings.access_key_id

    @property
    def access_key_secret(self) -> str:
        """The secret of that AccessKey."""
        return self.settings.access_key_secret

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job with its sub-jobs, oldest first."""
        return self._call(control.jobs)

    def requests(self, action: str | None = None) -> list[dict[str, Any]]:
        """Return the requests, in order, across restarts: action, time, http_status, code."""
        before = [seen for seen in self._requests_before if action in (None, seen["action"])]
        return before + self._call(control.requests, action)

    def reads(self) -> list[dict[str, Any]]:
        """Return the reads of objects since the (last) start, in order.

        Each has bucket, key, host, domain, range, http_status, code and sent (bytes of the body).
        """
        return self._call(control.reads)

    def media(self) -> list[dict[str, Any]]:
        """Return the files of `media_dir` as objects: media_id, key, url."""
        return self._call(control.media)

    def fault(
        self, kind: str, *, action: str | None = None, times: int = 1, **options: Any
    ) -> None:
        """Ask for a fault; `airflow_ice.emulator.control.fault_table()` lists them all."""
        self._call(control.add_fault, kind, action, times, **options)

    def clear_faults(self) -> None:
        """Forget the faults that have not hit yet."""
        self._call(lambda emulator: emulator.faults.clear())

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward."""
        self._call(control.set_clock, advance=seconds)

    def freeze(self) -> None:
        """Stop the emulator's clock until it is advanced."""
        self._call(control.set_clock, frozen=True)

    def unfreeze(self) -> None:
        """Start the emulator's clock again."""
        self._call(control.set_clock, frozen=False)

    def finish_all(self, timeout: float = 120.0) -> None:
        """Advance until nothing changes any more, and wait for the renders. Jobs that are stuck
        stay so.

        :param timeout: real seconds.
        :raises TimeoutError: the renders took longer.
        """
        deadline = time.monotonic() + timeout
        while True:
            state = self._call(control.health)
            if state["next_change_in"] is not None:
                # A little more than needed: sums of floats may fall short of the instant.
                self.advance(state["next_change_in"] + 0.001)
            elif state["rendering"] == 0:
                return
            elif time.monotonic() > deadline:
                raise TimeoutError(
                    f"{state['rendering']} files are not rendered after {timeout:g} s"
                )
            else:
                time.sleep(0.01)

    def restart(self) -> None:
        """Stop and start again on the same data and port. Pending faults are forgotten; jobs, clock
        and requests are kept.
        """
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop serving: nobody listens at the address until `start`. What `restart` keeps is kept.
        Does nothing where it is stopped already.
        """
        if self._server is None or self._thread is None:
            return
        self._requests_before += self._call(control.requests)
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = self._loop = None

    def start(self) -> None:
        """Serve again after `stop`, on the same data and port.

        :raises RuntimeError: it did not start.
        """
        listener = listen(self.settings)
        self.settings = dataclasses.replace(self.settings, port=listener.getsockname()[1])
        self._app = create_app(self.settings)
        self._server = server = make_server(self._app)
        self._thread = threading.Thread(
            target=self._run, args=(server, listener), name="local-ice", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not self._thread.is_alive():
                listener.close()
                raise RuntimeError("the emulator did not start: see the log of this process")
            if time.monotonic() > deadline:
                listener.close()
                raise RuntimeError(f"the emulator did not start within {_START_SECONDS:g} s")
            time.sleep(0.002)

    def _run(self, server: uvicorn.Server, listener: Any) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=[listener])

        # uvicorn's own runner may choose another loop; a plain one is all that is needed here.
        asyncio.run(serve())

    def _clean_up(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _call(
        self, function: Callable[Concatenate[Emulator, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a control function on the server's event loop, where the emulator lives."""
        if self._loop is None or self._app is None:
            raise RuntimeError("the emulator is not running; use it inside its with block")
        emulator: Emulator = self._app.state.emulator

        async def run() -> T:
            return function(emulator, *args, **kwargs)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()
