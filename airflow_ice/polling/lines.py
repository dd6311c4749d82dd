"""So many lines a second for the logs of all waits, so that none of them blocks the event loop.

Airflow 3.3.2 takes the log lines of a triggerer in rounds, 4096 bytes a round
(airflow/sdk/execution_time/supervisor.py, `make_buffered_socket_reader`), and queries the database
in each of them (airflow/jobs/triggerer_job_runner.py, `run_once`). With ten thousand waits it took
200 lines a second (docs/cluster.md). A line that finds the socket full blocks the event loop, and
so all triggers: for seconds, where thousands of waits have something to say at once.

Only a wait that is over writes what it keeps at once, because its log ends then.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
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

    @property
    def are_free(self) -> bool:
        """Whether a line may go at once: none is before it, and not too many have gone lately."""
        return not self._waiting and self._is_time()

    def _is_time(self) -> bool:
        return self._spent_until - asyncio.get_running_loop().time() < AT_ONCE / LINES_A_SECOND

    def spend(self) -> None:
        """Note that a line is written."""
        now = asyncio.get_running_loop().time()
        self._spent_until = max(self._spent_until, now) + 1 / LINES_A_SECOND

    def enqueue(self, log: PacedLog) -> None:
        """Write a line that a log keeps when it is its turn."""
        self._waiting.append(log)
        if self._writing is None or self._writing.done():
            # In a context of its own: each line brings the context of its wait.
            self._writing = asyncio.create_task(
                self._write(), name="airflow-ice-lines", context=contextvars.Context()
            )

    async def _write(self) -> None:
        while self._waiting:
            while self._waiting and self._is_time():
                self._waiting.popleft().write_one()
            await asyncio.sleep(PAUSE)


class PacedLog:
    """The log of one wait.

    :param log: where its lines go. lines: says when.
    """

    __slots__ = ("_lines", "_log", "_pending")

    def __init__(self, log: Log, lines: Lines) -> None:
        self._log = log
        self._lines = lines
        self._pending: deque[Callable[[], Any]] = deque()

    def info(self, message: str, /, *args: Any) -> None:
        """Write a line, now or in its turn."""
        self._note(self._log.info, message, *args)

    def warning(self, message: str, /, *args: Any) -> None:
        """Write a line that somebody should see, now or in its turn."""
        self._note(self._log.warning, message, *args)

    def write_one(self) -> None:
        """Write the first of the lines that wait for their turn, if there is one."""
        if self._pending:
            self._write(self._pending.popleft())

    def flush(self) -> None:
        """Write at once what waits for its turn."""
        while self._pending:
            self.write_one()

    def drop(self) -> None:
        """Forget what waits for its turn."""
        self._pending.clear()

    def _note(self, write: Callable[..., Any], message: str, *args: Any) -> None:
        # The context says to which task's log a line belongs.
        line = functools.partial(contextvars.copy_context().run, write, message, *args)
        if self._lines.are_free:
            self._write(line)
        else:
            self._pending.append(line)
            self._lines.enqueue(self)

    def _write(self, line: Callable[[], Any]) -> None:
        self._lines.spend()
        try:
            line()
        except Exception:
            # Airflow's socket may be gone, or a formatter be broken. Raised here it would end the
            # wait in place of its outcome, or the lines of all others: the triggerer's log has it.
            log.exception("A line of a wait could not be written.")
