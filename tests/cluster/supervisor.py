"""The processes of a cluster: each in a group of its own, started again when it exits, and none
left when the cluster ends.

Schedulers, dag-processor and triggerers exit when PostgreSQL restarts: production has systemd or
Kubernetes for that, and this cluster has this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "ICE_TEST_CLUSTER"
"""A variable in the environment of every process, by which those that left their group are found.
"""

POLL_SECONDS = 0.25
STOPPED_WITHIN = 10.0


@dataclass
class Program:
    """What one process runs."""

    command: Sequence[str]
    environ: Mapping[str, str]
    user: int | None = None
    """Run as this user and group; PostgreSQL refuses to be root."""
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    """False while a fault keeps it down."""
    starts: list[float] = field(default_factory=list)


class Supervisor:
    """Runs programs, and starts again what exits.

    :param folder: of their logs, `NAME.log`, and their working directory.
    :param mark: the value of MARK for all of them.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.mark = mark
        self.programs: dict[str, Program] = {}
        self._lock = threading.RLock()
        self._over = threading.Event()
        # SIGINT reaches the main thread only: no process is lost between its start and its note.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="cluster")
        self._watch = threading.Thread(target=self._restart_exited, daemon=True)
        self._watch.start()

    def start(
        self, name: str, *command: str, environ: Mapping[str, str], user: int | None = None
    ) -> None:
        """Start a program and return at once."""
        with self._lock:
            self.programs[name] = Program(command, {**environ, MARK: self.mark}, user)
            self._spawn(name)

    def log_of(self, name: str) -> Path:
        """Return the file with all that a program printed, over all its starts."""
        return self.folder / f"{name}.log"

    def pid_of(self, name: str) -> int:
        """Return the id of a program's process, which is that of its group."""
        process = self.programs[name].process
        assert process is not None
        return process.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program's whole group. It starts again where it exits of it."""
        with self._lock, suppress(ProcessLookupError):
            os.killpg(self.pid_of(name), number)

    def down(self, name: str) -> None:
        """Kill a program's group and keep it down."""
        with self._lock:
            self.programs[name].wanted = False
            self.signal(name, signal.SIGKILL)

    def up(self, name: str) -> None:
        """Let a program that is down start again."""
        self.programs[name].wanted = True

    def stop(self) -> None:
        """End everything, whatever state it is in; safe to call twice."""
        self._over.set()
        self._watch.join(POLL_SECONDS * 20)
        with suppress(KeyboardInterrupt):
            self._spawner.shutdown()
        for number in (signal.SIGTERM, signal.SIGCONT):
            for name, program in self.programs.items():
                if program.process is not None:
                    self.signal(name, number)
        deadline = time.monotonic() + STOPPED_WITHIN
        running = [program.process for program in self.programs.values() if program.process]
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            try:
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                break  # a second Ctrl-C asks for haste, not for processes that stay
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pid in processes_marked(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.programs.clear()

    def _restart_exited(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            with self._lock:
                for name, program in self.programs.items():
                    exited = program.process is not None and program.process.poll() is not None
                    if exited and program.wanted and not self._over.is_set():
                        with suppress(ProcessLookupError, PermissionError):
                            # What of the group outlived its leader would hold its port.
                            os.killpg(self.pid_of(name), signal.SIGKILL)
                        self._spawn(name)

    def _spawn(self, name: str) -> None:
        program = self.programs[name]

        def spawn() -> None:
            with self.log_of(name).open("ab") as log:
                program.process = subprocess.Popen(
                    program.command,
                    env=program.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    start_new_session=True,
                    user=program.user,
                    group=program.user,
                    extra_groups=None if program.user is None else [],
                )
            program.starts.append(time.monotonic())

        self._spawner.submit(spawn).result()


def processes_marked(mark: str) -> list[int]:
    """Return the processes of this machine that carry a cluster's mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
