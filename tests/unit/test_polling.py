"""One poll loop for many waits: what it asks for, how often, and that no wait hangs, whatever the list says."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice import polling
from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError, IceTransportError
from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import error_from_reply
from airflow_ice.polling import Poller, poller
from airflow_ice.waiting import Ended, GiveUp, TimedOut, Verdict, Wait
from tests.three_modes import Clock

T = TypeVar("T")
GET, LIST = "GetBatchMediaProducingJob", "ListBatchMediaProducingJobs"


def refused(action: str, code: str, status: int = 400) -> IceError:
    body = {"RequestId": "R", "Code": code, "Message": code}
    return error_from_reply(status=status, body=body, action=action, submit=False)


@dataclass
class Job:
    """Runs until `ends_at` and then is `outcome`; `listed` is what the list believes of it."""

    job_id: str
    ends_at: float
    outcome: str = "Finished"
    starts_at: float = 0.0
    listed: bool = True
    stale: bool = False

    def status(self, now: float) -> str:
        if now >= self.ends_at:
            return self.outcome
        return "Processing" if now >= self.starts_at else "Init"


@dataclass
class Ice(AsyncCalls):
    """An account, its jobs and what was asked of it."""

    clock: Clock
    jobs: dict[str, Job] = field(default_factory=dict)
    others: int = 0
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    fault: Callable[[str, str], IceError | None] = lambda action, job_id: None
    opened: int = 0
    open_now: int = 0
    takes: float = 0.001

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ice]:
        self.opened += 1
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    async def acall(self, operation: Operation[T]) -> T:
        await asyncio.sleep(0)
        self.clock.now += self.takes
        job_id = operation.query.get("JobId", "")
        self.asked.append((self.clock.now, operation.action, job_id))
        if error := self.fault(operation.action, job_id):
            raise error
        if operation.action == LIST:
            body = self._page(operation.query)
            assert operation.glance is not None
            found = operation.glance(json.dumps(body).encode())
            assert found is not None
            return found
        if job_id not in self.jobs:
            raise error_from_reply(
                status=404,
                body={"RequestId": "R", "Code": "ResourceNotFound"},
                action=GET,
                submit=False,
                job_id=job_id,
            )
        status = self.jobs[job_id].status(self.clock.now)
        return operation.read(
            {"RequestId": "R", "EditingBatchJob": {"JobId": job_id, "Status": status}}
        )

    def _page(self, query: Any) -> dict[str, Any]:
        def believed(job: Job) -> str:
            return "Processing" if job.stale else job.status(self.clock.now)

        ids = [
            job.job_id
            for job in self.jobs.values()
            if job.listed and believed(job) == query["Status"]
        ]
        if query["Status"] == "Processing":
            ids += [f"other-{number}" for number in range(self.others)]
        begin = int(query.get("NextToken", 0))
        page = ids[begin : begin + 100]
        rows = [
            {"JobId": job_id, "Status": query["Status"], "InputConfig": "{}" * 50}
            for job_id in page
        ]
        return {
            "RequestId": "R",
            "EditingBatchJobList": rows,
            "NextToken": str(begin + 100) if len(ids) > begin + 100 else None,
        }

    def count(self, action: str, since: float = 0.0) -> int:
        return sum(asked == action and at >= since for at, asked, _ in self.asked)


class World:
    """Waits of one triggerer on one account, on a clock that only the loop's own pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        random.seed(7)
        self.clock = Clock()
        self.clock.install(monkeypatch)
        self.ice = Ice(self.clock)
        self.poller = Poller(self.ice.open, name="ice_default", clock=self.clock.time)
        self.began = self.clock.now
        self.seen: dict[str, list[float]] = {}

    def job(self, name: str, ends_in: float = 1e9, **fields: Any) -> Job:
        self.ice.jobs[name] = Job(name, self.clock.now + ends_in, **fields)
        return self.ice.jobs[name]

    async def wait(
        self, job_id: str, interval: float = 10.0, limit: float = 1e6, **options: Any
    ) -> tuple[Verdict, float]:
        """Wait as a trigger does; return the verdict and when it came, in seconds from the beginning."""
        wait = Wait(
            job_id,
            interval=interval,
            started_at=self.clock.now,
            deadline=self.clock.now + limit,
            **options,
        )
        looks = self.seen.setdefault(job_id, [])
        for name in ("on_job", "on_listed", "on_error"):
            setattr(wait, name, self._noting(getattr(wait, name), looks))
        return await self.poller.watch(wait, interval), self.clock.now - self.began

    def _noting(self, decide: Callable[..., Verdict], looks: list[float]) -> Callable[..., Verdict]:
        def noted(shown: Any, now: float) -> Verdict:
            looks.append(now - self.began)
            return decide(shown, now)

        return noted

    async def all(self, *waits: Awaitable[tuple[Verdict, float]]) -> list[tuple[Verdict, float]]:
        return list(await asyncio.wait_for(asyncio.gather(*waits), 30))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_pages_of_the_list_serve_all_waits_and_each_end_is_asked_for_once(
    world: World,
) -> None:
    for number in range(250):
        world.job(f"job-{number}", ends_in=100 + number)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(250)))
    for number, (verdict, at) in enumerate(outcomes):
        assert isinstance(verdict, Ended)
        assert 100 + number <= at <= 100 + number + 10 + 0.5
    intervals = 350 / 9  # looks come up to a tenth early
    assert world.ice.count(GET) == 250
    assert (
        world.ice.count(LIST) <= 5 * intervals
    )  # one page of Init and at most three of Processing
    assert world.ice.opened == 1


async def test_few_waits_in_a_busy_account_are_asked_for_one_by_one(world: World) -> None:
    world.ice.others = 5000
    for number in range(5):
        world.job(f"job-{number}", ends_in=1000)
    await world.all(*(world.wait(f"job-{number}") for number in range(5)))
    looks = 1000 / 9
    assert world.ice.count(GET) + world.ice.count(LIST) <= 5 * looks * 1.3
    assert world.ice.count(LIST) <= 0.3 * world.ice.count(GET)


async def test_it_goes_over_to_the_list_when_waits_come_and_back_when_they_go(world: World) -> None:
    for number in range(300):
        world.job(f"job-{number}", ends_in=100 if number else 1000)
    await world.all(*(world.wait(f"job-{number}") for number in range(300)))
    crowded = world.began + 100
    assert world.ice.count(LIST) - world.ice.count(LIST, since=crowded + 20) > 30
    alone = world.began + 200
    assert world.ice.count(LIST, since=alone) == 0
    assert world.ice.count(GET, since=alone) == pytest.approx(800 / 9.5, rel=0.1)


async def test_each_wait_is_looked_at_no_later_than_its_own_interval_asks(world: World) -> None:
    intervals = [5.0, 5.0, 20.0, 60.0, 60.0, 7.5, 300.0]
    for number in range(len(intervals)):
        world.job(f"job-{number}", ends_in=900)
    await world.all(
        *(world.wait(f"job-{number}", interval) for number, interval in enumerate(intervals))
    )
    for number, interval in enumerate(intervals):
        looks = [0.0, *world.seen[f"job-{number}"]]
        assert max(later - sooner for sooner, later in itertools.pairwise(looks)) <= interval + 0.1


async def test_a_job_that_the_list_never_shows_is_asked_for_at_a_pace_of_its_own(
    world: World,
) -> None:
    world.job("hidden", ends_in=2000, listed=False)
    for number in range(50):
        world.job(f"job-{number}", ends_in=3000)
    outcomes = await world.all(
        world.wait("hidden"), *(world.wait(f"job-{number}") for number in range(50))
    )
    verdict, at = outcomes[0]
    assert isinstance(verdict, Ended)
    assert 2000 <= at <= 2000 + polling.SLOWEST_UNLISTED + 1
    assert sum(job_id == "hidden" for _, _, job_id in world.ice.asked) <= 2000 / 100 + 10


async def test_a_job_that_the_list_shows_late_is_served_by_the_list_from_then_on(
    world: World,
) -> None:
    late = world.job("late", ends_in=1000, listed=False)
    for number in range(50):
        world.job(f"job-{number}", ends_in=1200)
    waits = [
        asyncio.create_task(world.wait(name))
        for name in ("late", *(f"job-{number}" for number in range(50)))
    ]
    while world.clock.now < world.began + 300:  # noqa: ASYNC110 - it is the simulated clock that is waited for
        await asyncio.sleep(0)
    late.listed = True
    asked = sum(job_id == "late" for _, _, job_id in world.ice.asked)
    outcomes = await world.all(*waits)
    assert isinstance(outcomes[0][0], Ended)
    assert outcomes[0][1] <= 1000 + 11
    assert sum(job_id == "late" for _, _, job_id in world.ice.asked) <= asked + 2


async def test_a_list_that_shows_an_ended_job_as_running_for_ever_is_not_believed_for_ever(
    world: World,
) -> None:
    world.job("stale", ends_in=100, stale=True)
    for number in range(30):
        world.job(f"job-{number}", ends_in=8000)
    [(verdict, at), *_] = await world.all(
        world.wait("stale", 60), *(world.wait(f"job-{number}", 60) for number in range(30))
    )
    assert isinstance(verdict, Ended)
    assert at <= 2 * polling.TRUTH_CHECK + 61


async def test_without_the_permission_to_list_each_job_is_asked_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.ice.fault = lambda action, _: (
        refused(action, "Forbidden.RAM", 403) if action == LIST else None
    )
    for number in range(20):
        world.job(f"job-{number}", ends_in=500)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(20)))
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)
    assert world.ice.count(LIST) == 1
    assert (
        sum("is refused, so each job is asked for" in record.message for record in caplog.records)
        == 1
    )


async def test_one_job_that_cannot_be_looked_at_does_not_hold_up_the_others(world: World) -> None:
    world.ice.fault = lambda _, job_id: (
        refused(GET, "InternalError", 500) if job_id == "poison" else None
    )
    world.job("poison", ends_in=50, listed=False)
    for number in range(20):
        world.job(f"job-{number}", ends_in=50 + 10 * number)
    outcomes = await world.all(
        world.wait("poison", limit=1000), *(world.wait(f"job-{number}") for number in range(20))
    )
    assert isinstance(outcomes[0][0], TimedOut)
    for number, (verdict, at) in enumerate(outcomes[1:]):
        assert isinstance(verdict, Ended)
        assert at <= 50 + 10 * number + 11


async def test_several_jobs_that_cannot_be_looked_at_do_not_hold_up_the_others_either(
    world: World,
) -> None:
    world.ice.fault = lambda _, job_id: (
        refused(GET, "InternalError", 500) if job_id.startswith("poison") else None
    )
    for number in range(10):
        world.job(f"poison-{number}", ends_in=50, listed=False)
    for number in range(30):
        world.job(f"job-{number}", ends_in=50 + 10 * number)
    outcomes = await world.all(
        *(world.wait(f"job-{number}") for number in range(30)),
        *(world.wait(f"poison-{number}", limit=2000) for number in range(10)),
    )
    for number, (verdict, at) in enumerate(outcomes[:30]):
        assert isinstance(verdict, Ended)
        assert at <= 50 + 10 * number + 11
    assert all(isinstance(verdict, TimedOut) for verdict, _ in outcomes[30:])


async def test_a_list_that_takes_no_filter_hides_no_end(world: World) -> None:
    def everything(query: Any) -> dict[str, Any]:
        jobs = world.ice.jobs.values()
        return {
            "RequestId": "R",
            "EditingBatchJobList": [
                {"JobId": job.job_id, "Status": job.status(world.clock.now)} for job in jobs
            ],
        }

    world.ice._page = everything  # type: ignore[method-assign]
    for number in range(30):
        world.job(f"job-{number}", ends_in=100)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(30)))
    assert all(isinstance(verdict, Ended) and at <= 111 for verdict, at in outcomes)


async def test_a_connection_that_cannot_be_read_for_a_time_ends_nothing(world: World) -> None:
    back_at = world.began + 100

    def unreadable(*_: object) -> IceError | None:
        if world.clock.now < back_at:
            raise AirflowNotFoundException("The conn_id `ice_default` isn't defined")
        return None

    world.ice.fault = unreadable
    for number in range(20):
        world.job(f"job-{number}", ends_in=50)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(20)))
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)


async def test_a_key_that_was_changed_in_the_connection_is_read_again_before_any_wait_ends(
    world: World,
) -> None:
    world.ice.fault = lambda action, _: (
        refused(action, "InvalidAccessKeyId.Inactive") if world.ice.opened == 1 else None
    )
    for number in range(20):
        world.job(f"job-{number}", ends_in=50)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(20)))
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)
    assert world.ice.opened == 2


async def test_a_clock_that_is_set_back_stalls_no_wait(world: World) -> None:
    world.job("job", ends_in=500)
    waiting = asyncio.create_task(world.wait("job"))
    while world.clock.now < world.began + 100:  # noqa: ASYNC110 - it is the simulated clock that is waited for
        await asyncio.sleep(0)
    world.clock.now -= 3600
    world.ice.jobs["job"].ends_at -= 4000
    slept = len(world.clock.slept)
    verdict, _ = await asyncio.wait_for(waiting, 30)
    assert isinstance(verdict, Ended)
    assert len(world.clock.slept) - slept < 100


@pytest.mark.parametrize(
    "error",
    [
        IceTransportError("no connection"),
        refused(GET, "Throttling.User"),
        refused(GET, "InternalError", 503),
    ],
)
async def test_an_outage_slows_the_whole_loop_down_and_ends_nothing(
    world: World, error: IceError
) -> None:
    over_at = world.began + 1000
    world.ice.fault = lambda *_: error if world.clock.now < over_at else None
    for number in range(200):
        world.job(f"job-{number}", ends_in=100)
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(200)))
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)
    assert max(at for _, at in outcomes) <= 1000 + polling.LONGEST_BACKOFF + 30
    assert sum(at < over_at for at, _, _ in world.ice.asked) <= 60
    assert world.clock.slept
    assert min(pause for pause in world.clock.slept if pause > 0) > 1e-6


@pytest.mark.parametrize("asked", [200.0, 1e6])
async def test_what_the_service_asks_to_wait_is_waited_within_reason(
    world: World, asked: float
) -> None:
    throttled = refused(GET, "Throttling.User")
    throttled.retry_after = asked  # type: ignore[attr-defined]
    first = [throttled]
    world.ice.fault = lambda *_: first.pop() if first else None
    world.job("job", ends_in=5)
    [(verdict, at)] = await world.all(world.wait("job"))
    assert isinstance(verdict, Ended)
    assert min(asked, 600) <= at <= 700


async def test_errors_that_waits_keep_hold_no_pages_and_no_other_waits(world: World) -> None:
    met: list[IceError] = []

    def down(action: str, _job_id: str) -> IceError | None:
        if action == LIST and world.clock.now >= world.began + 100:
            return None
        error = refused(action, "InternalError", 500)
        error.__cause__ = ValueError("the cause")
        met.append(error)
        return error

    world.ice.fault = down
    for number in range(8):
        world.job(f"job-{number}", ends_in=60)
    await world.all(*(world.wait(f"job-{number}", limit=200) for number in range(8)))
    assert len(met) > 10
    assert not [
        error
        for error in met
        if error.__traceback__ or (error.__cause__ and error.__cause__.__traceback__)
    ]


async def test_a_wrong_key_ends_all_waits_with_few_requests(world: World) -> None:
    world.ice.fault = lambda action, _: refused(action, "InvalidAccessKeyId.Inactive")
    for number in range(500):
        world.job(f"job-{number}")
    outcomes = await world.all(*(world.wait(f"job-{number}") for number in range(500)))
    assert all(
        isinstance(verdict, GiveUp) and verdict.error.code == "InvalidAccessKeyId.Inactive"
        for verdict, _ in outcomes
    )
    assert len(world.ice.asked) <= 5


async def test_waits_that_go_on_after_a_wrong_key_do_not_run_hot(world: World) -> None:
    fixed_at = world.began + 3000
    world.ice.fault = lambda action, _: (
        refused(action, "InvalidAccessKeyId.Inactive") if world.clock.now < fixed_at else None
    )
    for number in range(50):
        world.job(f"job-{number}", ends_in=10)
    outcomes = await world.all(
        *(world.wait(f"job-{number}", silent_fail=True) for number in range(50))
    )
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)
    assert len(world.ice.asked) <= 50 + 60


async def test_failed_and_unknown_jobs_are_given_up_each_for_itself(world: World) -> None:
    world.job("failed", ends_in=30, outcome="Failed")
    for number in range(20):
        world.job(f"job-{number}", ends_in=200)
    outcomes = await world.all(
        world.wait("failed"),
        world.wait("nobody"),
        *(world.wait(f"job-{number}") for number in range(20)),
    )
    (failed, _), (unknown, at), *others = outcomes
    assert isinstance(failed, GiveUp)
    assert isinstance(unknown, GiveUp)
    assert at >= 60  # the service may not have written it everywhere yet
    assert all(isinstance(verdict, Ended) for verdict, _ in others)


async def test_each_wait_keeps_its_own_deadline(world: World) -> None:
    for number in range(30):
        world.job(f"job-{number}")
    outcomes = await world.all(
        *(world.wait(f"job-{number}", limit=100 + 7 * number) for number in range(30))
    )
    for number, (verdict, at) in enumerate(outcomes):
        assert isinstance(verdict, TimedOut)
        assert at == pytest.approx(100 + 7 * number, abs=0.2)


async def test_two_waits_for_one_job_cost_one_request(world: World) -> None:
    world.job("job", ends_in=95)
    outcomes = await world.all(world.wait("job"), world.wait("job"))
    assert all(isinstance(verdict, Ended) for verdict, _ in outcomes)
    assert world.ice.count(GET) <= 100 / 9 + 2


async def test_lines_of_a_wait_are_written_in_its_own_context(world: World) -> None:
    task = contextvars.ContextVar("task", default="nobody")
    lines: list[tuple[str, str]] = []

    class Log:
        def info(self, message: str, *args: Any) -> None:
            lines.append((task.get(), message % args))

        warning = info

    async def wait(name: str) -> None:
        task.set(name)
        await world.wait(name, log=Log())

    for number in range(10):
        world.job(f"job-{number}", ends_in=60, starts_at=world.clock.now + 30)
    await asyncio.gather(*(wait(f"job-{number}") for number in range(10)))
    assert Counter(name for name, _ in lines) == {
        f"job-{number}": 3 for number in range(10)
    }  # Init, Processing, Finished
    assert all(name in line for name, line in lines)


async def test_the_client_is_closed_with_the_last_wait_and_opened_again_with_the_next(
    world: World,
) -> None:
    world.job("one", ends_in=20)
    await world.all(world.wait("one"))
    await asyncio.sleep(0.01)
    assert world.ice.open_now == 0


async def test_a_wait_that_is_cancelled_leaves_and_the_others_go_on(world: World) -> None:
    world.job("one", ends_in=500)
    world.job("two", ends_in=50)
    staying = asyncio.create_task(world.wait("one"))
    leaving = asyncio.create_task(world.wait("two"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    verdict, _ = await asyncio.wait_for(staying, 30)
    assert isinstance(verdict, Ended)
    assert not any(job_id == "two" for _, _, job_id in world.ice.asked)


async def test_a_fault_in_the_loop_itself_is_every_waits_failure_and_no_hang(world: World) -> None:
    def crash(*_: object) -> IceError | None:
        raise ZeroDivisionError("a fault of ours")

    world.ice.fault = crash
    for number in range(3):
        world.job(f"job-{number}")
    outcomes = await asyncio.gather(
        *(world.wait(f"job-{number}") for number in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
    await asyncio.sleep(0.01)
    assert world.ice.open_now == 0


async def test_after_the_last_wait_the_next_one_gets_a_poller_that_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    monkeypatch.setattr(polling, "IceHook", lambda *_, **__: world.ice.open())
    for name in ("one", "two"):
        world.job(name, ends_in=20)
        wait = Wait(name, interval=10, started_at=world.clock.now, deadline=world.clock.now + 1000)
        assert isinstance(
            await asyncio.wait_for(poller("ice_default", None).watch(wait, 10), 10), Ended
        )
    await asyncio.sleep(0.01)
    assert (world.ice.opened, world.ice.open_now) == (2, 0)


async def test_waits_of_one_connection_and_region_share_a_poller_and_others_do_not() -> None:
    assert poller("a", None) is poller("a", None)
    assert len({id(poller("a", None)), id(poller("b", None)), id(poller("a", "cn-beijing"))}) == 3


def test_event_loops_do_not_share_pollers() -> None:
    async def mine() -> Poller:
        return poller("a", None)

    assert asyncio.run(mine()) is not asyncio.run(mine())


async def test_a_wait_that_began_long_ago_is_looked_at_soon_but_with_those_that_come_back_with_it(
    world: World,
) -> None:
    world.clock.now += 10_000
    for number in range(400):
        world.job(f"job-{number}", ends_in=60)
    waits = []
    for number in range(400):
        wait = Wait(
            f"job-{number}", interval=10, started_at=world.began, deadline=world.clock.now + 1e6
        )
        waits.append(asyncio.create_task(world.poller.watch(wait, 10)))
    began = world.clock.now
    await asyncio.gather(*waits)
    first = [action for at, action, _ in world.ice.asked if at < began + 2]
    assert first == [LIST] * 5
