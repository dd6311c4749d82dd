"""Who wishes for a job, and the key that names the wish.

A key travels with the job: inside UserData always, as ClientToken where the action has one. It is
`{key_prefix}-{32 hex digits}`. The prefix is a hash of what identifies the task instance and that
no clear resets, and of the operator's argument `wish`. The rest is a hash over the prefix, a
generation that grows with each deliberate resubmit, and a nonce that is drawn once and stored
before anything is sent. So two deployments that share an account, and a DAG run that is deleted and
made again under its old id, have different keys even where all ids and dates are equal.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Wish:
    """One task instance in one of its tries, as far as it says which job is meant.

    :param map_index: -1 for a task that is not mapped.
    :param try_number: from 1; Airflow never resets it.
    :param max_tries: of the task instance: tries so far plus `retries` at the last clear, or
        `retries`.
    :param retries: of the task, as the DAG says now.
    :param run_after: of the DAG run, ISO 8601 UTC. So is logical_date, empty where the run has
        none.
    :param clear_number: how often a task of the DAG run was cleared.
    :param name: the operator's argument `wish`.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    retries: int
    run_after: str = ""
    logical_date: str = ""
    clear_number: int = 0
    name: str = ""

    @classmethod
    def of(cls, task_instance: Any, dag_run: Any, retries: int, name: str = "") -> Self:
        """Return the wish of a running task.

        :param task_instance: `context["ti"]`. dag_run: `context["dag_run"]`.
        :param retries: the task's. name: its argument `wish`.
        """
        return cls(
            dag_id=task_instance.dag_id,
            run_id=task_instance.run_id,
            task_id=task_instance.task_id,
            map_index=-1 if task_instance.map_index is None else task_instance.map_index,
            try_number=task_instance.try_number,
            max_tries=task_instance.max_tries,
            retries=retries,
            run_after=_utc(dag_run.run_after),
            logical_date=_utc(dag_run.logical_date),
            clear_number=dag_run.clear_number or 0,
            name=name,
        )

    @property
    def key_prefix(self) -> str:
        """What all keys of this task instance and wish begin with: 16 hex digits.

        It leaves out the run's `start_date`: a clear of a run that has ended sets that to None or
        to now (airflow/models/taskinstance.py, `clear_task_instances`); `run_after` and
        `logical_date` stay.
        """
        ids = (self.dag_id, self.run_id, self.task_id, str(self.map_index))
        # Without a name as before there were names, so that jobs of an earlier version are found.
        named = (self.name,) if self.name else ()
        return hash_of(*ids, self.run_after, self.logical_date, *named)[:16]

    def key(self, generation: int, nonce: str) -> str:
        """Return the key of a generation: 49 characters of [0-9a-f-]; a ClientToken may have 64
        ASCII characters.
        """
        digest = hash_of(self.key_prefix, str(generation), nonce)[:32]
        return f"{self.key_prefix}-{digest}"

    @property
    def may_have_sent(self) -> bool:
        """Whether an earlier try of this task instance can have submitted a job of which no record
        is left.

        Not in its first try, whatever was cleared in the run: so a first try never adopts the job
        of another deployment.
        """
        return self.try_number > 1

    @property
    def is_first_after_clear(self) -> bool:
        """Whether this is the first try after a clear of this very task.

        A clear sets `max_tries` to the tries so far plus the task's retries and raises the run's
        `clear_number` (`clear_task_instances`). A clear of another task of the run raises
        `clear_number`, too, but then the tries that this task has left are not all of its retries.
        """
        return self.clear_number > 0 and self.max_tries - (self.try_number - 1) == self.retries

    @property
    def was_ever_cleared(self) -> bool:
        """Whether this task instance was cleared at any time, as far as that shows without a
        record.
        """
        return self.is_first_after_clear or (
            self.clear_number > 0 and self.max_tries != self.retries
        )

    def is_cleared_since(self, max_tries: int, clear_count: int | None) -> bool:
        """Tell whether this task instance was cleared after a record was written.

        `max_tries` changes with a clear only, never with a retry; it stays the same if the task's
        retries were lowered by as many as there were tries since the last clear, and then
        `clear_number` tells. A clear of a running task is none here: Airflow restarts it with the
        same `max_tries`, which makes it a retry.

        :param max_tries: when the record was written.
        :param clear_count: the run's `clear_number` then; None for a record that does not have it.
        """
        if self.max_tries != max_tries:
            return True
        return (
            clear_count is not None
            and self.clear_number > clear_count
            and self.is_first_after_clear
        )


def new_nonce() -> str:
    """Return 32 random hex digits."""
    return secrets.token_hex(16)


def hash_of(*parts: str) -> str:
    """Return the SHA-256 of some texts, in hex digits."""
    # NUL-joined: with a separator that ids may contain, two task instances could share a key, and
    # so a job.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _utc(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()
