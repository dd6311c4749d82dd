"""The emulator's memory: the dataclasses are its tables, and its queries are answered from
indexes."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.emulator.model import store as tables
from airflow_ice.emulator.model.columns import columns
from airflow_ice.emulator.model.jobs import Failure, JobPlan, Render, SubJobPlan
from airflow_ice.emulator.model.store import Job, Store, StoreError, SubJob

FAILURE = Failure("code", "message")
JOB_PLAN = JobPlan(1.0, None, FAILURE, hidden_as_null=True, odd_status="x", odd_until=3.0)
NESTED = {
    (Job, "plan"): JOB_PLAN,
    (SubJob, "plan"): SubJobPlan(1.0, None, FAILURE, renders=True),
    (SubJob, "render"): Render(5.0, FAILURE),
}


def filled(kind: Any, **given: Any) -> Any:
    """Return an item of which no field has its default."""
    values: dict[str, Any] = {}
    for number, column in enumerate(columns(kind), start=1):
        plain = {str: f"{column.name} {number}", float: number + 0.5, int: number, bool: True}
        values[column.name] = NESTED.get((kind, column.name)) or plain[column.kind]
    return kind(**{**values, **given})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "ice.sqlite3")) as opened:
        yield opened


def test_every_field_of_a_job_and_of_a_sub_job_is_kept(store: Store) -> None:
    job = filled(Job, job_id="j", client_token=None, seq=1)
    sub_job = filled(SubJob, job_id="s", parent_id="j")
    with store.transaction():
        store.add_job(job, [sub_job], None)
    assert store.job("j") == job
    assert store.sub_job("s") == sub_job
    for item, kind in ((job, Job), (sub_job, SubJob)):
        for field in dataclasses.fields(kind):
            if field.name not in ("seq", "client_token"):
                assert getattr(item, field.name) != field.default, field.name


def test_none_and_false_are_kept(store: Store) -> None:
    job = Job("j", "a", "t", 1.0, JobPlan(1.0, 2.0))
    sub_job = SubJob("s", "j", 0, 1.0, SubJobPlan(1.0, 2.0), "p", 3.0, "{}", "{}")
    with store.transaction():
        store.add_job(job, [sub_job], None)
    assert store.job("j") == dataclasses.replace(job, seq=1)
    assert store.sub_job("s") == sub_job


def test_a_file_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ice.sqlite3"
    Store(path).close()

    @dataclasses.dataclass
    class Later:
        job_id: str
        new: str

    monkeypatch.setitem(tables._TABLES, "sub_jobs", Later)
    with pytest.raises(StoreError, match=r"another version .* move it away"):
        Store(path)


def test_what_is_still_to_be_rendered_is_found_by_an_index(store: Store, tmp_path: Path) -> None:
    plan = SubJobPlan(1.0, 2.0, renders=True)
    waiting = SubJob("s", "j", 0, 1.0, plan, "p", 3.0, "{}", "{}")
    silent = dataclasses.replace(waiting, job_id="t", plan=SubJobPlan(1.0, 2.0))
    with store.transaction():
        store.add_job(Job("j", "a", "t", 1.0, JobPlan(1.0, 2.0)), [waiting, silent], None)
    assert [sub_job.job_id for sub_job in store.sub_jobs_to_render()] == ["s"]
    with closing(sqlite3.connect(tmp_path / "ice.sqlite3")) as database:
        steps = database.execute(f"EXPLAIN QUERY PLAN {tables._TO_RENDER}").fetchall()
    assert "sub_jobs_to_render" in str(steps)
    store.save_render("s", Render(4.0))
    assert store.sub_jobs_to_render() == []
    found = store.sub_job("s")
    assert found is not None
    assert found.render == Render(4.0)
