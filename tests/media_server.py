"""A bucket that misbehaves on purpose: it serves one object under signed URLs, and each request
takes the next fault from a list."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

POLYNOMIAL = 0xC96C5795D7870F42


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ POLYNOMIAL if byte & 1 else byte >> 1
    return byte


TABLE = [_entry(byte) for byte in range(256)]


@functools.cache
def crc64_of(data: bytes) -> int:
    """Return the checksum by a table, as its definition says: slow, and independent of ours."""
    found = 2**64 - 1
    for byte in data:
        found = TABLE[(found ^ byte) & 255] ^ (found >> 8)
    return found ^ (2**64 - 1)


@dataclass
class Bucket:
    """One object, the signatures that open it, and what is to go wrong.

    :param faults: one for each request, in order: `reset N` (after N bytes), `short N` (a clean end
        after N bytes), a status, `refused` (403), `forbidden` (PublicEndpointForbidden), `whole`
        (ignores Range), `changed` (another object from now on), `corrupt`, `stall`; "" for none.
    """

    content: bytes
    faults: list[str] = field(default_factory=list)
    sends_etag: bool = True
    sends_crc: bool = True
    sends_length: bool = True
    port: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    signed: int = 0
    other: bytes = b""

    @property
    def crc64(self) -> str:
        return str(crc64_of(self.content))

    def sign(self) -> str:
        """Return a fresh signed URL."""
        self.signed += 1
        return (
            f"http://127.0.0.1:{self.port}/v.mp4?Expires=1718270000&OSSAccessKeyId=STS.NSfkeid"
            f"&Signature=s1gnature-{self.signed}&security-token=CAIStoken"
        )


class Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def error(self, status: int, code: str) -> None:
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said so</Message>"
            f"<RequestId>R-1</RequestId></Error>"
        ).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.bucket.requests.append({**headers, "signature": query["Signature"][0]})
        fault, _, number = (self.bucket.faults.pop(0) if self.bucket.faults else "").partition(" ")
        if fault == "changed":
            self.bucket.content = self.bucket.other
        if fault == "refused":
            return self.error(403, "AccessDenied")
        if fault == "forbidden":
            return self.error(400, "PublicEndpointForbidden")
        if fault.isdecimal():
            return self.error(int(fault), "InternalError")
        if fault == "stall":
            time.sleep(3)
        return self.serve(headers, fault, int(number or 0))

    def serve(self, headers: dict[str, str], fault: str, number: int) -> None:
        content = self.bucket.content
        etag = f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324 - as OSS does
        if headers.get("if-match", etag) != etag:
            return self.error(412, "PreconditionFailed")
        start = 0
        if "range" in headers and fault != "whole":
            start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            last = len(content) - 1
            self.send_header("content-range", f"bytes {start}-{last}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if self.bucket.sends_length:
            self.send_header("content-length", str(len(body)))
        else:
            self.send_header("connection", "close")
        if self.bucket.sends_etag:
            self.send_header("etag", etag)
        if self.bucket.sends_crc:
            self.send_header("x-oss-hash-crc64ecma", str(crc64_of(content)))
        self.end_headers()
        if fault == "corrupt":
            body = body[:-1] + bytes((body[-1] ^ 1,))
        with contextlib.suppress(OSError):
            self.wfile.write(body[:number] if fault in {"reset", "short"} else body)
            self.wfile.flush()
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if fault in {"reset", "short"} or not self.bucket.sends_length:
            self.close_connection = True
        return None


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        pass  # whoever reads may go away: that is what is tested


@contextlib.contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    server = Server(("127.0.0.1", 0), type("OfBucket", (Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    bucket.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
