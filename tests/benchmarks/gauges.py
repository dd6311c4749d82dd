"""What a process has used and how late its event loop is."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from pathlib import Path

TICK = 0.01
"""Seconds between two looks at the clock."""


def cpu_seconds() -> float:
    """Return the CPU time of this process so far, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_kb() -> float:
    """Return the resident memory of this process, in kB, after the rubbish is out."""
    gc.collect()
    return (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        * resource.getpagesize()
        / 1024
    )


class LoopLag:
    """A task that wakes every 10 ms, and notes by how much too late."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            self.late.append(time.perf_counter() - began - TICK)

    def milliseconds(self, share: float) -> float:
        """Return the lag that so large a share of the ticks did not exceed."""
        return 1000 * quantile(self.late, share)


def quantile(values: list[float], share: float) -> float:
    """Return the value that so large a share does not exceed; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0
