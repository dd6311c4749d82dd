"""Which jobs a run works on, of those that an asset's events report: each job is one run's own.

Airflow 3.3 starts a run for the first event of several, and its later ones wait for the event after
them (apache/airflow#56050, #70970). A watcher reports a job twice after a crash. So a run asks for
the events itself, and claims each job in the state store of the asset. Four things hold:

* **Only an end is claimed.** A watcher has confirmed it. Whoever may create asset events may name
  any job at any time, so what another event names is claimed once Get shows that it has ended: an
  event that is forged or early hides no end. Where ICE cannot be asked, the next run asks again,
  for a day.
* **Clocks may differ.** Airflow knows events by their time only, and each triggerer stamps its own.
  So a run asks from `SLOW_CLOCK` before the events that earlier runs have seen.
* **A run maps what it claims**, so each run has a limit. Jobs above it stay, and the next run
  begins with them: the time up to which everything is claimed is stored.
* **A run keeps its jobs.** What it is about to claim is stored before it claims any, and what it
  has claimed after that: a try that fails at any point is continued by the next one, and a run that
  is cleared has the same jobs.

**Scope.** A claim belongs to one DAG on one asset. A job that the watchers of two assets report is
claimed once for each asset. A DAG under a new `dag_id` claims again what was reported in the hour
before its first event.

**To work on a job again**, clear its run, or the mapped task of it. To free a job whose run was
deleted, delete the key `ice_job:DAG_ID:JOB_ID` from the state store of the asset
(`DELETE /api/v2/assets/ASSET_ID/state-store/KEY`), and create an event of the asset that names the
job. A run keeps its jobs, whatever becomes of that key, as long as `ice_run:DAG_ID:RUN_ID` exists.

**Rows stay.** Airflow never deletes a key of an asset's state store: its metadata database gets one
row for each job, and one for each run that has jobs.

**What remains.** The state store has no compare-and-set, so two runs may get one job in one case: a
try that Airflow has given up (the last one, or its run was marked failed) freezes in the
milliseconds between reading a claim and writing it, and wakes up once another run has claimed that
job and has ended its task. The other run keeps the job; the run of the frozen try gets it as well
if it is cleared. Airflow refuses what an earlier try writes, and that task's process ends with its
next heartbeat.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import conf

from airflow_ice.api.errors import IceError, IceJobNotFoundError
from airflow_ice.exceptions import (
    IceSubmissionRecordError,
    NonRetryableIceInputError,
    poll_error,
)
from airflow_ice.hooks import IceHook
from airflow_ice.watching import ENDED

if TYPE_CHECKING:
    from airflow.sdk import Asset

log = logging.getLogger(__name__)

SLOW_CLOCK: Final = timedelta(hours=1)
"""By which the time of an event may be before those that are stored already. ICE refuses a
triggerer whose clock is off by 15 minutes (InvalidTimeStamp.Expired), so two that report differ by
30 at most."""

PAGE: Final = 1_000
"""Events that are asked for at a time."""

ASKED_AGAIN_FOR: Final = timedelta(days=1)
"""How long runs ask again about a job that ICE could not be asked about. Each of them reads the
events since then, so a connection that stays broken must not keep them for ever."""

ASKED_IN_VAIN: Final = 3
"""Errors of one connection after which a run asks it no more: each may take a minute, and other
runs wait."""

_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

Job = dict[str, Any]
"""`{"job_id", "ice_conn_id", "region_id"}`"""


def claim_ended_jobs(
    asset: Asset, context: Mapping[str, Any], *, most: int | None = None
) -> list[Job]:
    """Return the jobs that an asset's events report and no other run of this DAG works on, each
    once.

    Call it in a task with `inlets=[asset]`, of a DAG that is scheduled on the asset, and with
    `max_active_tis_per_dag=1`: two tasks that claim at once would claim the same job. For the same
    reason only one task of a DAG may call it. The claims stay in the state store of the asset, one
    key a job and one a run, so that a run that is retried or cleared gets its own jobs again.

    :param asset: whose watcher has an `IceBatchJobEventTrigger`.
    :param context: of the task.
    :param most: jobs of one run, within `[core] max_map_length`, which is the default: for a run
        that maps the videos of its jobs. The next run, whenever it comes, begins with the rest.
    :return: for each job `{"job_id", "ice_conn_id", "region_id"}`. A run that no event has started
        gets what earlier runs have left.
    :raises NonRetryableIceInputError: the task may run twice at once, or `most` is below 1.
    :raises IceError: ICE could not be asked about a job of the events that have started this run,
        and there is no other job. A retry asks again.
    :raises Exception: a claim could not be read or stored. A retry goes on from there.
    """
    limit = _checked_limit(most, context["task"])
    claims = _Claims(context["asset_state_store"][asset], context["dag"].dag_id, context["run_id"])
    if (record := claims.recorded()) is not None:
        jobs, are_claimed = record
        return jobs if are_claimed else claims.claim(jobs)
    triggering = list(context["triggering_asset_events"].get(asset, ()))
    last = claims.claimed_until()
    starts = [*(event.timestamp for event in triggering), *([] if last is None else [last])]
    if not starts:
        return []
    if last is None:
        # Should this run fail for good, the next one begins here.
        claims.note_claimed_until(last := min(starts))
    unclaimed = _Unclaimed(claims, limit)
    unclaimed.collect(_events(context["inlet_events"][asset], min(starts) - SLOW_CLOCK), asset.name)
    own = claims.claim(unclaimed.jobs.values())
    if unclaimed.newest is not None:
        claims.note_claimed_until(unclaimed.claimed_until(unclaimed.newest, last))
    log.info(
        "This run works on %d batch jobs; other runs have %d%s.",
        *(len(own), len(unclaimed.of_others)),
        "; more are left for the next run" if unclaimed.has_leftovers else "",
    )
    if not unclaimed.jobs:
        unclaimed.raise_for(triggering)
    return own


def _checked_limit(most: int | None, task: Any) -> int:
    """Return how many jobs this run may claim.

    :raises NonRetryableIceInputError: none, or the task may run twice at once.
    """
    if task.max_active_tis_per_dag != 1:
        raise NonRetryableIceInputError(
            "max_active_tis_per_dag",
            str(task.max_active_tis_per_dag),
            f"must be 1 for task {task.task_id}: two runs that claim at once would work on the "
            "same jobs",
            advice="To this task, add max_active_tis_per_dag=1: "
            "@task(inlets=[asset], max_active_tis_per_dag=1, retries=3).",
        )
    mapped = conf.getint("core", "max_map_length", fallback=1024)
    if most is not None and most < 1:
        raise NonRetryableIceInputError("most", most, "must be at least 1")
    return mapped if most is None else min(most, mapped)


def claim_key(dag_id: str, job_id: str) -> str:
    """Return the key in the state store of the asset that holds the run of a job."""
    return f"ice_job:{dag_id}:{job_id}"


def run_key(dag_id: str, run_id: str) -> str:
    """Return the key in the state store of the asset that holds the jobs of a run."""
    return f"ice_run:{dag_id}:{run_id}"


def until_key(dag_id: str) -> str:
    """Return the key in the state store of the asset that holds the time up to which the jobs of
    all events are claimed.
    """
    return f"ice_claimed_until:{dag_id}"


@dataclass(frozen=True)
class _Claims:
    """The claims of a DAG, as one of its runs makes them.

    :param store: the state store of the asset.
    """

    store: Any
    dag_id: str
    run_id: str

    def owner(self, job_id: str) -> str | None:
        """Return the run that works on a job."""
        run_id = self.store.get(claim_key(self.dag_id, job_id))
        return None if run_id is None else str(run_id)

    def recorded(self) -> tuple[list[Job], bool] | None:
        """Return the jobs that an earlier try of this run has claimed or was about to claim, and
        whether it has claimed them all.
        """
        record = self.store.get(run_key(self.dag_id, self.run_id))
        if record is None:
            return None
        jobs = [
            {"job_id": job_id, "ice_conn_id": ice_conn_id, "region_id": region_id}
            for ice_conn_id, region_id, job_ids in record["jobs"]
            for job_id in job_ids
        ]
        return jobs, record["are_claimed"]

    def _record(self, jobs: Iterable[Job], *, are_claimed: bool) -> None:
        """Store the jobs that this run has claimed or is about to: 36 KB where there are 1024."""
        ids_of: dict[tuple[str, str | None], list[str]] = {}
        for job in jobs:
            ids_of.setdefault((job["ice_conn_id"], job["region_id"]), []).append(job["job_id"])
        listed = [[ice_conn_id, region_id, ids] for (ice_conn_id, region_id), ids in ids_of.items()]
        value = {"jobs": listed, "are_claimed": are_claimed}
        self.store.set(run_key(self.dag_id, self.run_id), value)

    def claim(self, jobs: Collection[Job]) -> list[Job]:
        """Claim jobs, and return those that are this run's own."""
        if not jobs:
            return []
        self._record(jobs, are_claimed=False)
        for job in jobs:
            if self.owner(job["job_id"]) is None:
                self.store.set(claim_key(self.dag_id, job["job_id"]), self.run_id)
        own = [job for job in jobs if self._is_own(job["job_id"])]
        self._record(own, are_claimed=True)
        return own

    def _is_own(self, job_id: str) -> bool:
        """Read a claim again: a try that Airflow has given up may have overwritten it meanwhile."""
        owner = self.owner(job_id)
        if owner is None:
            raise IceSubmissionRecordError(
                f"The claim of batch job {job_id} was stored, and Airflow's state store does not "
                "have it",
                job_id=job_id,
            )
        return owner == self.run_id

    def claimed_until(self) -> datetime | None:
        """Return the time up to which the jobs of all events are claimed."""
        stored = self.store.get(until_key(self.dag_id))
        return None if stored is None else datetime.fromisoformat(stored)

    def note_claimed_until(self, until: datetime) -> None:
        """Store up to which time the jobs of all events are claimed."""
        # A clock that was ahead, and was set, must not hide what comes after.
        self.store.set(until_key(self.dag_id), min(until, datetime.now(UTC)).isoformat())


@dataclass
class _Unclaimed:
    """The jobs that have ended and that no other run works on.

    :param most: of them.
    :param newest: the time of the newest event that was read, or of the first one that is left.
    :param unchecked: the jobs that ICE could not be asked about: since when, and why.
    """

    claims: _Claims
    most: int
    jobs: dict[str, Job] = field(default_factory=dict)
    of_others: set[str] = field(default_factory=set)
    newest: datetime | None = None
    has_leftovers: bool = False
    unchecked: dict[str, tuple[datetime, IceError]] = field(default_factory=dict)
    _asked: set[tuple[Any, ...]] = field(default_factory=set)
    _errors_of: dict[tuple[Any, ...], list[IceError]] = field(default_factory=dict)

    def collect(self, events: Iterator[Any], asset_name: str) -> None:
        """Collect the jobs of events, the oldest first."""
        for event in events:
            job = _job_of(event)
            if job is None:
                log.warning("An event of %s names no batch job: left out.", asset_name)
            elif self._is_unclaimed(job) and (
                _is_of_a_watcher(event) or self._has_ended(job, event)
            ):
                if len(self.jobs) == self.most:
                    self.newest, self.has_leftovers = event.timestamp, True
                    return
                self.jobs[job["job_id"]] = job
                self.unchecked.pop(job["job_id"], None)
            self.newest = event.timestamp

    def claimed_until(self, newest: datetime, last: datetime) -> datetime:
        """Return the time up to which everything is claimed once the jobs are, and log what ICE
        could not be asked about.

        :param last: what earlier runs have stored.
        """
        until = newest = newest if self.has_leftovers else max(newest, last)
        for job_id, (timestamp, why) in self.unchecked.items():
            if timestamp < newest - ASKED_AGAIN_FOR:
                then = "it is given up after a day, until another event reports it"
            else:
                then = "the next run asks again"
                until = min(until, timestamp)
            log.warning(
                "ICE could not be asked whether batch job %s has ended; %s: %s", job_id, then, why
            )
        return until

    def raise_for(self, events: Iterable[Any]) -> None:
        """Raise why ICE could not be asked about a job that one of some events names."""
        for job in map(_job_of, events):
            if job is not None and job["job_id"] in self.unchecked:
                raise self.unchecked[job["job_id"]][1]

    def _is_unclaimed(self, job: Job) -> bool:
        if job["job_id"] in self.jobs or job["job_id"] in self.of_others:
            return False
        if self.claims.owner(job["job_id"]) in {None, self.claims.run_id}:
            return True
        self.of_others.add(job["job_id"])
        return False

    def _has_ended(self, job: Job, event: Any) -> bool:
        """Ask ICE about a job that an event names which is not of a watcher."""
        asked = tuple(job.values())
        if asked in self._asked:
            return False
        self._asked.add(asked)
        try:
            status = self._status(job)
        except IceJobNotFoundError as cause:
            answer = f"that there is no such job: {cause}"
        except IceError as cause:
            self.unchecked.setdefault(job["job_id"], (event.timestamp, cause))
            return False
        else:
            if status in ENDED:
                return True
            answer = f"that it is {status}"
        log.warning(
            "An event says that batch job %s has ended; ICE says %s. It is left out until another "
            "event reports it, and runs of the next hour ask again.",
            *(job["job_id"], answer),
        )
        return False

    def _status(self, job: Job) -> str | None:
        """Return the status of a job.

        :raises IceError: whatever goes wrong. Whoever may create events chooses what is asked, and
            by which connection: no other event must suffer from that.
        """
        ice_conn_id, region_id = job["ice_conn_id"], job["region_id"]
        errors = self._errors_of.setdefault((ice_conn_id, region_id), [])
        if len(errors) >= ASKED_IN_VAIN:
            raise errors[-1]
        try:
            return (
                IceHook(ice_conn_id, region_id).get_batch_media_producing_job(job["job_id"]).status
            )
        except IceJobNotFoundError:
            raise
        except Exception as cause:  # noqa: BLE001 - whatever it is, other events go on
            error = poll_error(cause)
            if error.transient:
                errors.append(error)
            raise error from error.__cause__


def _events(events: Any, since: datetime) -> Iterator[Any]:
    """Return an asset's events from a time on, the oldest first. Some come twice.

    :param events: Airflow's accessor of the inlet.
    """
    most = PAGE
    while True:
        page = list(events.after(since.isoformat()).limit(most))
        yield from page
        if len(page) < most:
            return
        if page[-1].timestamp > since:
            since = page[-1].timestamp
        else:
            most *= 2


def _is_of_a_watcher(event: Any) -> bool:
    """Tell whether a trigger has made an event. Airflow marks those of its REST API whatever they
    say of themselves (airflow/api_fastapi/core_api/datamodels/assets.py, CreateAssetEventsBody).
    """
    return (
        event.extra.get("from_trigger") is True
        and "from_rest_api" not in event.extra
        and event.source_task_id is None
    )


def _job_of(event: Any) -> Job | None:
    payload = (event.extra or {}).get("payload")
    match payload:
        case {
            "job_id": str(job_id),
            "ice_conn_id": str(ice_conn_id),
            "region_id": str() | None as region_id,
        } if ice_conn_id and _JOB_ID.fullmatch(job_id):
            return {"job_id": job_id, "ice_conn_id": ice_conn_id, "region_id": region_id}
    return None
