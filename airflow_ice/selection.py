"""Pure: which batch jobs a watcher reports, and what it owes after an edit of that.

A ledger (`watching`) knows the jobs that matched when they were listed. After an edit, others match
as well: those that run, or ended after the last poll before the edit, are owed whatever their age.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from airflow_ice.api.models import BatchMediaProducingJob, parsed

ENDED: Final = ("Finished", "Failed")

LOOK_BACK: Final = 86_400.0
"""Seconds before the first start, or an edit, from which jobs are listed. Older ones are found if
they run."""

EDIT_MARGIN: Final = 1_800.0
"""Seconds before the last poll at which a job may have ended that an edit adds. Two triggerers that
ICE accepts differ by 30 minutes at most: it refuses one whose clock is off by 15."""


class UnreadableRecordError(ValueError):
    """What is stored is no record of this version."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which ended jobs are reported.

    :param statuses: of `Finished` and `Failed`.
    :param job_types: None for all.
    :param user_data_contains: a text that UserData contains, or fields that it has with these
        values; None for all.
    """

    statuses: tuple[str, ...] = ENDED
    job_types: tuple[str, ...] | None = None
    user_data_contains: str | Mapping[str, Any] | None = None

    def as_text(self) -> str:
        """Return a text that no other selection has."""
        parts = [self.statuses, self.job_types, self.user_data_contains]
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))

    def may_match(self, job: BatchMediaProducingJob) -> bool:
        """Tell whether a job, as a list shows it, may be reported once it has ended.

        What a list leaves out is decided by Get.
        """
        return self._type_matches(job, unknown=True) and self._data_matches(job, unknown=True)

    def matches(self, job: BatchMediaProducingJob) -> bool:
        """Tell whether an ended job, as Get shows it, is reported."""
        return (
            job.status in self.statuses
            and self._type_matches(job, unknown=False)
            and self._data_matches(job, unknown=False)
        )

    def _type_matches(self, job: BatchMediaProducingJob, *, unknown: bool) -> bool:
        if self.job_types is None:
            return True
        return unknown if job.job_type is None else job.job_type in self.job_types

    def _data_matches(self, job: BatchMediaProducingJob, *, unknown: bool) -> bool:
        wanted = self.user_data_contains
        if wanted is None:
            return True
        if job.user_data is None:
            return unknown
        if isinstance(wanted, str):
            return wanted in job.user_data
        found = parsed(job.user_data)
        return isinstance(found, dict) and all(
            name in found and found[name] == value for name, value in wanted.items()
        )


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched.

    :param region_id: where the connection leads to; None where that is no region.
    """

    ice_conn_id: str
    region_id: str | None
    selection: Selection

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        selection = self.selection
        return {
            "ice_conn_id": self.ice_conn_id,
            "region_id": self.region_id,
            "statuses": list(selection.statuses),
            "job_types": None if selection.job_types is None else list(selection.job_types),
            "user_data_contains": selection.user_data_contains,
        }

    @classmethod
    def of_record(cls, record: object) -> Self:
        """Return what `record` has made plain JSON.

        :raises UnreadableRecordError: it is something else.
        """
        match record:
            case {
                "ice_conn_id": str(ice_conn_id),
                "region_id": str() | None as region_id,
                "statuses": list(statuses),
                "job_types": list() | None as job_types,
                "user_data_contains": str() | dict() | None as contained,
            }:
                types = None if job_types is None else tuple(job_types)
                return cls(ice_conn_id, region_id, Selection(tuple(statuses), types, contained))
        raise UnreadableRecordError("what is stored does not say what was watched")


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of what is watched, under a name that is kept.

    :param polled_at: when the last poll before it began, epoch seconds.
    """

    before: Watched
    after: Watched
    polled_at: float

    @property
    def changes_place(self) -> bool:
        """Whether jobs of another connection or region are watched."""
        here = (self.before.ice_conn_id, self.before.region_id)
        return here != (self.after.ice_conn_id, self.after.region_id)

    @property
    def list_from(self) -> float:
        """The creation time from which jobs are listed once."""
        return self.polled_at - EDIT_MARGIN - LOOK_BACK

    def was_watched(self, job: BatchMediaProducingJob) -> bool:
        """Tell whether the ledger knows a job that was listed before the edit."""
        return not self.changes_place and self.before.selection.may_match(job)

    def leaves_out(self, job: BatchMediaProducingJob) -> bool:
        """Tell whether a job needs no report: it ended before the edit, and was not watched then.

        Another connection may lead to the same account, where its end is still owed.
        """
        is_same_region = self.before.region_id == self.after.region_id
        return self.follows_end_of(job) and not (
            is_same_region and self.before.selection.may_match(job)
        )

    def follows_end_of(self, job: BatchMediaProducingJob) -> bool:
        """Tell whether a job had ended before the edit."""
        ended = (job.complete_time or job.modified_time) if job.status in ENDED else None
        return ended is not None and ended.timestamp() < self.polled_at - EDIT_MARGIN
