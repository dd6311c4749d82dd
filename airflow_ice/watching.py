"""Pure: which batch jobs of an account have ended, and which of these ends have been reported.

ListBatchMediaProducingJobs filters by creation time only, so a watermark alone cannot say what is
new: jobs end in any order. The ledger therefore keeps a time and two sets of ids:

* every job created before `since` is settled, except those in `open`
* of the jobs created at `since` or later, those in `settled` are settled

A job is settled when its end was reported, or needs no report. `since` moves up so that the sets
are small together: never more ids than jobs are running, and those of the last minutes, unless they
are few. A job that hangs for months costs one id, not all that ended after it.

An id leaves the ledger only when it is settled, so no end is lost; one may be reported twice (after
a crash), which consumers see by the job id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from airflow_ice.api.models import BatchMediaProducingJob, parsed
from airflow_ice.api.redaction import publishable
from airflow_ice.selection import ENDED, LOOK_BACK, Edit, Selection, UnreadableRecordError, Watched

__all__ = ["ENDED", "Ledger", "epoch", "payload"]

LIST_LAG: Final = 600.0
"""Seconds of creation time below the newest job that the watermark stays behind: the list may show
a job late. How late is documented nowhere."""

CLOCK_SKEW: Final = 60.0
"""Seconds by which the clocks of ICE and of the triggerer may differ."""

FEW_IDS: Final = 25
"""Ids up to which the list is read from the oldest job that runs: it then shows the end that costs
a Get each poll otherwise. Where an account has 100,000 jobs a year, they are those of two hours."""

MOST_IDS: Final = 1_000
"""Ids in a record. Airflow warns of values above 64 KB (`[state_store]
max_value_storage_bytes`)."""

KNOWN_FOR: Final = 366 * 86_400.0
"""Seconds after its creation at which ICE no longer knows a job (GetBatchMediaProducingJob)."""

OUR_KEY: Final = "airflow_ice"
_ADDRESSES: Final = frozenset({"NotifyAddress", "RegisterMediaNotifyAddress"})
_VERSION: Final = 1


@dataclass
class Ledger:
    """Which ends have been reported. All times are epoch seconds.

    :param since: creation time; see the module.
    :param open: jobs created before `since` that are not settled, with their creation times.
    :param settled: jobs created at `since` or later that are settled, with their creation times.
    :param started_at: of a first start whose first poll is still to come: what had ended before is
        not reported, what runs then is.
    :param watched: what it was of at the last poll; None before, and in records of older versions.
    :param polled_at: when that poll began.
    """

    since: float
    open: dict[str, float] = field(default_factory=dict)
    settled: dict[str, float] = field(default_factory=dict)
    started_at: float | None = None
    watched: Watched | None = None
    polled_at: float | None = None
    _pending: dict[str, float] = field(default_factory=dict)
    _running: dict[str, float] = field(default_factory=dict)
    _left_out: dict[str, float] = field(default_factory=dict)

    @classmethod
    def first(cls, now: float, since: float | None) -> Self:
        """Return the ledger of a first start.

        :param since: jobs created since then, and those that end from now on; None for the latter
            alone.
        """
        return cls(now - LOOK_BACK if since is None else since, started_at=since or now)

    @classmethod
    def of_record(cls, record: object) -> Self:
        """Return the ledger that was stored.

        :raises UnreadableRecordError: it is none, or of a newer version.
        """
        match record:
            case {
                "version": 1,
                "since": int() | float() as since,
                "open": dict() as open_,
                "settled": dict() as settled,
                "started_at": int() | float() | None as started_at,
                **rest,
            } if _are_times(open_) and _are_times(settled):
                ledger = cls(float(since), dict(open_), dict(settled), started_at)
                match rest.get("watched"), rest.get("polled_at"):
                    case None, None:
                        return ledger
                    case watched, (int() | float()) as polled_at:
                        ledger.watched = Watched.of_record(watched)
                        ledger.polled_at = float(polled_at)
                        return ledger
        raise UnreadableRecordError("what is stored is no record of version 1")

    def correct_start(self, at: float) -> None:
        """Move a first start back to a time, if it is later: the clock was ahead, and was set, or
        the jobs since a time that is still to come were asked for.
        """
        if self.started_at is not None and at < self.started_at:
            self.started_at, self.since = at, min(self.since, at - LOOK_BACK)

    def record(self) -> dict[str, Any]:
        """Return what is stored: plain JSON, bounded in size."""
        since, open_, settled = self.since, self.open, self.settled
        if len(open_) + len(settled) > MOST_IDS:
            # Back to the oldest unsettled job: then the newest settled ids may be left out, and a
            # restart reports those that were twice.
            since = min((since, *open_.values()))
            open_ = {}
            newest = sorted(settled, key=lambda job_id: settled[job_id])[-MOST_IDS:]
            settled = {job_id: settled[job_id] for job_id in newest}
        return {
            "version": _VERSION,
            "since": since,
            "open": dict(open_),
            "settled": dict(settled),
            "started_at": self.started_at,
            "watched": None if self.watched is None else self.watched.record(),
            "polled_at": self.polled_at,
        }

    def edit_to(self, watched: Watched) -> Edit | None:
        """Return what was edited since the last poll; None where nothing was, or none is known."""
        if self.watched in (None, watched) or self.polled_at is None:
            return None
        return Edit(self.watched, watched, self.polled_at)

    def note_listed(
        self,
        rows: Sequence[BatchMediaProducingJob],
        selection: Selection,
        now: float,
        *,
        is_whole: bool = True,
        edit: Edit | None = None,
    ) -> None:
        """Note what the list shows of the jobs created at `since` or later.

        A job that it showed before and leaves out now still counts as running, and may have ended.

        :param now: stands in for a creation time that the list leaves out.
        :param is_whole: the list goes on to the newest job.
        :param edit: of what is watched, since the last poll.
        """
        self._running |= self._pending
        self._pending = {}
        shown = {row.job_id for row in rows}
        self._left_out = {
            job_id: created
            for job_id, created in (self._running.items() if is_whole else ())
            if job_id not in shown
        }
        for row in rows:
            created = epoch(row.create_time, now)
            if not row.job_id or created < self.since or not selection.may_match(row):
                continue
            if row.job_id in self.settled or row.job_id in self.open:
                continue
            self._running.pop(row.job_id, None)
            if row.status not in ENDED:
                self._running[row.job_id] = created
            elif self._ended_before_start(row) or (edit is not None and edit.leaves_out(row)):
                self.settled[row.job_id] = created
            else:
                self._pending[row.job_id] = created

    def note_older(
        self,
        rows: Iterable[BatchMediaProducingJob],
        selection: Selection,
        now: float,
        *,
        edit: Edit | None = None,
    ) -> None:
        """Note jobs created before `since` that are not settled: those that run at a first start,
        and those that an edit adds.
        """
        for row in rows:
            created = epoch(row.create_time, now)
            if created >= self.since or not row.job_id or not selection.may_match(row):
                continue
            if edit is None or not (edit.was_watched(row) or edit.follows_end_of(row)):
                self.open.setdefault(row.job_id, created)

    def _ended_before_start(self, row: BatchMediaProducingJob) -> bool:
        ended = row.complete_time or row.modified_time
        if self.started_at is None or ended is None:
            return False
        return ended.timestamp() < self.started_at - CLOCK_SKEW

    def unconfirmed(self, running: Iterable[str]) -> list[str]:
        """Return the jobs that seem to have ended, the oldest first.

        :param running: those in `open` that a list shows as running.
        """
        still = set(running)
        found = {
            **{job_id: at for job_id, at in self.open.items() if job_id not in still},
            **self._pending,
            **self._left_out,
        }
        return sorted(found, key=lambda job_id: (found[job_id], job_id))

    def settle(self, job_id: str) -> None:
        """Note that a job was reported, or needs no report."""
        if self.open.pop(job_id, None) is None:
            for jobs in (self._pending, self._running):
                if (created := jobs.pop(job_id, None)) is not None:
                    self.settled[job_id] = created

    def created(self, job_id: str) -> float | None:
        """Return when an unsettled job was created."""
        for jobs in (self.open, self._pending, self._running):
            if job_id in jobs:
                return jobs[job_id]
        return None

    def advance(self, seen: Sequence[float], watched: Watched, polled_at: float) -> None:
        """Note that a poll is done. Move `since` to where the fewest ids are left. Where they are
        few, to where the list shows the end of most jobs.

        :param seen: creation times that the list has shown, ascending. It may show newer jobs, too,
            but no older ones.
        :param watched: what was polled.
        :param polled_at: when the poll began.
        """
        unsettled = {**self.open, **self._pending, **self._running}
        since = self._best_since(seen, sorted(unsettled.values()))
        self.open = {job_id: at for job_id, at in unsettled.items() if at < since}
        self.settled = {job_id: at for job_id, at in self.settled.items() if at >= since}
        self._running = {job_id: at for job_id, at in unsettled.items() if at >= since}
        self._pending = {}
        self.since, self.started_at = since, None
        self.watched, self.polled_at = watched, polled_at

    def _best_since(self, seen: Sequence[float], unsettled: Sequence[float]) -> float:
        if not seen:
            return self.since
        most = seen[-1] - LIST_LAG
        settled = sorted(self.settled.values())

        def cost(since: float) -> tuple[int, int, float]:
            below = bisect_left(unsettled, since)
            ids = below + len(settled) - bisect_left(settled, since)
            return max(ids, FEW_IDS), below, -since

        choices = {self.since, *(at for at in seen if self.since < at <= most)}
        if most > self.since:
            choices.add(most)
        return min(choices, key=cost)


def _are_times(ids: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(at, (int, float)) for key, at in ids.items())


def epoch(time: datetime | None, otherwise: float) -> float:
    """Return a time of the wire in epoch seconds."""
    return otherwise if time is None else time.timestamp()


def payload(
    job: BatchMediaProducingJob, *, ice_conn_id: str, region_id: str | None
) -> dict[str, Any]:
    """Return the payload of a job's event: plain JSON, ids and times, no configs, no signed URL.

    :param region_id: where the job was shown as ended; None where that is no region.
    """
    user_data = parsed(job.user_data)
    own = user_data if isinstance(user_data, dict) else {}
    left_out = {OUR_KEY, *_ADDRESSES}  # an address of a receiver may hold a secret
    found = {
        "job_id": job.job_id,
        "ice_conn_id": ice_conn_id,
        "region_id": region_id,
        "status": job.status,
        "job_type": job.job_type,
        "user_data": {key: own[key] for key in own if key not in left_out},
        "create_time": job.create_time.isoformat() if job.create_time else None,
        "complete_time": job.complete_time.isoformat() if job.complete_time else None,
    }
    return dict(publishable(found))
