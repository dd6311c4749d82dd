"""Which loop of a triggerer serves a wait.

There is one loop for each connection and what it says: two ways of naming the same region share
one, and waits that begin before and after an edit of the connection do not mix. The connection is
read again before polls, so that an edit is seen by the next poll:

* the waits move to the loop of what the connection says now;
* a wait whose job is unknown there goes back to where it was seen, if it was, and stays.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from airflow_ice.connections import IceConnection
from airflow_ice.exceptions import poll_error
from airflow_ice.hooks import IceHook
from airflow_ice.polling.lines import Lines, PacedLog
from airflow_ice.polling.poller import OpenClient, Poller
from airflow_ice.polling.watch import Watch
from airflow_ice.waiting import PollAgain, PollOutcome, Wait

READ_AGAIN: Final = 5.0
"""Seconds for which what was read of a connection is not read again: a secrets backend may charge
for each read, and a thousand waits may begin at once."""

READ_PATIENCE: Final = 30.0
"""Seconds that a wait which begins gives one reading of its connection."""

Read = Callable[[str, str | None], Awaitable[IceConnection]]


def open_hook(ice_conn_id: str, connection: IceConnection) -> OpenClient:
    """Return what opens a client of a connection as it was read."""
    hook = IceHook.of(ice_conn_id, connection)
    return lambda: hook


async def read_connection(ice_conn_id: str, region_id: str | None) -> IceConnection:
    """Read a connection."""
    return await IceHook(ice_conn_id, region_id).aconnection()


@dataclass
class _Reading:
    began_at: float
    connection: asyncio.Future[IceConnection] = field(repr=False)


def _retrieved(reading: asyncio.Future[IceConnection]) -> None:
    """Take note of an error also where nobody waits for the reading any more."""
    if not reading.cancelled():
        reading.exception()


class Registry:
    """The loops of one event loop.

    :param read: reads a connection, by its id and the region that a wait names.
    :param open_client: makes what opens a client of a connection as it was read.
    """

    def __init__(
        self,
        read: Read = read_connection,
        open_client: Callable[[str, IceConnection], OpenClient] = open_hook,
    ) -> None:
        self._read = read
        self._open_client = open_client
        self._readings: dict[tuple[str, str | None], _Reading] = {}
        self._pollers: dict[tuple[str, str], Poller] = {}
        self._lines = Lines()

    async def watch(
        self,
        ice_conn_id: str,
        region_id: str | None,
        wait: Wait,
        interval: float,
        *,
        seen_in: str | None = None,
    ) -> PollOutcome:
        """Poll until a wait is over, and return how it ended.

        :param region_id: None for the connection's own.
        :param interval: seconds between polls.
        :param seen_in: the region in which the job was shown before.
        """
        wait.log = log = PacedLog(wait.log, self._lines)
        try:
            return await self._watch(ice_conn_id, region_id, wait, interval, seen_in)
        except asyncio.CancelledError:
            log.drop()  # all waits are cancelled when a triggerer ends, which has to be soon
            raise
        finally:
            log.flush()

    async def _watch(
        self,
        ice_conn_id: str,
        region_id: str | None,
        wait: Wait,
        interval: float,
        seen_in: str | None,
    ) -> PollOutcome:
        while True:
            try:
                connection = await self._first_connection(ice_conn_id, region_id)
            except Exception as cause:  # noqa: BLE001 - whatever goes wrong is an error of a poll
                outcome = wait.on_error(poll_error(cause), time.time())
                if not isinstance(outcome, PollAgain):
                    return outcome
                await asyncio.sleep(outcome.seconds)
            else:
                poller = self._poller(ice_conn_id, region_id, connection)
                before = connection.in_region(seen_in)
                seen_by = None if before == connection else before
                return await poller.watch(wait, interval, region_id=region_id, seen_by=seen_by)

    async def _first_connection(self, ice_conn_id: str, region_id: str | None) -> IceConnection:
        """Read the connection of a wait that begins.

        :raises TimeoutError: it took too long, and is read again by the next poll.
        """
        try:
            async with asyncio.timeout(READ_PATIENCE):
                return await self._connection(ice_conn_id, region_id)
        except TimeoutError as cause:
            raise TimeoutError(
                f"connection {ice_conn_id!r} was not read within {READ_PATIENCE:g} s"
            ) from cause

    async def _connection(
        self, ice_conn_id: str, region_id: str | None, *, fresh: bool = False
    ) -> IceConnection:
        key = (ice_conn_id, region_id)
        now = asyncio.get_running_loop().time()
        reading = self._readings.get(key)
        if reading is None or now - reading.began_at >= (0 if fresh else READ_AGAIN):
            task = asyncio.ensure_future(self._read(ice_conn_id, region_id))
            task.add_done_callback(_retrieved)
            reading = self._readings[key] = _Reading(now, task)
        try:
            return await asyncio.shield(reading.connection)
        except Exception:  # raised again: only the memory of the reading goes
            if self._readings.get(key) is reading:
                del self._readings[key]  # what failed is read again by the next poll
            raise

    def _poller(self, ice_conn_id: str, region_id: str | None, connection: IceConnection) -> Poller:
        key = (ice_conn_id, connection.fingerprint())
        found = self._pollers.get(key)
        if found is not None:
            return found

        def forget() -> None:
            if self._pollers.get(key) is made:
                del self._pollers[key]
            self._forget_readings(ice_conn_id)

        made = Poller(
            self._open_client(ice_conn_id, connection),
            name=ice_conn_id,
            region=connection.region,
            on_idle=forget,
            follow=lambda fresh: self._follow(made, key, connection, fresh=fresh),
            on_unknown=lambda watch: self._return(watch, key),
        )
        self._pollers[key] = made
        return made

    def _forget_readings(self, ice_conn_id: str) -> None:
        if not any(conn_id == ice_conn_id for conn_id, _ in self._pollers):
            for key in [key for key in self._readings if key[0] == ice_conn_id]:
                del self._readings[key]

    async def _follow(
        self, poller: Poller, key: tuple[str, str], before: IceConnection, *, fresh: bool
    ) -> None:
        """Move the waits of a loop whose connection was edited.

        :param before: what the connection said when the loop began.
        """
        ice_conn_id, fingerprint = key
        by_region: dict[str | None, list[Watch]] = {}
        for watch in poller.watches.all():
            by_region.setdefault(watch.region_id, []).append(watch)
        for region_id, watches in by_region.items():
            connection = await self._connection(ice_conn_id, region_id, fresh=fresh)
            now = connection.fingerprint()
            moving = [watch for watch in watches if now not in (fingerprint, watch.rejected)]
            if moving:
                target = self._poller(ice_conn_id, region_id, connection)
                for watch in moving:
                    watch.seen_by = None if watch.refused else before
                    watch.refused = False
                    _move(watch, target)

    def _return(self, watch: Watch, key: tuple[str, str]) -> bool:
        """Move a wait whose job is unknown here back to where the job was seen."""
        before, watch.seen_by = watch.seen_by, None
        if before is None:
            return False
        watch.rejected = key[1]
        _move(watch, self._poller(key[0], watch.region_id, before))
        return True


def _move(watch: Watch, target: Poller) -> None:
    if watch.poller is not None:
        watch.poller.leave(watch)
    watch.due = target.watches.clock()
    watch.listed, watch.unlisted = False, 0
    target.join(watch)


_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = (
    weakref.WeakKeyDictionary()
)


def registry() -> Registry:
    """Return the registry of the running event loop."""
    return _registries.setdefault(asyncio.get_running_loop(), Registry())
