"""The emulator's memory: jobs, sub-jobs, client tokens and the clock, in one SQLite file.

The file outlives the process. All access is from the server's event loop, one call at a time.
Every query is answered from an index, so it costs the same among ten jobs and ten thousand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from airflow_ice.emulator.model.columns import columns, create_table, insert, load, sql
from airflow_ice.emulator.model.jobs import INIT, JobPlan, Render, SubJobPlan

STORE_FILE: Final = "ice.sqlite3"  # in the data folder
# Jobs are numbered as they are created, so a bound in time is a bound in number; the order of a
# page then needs no sorting.
_FIRST_SINCE: Final = "SELECT seq FROM jobs WHERE created >= ? ORDER BY created, seq LIMIT 1"


# A place in a stored plan, as SQL.
_RENDERS: Final = "json_extract(plan, '$.renders')"
_BEGINS: Final = "json_extract(plan, '$.begins')"
_INDEXES: Final = f"""
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (listed_status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_type ON jobs (job_type, seq);
CREATE INDEX IF NOT EXISTS jobs_by_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_next ON jobs (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS sub_jobs_by_parent ON sub_jobs (parent_id, position);
CREATE INDEX IF NOT EXISTS sub_jobs_by_project ON sub_jobs (project_id);
CREATE INDEX IF NOT EXISTS sub_jobs_by_media ON sub_jobs (media_id) WHERE media_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sub_jobs_by_object ON sub_jobs (bucket, object_key)
    WHERE bucket IS NOT NULL;
CREATE INDEX IF NOT EXISTS sub_jobs_to_render ON sub_jobs ({_BEGINS})
    WHERE {_RENDERS} = 1 AND render IS NULL;
CREATE TABLE IF NOT EXISTS client_tokens (
    action TEXT NOT NULL, token TEXT NOT NULL, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL,
    PRIMARY KEY (action, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), ahead REAL NOT NULL, frozen_at REAL);
"""


@dataclass(slots=True)
class Job:
    """A main job, a row of the table `jobs`.

    :param status: what Get shows.
    :param listed_status: what List shows; None while it is not listed.
    :param next_at: the next instant at which the clock may change it; None when it never will.
    :param seq: its number in the order of creation, given by the store.
    """

    job_id: str = field(metadata=sql("TEXT NOT NULL UNIQUE"))
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
    next_at: float | None = None
    seq: int = field(default=0, metadata=sql("INTEGER PRIMARY KEY AUTOINCREMENT"))


@dataclass(slots=True)
class SubJob:
    """A sub-job, a row of the table `sub_jobs`.

    :param duration: length of the video in seconds.
    :param materials: the title and the narration drawn for it, as JSON.
    :param timeline: what to render, as JSON; also the content of its project.
    """

    job_id: str = field(metadata=sql("TEXT NOT NULL UNIQUE"))
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
    """Which jobs to list. Times are seconds since the epoch; `after` is the last seq of the page
    before.
    """

    job_id: str | None = None
    job_type: str | None = None
    status: str | None = None
    start: float | None = None
    end: float | None = None
    ascending: bool = False
    after: int | None = None


class StoreError(OSError):
    """The file of an emulator's memory is unusable; the text names it and says what to do."""


_TABLES: Final[dict[str, type]] = {"jobs": Job, "sub_jobs": SubJob}
_TO_RENDER: Final = (
    f"SELECT * FROM sub_jobs WHERE {_RENDERS} = 1 AND render IS NULL"  # noqa: S608
    f" ORDER BY {_BEGINS}"
)


class Store:
    """The tables. Opened once, closed once.

    :raises StoreError: the file does not open as SQLite, or another version of the emulator wrote
        it.
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
        # A crash of the process loses nothing; only a crash of the machine could lose the last
        # jobs, and this is an emulator.
        self._db.execute("PRAGMA synchronous = NORMAL")
        for table, kind in _TABLES.items():
            self._db.executescript(create_table(table, kind))
            stored = {row["name"] for row in self._db.execute(f"PRAGMA table_info({table})")}
            if stored != {column.name for column in columns(kind)}:
                raise sqlite3.DatabaseError("another version of the emulator wrote it")
        self._db.executescript(_INDEXES)

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
        """Store the clock, so that no job is in the future after a restart."""
        self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (ahead, frozen_at))

    # Jobs

    def add_job(self, job: Job, sub_jobs: Sequence[SubJob], fingerprint: str | None) -> None:
        """Store a new job, its sub-jobs and its client token. Inside a transaction."""
        self._db.execute(*insert("jobs", job))
        for sub_job in sub_jobs:
            self._db.execute(*insert("sub_jobs", sub_job))
        if job.client_token is not None:
            row = (job.action, job.client_token, fingerprint, job.job_id)
            self._db.execute("INSERT INTO client_tokens VALUES (?, ?, ?, ?)", row)

    def job_of_token(self, action: str, token: str) -> tuple[str, str] | None:
        """Return the job id and the parameters' fingerprint that a client token stands for."""
        query = "SELECT job_id, fingerprint FROM client_tokens WHERE action = ? AND token = ?"
        row = self._db.execute(query, (action, token)).fetchone()
        return (row["job_id"], row["fingerprint"]) if row else None

    def job(self, job_id: str) -> Job | None:
        """Return a main job."""
        row = self._db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return load(Job, row) if row else None

    def all_jobs(self) -> list[Job]:
        """Return every main job, oldest first."""
        return [load(Job, row) for row in self._db.execute("SELECT * FROM jobs ORDER BY seq")]

    def due_jobs(self, now: float) -> list[Job]:
        """Return the main jobs that may have changed by now."""
        return [
            load(Job, row)
            for row in self._db.execute("SELECT * FROM jobs WHERE next_at <= ?", (now,))
        ]

    def next_at(self) -> float | None:
        """Return the next instant at which a job may change; None when the clock changes none."""
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
            load(Job, row)
            for row in self._db.execute(query, (*(value for _, value in terms), limit))
        ]

    def save_job_state(self, job: Job, next_at: float | None) -> None:
        """Store the state of a main job."""
        job.next_at = next_at
        self._db.execute(
            "UPDATE jobs SET status = ?, listed_status = ?, modified = ?, completed = ?,"
            " next_at = ? WHERE job_id = ?",
            (job.status, job.listed_status, job.modified, job.completed, next_at, job.job_id),
        )

    # Sub-jobs

    def sub_jobs(self, parent_id: str) -> list[SubJob]:
        """Return the sub-jobs of a main job in order."""
        rows = self._db.execute(
            "SELECT * FROM sub_jobs WHERE parent_id = ? ORDER BY position", (parent_id,)
        )
        return [load(SubJob, row) for row in rows]

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
        return [load(SubJob, row) for row in self._db.execute(_TO_RENDER)]

    def save_sub_job_state(self, sub_job: SubJob) -> None:
        """Store the state of a sub-job."""
        self._db.execute(
            "UPDATE sub_jobs SET status = ?, modified = ?, completed = ? WHERE job_id = ?",
            (sub_job.status, sub_job.modified, sub_job.completed, sub_job.job_id),
        )

    def save_render(self, job_id: str, render: Render) -> None:
        """Store how a render ended; its main job is due."""
        stored = json.dumps(asdict(render))
        with self.transaction():
            self._db.execute("UPDATE sub_jobs SET render = ? WHERE job_id = ?", (stored, job_id))
            self._db.execute(
                "UPDATE jobs SET next_at = 0"
                " WHERE job_id = (SELECT parent_id FROM sub_jobs WHERE job_id = ?)",
                (job_id,),
            )

    def _one_sub_job(self, where: str, *values: str) -> SubJob | None:
        query = f"SELECT * FROM sub_jobs WHERE {where} LIMIT 1"  # noqa: S608 - constant text
        row = self._db.execute(query, values).fetchone()
        return load(SubJob, row) if row else None


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"{path} cannot be used as an emulator's memory ({error}); move it away, or take another"
        " data folder"
    )
