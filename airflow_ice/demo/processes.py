"""The processes of a local Airflow: each one started in a group of its own, watched, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from airflow_ice.demo.errors import LocalAirflowError

STOPPED_WITHIN: Final = 15.0
"""Seconds that a process has to end by itself, before it is killed."""

ENDED_WITHIN: Final = 60.0
"""Seconds in which a process ends that was sent a signal by its name. A triggerer on a busy machine
took more than 15 to end by SIGTERM.
"""

_LAST_LINES: Final = 15


class Processes:
    """Runs `airflow ...` commands as process groups.

    :param folder: the working directory of each, and of their logs, `NAME.log`.
    :param environ: the environment of each.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="local-airflow")
        self._logs: list[IO[bytes]] = []

    def start(self, name: str, *arguments: str) -> None:
        """Start `airflow ARGUMENTS` and return at once."""
        log = self.log_of(name).open("ab")
        self._logs.append(log)
        self._spawn(name, arguments, log)

    def run_to_end(self, name: str, *arguments: str) -> None:
        """Run `airflow ARGUMENTS` and wait for its end.

        :raises LocalAirflowError: it failed.
        """
        with self.log_of(name).open("ab") as log:
            status = self._spawn(name, arguments, log).wait()
        del self._running[name]
        if status != 0:
            raise LocalAirflowError(
                f"airflow {' '.join(arguments)} failed with status {status}; "
                f"see {self.log_of(name)}"
            )

    def log_of(self, name: str) -> Path:
        """Return the file with all that a process printed."""
        return self.folder / f"{name}.log"

    def pid_of(self, name: str) -> int:
        """Return the id of a process, which is also that of its group."""
        return self._running[name].pid

    def kill(self, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End one process and its group with a signal, and return when it has ended.

        :raises TimeoutExpired: it has not, after a minute; it is then ended with the others.
        """
        process = self._running.pop(name)  # from now on it may end
        with suppress(ProcessLookupError):
            os.killpg(process.pid, with_signal)
        try:
            process.wait(timeout=ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._running[name] = process
            raise

    def check_alive(self) -> None:
        """Check that every process still runs.

        :raises LocalAirflowError: one has ended; the text shows the end of its log.
        """
        for name, process in list(self._running.items()):  # another thread may end one meanwhile
            if process.poll() is not None:
                log = self.log_of(name)
                last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
                raise LocalAirflowError(
                    f"Airflow's {name} has ended with status {process.returncode}; "
                    f"{log} ends with:\n{last}"
                )

    def stop(self) -> None:
        """End every group: with SIGTERM, and after STOPPED_WITHIN seconds with SIGKILL."""
        with suppress(KeyboardInterrupt):
            self._spawner.shutdown()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOPPED_WITHIN
        for process in self._running.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            except KeyboardInterrupt:
                deadline = 0.0  # a second Ctrl-C asks for haste, not for processes that stay
            # Whatever of the group outlived its leader.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()

    def _spawn(
        self, name: str, arguments: Sequence[str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        def spawn() -> subprocess.Popen[bytes]:
            self._running[name] = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-m", "airflow", *arguments],
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                start_new_session=True,
            )
            return self._running[name]

        # Ctrl-C interrupts the main thread only: no process is lost between its start and its note.
        return self._spawner.submit(spawn).result()
