"""A video is read whole or not at all, whatever the bucket does; the same in both colours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.api.errors import IceDownloadError, IceInputError, IceThrottledError
from airflow_ice.api.models import MediaFile, MediaInfo
from airflow_ice.hooks import IceHook
from tests.media_server import Bucket, crc64_of, serving

SetConnection = Callable[..., None]
CONTENT = bytes(range(256)) * 40  # 10,240 bytes
OTHER = b"another object" * 700


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving(Bucket(CONTENT, other=OTHER)) as found:
        yield found


class Reader:
    """Reads the bucket's object through a hook whose GetMediaInfo signs it."""

    def __init__(self, colour: str, bucket: Bucket, path: Path) -> None:
        self.colour = colour
        self.bucket = bucket
        self.path = path
        self.statuses: list[Any] = []

    def info(self) -> MediaInfo:
        status = self.statuses.pop(0) if self.statuses else "Normal"
        if isinstance(status, Exception):
            raise status
        file = MediaFile(self.bucket.sign(), file_type="source_file")
        return MediaInfo("m", status, files=(file,) if status == "Normal" else ())

    def __call__(self, **arguments: Any) -> Any:
        if self.colour == "sync":
            return IceHook().download_media("m", self.path, **arguments)
        return asyncio.run(IceHook().adownload_media("m", self.path, **arguments))


@pytest.fixture
def read(
    colour: str,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_connection: SetConnection,
) -> Reader:
    set_connection(extra={"read_timeout": 1})
    reader = Reader(colour, bucket, tmp_path / "folder" / "v.mp4")

    async def answer(hook: IceHook, media_id: str, **_: Any) -> MediaInfo:
        return reader.info()

    monkeypatch.setattr(IceHook, "get_media_info", lambda hook, media_id, **_: reader.info())
    monkeypatch.setattr(IceHook, "aget_media_info", answer)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.01)
    monkeypatch.setattr("airflow_ice.api.media.FIRST_READY_PAUSE", 0.01)
    return reader


def left(read: Reader) -> list[str]:
    folder = read.path.parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_video_is_read(read: Reader) -> None:
    found = read()
    assert (found.size, found.crc64, found.skipped) == (len(CONTENT), str(crc64_of(CONTENT)), False)
    assert read.path.read_bytes() == CONTENT
    assert left(read) == ["v.mp4"]
    assert read.path.stat().st_mode & 0o777 == 0o644
    assert "range" not in read.bucket.requests[0]


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        (["reset 3000"], 2),
        (["short 3000"], 2),
        (["reset 0", "reset 1", "short 5000", "reset 2000"], 5),
        (["reset 3000", "500", "503", "429"], 5),
        (["500"], 2),
        (["reset 3000", "refused"], 3),
        (["refused"], 2),
        (["stall"], 2),
    ],
)
def test_it_goes_on_where_it_broke_off(read: Reader, faults: list[str], requests: int) -> None:
    read.bucket.faults = list(faults)
    assert read().size == len(CONTENT)
    assert read.path.read_bytes() == CONTENT
    assert len(read.bucket.requests) == requests
    for request in read.bucket.requests:
        assert ("range" in request) == ("if-match" in request)


def test_a_resumed_request_asks_for_the_rest_of_the_same_object(read: Reader) -> None:
    read.bucket.faults = ["short 3000"]
    read()
    first, second = read.bucket.requests
    assert second["range"] == "bytes=3000-"
    assert second["if-match"].startswith('"')
    assert first["signature"] == second["signature"]


def test_a_refused_signature_is_signed_again(read: Reader) -> None:
    read.bucket.faults = ["short 3000", "refused"]
    read()
    signatures = [request["signature"] for request in read.bucket.requests]
    assert signatures == ["s1gnature-1", "s1gnature-1", "s1gnature-2"]


def test_a_changed_object_starts_over(read: Reader) -> None:
    read.bucket.faults = ["short 3000", "changed"]
    assert read().size == len(OTHER)
    assert read.path.read_bytes() == OTHER
    assert "range" not in read.bucket.requests[-1]


def test_a_server_that_ignores_the_range_starts_over(read: Reader) -> None:
    read.bucket.faults = ["short 3000", "whole"]
    read()
    assert read.path.read_bytes() == CONTENT


def test_bytes_that_do_not_match_their_checksum_start_over(read: Reader) -> None:
    read.bucket.faults = ["corrupt"]
    read()
    assert read.path.read_bytes() == CONTENT
    assert len(read.bucket.requests) == 2


def test_bytes_that_never_match_leave_nothing(read: Reader) -> None:
    read.bucket.faults = ["corrupt"] * 9
    with pytest.raises(IceDownloadError, match="do not match their checksum") as caught:
        read()
    assert caught.value.transient
    assert left(read) == []


@pytest.mark.parametrize(("etag", "crc"), [(False, True), (True, False), (False, False)])
def test_what_the_server_does_not_send_is_not_needed(
    read: Reader, *, etag: bool, crc: bool
) -> None:
    read.bucket.sends_etag, read.bucket.sends_crc = etag, crc
    read.bucket.faults = ["short 3000"]
    assert read().crc64 == (str(crc64_of(CONTENT)) if crc else None)
    assert read.path.read_bytes() == CONTENT
    # Where nothing tells that it is the same object, it is read from the first byte.
    assert ("range" in read.bucket.requests[-1]) == (etag or crc)


def test_a_length_that_is_not_sent_is_not_checked(read: Reader) -> None:
    read.bucket.sends_length = False
    assert read().size == len(CONTENT)


def test_a_file_that_is_gone_is_final(read: Reader) -> None:
    read.bucket.faults = ["404"]
    with pytest.raises(IceDownloadError, match="the file is gone") as caught:
        read()
    assert not caught.value.transient
    assert (caught.value.http_status, caught.value.request_id) == (404, "R-1")
    assert "Let this task retry" not in str(caught.value)
    assert len(read.bucket.requests) == 1


def test_a_closed_domain_is_final_and_says_what_to_do(read: Reader) -> None:
    read.bucket.faults = ["forbidden"]
    with pytest.raises(IceDownloadError) as caught:
        read()
    assert (caught.value.code, caught.value.transient) == ("PublicEndpointForbidden", False)
    assert '"media_domains": {"BUCKET": "video.example.com"}' in str(caught.value)
    assert "network to vpc" in str(caught.value)
    assert left(read) == []


def test_a_signature_that_stays_refused_ends_it(read: Reader) -> None:
    read.bucket.faults = ["refused"] * 9
    with pytest.raises(IceDownloadError, match="also when signed again") as caught:
        read()
    assert read.bucket.signed == 3
    assert "oss:GetObject" in str(caught.value)


def test_what_keeps_failing_ends_after_six_failures_without_a_byte(read: Reader) -> None:
    read.bucket.faults = ["short 10"] + ["503"] * 20
    with pytest.raises(IceDownloadError, match="failed 6 times without a byte in between"):
        read()
    assert len(read.bucket.requests) == 6
    assert left(read) == []


def test_it_ends_at_its_deadline(read: Reader) -> None:
    read.bucket.faults = ["stall"] * 9
    with pytest.raises(IceDownloadError, match=r"its 0\.3 s are over"):
        read(timeout=0.3)
    assert left(read) == []


def test_an_equal_file_is_not_read_again(read: Reader) -> None:
    read()
    before = read.path.stat().st_ino
    found = read()
    assert (found.skipped, found.size) == (True, len(CONTENT))
    assert read.path.stat().st_ino == before


def test_a_file_of_the_same_size_that_differs_is_replaced(read: Reader) -> None:
    read.path.parent.mkdir()
    read.path.write_bytes(bytes(len(CONTENT)))
    assert not read().skipped
    assert read.path.read_bytes() == CONTENT


def test_always_replaces_an_equal_file(read: Reader) -> None:
    read()
    assert not read(overwrite="always").skipped


def test_never_keeps_whatever_is_there_and_sends_nothing(read: Reader) -> None:
    read.path.parent.mkdir()
    read.path.write_bytes(b"x")
    found = read(overwrite="never")
    assert (found.skipped, found.size, found.crc64) == (True, 1, None)
    assert (read.bucket.requests, read.bucket.signed) == ([], 0)


def test_a_failed_download_keeps_the_older_file(read: Reader) -> None:
    read.path.parent.mkdir()
    read.path.write_bytes(b"older")
    read.bucket.faults = ["404"]
    with pytest.raises(IceDownloadError):
        read()
    assert read.path.read_bytes() == b"older"
    assert left(read) == ["v.mp4"]


def test_a_file_that_cannot_be_written_is_not_the_networks_fault(read: Reader) -> None:
    read.path.parent.write_text("not a folder")
    with pytest.raises(OSError, match="folder"):
        read()
    assert len(read.bucket.requests) == 1


def test_media_that_is_not_ready_is_waited_for(read: Reader) -> None:
    read.statuses = ["Init", "Preparing", "Normal"]
    assert read().size == len(CONTENT)
    assert read.bucket.signed == 3


def test_media_that_does_not_become_ready(read: Reader) -> None:
    read.statuses = ["Preparing"] * 99
    with pytest.raises(IceDownloadError, match=r"still Preparing after 0\.05 s") as caught:
        read(ready_timeout=0.05)
    assert caught.value.transient


def test_media_that_failed_to_prepare_is_final(read: Reader) -> None:
    read.statuses = ["PrepareFail"]
    with pytest.raises(IceDownloadError, match="PrepareFail") as caught:
        read()
    assert not caught.value.transient


def test_a_passing_error_while_signing_again_is_one_failure(read: Reader) -> None:
    read.bucket.faults = ["short 3000", "refused"]
    read.statuses = ["Normal", IceThrottledError("slow down", code="Throttling.User"), "Normal"]
    read()
    assert read.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "arguments",
    [{"overwrite": "sometimes"}, {"overwrite": True}, {"timeout": -1}, {"ready_timeout": "5"}],
)
def test_an_argument_that_cannot_work(read: Reader, arguments: dict[str, Any]) -> None:
    with pytest.raises(IceInputError):
        read(**arguments)
    assert read.bucket.signed == 0


def test_no_signed_url_is_logged_or_raised(read: Reader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    read.bucket.faults = ["reset 3000", "500", "refused", "stall", "corrupt"]
    read()
    read.bucket.faults = ["reset 3000"] + ["503"] * 9
    with pytest.raises(IceDownloadError) as caught:
        read(overwrite="always")
    shown = caplog.text + str(caught.value) + repr(caught.value.__cause__)
    for secret in ("s1gnature", "Signature", "CAIStoken"):
        assert secret not in shown
