"""Which jobs a run claims: all that ended, each in one run, whatever Airflow gives the run, whoever
made the events, and whatever the clocks say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_ice.api.errors import IceJobNotFoundError, IceUnavailableError
from airflow_ice.claims import claim_ended_jobs, claim_key, run_key, until_key
from airflow_ice.exceptions import IceSubmissionRecordError, NonRetryableIceInputError
from tests.virtual_time import run_virtually
from tests.watched_account import Watching

ENDED = Asset("ice_jobs")
START = datetime(2026, 1, 31, tzinfo=UTC)
FIELDS = {"ice_conn_id": "ice_default", "region_id": "cn-shanghai"}
HOUR = 3600.0


@dataclass(frozen=True)
class Event:
    timestamp: datetime
    extra: dict[str, Any] | None
    source_task_id: str | None = None


def event(at: float, job_id: Any, **fields: Any) -> Event:
    """Return an event of the watcher."""
    payload = {"job_id": job_id, "status": "Finished", **FIELDS, **fields}
    return Event(START + timedelta(seconds=at), {"from_trigger": True, "payload": payload})


def posted(at: float, job_id: Any, **fields: Any) -> Event:
    """Return an event that somebody has made through the REST API, as one of a watcher."""
    made = event(at, job_id, **fields)
    return Event(made.timestamp, {**(made.extra or {}), "from_rest_api": True})


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
        return iter(sorted(found, key=lambda at: at.timestamp)[: self.most])


@dataclass
class Store:
    """As much of Airflow's AssetStateStoreAccessor as is used.

    :param works_for: writes that are stored before it fails.
    :param before_write: called once before a key is written.
    """

    values: dict[str, Any] = field(default_factory=dict)
    works_for: int = 1_000_000
    read: int = 0
    before_write: dict[str, Callable[[], object]] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        self.read += 1
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        if self.works_for <= 0:
            raise RuntimeError("API_SERVER_ERROR")
        self.works_for -= 1
        self.before_write.pop(key, lambda: None)()
        self.values[key] = value


@dataclass
class Ice:
    """The accounts of some connections, and what Get says of their jobs.

    :param status: of the jobs of `ice_default`; those that it leaves out have ended.
    :param broken: what each use of a connection raises.
    """

    status: dict[str, str] = field(default_factory=dict)
    is_down: bool = False
    broken: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, ice_conn_id: str, region_id: str | None) -> Any:
        if ice_conn_id in self.broken:
            self.asked.append(ice_conn_id)
            raise self.broken[ice_conn_id]

        def get(job_id: str) -> Any:
            self.asked.append(job_id)
            if ice_conn_id == "missing":
                raise AirflowNotFoundException("The conn_id `missing` isn't defined")
            if self.is_down:
                raise IceUnavailableError("HTTP 503", http_status=503)
            place = {"ice_conn_id": ice_conn_id, "region_id": region_id}
            if place != FIELDS or self.status.get(job_id) == "unknown":
                raise IceJobNotFoundError("no such job", http_status=404)
            return SimpleNamespace(status=self.status.get(job_id, "Finished"))

        return SimpleNamespace(get_batch_media_producing_job=get)


@pytest.fixture(autouse=True)
def ice(monkeypatch: pytest.MonkeyPatch) -> Ice:
    ice = Ice()
    monkeypatch.setattr("airflow_ice.claims.IceHook", ice)
    return ice


@dataclass
class Consumer:
    """A DAG that is scheduled on the asset."""

    events: list[Event] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    dag_id: str = "publish"
    at_once: int | None = 1
    most: int | None = None

    def run(self, run_id: str, given: Sequence[Event]) -> list[str]:
        context: Any = {
            "asset_state_store": {ENDED: self.store},
            "run_id": run_id,
            "dag": SimpleNamespace(dag_id=self.dag_id),
            "task": SimpleNamespace(task_id="jobs", max_active_tis_per_dag=self.at_once),
            "triggering_asset_events": {ENDED: given} if given else {},
            "inlet_events": {ENDED: Inlet(self.events)},
        }
        claimed = claim_ended_jobs(ENDED, context, most=self.most)
        assert all(job == {"job_id": job["job_id"], **FIELDS} for job in claimed)
        return [job["job_id"] for job in claimed]


def test_a_run_claims_later_events_that_airflow_gives_no_run() -> None:
    earlier = event(-2 * HOUR, "earlier")  # before this DAG was scheduled on the asset
    consumer = Consumer([earlier, event(1, "given"), event(2, "later")])
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


@pytest.mark.parametrize("works_for", range(9))
def test_a_try_that_fails_halfway_loses_nothing(works_for: int) -> None:
    """Nor does a run that comes between its tries."""
    consumer = Consumer([event(number, f"job-{number}") for number in range(5)])
    consumer.store.works_for = works_for
    with pytest.raises(RuntimeError):
        consumer.run("run-1", consumer.events[:1])
    consumer.store.works_for = 100
    consumer.events.append(event(2 * HOUR, "next"))
    second = consumer.run("run-2", consumer.events[5:])
    first = consumer.run("run-1", consumer.events[:1])
    assert sorted(first + second) == [*(f"job-{number}" for number in range(5)), "next"]
    # Where it has not even noted where it begins, the next run does not know; the next try does.
    assert len(first) == (min(max(works_for - 2, 0), 5) if works_for else 5)
    assert consumer.run("run-1", consumer.events[:1]) == first


def test_another_dag_of_the_asset_claims_for_itself() -> None:
    consumer = Consumer([event(1, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert Consumer(consumer.events, consumer.store, "report").run("run-1", consumer.events) == [
        "a"
    ]


def test_a_run_that_no_event_has_started_claims_nothing() -> None:
    assert Consumer([event(1, "a")]).run("manual", []) == []


NO_JOBS: list[dict[str, Any] | None] = [
    None,
    {},
    {"payload": None},
    {"payload": {"job_id": "a/../" * 200, **FIELDS}},
    {"payload": {"job_id": ["a"], **FIELDS}},
    {"payload": {"job_id": "a"}},
    {"payload": {"job_id": "a", "ice_conn_id": {"a": 1}, "region_id": None}},
    {"payload": {"job_id": "a", "ice_conn_id": "ice_default", "region_id": 7}},
]


@pytest.mark.parametrize("extra", NO_JOBS, ids=str)
def test_an_event_that_names_no_job_holds_up_nobody(
    extra: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may post events of the asset may post this."""
    caplog.set_level(logging.WARNING)
    consumer = Consumer([Event(START, extra), event(1, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert "names no batch job" in caplog.text


def test_the_keys_are_short_enough_for_the_store() -> None:
    assert len(claim_key("d" * 250, "0" * 64)) <= 512
    assert len(run_key("d" * 250, "r" * 250)) <= 512
    assert len(until_key("d" * 250)) <= 512


def test_an_early_event_hides_no_end(ice: Ice, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may make events of the asset may say of any job that it has ended."""
    consumer = Consumer([posted(1, "a")])
    ice.status["a"] = "Processing"
    assert consumer.run("run-1", consumer.events) == []
    assert "batch job a has ended; ICE says that it is Processing" in caplog.text
    assert "could not be asked" not in caplog.text
    ice.status["a"] = "Finished"
    consumer.events.append(event(2 * HOUR, "a"))
    assert consumer.run("run-2", consumer.events[1:]) == ["a"]


@pytest.mark.parametrize(
    "wrong", [{"ice_conn_id": "other"}, {"ice_conn_id": "missing"}, {"region_id": "cn-beijing"}]
)
def test_an_event_with_a_wrong_connection_hides_no_end(wrong: dict[str, str], ice: Ice) -> None:
    ice.status["b"] = "unknown"
    consumer = Consumer([posted(1, "b", **wrong), event(2, "a"), posted(3, "b")])
    if "region_id" not in wrong:
        consumer.events.insert(0, posted(0, "a", **wrong))
    assert consumer.run("run-1", consumer.events[:1]) == ["a"]
    del ice.status["b"]
    consumer.events.append(event(5, "b"))
    assert consumer.run("run-2", consumer.events[-1:]) == ["b"]


def test_an_event_of_a_task_is_confirmed_as_well(ice: Ice) -> None:
    ice.status["a"] = "Processing"
    forged = Event(START, (event(0, "a")).extra, source_task_id="bridge")
    consumer = Consumer([forged])
    assert consumer.run("run-1", consumer.events) == []
    assert ice.asked == ["a"]


def test_a_posted_event_of_a_job_that_has_ended_is_worked_on_once(ice: Ice) -> None:
    """That of a callback, and then that of the watcher."""
    consumer = Consumer([posted(1, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    consumer.events += [event(2, "a"), posted(3, "a")]
    assert consumer.run("run-2", consumer.events[1:]) == []
    assert ice.asked == ["a"]


def test_an_outage_loses_no_posted_event(ice: Ice) -> None:
    consumer = Consumer([posted(1, "a")])
    ice.is_down = True
    with pytest.raises(IceUnavailableError):
        consumer.run("run-1", consumer.events)
    consumer.events.append(event(2, "b"))
    assert consumer.run("run-2", consumer.events[1:]) == ["b"]  # nor does it hold up others
    ice.is_down = False
    assert consumer.run("run-1", consumer.events[:1]) == ["a"]


@pytest.mark.parametrize(
    "fault",
    [AirflowSecretsBackendAccessDenied("no"), PermissionError("no"), KeyError("no")],
    ids=repr,
)
def test_whatever_the_check_of_one_event_raises_fails_no_other(
    fault: Exception, ice: Ice, caplog: pytest.LogCaptureFixture
) -> None:
    ice.broken["denied"] = fault
    consumer = Consumer([posted(1, "f", ice_conn_id="denied"), event(2, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert f"{type(fault).__name__}: {fault}" in caplog.text
    for number in range(3):
        consumer.events.append(event(HOUR * number + 3, f"b-{number}"))
        assert consumer.run(f"run-b-{number}", consumer.events[-1:]) == [f"b-{number}"]


def test_an_end_that_could_not_be_asked_is_the_next_run_s(
    ice: Ice, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the run has other jobs, and the next one comes hours later."""
    ice.broken["ice_default"] = IceUnavailableError("HTTP 503", http_status=503)
    consumer = Consumer([posted(1, "x"), event(2, "a")])
    assert consumer.run("run-1", consumer.events) == ["a"]
    assert "could not be asked whether batch job x has ended; the next run asks" in caplog.text
    assert "ICE says" not in caplog.text
    consumer.events.append(event(9 * HOUR, "b"))
    assert consumer.run("run-2", consumer.events[-1:]) == ["b"]
    ice.broken.clear()
    consumer.events.append(event(20 * HOUR, "c"))
    assert consumer.run("run-3", consumer.events[-1:]) == ["x", "c"]
    consumer.events.append(event(21 * HOUR, "d"))
    assert consumer.run("run-4", consumer.events[-1:]) == ["d"]


def test_what_an_event_leaves_open_for_a_day_is_given_up(
    ice: Ice, caplog: pytest.LogCaptureFixture
) -> None:
    """So that a connection that stays broken does not make each run read for ever."""
    consumer = Consumer([posted(1, "x", ice_conn_id="missing"), event(2, "a")])
    consumer.run("run-1", consumer.events)
    for number in range(2, 9):
        consumer.events.append(event(10 * number * HOUR, f"job-{number}"))
        given = consumer.events[-1:]
        assert consumer.run(f"run-{number}", given) == [f"job-{number}"]
    assert "it is given up" in caplog.text
    until = datetime.fromisoformat(consumer.store.values[until_key("publish")])
    assert until == consumer.events[-1].timestamp
    assert ice.asked.count("x") <= 4


@pytest.mark.parametrize("of_a_watcher", [True, False])
def test_another_event_of_a_job_that_could_not_be_asked_settles_it(
    ice: Ice, of_a_watcher: bool
) -> None:
    consumer = Consumer([posted(1, "x", ice_conn_id="missing")])
    consumer.events.append((event if of_a_watcher else posted)(2, "x"))
    assert consumer.run("run-1", consumer.events) == ["x"]
    until = datetime.fromisoformat(consumer.store.values[until_key("publish")])
    assert until == consumer.events[-1].timestamp


def test_a_connection_that_fails_again_and_again_is_left_to_the_next_run(ice: Ice) -> None:
    """Each request may take a minute, and other runs wait for this one."""
    ice.broken["slow"] = IceUnavailableError("HTTP 503", http_status=503)
    events = [posted(number, f"job-{number}", ice_conn_id="slow") for number in range(50)]
    consumer = Consumer([*events, event(60, "a"), posted(61, "b")])
    assert consumer.run("run-1", consumer.events) == ["a", "b"]
    assert ice.asked.count("slow") == 3


def test_only_the_run_that_an_event_has_started_fails_because_it_could_not_ask(ice: Ice) -> None:
    ice.broken["slow"] = IceUnavailableError("HTTP 503", http_status=503)
    consumer = Consumer([posted(1, "x", ice_conn_id="slow")])
    for _ in range(3):
        with pytest.raises(IceUnavailableError):
            consumer.run("run-1", consumer.events)
    assert consumer.run("manual", []) == []
    consumer.events.append(Event(START + timedelta(seconds=9), {}))
    assert consumer.run("run-2", consumer.events[-1:]) == []


def test_events_that_could_not_be_asked_alone_are_not_read_for_ever(ice: Ice) -> None:
    ice.broken["slow"] = IceUnavailableError("HTTP 503", http_status=503)
    consumer = Consumer()
    for number in range(200):
        consumer.events.append(posted(number * HOUR, f"job-{number}", ice_conn_id="slow"))
        with pytest.raises(IceUnavailableError):
            consumer.run(f"run-{number}", consumer.events[-1:])
    until = datetime.fromisoformat(consumer.store.values[until_key("publish")])
    assert until >= consumer.events[-1].timestamp - timedelta(days=1)


def test_an_event_that_a_slow_clock_has_stamped_is_seen() -> None:
    """Each triggerer stamps its own events; Airflow's window for a run may leave one out."""
    consumer = Consumer([event(3000, "fast")])
    assert consumer.run("run-1", consumer.events) == ["fast"]
    consumer.events += [event(1300, "slow"), event(3100, "next")]
    assert consumer.run("run-2", consumer.events[2:]) == ["slow", "next"]


def test_a_clock_that_was_years_ahead_hides_nothing() -> None:
    """That of an API server: ICE would refuse a triggerer's."""
    now = (datetime.now(UTC) - START).total_seconds()
    consumer = Consumer([posted(now + 400 * 24 * HOUR, "ahead")])
    assert consumer.run("run-1", consumer.events) == ["ahead"]
    consumer.events += [event(now + 60, "no-run-s"), event(now + 3 * HOUR, "given")]
    assert consumer.run("run-2", consumer.events[-1:]) == ["no-run-s", "given"]


def test_a_run_maps_what_it_claims_and_the_next_one_begins_with_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names = [f"job-{number:04}" for number in range(2500)]
    consumer = Consumer([event(number / 100, name) for number, name in enumerate(names)])
    first = consumer.run("run-1", consumer.events[:500])
    assert first == names[:1024]  # Airflow's own default
    assert "more are left for the next run" in caplog.text
    # However late that is: also one that a person has started.
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1400")
    consumer.events.append(event(30 * 24 * HOUR, "late"))
    second = consumer.run("run-2", consumer.events[-1:])
    assert second == names[1024:2424]
    assert consumer.run("manual", []) == [*names[2424:], "late"]
    assert consumer.run("run-1", consumer.events[:500]) == first
    assert consumer.run("run-2", consumer.events[-1:]) == second


def test_a_run_gets_no_more_jobs_than_it_asks_for() -> None:
    """A run that maps the videos of its jobs gets fewer jobs than Airflow maps."""
    names = [f"job-{number}" for number in range(50)]
    consumer = Consumer([event(number, name) for number, name in enumerate(names)], most=20)
    assert consumer.run("run-1", consumer.events[:1]) == names[:20]
    consumer.events.append(event(9 * HOUR, "late"))
    assert consumer.run("run-2", consumer.events[-1:]) == names[20:40]
    assert consumer.run("manual", []) == [*names[40:], "late"]


def test_a_run_gets_no_more_jobs_than_airflow_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "3")
    events = [event(number, f"job-{number}") for number in range(9)]
    assert len(Consumer(events, most=20).run("run-1", events)) == 3


@pytest.mark.parametrize("most", [0, -1])
def test_a_run_that_asks_for_no_job_is_told_so(most: int) -> None:
    consumer = Consumer([event(1, "a")], most=most)
    with pytest.raises(NonRetryableIceInputError, match="most"):
        consumer.run("run-1", consumer.events)


def test_a_month_later_a_cleared_run_does_not_ask_for_the_month() -> None:
    consumer = Consumer([event(number * HOUR, f"job-{number}") for number in range(720)])
    for number in range(720):
        given = consumer.events[number : number + 1]
        assert Consumer(consumer.events[: number + 1], consumer.store).run(f"run-{number}", given)
    before = consumer.store.read
    assert consumer.run("run-3", consumer.events[3:4]) == ["job-3"]
    assert consumer.store.read - before == 1


@pytest.mark.parametrize("at_once", [None, 2])
def test_a_task_that_may_run_twice_at_once_claims_nothing(at_once: int | None) -> None:
    """Both tasks would get the job."""
    consumer = Consumer([event(1, "a")], at_once=at_once)
    with pytest.raises(NonRetryableIceInputError, match="add max_active_tis_per_dag=1"):
        consumer.run("run-1", consumer.events)
    assert consumer.store.values == {}


def test_a_claim_that_another_run_has_overwritten_is_that_run_s() -> None:
    """A try that Airflow has given up wakes up while a later run claims."""
    consumer = Consumer([event(1, "a"), event(2, "b")])

    def overwrite() -> None:
        consumer.store.values[claim_key("publish", "a")] = "run-0"

    consumer.store.before_write[claim_key("publish", "b")] = overwrite
    assert consumer.run("run-1", consumer.events) == ["b"]
    assert consumer.run("run-1", consumer.events) == ["b"]


def test_a_claim_that_the_store_does_not_keep_loses_no_job() -> None:
    consumer = Consumer([event(1, "a"), event(2, "b")])

    def forget() -> None:
        del consumer.store.values[claim_key("publish", "a")]

    consumer.store.before_write[claim_key("publish", "b")] = forget
    with pytest.raises(IceSubmissionRecordError, match="does not have it"):
        consumer.run("run-1", consumer.events)
    assert consumer.run("run-1", consumer.events) == ["a", "b"]


def test_a_try_that_wakes_up_too_late_takes_no_job_from_a_run_that_has_it() -> None:
    consumer = Consumer([event(1, "a")])
    second: list[str] = []

    def freeze() -> None:
        second.extend(consumer.run("run-2", consumer.events))

    consumer.store.before_write[claim_key("publish", "a")] = freeze
    consumer.run("run-1", consumer.events)  # Airflow refuses what it returns: run-1 has failed
    assert second == ["a"]
    assert consumer.run("run-2", consumer.events) == ["a"]


def test_more_events_at_one_time_than_a_page_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_ice.claims.PAGE", 4)
    consumer = Consumer([event(number // 11, f"job-{number}") for number in range(40)])
    assert len(consumer.run("run-1", consumer.events[:1])) == 40


def test_at_100_000_jobs_a_year_a_run_reads_few_claims() -> None:
    consumer = Consumer()
    for number in range(200):
        consumer.events.append(event(number * 315, f"job-{number}"))
        before = consumer.store.read
        assert consumer.run(f"run-{number}", consumer.events[-1:]) == [f"job-{number}"]
        assert consumer.store.read - before < 20


def test_a_burst_of_500_that_two_triggerers_report_is_worked_on_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They run at once, and their clocks differ by 20 minutes."""
    reported: list[dict[str, Any]] = []

    async def story() -> None:
        watching = Watching(monkeypatch)
        watching.start()
        await watching.passes(30)
        watching.start()
        for number in range(500):
            watching.account.add(f"job-{number}", lasts=600)
        await watching.passes(HOUR)
        reported.extend(watching.persisted)
        await watching.crash()

    run_virtually(story())
    assert len(reported) == 1_000
    consumer, claimed = Consumer(), list[str]()
    for number, payload in enumerate(reported):
        at = START + timedelta(seconds=number / 10 - 1200 * (number % 2))
        consumer.events.append(Event(at, {"from_trigger": True, "payload": payload}))
        if number % 180 == 100:  # the first one of what has been queued since
            given = consumer.events[max(number - 180, 0) : number - 90]
            claimed += consumer.run(f"run-{number}", given)
    claimed += consumer.run("last", consumer.events[-1:])
    assert sorted(claimed) == sorted(f"job-{number}" for number in range(500))


@dataclass
class World:
    """A DAG whose runs Airflow makes, of the events of two triggerers whose clocks differ.

    :param ended: the jobs whose end a watcher has reported.
    :param called: those whose end only a callback has, and when.
    :param claims: the jobs of each run.
    """

    ice: Ice
    skews: tuple[float, float]
    consumer: Consumer = field(default_factory=Consumer)
    now: float = 0.0
    queued_at: float | None = None
    run_after: list[float] = field(default_factory=list)
    given: list[list[Event]] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    called: dict[str, float] = field(default_factory=dict)
    claims: dict[int, list[str]] = field(default_factory=dict)
    unfinished: set[int] = field(default_factory=set)

    def report(self, job: int, of: int) -> None:
        """Let a triggerer report an end, perhaps for the second time."""
        self.ended.add(f"job-{job}")
        self.ice.status[f"job-{job}"] = "Finished"
        self._add(event(self.now + self.skews[of], f"job-{job}"))

    def forge(self, job: int, ice_conn_id: str) -> None:
        self.ice.status.setdefault(f"job-{job}", "Processing")
        self._add(posted(self.now, f"job-{job}", ice_conn_id=ice_conn_id))

    def call(self, job: int) -> None:
        """Let a callback report an end that no watcher does."""
        self.ice.status[f"job-{job}"] = "Finished"
        self.called.setdefault(f"job-{job}", self.now)
        self._add(posted(self.now, f"job-{job}"))

    def _add(self, made: Event) -> None:
        self.consumer.events.append(made)
        stamped = (made.timestamp - START).total_seconds()
        self.queued_at = stamped if self.queued_at is None else self.queued_at
        self.now += 1

    def run(self, works_for: int = 1_000) -> None:
        """Make a run as Airflow does: of the events up to the one that has queued it, and after the
        run before it."""
        if self.queued_at is None:
            return
        before = max((at for at in self.run_after if at < self.queued_at), default=-1e9)
        begin, end = (START + timedelta(seconds=at) for at in (before, self.queued_at))
        self.given.append([at for at in self.consumer.events if begin < at.timestamp <= end])
        self.run_after.append(self.queued_at)
        self.queued_at = None
        self.unfinished.add(len(self.given) - 1)
        self.attempt(len(self.given) - 1, works_for)

    def attempt(self, number: int, works_for: int = 1_000) -> None:
        if self.ice.is_down:  # what could not be asked for a day is given up
            self.called = {job: at for job, at in self.called.items() if self.now - at < 23 * HOUR}
        self.consumer.store.works_for = works_for
        try:
            found = self.consumer.run(f"run-{number}", self.given[number])
        except (RuntimeError, IceUnavailableError):
            return
        assert len(found) <= MOST
        assert all(self.ice.status[job_id] == "Finished" for job_id in found)
        if number in self.unfinished or self.claims[number]:
            self.unfinished.discard(number)
            assert found == self.claims.setdefault(number, found)  # a cleared run has the same
        else:
            self.claims[number] = found


MOST = 4
STEPS = st.one_of(
    st.tuples(st.just("report"), st.integers(0, 30), st.integers(0, 1)),
    st.tuples(st.just("report"), st.integers(0, 30), st.integers(0, 1)),
    st.tuples(st.just("forge"), st.integers(0, 30), st.sampled_from(["ice_default", "other"])),
    st.tuples(st.just("call"), st.integers(0, 30)),
    st.tuples(st.just("run"), st.integers(0, 9)),
    st.tuples(st.just("run"), st.just(1_000)),
    st.tuples(st.just("retry"), st.integers(0, 5)),
    st.tuples(st.just("clear"), st.integers(0, 5)),
    st.tuples(st.just("passes"), st.sampled_from([60.0, HOUR, 40 * HOUR])),
    st.tuples(st.just("ice"), st.booleans()),
)


def do(world: World, step: tuple[Any, ...]) -> None:
    match step:
        case "report", job, of:
            world.report(job, of)
        case "call", job:
            world.call(job)
        case "forge", job, ice_conn_id:
            world.forge(job, ice_conn_id)
        case "run", works_for:
            world.run(works_for)
        case "retry", number:
            for each in sorted(world.unfinished)[number : number + 1]:
                world.attempt(each)
        case "clear", number:
            for each in sorted(world.claims)[number : number + 1]:
                world.attempt(each)
        case "passes", seconds:
            world.now += seconds
        case "ice", is_down:
            world.ice.is_down = is_down


MANY = [("report", job, 0) for job in range(6)]
LATE = [
    step
    for number in range(1, 4)
    for step in (("report", number, 0), ("run", 1_000), ("passes", 2 * HOUR))
]
LATER = [("passes", 40 * HOUR), ("report", 6, 0), ("run", 1_000)]


@settings(deadline=None)
@example([("report", 0, 0), ("run", 9), ("report", 1, 0), ("report", 2, 1), ("run", 9)], (0, -1800))
@example([*MANY, ("run", 1_000), *LATER], (0, 0))
@example([*MANY, ("run", 3), *LATER], (0, 0))
@example([("call", 0), ("ice", True), *LATE], (0, 0))
@given(
    steps=st.lists(STEPS, max_size=40),
    skews=st.tuples(*[st.sampled_from([0.0, 900.0, -900.0])] * 2),
)
def test_each_end_is_one_run_s_whatever_happens(
    steps: list[tuple[Any, ...]], skews: tuple[float, float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", str(MOST))
        patch.setattr("airflow_ice.claims.PAGE", 5)
        world = World(Ice(), skews)
        patch.setattr("airflow_ice.claims.IceHook", world.ice)
        for step in steps:
            do(world, step)
        world.ice.is_down = False
        for number in sorted(world.unfinished):
            world.attempt(number)
        for extra in range(12):  # more than there are jobs for
            world.now += HOUR / 4
            world.report(100 + extra, 0)
            world.run()
        claimed = [job_id for found in world.claims.values() for job_id in found]
        assert len(claimed) == len(set(claimed))
        assert world.ended | set(world.called) <= set(claimed)


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
    assert sorted(claimed) == sorted(
        {(each.extra or {})["payload"]["job_id"] for each in consumer.events}
    )
