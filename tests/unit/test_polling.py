"""One poll loop for many waits: what it asks for, how often, and that no wait hangs or ends
wrong."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import ssl
from collections import Counter
from typing import Any, TypeVar

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.calls import AsyncCalls
from airflow_ice.api.errors import IceError, IceTimeoutError, IceTransportError
from airflow_ice.api.operations import Operation
from airflow_ice.polling import accelerator, watch
from airflow_ice.polling.accelerator import ListAccelerator, RunningJobs
from airflow_ice.polling.backoff import Backoff
from airflow_ice.polling.gets import Gets
from airflow_ice.polling.listing import Listing
from airflow_ice.polling.watch import Watch
from airflow_ice.waiting import DEADLINE_GRACE, GiveUp, JobFinished, PollOutcome, TimedOut
from tests.polling_world import GET, LIST, World, refused
from tests.virtual_time import VirtualLoop, run_virtually, virtual_time

T = TypeVar("T")
Outcomes = list[tuple[PollOutcome, float]]


def names(count: int) -> list[str]:
    return [f"job-{number}" for number in range(count)]


def all_finished(outcomes: Outcomes, by: float) -> bool:
    late: Outcomes = [each for each in outcomes if not isinstance(each[0], JobFinished)]
    late += [(outcome, at) for outcome, at in outcomes if at > by]
    assert not late, late[:3]
    return True


# What it costs


@virtual_time
async def test_pages_of_the_list_serve_all_waits() -> None:
    world = World()
    for number, name in enumerate(names(250)):
        world.job(name, ends_in=100 + number)
    outcomes = await world.all(*map(world.wait, names(250)))
    for number, (outcome, at) in enumerate(outcomes):
        assert isinstance(outcome, JobFinished)
        assert 100 + number <= at <= 100 + number + 10 + 0.5
    intervals = 350 / 9  # polls come up to a tenth early
    # One Get for each end, and few to check the list.
    assert world.ice.count(GET) <= 250 + 4 * intervals
    # A page of Init, at most three of Processing, and at times two of ended jobs.
    assert world.ice.count(LIST) <= 6 * intervals
    assert world.ice.opened == 1


class Lines:
    """A log of one wait."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, /, *args: Any) -> None:
        self.lines.append(message % args)

    warning = info


@virtual_time
async def test_logs_show_the_progress_of_jobs_that_the_list_serves() -> None:
    world = World()
    for name in names(50):
        world.job(name, ends_in=1200, sub_jobs=3)
    logs = {name: Lines() for name in names(50)}
    await world.all(*(world.wait(name, log=logs[name]) for name in names(50)))
    for log in logs.values():
        told = [line for line in log.lines if line.startswith("2 of 3 sub-jobs done, 1 failed, ")]
        assert [line.split(", ")[2].split(" (")[0] for line in told] == [
            "1 min",
            "3 min",
            "7 min",
            "15 min",
        ]
    # A Get for each heartbeat and each end, and few to check the list.
    assert world.ice.count(GET) <= 50 * (1 + 4 + 1) + 4 * 1200 / 9
    assert world.ice.count(LIST) > 100


@virtual_time
async def test_the_progress_of_many_waits_costs_next_to_nothing() -> None:
    world = World()
    for name in names(1500):
        world.job(name)
    waits = [asyncio.create_task(world.wait(name)) for name in names(1500)]
    await world.until(50)
    gets = world.ice.count(GET)
    await world.until(350)  # all heartbeats are due after 60 s, and again after 180
    # At most one Get for a heartbeat and one to check, after each reading.
    assert world.ice.count(GET) - gets <= 2 * 300 / 9 * 1.3
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


@virtual_time
async def test_few_waits_in_a_busy_account_are_asked_for_one_by_one() -> None:
    world = World()
    world.ice.others = 5000
    for name in names(5):
        world.job(name, ends_in=1000)
    await world.all(*map(world.wait, names(5)))
    polls = 1000 / 9
    assert world.ice.count(GET) + world.ice.count(LIST) <= 5 * polls * 1.3
    assert world.ice.count(LIST) <= 0.3 * world.ice.count(GET)


@virtual_time
async def test_it_changes_to_the_list_when_waits_come_and_back_when_they_go() -> None:
    world = World()
    for number, name in enumerate(names(300)):
        world.job(name, ends_in=100 if number else 1000)
    await world.all(*map(world.wait, names(300)))
    assert world.ice.count(LIST) - world.ice.count(LIST, since=world.began + 120) > 30
    alone = world.began + 200
    assert world.ice.count(LIST, since=alone) == 0
    assert world.ice.count(GET, since=alone) == pytest.approx(800 / 9.5, rel=0.1)


@virtual_time
async def test_waits_that_came_into_the_queue_for_gets_return_to_the_list() -> None:
    world = World(per_second=10)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    down = refused(LIST, "ServiceUnavailable", 503)
    world.ice.fault = lambda action, _: down if action == LIST and world.passed < 15 else None
    count = 1500  # 16 pages, or Gets for 150 s
    for name in names(count):
        world.job(name)
    waits = [world.new_wait(name) for name in names(count)]
    last = waits[-1]
    on_listed = last.on_listed

    def hold_up(*args: Any, **more: Any) -> PollOutcome:
        # Others block the event loop for so long that what the list has told is soon due again.
        outcome = on_listed(*args, **more)
        if world.passed < 50:
            loop.now += 8
        return outcome

    last.on_listed = hold_up  # type: ignore[method-assign]
    tasks = [asyncio.create_task(world.poller.watch(wait, 10.0)) for wait in waits]
    await world.until(18)
    assert world.ice.count(LIST) < 5  # the list has failed, so each wait was queued for a Get
    await world.until(50)
    lists, gets = world.ice.count(LIST), world.ice.count(GET)
    assert lists > 16
    await world.until(150)
    assert world.ice.count(LIST) - lists > 16 * 100 / 15
    assert world.ice.count(GET) - gets < 50
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class SlowCalls(AsyncCalls):
    """An account each of whose answers takes some seconds.

    `most_at_once` is how often the same job was asked for at the same time.
    """

    def __init__(self, world: World, seconds: float) -> None:
        self.most_at_once = 0
        self._ice = world.ice
        self._ice.takes = seconds
        self._under_way: Counter[str] = Counter()

    async def acall(self, operation: Operation[T]) -> T:
        job_id = operation.query["JobId"]
        self._under_way[job_id] += 1
        self.most_at_once = max(self.most_at_once, self._under_way[job_id])
        try:
            return await self._ice.acall(operation)
        finally:
            self._under_way[job_id] -= 1


def asked(world: World, calls: AsyncCalls, count: int) -> tuple[Gets, Listing, list[Watch]]:
    """Return Gets that ask for so many jobs, a list beside them, and the waits for the jobs.

    The next in the queue are those that a list would have checked first.
    """
    watches = world.poller.watches
    lists = ListAccelerator("ice_default", world.time)
    gets = Gets(
        watches,
        Backoff(lambda: 0.5),
        lists,
        on_doubt=lambda error: None,
        on_unknown=lambda watch: False,
    )
    gets.open(calls)
    made = []
    for number, name in enumerate(names(count)):
        world.job(name)
        one = Watch(world.new_wait(name), 10.0, due=world.time(), region_id=None)
        one.poller = world.poller
        one.checked_at = world.time() - (count - number if number >= 8 else 0)
        watches.add(one)
        gets.ask(one)
        made.append(one)
    return gets, Listing(watches, gets, lists), made


@pytest.mark.parametrize("steps", range(8))
def test_no_job_is_asked_for_twice_at_once(steps: int) -> None:
    """Whenever a list is told beside Gets, to the step of the event loop."""

    async def story() -> int:
        world = World()
        calls = SlowCalls(world, 1.0)
        gets, listing, _ = asked(world, calls, 20)
        await asyncio.sleep(1)
        for _ in range(steps):
            await asyncio.sleep(0)
        running = RunningJobs(dict.fromkeys(names(20), "Processing"), complete=True)
        await listing._tell(running, {}, [])
        await asyncio.sleep(5)
        await gets.close()
        return calls.most_at_once

    assert run_virtually(story()) == 1


@virtual_time
async def test_what_is_dropped_because_the_service_fails_is_not_queued_meanwhile() -> None:
    world = World()
    gets, _, watches = asked(world, SlowCalls(world, 1000.0), 500)
    await asyncio.sleep(0.1)
    dropping = asyncio.create_task(gets._drop_queued(IceTransportError("down", action=GET)))
    await asyncio.sleep(0)  # it has told the first of them, and gives way
    assert not dropping.done()
    for one in watches:  # as a list does that is told at this moment, and checks some
        gets.withdraw(one.wait.job_id)
        gets.ask(one, check=True)
    await dropping
    assert all(gets.is_asked(job_id) for lane in gets._lanes for job_id in lane.queue)
    await gets.close()


@virtual_time
async def test_a_list_that_was_cut_short_leaves_its_waits_to_the_next_one() -> None:
    world = World()
    gets, listing, watches = asked(world, SlowCalls(world, 1000.0), 20)
    await asyncio.sleep(0.1)  # eight are under way, twelve are queued
    await listing._tell(RunningJobs({}, complete=False), {}, watches)
    assert sum(gets.is_queued(name) for name in names(20)) == 12
    await listing._tell(RunningJobs({}, complete=True), {}, watches)
    assert not any(gets.is_queued(name) for name in names(20))  # ended, or on no list: Get it is
    await gets.close()


@virtual_time
async def test_waits_in_the_queue_for_gets_count_for_the_list() -> None:
    world = World(per_second=2)
    down = refused(LIST, "ServiceUnavailable", 503)
    world.ice.fault = lambda action, _: down if action == LIST and 20 < world.passed < 50 else None
    for name in names(1500):  # 16 pages, or Gets for 750 s
        world.job(name)
    waits = [asyncio.create_task(world.wait(name)) for name in names(1500)]
    await world.until(60)
    lists = world.ice.count(LIST)
    await world.until(120)
    assert world.ice.count(LIST) - lists > 16
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


@virtual_time
async def test_each_wait_is_polled_no_later_than_its_own_interval_asks() -> None:
    world = World()
    intervals = [5.0, 5.0, 20.0, 60.0, 60.0, 7.5, 300.0]
    for name in names(len(intervals)):
        world.job(name, ends_in=900)
    await world.all(*map(world.wait, names(len(intervals)), intervals))
    for name, interval in zip(names(len(intervals)), intervals, strict=True):
        polls = [0.0, *world.polls[name]]
        assert max(later - sooner for sooner, later in itertools.pairwise(polls)) <= interval + 0.1


@virtual_time
async def test_two_waits_for_one_job_take_one_request() -> None:
    world = World()
    world.job("job", ends_in=95)
    assert all_finished(await world.all(world.wait("job"), world.wait("job")), by=106)
    assert world.ice.count(GET) <= 100 / 9 + 2


# Jobs that end together


@pytest.mark.parametrize("outcome", ["Finished", "Failed"])
def test_jobs_that_end_together_are_told_by_the_page(outcome: str) -> None:
    @virtual_time
    async def story() -> None:
        world = World(per_second=10)
        world.ice.takes = 0.05
        for name in names(300):
            world.job(name, ends_in=60, outcome=outcome)
        outcomes = await world.all(*(world.wait(name, 5) for name in names(300)))
        assert max(at for _, at in outcomes) <= 60 + 8
        assert world.ice.count(GET) < 60
        for ended, _ in outcomes:
            if outcome == "Failed":
                assert isinstance(ended, GiveUp)
                assert ended.error.code == "InvalidMaterial.NotFound"
                assert "no clip" in str(ended.error)
            else:
                assert isinstance(ended, JobFinished)

    story()


@virtual_time
async def test_ended_jobs_of_others_are_not_read_without_end() -> None:
    world = World()
    world.ice.ended_others = 100_000
    for name in names(50):
        world.job(name, ends_in=60)
    assert all_finished(await world.all(*map(world.wait, names(50))), by=72)
    assert world.ice.count(LIST, since=world.began + 59) <= 20


# Where the list is no help


@pytest.mark.parametrize(
    "fault",
    [
        lambda: refused(LIST, "Throttling.User"),
        lambda: refused(LIST, "InternalError", 500),
        lambda: IceTransportError("no connection"),
        lambda: ssl.SSLError("record layer failure"),
        lambda: ZeroDivisionError("a fault of ours"),
        lambda: 3600.0,
    ],
    ids=["throttled", "5xx", "down", "tls", "bug", "slow"],
)
def test_while_the_list_fails_each_due_wait_is_answered_by_get(fault: Any) -> None:
    @virtual_time
    async def story() -> None:
        world = World(per_second=10)
        world.ice.fault = lambda action, _: fault() if action == LIST else None
        for name in names(30):
            world.job(name, ends_in=2)
        assert all_finished(await world.all(*map(world.wait, names(30))), by=20)

    story()


@virtual_time
async def test_a_list_that_fails_is_tried_again_and_serves_again() -> None:
    world = World()
    world.ice.fault = lambda action, _: (
        refused(LIST, "InternalError", 500) if action == LIST and world.passed < 300 else None
    )
    for name in names(200):
        world.job(name, ends_in=1000)
    assert all_finished(await world.all(*map(world.wait, names(200))), by=1012)
    assert world.ice.count(GET, since=world.began + 400) < 200 + 4 * 70


@virtual_time
async def test_without_the_permission_to_list_each_job_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.ice.fault = lambda action, _: (
        refused(action, "Forbidden.RAM", 403) if action == LIST else None
    )
    for name in names(20):
        world.job(name, ends_in=500)
    assert all_finished(await world.all(*map(world.wait, names(20))), by=511)
    assert world.ice.count(LIST) == 1
    assert sum("is refused, so for" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("interval", [10.0, 400.0])
def test_a_job_that_the_list_never_shows_is_told_within_its_interval(interval: float) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        world.job("hidden", ends_in=2000, listed=False)
        for name in names(50):
            world.job(name, ends_in=4000)
        outcomes = await world.all(
            world.wait("hidden", interval), *(world.wait(name, interval) for name in names(50))
        )
        assert all_finished(outcomes[:1], by=2000 + interval + 1)

    story()


@virtual_time
async def test_a_job_that_the_list_shows_late_is_served_by_the_list_from_then_on() -> None:
    world = World()
    late = world.job("late", ends_in=1000, listed=False)
    for name in names(50):
        world.job(name, ends_in=1200)
    waits = [asyncio.create_task(world.wait(name)) for name in ("late", *names(50))]
    await world.until(300)
    late.listed = True
    asked = world.ice.asked_for("late")
    outcomes = await world.all(*waits)
    assert all_finished(outcomes[:1], by=1011)
    heartbeats = 2  # after 7 and 15 min
    assert world.ice.asked_for("late") <= asked + 1 + 700 / 9 * 4 / 50 + 2 + heartbeats


@virtual_time
async def test_a_list_that_is_behind_is_found_out_and_get_is_asked_instead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    for number, name in enumerate(names(60)):
        world.job(name, ends_in=100 + 20 * number, listed_late=300)
    outcomes = await world.all(*map(world.wait, names(60)))
    late = [at - (100 + 20 * number) for number, (_, at) in enumerate(outcomes)]
    assert all(isinstance(outcome, JobFinished) for outcome, _ in outcomes)
    assert sum(each > 30 for each in late) <= 20
    assert "is behind or wrong" in caplog.text


@virtual_time
async def test_a_list_that_shows_running_jobs_as_ended_ends_no_wait() -> None:
    world = World()
    for name in names(40):
        world.job(name, ends_in=500)
    honest = world.ice._page

    def lying(query: Any) -> dict[str, Any]:
        if query["Status"] in {"Init", "Processing"}:
            return {"RequestId": "R", "EditingBatchJobList": [], "NextToken": None}
        rows = [{"JobId": name, "Status": query["Status"]} for name in names(40)]
        return {**honest(query), "EditingBatchJobList": rows}

    world.ice._page = lying  # type: ignore[method-assign]
    outcomes = await world.all(*map(world.wait, names(40)))
    assert min(at for _, at in outcomes) >= 500
    assert all_finished(outcomes, by=515)


@virtual_time
async def test_a_list_that_takes_no_filter_hides_no_end() -> None:
    world = World()
    world.ice.takes_no_filter = True
    for name in names(30):
        world.job(name, ends_in=100)
    assert all_finished(await world.all(*map(world.wait, names(30))), by=111)


@virtual_time
async def test_a_slow_list_holds_up_nobody() -> None:
    world = World()
    world.ice.fault = lambda action, _: 60.0 if action == LIST else None
    for name in names(40):
        world.job(name, ends_in=100)
    assert all_finished(await world.all(*map(world.wait, names(40))), by=117)


# Where Get fails


@pytest.mark.parametrize(
    "fault",
    [
        lambda: refused(GET, "InternalError", 500),
        lambda: IceTimeoutError("no complete reply within 15 s"),
        lambda: ssl.SSLError("record layer failure"),
        lambda: ZeroDivisionError("a fault of ours"),
        lambda: 15.0,
    ],
    ids=["5xx", "time-out", "tls", "bug", "slow"],
)
@pytest.mark.parametrize("poisons", [1, 40])
def test_jobs_that_are_slow_or_fail_hold_up_nobody_else(fault: Any, poisons: int) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        world.ice.fault = lambda _, job_id: fault() if job_id.startswith("poison") else None
        for number in range(poisons):
            world.job(f"poison-{number}", ends_in=5000, listed=False)
        for number, name in enumerate(names(30)):
            world.job(name, ends_in=50 + 10 * number)
        waits = [
            asyncio.create_task(world.wait(f"poison-{number}", limit=1000))
            for number in range(poisons)
        ]
        outcomes = await world.all(*map(world.wait, names(30)))
        for number, (outcome, at) in enumerate(outcomes):
            assert isinstance(outcome, JobFinished)
            assert at <= 50 + 10 * number + 16.5, (number, at)
        assert all(isinstance(outcome, TimedOut) for outcome, _ in await world.all(*waits))

    story()


@virtual_time
async def test_one_throttled_poll_of_a_wait_with_a_long_interval_holds_up_nobody() -> None:
    world = World()
    first = [refused(GET, "Throttling.User")]
    world.ice.fault = lambda *_: first.pop() if first else None
    world.job("long", ends_in=1e5)
    world.job("short", ends_in=100)
    slow = asyncio.create_task(world.wait("long", 1800))
    await world.until(1700)
    joined = world.passed
    assert all_finished([await world.wait("short", 5)], by=joined + 11)
    slow.cancel()


@virtual_time
async def test_a_wait_that_joins_shortens_a_pause_of_all() -> None:
    world = World()
    world.ice.fault = lambda *_: IceTransportError("no connection") if world.passed < 4000 else None
    world.job("long", ends_in=10)
    slow = asyncio.create_task(world.wait("long", 1800))
    await world.until(3990)
    world.job("short", ends_in=5)
    assert all_finished([await world.wait("short", 5)], by=4000 + 15)
    assert all_finished([await slow], by=4000 + 2 * 1800)


@pytest.mark.parametrize(
    "fault",
    [
        lambda: IceTransportError("no connection"),
        lambda: refused(GET, "Throttling.User"),
        lambda: refused(GET, "InternalError", 503),
        lambda: ssl.SSLError("record layer failure"),
        lambda: AirflowNotFoundException("The conn_id `ice_default` isn't defined"),
    ],
)
def test_an_outage_takes_few_requests_ends_nothing_and_is_over_soon(fault: Any) -> None:
    @virtual_time
    async def story() -> None:
        world = World(per_second=10)
        world.ice.fault = lambda *_: fault() if world.passed < 500 else None
        for name in names(60):
            world.job(name, ends_in=100)
        assert all_finished(await world.all(*map(world.wait, names(60))), by=500 + 30)
        assert len(world.ice.asked) - world.ice.count(GET, world.began + 500) <= 150

    story()


@virtual_time
async def test_after_an_outage_waits_are_judged_by_a_poll_and_not_by_the_clock() -> None:
    """Finished jobs whose deadlines came during the outage, or just after it, are not timed out."""
    world = World(per_second=10)
    world.ice.takes = 0.05
    world.ice.fault = lambda *_: IceTransportError("no connection") if world.passed < 300 else None
    for name in names(400):
        world.job(name, ends_in=100)
    outcomes = await world.all(*(world.wait(name, 10, limit=301) for name in names(400)))
    assert all(isinstance(outcome, JobFinished) for outcome, _ in outcomes)


@virtual_time
async def test_a_short_outage_at_the_deadline_times_nobody_out() -> None:
    world = World()
    world.ice.fault = lambda *_: (
        IceTransportError("no connection") if 95 < world.passed < 130 else None
    )
    for name in names(20):
        world.job(name, ends_in=96)
    assert all_finished(await world.all(*(world.wait(n, limit=100) for n in names(20))), by=150)


@pytest.mark.parametrize("number", [1, 20])
@pytest.mark.parametrize("interval", [10.0, 60.0, 600.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_outage_over_the_deadline_times_out_and_says_why(
    number: int, interval: float, seed: int
) -> None:
    @virtual_time
    async def story() -> None:
        world = World(seed=seed)
        world.ice.fault = lambda *_: (
            IceTransportError("no connection") if world.passed > 50 else None
        )
        for name in names(number):
            world.job(name)
        waits = (world.wait(name, interval, limit=1000) for name in names(number))
        for outcome, at in await world.all(*waits):
            assert isinstance(outcome, TimedOut)
            assert "no connection" in outcome.reason
            assert 1000 <= at <= 1000 + DEADLINE_GRACE + 1.1
        assert world.ice.count(GET, world.began + 1000) <= 25

    story()


@pytest.mark.parametrize("asked", [20.0, 1e6])
def test_what_the_service_asks_to_wait_is_waited_within_reason(asked: float) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        throttled = refused(GET, "Throttling.User")
        throttled.retry_after = asked  # type: ignore[attr-defined]
        first = [throttled]
        world.ice.fault = lambda *_: first.pop() if first else None
        world.job("job", ends_in=5)
        [(outcome, at)] = await world.all(world.wait("job"))
        assert isinstance(outcome, JobFinished)
        assert 9 + min(asked, 60) <= at <= 90

    story()


# Refused credentials


@pytest.mark.parametrize("refusal", ["InvalidAccessKeyId.Inactive", "InvalidTimeStamp.Expired"])
@pytest.mark.parametrize("seconds", [0.5, 40])
def test_credentials_that_are_refused_for_less_than_a_minute_end_nothing(
    refusal: str, seconds: float
) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        world.ice.fault = lambda action, _: (
            refused(action, refusal) if 60 < world.passed < 60 + seconds else None
        )
        for name in names(100):
            world.job(name, ends_in=50)
        for name in names(10):
            world.job(f"later-{name}", ends_in=300)
        waits = [*names(100), *(f"later-{name}" for name in names(10))]
        assert all_finished(await world.all(*map(world.wait, waits)), by=311)

    story()


@virtual_time
async def test_credentials_that_stay_refused_end_all_waits_after_a_minute_with_few_requests() -> (
    None
):
    world = World()
    world.ice.fault = lambda action, _: refused(action, "InvalidAccessKeyId.Inactive")
    for name in names(500):
        world.job(name)
    outcomes = await world.all(*map(world.wait, names(500)))
    for outcome, at in outcomes:
        assert isinstance(outcome, GiveUp)
        assert outcome.error.code == "InvalidAccessKeyId.Inactive"
        assert 60 <= at <= 110
    assert len(world.ice.asked) <= 40


@virtual_time
async def test_a_client_is_opened_again_after_a_refusal() -> None:
    world = World()
    world.ice.fault = lambda action, _: (
        refused(action, "InvalidAccessKeyId.Inactive") if world.ice.opened == 1 else None
    )
    for name in names(20):
        world.job(name, ends_in=50)
    assert all_finished(await world.all(*map(world.wait, names(20))), by=61)
    assert world.ice.opened == 2


@virtual_time
async def test_waits_that_go_on_after_a_wrong_key_do_not_run_hot() -> None:
    world = World()
    world.ice.fault = lambda action, _: (
        refused(action, "InvalidAccessKeyId.Inactive") if world.passed < 3000 else None
    )
    for name in names(50):
        world.job(name, ends_in=10)
    outcomes = await world.all(*(world.wait(name, silent_fail=True) for name in names(50)))
    assert all_finished(outcomes, by=3030)
    assert len(world.ice.asked) <= 50 + 2 * 3000 / 10 + 50


# Faults of our own


@virtual_time
async def test_the_loop_survives_a_fault_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    turn, broken = world.poller._turn, [ZeroDivisionError("a fault of ours")] * 3

    async def sometimes(calls: Any) -> None:
        if broken and world.passed > 20:
            raise broken.pop()
        await turn(calls)

    monkeypatch.setattr(world.poller, "_turn", sometimes)
    for name in names(10):
        world.job(name, ends_in=60)
    assert all_finished(await world.all(*map(world.wait, names(10))), by=85)
    assert caplog.text.count("met a fault") == 3


@virtual_time
async def test_a_loop_that_is_cancelled_from_outside_goes_on() -> None:
    world = World()
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        world.job(name, 60)
    waits = [asyncio.create_task(world.wait(name, 5.0, limit=600)) for name in names]
    for _ in range(3):
        await asyncio.sleep(7)
        (loop,) = [task for task in asyncio.all_tasks() if "poller" in task.get_name()]
        loop.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*waits), 600)
    assert all(isinstance(outcome, JobFinished) and at < 75 for outcome, at in ended)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert world.ice.open_now == 0


@virtual_time
async def test_a_loop_that_is_broken_for_good_still_keeps_deadlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def broken(_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(world.poller, "_turn", broken)
    world.job("job")
    [(outcome, at)] = await world.all(world.wait("job", limit=100))
    assert isinstance(outcome, TimedOut)
    assert "a fault of ours" in outcome.reason
    assert at <= 200


@virtual_time
async def test_a_wait_that_fails_to_decide_does_not_reach_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()

    class BrokenLog:
        def info(self, *_: object) -> None:
            raise OSError("No space left on device")

        warning = info

    world.job("unlogged", ends_in=30)
    world.job("job", ends_in=30)
    unlogged = asyncio.create_task(world.wait("unlogged", log=BrokenLog()))
    assert all_finished([await world.wait("job")], by=41)
    assert "could not decide" in caplog.text
    unlogged.cancel()


@virtual_time
async def test_errors_that_waits_keep_hold_no_pages_and_no_other_waits() -> None:
    world = World()
    met: list[IceError] = []

    def down(action: str, _job_id: str) -> IceError | None:
        if action == LIST and world.passed >= 100:
            return None
        error = refused(action, "InternalError", 500)
        error.__cause__ = ValueError("the cause")
        met.append(error)
        return error

    world.ice.fault = down
    for name in names(8):
        world.job(name, ends_in=60)
    await world.all(*(world.wait(name, limit=200) for name in names(8)))
    assert len(met) > 10
    of_waits = [error for error in met if error.action == GET]
    causes = [error.__cause__ for error in of_waits]
    assert not [error for error in (*of_waits, *causes) if error is None or error.__traceback__]


# Each wait for itself


@virtual_time
async def test_failed_and_unknown_jobs_are_given_up_each_for_itself() -> None:
    world = World()
    world.job("failed", ends_in=30, outcome="Failed")
    for name in names(20):
        world.job(name, ends_in=200)
    outcomes = await world.all(*map(world.wait, ("failed", "nobody", *names(20))))
    (failed, _), (unknown, at), *others = outcomes
    assert isinstance(failed, GiveUp)
    assert isinstance(unknown, GiveUp)
    assert 60 <= at <= 90  # the service may not have written it everywhere yet
    assert all_finished(others, by=211)


@virtual_time
async def test_each_wait_keeps_its_own_deadline() -> None:
    world = World()
    for name in names(30):
        world.job(name)
    waits = [world.wait(name, limit=100 + 7 * number) for number, name in enumerate(names(30))]
    for number, (outcome, at) in enumerate(await world.all(*waits)):
        assert isinstance(outcome, TimedOut)
        assert at == pytest.approx(100 + 7 * number, abs=0.3)


@virtual_time
async def test_a_time_out_is_judged_by_get_and_not_by_a_list_that_is_behind() -> None:
    world = World()
    for name in names(30):
        world.job(name, ends_in=95, listed_late=1000)
    outcomes = await world.all(*(world.wait(name, limit=100) for name in names(30)))
    assert all_finished(outcomes, by=101)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_stalls_no_wait(jump: float) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        world.job("job", ends_in=500)
        waiting = asyncio.create_task(world.wait("job"))
        await world.until(100)
        world.skew = jump
        assert all_finished([await waiting], by=511)
        polls = world.polls["job"]
        assert max(later - sooner for sooner, later in itertools.pairwise(polls)) <= 10.1

    story()


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_a_workers_clock_that_is_off_delays_no_poll(ahead: float) -> None:
    @virtual_time
    async def story() -> None:
        world = World()
        world.job("job", ends_in=5)
        started_at = world.wall() + ahead
        assert all_finished([await world.wait("job", started_at=started_at)], by=11)

    story()


@virtual_time
async def test_lines_of_a_wait_are_written_in_its_own_context() -> None:
    world = World()
    task = contextvars.ContextVar("task", default="nobody")
    lines: list[tuple[str, str]] = []

    class Log:
        def info(self, message: str, *args: Any) -> None:
            lines.append((task.get(), message % args))

        warning = info

    async def wait(name: str) -> None:
        task.set(name)
        await world.wait(name, log=Log())

    for name in names(10):
        world.job(name, ends_in=60, starts_at=world.time() + 30)
    await asyncio.gather(*map(wait, names(10)))
    # Init, Processing, Finished
    assert Counter(name for name, _ in lines) == dict.fromkeys(names(10), 3)
    assert all(name in line for name, line in lines)


@virtual_time
async def test_the_client_is_closed_and_nothing_goes_on_after_the_last_wait() -> None:
    world = World()
    world.job("one", ends_in=20)
    await world.all(world.wait("one"))
    await asyncio.sleep(0.01)
    assert (world.ice.open_now, world.ice.under_way) == (0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual_time
async def test_a_wait_that_is_cancelled_leaves_and_the_others_go_on() -> None:
    world = World()
    world.job("one", ends_in=500)
    world.job("two", ends_in=50)
    staying = asyncio.create_task(world.wait("one"))
    leaving = asyncio.create_task(world.wait("two"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert all_finished([await staying], by=511)
    assert not world.ice.asked_for("two")


@virtual_time
async def test_a_wait_that_began_long_ago_is_polled_soon_with_those_that_return_with_it() -> None:
    world = World()
    await asyncio.sleep(10_000)
    began = world.passed
    for name in names(400):
        world.job(name, ends_in=60)
    started_at = world.wall() - 10_000
    await world.all(*(world.wait(name, started_at=started_at) for name in names(400)))
    first = [action for at, action, _ in world.ice.asked if at - world.began < began + 2]
    assert first[:5] == [LIST] * 5
    assert len(first) <= 6


def test_the_bounds_hold_together() -> None:
    """What keeps a wait from hearing of an end later than three intervals."""
    assert watch.EARLY < 1
    assert accelerator.LONGEST_PAUSE <= accelerator.DISTRUSTED_FOR <= accelerator.LONGEST_DISTRUST
