"""An account whose jobs end, a triggerer that watches it and may crash, and what Airflow has stored
of its events: in virtual time."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceUnavailableError
from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import error_from_reply
from airflow_ice.connections import IceConnection, read_connection
from airflow_ice.polling.account import AccountPoller
from airflow_ice.polling.poller import OpenClient
from airflow_ice.triggers import IceBatchJobEventTrigger
from tests.virtual_time import run_virtually

T = TypeVar("T")
GET, LIST = "GetBatchMediaProducingJob", "ListBatchMediaProducingJobs"
EPOCH = 1_790_000_000.0
PERSISTED = 2.0
"""Seconds after which Airflow has stored an event."""

CONNECTION = read_connection(
    login="key",
    password="secret",
    host=None,
    port=None,
    schema=None,
    extra=None,
    region_id=None,
    conn_type="alibaba_ice",
)


def stamp(at: float) -> str:
    return datetime.fromtimestamp(int(EPOCH + at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Job:
    """A job from `created` to `ends`, both in seconds since EPOCH.

    :param listed_late: seconds by which the list is behind for it.
    :param unlisted: seconds since its creation between which the list leaves it out.
    """

    job_id: str
    created: float
    ends: float
    outcome: str = "Finished"
    job_type: str | None = "Script"
    user_data: str | None = None
    listed_late: float = 0.0
    unlisted: tuple[float, float] = (0.0, 0.0)

    def is_listed(self, now: float) -> bool:
        begin, end = self.unlisted
        age = now - self.created
        return age >= self.listed_late and not begin <= age < end

    def status(self, now: float) -> str:
        return self.outcome if now >= self.ends else "Processing"

    def wire(self, now: float) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "JobId": self.job_id,
            "Status": self.status(now),
            "CreateTime": stamp(self.created),
            "JobType": self.job_type,
            "UserData": self.user_data,
            "InputConfig": '{"MediaArray": ["http://b.oss-cn-shanghai.aliyuncs.com/c.mp4"]}',
        }
        if now >= self.ends:
            shown["CompleteTime"] = stamp(self.ends)
        return shown


@dataclass
class Account(AsyncCalls):
    """The jobs, and what was asked.

    :param fault: what a call of an action for a job meets: an error, or nothing.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    fault: Callable[[str, str], Exception | None] = lambda action, job_id: None
    ignores_sort: bool = False

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def add(self, job_id: str, lasts: float = 60.0, *, ago: float = 0.0, **fields: Any) -> Job:
        created = self.now - ago
        self.jobs[job_id] = Job(job_id, created, created + lasts, **fields)
        return self.jobs[job_id]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Account]:
        yield self

    async def acall(self, operation: Operation[T]) -> T:
        job_id = operation.query.get("JobId", "")
        self.asked.append((self.now, operation.action, job_id))
        await asyncio.sleep(0.01)
        if (error := self.fault(operation.action, job_id)) is not None:
            raise error
        if operation.action == LIST:
            return operation.read(self._page(operation.query))
        job = self.jobs.get(job_id)
        if job is None:
            body = {"Code": "ResourceNotFound", "RequestId": "R"}
            raise error_from_reply(status=404, body=body, action=GET, submit=False, job_id=job_id)
        return operation.read({"RequestId": "R", "EditingBatchJob": job.wire(self.now)})

    def _page(self, query: Any) -> dict[str, Any]:
        now, since = self.now, query.get("StartTime")
        after = -1e12 if since is None else datetime.fromisoformat(since).timestamp() - EPOCH
        wanted = query.get("Status")
        rows = [
            job
            for job in self.jobs.values()
            if job.created >= after
            and job.is_listed(now)
            and wanted in (None, job.status(now - job.listed_late))
        ]
        rows.sort(key=lambda job: job.created)
        if query.get("SortBy") != "asc" or self.ignores_sort:
            rows.reverse()
        begin = int(query.get("NextToken", 0))
        token = str(begin + 100) if len(rows) > begin + 100 else None
        return {
            "RequestId": "R",
            "EditingBatchJobList": [
                job.wire(now - job.listed_late) for job in rows[begin : begin + 100]
            ],
            "NextToken": token,
        }

    def count(self, action: str, since: float = 0.0) -> int:
        return sum(asked == action and at >= since for at, asked, _ in self.asked)


def down(action: str, job_id: str) -> Exception | None:
    return IceUnavailableError("HTTP 503", http_status=503, action=action)


@dataclass
class Store:
    """The state store of one asset. Values go through JSON, as they do there."""

    values: dict[str, str] = field(default_factory=dict)
    unreadable: bool = False
    unwritable: bool = False
    written: int = 0

    async def aget(self, key: str, default: Any = None) -> Any:
        await asyncio.sleep(0.01)
        if self.unreadable:
            raise RuntimeError("API_SERVER_ERROR")
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        await asyncio.sleep(0.01)
        if self.unwritable:
            raise RuntimeError("API_SERVER_ERROR")
        self.values[key] = json.dumps(value)
        self.written += 1

    @property
    def record(self) -> dict[str, Any]:
        [value] = self.values.values()
        return dict(json.loads(value))


class Watching:
    """A watcher of an account, over crashes and restarts. To be made in a running event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> None:
        self.account = Account()
        self.elsewhere: Account | None = None
        """Another account, to which the connection has been edited."""
        self.accounts: dict[str, Account] = {}
        """Of other regions."""
        self.region: str | None = None
        """To which the connection has been edited."""
        self.stores: Any = Store()
        self.arguments = arguments
        self.persisted: list[dict[str, Any]] = []
        """The payloads that Airflow has stored."""
        self.running: list[asyncio.Task[None]] = []
        self.connection_error: Exception | None = None
        self.skew = 0.0
        """Seconds by which the clock of the triggerer is ahead."""
        clock = SimpleNamespace(time=lambda: EPOCH + asyncio.get_running_loop().time() + self.skew)
        for module in ("triggers", "polling.account"):
            monkeypatch.setattr(f"airflow_ice.{module}.time", clock)

        async def read(ice_conn_id: str, region_id: str | None) -> Any:
            if self.connection_error is not None:
                raise self.connection_error
            return CONNECTION.in_region(region_id or self.region)

        monkeypatch.setattr(
            "airflow_ice.triggers.AccountPoller",
            functools.partial(AccountPoller, read=read, open_client=self._opened),
        )

    def _opened(self, _: str, connection: IceConnection) -> OpenClient:
        def opened() -> AbstractAsyncContextManager[Account]:
            here = self.accounts.get(connection.region or "", self.account)
            return (self.elsewhere or here).open()

        return opened

    @property
    def store(self) -> Store:
        assert isinstance(self.stores, Store)
        return self.stores

    def start(self, **arguments: Any) -> None:
        """Start a triggerer that runs the trigger, as the database holds it."""
        trigger = IceBatchJobEventTrigger(**{**self.arguments, **arguments})
        _, kwargs = trigger.serialize()
        again = IceBatchJobEventTrigger(**json.loads(json.dumps(kwargs)))
        again.asset_state_store = self.stores
        self.running.append(asyncio.create_task(self._run(again)))

    async def _run(self, trigger: IceBatchJobEventTrigger) -> None:
        waiting: list[asyncio.Task[None]] = []
        try:
            async for event in trigger.run():
                # As Airflow sends it. What cannot be sent ends the whole triggerer.
                sent = msgspec.msgpack.encode(event.payload)
                waiting += [asyncio.create_task(self._persist(msgspec.msgpack.decode(sent)))]
        finally:
            for each in waiting:
                each.cancel()  # what Airflow has not stored is gone with the process

    async def _persist(self, payload: dict[str, Any]) -> None:
        await asyncio.sleep(PERSISTED)
        self.persisted.append(json.loads(json.dumps(payload)))

    async def crash(self) -> None:
        """End all triggerers at once; what Airflow has not stored yet is lost."""
        running, self.running = self.running, []
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def told(self) -> list[str]:
        return [payload["job_id"] for payload in self.persisted]

    def times_told(self) -> Counter[str]:
        return Counter(self.told())

    async def passes(self, seconds: float) -> None:
        """Let the time pass, and check that no triggerer has left run()."""
        await asyncio.sleep(seconds)
        for each in self.running:
            assert not each.done(), each


Story = Callable[[Watching], Coroutine[Any, Any, None]]


def watched(**arguments: Any) -> Callable[[Story], Callable[[pytest.MonkeyPatch], None]]:
    """Make a test of a story about a watcher with these arguments, in virtual time."""

    def made(story: Story) -> Callable[[pytest.MonkeyPatch], None]:
        def test(monkeypatch: pytest.MonkeyPatch) -> None:
            async def run() -> None:
                watching = Watching(monkeypatch, **arguments)
                await story(watching)
                await watching.crash()

            run_virtually(run())

        # Not functools.wraps: pytest would ask for a fixture of the story's own argument.
        test.__name__, test.__doc__ = story.__name__, story.__doc__
        return test

    return made
