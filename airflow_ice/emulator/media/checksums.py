"""The checksums that OSS sends with an object: its ETag and its CRC-64.

The ETag is the MD5 of the content, as for any object that was uploaded in one piece. The CRC-64 is
that of ECMA-182, bits reflected (CRC-64/XZ): `x-oss-hash-crc64ecma`, of the whole object also where
only a part is sent.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_POLYNOMIAL: Final = 0xC96C5795D7870F42
_ALL_ONES: Final = 0xFFFFFFFFFFFFFFFF
_CHUNK: Final = 1 << 18  # even, so that only the last chunk can have an odd byte


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is sent of an object in addition to its content.

    :param etag: with its quotes.
    :param modified: seconds since the epoch.
    """

    size: int
    etag: str
    crc64: int
    modified: float


def object_facts(path: Path) -> ObjectFacts:
    """Read a file and return its facts; one that has not changed is read once."""
    stat = path.stat()
    return _object_facts(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _object_facts(path: Path, modified: int, size: int) -> ObjectFacts:
    digest, crc = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            crc = crc64(chunk, crc)
    return ObjectFacts(size, f'"{digest.hexdigest().upper()}"', crc, modified / 1e9)


def crc64(data: bytes, before: int = 0) -> int:
    """Return the CRC-64 of data.

    :param before: the CRC-64 of what comes before it.
    """
    even = len(data) // 2 * 2
    pairs = array("H", data[:even])
    if array("H", b"\1\0")[0] != 1:
        pairs.byteswap()
    table, crc = _pair_table(), before ^ _ALL_ONES
    for pair in pairs:
        crc = table[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    for byte in data[even:]:
        crc = _advanced((crc ^ byte) & 0xFF, 8) ^ (crc >> 8)
    return crc ^ _ALL_ONES


@functools.cache
def _pair_table() -> list[int]:
    # Two bytes at a time: pure Python is slow, and a video is some megabytes.
    return [_advanced(pair, 16) for pair in range(1 << 16)]


def _advanced(value: int, bits: int) -> int:
    for _ in range(bits):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value
