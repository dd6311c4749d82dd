"""What exits is started again, and nothing is left at the end, in whatever state it is."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.supervisor import Supervisor, processes_marked

FOREVER = "import time; time.sleep(1000)"
LEAVES_ITS_GROUP = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {FOREVER!r}], start_new_session=True)
{FOREVER}
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, tmp_path.name)
    yield supervisor
    supervisor.stop()


def start(supervisor: Supervisor, name: str, program: str) -> None:
    supervisor.start(name, sys.executable, "-c", program, environ=dict(os.environ))


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_killed_is_started_again_and_what_is_down_is_not(supervisor: Supervisor) -> None:
    start(supervisor, "one", FOREVER)
    first = supervisor.pid_of("one")
    supervisor.signal("one", signal.SIGKILL)
    until(lambda: supervisor.pid_of("one") != first)
    second = supervisor.pid_of("one")
    supervisor.down("one")
    start(supervisor, "two", FOREVER)
    two = supervisor.pid_of("two")
    supervisor.signal("two", signal.SIGKILL)
    until(lambda: supervisor.pid_of("two") != two)  # so it has looked at all of them
    assert supervisor.pid_of("one") == second
    supervisor.up("one")
    until(lambda: supervisor.pid_of("one") != second)


def test_nothing_is_left_of_processes_that_stand_still_or_left_their_group(
    supervisor: Supervisor,
) -> None:
    start(supervisor, "frozen", FOREVER)
    start(supervisor, "leaving", LEAVES_ITS_GROUP)
    until(lambda: len(processes_marked(supervisor.mark)) == 3)
    supervisor.signal("frozen", signal.SIGSTOP)
    supervisor.stop()
    until(lambda: processes_marked(supervisor.mark) == [])
