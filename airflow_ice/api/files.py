"""Where a download goes: a `Sink`, and the local file as one.

A local file appears whole or not at all: a temporary file in the same folder is written, forced to
disk and renamed.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, get_args

from airflow_ice.api import limits
from airflow_ice.api.crc64 import Crc64
from airflow_ice.api.errors import IceInputError

Overwrite = Literal["if_different", "never", "always"]
"""What happens to a file that is at the destination already."""

PIECE: Final = 1 << 20  # bytes that are read of a file at a time


def checked_overwrite(value: object) -> Overwrite:
    """Return the policy.

    :raises IceInputError: it is none of those allowed.
    """
    for allowed in get_args(Overwrite):
        if value == allowed:
            return allowed  # type: ignore[no-any-return]
    rule = f"must be one of {', '.join(get_args(Overwrite))}"
    raise IceInputError("overwrite", limits.shown("overwrite", value), rule)


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at its end."""


class Sink(Protocol):
    """Where a download goes."""

    def holds(self, size: int | None, crc64: str | None) -> bool:
        """Tell whether the destination holds this file already."""

    def restart(self) -> None:
        """Begin from the first byte; what was written is dropped."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


def is_equal(file: Readable, crc64: str | None) -> bool:
    """Tell whether a file has this checksum; one of which none is known is equal by its size."""
    if crc64 is None or not crc64.isdecimal():
        return True
    checksum = Crc64()
    while data := file.read(PIECE):
        checksum.update(data)
    return checksum.matches(int(crc64) % 2**64)


class LocalFile:
    """A file of this machine. In a `with` block; without `commit`, nothing is left at its end.

    :param path: the file; its folder is made.
    :param overwrite: "if_different" keeps an equal file, "always" none.
    """

    def __init__(self, path: Path, overwrite: Overwrite = "if_different") -> None:
        self._path = path
        self._overwrite = overwrite
        self._temporary = path.parent / f".{secrets.token_hex(8)}.part"
        self._file: io.FileIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    @property
    def size(self) -> int | None:
        """Bytes of the file that is there; None where there is none."""
        return self._path.stat().st_size if self._path.is_file() else None

    def holds(self, size: int | None, crc64: str | None) -> bool:
        """Tell whether the file that is there has this size and this checksum."""
        if self._overwrite == "always" or size is None or self.size != size:
            return False
        with self._path.open("rb") as file:
            return is_equal(file, crc64)

    def restart(self) -> None:
        """Begin from the first byte."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(self._temporary, "xb")
        self._file.seek(0)
        self._file.truncate()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        assert self._file is not None  # noqa: S101 - restart() comes first
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def commit(self) -> None:
        """Put the file in its place."""
        if self._file is None:
            self.restart()
        assert self._file is not None  # noqa: S101
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        self._file = None
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too, survives a crash
        finally:
            os.close(folder)

    def abort(self) -> None:
        """Leave nothing of what was not committed. May be called again."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
            self._temporary.unlink(missing_ok=True)
