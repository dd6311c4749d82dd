"""The emulator's memory: jobs, sub-jobs, client tokens and the clock, in one SQLite file that outlives the process.

All access is from the server's event loop, one call at a time. Every query is answered from an index, so it costs the same among
ten jobs and ten thousand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airflow_ice.emulator.model.jobs import INIT, Failure, JobPlan, Render, SubJobPlan

STORE_FILE: Final = "ice.sqlite3"  # in the data folder
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, action TEXT NOT NULL, job_type TEXT NOT NULL,
    status TEXT NOT NULL, listed_status TEXT, created REAL NOT NULL, modified REAL NOT NULL, completed REAL,
    input_config TEXT, editing_config TEXT, output_config TEXT, user_data TEXT, client_token TEXT,
    extend TEXT NOT NULL, extend_input TEXT, extend_output TEXT, plan TEXT NOT NULL, next_at REAL);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (listed_status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_type ON jobs (job_type, seq);
CREATE INDEX IF NOT EXISTS jobs_by_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_next ON jobs (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS sub_jobs (
    job_id TEXT PRIMARY KEY, parent_id TEXT NOT NULL, position INTEGER NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, modified REAL NOT NULL, completed REAL, project_id TEXT NOT NULL, media_id TEXT, media_url TEXT,
    bucket TEXT, object_key TEXT, duration REAL NOT NULL, materials TEXT NOT NULL, timeline TEXT NOT NULL,
    begins REAL NOT NULL, ends REAL, failure TEXT, renders INTEGER NOT NULL, rendered_at REAL, render_failure TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sub_jobs_by_parent ON sub_jobs (parent_id, position);
CREATE INDEX IF NOT EXISTS sub_jobs_by_project ON sub_jobs (project_id);
CREATE INDEX IF NOT EXISTS sub_jobs_by_media ON sub_jobs (media_id) WHERE media_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sub_jobs_by_object ON sub_jobs (bucket, object_key) WHERE bucket IS NOT NULL;
CREATE INDEX IF NOT EXISTS sub_jobs_to_render ON sub_jobs (begins) WHERE renders = 1 AND rendered_at IS NULL;
CREATE TABLE IF NOT EXISTS client_tokens (
    action TEXT NOT NULL, token TEXT NOT NULL, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL,
    PRIMARY KEY (action, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), ahead REAL NOT NULL, frozen_at REAL);
"""

# Jobs are numbered as they are created, so a bound in time is a bound in number; the order of a page then needs no sorting.
_FIRST_SINCE: Final = "SELECT seq FROM jobs WHERE created >= ? ORDER BY created, seq LIMIT 1"


@dataclass(slots=True)
class Job:
    """A main job as it is stored. `status` is what Get shows, `listed_status` what List shows (None: not yet listed)."""

    job_id: str
    action: str
    job_type: str
    created: float
    plan: JobPlan
    input_config: str | None = None
    editing_config: str | None = None
    output_config: str | None = None
    user_data: str | None = None
    client_token: str | None = None
    extend: str = "{}"
    extend_input: str | None = None
    extend_output: str | None = None
    status: str = INIT
    listed_status: str | None = INIT
    modified: float = 0.0
    completed: float | None = None
    seq: int = 0


@dataclass(slots=True)
class SubJob:
    """A sub-job as it is stored.

    :param duration: length of the video in seconds.
    :param materials: the title and the narration drawn for it, as JSON.
    :param timeline: what to render, as JSON; also the content of its project.
    """

    job_id: str
    parent_id: str
    position: int
    created: float
    plan: SubJobPlan
    project_id: str
    duration: float
    materials: str
    timeline: str
    media_id: str | None = None
    media_url: str | None = None
    bucket: str | None = None
    object_key: str | None = None
    status: str = INIT
    modified: float = 0.0
    completed: float | None = None
    render: Render | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list. Times are seconds since the epoch; `after` is the last seq of the page before."""

    job_id: str | None = None
    job_type: str | None = None
    status: str | None = None
    start: float | None = None
    end: float | None = None
    ascending: bool = False
    after: int | None = None


class StoreError(OSError):
    """The file of an emulator's memory cannot be used; the text names it and says what to do."""


class Store:
    """The tables. Opened once, closed once.

    :raises StoreError: the file is no SQLite file of an emulator, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise _unusable(path, error) from error

    def _prepare(self) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        # A crash of the process loses nothing; only a crash of the machine could lose the last jobs, and this is an emulator.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen at once or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # The clock

    def load_clock(self) -> tuple[float, float | None]:
        """Return by how many seconds the clock is ahead, and where it stands still, if it does."""
        row = self._db.execute("SELECT ahead, frozen_at FROM clock").fetchone()
        return (row["ahead"], row["frozen_at"]) if row else (0.0, None)

    def save_clock(self, ahead: float, frozen_at: float | None) -> None:
        """Keep the clock, so that jobs made in an advanced time are not in the future after a restart."""
        self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (ahead, frozen_at))

    # Jobs

    def add_job(self, job: Job, sub_jobs: Sequence[SubJob], fingerprint: str | None) -> None:
        """Store a new job, its sub-jobs and its client token. Inside a transaction."""
        columns = (
            "job_id, action, job_type, status, listed_status, created, modified, completed, input_config, editing_config, "
            "output_config, user_data, client_token, extend, extend_input, extend_output, plan"
        )
        values = (
            *(
                job.job_id,
                job.action,
                job.job_type,
                job.status,
                job.listed_status,
                job.created,
                job.modified,
                job.completed,
            ),
            *(
                job.input_config,
                job.editing_config,
                job.output_config,
                job.user_data,
                job.client_token,
            ),
            *(job.extend, job.extend_input, job.extend_output, json.dumps(job.plan.to_dict())),
        )
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO jobs ({columns}) VALUES ({marks})", values)  # noqa: S608 - constant text
        self._db.executemany(
            "INSERT INTO sub_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            [_sub_job_values(sub_job) for sub_job in sub_jobs],
        )
        if job.client_token is not None:
            row = (job.action, job.client_token, fingerprint, job.job_id)
            self._db.execute("INSERT INTO client_tokens VALUES (?, ?, ?, ?)", row)

    def job_of_token(self, action: str, token: str) -> tuple[str, str] | None:
        """Return the job id and the fingerprint of the parameters that a client token stands for."""
        query = "SELECT job_id, fingerprint FROM client_tokens WHERE action = ? AND token = ?"
        row = self._db.execute(query, (action, token)).fetchone()
        return (row["job_id"], row["fingerprint"]) if row else None

    def job(self, job_id: str) -> Job | None:
        """Return a main job."""
        row = self._db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return _job(row) if row else None

    def all_jobs(self) -> list[Job]:
        """Return every main job, oldest first."""
        return [_job(row) for row in self._db.execute("SELECT * FROM jobs ORDER BY seq")]

    def due_jobs(self, now: float) -> list[Job]:
        """Return the main jobs that may have changed by now."""
        return [
            _job(row) for row in self._db.execute("SELECT * FROM jobs WHERE next_at <= ?", (now,))
        ]

    def next_at(self) -> float | None:
        """Return the next instant at which some job may change; None when the clock changes none."""
        value: float | None = self._db.execute(
            "SELECT min(next_at) FROM jobs WHERE next_at IS NOT NULL"
        ).fetchone()[0]
        return value

    def list_jobs(self, wanted: Filter, limit: int) -> list[Job]:
        """Return a page of main jobs in the order of their creation, as List shows them."""
        terms: list[tuple[str, Any]] = []
        if wanted.job_id is not None:
            terms.append(("job_id = ?", wanted.job_id))
        if wanted.job_type is not None:
            terms.append(("job_type = ?", wanted.job_type))
        if wanted.status is not None:
            terms.append(("listed_status = ?", wanted.status))
        if wanted.start is not None:
            terms.append((f"seq >= ({_FIRST_SINCE})", wanted.start))
        if wanted.end is not None:
            terms.append((f"seq < coalesce(({_FIRST_SINCE}), 1 << 62)", wanted.end))
        if wanted.after is not None:
            terms.append(("seq > ?" if wanted.ascending else "seq < ?", wanted.after))
        where = " AND ".join(["listed_status IS NOT NULL", *(term for term, _ in terms)])
        order = "ASC" if wanted.ascending else "DESC"
        # The text is made of the constants above; every value is bound.
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
        return [
            _job(row) for row in self._db.execute(query, (*(value for _, value in terms), limit))
        ]

    def save_job_state(self, job: Job, next_at: float | None) -> None:
        """Keep where a main job stands."""
        self._db.execute(
            "UPDATE jobs SET status = ?, listed_status = ?, modified = ?, completed = ?, next_at = ? WHERE job_id = ?",
            (job.status, job.listed_status, job.modified, job.completed, next_at, job.job_id),
        )

    # Sub-jobs

    def sub_jobs(self, parent_id: str) -> list[SubJob]:
        """Return the sub-jobs of a main job in order."""
        rows = self._db.execute(
            "SELECT * FROM sub_jobs WHERE parent_id = ? ORDER BY position", (parent_id,)
        )
        return [_sub_job(row) for row in rows]

    def sub_job(self, job_id: str) -> SubJob | None:
        """Return a sub-job by its own id."""
        return self._one_sub_job("job_id = ?", job_id)

    def sub_job_of_project(self, project_id: str) -> SubJob | None:
        """Return the sub-job that made a project."""
        return self._one_sub_job("project_id = ?", project_id)

    def sub_job_of_media(self, media_id: str) -> SubJob | None:
        """Return the sub-job that made a media asset."""
        return self._one_sub_job("media_id = ?", media_id)

    def sub_job_of_object(self, bucket: str, key: str) -> SubJob | None:
        """Return the sub-job that last wrote an object."""
        return self._one_sub_job("bucket = ? AND object_key = ? ORDER BY created DESC", bucket, key)

    def sub_jobs_to_render(self) -> list[SubJob]:
        """Return the sub-jobs whose files are still to be made, the first to be due first."""
        query = "SELECT * FROM sub_jobs WHERE renders = 1 AND rendered_at IS NULL ORDER BY begins"
        return [_sub_job(row) for row in self._db.execute(query)]

    def save_sub_job_state(self, sub_job: SubJob) -> None:
        """Keep where a sub-job stands."""
        self._db.execute(
            "UPDATE sub_jobs SET status = ?, modified = ?, completed = ? WHERE job_id = ?",
            (sub_job.status, sub_job.modified, sub_job.completed, sub_job.job_id),
        )

    def save_render(self, job_id: str, render: Render) -> None:
        """Keep how a render ended; its main job is due for a look."""
        failure = _failure_text(render.failure)
        with self.transaction():
            self._db.execute(
                "UPDATE sub_jobs SET rendered_at = ?, render_failure = ? WHERE job_id = ?",
                (render.done_at, failure, job_id),
            )
            parent = "SELECT parent_id FROM sub_jobs WHERE job_id = ?"
            self._db.execute(f"UPDATE jobs SET next_at = 0 WHERE job_id = ({parent})", (job_id,))  # noqa: S608 - constant text

    def _one_sub_job(self, where: str, *values: str) -> SubJob | None:
        row = self._db.execute(f"SELECT * FROM sub_jobs WHERE {where} LIMIT 1", values).fetchone()  # noqa: S608 - constant text
        return _sub_job(row) if row else None


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"{path} cannot be used as an emulator's memory ({error}); move it away, or take another data folder"
    )


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in row.keys() if name not in ("plan", "next_at")}  # noqa: SIM118 - a Row is no dict
    return Job(plan=JobPlan.from_dict(json.loads(row["plan"])), **fields)


def _sub_job(row: sqlite3.Row) -> SubJob:
    apart = ("begins", "ends", "failure", "renders", "rendered_at", "render_failure")
    fields = {name: row[name] for name in row.keys() if name not in apart}  # noqa: SIM118 - a Row is no dict
    plan = SubJobPlan(row["begins"], row["ends"], _failure(row["failure"]), bool(row["renders"]))
    render = (
        None
        if row["rendered_at"] is None
        else Render(row["rendered_at"], _failure(row["render_failure"]))
    )
    return SubJob(plan=plan, render=render, **fields)


def _sub_job_values(sub_job: SubJob) -> tuple[Any, ...]:
    plan = sub_job.plan
    return (
        *(
            sub_job.job_id,
            sub_job.parent_id,
            sub_job.position,
            sub_job.status,
            sub_job.created,
            sub_job.modified,
            sub_job.completed,
        ),
        *(
            sub_job.project_id,
            sub_job.media_id,
            sub_job.media_url,
            sub_job.bucket,
            sub_job.object_key,
            sub_job.duration,
        ),
        *(
            sub_job.materials,
            sub_job.timeline,
            plan.begins,
            plan.ends,
            _failure_text(plan.failure),
            int(plan.renders),
        ),
    )


def _failure_text(failure: Failure | None) -> str | None:
    return None if failure is None else json.dumps([failure.code, failure.message])


def _failure(text: str | None) -> Failure | None:
    return None if text is None else Failure(*json.loads(text))
