"""Which loop serves a wait: one for what a connection says, read seldom, and followed when it is
edited."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_ice.api.errors import IceAuthenticationError, IceInputError, IceJobNotFoundError
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.replies import error_from_reply
from airflow_ice.connections import IceConnection, read_connection
from airflow_ice.polling.poller import OpenClient
from airflow_ice.polling.registry import READ_AGAIN, READ_PATIENCE, Registry, registry
from airflow_ice.waiting import (
    CLOCK_TOLERANCE,
    DEADLINE_GRACE,
    DOUBT,
    GiveUp,
    JobFinished,
    TimedOut,
    Wait,
)
from tests.accounts import BEIJING, GET, NEW, OLD, SHANGHAI, Accounts, settings
from tests.polling_world import Ice, Job
from tests.three_modes import Clock
from tests.virtual_time import run_virtually

INTERVAL = 10.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    random.seed(7)
    found = Clock()
    found.install(monkeypatch)
    return found


@pytest.fixture
def accounts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    found = Accounts(clock, {SHANGHAI: {}, BEIJING: {}})
    found.install(monkeypatch)
    return found


@dataclass
class Source:
    """Where connections are read, and how often.

    :param fails: what a reading at a time meets.
    :param takes: seconds that a reading takes.
    """

    accounts: Accounts
    fails: Callable[[float], Exception | None] = lambda passed: None
    takes: float = 0.0
    read: list[tuple[float, str, str | None]] = field(default_factory=list)

    async def __call__(self, ice_conn_id: str, region_id: str | None) -> IceConnection:
        passed = self.accounts.clock.passed
        self.read.append((passed, ice_conn_id, region_id))
        await asyncio.sleep(self.takes)
        error = self.fails(passed)
        if error is not None:
            raise error
        fields = self.accounts.connection(passed)
        assert fields is not None
        region = region_id
        if region is None and "host" not in fields:  # a host of a region names the region
            region = "cn-beijing" if "beijing" in fields["extra"] else "cn-shanghai"
        return read_connection(
            login=fields["login"],
            password=fields["password"],
            host=fields.get("host"),
            port=None,
            schema=None,
            extra={"region_id": region},
            region_id=region_id,
        )


@pytest.fixture
def source(accounts: Accounts) -> Source:
    return Source(accounts)


def wait_for(registry_: Registry, clock: Clock, job_id: str, region: str | None = None) -> Any:
    """Return a wait of an hour, under the connection's own region or a named one."""
    wait = Wait(job_id, interval=INTERVAL, started_at=clock.now, deadline=clock.now + 3600)
    return registry_.watch("ice_default", region, wait, INTERVAL)


def test_two_ways_to_name_a_region_share_one_loop(clock: Clock, source: Source) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 50.0, "b": 50.0, "c": 50.0}
    loops = Registry(source)

    async def story() -> None:
        names = (("a", None), ("b", "cn-shanghai"), ("c", None))
        waits = [asyncio.create_task(wait_for(loops, clock, *name)) for name in names]
        await asyncio.sleep(5)
        assert len(loops._pollers) == 1
        (poller,) = loops._pollers.values()
        assert poller.watches.count == 3
        assert all(isinstance(outcome, JobFinished) for outcome in await asyncio.gather(*waits))
        assert not loops._pollers

    clock.run(story())


def test_two_regions_two_keys_and_two_connections_have_loops_of_their_own(
    clock: Clock, source: Source
) -> None:
    source.accounts.jobs = {SHANGHAI: {"a": 50.0}, BEIJING: {"b": 50.0}}
    loops = Registry(source)

    async def story() -> None:
        other = Wait("a", interval=INTERVAL, started_at=clock.now, deadline=clock.now + 3600)
        outcomes = await asyncio.gather(
            wait_for(loops, clock, "a"),
            wait_for(loops, clock, "b", "cn-beijing"),
            loops.watch("other", None, other, INTERVAL),
        )
        assert all(isinstance(outcome, JobFinished) for outcome in outcomes)

    clock.run(story())
    asked = {(asked.host, asked.job_id) for asked in source.accounts.asked if asked.action == GET}
    assert asked == {(SHANGHAI, "a"), (BEIJING, "b")}


@pytest.mark.parametrize("takes", [0.0, 1.5])
def test_many_waits_that_begin_at_once_read_the_connection_once(
    takes: float, clock: Clock, source: Source
) -> None:
    source.takes = takes
    jobs = {f"job-{number}": 40.0 for number in range(500)}
    source.accounts.jobs[SHANGHAI] = jobs
    loops = Registry(source)

    async def story() -> None:
        waits = [asyncio.create_task(wait_for(loops, clock, name)) for name in jobs]
        await asyncio.sleep(READ_AGAIN - 1)
        assert len(source.read) == 1
        assert all(isinstance(outcome, JobFinished) for outcome in await asyncio.gather(*waits))

    clock.run(story())
    assert len(source.read) <= 2 + clock.passed / READ_AGAIN


def test_a_connection_is_read_before_a_poll_and_not_more_often_than_every_few_seconds(
    clock: Clock, source: Source
) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 1000.0, "b": 1000.0, "c": 1000.0}
    loops = Registry(source)

    async def story() -> None:
        await asyncio.gather(*(wait_for(loops, clock, name) for name in "abc"))

    clock.run(story())
    at = [at for at, _, _ in source.read]
    assert all(later - sooner >= READ_AGAIN for sooner, later in itertools.pairwise(at))
    assert len(at) >= 1000 / INTERVAL / 2


@pytest.mark.parametrize("after", [{"key": NEW}, {"host": BEIJING}, {"region": "cn-beijing"}])
def test_an_edit_is_followed_by_the_next_poll(
    after: dict[str, str], clock: Clock, source: Source
) -> None:
    jobs = {f"job-{number}": 300.0 for number in range(20)}
    source.accounts.jobs = {SHANGHAI: jobs, BEIJING: jobs}
    source.accounts.connection = lambda passed: settings(**(after if passed >= 100 else {}))
    loops = Registry(source)

    async def story() -> None:
        waits = [asyncio.create_task(wait_for(loops, clock, name)) for name in jobs]
        await asyncio.sleep(100 + INTERVAL + READ_AGAIN)
        assert len(loops._pollers) == 1
        assert all(isinstance(outcome, JobFinished) for outcome in await asyncio.gather(*waits))
        assert not loops._pollers

    clock.run(story())
    assert clock.passed <= 300 + 2 * INTERVAL
    later = [asked for asked in source.accounts.asked if asked.at > 100 + INTERVAL + READ_AGAIN]
    host = SHANGHAI if "key" in after else BEIJING
    assert {(asked.host, asked.key) for asked in later} == {(host, after.get("key", OLD))}


def test_waits_that_name_their_region_stay_there_when_the_connections_own_is_edited(
    clock: Clock, source: Source
) -> None:
    source.accounts.jobs = {SHANGHAI: {"own": 300.0, "named": 300.0}, BEIJING: {"own": 300.0}}
    source.accounts.connection = lambda passed: settings(
        region="cn-beijing" if passed >= 100 else "cn-shanghai"
    )
    loops = Registry(source)

    async def story() -> None:
        outcomes = await asyncio.gather(
            wait_for(loops, clock, "own"), wait_for(loops, clock, "named", "cn-shanghai")
        )
        assert all(isinstance(outcome, JobFinished) for outcome in outcomes)

    clock.run(story())
    later = [asked for asked in source.accounts.asked if asked.at > 120 and asked.action == GET]
    assert {(asked.host, asked.job_id) for asked in later} == {
        (BEIJING, "own"),
        (SHANGHAI, "named"),
    }


def test_a_job_that_is_unknown_in_the_new_place_is_told_from_the_old_one(
    clock: Clock, source: Source
) -> None:
    source.accounts.jobs = {SHANGHAI: {"old": 300.0}, BEIJING: {"new": 300.0}}
    source.accounts.connection = lambda passed: settings(
        region="cn-beijing" if passed >= 100 else "cn-shanghai"
    )
    loops = Registry(source)

    async def story() -> None:
        old = asyncio.create_task(wait_for(loops, clock, "old"))
        await asyncio.sleep(150)
        new = asyncio.create_task(wait_for(loops, clock, "new"))
        outcomes = await asyncio.gather(old, new)
        assert all(isinstance(outcome, JobFinished) for outcome in outcomes)

    clock.run(story())
    assert clock.passed <= 300 + 2 * INTERVAL
    gets = [asked for asked in source.accounts.asked if asked.action == GET]
    assert sum((asked.host, asked.job_id) == (BEIJING, "old") for asked in gets) == 1
    assert not [asked for asked in gets if (asked.host, asked.job_id) == (SHANGHAI, "new")]


def test_a_job_that_is_unknown_everywhere_is_given_up_after_a_minute(
    clock: Clock, source: Source
) -> None:
    source.accounts.connection = lambda passed: settings(
        region="cn-beijing" if passed >= 30 else "cn-shanghai"
    )
    outcome = clock.run(wait_for(Registry(source), clock, "nobody"))
    assert isinstance(outcome, GiveUp)
    assert isinstance(outcome.error, IceJobNotFoundError)
    assert DOUBT - CLOCK_TOLERANCE <= clock.passed <= DOUBT + 3 * INTERVAL


def test_a_new_key_is_read_at_once_when_the_old_one_is_refused(
    clock: Clock, source: Source
) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 300.0}
    source.accounts.connection = lambda passed: settings(NEW if passed >= 120 else OLD)
    source.accounts.takes = lambda key, passed: (key == OLD) is (passed < 100)
    assert isinstance(clock.run(wait_for(Registry(source), clock, "a")), JobFinished)
    assert clock.passed <= 300 + 2 * INTERVAL
    first = min(asked.at for asked in source.accounts.asked if asked.key == NEW)
    assert first <= 120 + 2 * INTERVAL


def test_one_unknown_job_after_a_rotation_does_not_bind_a_wait_to_the_old_key(
    clock: Clock, source: Source
) -> None:
    accounts = source.accounts
    accounts.jobs[SHANGHAI] = {"a": 300.0}
    accounts.connection = lambda passed: settings(OLD if passed < 50 else NEW)
    accounts.takes = lambda key, passed: key == NEW or passed < 60

    def unknown_once(passed: float) -> Exception | None:
        first_with_the_new_key = [asked.key for asked in accounts.asked].count(NEW) == 1
        if passed > 50 and accounts.asked[-1].key == NEW and first_with_the_new_key:
            body = {"Code": "ResourceNotFound", "RequestId": "R"}
            return error_from_reply(status=404, body=body, action=GET, submit=False, job_id="a")
        return None

    accounts.fault = unknown_once
    assert isinstance(clock.run(wait_for(Registry(source), clock, "a")), JobFinished)
    assert 300 <= clock.passed < 300 + 3 * INTERVAL


def test_a_job_that_is_unknown_with_the_new_key_and_refused_with_the_old_one_ends_the_wait(
    clock: Clock, source: Source
) -> None:
    accounts = source.accounts
    accounts.jobs[SHANGHAI] = {"a": 300.0}
    accounts.connection = lambda passed: settings(*((OLD,) if passed < 50 else (NEW, "cn-beijing")))
    accounts.takes = lambda key, passed: key == NEW or passed < 60
    outcome = clock.run(wait_for(Registry(source), clock, "a"))
    assert isinstance(outcome, GiveUp)
    assert isinstance(outcome.error, IceJobNotFoundError)
    assert 50 + DOUBT <= clock.passed < 50 + 4 * DOUBT
    assert len(accounts.asked) < 60


def test_a_limit_of_requests_that_was_a_mistake_holds_nobody_up_once_it_is_corrected(
    clock: Clock,
) -> None:
    ice = Ice()

    async def read(ice_conn_id: str, region_id: str | None) -> IceConnection:
        extra = {"max_requests_per_second": 0.001 if clock.passed < 100 else 10}
        return read_connection(login="key", password="a-secret", host=None, extra=extra)

    def open_client(ice_conn_id: str, connection: IceConnection) -> OpenClient:
        limiter = RateLimiter(connection.max_requests_per_second, clock.time)
        return Ice(jobs=ice.jobs, limiter=limiter).open

    async def story() -> None:
        now = asyncio.get_running_loop().time()
        names = [f"job-{number}" for number in range(5)]
        ice.jobs |= {name: Job(name, now + 150) for name in names}
        loops = Registry(read, open_client)
        ended = await asyncio.gather(*[wait_for(loops, clock, name) for name in names])
        assert all(isinstance(outcome, JobFinished) for outcome in ended)

    clock.run(story())
    assert 150 <= clock.passed < 150 + 3 * INTERVAL


def test_a_key_that_stays_refused_ends_all_waits_after_a_minute(
    clock: Clock, source: Source
) -> None:
    source.accounts.takes = lambda key, passed: False
    loops = Registry(source)

    async def story() -> None:
        outcomes = await asyncio.gather(*(wait_for(loops, clock, f"job-{n}") for n in range(50)))
        for outcome in outcomes:
            assert isinstance(outcome, GiveUp)
            assert isinstance(outcome.error, IceAuthenticationError)

    clock.run(story())
    assert DOUBT - CLOCK_TOLERANCE <= clock.passed <= DOUBT + 5 * INTERVAL


@pytest.mark.parametrize("begin", [0.0, 100.0])
def test_a_reading_that_fails_is_an_error_of_a_poll(
    begin: float, clock: Clock, source: Source
) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 300.0}
    source.fails = lambda passed: (
        OSError("the backend is down") if begin <= passed < begin + 150 else None
    )
    assert isinstance(clock.run(wait_for(Registry(source), clock, "a")), JobFinished)
    assert clock.passed <= 300 + 2 * INTERVAL


def test_a_reading_that_hangs_holds_up_no_wait_that_goes_on(clock: Clock, source: Source) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 300.0}
    loops = Registry(source)

    async def story() -> None:
        waiting = asyncio.create_task(wait_for(loops, clock, "a"))
        await asyncio.sleep(50)
        source.takes = 1e6
        assert isinstance(await waiting, JobFinished)

    clock.run(story())
    assert clock.passed <= 300 + 2 * INTERVAL


def test_a_first_reading_that_hangs_is_an_error_of_a_poll(clock: Clock, source: Source) -> None:
    source.accounts.jobs[SHANGHAI] = {"a": 20.0}
    source.takes = 1e6
    loops = Registry(source)

    async def story() -> None:
        waiting = asyncio.create_task(wait_for(loops, clock, "a"))
        await asyncio.sleep(100)
        source.takes = 0.0
        assert isinstance(await waiting, JobFinished)

    clock.run(story())
    assert clock.passed <= 100 + READ_PATIENCE + 3 * INTERVAL


def test_a_connection_that_makes_no_sense_ends_a_new_wait_after_a_minute(
    clock: Clock, source: Source
) -> None:
    error = IceInputError("region_id", "Atlantis", "must be a region")
    source.fails = lambda passed: error
    assert clock.run(wait_for(Registry(source), clock, "a")) == GiveUp(error)
    assert clock.passed == pytest.approx(DOUBT, abs=1)


def test_a_connection_that_is_never_read_times_out(clock: Clock, source: Source) -> None:
    source.fails = lambda passed: OSError("the backend is down")
    outcome = clock.run(wait_for(Registry(source), clock, "a"))
    assert isinstance(outcome, TimedOut)
    assert "the backend is down" in outcome.reason
    assert clock.passed == pytest.approx(3600 + DEADLINE_GRACE, abs=1)


def test_nothing_is_kept_after_the_last_wait(clock: Clock, source: Source) -> None:
    source.accounts.jobs = {SHANGHAI: {"a": 50.0}, BEIJING: {}}
    loops = Registry(source)

    async def story() -> None:
        gone = asyncio.create_task(wait_for(loops, clock, "a", "cn-beijing"))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await wait_for(loops, clock, "a")
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    clock.run(story())
    assert not loops._pollers
    assert not loops._readings


def test_each_event_loop_has_a_registry_that_goes_with_it() -> None:
    async def mine() -> int:
        assert registry() is registry()
        return id(registry())

    from airflow_ice.polling.registry import _registries

    run_virtually(mine())
    gc.collect()
    before = len(_registries)
    run_virtually(mine())
    gc.collect()
    assert len(_registries) <= before
