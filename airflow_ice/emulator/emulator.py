"""One emulator: its parts, wired together, started and stopped. Lives on one event loop and is used from that loop only."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from airflow_ice.emulator.engine.callbacks import Callbacks
from airflow_ice.emulator.engine.lifecycle import Lifecycle
from airflow_ice.emulator.engine.making import JobMaker
from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.media.objects import ObjectStore
from airflow_ice.emulator.media.render_queue import RenderQueue
from airflow_ice.emulator.model.clock import Clock
from airflow_ice.emulator.model.faults import Faults
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.model.store import STORE_FILE, Store
from airflow_ice.emulator.wire.actions import Actions
from airflow_ice.emulator.wire.gateway import Gateway
from airflow_ice.emulator.wire.object_server import ObjectServer


class Emulator:
    """The parts of an emulator. `async with` starts its background work and ends it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.data_dir / STORE_FILE)
        self.clock = Clock(*self.store.load_clock())
        self.objects = ObjectStore(settings)
        self.finder = MaterialFinder(self.store, self.objects)
        self.faults = Faults()
        self.callbacks = Callbacks(settings.callback_auth_key)
        maker = JobMaker(settings, self.store, self.clock, self.faults, self.finder)
        self.lifecycle = Lifecycle(self.store, self.clock, maker, self.callbacks)
        self.actions = Actions(
            settings, self.store, self.clock, self.objects, self.finder, self.lifecycle
        )
        self.gateway = Gateway(settings, self.actions, self.faults)
        self.object_server = ObjectServer(settings, self.objects, self.clock, self.faults)
        self.renders: RenderQueue | None = None
        self._background: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self.settings.render:
            staging = self.settings.data_dir / "unfinished"
            self.renders = RenderQueue(self.objects, self.finder, staging, self.lifecycle.rendered)
            self.lifecycle.renders = self.renders
        for sub_job in self.store.sub_jobs_to_render():
            if sub_job.plan.failure is not None:
                continue
            if self.renders is not None:
                # Its file was not finished when the emulator stopped.
                self.renders.add(sub_job)
            else:
                # Started without rendering this time: nobody will make the file, and the job must not wait for it.
                self.lifecycle.rendered(sub_job.job_id, None)
        self._background = asyncio.get_running_loop().create_task(self.lifecycle.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
        if self.renders is not None:
            self.renders.close()
        await self.callbacks.close()
        self.store.close()
