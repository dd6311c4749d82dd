"""One paid job for one intent, on a real Airflow: lost replies, killed processes, retries, clears,
changed inputs, a failing store.

Every story is a task of tests/e2e/dags/ice_submit.py with a local ICE of its own, which counts the
jobs that would be billed. All stories are played side by side, each by a thread that does what
somebody outside would do: kill, clear, mark. The tests look at what became of them.

How many tries a deferred task took is not looked at: Airflow 3.3 sometimes adds one, when its
scheduler hears of the deferral only after the trigger has fired (apache/airflow#71172).
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.emulator.local import LocalIce
from tests.e2e.conftest import SECRET
from tests.real_airflow import RealAirflow

DAG = "ice_submit"
BATCH, HIGHLIGHTS = "SubmitBatchMediaProducingJob", "SubmitScreenMediaHighlightsJob"
MISMATCH = "IdempotentParameterMismatch"
WITHIN = 240.0
POLL = 0.5


class Board:
    """What the stories share: the task instances of the run, asked for once for all threads, and
    the one triggerer."""

    def __init__(self, airflow: RealAirflow, run_id: str) -> None:
        self.airflow = airflow
        self.run_id = run_id
        self.triggerer_is_back = Event()
        self._lock = Lock()
        self._read_at = 0.0
        self._rows: list[dict[str, Any]] = []

    def rows(self, task_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a task; more than one where it is mapped."""
        with self._lock:
            if time.monotonic() - self._read_at > POLL:
                self._rows = self.airflow.tasks(DAG, self.run_id)
                self._read_at = time.monotonic()
            return [row for row in self._rows if row["task_id"] == task_id]

    def change(self, do: Callable[[], Any]) -> None:
        """Change something, one after the other, and read anew at the next question.

        On SQLite, changes that meet in the api-server wait for each other until one of them fails,
        before it has done anything.
        """
        with self._lock:
            for last in (False, False, True):
                try:
                    do()
                    break
                except LocalAirflowError as error:
                    if last or "Database error" not in str(error):
                        raise
            self._read_at = 0.0


@dataclass
class Task:
    """One story while it is played, and after it: its task, and its local ICE."""

    name: str
    ice: LocalIce
    airflow: RealAirflow
    run_id: str
    board: Board

    @property
    def row(self) -> dict[str, Any]:
        """The task instance."""
        (row,) = self.board.rows(self.name)
        return row

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that were made, oldest first."""
        return self.ice.jobs()

    @property
    def log(self) -> str:
        """All tries, and the triggerer."""
        return self.airflow.task_log(DAG, self.run_id, self.name)

    def sent(self, action: str | None = None) -> int:
        """Return how many requests were sent, of one action or in all."""
        return len(self.ice.requests(action))

    def xcom(self, key: str = "return_value", map_index: int = -1) -> Any:
        """Return an XCom value."""
        return self.airflow.xcom(DAG, self.run_id, self.name, key, map_index)

    def record(self) -> dict[str, Any]:
        """Return what Airflow's state store holds of the submission."""
        return dict(self.airflow.api("GET", f"{self._path}/state-store/ice_submission")["value"])

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + WITHIN
        while not happened():
            if time.monotonic() > deadline:
                rows = [
                    (row["map_index"], row["state"], row["try_number"])
                    for row in self.board.rows(self.name)
                ]
                raise LocalAirflowError(
                    f"{self.name}: not {what} after {WITHIN:.0f} s; it is {rows}; "
                    f"logs in {self.airflow.home}"
                )
            time.sleep(POLL)

    def until_state(self, *states: str, tries: int = 1) -> None:
        """Wait until the task instances are in one of some states, in this try or a later one."""

        def there() -> bool:
            rows = self.board.rows(self.name)
            return bool(rows) and all(
                row["state"] in states and row["try_number"] >= tries for row in rows
            )

        self.until(there, f"{' or '.join(states)} in try {tries}")

    def until_waiting(self, state: str, tries: int = 1) -> str:
        """Wait until a try of the task waits for its job, and return the job id, which is in XCom
        by then."""
        self.until_state(state, tries=tries)
        # XCom alone would not do: Airflow leaves it as it was until the next try has begun.
        word = "reattaching" if tries > 1 else "Submitting"
        self.until(
            lambda: word in self.airflow.task_log(DAG, self.run_id, self.name, attempt=tries), word
        )
        self.until(lambda: self._shown() is not None, "showing its job id")
        return str(self._shown())

    def _shown(self) -> Any:
        try:
            return self.xcom("job_id")
        except LocalAirflowError:
            return None

    def until_ended(self, tries: int = 1) -> None:
        """Wait until the task has succeeded or failed, in this try or a later one."""
        self.until_state("success", "failed", tries=tries)

    def kill(self) -> None:
        """End the task's process, with no time to say anything."""
        os.kill(int(self.row["pid"]), signal.SIGKILL)

    def clear(self) -> None:
        """Clear the task."""
        self.board.change(lambda: self.airflow.clear(DAG, self.run_id, self.name))

    def mark_failed(self) -> None:
        """Mark the task as failed, whatever it does."""
        self.board.change(
            lambda: self.airflow.api("PATCH", self._path, json={"new_state": "failed"})
        )

    def put_record(self, value: Any) -> None:
        """Overwrite what Airflow's state store holds of the submission."""
        body = {"value": value, "expires_at": None}
        self.board.change(
            lambda: self.airflow.api("PUT", f"{self._path}/state-store/ice_submission", json=body)
        )

    def lose_record(self) -> None:
        """Discard what Airflow's state store holds of the task, as a clear is to do from Airflow
        3.4 on."""
        self.board.change(lambda: self.airflow.api("DELETE", f"{self._path}/state-store"))

    @property
    def _path(self) -> str:
        return f"dags/{DAG}/dagRuns/{self.run_id}/taskInstances/{self.name}"


def nothing(of: Any) -> None:
    """Leave it alone."""


@dataclass
class Story:
    """What goes wrong on the way to ICE, and what somebody does to the task while it goes its
    way."""

    begin: Callable[[LocalIce], None] = nothing
    act: Callable[[Task], None] = nothing
    ice: Mapping[str, Any] = field(default_factory=dict)


def fault(kind: str, **options: Any) -> Callable[[LocalIce], None]:
    return lambda ice: ice.fault(kind, **options)


def list_lags(ice: LocalIce) -> None:
    """The list does not show a job before the clock goes on."""
    ice.fault("list_lag", seconds=1)
    ice.freeze()


def reply_lost_and_list_lags(ice: LocalIce) -> None:
    ice.fault("lost_reply", action=HIGHLIGHTS)
    list_lags(ice)


def looked_for_in_vain(task: Task) -> None:
    task.until(
        lambda: task.sent("ListBatchMediaProducingJobs") >= 2 or len(task.jobs) > 1, "looked for"
    )
    task.ice.unfreeze()


def refused_as_mismatch(task: Task) -> None:
    task.until(
        lambda: any(seen["code"] == MISMATCH for seen in task.ice.requests(BATCH)), "refused"
    )
    task.ice.unfreeze()


def first_run(task: Task) -> None:
    job_id = task.until_waiting("running")
    assert [(job["job_id"], job["completed"]) for job in task.jobs] == [(job_id, None)]
    task.ice.unfreeze()


def killed_while_waiting(task: Task) -> None:
    job_id = task.until_waiting("running")
    task.kill()
    assert task.until_waiting("running", tries=2) == job_id
    assert task.jobs[0]["completed"] is None
    task.ice.unfreeze()


def triggerer_killed(task: Task) -> None:
    task.until_waiting("deferred")
    looks = task.sent()
    task.until(lambda: task.sent() > looks, "looked at by the triggerer")
    task.airflow.kill_part("triggerer")
    looks = task.sent()
    task.airflow.start_part("triggerer")
    task.until(lambda: task.sent() > looks, "looked at by the next triggerer")
    task.board.triggerer_is_back.set()
    assert task.row["state"] == "deferred"
    task.ice.unfreeze()


def cleared_while(state: str) -> Callable[[Task], None]:
    def act(task: Task) -> None:
        job_id = task.until_waiting(state)
        task.clear()
        assert task.until_waiting(state, tries=2) == job_id
        assert task.jobs[0]["completed"] is None
        task.ice.unfreeze()

    return act


def cleared_after_end(task: Task) -> None:
    task.until_ended()
    tries = task.row["try_number"]
    task.clear()
    task.until_ended(tries=tries + 1)


def cleared_without_record(task: Task) -> None:
    task.until_waiting("deferred")
    task.lose_record()
    cleared_while("deferred")(task)


def record_damaged(task: Task) -> None:
    task.until_waiting("running")
    # XCom shows the id before the record does, and that write would undo the damage.
    task.until(lambda: bool(task.record()["job_id"]), "storing its job id")
    record = task.record()
    task.put_record("no record")
    task.kill()
    task.until(lambda: "could not be read" in task.log, "refusing to guess")
    assert task.sent(HIGHLIGHTS) == 1
    task.put_record(record)
    task.until_waiting("running", tries=3)
    task.ice.unfreeze()


def marked_failed_while(state: str, words: str) -> Callable[[Task], None]:
    def act(task: Task) -> None:
        task.until_waiting(state)
        task.until(task.board.triggerer_is_back.is_set, "served by a triggerer that is left alone")
        looks = task.sent()
        task.until(lambda: task.sent() > looks, "looked at again")
        task.mark_failed()
        task.until(lambda: words in task.log, "saying that the job keeps running")
        task.clear()
        task.until_waiting(state, tries=2)
        task.ice.unfreeze()

    return act


def lost_for_good(ice: LocalIce) -> None:
    ice.fault("reset", action=HIGHLIGHTS)


def not_known_at_first(ice: LocalIce) -> None:
    ice.fault(
        "error",
        action="GetBatchMediaProducingJob",
        status=404,
        code="ResourceNotFound",
        message="Resource not found",
    )


def moved(task: Task) -> None:
    """Name the same place otherwise, between two tries: to the package, another host is another
    place."""
    task.until_state("up_for_retry")
    url = task.ice.url.replace("127.0.0.1", "localhost")
    task.board.change(
        lambda: task.airflow.api(
            "PATCH",
            f"connections/once_{task.name}",
            params={"update_mask": "host"},
            json={
                "connection_id": f"once_{task.name}",
                "conn_type": "alibaba_ice",
                "host": url,
            },
        )
    )


def moved_and_cleared(task: Task) -> None:
    moved(task)
    task.until_ended(tries=2)
    assert len(task.jobs) == 1, "a second job was paid for"
    assert "no job with its key" in task.log
    task.clear()
    task.until(lambda: len(task.jobs) == 2, "submitting a job for the clear")
    task.ice.unfreeze()


def emptied_before_retry(task: Task) -> None:
    task.until_state("up_for_retry")
    task.lose_record()


def frozen(task: Task) -> None:
    """The worker freezes between intent and send; its retry submits; then it wakes."""
    told = task.airflow.home / "frozen"
    task.until(lambda: told.exists() and len(told.read_text().split()) == 2, "frozen")
    pid, supervisor = map(int, told.read_text().split())
    try:
        task.until(lambda: process_state(pid) == "T", "frozen")
        task.until_ended(tries=2)
        assert len(task.jobs) == 1
    finally:
        os.kill(supervisor, signal.SIGCONT)
        os.kill(pid, signal.SIGCONT)
    task.until(lambda: process_state(pid) in {None, "Z"}, "ended by itself")


def process_state(pid: int) -> str | None:
    """Return the letter of a process's state, None where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


STORIES: dict[str, Story] = {
    "first_run": Story(LocalIce.freeze, first_run),
    "reply_lost_with_token": Story(fault("lost_reply", action=BATCH)),
    "every_reply_lost_with_token": Story(fault("lost_reply", action=BATCH, times=4)),
    "reply_lost": Story(fault("lost_reply", action=HIGHLIGHTS)),
    "reply_lost_and_list_lags": Story(reply_lost_and_list_lags, looked_for_in_vain),
    "reply_lost_and_told_to_fail": Story(lost_for_good, cleared_after_end),
    "refused_by_gateway": Story(fault("html", action=HIGHLIGHTS, status=403)),
    "moved_and_found": Story(act=moved),
    "moved_and_not_found": Story(list_lags, moved_and_cleared),
    "unknown_yet": Story(not_known_at_first),
    "terminated_before_send": Story(),
    "frozen_before_send": Story(act=frozen),
    "killed_before_send_with_token": Story(),
    "killed_before_send": Story(),
    "killed_before_save_with_token": Story(),
    "killed_before_save": Story(),
    "killed_before_save_and_list_lags": Story(list_lags, looked_for_in_vain),
    "killed_while_waiting": Story(LocalIce.freeze, killed_while_waiting),
    "finished_meanwhile": Story(ice={"job_seconds": 0.5}),
    "killed_after_delivery": Story(),
    "killed_at_every_step": Story(),
    "mapped": Story(),
    "triggerer_killed": Story(LocalIce.freeze, triggerer_killed),
    "failed_and_fail": Story(fault("job_fails")),
    "failed_and_resubmit": Story(fault("job_fails")),
    "failed_while_deferred_and_fail": Story(fault("job_fails"), ice={"job_seconds": 10}),
    "failed_while_deferred_and_resubmit": Story(fault("job_fails"), ice={"job_seconds": 10}),
    "cleared_while_running": Story(LocalIce.freeze, cleared_while("running")),
    "cleared_while_deferred": Story(LocalIce.freeze, cleared_while("deferred")),
    "cleared_after_too_few_videos": Story(fault("sub_jobs_fail", indexes=[1]), cleared_after_end),
    "cleared_after_failure": Story(fault("job_fails"), cleared_after_end),
    "cleared_after_delivery": Story(act=cleared_after_end),
    "cleared_after_delivery_and_resubmit": Story(act=cleared_after_end),
    "cleared_after_delivery_with_other_inputs": Story(act=cleared_after_end),
    "cleared_with_another_wish": Story(act=cleared_after_end),
    "cleared_without_record": Story(LocalIce.freeze, cleared_without_record),
    "not_waiting": Story(act=cleared_after_end),
    "changed_and_fail": Story(),
    "changed_and_reattach": Story(),
    "changed_and_resubmit": Story(),
    "changed_and_list_lags": Story(list_lags, refused_as_mismatch),
    "store_unreadable": Story(),
    "store_unwritable": Story(),
    "id_never_stored": Story(),
    "id_never_stored_with_token": Story(),
    "store_emptied_before_retry": Story(act=emptied_before_retry),
    "record_damaged": Story(LocalIce.freeze, record_damaged),
    "marked_failed_while_running": Story(
        LocalIce.freeze, marked_failed_while("running", "Task killed. Batch job")
    ),
    "marked_failed_while_deferred": Story(
        LocalIce.freeze, marked_failed_while("deferred", "was ended, by a user")
    ),
}


Told = Callable[[str], Task]


@pytest.fixture(scope="module")
def told(airflow: RealAirflow) -> Iterator[Told]:
    """All stories, begun together; called with a name, it waits for the end of that one and returns
    its task."""
    with ExitStack() as stack:
        ices = {
            name: stack.enter_context(
                LocalIce(
                    **{
                        "job_seconds": 2.0,
                        "render": False,
                        "access_key_secret": SECRET,
                        **story.ice,
                    }
                )
            )
            for name, story in STORIES.items()
        }
        for name, ice in ices.items():
            STORIES[name].begin(ice)
            fields = {
                "conn_type": "alibaba_ice",
                "host": ice.url,
                "login": ice.access_key_id,
                "password": SECRET,
            }
            airflow.api("POST", "connections", json={"connection_id": f"once_{name}", **fields})
        run_id = airflow.trigger(DAG)
        board = Board(airflow, run_id)
        tasks = {name: Task(name, ice, airflow, run_id, board) for name, ice in ices.items()}

        def tell(name: str) -> None:
            STORIES[name].act(tasks[name])
            tasks[name].until_ended()

        pool = stack.enter_context(ThreadPoolExecutor(len(STORIES)))
        ended: dict[str, Future[None]] = {name: pool.submit(tell, name) for name in STORIES}

        def wait_for(name: str) -> Task:
            ended[name].result()
            return tasks[name]

        yield wait_for


def keys(task: Task) -> list[str]:
    """Return the key that each job carries."""
    return [json.loads(job["user_data"])["airflow_ice"] for job in task.jobs]


def assert_delivered(task: Task, job: Mapping[str, Any], map_index: int = -1) -> None:
    """The task has succeeded, and what it hands on is what the job has made."""
    (row,) = [row for row in task.board.rows(task.name) if row["map_index"] == map_index]
    assert row["state"] == "success", task.log
    result = task.xcom(map_index=map_index)
    assert (result["job_id"], result["status"], result["failed"]) == (job["job_id"], "Finished", [])
    assert [media["subjob_id"] for media in result["media"]] == [
        sub["job_id"] for sub in job["sub_jobs"]
    ]
    assert len(result["media"]) == 2
    assert task.xcom("job_id", map_index) == job["job_id"]
    for key, value in (
        ("media_ids", "media_id"),
        ("media_urls", "media_url"),
        ("project_ids", "project_id"),
    ):
        assert task.xcom(key, map_index) == [sub[value] for sub in job["sub_jobs"]]
    assert task.xcom("media", map_index) == result["media"]
    assert task.xcom("failed", map_index) == []


def test_the_first_run_submits_one_job_and_shows_its_id_while_it_runs(told: Told) -> None:
    task = told("first_run")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert keys(task) == [job["client_token"]]
    record = task.record()
    assert (record["key"], record["job_id"], record["delivered"]) == (
        job["client_token"],
        job["job_id"],
        True,
    )
    assert task.row["try_number"] == 1


@pytest.mark.parametrize(
    ("name", "action", "sent"),
    [
        ("reply_lost_with_token", BATCH, 2),  # the same token returns the same job
        ("every_reply_lost_with_token", BATCH, 4),
        ("reply_lost", HIGHLIGHTS, 1),
        ("reply_lost_and_list_lags", HIGHLIGHTS, 1),
    ],
)
def test_a_lost_reply_is_made_up_for_in_the_same_try_by_token_or_search(
    told: Told, name: str, action: str, sent: int
) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(action) == sent
    assert task.row["try_number"] == 1
    assert ("found by its key" in task.log) == (name != "reply_lost_with_token")


@pytest.mark.parametrize(
    ("name", "action"),
    [("killed_before_send_with_token", BATCH), ("killed_before_send", HIGHLIGHTS)],
)
def test_a_process_killed_before_the_send_leaves_the_job_to_the_retry(
    told: Told, name: str, action: str
) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(action) == 1
    assert task.row["try_number"] == 2
    assert "submitting with the same key" in task.log


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("killed_before_save_with_token", BATCH),
        ("killed_before_save", HIGHLIGHTS),
        ("killed_before_save_and_list_lags", HIGHLIGHTS),
    ],
)
def test_a_process_killed_between_accept_and_save_loses_the_id_and_not_the_job(
    told: Told, name: str, action: str
) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(action) == 1
    assert task.row["try_number"] == 2
    assert "found by its key" in task.log


def test_a_process_killed_while_waiting_is_followed_by_one_that_reattaches(told: Told) -> None:
    task = told("killed_while_waiting")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 2
    assert "reattaching; nothing is billed again" in task.log


@pytest.mark.parametrize("name", ["finished_meanwhile", "killed_after_delivery"])
def test_a_retry_delivers_a_job_that_has_finished_meanwhile(told: Told, name: str) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert "found Finished; delivering its results; nothing is billed again" in task.log


def test_a_task_killed_at_every_step_in_turn_still_makes_one_job(told: Told) -> None:
    task = told("killed_at_every_step")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 5


def test_mapped_tasks_have_a_job_each_and_find_their_own(told: Told) -> None:
    task = told("mapped")
    assert len(task.jobs) == 2
    assert task.sent(HIGHLIGHTS) == 2
    assert len(set(keys(task))) == 2
    for job in task.jobs:
        assert_delivered(task, job, map_index=json.loads(job["user_data"])["n"])
    assert [row["try_number"] for row in task.board.rows("mapped")] == [2, 2]


def test_a_killed_triggerer_is_followed_by_one_that_waits_on(told: Told) -> None:
    task = told("triggerer_killed")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1


@pytest.mark.parametrize("name", ["failed_and_fail", "failed_while_deferred_and_fail"])
def test_a_failed_job_fails_the_task_for_good(told: Told, name: str) -> None:
    task = told(name)
    assert [job["status"] for job in task.jobs] == ["Failed"]
    assert task.row["state"] == "failed"
    assert task.row["try_number"] <= 2  # of 5
    assert "InvalidMaterial.NotFound" in task.log


@pytest.mark.parametrize("name", ["failed_and_resubmit", "failed_while_deferred_and_resubmit"])
def test_a_failed_job_is_followed_by_one_new_job_where_the_user_wants_it(
    told: Told, name: str
) -> None:
    task = told(name)
    assert [job["status"] for job in task.jobs] == ["Failed", "Finished"]
    assert_delivered(task, task.jobs[1])
    assert len(set(keys(task))) == 2


@pytest.mark.parametrize(
    "name", ["cleared_while_running", "cleared_while_deferred", "cleared_without_record"]
)
def test_a_clear_before_delivery_reattaches(told: Told, name: str) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert "reattaching" in task.log


def test_a_clear_after_too_few_videos_collects_again_and_pays_nothing(told: Told) -> None:
    task = told("cleared_after_too_few_videos")
    (job,) = task.jobs
    assert (task.row["state"], task.row["try_number"]) == ("failed", 2)
    assert [row["subjob_id"] for row in task.xcom("media")] == [job["sub_jobs"][0]["job_id"]]
    assert [row["subjob_id"] for row in task.xcom("failed")] == [job["sub_jobs"][1]["job_id"]]


@pytest.mark.parametrize(
    "name",
    [
        "cleared_after_failure",
        "cleared_after_delivery_and_resubmit",
        "cleared_after_delivery_with_other_inputs",
        "cleared_with_another_wish",
    ],
)
def test_a_clear_after_the_end_is_a_wish_for_a_new_job(told: Told, name: str) -> None:
    task = told(name)
    assert len(task.jobs) == 2
    assert_delivered(task, task.jobs[1])
    assert len(set(keys(task))) == 2
    assert task.row["try_number"] == 2


def test_a_clear_after_delivery_bills_nothing(told: Told) -> None:
    task = told("cleared_after_delivery")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.row["try_number"] == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cleared_after_delivery_with_other_inputs", "cleared, and OutputConfig changed"),
        ("cleared_with_another_wish", "wish changed from 'first' to 'second'"),
    ],
)
def test_the_log_says_why_a_clear_submits(told: Told, name: str, words: str) -> None:
    assert words in told(name).log


def test_a_task_that_does_not_wait_delivers_the_id(told: Told) -> None:
    task = told("not_waiting")
    # One try was killed, and the third follows a clear: all share a job.
    (job,) = task.jobs
    assert task.sent(BATCH) == 1
    assert task.row["try_number"] == 3
    assert task.xcom() == task.xcom("job_id") == job["job_id"]


def test_changed_inputs_fail_and_say_what_changed(told: Told) -> None:
    task = told("changed_and_fail")
    assert len(task.jobs) == 1
    assert (task.row["state"], task.row["try_number"]) == ("failed", 2)
    assert re.search(
        rf"OutputConfig changed since job {task.jobs[0]['job_id']} was submitted", task.log
    )
    assert "on_changed_inputs" in task.log


@pytest.mark.parametrize("name", ["changed_and_reattach", "changed_and_list_lags"])
def test_changed_inputs_reattach_where_the_user_wants_it(told: Told, name: str) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert "try_1_0.mp4" in task.xcom("media_urls")[0]


def test_changed_inputs_whose_job_the_list_does_not_show_yet_are_not_sent_under_a_new_key(
    told: Told,
) -> None:
    task = told("changed_and_list_lags")
    codes = {request["code"] for request in task.ice.requests(BATCH)}
    assert codes == {"", MISMATCH}


def test_changed_inputs_make_one_new_job_where_the_user_wants_it(told: Told) -> None:
    task = told("changed_and_resubmit")
    assert len(task.jobs) == 2
    assert_delivered(task, task.jobs[1])
    assert "try_2_0.mp4" in task.xcom("media_urls")[0]
    assert len(set(keys(task))) == 2


def test_a_store_that_cannot_be_read_never_means_submit(told: Told) -> None:
    task = told("store_unreadable")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 3
    assert "could not be read from Airflow's state store" in task.log


def test_a_store_that_cannot_be_written_stops_the_send_and_does_not_lose_the_job(
    told: Told,
) -> None:
    task = told("store_unwritable")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 2
    assert "At this moment nothing was sent" in task.log
    assert f"The id of batch job {job['job_id']} could not be stored; trying again" in task.log


def test_an_id_that_is_never_stored_fails_for_good_and_names_the_job(told: Told) -> None:
    task = told("id_never_stored")
    (job,) = task.jobs
    assert (task.row["state"], task.row["try_number"]) == ("failed", 1)
    assert task.xcom("job_id") == job["job_id"]
    assert f"IceBatchMediaProducingJobSensor(job_id='{job['job_id']}')" in task.log


def test_an_id_that_is_never_stored_is_got_again_by_its_token(told: Told) -> None:
    task = told("id_never_stored_with_token")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.row["try_number"] == 2


def test_a_lost_reply_is_left_to_a_person_where_the_user_wants_it(told: Told) -> None:
    task = told("reply_lost_and_told_to_fail")
    assert "Look for it in the console" in task.log
    (job,) = task.jobs  # that of the clear
    assert_delivered(task, job)
    assert task.row["try_number"] == 3


def test_a_refusal_of_a_gateway_proves_nothing_and_the_job_is_looked_for(told: Told) -> None:
    task = told("refused_by_gateway")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent("ListBatchMediaProducingJobs") >= 2
    assert task.row["try_number"] == 1


def test_a_lost_reply_is_found_where_an_edited_connection_leads(told: Told) -> None:
    task = told("moved_and_found")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert "found by its key" in task.log


def test_a_lost_reply_that_an_edited_connection_does_not_lead_to_is_left_to_a_person(
    told: Told,
) -> None:
    task = told("moved_and_not_found")
    assert len(task.jobs) == 2
    assert_delivered(task, task.jobs[1])
    assert "region changed since an earlier try" in task.log


def test_a_job_that_is_not_known_yet_is_asked_for_again(told: Told) -> None:
    task = told("unknown_yet")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert "is not known yet; looking again" in task.log


def test_a_task_that_is_told_to_stop_before_the_send_sends_nothing(told: Told) -> None:
    task = told("terminated_before_send")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 2
    assert "was stopped before its job was sent" in task.log
    assert "An earlier try created no job: submitting with the same key" in task.log


def test_a_worker_that_wakes_after_its_retry_has_submitted_sends_nothing(told: Told) -> None:
    task = told("frozen_before_send")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    assert task.row["try_number"] == 2


def test_a_retry_without_a_record_finds_its_job(told: Told) -> None:
    task = told("store_emptied_before_retry")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert "found by its key" in task.log


def test_a_damaged_record_never_means_submit(told: Told) -> None:
    task = told("record_damaged")
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1


@pytest.mark.parametrize("name", ["marked_failed_while_running", "marked_failed_while_deferred"])
def test_a_task_that_a_user_ends_says_that_its_job_goes_on(told: Told, name: str) -> None:
    task = told(name)
    (job,) = task.jobs
    assert_delivered(task, job)
    assert task.sent(HIGHLIGHTS) == 1
    (said,) = [
        line
        for line in task.log.splitlines()
        if "Task killed. Batch job" in line or "was ended, by a user" in line
    ]
    assert job["job_id"] in said
    assert "will be billed" in said or "stays billed" in said


def test_no_two_jobs_share_a_key_and_no_task_is_without_a_story(
    told: Told, airflow: RealAirflow
) -> None:
    tasks = [told(name) for name in STORIES]
    found = [key for task in tasks for key in keys(task)]
    assert len(found) == len(set(found))
    assert {row["task_id"] for row in airflow.tasks(DAG, tasks[0].run_id)} == set(STORIES)
