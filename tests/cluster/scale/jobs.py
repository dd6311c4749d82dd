"""Jobs made, and ended, inside the emulator: thousands of them in seconds, and the ends of hundreds
in one moment.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from functools import partial

from airflow_ice.emulator.emulator import Emulator
from airflow_ice.emulator.local import LocalIce

AT_ONCE = 200
"""Jobs that are made while the emulator's loop does nothing else."""

INPUT = {"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["0" * 32]}]}
OUTPUT = {
    "MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/scale_{index}.mp4",
    "Count": 2,
    "Width": 320,
    "Height": 180,
    "FixedDuration": 1,
}
SUBMIT = {"InputConfig": json.dumps(INPUT), "OutputConfig": json.dumps(OUTPUT)}


def make_jobs(ice: LocalIce, count: int) -> list[str]:
    """Make jobs that run until they are ended, and return their ids."""
    made: list[str] = []
    while len(made) < count:
        made += ice._call(partial(_make, count=min(AT_ONCE, count - len(made))))
    return made


def end_jobs(ice: LocalIce, ids: Sequence[str]) -> float:
    """End jobs, all in one moment, and return it, epoch seconds."""
    return ice._call(partial(_end, ids=ids))


def _make(emulator: Emulator, *, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        made = emulator.actions.answer("SubmitBatchMediaProducingJob", SUBMIT, "http://127.0.0.1")
        ids.append(str(made["JobId"]))
    _plan(emulator, ids, None)
    return ids


def _end(emulator: Emulator, *, ids: Sequence[str]) -> float:
    _plan(emulator, ids, emulator.clock.now())
    return time.time()


def _plan(emulator: Emulator, ids: Sequence[str], ends: float | None) -> None:
    """Plan that jobs run from their creation to a moment, or for ever."""
    store = emulator.store
    with store.transaction():
        for job_id in ids:
            job = store.job(job_id)
            assert job is not None
            plan = dataclasses.replace(job.plan, begins=job.created, ends=ends)
            store._db.execute(
                "UPDATE jobs SET plan = ?, next_at = 0 WHERE job_id = ?",
                (json.dumps(dataclasses.asdict(plan)), job_id),
            )
            (sub_plan, *_) = (sub_job.plan for sub_job in store.sub_jobs(job_id))
            sub_plan = dataclasses.replace(sub_plan, begins=job.created, ends=ends)
            store._db.execute(
                "UPDATE sub_jobs SET plan = ? WHERE parent_id = ?",
                (json.dumps(dataclasses.asdict(sub_plan)), job_id),
            )
    emulator.lifecycle.settle()
