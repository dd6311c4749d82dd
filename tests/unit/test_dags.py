"""The example DAGs import cleanly: no warning, no error, nothing heavy; and each says in the UI
what it is for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import conf

from airflow_ice.triggers import IceBatchJobEventTrigger
from tests.unit.test_imports import HEAVY

DAGS = Path(__file__).resolve().parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_dag_imports_without_a_warning(file: Path) -> None:
    bag = DagBag(file)
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert list(bag.dags) == [file.stem]
    assert bag.dags[file.stem].doc_md
    assert ast.get_docstring(ast.parse(file.read_text()))


def test_what_publishes_whatever_ends_works_on_each_job_once() -> None:
    """`claim_ended_jobs` asks for an inlet, and for one task at a time, over all runs."""
    [dag] = DagBag(DAGS / "ice_publish_whatever_ends.py").dags.values()
    ended_jobs: Any = dag.get_task("ended_jobs")
    assert dag.max_active_runs > 1
    assert ended_jobs.max_active_tis_per_dag == 1
    assert ended_jobs.retries > 0
    [asset] = ended_jobs.inlets
    condition: Any = dag.timetable.asset_condition
    assert list(condition.objects) == [asset]
    [watcher] = asset.watchers
    assert isinstance(watcher.trigger, IceBatchJobEventTrigger)
    assert watcher.trigger.name


def test_what_publishes_whatever_ends_maps_what_airflow_maps() -> None:
    """A list of more than [core] max_map_length videos fails, and again when it is cleared."""
    source = (DAGS / "ice_publish_whatever_ends.py").read_text()
    [most] = re.findall(r"^MOST_JOBS = (\d+)", source, re.MULTILINE)
    assert int(most) * 20 <= conf.getint("core", "max_map_length")
    assert "claim_ended_jobs(ended, context, most=MOST_JOBS)" in source


def test_what_publishes_whatever_ends_leaves_out_previews_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    [dag] = DagBag(DAGS / "ice_publish_whatever_ends.py").dags.values()
    videos: Any = dag.get_task("videos")
    connection = {"ice_conn_id": "ice_default", "region_id": None}
    jobs = [{"job_id": "a", **connection}, {"job_id": "b", **connection}]
    url = "http://b.oss-cn-shanghai.aliyuncs.com/1.mp4"
    video = {"index": 0, "job_id": "a", "media_id": "m", "media_url": url, "project_id": "p"}
    without_asset = {**video, "index": 1, "media_id": None}
    preview = {**video, "job_id": "b", "media_id": None, "media_url": None}
    unexplained = {**preview, "project_id": None}
    batches = [[video, without_asset], [preview, unexplained]]
    mapped = videos.python_callable(jobs, batches)
    # Whatever is good and no preview: its task fails where it cannot be published.
    assert [each["media"] for each in mapped] == [video, without_asset, unexplained]
    assert all(each.items() >= connection.items() for each in mapped)
    assert "number 0 of job b is a preview" in caplog.text


def test_no_example_dag_loads_anything_heavy() -> None:
    code = """
import runpy, sys
*files, heavy = sys.argv[1:]
for file in files:
    runpy.run_path(file)
print([name for name in sys.modules if name.startswith(tuple(heavy.split(",")))])
"""
    command = [sys.executable, "-c", code, *map(str, FILES), ",".join(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
