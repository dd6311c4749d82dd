"""README is short, and what it shows and counts is so."""

from __future__ import annotations

from tests.unit.test_docs import ROOT, frame, python_blocks
from tests.unit.test_submission_decide import rows_of_the_documentation

README = ROOT / "README.md"


def test_it_is_read_in_a_few_minutes() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 100
    assert [line for line in lines if len(line) > 100] == []


def test_the_dag_in_ten_lines_is_the_chain_that_it_shows() -> None:
    (block,) = python_blocks(README)
    assert len(block.splitlines()) <= 10
    names = frame()
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - it is our own README
    dag = names["submit"].dag
    assert {task_id: task.downstream_task_ids for task_id, task in dag.task_dict.items()} == {
        "submit": {"wait"},
        "wait": {"collect"},
        "collect": {"publish"},
        "publish": set(),
    }


def test_the_situations_are_counted() -> None:
    rows = rows_of_the_documentation()
    assert f"[{len(rows)} situations](docs/how-to/submit-exactly-once.md" in README.read_text()
