"""What Airflow's state store holds of a submission; records of an earlier version are read, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

_OLD_NAMES: Final = {"refused": "no_job_created", "taken": "job_exists"}
"""What an earlier version called two of the fields."""

_OLD_ACCOUNT: Final = ("ice_conn_id", "region_id", "endpoint")
"""What an earlier version kept among the inputs, of which only the endpoint says where a job is."""


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
        right = (
            isinstance(record.key, str)
            and isinstance(record.generation, int)
            and isinstance(record.max_tries, int)
            and isinstance(record.inputs, Mapping)
            and isinstance(record.account, Mapping)
            and isinstance(record.wish, str)
            and isinstance(record.job_id, str | None)
            and isinstance(record.clear_count, int | None)
            and all(isinstance(at, int | float) for at in (record.intent_at, record.sent_at))
        )
        if not right:
            raise TypeError("a field of another type")
        return record
