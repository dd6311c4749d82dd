"""The script of docs/how-to/test-your-dag.md, run as a reader does: beside the DAGs, with Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.unit.test_docs import DOCS, ROOT, WHOLE_RUN, python_blocks


def test_the_script_of_the_page_runs_a_dag_against_the_emulator(tmp_path: Path) -> None:
    (script,) = [
        block for block in python_blocks(DOCS / "how-to/test-your-dag.md") if WHOLE_RUN in block
    ]
    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags/ice_some_failed.py", dags)
    (dags / "try_it.py").write_text(script)
    inherited = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    environ = {**inherited, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments], env=environ, cwd=dags, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("-m", "airflow", "db", "migrate")
    run("try_it.py")
