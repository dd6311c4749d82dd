"""The trigger of an AssetWatcher: each job that ends is told at least once, whatever happens."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.trigger import Trigger  # noqa: TID251 - what Airflow makes of a trigger
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import AssetStateStoreAccessors
from airflow.serialization.encoders import encode_trigger
from airflow.triggers.base import BaseEventTrigger

from airflow_ice.exceptions import NonRetryableIceInputError
from airflow_ice.polling.account import MOST_ENDS
from airflow_ice.polling.memory import stores_of
from airflow_ice.triggers import IceBatchJobEventTrigger
from airflow_ice.watching import FEW_IDS, KNOWN_FOR, MOST_IDS
from tests.virtual_time import run_virtually
from tests.watched_account import (
    EPOCH,
    GET,
    LIST,
    Account,
    Store,
    Watching,
    down,
    stamp,
    watched,
)

HOUR, DAY = 3600.0, 86_400.0


@watched()
async def test_each_job_that_ends_is_told_once_with_its_payload(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    own = {
        "shop": "web",
        "airflow_ice": "our-key",
        "NotifyAddress": "https://shop.example/ice?secret=s",
        "clip": "https://b.oss-cn-shanghai.aliyuncs.com/c.mp4?Expires=1&Signature=leak",
    }
    job = watching.account.add("a", lasts=100, user_data=json.dumps(own))
    watching.account.add("b", lasts=100, outcome="Failed", job_type=None)
    await watching.passes(HOUR)
    assert watching.told() == ["a", "b"]
    assert watching.persisted[0] == {
        "job_id": "a",
        "ice_conn_id": "ice_default",
        "region_id": "cn-shanghai",
        "status": "Finished",
        "job_type": "Script",
        "user_data": {"shop": "web", "clip": "https://b.oss-cn-shanghai.aliyuncs.com/c.mp4"},
        "create_time": stamp(job.created).replace("Z", "+00:00"),
        "complete_time": stamp(job.ends).replace("Z", "+00:00"),
    }
    assert watching.persisted[1]["status"] == "Failed"
    assert watching.persisted[1]["user_data"] == {}


@watched()
async def test_user_data_that_airflow_cannot_send_ends_no_triggerer(watching: Watching) -> None:
    """Whoever may submit jobs writes it; the triggerer waits for other teams' tasks as well."""
    watching.start()
    await watching.passes(30)
    odd = ["\\ud800", "a\\u0000b"]
    for number, text in enumerate([*odd, "[" * 2_000, "NaN"]):
        watching.account.add(f"text-{number}", user_data=f'{{"a": "{text}"}}')
    for number, value in enumerate(
        ["NaN", "-1e999", "9" * 400, "[" * 300 + "]" * 300, "[" * 9_999]
    ):
        watching.account.add(f"value-{number}", user_data=f'{{"a": {value}}}')
    await watching.passes(HOUR)
    assert set(watching.told()) == set(watching.account.jobs)
    assert watching.persisted[0]["user_data"] == {"a": "?"}


@watched()
async def test_a_first_start_tells_what_ends_from_now_on(watching: Watching) -> None:
    account = watching.account
    account.add("ended-before", lasts=60, ago=HOUR)
    account.add("runs-of-today", lasts=2 * HOUR, ago=HOUR)
    account.add("runs-of-last-week", lasts=7 * DAY + HOUR, ago=7 * DAY)
    watching.start()
    await watching.passes(2 * HOUR)
    assert sorted(watching.told()) == ["runs-of-last-week", "runs-of-today"]


@watched()
async def test_a_first_start_while_ice_is_down_misses_nothing(watching: Watching) -> None:
    account = watching.account
    account.fault = down
    account.add("ended-before", lasts=60, ago=HOUR)
    account.add("ends-while-down", lasts=HOUR + 60, ago=HOUR)
    watching.start()
    await watching.passes(600)
    await watching.crash()
    watching.start()
    await watching.passes(600)
    account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.told() == ["ends-while-down"]


@watched()
async def test_a_first_start_with_a_clock_that_is_ahead_misses_nothing(watching: Watching) -> None:
    """ICE refuses what is signed so; then the clock is set."""
    watching.skew = 2 * DAY
    watching.account.fault = down
    watching.start()
    await watching.passes(HOUR)
    watching.account.add("a")
    await watching.passes(HOUR)
    watching.skew = 0
    watching.account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.told() == ["a"]


@watched(since=stamp(-10 * DAY))
async def test_since_tells_the_jobs_created_since_then(watching: Watching) -> None:
    account = watching.account
    account.jobs.clear()
    account.add("too-old", ago=11 * DAY + account.now)
    account.add("old", ago=9 * DAY + account.now)
    account.add("runs", lasts=12 * DAY + 200, ago=12 * DAY)
    watching.start()
    await watching.passes(150)
    assert watching.told() == ["old"]
    await watching.passes(HOUR)
    assert watching.told() == ["old", "runs"]


@watched(job_types=["Script"], statuses=["Finished"], user_data_contains={"shop": "web", "lot": 2})
async def test_only_what_is_selected_is_told_and_asked_for(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    mine = json.dumps({"lot": 2, "shop": "web", "more": True})
    account = watching.account
    account.add("mine", user_data=mine)
    account.add("failed", user_data=mine, outcome="Failed")
    account.add("other-type", user_data=mine, job_type="Smart_Mix")
    account.add("other-shop", user_data='{"shop": "web", "lot": 3}')
    account.add("no-data")
    account.add("no-JSON", user_data="shop=web")
    await watching.passes(HOUR)
    assert watching.told() == ["mine"]
    # Where the list leaves something out, Get decides.
    asked = {job_id for _, action, job_id in account.asked if action == GET}
    assert asked == {"mine", "failed", "no-data"}


@watched(user_data_contains="order-17")
async def test_user_data_may_be_searched_for_a_text(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("mine", user_data='{"ref": "shop/order-17/b"}')
    watching.account.add("other", user_data='{"ref": "shop/order-18/b"}')
    await watching.passes(HOUR)
    assert watching.told() == ["mine"]


@watched()
async def test_an_event_that_a_crash_loses_is_told_again(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    job = watching.account.add("a", lasts=45)
    while watching.account.count(GET) == 0:
        await watching.passes(0.1)
    await watching.passes(0.5)  # it was yielded, and Airflow has not stored it
    await watching.crash()
    assert watching.told() == []
    watching.start()
    await watching.passes(HOUR)
    assert watching.told() == ["a"]
    assert job.job_id in watching.store.record["settled"]


@watched()
async def test_what_was_stored_is_not_told_again_after_a_restart(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    for number in range(5):
        watching.account.add(f"job-{number}", lasts=60 + number)
    await watching.passes(600)
    for _ in range(3):
        await watching.crash()
        watching.start()
        await watching.passes(600)
    assert sorted(watching.told()) == [f"job-{number}" for number in range(5)]


@watched()
async def test_what_ends_while_all_dags_are_paused_is_told_later(watching: Watching) -> None:
    """Airflow removes the watcher while all consuming DAGs are paused."""
    watching.start()
    await watching.passes(600)
    watching.account.add("before", lasts=2 * DAY)
    await watching.passes(600)
    await watching.crash()
    watching.account.add("meanwhile")
    await watching.passes(7 * DAY)
    watching.start()
    await watching.passes(600)
    assert sorted(watching.told()) == ["before", "meanwhile"]


@watched()
async def test_two_triggerers_tell_twice_at_most_and_lose_nothing(watching: Watching) -> None:
    """While a frozen triggerer and the one that took over both run."""
    watching.start()
    await watching.passes(30)
    watching.start()
    for number in range(50):
        watching.account.add(f"job-{number}", lasts=40 + 37 * number)
        await watching.passes(7)
    await watching.passes(HOUR)
    await watching.crash()
    watching.start()
    await watching.passes(HOUR)
    assert set(watching.told()) == {f"job-{number}" for number in range(50)}
    assert max(watching.times_told().values()) == 2


def test_several_assets_on_one_trigger_share_what_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal triggers are one in Airflow, and its accessor of several assets refuses `get`."""
    parts = {name: Store() for name in ("videos", "reports")}

    async def refuses(*_: Any) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")

    async def story() -> None:
        watching = Watching(monkeypatch)
        watching.stores = SimpleNamespace(_by_name=parts, _by_uri={}, aget=refuses, aset=refuses)
        watching.start()
        await watching.passes(30)
        watching.account.add("a")
        await watching.passes(600)
        await watching.crash()
        watching.start()
        await watching.passes(600)
        assert watching.told() == ["a"]
        await watching.crash()

    run_virtually(story())
    assert parts["videos"].record == parts["reports"].record
    assert "a" in parts["videos"].record["settled"]


def test_the_parts_of_airflow_s_own_accessor_are_found() -> None:
    names = ["videos", "reports"]
    several = AssetStateStoreAccessors(inlets=[Asset(name) for name in names])
    assert [repr(part) for part in stores_of(several)] == [
        f"<AssetStateStoreAccessor name={name!r}>" for name in names
    ]
    assert stores_of(None) == []


def test_an_accessor_whose_parts_are_not_found_reports_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a later Airflow: it would otherwise start from now on after each restart."""

    async def refuses(*_: Any) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")

    async def story() -> None:
        watching = Watching(monkeypatch)
        watching.stores = SimpleNamespace(aget=refuses, aset=refuses)
        watching.start()
        await watching.passes(30)
        watching.account.add("a")
        await watching.passes(HOUR)
        assert watching.told() == []
        await watching.crash()

    run_virtually(story())
    assert "2 concrete inlets" in caplog.text
    assert "give the trigger of each one a `name`" in caplog.text


def shared(monkeypatch: pytest.MonkeyPatch, parts: dict[str, Store]) -> Watching:
    watching = Watching(monkeypatch)
    watching.stores = SimpleNamespace(_by_name=parts, _by_uri={})
    return watching


def test_the_asset_that_has_missed_most_of_a_shared_trigger_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    videos, reports = Store(), Store()

    async def story() -> None:
        watching = shared(monkeypatch, {"videos": videos, "reports": reports})
        for stores, job_id in (
            ({"videos": videos, "reports": reports}, "both"),
            ({"videos": videos}, "missed-by-reports"),
            ({"videos": videos, "reports": reports}, "both-again"),
        ):
            watching.stores = SimpleNamespace(_by_name=stores, _by_uri={})
            watching.start()
            await watching.passes(30)
            watching.account.add(job_id)
            await watching.passes(600)
            await watching.crash()
        assert watching.times_told() == {"both": 1, "missed-by-reports": 2, "both-again": 1}

    run_virtually(story())
    assert videos.record == reports.record
    assert "2 assets have equal triggers" in caplog.text


@watched()
async def test_an_edited_poll_interval_keeps_what_is_remembered(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("a")
    await watching.passes(600)
    await watching.crash()  # Airflow ends the old trigger, and makes one of the new arguments
    watching.account.add("meanwhile")
    await watching.passes(100)
    watching.start(poll_interval=5)
    await watching.passes(600)
    assert watching.told() == ["a", "meanwhile"]


@watched()
async def test_a_burst_of_500_ends_is_told_in_bounded_parts(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    for number in range(500):
        watching.account.add(f"job-{number}", lasts=600)
    await watching.passes(620)
    began = watching.account.now
    await watching.passes(120)
    assert watching.times_told() == {f"job-{number}": 1 for number in range(500)}
    gets = [at for at, action, _ in watching.account.asked if action == GET]
    assert len(gets) == 500
    per_poll = [sum(begin <= at < begin + 9 for at in gets) for begin in gets]
    assert max(per_poll) == MOST_ENDS
    assert gets[-1] - began < 120


def test_a_burst_is_said_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @watched()
    async def story(watching: Watching) -> None:
        watching.start()
        await watching.passes(30)
        for number in range(150):
            watching.account.add(f"job-{number}")
        await watching.passes(300)

    story(monkeypatch)
    lines = [line for line in caplog.messages if "have ended" in line]
    assert lines == [
        "100 batch jobs of ice_default have ended and are reported; at least 50 more follow with "
        "the next polls.",
        "50 batch jobs of ice_default have ended and are reported.",
    ]


@watched()
async def test_a_year_of_100_000_jobs_costs_little(watching: Watching) -> None:
    """Of a year, the first two days: a job each 315 s, one of which hangs for ever."""
    account = watching.account
    watching.start()
    await watching.passes(30)
    account.add("hangs", lasts=1e9)
    for number in range(548):
        account.add(f"job-{number}", lasts=1200)
        await watching.passes(315)
    await watching.passes(HOUR)
    assert watching.times_told() == {f"job-{number}": 1 for number in range(548)}
    polls = (account.now - 1000) / 60
    assert account.count(LIST) < 1.1 * polls
    # The job that hangs is asked for with a Get each, and then every 15 minutes.
    assert account.count(GET) < 548 + 0.7 * polls
    assert len(json.dumps(watching.store.record)) < 1_000


@watched()
async def test_jobs_of_an_hour_cost_no_get_each_poll(watching: Watching) -> None:
    """As many as 100,000 a year: the list shows them, and 1.2 requests a minute are enough."""
    account = watching.account
    watching.start()
    await watching.passes(30)
    for number in range(274):
        account.add(f"job-{number}", lasts=3_300 if number % 3 == 0 else 1_200)
        await watching.passes(315)
    requests = account.count(LIST) + account.count(GET)
    assert requests / (account.now / 60) == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize("others", [1, 3, 20])
def test_a_job_that_outlasts_later_ones_is_told_with_the_next_poll(
    others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark has passed it, and the list no longer shows it: it is asked for."""

    @watched()
    async def story(watching: Watching) -> None:
        watching.start()
        await watching.passes(30)
        ends = [watching.account.add(f"long-{n}", lasts=7_000 + n).ends for n in range(others)]
        for number in range(others + FEW_IDS):
            watching.account.add(f"short-{number}", lasts=60)
            await watching.passes(120)
        await watching.passes(min(ends) - watching.account.now - 1)
        assert len(watching.told()) == others + FEW_IDS
        assert len(watching.store.record["open"]) == others
        # An outage of Get before: what it has delayed is forgotten.
        watching.account.fault = lambda action, _: down(action, _) if action == GET else None
        await watching.passes(-1 + max(ends) - watching.account.now)
        watching.account.fault = lambda action, job_id: None
        await watching.passes(60 + 2 * 60 + 5)
        assert len(watching.told()) == others + FEW_IDS + others

    story(monkeypatch)


@watched()
async def test_a_job_that_hangs_for_days_is_asked_for_ever_less_often(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("hangs", lasts=1e9)
    for number in range(FEW_IDS + 3):
        watching.account.add(f"job-{number}", lasts=60)
        await watching.passes(1_000)
    assert watching.store.record["open"].keys() == {"hangs"}
    await watching.passes(DAY + HOUR)
    since = watching.account.now
    await watching.passes(DAY)
    assert watching.account.count(GET, since) < 110  # one in 900 s


@watched(since=stamp(HOUR))
async def test_since_misses_no_job_that_runs_already(watching: Watching) -> None:
    """Nor does a time in the future."""
    account = watching.account
    account.jobs.clear()
    account.add("ended", lasts=60, ago=DAY)
    account.add("runs", lasts=2 * DAY + 2 * HOUR, ago=2 * DAY)
    watching.start()
    await watching.passes(300)
    account.add("new")
    await watching.passes(3 * HOUR)
    assert sorted(watching.told()) == ["new", "runs"]


@watched(since=stamp(-400 * DAY))
async def test_100_000_jobs_of_a_year_are_caught_up_part_by_part(watching: Watching) -> None:
    """Two thousand of them: each poll reads what it can tell, not all pages."""
    account = watching.account
    for number in range(2_000):
        account.add(f"job-{number}", ago=DAY + 3000 * number)
    watching.start()
    await watching.passes(5 * 60)
    assert watching.times_told() == {f"job-{number}": 1 for number in range(2_000)}
    assert account.count(LIST) < 3 * 2_000 / MOST_ENDS + 10


def test_the_record_is_bounded_whatever_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(json.dumps({f"{number:032x}": EPOCH for number in range(MOST_IDS)})) < 60_000
    monkeypatch.setattr("airflow_ice.watching.MOST_IDS", 50)

    @watched()
    async def story(watching: Watching) -> None:
        account = watching.account
        watching.start()
        await watching.passes(30)
        for number in range(300):
            account.add(f"job-{number}", lasts=HOUR if number % 2 else 60)
            await watching.passes(5)
        await watching.passes(300)
        record = watching.store.record
        assert len(record["open"]) + len(record["settled"]) == 50
        await watching.crash()
        watching.start()
        await watching.passes(HOUR)
        assert set(watching.told()) == set(account.jobs)

    story(monkeypatch)


@watched()
async def test_an_idle_account_costs_a_request_a_poll_and_a_write_an_hour(
    watching: Watching,
) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("a")
    await watching.passes(HOUR)
    written, asked = watching.store.written, len(watching.account.asked)
    await watching.passes(10 * HOUR)
    assert watching.store.written - written == pytest.approx(10, abs=1)
    assert len(watching.account.asked) - asked == pytest.approx(600, abs=2)


@watched()
async def test_errors_back_off_and_never_end_the_trigger(watching: Watching) -> None:
    watching.start()
    await watching.passes(120)
    watching.account.fault = down
    watching.account.add("a")
    since = watching.account.now
    await watching.passes(DAY)
    assert 90 < watching.account.count(LIST, since) < 110  # one in 900 s, after the first few
    watching.account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.told() == ["a"]


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), TimeoutError(), OSError("no route")])
def test_whatever_reading_the_connection_raises_is_an_error_of_that_poll(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    @watched()
    async def story(watching: Watching) -> None:
        watching.start()
        await watching.passes(120)
        watching.connection_error = error
        watching.account.add("a")
        await watching.passes(HOUR)
        watching.connection_error = None
        await watching.passes(HOUR)
        assert watching.told() == ["a"]

    story(monkeypatch)


@watched()
async def test_a_job_whose_get_fails_holds_up_nobody_else(watching: Watching) -> None:
    def fault(action: str, job_id: str) -> Exception | None:
        return ZeroDivisionError("its reply") if job_id == "bad" else None

    watching.account.fault = fault
    watching.start()
    await watching.passes(30)
    watching.account.add("bad")
    for number in range(20):
        watching.account.add(f"job-{number}")
    await watching.passes(300)
    assert len(watching.told()) == 20
    gets = watching.account.count(GET)
    await watching.passes(2 * HOUR)
    assert watching.account.count(GET) - gets < 15  # ever less often
    watching.account.fault = lambda action, job_id: None
    await watching.passes(HOUR)
    assert watching.told()[-1] == "bad"


@watched()
async def test_a_list_that_is_ahead_or_behind_of_get_is_only_a_hint(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("shown-late", lasts=5, listed_late=300)
    ahead = watching.account.add("shown-early", lasts=600)
    ahead.listed_late = -120
    await watching.passes(HOUR)
    assert sorted(watching.told()) == ["shown-early", "shown-late"]
    assert watching.persisted[-1]["status"] == "Finished"


@watched()
async def test_a_list_that_leaves_a_job_out_for_hours_loses_nothing(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("left-out", lasts=600, unlisted=(300.0, 3 * HOUR))
    for number in range(10):
        await watching.passes(600)
        watching.account.add(f"job-{number}", lasts=60)
    await watching.passes(HOUR)
    assert set(watching.told()) == set(watching.account.jobs)


@watched()
async def test_the_end_of_a_job_that_the_list_leaves_out_is_asked_for(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("left-out", lasts=600, unlisted=(300.0, 1e9))
    await watching.passes(600 + 900)
    assert watching.told() == ["left-out"]


@watched()
async def test_a_region_that_is_edited_and_edited_back_loses_no_end(watching: Watching) -> None:
    """The next poll sees it. What the other region does not know is no end, and stays open."""
    watching.start()
    await watching.passes(30)
    watching.account.add("ends-here", lasts=1_000)
    watching.account.add("runs-on", lasts=3 * HOUR)
    await watching.passes(300)
    watching.elsewhere = Account()
    watching.elsewhere.add("ends-there", lasts=100)
    await watching.passes(170)
    assert watching.told() == ["ends-there"]
    await watching.passes(HOUR)
    watching.elsewhere = None
    await watching.passes(1_000)
    assert watching.told() == ["ends-there", "ends-here"]
    await watching.passes(3 * HOUR)
    assert watching.times_told() == {"ends-there": 1, "ends-here": 1, "runs-on": 1}


@watched()
async def test_a_list_that_sorts_as_it_likes_loses_nothing(watching: Watching) -> None:
    watching.account.ignores_sort = True
    watching.start()
    await watching.passes(30)
    for number in range(400):
        watching.account.add(f"job-{number}", lasts=60)
        await watching.passes(0.5)
    await watching.passes(HOUR)
    assert watching.times_told() == {f"job-{number}": 1 for number in range(400)}


@watched(since=stamp(-2 * KNOWN_FOR))
async def test_a_job_that_ice_forgot_after_a_year_is_let_go(watching: Watching) -> None:
    watching.account.add("hangs", lasts=1e9, ago=KNOWN_FOR - DAY)
    for number in range(FEW_IDS + 1):
        watching.account.add(f"job-{number}", lasts=60, ago=(1 + number) * HOUR)
    watching.start()
    await watching.passes(HOUR)
    assert watching.store.record["open"].keys() == {"hangs"}
    del watching.account.jobs["hangs"]
    await watching.passes(2 * DAY)
    assert watching.store.record["open"] == {}
    assert len(watching.told()) == FEW_IDS + 1


@watched()
async def test_what_cannot_be_read_never_means_that_nothing_is_remembered(
    watching: Watching,
) -> None:
    watching.start()
    await watching.passes(600)
    await watching.crash()
    watching.account.add("meanwhile")
    await watching.passes(600)
    watching.store.unreadable = True
    watching.start()
    await watching.passes(HOUR)
    assert watching.told() == []
    watching.store.unreadable = False
    await watching.passes(HOUR)
    assert watching.told() == ["meanwhile"]


@pytest.mark.parametrize("record", [{"version": 2}, {}, [], "x", 7])
def test_a_record_that_is_none_is_waited_out(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @watched()
    async def story(watching: Watching) -> None:
        watching.start()
        await watching.passes(600)
        await watching.crash()
        [key] = watching.store.values
        good, watching.store.values[key] = watching.store.values[key], json.dumps(record)
        watching.account.add("meanwhile")
        watching.start()
        await watching.passes(HOUR)
        assert watching.told() == []
        assert json.loads(watching.store.values[key]) == record
        watching.store.values[key] = good
        await watching.passes(HOUR)
        assert watching.told() == ["meanwhile"]

    story(monkeypatch)


@watched()
async def test_a_record_that_is_not_written_is_told_twice_after_a_restart(
    watching: Watching,
) -> None:
    watching.start()
    await watching.passes(30)
    watching.store.unwritable = True
    watching.account.add("a")
    await watching.passes(600)
    await watching.crash()
    watching.start()
    await watching.passes(600)
    assert watching.told() == ["a", "a"]
    watching.store.unwritable = False
    await watching.passes(600)
    await watching.crash()
    watching.start()
    await watching.passes(600)
    assert watching.told() == ["a", "a"]


@watched(poll_interval=1)
async def test_a_record_is_stored_only_once_airflow_has_the_events(watching: Watching) -> None:
    watching.start()
    await watching.passes(30)
    watching.account.add("a", lasts=5)
    while "a" not in watching.store.record["settled"]:
        await watching.passes(0.5)
    assert watching.told() == ["a"]


@watched()
async def test_without_a_watcher_nothing_is_remembered(watching: Watching) -> None:
    watching.stores = None
    watching.start()
    await watching.passes(30)
    watching.account.add("a")
    await watching.passes(600)
    assert watching.told() == ["a"]


def test_filters_or_a_name_tell_memories_of_one_asset_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @watched()
    async def story(watching: Watching) -> None:
        for arguments in (
            {},
            {"statuses": ["Failed"]},
            {"job_types": ["Script"]},
            {"user_data_contains": "x"},
            {"region_id": "cn-beijing"},
            {"ice_conn_id": "other"},
            {"name": "mine"},
            {"name": "mine", "statuses": ["Failed"]},
            {"poll_interval": 7},
        ):
            watching.start(**arguments)
        await watching.passes(5)
        # A named one keeps its memory when its filters are edited, any when its interval is.
        assert len(watching.store.values) == 7

    story(monkeypatch)


ARGUMENTS = {
    "ice_conn_id": "shop",
    "region_id": "cn-beijing",
    "job_types": ("Smart_Mix", "Script"),
    "statuses": ("Finished", "Failed"),
    "user_data_contains": {"b": [1, None], "a": True},
    "poll_interval": 30,
    "since": "2026-01-31T00:00:00+08:00",
    "name": "shop",
}


@pytest.mark.parametrize("arguments", [{}, ARGUMENTS], ids=["default", "all"])
def test_airflow_takes_it_for_the_same_trigger_at_each_parse(arguments: dict[str, Any]) -> None:
    def parsed() -> dict[str, Any]:
        return dict(encode_trigger(IceBatchJobEventTrigger(**arguments)))

    stored = Trigger(**parsed())
    hashes = {
        BaseEventTrigger.hash(stored.classpath, stored.kwargs),
        *(BaseEventTrigger.hash(**parsed()) for _ in range(2)),
    }
    assert len(hashes) == 1
    classpath, kwargs = IceBatchJobEventTrigger(**arguments).serialize()
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert IceBatchJobEventTrigger(**kwargs).serialize() == (classpath, kwargs)
    module, _, name = classpath.rpartition(".")
    assert getattr(__import__(module, fromlist=[name]), name) is IceBatchJobEventTrigger


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("statuses", ["Success"]),
        ("statuses", []),
        ("job_types", []),
        ("job_types", [1]),
        ("job_types", {"Script": 1}),
        ("user_data_contains", ""),
        ("user_data_contains", {}),
        ("user_data_contains", {"a": {1, 2}}),
        ("user_data_contains", {"a": float("nan")}),
        ("poll_interval", 0),
        ("poll_interval", "often"),
        ("since", "yesterday"),
        ("since", "2026-01-31T00:00:00"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_when_the_file_is_parsed(
    field: str, value: Any
) -> None:
    with pytest.raises(NonRetryableIceInputError, match=field):
        IceBatchJobEventTrigger(**{field: value})
