"""Which jobs a run claims: all that ended, each in one run, whatever Airflow gives the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import pytest
from airflow.sdk import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.claims import claim_ended_jobs, claim_key

ENDED = Asset("ice_jobs")
START = datetime(2026, 1, 31, tzinfo=UTC)
FIELDS = {"ice_conn_id": "ice_default", "region_id": "cn-shanghai"}


@dataclass(frozen=True)
class Event:
    timestamp: datetime
    extra: dict[str, Any]


def event(at: float, job_id: Any) -> Event:
    payload = {"job_id": job_id, "status": "Finished", **FIELDS}
    return Event(START + timedelta(seconds=at), {"from_trigger": True, "payload": payload})


@dataclass
class Inlet:
    """As much of Airflow's InletEventsAccessor as is used."""

    events: Sequence[Event]
    since: str = ""
    most: int = 0

    def after(self, after: str) -> Self:
        self.since = after
        return self

    def limit(self, limit: int) -> Self:
        self.most = limit
        return self

    def __iter__(self) -> Any:
        assert self.since
        assert self.most
        found = [at for at in self.events if at.timestamp >= datetime.fromisoformat(self.since)]
        return iter(found[: self.most])


@dataclass
class Store:
    """As much of Airflow's AssetStateStoreAccessor as is used."""

    values: dict[str, Any] = field(default_factory=dict)
    fails_after: int = 1_000_000

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        if len(self.values) >= self.fails_after:
            raise RuntimeError("API_SERVER_ERROR")
        self.values[key] = value


@dataclass
class Consumer:
    """A DAG that is scheduled on the asset."""

    events: list[Event] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    dag_id: str = "publish"

    def run(self, run_id: str, given: Sequence[Event]) -> list[str]:
        context: Any = {
            "asset_state_store": {ENDED: self.store},
            "run_id": run_id,
            "dag": SimpleNamespace(dag_id=self.dag_id),
            "triggering_asset_events": {ENDED: given} if given else {},
            "inlet_events": {ENDED: Inlet(self.events)},
        }
        claimed = claim_ended_jobs(ENDED, context)
        assert all(job == {"job_id": job["job_id"], **FIELDS} for job in claimed)
        return [job["job_id"] for job in claimed]


def test_a_run_claims_later_events_that_airflow_gives_no_run() -> None:
    consumer = Consumer([event(0, "before"), event(1, "given"), event(2, "later")])
    assert consumer.run("run-1", consumer.events[1:2]) == ["given", "later"]


def test_a_job_that_is_reported_twice_is_one_run_s_own() -> None:
    consumer = Consumer([event(1, "a"), event(2, "a"), event(3, "b")])
    assert consumer.run("run-1", consumer.events[:1]) == ["a", "b"]
    assert consumer.run("run-2", consumer.events[1:2]) == []


def test_a_run_that_is_retried_or_cleared_gets_its_own_jobs_again() -> None:
    consumer = Consumer([event(1, "a"), event(2, "b")])
    assert consumer.run("run-1", consumer.events[:1]) == ["a", "b"]
    consumer.events.append(event(3, "c"))
    assert consumer.run("run-2", consumer.events[2:]) == ["c"]
    assert consumer.run("run-1", consumer.events[:1]) == ["a", "b"]


def test_a_try_that_fails_halfway_loses_nothing() -> None:
    consumer = Consumer([event(number, f"job-{number}") for number in range(5)])
    consumer.store.fails_after = 2
    with pytest.raises(RuntimeError):
        consumer.run("run-1", consumer.events[:1])
    consumer.store.fails_after = 100
    assert consumer.run("run-1", consumer.events[:1]) == [f"job-{number}" for number in range(5)]


def test_another_dag_of_the_asset_claims_for_itself() -> None:
    consumer = Consumer([event(1, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert Consumer(consumer.events, consumer.store, "report").run("run-1", consumer.events) == [
        "a"
    ]


def test_a_run_that_no_event_has_started_claims_nothing() -> None:
    assert Consumer([event(1, "a")]).run("manual", []) == []


@pytest.mark.parametrize("extra", [{}, {"payload": None}, {"payload": {"job_id": "a/../" * 200}}])
def test_an_event_that_names_no_job_holds_up_nobody(
    extra: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may post events of the asset may post this."""
    caplog.set_level(logging.WARNING)
    consumer = Consumer([Event(START, extra), event(1, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert "names no batch job" in caplog.text


def test_a_month_later_a_cleared_run_does_not_ask_for_the_month(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_ice.claims.MOST_LATER", 10)
    consumer = Consumer([event(number, f"job-{number}") for number in range(30)])
    assert len(consumer.run("run-1", consumer.events[:1])) == 10


def test_the_key_is_short_enough_for_the_store() -> None:
    assert len(claim_key("d" * 250, "0" * 64)) <= 512


@given(
    bursts=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=6),
    repeats=st.booleans(),
)
def test_each_job_is_one_run_s_however_airflow_batches(
    bursts: list[tuple[int, int]], repeats: bool
) -> None:
    """As Airflow 3.3 does: the first event of a batch queues a run, which is given the events up to
    that one; those that come before the run is made queue none."""
    consumer = Consumer()
    claimed: list[str] = []
    seen, at = 0, 0.0
    for number, (size, stranded) in enumerate(bursts):
        first = len(consumer.events)
        for _ in range(size + stranded):
            at += 1
            job = f"job-{len(consumer.events) // (2 if repeats else 1)}"
            consumer.events.append(event(at, job))
        claimed += consumer.run(f"run-{number}", consumer.events[seen : first + 1])
        seen = first + 1
    assert sorted(claimed) == sorted({each.extra["payload"]["job_id"] for each in consumer.events})
