"""One download, as decisions: what to ask for next, what a reply means, when it is over. No I/O and
no clock: `fetch` does what this says, in both colours.

A download goes on where it broke off: `Range` with `If-Match`, so that two versions of an object
are never mixed. A changed object starts over, and so does one that does not match its length or its
checksum. A refused signature (403) is signed again. What keeps failing ends after a bounded number
of tries without a byte, and all of it at a deadline.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from airflow_ice.api.crc64 import Crc64
from airflow_ice.api.errors import IceDownloadError

EXCERPT: Final = 4096
"""Bytes that are read of a reply that is not the file: OSS says what is wrong in a little XML."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_ELEMENT: Final = "<{0}>([^<]*)</{0}>"
_CHANGED: Final = frozenset({412, 416})
_GONE: Final = frozenset({404, 410})
_PASSING: Final = frozenset({408, 425, 429})
_REFUSED: Final = frozenset({401, 403})
_ADVICE: Final = {
    True: "It was deleted or moved in its bucket: put it back, or render the video again.",
    False: "Look the code up on OSS's page of error codes; a retry gets the same answer.",
}


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """How long and how often a download is tried.

    :param timeout: seconds for all of it.
    :param tries: failures without a byte in between, after which it is given up.
    :param restarts: how often it may begin from the first byte again.
    :param first_pause: seconds before the second try; each further one waits twice as long.
    :param longest_pause: seconds.
    """

    timeout: float = 3600.0
    tries: int = 6
    restarts: int = 3
    first_pause: float = 1.0
    longest_pause: float = 60.0


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was read, or found to be there already.

    :param size: bytes.
    :param crc64: `x-oss-hash-crc64ecma` as the service sent it, a decimal number, which the bytes
        match; None where it sent none.
    :param skipped: whether an equal file was at the destination, so that nothing was read.
    """

    size: int
    crc64: str | None = None
    skipped: bool = False


class DownloadInterruptedError(Exception):
    """A reply that is not the file, or not all of it: the next request continues the download."""


class Download:
    """One download.

    :param what: names the file in errors, never by its URL.
    :param started_at: seconds on any clock that does not jump; `now` elsewhere is on the same one.
    """

    def __init__(self, what: str, policy: DownloadPolicy, started_at: float) -> None:
        self._what = what
        self._policy = policy
        self._deadline = started_at + policy.timeout
        self._failures = 0
        self._refusals = 0
        self._restarts = 0
        self._etag: str | None = None
        self._crc = Crc64()
        self._expected_crc: str | None = None
        self.needs_url = True
        self.size: int | None = None
        self.offset = 0

    @property
    def deadline(self) -> float:
        """When it is given up."""
        return self._deadline

    @property
    def expected_crc(self) -> str | None:
        """The checksum that the service sent, a decimal number; None where it sent none."""
        return self._expected_crc

    def headers(self) -> dict[str, str]:
        """Return the headers of the next request, without the host's."""
        found = {"accept": "*/*", "accept-encoding": "identity"}
        if self.offset:
            found["range"] = f"bytes={self.offset}-"
            if self._etag:
                found["if-match"] = self._etag
        return found

    def begin(self, status: int, headers: Mapping[str, str], excerpt: bytes) -> None:
        """Take the head of a reply. What its body holds belongs at `offset`, which is 0 where the
        file begins again.

        :param headers: by lower-case name.
        :param excerpt: the beginning of the body where the status is neither 200 nor 206.
        :raises DownloadInterruptedError: it is not the file; `interrupted` says what next.
        :raises IceDownloadError: it never will be.
        """
        if status not in (200, 206):
            self._not_the_file(status, excerpt)
        self._refusals = 0
        etag = headers.get("etag")
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
            moved = found is None or int(found[1]) != self.offset
            if moved or (self._etag is not None and etag is not None and etag != self._etag):
                self._start_over("the file changed, or the reply holds another part of it")
                raise DownloadInterruptedError("the reply holds another part than was asked for")
            size = None if found is None or found[3] == "*" else int(found[3])
        else:
            if self.offset:
                self._start_over("the server sent the whole file, not the part that was asked for")
            length = headers.get("content-length", "")
            size = int(length) if length.isdecimal() else None
        self._etag = etag if self._is_strong(etag) else None
        self.size = size
        self._expected_crc = (headers.get("x-oss-hash-crc64ecma") or "").strip() or None

    @staticmethod
    def _is_strong(etag: str | None) -> bool:
        # If-Match compares strongly: a weak one never matches (RFC 9110, 13.1.1).
        return etag is not None and not etag.startswith("W/")

    def received(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self._failures = 0
        self._crc.update(data)
        self.offset += len(data)

    def ended(self) -> Downloaded:
        """Take the end of a reply's body, and return what was read.

        :raises DownloadInterruptedError: it is not all of the file, or not the file.
        :raises IceDownloadError: it started over too often.
        """
        if self.size is not None and self.offset < self.size:
            raise DownloadInterruptedError(f"{self.offset} of {self.size} bytes came")
        crc, size = self._expected_crc, self.size
        if size is not None and self.offset > size:
            self._start_over(f"{self.offset} bytes came instead of {size}")
            raise DownloadInterruptedError("more bytes came than the file has")
        if crc is not None and not (crc.isdecimal() and self._crc.matches(int(crc) % 2**64)):
            self._start_over("its bytes do not match their checksum")
            raise DownloadInterruptedError("the bytes do not match their checksum")
        return Downloaded(self.offset, crc)

    def interrupted(self, cause: str, now: float) -> float:
        """Return how long to pause before the next request, in seconds.

        :param cause: in words, without the URL.
        :raises IceDownloadError: there is no next request.
        """
        if self.offset and self._etag is None and self._expected_crc is None:
            self._start_over("nothing shows whether it is still the same file")
        self._failures += 1
        exponent = min(self._failures - 1, 16)
        pause = min(self._policy.first_pause * 2.0**exponent, self._policy.longest_pause)
        # Jittered, so that tasks do not retry together.
        pause *= random.uniform(0.75, 1.0)  # noqa: S311
        if self._failures >= self._policy.tries:
            raise self._error(
                f"{cause}; it failed {self._failures} times without a byte in between"
            )
        if now + pause >= self._deadline:
            raise self._error(f"{cause}; its {self._policy.timeout:g} s are over")
        return pause

    def overdue(self) -> IceDownloadError:
        """Return the error of a download that takes too long, although bytes come."""
        return self._error(f"its {self._policy.timeout:g} s are over")

    def _not_the_file(self, status: int, excerpt: bytes) -> None:
        code, message, request_id = _oss_error(excerpt)
        said = f"HTTP {status}" + (f" {code}: {message}" if code else "")
        if status in _CHANGED:
            self._start_over("it has changed")
        elif status in _REFUSED:
            self._refusals += 1
            self.needs_url = True
            if self._refusals >= 3:
                raise self._error(
                    f"its signed URL is refused, also when signed again ({said})",
                    code=code,
                    http_status=status,
                    request_id=request_id,
                    advice="Check the clock of this machine, and that the connection's user or "
                    "role may read the bucket (oss:GetObject).",
                )
        elif status < 500 and status not in _PASSING:
            raise self._error(
                f"OSS answered {said}" + (": the file is gone" if status in _GONE else ""),
                code=code,
                http_status=status,
                request_id=request_id,
                advice=None if code == "PublicEndpointForbidden" else _ADVICE[status in _GONE],
                transient=False,
            )
        raise DownloadInterruptedError(said)

    def _start_over(self, reason: str) -> None:
        self._restarts += 1
        if self._restarts > self._policy.restarts:
            raise self._error(f"it started over {self._restarts} times: {reason}")
        self.offset, self.size = 0, None
        self._etag = self._expected_crc = None
        self._crc = Crc64()

    def _error(
        self,
        reason: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        advice: str | None = None,
        transient: bool | None = None,
    ) -> IceDownloadError:
        return IceDownloadError(
            f"{self._what} could not be downloaded: {reason} (after {self.offset} bytes)",
            code=code,
            http_status=http_status,
            request_id=request_id,
            advice=advice,
            transient=transient,
        )


def _oss_error(body: bytes) -> tuple[str | None, str, str | None]:
    """Return code, message and RequestId of OSS's error XML; not parsed, since a proxy may send
    anything.
    """
    text = body.decode("utf-8", "replace")
    code, message, request_id = (
        re.search(_ELEMENT.format(name), text) for name in ("Code", "Message", "RequestId")
    )
    return (
        code[1].strip() if code else None,
        message[1].strip() if message else "",
        request_id[1].strip() if request_id else None,
    )
