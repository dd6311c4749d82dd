"""So many lines a second for the logs of all waits, so that none of them blocks the event loop.

Airflow 3.3.2 takes the log lines of a triggerer in rounds, 4096 bytes a round
(airflow/sdk/execution_time/supervisor.py, `make_buffered_socket_reader`), and queries the database
in each of them (airflow/jobs/triggerer_job_runner.py, `run_once`). With ten thousand waits it took
200 lines a second (docs/cluster.md). A line that finds the socket full blocks the event loop, and
so all triggers: for seconds, where thousands of waits have something to say at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from airflow_ice.waiting import Log

log = logging.getLogger(__name__)

LINES_A_SECOND: Final = 100
"""Half of what Airflow took with ten thousand waits; its own lines need the rest."""

AT_ONCE: Final = 50
"""Lines that may come at once after a silence. The socket holds some 150."""

PAUSE: Final = 0.1


class Lines:
    """Lets lines go, or keeps them until it is their turn."""

    def __init__(self) -> None:
        self._spent_until = float("-inf")
        self._waiting: deque[PacedLog] = deque()
        self._writing: asyncio.Task[None] | None = None

    def take(self) -> bool:
        """Take the turn of one line, and tell whether it was free."""
        now = asyncio.get_running_loop().time()
        spent = max(self._spent_until, now)
        if spent - now > AT_ONCE / LINES_A_SECOND:
            return False
        self._spent_until = spent + 1 / LINES_A_SECOND
        return True

    def enqueue(self, log: PacedLog) -> None:
        """Write what a log keeps when it is its turn."""
        self._waiting.append(log)
        if self._writing is None:
            # In a context of its own: each line brings the context of its wait.
            self._writing = asyncio.create_task(
                self._write(), name="airflow-ice-lines", context=contextvars.Context()
            )

    async def _write(self) -> None:
        try:
            while self._waiting:
                while self._waiting and (not self._waiting[0].is_pending or self.take()):
                    self._flush(self._waiting.popleft())
                await asyncio.sleep(PAUSE)
        finally:
            self._writing = None

    def _flush(self, waiting: PacedLog) -> None:
        try:
            waiting.flush()
        except Exception:  # the log of one wait must not hold up those of others
            log.exception("A line of a wait could not be written.")


class PacedLog:
    """The log of one wait.

    :param log: where its lines go. lines: says when.
    """

    __slots__ = ("_lines", "_log", "_pending")

    def __init__(self, log: Log, lines: Lines) -> None:
        self._log = log
        self._lines = lines
        self._pending: list[Callable[[], Any]] = []

    def info(self, message: str, /, *args: Any) -> None:
        """Write a line, now or in its turn."""
        self._note(self._log.info, message, *args)

    def warning(self, message: str, /, *args: Any) -> None:
        """Write a line that somebody should see, now or in its turn."""
        self._note(self._log.warning, message, *args)

    @property
    def is_pending(self) -> bool:
        """Whether there are lines that wait for their turn."""
        return bool(self._pending)

    def flush(self) -> None:
        """Write at once what waits for its turn."""
        pending, self._pending = self._pending, []
        for write in pending:
            write()

    def drop(self) -> None:
        """Forget what waits for its turn."""
        self._pending = []

    def _note(self, write: Callable[..., Any], message: str, *args: Any) -> None:
        if not self._pending and self._lines.take():
            write(message, *args)
            return
        if not self._pending:
            self._lines.enqueue(self)
        # The context says to which task's log a line belongs.
        context = contextvars.copy_context()
        self._pending.append(lambda: context.run(write, message, *args))
