"""Faults on reads of objects: used up by the read that they hit.

Those that end a read leave it as a broken network does: some bytes, then nothing. Unlike faults on
requests they match by key, the end of an object's name, and not by action.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from typing import ClassVar

from airflow_ice.emulator.media.objects import ObjectName, ObjectStore
from airflow_ice.emulator.model.errors import OssError
from airflow_ice.emulator.model.faults import Fault
from airflow_ice.emulator.wire.faults import ConnectionDroppedError


@dataclass(kw_only=True)
class ObjectFault(Fault):
    """A fault on the read of an object.

    :param key: the end of the names of the objects that it hits; None is every one.
    """

    moment: ClassVar[str] = "a read of an object"
    key: str | None = None

    def hits_read(self, name: ObjectName, domain: str, *, signed: bool) -> bool:
        """Tell whether it hits a read.

        :param domain: public (the bucket's default domain), internal or custom.
        :param signed: whether the signature of the URL opens the object.
        """
        return signed and (self.key is None or name.key.endswith(self.key))

    def group(self) -> Hashable:
        return "reply"

    async def delay(self) -> None:
        """Wait as long as the reply is to be late."""

    def before(self, objects: ObjectStore, name: ObjectName) -> None:
        """Interfere before the object is looked up.

        :raises OssError: the read is refused.
        :raises ConnectionDroppedError: there is no reply.
        """

    def body(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the body as it is sent.

        :raises ConnectionDroppedError: while it is iterated: the connection is dropped there.
        """
        return chunks


@dataclass(kw_only=True)
class ObjectReset(ObjectFault):
    """The connection is dropped after so many bytes of the body."""

    kind: ClassVar[str] = "object_reset"
    after_bytes: int = 1000

    async def body(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        left = self.after_bytes
        async for chunk in chunks:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                raise ConnectionDroppedError


@dataclass(kw_only=True)
class ObjectError(ObjectFault):
    """OSS answers with an error."""

    kind: ClassVar[str] = "object_error"
    status: int = 503
    code: str = "ServiceUnavailable"
    message: str = "Please reduce your request rate."

    def before(self, objects: ObjectStore, name: ObjectName) -> None:
        raise OssError(self.status, self.code, self.message)


@dataclass(kw_only=True)
class PublicEndpointForbidden(ObjectFault):
    """OSS refuses reads through the bucket's default public domain, signed or not; custom and
    internal domains are served.
    """

    kind: ClassVar[str] = "public_endpoint_forbidden"

    def hits_read(self, name: ObjectName, domain: str, *, signed: bool) -> bool:
        return domain == "public" and super().hits_read(name, domain, signed=True)

    def before(self, objects: ObjectStore, name: ObjectName) -> None:
        # The code and EC are those of OSS's error page. Guess: the words.
        message = "Public endpoint access to this bucket is forbidden; use a custom domain name."
        raise OssError(400, "PublicEndpointForbidden", message, ec="0048-00000401")


@dataclass(kw_only=True)
class ObjectSlow(ObjectFault):
    """The first byte of the reply comes some seconds later."""

    kind: ClassVar[str] = "object_slow"
    seconds: float = 1.0

    def group(self) -> Hashable:
        return self.kind

    async def delay(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(kw_only=True)
class ObjectTrickle(ObjectFault):
    """The body comes in pieces of so many bytes, with so many seconds between them."""

    kind: ClassVar[str] = "object_trickle"
    bytes_each: int = 1024
    seconds: float = 0.1

    def group(self) -> Hashable:
        return self.kind

    async def body(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            for start in range(0, len(chunk), self.bytes_each):
                yield chunk[start : start + self.bytes_each]
                await asyncio.sleep(self.seconds)


@dataclass(kw_only=True)
class ObjectChanged(ObjectFault):
    """The object is overwritten before this read: another ETag, length and CRC-64 from now on. A
    video stays one that plays.
    """

    kind: ClassVar[str] = "object_changed"

    def group(self) -> Hashable:
        return self.kind

    def before(self, objects: ObjectStore, name: ObjectName) -> None:
        objects.change(name)


@dataclass(kw_only=True)
class ObjectCorrupt(ObjectFault):
    """One bit of the body is flipped on the way; the headers are those of the true content."""

    kind: ClassVar[str] = "object_corrupt"

    async def body(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        first = True
        async for chunk in chunks:
            yield bytes([chunk[0] ^ 1]) + chunk[1:] if first else chunk
            first = False
