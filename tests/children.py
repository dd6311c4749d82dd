"""Processes that a test starts and that never outlive it, whichever way it ends: passed, failed,
timed out, interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a session of its own; at the end of the block, kill what is left of its
    group.

    A block in which Python reads what the process prints needs a process that flushes: nothing here
    sets PYTHONUNBUFFERED.

    :param options: what `subprocess.Popen` takes beside the command.
    """
    process = subprocess.Popen(list(command), text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
