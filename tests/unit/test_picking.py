"""IcePickOperator: rows in, a question, rows out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from airflow_ice.exceptions import NonRetryableIceInputError
from airflow_ice.links import LINK_KEY
from airflow_ice.picking import NONE, WHERE, IcePickOperator, options

ROWS = [
    {
        "index": 3,
        "subjob_id": "s3",
        "media_id": None,
        "media_url": None,
        "project_id": "p3",
        "duration": 12.5,
        "job_id": "j",
    },
    {
        "index": 4,
        "subjob_id": "s4",
        "media_id": None,
        "media_url": None,
        "project_id": "p4",
        "duration": None,
        "job_id": "j",
    },
]


class Task:
    """A task instance that remembers its XCom."""

    id, dag_id, run_id, task_id, map_index = "1", "d", "r", "pick", -1

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        return self.xcom.get(key)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow is told to ask."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **question: found.update(question))
    return found


def ask(operator: IcePickOperator, task: Task) -> None:
    with pytest.raises(TaskAwaitingInput):
        operator.execute({"ti": task, "task_instance": task})  # type: ignore[typeddict-item]


def answered(operator: IcePickOperator, task: Task, *chosen: str) -> Any:
    event = {
        "chosen_options": list(chosen),
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "alice"},
    }
    return operator.execute_complete({"ti": task}, event)  # type: ignore[typeddict-item]


def test_a_form_reads_video_and_length() -> None:
    assert options(ROWS) == ["video 3, 12.5 s", "video 4"]
    assert options([{"index": 0, "duration": 30.0}, {}]) == ["video 0, 30 s", "video 1"]


def test_no_two_options_are_the_same() -> None:
    assert options([ROWS[0], ROWS[0]]) == ["video 3, 12.5 s (1)", "video 3, 12.5 s (2)"]


def test_it_asks_with_the_rows_and_tells_the_page_first(asked: dict[str, Any]) -> None:
    task = Task()
    ask(IcePickOperator(task_id="pick", media=ROWS, subject="Which?"), task)
    assert asked["options"] == ["video 3, 12.5 s", "video 4", NONE]
    assert asked["multiple"] is True
    assert asked["body"] == WHERE
    told = task.xcom["ice_pick"]
    assert [row["option"] for row in told["rows"]] == ["video 3, 12.5 s", "video 4"]
    assert told["ice_conn_id"] == "ice_default"
    assert told["body"] is None
    assert task.xcom[LINK_KEY].endswith("/dags/d/runs/r/tasks/pick/plugin/ice-videos")


@pytest.mark.parametrize(
    ("returns", "value"),
    [("media", [ROWS[1]]), ("project_ids", ["p4"]), ("media_ids", [])],
)
def test_it_returns_the_rows_that_were_picked(
    asked: dict[str, Any], returns: Any, value: Any
) -> None:
    task = Task()
    operator = IcePickOperator(task_id="pick", media=ROWS, returns=returns)
    ask(operator, task)
    # Another process goes on, and the rows may have changed meanwhile.
    later = IcePickOperator(task_id="pick", media=[], returns=returns)
    assert answered(later, task, "video 4") == value
    assert task.xcom["project_ids"] == ["p4"]
    assert task.xcom["picked_by"]["name"] == "alice"


def test_who_picks_none_skips_the_task(asked: dict[str, Any]) -> None:
    task = Task()
    operator = IcePickOperator(task_id="pick", media=ROWS)
    ask(operator, task)
    with pytest.raises(AirflowSkipException):
        answered(operator, task, NONE)
    assert task.xcom["picked_by"]["name"] == "alice"
    assert "media" not in task.xcom


def test_an_answer_that_names_no_row_is_refused(asked: dict[str, Any]) -> None:
    task = Task()
    operator = IcePickOperator(task_id="pick", media=ROWS)
    ask(operator, task)
    with pytest.raises(ValueError, match="not in"):
        answered(operator, task, "video 5")


@pytest.mark.parametrize(
    ("defaults", "options"),
    [("all", ["video 3, 12.5 s", "video 4"]), ("none", [NONE]), (None, None)],
)
def test_a_time_out_picks_what_was_asked_for(
    asked: dict[str, Any], defaults: Any, options: Any
) -> None:
    ask(IcePickOperator(task_id="pick", media=ROWS, defaults=defaults), Task())
    assert asked["defaults"] == options


@pytest.mark.parametrize("media", [[], "rows", [1], None])
def test_without_rows_nobody_is_asked(asked: dict[str, Any], media: Any) -> None:
    operator = IcePickOperator(task_id="pick", media=media)
    with pytest.raises(NonRetryableIceInputError):
        operator.execute({"ti": Task()})  # type: ignore[typeddict-item]
    assert not asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"returns": "urls"},
        {"defaults": "some"},
        {"defaults": "all", "multiple": False},
        {"options": ["a"]},
    ],
)
def test_arguments_are_checked_when_the_file_is_parsed(wrong: dict[str, Any]) -> None:
    with pytest.raises(NonRetryableIceInputError):
        IcePickOperator(task_id="pick", media=ROWS, **wrong)


def test_a_signed_url_in_a_row_is_not_pushed(asked: dict[str, Any]) -> None:
    task = Task()
    url = "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?Expires=1&OSSAccessKeyId=i&Signature=s"
    ask(IcePickOperator(task_id="pick", media=[{**ROWS[0], "media_url": url}]), task)
    assert "Signature" not in str(task.xcom)
