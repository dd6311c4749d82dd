"""What Airflow's state store holds of a submission; records of an earlier version are read, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

_OLD_NAMES: Final = {"refused": "no_job_created", "taken": "job_exists"}
"""What an earlier version called two of the fields."""

_OLD_ACCOUNT: Final = ("ice_conn_id", "region_id", "endpoint")
"""What an earlier version kept among the inputs, of which only the endpoint says where a job is."""


_YEAR_5000: Final = 95_617_584_000.0
"""Epoch seconds beyond which a stored time is damaged."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a submission.

    :param key: names the job. generation: grows with each deliberate resubmit, so that no key names
        two wishes.
    :param max_tries: of the task instance when this was written.
    :param inputs: field name to a short hash of what was sent.
    :param intent_at: epoch seconds of the first intent. sent_at: of the last intent to send, or of
        its failure.
    :param nonce: what the next generation's key is made with, too; empty in records of an earlier
        version.
    :param clear_count: `dag_run.clear_number` when this was written; None in records of an earlier
        version.
    :param wish: the operator's argument of that name; empty in records of an earlier version.
    :param account: fact to a short hash of it: where the job was submitted and who pays.
    :param no_job_created: no send so far can have created a job.
    :param job_exists: ICE says that the key has created a job, which was not found yet.
    :param job_id: the job; None while the reply is outstanding, or was lost.
    :param delivered: the task has handed its result on.
    """

    key: str
    generation: int
    max_tries: int
    inputs: Mapping[str, str]
    intent_at: float
    sent_at: float
    nonce: str = ""
    clear_count: int | None = None
    wish: str = ""
    account: Mapping[str, str] = field(default_factory=dict)
    no_job_created: bool = False
    job_exists: bool = False
    job_id: str | None = None
    delivered: bool = False

    @classmethod
    def from_store(cls, stored: Any) -> Self:
        """Read what `asdict` wrote, now or in an earlier version; unknown fields of a newer version
        are ignored.

        :raises TypeError: it is no record.
        """
        if not isinstance(stored, Mapping):
            raise TypeError(f"{type(stored).__name__} instead of an object")
        fields = {_OLD_NAMES.get(name, name): value for name, value in stored.items()}
        if isinstance(inputs := fields.get("inputs"), Mapping) and "account" not in fields:
            fields["inputs"] = {
                name: value for name, value in inputs.items() if name not in _OLD_ACCOUNT
            }
            fields["account"] = {"endpoint": inputs.get("endpoint")}
        record = cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})
        flags = (record.no_job_created, record.job_exists, record.delivered)
        right = (
            isinstance(record.key, str)
            and record.key != ""  # no job carries it, so each search would find none
            and isinstance(record.nonce, str)
            and _is_whole(record.generation)
            and _is_whole(record.max_tries)
            and (record.clear_count is None or _is_whole(record.clear_count))
            and isinstance(record.inputs, Mapping)
            and isinstance(record.account, Mapping)
            and isinstance(record.wish, str)
            and isinstance(record.job_id, str | None)
            and record.job_id != ""
            # A text would count as true: "delivered" and "no job created" let a job be paid for.
            and all(isinstance(flag, bool) for flag in flags)
            and all(_is_time(at) for at in (record.intent_at, record.sent_at))
        )
        if not right:
            raise TypeError("a field of another type, or out of its range")
        return record


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: object) -> bool:
    """Tell whether a value is epoch seconds; NaN and infinities would be waited for without end."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= cast("float", value) < _YEAR_5000
