"""What a watcher remembers in Airflow's asset state store.

Airflow persists an event a second or two after the trigger has yielded it. A record that is stored
at once would say that an event was reported which a crash then loses. So a record waits for one
poll, and for `PERSISTED_AFTER`. What could not be read never means that there is nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

from airflow_ice.selection import Selection
from airflow_ice.watching import Ledger

log = logging.getLogger(__name__)

PERSISTED_AFTER: Final = 10.0
"""Seconds after which Airflow has persisted an event."""

RENEWED_AFTER: Final = 3_600.0
"""Seconds after which a record is stored that differs from the stored one only by its time, which
says what an edit of the filters adds."""

LONGEST_PAUSE: Final = 300.0
"""Seconds at most between tries to read what is remembered."""


class AsyncStore(Protocol):
    """As much of Airflow's `AssetStateStoreAccessor` as is used."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default where there is none."""

    async def aset(self, key: str, value: Any) -> None:
        """Store a value."""


def keys_of(
    name: str, ice_conn_id: str, region_id: str | None, selection: Selection
) -> tuple[str, str]:
    """Return the key of a memory, and the one that it had in earlier versions.

    A name that the user gave is the key, so that everything else may be edited; else what is
    watched is.
    """
    former = _key_of(ice_conn_id, region_id, name or selection.as_text())
    return (_key_of(name) if name else former), former


def _key_of(*parts: str | None) -> str:
    """Return a key of 32 characters, for any parts."""
    text = "\0".join("" if part is None else part for part in parts)
    return f"ice_batch_jobs_{hashlib.sha256(text.encode()).hexdigest()[:17]}"


def stores_of(store: Any) -> list[AsyncStore]:
    """Return a store for each asset that a trigger watches.

    Airflow 3.3 gives a trigger of several assets one accessor that refuses `get`
    (apache/airflow#71460). Its public `[asset]` needs the assets, of which a trigger is not told.
    Where a later Airflow names the parts otherwise, nothing is reported and a warning says so.

    :param store: what the triggerer has set; None outside of an AssetWatcher.
    """
    if store is None:
        return []
    parts = [*getattr(store, "_by_name", {}).values(), *getattr(store, "_by_uri", {}).values()]
    return parts or [store]


class WatcherMemory:
    """Reads and stores the record of one watcher; with several assets, a copy in each.

    :param stores: of the assets; none for a memory that a restart ends.
    :param key: see `keys_of`.
    :param former_key: where a record of an earlier version may be.
    """

    def __init__(self, stores: Sequence[AsyncStore], key: str, former_key: str) -> None:
        self._stores = stores
        self._key = key
        self._former_key = former_key
        self._stored: dict[str, Any] | None = None
        self._waiting: tuple[dict[str, Any], float] | None = None

    async def load(self, first: Ledger) -> Ledger:
        """Return the ledger that is remembered, or the first one where there is none.

        It does not return before that is known.
        """
        if not self._stores:
            log.warning(
                "This trigger is not of an AssetWatcher, so nothing is remembered: what ends while "
                "it does not run is not reported."
            )
            return first
        if len(self._stores) > 1:
            log.warning(
                "%d assets have equal triggers, which Airflow makes one. While all DAGs of one "
                "asset are paused, it misses what ends. Give each trigger a `name` of its own.",
                len(self._stores),
            )
        pause = 1.0
        while True:
            try:
                return await self._load_once(first)
            except Exception as cause:  # noqa: BLE001 - the trigger must not leave run()
                log.warning(
                    "The record of the batch jobs that were reported could not be read (%s: %s). "
                    "No event is made until it is; next try in %.0f s. If that lasts, delete the "
                    "key %s from the state store of the asset: the watcher then reports what ends "
                    "from now on, or from its `since`. If it says that there are several assets, "
                    "give the trigger of each one a `name` of its own.",
                    type(cause).__name__,
                    cause,
                    pause,
                    self._key,
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _load_once(self, first: Ledger) -> Ledger:
        found = [await store.aget(self._key) for store in self._stores]
        is_former = self._former_key != self._key and found.count(None) == len(found)
        if is_former:
            found = [await store.aget(self._former_key) for store in self._stores]
        ledgers = [(Ledger.of_record(record), record) for record in found if record is not None]
        if ledgers:
            # Assets share a trigger for a while only: the one that has missed most counts.
            ledger, record = min(ledgers, key=lambda each: (each[0].since, len(each[0].settled)))
            self._stored = record if len(ledgers) == len(found) and not is_former else None
            return ledger
        log.info(
            "Nothing is remembered under the key %s: this is a first start. Jobs that end from now "
            "on are reported, and those created since `since`, where it is given.",
            self._key,
        )
        # Where a first start began is known from its first moment, whatever ICE says.
        await self._write(first.record())
        return first

    def note(self, ledger: Ledger) -> None:
        """Remember what has been reported by now, once Airflow has persisted it.

        What waits already is not replaced: it would never be old enough.
        """
        if self._waiting is None:
            self._waiting = (ledger.record(), asyncio.get_running_loop().time())

    async def store(self) -> None:
        """Store what is old enough. A failure is logged, and the next poll tries again."""
        if self._waiting is None:
            return
        record, noted_at = self._waiting
        if asyncio.get_running_loop().time() - noted_at < PERSISTED_AFTER:
            return
        self._waiting = None
        if self._is_stored(record):
            return
        try:
            await self._write(record)
        except Exception as cause:  # noqa: BLE001 - the trigger must not leave run()
            log.warning(
                "The record of the batch jobs that were reported could not be stored (%s: %s). "
                "After a restart they are reported twice.",
                type(cause).__name__,
                cause,
            )

    def _is_stored(self, record: dict[str, Any]) -> bool:
        """Tell whether a record is stored, but for a time that is little older."""
        stored = self._stored
        if stored is None or stored.get("polled_at") is None:
            return False
        age = record["polled_at"] - stored["polled_at"]
        return 0 <= age < RENEWED_AFTER and record == {**stored, "polled_at": record["polled_at"]}

    async def _write(self, record: dict[str, Any]) -> None:
        for store in self._stores:
            await store.aset(self._key, record)
        self._stored = record
