"""The rate limit, driven by a clock of the test's own."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from airflow_ice.api.rate import DEFAULT_REQUESTS_PER_SECOND, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_spaced_evenly_without_a_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock)
    assert limiter.take() == 0.0
    assert limiter.take() == 0.25
    clock.now += 0.125
    assert limiter.take() == 0.125
    clock.now += 0.125
    assert limiter.take() == 0.0


def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock)
    limiter.take()
    clock.now += 60
    assert [limiter.take() for _ in range(2)] == [0.0, 0.25]


def test_threads_share_one_rate() -> None:
    limiter = RateLimiter(100.0)
    began = time.monotonic()
    threads = [threading.Thread(target=limiter.acquire) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 0.1


async def test_tasks_share_one_rate_and_urgent_ones_go_first() -> None:
    limiter = RateLimiter(50.0)
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        await limiter.aacquire(priority=priority)
        order.append(name)

    limiter.take()
    began = time.monotonic()
    await asyncio.gather(*(ask(f"poll-{n}", 0) for n in range(3)), ask("submit", 2))
    assert order[0] == "submit"
    assert time.monotonic() - began >= 0.08


def test_a_lower_priority_does_not_go_while_a_higher_one_waits() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock)
    with limiter._in_line(1), limiter._in_line(1):
        assert limiter.take(priority=0) == 0.25
        assert limiter.take(priority=1) == 0.0
        clock.now += 0.25
        with limiter._in_line(2):
            assert limiter.take(priority=1) == 0.25
            assert limiter.take(priority=2) == 0.0
        clock.now += 0.25
        assert limiter.take(priority=1) == 0.0
    clock.now += 0.25
    assert limiter.take() == 0.0


async def test_submits_go_before_pages_and_pages_before_other_reads() -> None:
    limiter = RateLimiter(50.0)
    order: list[int] = []

    async def ask(priority: int) -> None:
        await limiter.aacquire(priority=priority)
        order.append(priority)

    limiter.take()
    await asyncio.gather(*(ask(priority) for priority in (0, 1, 0, 2, 1, 2)))
    assert order == [2, 2, 1, 1, 0, 0]


def test_threads_of_different_priority_share_one_rate() -> None:
    limiter = RateLimiter(100.0)
    order: list[int] = []

    def ask(priority: int) -> None:
        limiter.acquire(priority=priority)
        order.append(priority)

    limiter.take()
    limiter._last += 0.2  # time for all of them to stand in line
    threads = [threading.Thread(target=ask, args=(priority,)) for priority in (0, 1, 2) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == sorted(order, reverse=True)
    assert limiter._waiting == {}


async def test_a_waiter_that_is_cancelled_holds_nobody_up() -> None:
    limiter = RateLimiter(20.0)
    limiter.take()
    waiting = asyncio.create_task(limiter.aacquire(priority=2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(limiter.aacquire(), 1)


def test_throttling_halves_the_rate_and_answers_bring_it_back() -> None:
    clock = Clock()
    limiter = RateLimiter(8.0, clock)
    limiter.answered(throttled=True)
    assert limiter.rate == 4.0
    limiter.answered(throttled=True)  # one that was under way with the first
    assert limiter.rate == 4.0
    clock.now += 2
    limiter.answered(throttled=True)
    assert limiter.rate == 2.0
    limiter.answered(throttled=False)
    assert limiter.rate == pytest.approx(2.16)
    for _ in range(100):
        limiter.answered(throttled=False)
    assert limiter.rate == 8.0


def test_the_rate_never_falls_to_nothing() -> None:
    clock = Clock()
    limiter = RateLimiter(8.0, clock)
    for _ in range(100):
        clock.now += 2
        limiter.answered(throttled=True)
    assert limiter.rate == 0.1


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="per_second must be more than 0"):
        RateLimiter(rate)


def test_the_default_stays_under_the_documented_quota() -> None:
    assert 0 < DEFAULT_REQUESTS_PER_SECOND < 30
    assert RateLimiter().take() == 0.0
