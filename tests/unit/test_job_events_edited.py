"""A watcher whose arguments are edited, its name kept: what is owed is reported, and no more."""

from __future__ import annotations

import json
import logging

import pytest

from tests.watched_account import EPOCH, Account, Watching, watched

HOUR, DAY = 3600.0, 86_400.0
NAME = "publish"
FORMER_KEY = "ice_batch_jobs_32ecf69bfe3d42e8d"
"""Made of the connection, its own region and the name."""


async def edit(watching: Watching, **arguments: object) -> None:
    await watching.crash()  # Airflow ends the old trigger, and makes one of the new arguments
    await watching.passes(1)
    watching.start(name=NAME, **arguments)


async def busy(watching: Watching, minutes: int) -> None:
    """Let short jobs end, so that the watermark passes what runs longer."""
    for _ in range(minutes):
        watching.account.add(f"short-{len(watching.account.jobs)}", lasts=50)
        await watching.passes(60)
    await watching.passes(200)  # then all is stored


@watched()
async def test_a_job_that_runs_while_filters_are_widened_is_reported(watching: Watching) -> None:
    watching.start(name=NAME, job_types=["Script"])
    await watching.passes(30)
    slow = watching.account.add("slow", lasts=2 * HOUR, job_type="Smart_Mix")
    await busy(watching, 60)
    assert watching.store.record["since"] > EPOCH + slow.created
    await edit(watching, job_types=["Script", "Smart_Mix"])
    await watching.passes(3 * HOUR)
    assert watching.times_told() == dict.fromkeys(watching.account.jobs, 1)


@watched()
async def test_a_job_that_ends_between_the_polls_around_an_edit_is_reported(
    watching: Watching,
) -> None:
    watching.start(name=NAME, job_types=["Script"])
    await watching.passes(30)
    account = watching.account
    account.add("before", lasts=60, job_type="Smart_Mix")
    slow = account.add("slow", lasts=HOUR + 300, job_type="Smart_Mix")
    await busy(watching, 60)
    await watching.crash()
    await watching.passes(slow.ends - account.now + 3 * HOUR)
    watching.start(name=NAME, job_types=["Script", "Smart_Mix"])
    await watching.passes(600)
    assert watching.told()[-1] == "slow"
    assert "before" not in watching.told()


@watched()
async def test_what_ended_long_before_filters_are_widened_is_not_reported(
    watching: Watching,
) -> None:
    """Though the watermark is weeks back, and the list shows it: a job hangs since then."""
    watching.start(name=NAME, job_types=["Script"], poll_interval=900)
    await watching.passes(1_000)
    watching.account.add("hangs", lasts=1e9)
    for number in range(100):
        watching.account.add(f"old-{number}", job_type="Smart_Mix")
        await watching.passes(3 * HOUR)
    assert watching.store.record["since"] < EPOCH + watching.account.now - 10 * DAY
    await edit(watching, job_types=None, poll_interval=900)
    watching.account.add("new", job_type="Smart_Mix")
    await watching.passes(DAY)
    assert watching.told() == ["new"]
    await edit(watching, job_types=None, poll_interval=900)
    await watching.passes(DAY)
    assert watching.told() == ["new"]


@watched()
async def test_an_end_that_was_owed_before_filters_are_widened_stays_owed(
    watching: Watching,
) -> None:
    watching.start(name=NAME, job_types=["Script"])
    await watching.passes(30)
    account = watching.account

    def fault(action: str, job_id: str) -> Exception | None:
        return OSError("no route") if job_id == "owed" else None

    account.fault = fault
    account.add("owed")
    await watching.passes(2 * HOUR)
    await edit(watching, job_types=["Script", "Smart_Mix"])
    await watching.passes(HOUR)
    account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.told() == ["owed"]


@watched()
async def test_narrowed_filters_report_no_more_of_the_rest(watching: Watching) -> None:
    watching.start(name=NAME)
    await watching.passes(30)
    watching.account.add("mine", lasts=HOUR)
    watching.account.add("other", lasts=HOUR, job_type="Smart_Mix")
    await watching.passes(600)
    await edit(watching, job_types=["Script"])
    await watching.passes(2 * HOUR)
    assert watching.told() == ["mine"]


@watched()
async def test_an_edit_while_ice_is_down_is_made_up_for(watching: Watching) -> None:
    watching.start(name=NAME, job_types=["Script"])
    await watching.passes(30)
    account = watching.account
    account.add("slow", lasts=2 * HOUR, job_type="Smart_Mix")
    await busy(watching, 60)
    account.fault = lambda action, job_id: OSError("no route")
    for _ in range(3):
        await edit(watching, job_types=None)
        await watching.passes(HOUR)
    account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.times_told() == dict.fromkeys(account.jobs, 1)


@pytest.mark.parametrize(
    ("arguments", "warns"),
    [({"region_id": "cn-shanghai"}, False), ({"ice_conn_id": "renamed"}, True)],
)
def test_a_connection_that_is_renamed_or_a_region_that_is_spelled_out_loses_no_end(
    arguments: dict[str, str],
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @watched()
    async def story(watching: Watching) -> None:
        watching.start(name=NAME)
        await watching.passes(30)
        watching.account.add("slow", lasts=2 * HOUR)
        await busy(watching, 60)
        watching.account.add("meanwhile")
        await watching.crash()
        await watching.passes(600)
        watching.start(name=NAME, **arguments)
        await watching.passes(3 * HOUR)
        assert set(watching.told()) == set(watching.account.jobs)
        assert watching.times_told()["slow"] == watching.times_told()["meanwhile"] == 1
        assert len(watching.store.values) == 1

    story(monkeypatch)
    assert ("now it watches" in caplog.text) is warns


@pytest.mark.parametrize("where", ["argument", "connection"])
def test_another_region_is_watched_from_the_edit_on(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @watched()
    async def story(watching: Watching) -> None:
        there = watching.accounts["cn-beijing"] = Account()
        watching.start(name=NAME)
        await watching.passes(30)
        there.add("old")
        there.add("runs", lasts=2 * HOUR)
        await busy(watching, 60)
        here = list(watching.told())
        if where == "argument":
            await edit(watching, region_id="cn-beijing")
        else:
            watching.region = "cn-beijing"
        await watching.passes(60)
        there.add("new")
        await watching.passes(2 * HOUR)
        assert watching.told() == [*here, "new", "runs"]
        assert {each["region_id"] for each in watching.persisted[-2:]} == {"cn-beijing"}

    story(monkeypatch)
    [warning] = [each for each in caplog.messages if "now it watches" in each]
    assert "in region cn-shanghai; now it watches those of ice_default in region cn-be" in warning
    assert "`since`" in warning


@watched()
async def test_a_record_of_an_earlier_version_is_found_and_goes_on(watching: Watching) -> None:
    watching.start(name=NAME)
    await watching.passes(30)
    watching.account.add("reported")
    watching.account.add("slow", lasts=2 * HOUR)
    await busy(watching, 60)
    await watching.crash()
    record = watching.store.record
    del record["watched"], record["polled_at"]
    watching.store.values = {FORMER_KEY: json.dumps(record)}
    watching.start(name=NAME)
    await watching.passes(3 * HOUR)
    assert watching.times_told() == dict.fromkeys(watching.account.jobs, 1)
    assert len(watching.store.values) == 2
    await watching.crash()
    watching.start(name=NAME)
    await watching.passes(HOUR)
    assert watching.times_told() == dict.fromkeys(watching.account.jobs, 1)


def test_a_first_start_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @watched(name=NAME)
    async def story(watching: Watching) -> None:
        watching.start()
        await watching.passes(600)
        await watching.crash()
        watching.start()
        await watching.passes(600)

    story(monkeypatch)
    assert len([each for each in caplog.messages if "this is a first start" in each]) == 1
