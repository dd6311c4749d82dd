"""Reads and writes the record of a submission in Airflow's state store.

Whatever a store raises is an IceSubmissionRecordError: it never means that there is no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, Protocol

from airflow_ice.exceptions import IceSubmissionRecordError, IceTryReplacedError
from airflow_ice.submission.record import Record

RECORD: Final = "ice_submission"
"""The key in the state store. Not a name with `token` in it: Airflow's masker would blank it in the
rendered view.
"""


class StateStore(Protocol):
    """Airflow's `context["task_state_store"]`, as far as it is used here."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value, or the default where there is none."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Store a value."""


class RecordStore:
    """Reads and writes the record of one task instance.

    :param store: the task instance's state store.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def read(self) -> Record | None:
        """Return the record; None where there is none, or where another try has replaced this one.

        Airflow answers a read by a replaced try like a read of a key that is not there. That is
        safe: whatever is to be sent is written first, and a write by a replaced try is refused.

        :raises IceSubmissionRecordError: it could not be read.
        """
        try:
            stored = self._store.get(RECORD)
            return None if stored is None else Record.from_store(stored)
        except Exception as cause:  # a backend may raise anything; it never means "no record"
            raise IceSubmissionRecordError(
                "The record of this task's submission could not be read from Airflow's state "
                f"store: {type(cause).__name__}: {cause}",
                consequence="Nothing was submitted by this try; a job of an earlier try, if "
                "there is one, keeps running and stays billed.",
            ) from cause

    def write(self, record: Record, consequence: str) -> None:
        """Store the record, never to expire.

        :param consequence: what it means for the paid job if this fails.
        :raises IceTryReplacedError: another try has replaced this one.
        :raises IceSubmissionRecordError: it could not be written.
        """
        # Exported lazily, and missing in its stub.
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        try:
            self._store.set(RECORD, asdict(record), retention=NEVER_EXPIRE)
        except Exception as cause:  # a backend may raise anything; nothing is stored then
            if _is_replaced(cause):
                raise IceTryReplacedError(consequence=f"At this moment {consequence}.") from cause
            raise IceSubmissionRecordError(
                "The record of this task's submission could not be written to Airflow's state "
                f"store: {type(cause).__name__}: {cause}",
                consequence=f"At this moment {consequence}. A retry finds by its key whatever was "
                "created.",
                job_id=record.job_id,
            ) from cause


def _is_replaced(cause: Exception) -> bool:
    """Tell whether a write was refused because the task instance has another try by now.

    Each retry and each clear gives the task instance a new id (airflow/models/taskinstance.py,
    `prepare_db_for_next_try`), and the execution API answers 404 to a write under an id that is
    gone (execution_api/routes/task_state_store.py); the supervisor passes that on as an
    ErrorResponse with the status code (execution_time/supervisor.py, `handle_requests`).
    """
    detail = getattr(getattr(cause, "error", None), "detail", None)
    return isinstance(detail, Mapping) and detail.get("status_code") == 404
