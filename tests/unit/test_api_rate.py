"""The rate limit, driven by a clock of the test's own."""

from __future__ import annotations

import threading

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
    assert [limiter.reserve() for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]


def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock)
    limiter.reserve()
    clock.now += 60
    assert [limiter.reserve() for _ in range(3)] == [0.0, 0.25, 0.5]


def test_a_part_of_the_spacing_that_has_passed_counts() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock)
    limiter.reserve()
    clock.now += 0.125
    assert limiter.reserve() == 0.125


def test_threads_share_one_rate() -> None:
    limiter = RateLimiter(8.0, Clock())
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.append(limiter.reserve())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [place / 8 for place in range(16)]


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="per_second must be more than 0"):
        RateLimiter(rate)


def test_the_default_stays_under_the_documented_quota() -> None:
    assert 0 < DEFAULT_REQUESTS_PER_SECOND < 30
    assert RateLimiter().reserve() == 0.0
