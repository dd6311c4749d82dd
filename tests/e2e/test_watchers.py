"""What a watcher's events become on a real Airflow: in a burst, a kill, and a pause."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from airflow_ice.emulator.local import LocalIce
from tests.e2e.watching import (
    Shop,
    claimed,
    idle,
    pause,
    remembered,
    reported,
    runs_of,
    unpaused,
    until,
    watchers_of,
)
from tests.real_airflow import RealAirflow

DAG, ASSET = "ice_watching", "ice_others_jobs"
SOME, SOME_ASSET, SOME_JOBS = "ice_watching_some", "ice_some_of_others_jobs", 10
PAIR, PARTS = "ice_watching_two", ("ice_left_jobs", "ice_right_jobs")
BURST = 60
"""500 take Airflow on SQLite two minutes, and six runs."""

pytestmark = pytest.mark.usefixtures("watching")


@pytest.fixture(scope="module")
def ice(ices: dict[str, LocalIce]) -> LocalIce:
    """The account that is watched."""
    return ices["others"]


@pytest.fixture(scope="module")
def watching(airflow: RealAirflow, ice: LocalIce) -> Iterator[None]:
    """Unpause the DAGs: their watchers start once Airflow has parsed the file again."""
    with unpaused(airflow, DAG, PAIR):
        until(lambda: watchers_of(airflow, ASSET) and watchers_of(airflow, PARTS[1]), within=90)
        until(lambda: len(ice.requests("ListBatchMediaProducingJobs")) > 4)
        yield


def test_equal_triggers_of_two_assets_report_to_both(airflow: RealAirflow, ice: LocalIce) -> None:
    job_id = Shop(ice).submit()
    ice.advance(60)
    for of_asset, asset in enumerate(PARTS):
        assert claimed(airflow, PAIR, [job_id], of_asset) == [job_id]
        assert reported(airflow, asset) == [job_id]
    pause(airflow, PAIR, paused=True)


def test_a_burst_reaches_the_runs_whole(airflow: RealAirflow, ice: LocalIce) -> None:
    """Airflow gives a run the events up to its first one; the rest would wait for the next."""
    shop = Shop(ice)
    ice.freeze()
    jobs = [shop.submit() for _ in range(BURST)]
    ice.advance(3600)
    ice.unfreeze()
    found = claimed(airflow, DAG, jobs)
    assert set(jobs) <= set(found)
    assert len(found) == len(set(found))


def test_a_burst_that_is_more_than_a_run_claims_is_shared_by_the_next_ones(
    airflow: RealAirflow, ice: LocalIce
) -> None:
    """Each first try fails once it has claimed three of the jobs that it has recorded."""
    with unpaused(airflow, SOME):
        until(lambda: watchers_of(airflow, SOME_ASSET), within=90)
        until(lambda: "'total_entries': 0" not in remembered(airflow, SOME_ASSET))
        shop = Shop(ice)
        ice.freeze()
        jobs = [shop.submit() for _ in range(BURST)]
        ice.advance(3600)
        ice.unfreeze()
        until(lambda: set(jobs) <= set(reported(airflow, SOME_ASSET)), within=90)
        until(lambda: runs_of(airflow, SOME) and idle(airflow, SOME), within=120)
        # Also those of earlier tests, whose end is ahead of Airflow's clock.
        ended = set(reported(airflow, SOME_ASSET))
        before = claims_of(airflow)
        while sum(map(len, before.values())) < len(ended):
            # Whatever starts the next run: here it is a person.
            run_id = airflow.trigger(SOME)
            airflow.wait_for_run(SOME, run_id)
            before = claims_of(airflow)
            assert before[run_id]
        assert sorted(job_id for own in before.values() for job_id in own) == sorted(ended)
        assert max(map(len, before.values())) == SOME_JOBS
        for run_id in before:
            airflow.clear(SOME, run_id, "jobs")
        until(lambda: idle(airflow, SOME), within=120)
        assert claims_of(airflow) == before


def claims_of(airflow: RealAirflow) -> dict[str, list[str]]:
    """Return the jobs of each run. Those that have more than three have needed two tries."""
    found = {}
    for run in runs_of(airflow, SOME):
        run_id = run["dag_run_id"]
        assert run["state"] == "success"
        [found[run_id]] = airflow.xcom(SOME, run_id, "jobs")
        [task] = airflow.tasks(SOME, run_id)
        assert task["try_number"] > 1 or len(found[run_id]) <= 3
    return found


def test_a_kill_before_the_event_is_remembered_repeats_it_on_the_other_triggerer(
    airflow: RealAirflow, ice: LocalIce
) -> None:
    shop = Shop(ice)
    airflow.start_part("triggerer", name="triggerer-2")
    until(lambda: len(living_triggerers(airflow)) == 2)
    jobs = [shop.submit()]
    ice.advance(60)
    until(lambda: jobs[0] in reported(airflow, ASSET))
    airflow.kill_part("triggerer")
    assert jobs[0] not in remembered(airflow, ASSET)
    jobs.append(shop.submit())
    ice.advance(60)
    # One triggerer runs the trigger at a time; the other one takes it over, and repeats.
    until(lambda: jobs[1] in reported(airflow, ASSET), within=90)
    found = reported(airflow, ASSET)
    assert [found.count(job_id) for job_id in jobs] == [2, 1]
    airflow.start_part("triggerer")
    until(lambda: len(living_triggerers(airflow)) >= 2)
    airflow.kill_part("triggerer-2", signal.SIGTERM)
    mine = claimed(airflow, DAG, jobs)
    assert [mine.count(job_id) for job_id in jobs] == [1, 1]


def living_triggerers(airflow: RealAirflow) -> list[object]:
    found = airflow.api("GET", "jobs", params={"job_type": "TriggererJob", "is_alive": True})
    return list(found["jobs"])


def test_a_paused_dag_gets_later_what_it_has_missed(airflow: RealAirflow, ice: LocalIce) -> None:
    shop = Shop(ice)
    until(lambda: idle(airflow, DAG))
    pause(airflow, DAG, paused=True)
    # Airflow has not parsed the file again: it may keep an event for which it starts no run.
    jobs = [shop.submit()]
    ice.advance(60)
    until(lambda: not watchers_of(airflow, ASSET))
    jobs.append(shop.submit())
    ice.advance(60)
    runs = len(runs_of(airflow, DAG))
    pause(airflow, DAG, paused=False)
    found = claimed(airflow, DAG, jobs)
    assert [found.count(job_id) for job_id in jobs] == [1, 1]
    assert len(runs_of(airflow, DAG)) > runs
