"""A test that hangs is a failure that names itself, and leaves no process behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HANGS = """
import subprocess, sys
from tests.children import child

def test_that_hangs():
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with child([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        print("child", process.stdout.readline())
        process.stdout.readline()

def test_after_it():
    pass
"""


def test_a_test_that_hangs_fails_under_its_name_and_its_child_is_gone(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    options = ["-o", "timeout=1", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_hangs.py")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert "test_that_hangs - Failed: Timeout" in done.stdout, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    child = re.search(r"child (\d+)", done.stdout)
    assert child is not None
    assert not Path(f"/proc/{child[1]}").exists()
