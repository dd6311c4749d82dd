"""What names a wish, when it counts as cleared, what the store holds of it, and what makes it
another job.
"""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_ice.api import operations
from airflow_ice.submission.identity import Wish, new_nonce
from airflow_ice.submission.record import Record
from airflow_ice.submission.request import SubmitRequest, fingerprint
from tests.memory_ice import INPUT, OUTPUT

NONCE = "0" * 32


def wish(**other: Any) -> Wish:
    base: dict[str, Any] = {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 2,
        "retries": 2,
        "run_after": "2026-01-02T00:00:00+00:00",
    }
    return Wish(**{**base, **other})


@pytest.mark.parametrize(
    "other",
    [
        {"dag_id": "d2"},
        {"run_id": "r2"},
        {"task_id": "t2"},
        {"map_index": 0},
        {"run_after": "2026-01-03T00:00:00+00:00"},
        {"logical_date": "2026-01-02T00:00:00+00:00"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_identifies_the_task_instance_makes_another_key(other: dict[str, Any]) -> None:
    assert wish(**other).key_prefix != wish().key_prefix
    assert wish(**other).key(0, NONCE) != wish().key(0, NONCE)


def test_what_airflow_resets_or_raises_leaves_the_key_alone() -> None:
    later = wish(try_number=7, max_tries=9, retries=4, clear_number=3)
    assert later.key(0, NONCE) == wish().key(0, NONCE)


def test_a_key_differs_by_generation_and_nonce_and_fits_a_client_token() -> None:
    keys = [wish().key(0, NONCE), wish().key(1, NONCE), wish().key(0, new_nonce())]
    assert len(set(keys)) == 3
    assert all(re.fullmatch(r"[0-9a-f-]{49}", key) for key in keys)
    assert all(key.startswith(f"{wish().key_prefix}-") for key in keys)
    assert new_nonce() != new_nonce()


def test_ids_that_join_to_the_same_text_are_different() -> None:
    assert wish(dag_id="a_b", run_id="c").key_prefix != wish(dag_id="a", run_id="b_c").key_prefix


def test_a_wish_is_read_from_airflows_objects_and_times_are_compared_in_utc() -> None:
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="t", map_index=None, try_number=3, max_tries=5
    )
    at = datetime(2026, 1, 2, tzinfo=UTC)
    shanghai = at.astimezone(timezone(timedelta(hours=8)))
    runs = [
        SimpleNamespace(run_after=moment, logical_date=None, clear_number=number, start_date=start)
        for moment, number, start in ((at, None, at), (shanghai, 0, None))
    ]
    first, second = (Wish.of(ti, run, 2) for run in runs)
    assert first == second
    assert first == wish(try_number=3, max_tries=5)


@pytest.mark.parametrize(
    ("now", "cleared"),
    [
        # A retry, and a retry after the task's retries were edited.
        ({"try_number": 2}, False),
        ({"try_number": 2, "retries": 9}, False),
        ({"try_number": 2, "retries": 1}, False),
        # A clear after one try, with retries as they were, raised, and lowered.
        ({"try_number": 2, "max_tries": 3, "clear_number": 1}, True),
        ({"try_number": 2, "max_tries": 6, "retries": 5, "clear_number": 1}, True),
        ({"try_number": 2, "max_tries": 2, "retries": 1, "clear_number": 1}, True),
        ({"try_number": 3, "max_tries": 2, "retries": 0, "clear_number": 1}, True),
        # Another task of the run was cleared while this one was up for retry.
        ({"try_number": 2, "clear_number": 1}, False),
        ({"try_number": 3, "clear_number": 4}, False),
    ],
)
def test_a_clear_of_this_task_is_told_from_a_retry(now: dict[str, Any], *, cleared: bool) -> None:
    assert wish(**now).is_cleared_since(2, 0) is cleared


def test_a_record_that_does_not_know_the_runs_clears_has_max_tries_alone() -> None:
    lowered = wish(try_number=2, max_tries=2, retries=1, clear_number=1)
    assert not lowered.is_cleared_since(2, None)
    assert wish(try_number=2, max_tries=3, clear_number=1).is_cleared_since(2, None)


def test_a_first_try_has_sent_nothing_whatever_was_cleared_in_the_run() -> None:
    assert not wish(clear_number=2).may_have_sent
    assert wish(try_number=2).may_have_sent


@pytest.mark.parametrize(
    ("now", "cleared"),
    [
        ({"try_number": 2}, False),
        ({"try_number": 2, "retries": 9}, False),
        ({"try_number": 2, "clear_number": 1}, False),
        ({"try_number": 2, "max_tries": 3, "clear_number": 1}, True),
        ({"try_number": 3, "max_tries": 3, "clear_number": 1}, True),
        ({"try_number": 2, "max_tries": 2, "retries": 1, "clear_number": 1}, True),
    ],
)
def test_without_a_record_a_clear_is_told_as_far_as_it_shows(
    now: dict[str, Any], *, cleared: bool
) -> None:
    assert wish(**now).was_ever_cleared is cleared


OLD = {
    "key": "0123456789abcdef-" + "0" * 32,
    "generation": 1,
    "max_tries": 4,
    "inputs": {
        "InputConfig": "a" * 12,
        "ice_conn_id": fingerprint("ice_default"),
        "region_id": fingerprint(""),
        "endpoint": fingerprint("ice-vpc.cn-shanghai.aliyuncs.com"),
    },
    "intent_at": 1.0,
    "sent_at": 2.0,
    "refused": True,
    "taken": True,
    "job_id": None,
    "delivered": False,
}


def test_a_record_of_the_version_before_is_read() -> None:
    record = Record.from_store(OLD)
    assert (record.key, record.generation, record.max_tries) == (OLD["key"], 1, 4)
    assert (record.no_job_created, record.job_exists) == (True, True)
    assert (record.clear_count, record.nonce) == (None, "")
    assert record.inputs == {"InputConfig": "a" * 12}
    assert Record.from_store(dataclasses.asdict(record)) == record


def test_a_record_of_a_later_version_is_read() -> None:
    record = Record.from_store(OLD)
    assert Record.from_store({**dataclasses.asdict(record), "more": 1}) == record


WRONG: tuple[dict[str, Any], ...] = (
    {"key": 1},
    {"job_id": 7},
    {"inputs": []},
    {"sent_at": "now"},
    {"generation": None},
    {"max_tries": "4"},
    {"max_tries": True},
    {"delivered": "false"},
    {"refused": "no"},
    {"taken": 0},
    {"sent_at": float("nan")},
    {"sent_at": float("inf")},
    {"intent_at": -1e300},
    {"job_id": ""},
    {"key": ""},
    {"nonce": 7},
)


@pytest.mark.parametrize("wrong", ["text", [], {}, *({**OLD, **field} for field in WRONG)])
def test_what_is_no_record_is_an_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        Record.from_store(wrong)


def request(**account: str) -> SubmitRequest:
    return SubmitRequest(
        operations.submit_batch_media_producing_job,
        {
            "input_config": INPUT,
            "output_config": OUTPUT,
            "editing_config": None,
            "template_config": None,
        },
        account=account,
    )


def test_another_region_or_other_credentials_are_a_move() -> None:
    before = request(region="cn-shanghai", credentials="a").account_fingerprints()
    assert request(region="cn-shanghai", credentials="a").moved_since(before) == ()
    assert request(region="cn-beijing", credentials="a").moved_since(before) == ("region",)
    assert request(region="cn-beijing", credentials="b").moved_since(before) == (
        "credentials",
        "region",
    )


@pytest.mark.parametrize(
    ("endpoint", "region", "moved"),
    [
        ("ice.cn-shanghai.aliyuncs.com", "cn-shanghai", ()),
        ("ice-vpc.cn-shanghai.aliyuncs.com", "cn-shanghai", ()),
        ("ice.cn-shanghai.aliyuncs.com", "cn-beijing", ("region",)),
        ("127.0.0.1:8765", "127.0.0.1:8765", ()),
        ("127.0.0.1:8765", "127.0.0.1:9999", ("region",)),
    ],
)
def test_a_move_is_told_from_a_record_of_the_version_before(
    endpoint: str, region: str, moved: tuple[str, ...]
) -> None:
    old = {**OLD, "inputs": {"endpoint": fingerprint(endpoint)}}
    record = Record.from_store(old)
    assert request(region=region, credentials="a").moved_since(record.account) == moved


def test_no_secret_and_no_plain_key_is_in_the_fingerprints() -> None:
    found = repr(request(region="cn-shanghai", credentials="LTAI-plain").account_fingerprints())
    assert "LTAI" not in found
