"""Starts the benchmark's server in a process of its own, and speaks with it over its control
port."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

LINE = 64 * 2**20


class Control:
    """A connection to the control port of the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=LINE
        )
        return self

    async def __aexit__(self, *_details: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def __call__(self, do: str, **arguments: Any) -> Any:
        """Have the server do something, and return its answer."""
        async with self._lock:
            self._writer.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            await self._writer.drain()
            return json.loads(await self._reader.readline())


@contextmanager
def server(delay: float) -> Iterator[tuple[int, int]]:
    """Run the server, and yield its port and its control port. delay: seconds that each answer
    takes at the least."""
    command = [sys.executable, "-m", "tests.benchmarks.server", str(delay)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port, control = map(int, process.stdout.readline().split())
            yield port, control
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
