"""What README shows works as it stands: its Python runs, its commands are taken, its JSON is a connection, its links lead to files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_ice import hooks, operators, sensors
from airflow_ice.cli import _parser
from airflow_ice.emulator.local import LocalIce

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def frame() -> dict[str, Any]:
    """Return the names that README says a reader has: those of its imports, and a publishing task of the reader's own."""

    @task
    def publish(media: dict[str, Any]) -> str:
        return str(media["media_id"])

    public = {
        name: value
        for module in (operators, sensors, hooks)
        for name, value in vars(module).items()
        if name[0] != "_"
    }
    return {**public, "DAG": DAG, "LocalIce": LocalIce, "publish": publish}


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_python_block_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec"), frame())  # noqa: S102 - it is our own README


def test_the_dag_in_ten_lines_is_the_chain_that_it_shows() -> None:
    (block,) = [block for block in BLOCKS if "with DAG" in block]
    assert len(block.splitlines()) <= 10
    names = frame()
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    dag = names["submit"].dag
    assert {task_id: task.downstream_task_ids for task_id, task in dag.task_dict.items()} == {
        "submit": {"wait"},
        "wait": {"collect"},
        "collect": {"publish"},
        "publish": set(),
    }


@pytest.mark.parametrize("line", re.findall(r"^ {4}(airflow-ice .*)$", README, re.MULTILINE))
def test_a_command_is_taken(line: str) -> None:
    _parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", re.findall(r"^ *export (AIRFLOW_CONN_.*)$", README, re.MULTILINE))
def test_a_connection_in_the_environment_is_taken(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (setting,) = shlex.split(line)
    monkeypatch.setenv(*setting.split("=", 1))
    with hooks.IceHook().get_conn() as client:
        assert client is not None


def test_the_link_targets_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).is_file()] == []
