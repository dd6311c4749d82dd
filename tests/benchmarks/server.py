"""The server of the benchmark: answers Get and List of ICE, and what the peers' triggers ask of
their own services.

It runs in a process of its own, on loopback, on ports that are free. It verifies no signature and
renders nothing, its bytes are made beforehand, and it keeps count of itself, so that it can be
shown not to be what is measured. Jobs, schedules and counts go over a second port (`control`), so
that they do not count.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.benchmarks import peer_replies
from tests.benchmarks.faults import Faults, FaultSettings
from tests.benchmarks.jobs import Book, Job, row_of

NOT_FOUND = (
    b'{"RequestId":"9D2A3B7C","Code":"ResourceNotFound",'
    b'"Message":"The specified job does not exist.","HostId":"ice"}'
)
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Unavailable",
}


class Service:
    """Everything that the connections share.

    :param delay: seconds that every answer takes at the least, as over a network.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.book = Book()
        self.faults = Faults(FaultSettings())
        self.requests: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.arrivals: list[float] = []
        self.accepted = 0
        self.open = 0
        self.working = 0.0

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        now = time.time()
        self.arrivals.append(now)
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        action = headers.get("x-acs-action")
        if action == "ListBatchMediaProducingJobs":
            self.requests["List"] += 1
            return 200, self.book.page(query.get("Status", ""), query.get("NextToken", ""), now)
        job_id = query.get("JobId", "") if action else peer_replies.job_id(url.path, body)
        self.requests["Get"] += 1
        self.asked.add(job_id)
        job = self.book.jobs.get(job_id)
        if job is None or now < job.known_from:
            return 404, NOT_FOUND
        return 200, job.body(now) if action else peer_replies.body(url.path, job, now)

    def stats(self) -> dict[str, Any]:
        """Return the counts so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "requests": dict(self.requests),
            "asked": len(self.asked),
            "accepted": self.accepted,
            "open": self.open,
            "cpu": used.ru_utime + used.ru_stime,
            "working": self.working,
            "faults": dict(self.faults.counts),
            "at": time.time(),
        }


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1, as much of it as the clients use."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.accepted += 1
        self._service.open += 1

    def connection_lost(self, _cause: Exception | None) -> None:
        """Count it out."""
        self._transport = None
        self._service.open -= 1

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there in full."""
        began = time.perf_counter()
        self._buffer += data
        while self._request():
            pass
        self._service.working += time.perf_counter() - began

    def _request(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return False
        body, self._buffer = rest[:length], rest[length:]
        fault = self._service.faults.next(time.time())
        if fault.reset:
            self._abort_later(fault.delay)
            return True
        status, answer = self._service.answer(first.split(" ")[1], headers, body)
        if fault.status:
            status, answer = fault.status, fault.body
        asyncio.get_running_loop().call_later(
            self._service.delay + fault.delay, self._send, status, answer
        )
        return True

    def _abort_later(self, seconds: float) -> None:
        def abort() -> None:
            if self._transport is not None:
                self._transport.abort()

        asyncio.get_running_loop().call_later(seconds, abort)

    def _send(self, status: int, body: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


class Control(asyncio.Protocol):
    """Takes one JSON object a line, and answers with one."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Do what the lines say."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = self._do(**json.loads(line))
            if self._transport is not None:
                self._transport.write(json.dumps(answer).encode() + b"\n")

    def _do(self, do: str, **arguments: Any) -> Any:
        service = self._service
        match do:
            case "add":
                for job in arguments["jobs"]:
                    service.book.add(Job(row=row_of(job["job_id"]), **job))
                return len(service.book.jobs)
            case "end":
                for job_id, at in arguments["ends"].items():
                    service.book.jobs[job_id].ends = at
                return len(arguments["ends"])
            case "faults":
                service.faults = Faults(
                    FaultSettings(**arguments["settings"]), random.Random(arguments["seed"])
                )
                return True
            case "calm":
                service.faults.settings = FaultSettings()
                return True
            case "arrivals":
                return service.arrivals
            case "stats":
                return service.stats()
            case _:
                raise ValueError(f"{do!r} is nothing that can be done")


async def serve(delay: float) -> None:
    """Serve until standard input ends, which it does with the process that started this one."""
    loop = asyncio.get_running_loop()
    service = Service(delay)
    servers = [
        await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=4096),
        await loop.create_server(lambda: Control(service), "127.0.0.1", 0),
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
