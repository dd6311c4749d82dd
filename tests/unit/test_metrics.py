"""What is counted, and where it goes."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from airflow_ice import metrics
from airflow_ice.api.errors import IceThrottledError


class Stats:
    def __init__(self) -> None:
        self.noted: list[tuple[Any, ...]] = []

    def incr(self, name: str, tags: dict[str, str]) -> None:
        self.noted.append(("incr", name, tags))

    def gauge(self, name: str, value: float, tags: dict[str, str]) -> None:
        self.noted.append(("gauge", name, value, tags))

    def timing(self, name: str, value: timedelta, tags: dict[str, str]) -> None:
        self.noted.append(("timing", name, value, tags))


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> Stats:
    fake = Stats()
    monkeypatch.setattr(metrics, "_stats", lambda: fake)
    return fake


def test_requests_are_counted_by_action_and_outcome_and_throttled_ones_again(stats: Stats) -> None:
    metrics.request("GetBatchMediaProducingJob", None)
    metrics.request(
        "GetBatchMediaProducingJob", IceThrottledError("slow down", code="Throttling.User")
    )
    get = {"action": "GetBatchMediaProducingJob"}
    assert stats.noted == [
        ("incr", "airflow_ice.requests", get | {"outcome": "ok"}),
        ("incr", "airflow_ice.requests", get | {"outcome": "Throttling.User"}),
        ("incr", "airflow_ice.throttled", get),
    ]


def test_a_poll_notes_its_waits_their_age_and_what_it_took(stats: Stats) -> None:
    metrics.polled("ice_default", None, 12, 99.5, 0.25)
    tags = {"connection": "ice_default", "region": "default"}
    assert stats.noted == [
        ("gauge", "airflow_ice.waits", 12, tags),
        ("gauge", "airflow_ice.oldest_wait", 99.5, tags),
        ("timing", "airflow_ice.poll_duration", timedelta(seconds=0.25), tags),
    ]


@pytest.mark.parametrize(
    ("in_triggerer", "module"),
    [(True, "airflow.observability.stats"), (False, "airflow.sdk.observability.stats")],
)
def test_the_stats_are_those_that_the_process_has_set_up(
    monkeypatch: pytest.MonkeyPatch, in_triggerer: bool, module: str
) -> None:
    name = "airflow.jobs.triggerer_job_runner"
    if in_triggerer:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    else:
        monkeypatch.delitem(sys.modules, name, raising=False)
    metrics._stats.cache_clear()
    try:
        assert metrics._stats().__name__ == module
        metrics.request("GetBatchMediaProducingJob", None)  # the real thing takes it
        metrics.polled("ice_default", "cn-beijing", 1, 1.0, 0.1)
    finally:
        metrics._stats.cache_clear()


def test_a_fault_of_the_stats_backend_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Stats):
        def incr(self, name: str, tags: dict[str, str]) -> None:
            raise OSError("no route to statsd")

    monkeypatch.setattr(metrics, "_stats", Broken)
    metrics.request("SubmitBatchMediaProducingJob", None)
    assert "could not be written" in caplog.text
