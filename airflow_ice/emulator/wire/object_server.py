"""Objects over HTTP, as OSS serves them to whoever has a signed URL.

An object has three kinds of domain, told apart by the Host header: the bucket's default public
domain (`BUCKET.oss-REGION.aliyuncs.com`, for which the emulator's own address with `/objects/` in
front of the path stands as well), the internal one (`BUCKET.oss-REGION-internal.aliyuncs.com`), and
the custom domains of the settings. A signature does not cover the host, so it opens the object on
all of them. Behaviour is that of OSS's pages GetObject and "HTTP Range requests".
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_ice.emulator.media.checksums import ObjectFacts, object_facts
from airflow_ice.emulator.media.objects import (
    OSS_HOST,
    PROCESS,
    ObjectName,
    ObjectStore,
    is_safe_key,
)
from airflow_ice.emulator.media.snapshot import snapshot
from airflow_ice.emulator.model.clock import Clock, timestamp
from airflow_ice.emulator.model.errors import OssError
from airflow_ice.emulator.model.faults import Faults
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.wire.connection import drop_connection
from airflow_ice.emulator.wire.faults import ConnectionDroppedError
from airflow_ice.emulator.wire.object_faults import ObjectFault

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 16
_REMEMBERED_READS: Final = 10_000
_RANGE: Final = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")


@dataclass(frozen=True, slots=True)
class Place:
    """Which object a request asks for, and through which kind of domain."""

    name: ObjectName
    domain: str


class ObjectServer:
    """Serves objects, an ASGI application.

    :ivar reads: what was read, oldest first: bucket, key, host, domain (public, internal or
        custom), range (the header, or None), http_status, code, sent (bytes of the body; fewer than
        asked for where the connection was dropped). A read without a reply has http_status 0.
    """

    def __init__(
        self, settings: Settings, objects: ObjectStore, clock: Clock, faults: Faults
    ) -> None:
        self._domains = {host: bucket for bucket, host in settings.media_domains.items()}
        self._region_id = settings.region_id
        self._objects = objects
        self._clock = clock
        self._faults = faults
        self.reads: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED_READS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one read, or drop its connection."""
        request = Request(scope, receive)
        request_id = uuid.uuid4().hex[:24].upper()
        seen: dict[str, Any] = {"http_status": 0, "code": "", "sent": 0}
        self.reads.append(seen)
        try:
            response = await self._reply(request, seen)
        except ConnectionDroppedError:
            await drop_connection(scope, receive)
            return
        except OssError as error:
            seen["code"] = error.code
            response = self._refusal(error, request, request_id)
        response.headers["server"] = "AliyunOSS"
        response.headers["x-oss-request-id"] = request_id
        if "origin" in request.headers:
            response.headers["access-control-allow-origin"] = "*"
            response.headers["access-control-expose-headers"] = "*"
        seen["http_status"] = response.status_code
        try:
            await response(scope, receive, send)
        except ConnectionDroppedError:
            await drop_connection(scope, receive)

    async def _reply(self, request: Request, seen: dict[str, Any]) -> Response:
        place = self._place(request)
        name = place.name
        seen |= {"bucket": name.bucket, "key": name.key, "domain": place.domain}
        seen |= {"host": request.headers.get("host", ""), "range": request.headers.get("range")}
        verb, now = request.method, self._clock.now()
        refusal = self._objects.refusal(name, request.query_params, now, verb)
        faults = self._faults.take(
            ObjectFault, lambda fault: fault.hits_read(name, place.domain, signed=refusal is None)
        )
        for fault in faults:
            await fault.delay()
        for fault in faults:
            fault.before(self._objects, name)
        if refusal is not None:
            extra = {"Expires": request.query_params.get("Expires"), "ServerTime": timestamp(now)}
            raise OssError(403, *refusal, extra=extra if "expired" in refusal[1] else {})
        path = self._objects.find(name)
        if path is None:
            raise OssError(404, "NoSuchKey", "The specified key does not exist.")
        if process := request.query_params.get(PROCESS):
            return await _processed(path, process)
        facts = await asyncio.to_thread(object_facts, path)
        return self._content(request, path, facts, faults, seen)

    def _place(self, request: Request) -> Place:
        host = request.url.hostname or ""
        oss, custom = OSS_HOST.fullmatch(host), self._domains.get(host)
        bucket, key = request.path_params.get("bucket"), request.path_params["key"]
        if bucket is None:
            bucket = oss["bucket"] if oss else custom
            if bucket is None:
                raise OssError(404, "NoSuchBucket", "The specified bucket does not exist.")
        if not is_safe_key(key) or not is_safe_key(bucket):
            raise OssError(400, "InvalidObjectName", "The specified object is not valid.")
        domain = "custom" if custom == bucket else "public"
        if oss and oss["internal"]:
            domain = "internal"
        return Place(ObjectName(bucket, key), domain)

    def _content(
        self,
        request: Request,
        path: Path,
        facts: ObjectFacts,
        faults: list[ObjectFault],
        seen: dict[str, Any],
    ) -> Response:
        headers = {
            "etag": facts.etag,
            "last-modified": formatdate(facts.modified, usegmt=True),
            "accept-ranges": "bytes",
            "x-oss-object-type": "Normal",
            "x-oss-hash-crc64ecma": str(facts.crc64),
        }
        _check_if_match(request, facts)
        if request.headers.get("if-none-match") == facts.etag:
            return Response(status_code=304, headers=headers)
        asked = _range(request, facts.size)
        first, last = asked or (0, facts.size - 1)
        headers["content-length"] = str(last - first + 1)
        if asked:
            headers["content-range"] = f"bytes {first}-{last}/{facts.size}"
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        body = _pieces(path, first, last)
        for fault in faults:
            body = fault.body(body)
        status = 206 if asked else 200
        return _Content(_counted(body, seen), status, headers, media_type=media_type)

    def _refusal(self, error: OssError, request: Request, request_id: str) -> Response:
        fields = {
            "Code": error.code,
            "Message": error.message,
            "RequestId": request_id,
            "HostId": request.url.hostname or f"oss-{self._region_id}.aliyuncs.com",
            **error.extra,
            **({"EC": error.ec} if error.ec else {}),
        }
        inner = "".join(
            f"  <{name}>{escape(str(value))}</{name}>\n" for name, value in fields.items()
        )
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n{inner}</Error>\n'
        headers = {"x-oss-ec": error.ec} if error.ec else {}
        return Response(body, error.http_status, headers, media_type="application/xml")


class _Content(Response):
    """A reply with a body that is read while it is sent."""

    def __init__(self, pieces: AsyncIterator[bytes], *args: Any, **kwargs: Any) -> None:
        super().__init__(None, *args, **kwargs)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _check_if_match(request: Request, facts: ObjectFacts) -> None:
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted != facts.etag:
        message = "At least one of the pre-conditions you specified did not hold."
        raise OssError(412, "PreconditionFailed", message, extra={"Condition": "If-Match"})


def _range(request: Request, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for; None for the whole object.

    A range outside the object is ignored, as OSS does, unless `x-oss-range-behavior: standard`
    asks for what HTTP itself says.

    :raises OssError: several ranges, or, as HTTP says it, a range behind the end.
    """
    text = request.headers.get("range", "")
    if text.startswith("bytes=") and "," in text:
        raise OssError(416, "InvalidRange", "The requested range cannot be satisfied.")
    found = _RANGE.fullmatch(text)
    if found is None or not (found["first"] or found["last"]):
        return None
    standard = request.headers.get("x-oss-range-behavior") == "standard"
    if not found["first"]:
        length = int(found["last"])
        inside = 0 < length <= size
        first, last = max(size - length, 0), size - 1
        possible = length > 0 and size > 0
    else:
        first = int(found["first"])
        last = int(found["last"]) if found["last"] else size - 1
        if found["last"] and last < first:
            return None
        inside = first <= last < size
        last = min(last, size - 1)
        possible = first < size
    if inside:
        return first, last
    if not standard:
        return None
    if not possible:
        raise OssError(416, "InvalidRange", "The requested range cannot be satisfied.")
    return first, last


async def _processed(path: Path, process: str) -> Response:
    try:
        picture = await asyncio.to_thread(snapshot, path, process)
    except ValueError as error:
        raise OssError(400, "InvalidArgument", str(error)) from None
    return Response(picture, media_type="image/jpeg")


async def _pieces(path: Path, first: int, last: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        left = last - first + 1
        while left > 0 and (piece := file.read(min(_CHUNK, left))):
            left -= len(piece)
            yield piece


async def _counted(pieces: AsyncIterator[bytes], seen: dict[str, Any]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        seen["sent"] += len(piece)
        yield piece
