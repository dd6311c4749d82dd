"""Waits of one triggerer on one account, in virtual time, with whatever a service can do to
them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError, IceTimeoutError
from airflow_ice.api.operations import Operation
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.replies import error_from_reply
from airflow_ice.polling.poller import Poller
from airflow_ice.waiting import PollOutcome, Wait

T = TypeVar("T")
GET, LIST = "GetBatchMediaProducingJob", "ListBatchMediaProducingJobs"
EPOCH = 1_790_000_000.0
REQUEST_BOUND = 15.0
"""Seconds that one request takes at the most: connect_timeout and read_timeout."""


def refused(action: str, code: str, status: int = 400) -> IceError:
    body = {"Code": code, "Message": code, "RequestId": "R"}
    return error_from_reply(status=status, body=body, action=action, submit=False)


@dataclass
class Job:
    """Runs until `ends_at` and then is `outcome`; both times are those of the event loop.

    :param listed: whether any list shows it.
    :param listed_late: seconds by which lists are behind, for this job.
    :param sub_jobs: how many Get shows, one third each in Success, Failed and Processing.
    """

    job_id: str
    ends_at: float
    outcome: str = "Finished"
    starts_at: float = 0.0
    created_at: float = 0.0
    listed: bool = True
    sub_jobs: int = 0
    listed_late: float = 0.0

    def status(self, now: float) -> str:
        if now >= self.ends_at:
            return self.outcome
        return "Processing" if now >= self.starts_at else "Init"


Fault = Callable[[str, str], BaseException | float | None]
"""What happens to a call of an action, for a job: an error, seconds of delay, or nothing."""


@dataclass
class Ice(AsyncCalls):
    """An account, its jobs and what was asked of it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    others: int = 0
    ended_others: int = 0
    takes_no_filter: bool = False
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    fault: Fault = lambda action, job_id: None
    opened: int = 0
    open_now: int = 0
    under_way: int = 0
    takes: float = 0.001
    limiter: RateLimiter | None = None

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ice]:
        self.opened += 1
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    async def acall(self, operation: Operation[T]) -> T:
        if self.limiter is not None:
            await self.limiter.aacquire(priority=operation.priority)
        job_id = operation.query.get("JobId", "")
        self.asked.append((self.now, operation.action, job_id))
        self.under_way += 1
        try:
            await self._meet_fault(operation.action, job_id)
            return self._answer(operation, job_id)
        finally:
            self.under_way -= 1

    async def _meet_fault(self, action: str, job_id: str) -> None:
        await asyncio.sleep(self.takes)
        fault = self.fault(action, job_id)
        if isinstance(fault, IceTimeoutError):
            await asyncio.sleep(REQUEST_BOUND)
        if isinstance(fault, BaseException):
            raise fault
        if fault:
            await asyncio.sleep(fault)

    def _answer(self, operation: Operation[T], job_id: str) -> T:
        if operation.action == LIST:
            assert operation.glance is not None
            found = operation.glance(json.dumps(self._page(operation.query)).encode())
            assert found is not None
            return found
        job = self.jobs.get(job_id)
        if job is None:
            body = {"Code": "ResourceNotFound", "RequestId": "R"}
            raise error_from_reply(status=404, body=body, action=GET, submit=False, job_id=job_id)
        shown: dict[str, Any] = {"JobId": job_id, "Status": job.status(self.now)}
        shown |= self._error(job)
        shown["SubJobList"] = [
            {"JobId": f"{job_id}-{n}", "Status": ("Success", "Failed", "Processing")[n % 3]}
            for n in range(job.sub_jobs)
        ]
        return operation.read({"RequestId": "R", "EditingBatchJob": shown})

    def _error(self, job: Job) -> dict[str, str]:
        if job.status(self.now) != "Failed":
            return {}
        return {"Extend": '{"ErrorCode": "InvalidMaterial.NotFound", "ErrorMessage": "no clip"}'}

    def _page(self, query: Any) -> dict[str, Any]:
        wanted = query["Status"]
        since = query.get("StartTime")
        after = (
            datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp() - EPOCH if since else 0.0
        )
        rows = []
        for job in self.jobs.values():
            status = job.status(self.now - job.listed_late)
            if (
                job.listed
                and (self.takes_no_filter or status == wanted)
                and job.created_at >= after
            ):
                rows.append({"JobId": job.job_id, "Status": status, **self._error(job)})
        more = {"Processing": self.others, "Finished": self.ended_others}.get(wanted, 0)
        rows += [{"JobId": f"other-{number}", "Status": wanted} for number in range(more)]
        begin = int(query.get("NextToken", 0))
        token = str(begin + 100) if len(rows) > begin + 100 else None
        return {
            "RequestId": "R",
            "EditingBatchJobList": rows[begin : begin + 100],
            "NextToken": token,
        }

    def count(self, action: str, since: float = 0.0) -> int:
        return sum(asked == action and at >= since for at, asked, _ in self.asked)

    def asked_for(self, job_id: str) -> int:
        return sum(job_id == asked for _, _, asked in self.asked)


class World:
    """Waits of one triggerer on one account. To be made in a running event loop.

    :param per_second: the limit of requests; None for none.
    """

    def __init__(self, per_second: float | None = None, seed: int = 7) -> None:
        loop = asyncio.get_running_loop()
        random.seed(seed)
        self.time = loop.time
        self.skew = 0.0
        self.began = loop.time()
        self.ice = Ice()
        if per_second is not None:
            self.ice.limiter = RateLimiter(per_second, loop.time)
        self.poller = self._new_poller()
        self.polls: dict[str, list[float]] = {}

    def _new_poller(self) -> Poller:
        def renew() -> None:  # as the registry does: no wait joins a loop that has ended
            self.poller = self._new_poller()

        return Poller(self.ice.open, name="ice_default", wall_clock=self.wall, on_idle=renew)

    def wall(self) -> float:
        """Return the wall clock of the triggerer, epoch seconds."""
        return EPOCH + self.time() + self.skew

    @property
    def passed(self) -> float:
        return self.time() - self.began

    def job(self, name: str, ends_in: float = 1e9, **fields: Any) -> Job:
        now = self.time()
        self.ice.jobs[name] = Job(name, now + ends_in, created_at=now, **fields)
        return self.ice.jobs[name]

    def new_wait(
        self, job_id: str, interval: float = 10.0, limit: float = 1e6, **options: Any
    ) -> Wait:
        now = self.wall()
        options = {"started_at": now, **options}
        wait = Wait(job_id, interval=interval, deadline=now + limit, **options)
        polls = self.polls.setdefault(job_id, [])
        for name in ("on_job", "on_listed", "on_error"):
            setattr(wait, name, self._noting(getattr(wait, name), polls))
        return wait

    async def wait(
        self, job_id: str, interval: float = 10.0, limit: float = 1e6, **options: Any
    ) -> tuple[PollOutcome, float]:
        """Wait as a trigger does; return how it ended and when, in seconds from the beginning."""
        wait = self.new_wait(job_id, interval, limit, **options)
        return await self.poller.watch(wait, interval), self.passed

    def _noting(
        self, decide: Callable[..., PollOutcome], polls: list[float]
    ) -> Callable[..., PollOutcome]:
        def noted(*args: Any, **more: Any) -> PollOutcome:
            polls.append(self.passed)
            return decide(*args, **more)

        return noted

    async def all(
        self, *waits: Awaitable[tuple[PollOutcome, float]]
    ) -> list[tuple[PollOutcome, float]]:
        return list(await asyncio.gather(*waits))

    async def until(self, passed: float) -> None:
        """Let the time pass until so many seconds after the beginning."""
        await asyncio.sleep(max(passed - self.passed, 0.0))
