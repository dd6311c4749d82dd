"""Which task a page is about, and what that task left in XCom for it. Pure.

A request names a DAG, a run, a task and a map index, and nothing more. Which job, which connection
and which videos that means is what the task itself pushed: `ice_job` (results.py) or, for a task
that asks a person, `ice_pick` (picking.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class TaskKey:
    """One task instance. map_index: -1 for one that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True)
class Account:
    """Where to ask: a connection and a region. region_id: None for the connection's own."""

    ice_conn_id: str
    region_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobRef:
    """A batch job, and where to ask for it."""

    job_id: str
    account: Account


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that a person may pick.

    :param option: what it is called in Airflow's own form, and in the answer.
    :param row: the row, as `IceGetBatchMediaProducingJobOperator` pushes it under `media`.
    """

    option: str
    row: Mapping[str, Any]

    @property
    def media_id(self) -> str | None:
        """The media; None for a preview."""
        return _text(self.row.get("media_id"))

    @property
    def project_id(self) -> str | None:
        """The editing project."""
        return _text(self.row.get("project_id"))


@dataclass(frozen=True, slots=True)
class PickRef:
    """A question to a person.

    :param none: the option that picks nothing.
    :param body: more text for the person; None for none.
    """

    account: Account
    candidates: tuple[Candidate, ...]
    none: str | None = None
    body: str | None = None


def map_index_of(text: str) -> int:
    """Return the map index that a path names.

    Airflow's page leaves `{MAP_INDEX}` as it stands where the task is not mapped.
    """
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else -1


def job_of(value: object) -> JobRef | None:
    """Read an `ice_job` entry; None where it is none."""
    if not isinstance(value, Mapping):
        return None
    job_id, account = _text(value.get("job_id")), _account(value)
    return JobRef(job_id, account) if job_id and account else None


def pick_of(value: object) -> PickRef | None:
    """Read an `ice_pick` entry; None where it is none."""
    if not isinstance(value, Mapping) or not (account := _account(value)):
        return None
    found = value.get("rows")
    rows = found if isinstance(found, list) else []
    candidates = tuple(
        Candidate(option, {name: held for name, held in row.items() if name != "option"})
        for row in rows
        if isinstance(row, Mapping) and (option := _text(row.get("option")))
    )
    if not candidates:
        return None
    return PickRef(account, candidates, _text(value.get("none")), _text(value.get("body")))


def _account(value: Mapping[str, Any]) -> Account | None:
    ice_conn_id = _text(value.get("ice_conn_id"))
    return Account(ice_conn_id, _text(value.get("region_id"))) if ice_conn_id else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
