"""What a reply means for a download, without a network: the head of a reply, the end, the
pauses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from airflow_ice.api.download import Download, DownloadInterruptedError, DownloadPolicy
from airflow_ice.api.errors import IceDownloadError
from airflow_ice.api.fetch import Progress

HEAD = {"etag": '"e"', "content-length": "10"}


def begun(**policy: Any) -> Download:
    download = Download("media m", DownloadPolicy(**policy), 100.0)
    download.begin(200, HEAD, b"")
    download.received(b"12345")
    return download


def part(value: str) -> dict[str, str]:
    return {"etag": '"e"', "content-range": value}


def test_a_partial_reply_continues_where_the_download_stopped() -> None:
    download = begun()
    assert download.headers()["range"] == "bytes=5-"
    assert download.headers()["if-match"] == '"e"'
    download.begin(206, part("bytes 5-9/10"), b"")
    download.received(b"67890")
    assert download.ended().size == 10


@pytest.mark.parametrize(
    "headers",
    [
        {},
        part("bytes 4-9/10"),
        part("bytes 0-9/10"),
        part("nonsense"),
        {"etag": '"other"', "content-range": "bytes 5-9/10"},
    ],
)
def test_a_part_that_was_not_asked_for_starts_over(headers: dict[str, str]) -> None:
    download = begun()
    with pytest.raises(DownloadInterruptedError):
        download.begin(206, headers, b"")
    assert download.offset == 0
    assert "range" not in download.headers()


@pytest.mark.parametrize("status", [412, 416])
def test_a_changed_object_starts_over(status: int) -> None:
    download = begun()
    with pytest.raises(DownloadInterruptedError):
        download.begin(status, {}, b"")
    assert download.offset == 0


def test_a_weak_etag_is_not_sent_back() -> None:
    download = Download("media m", DownloadPolicy(), 0.0)
    crc = {"x-oss-hash-crc64ecma": "1"}
    download.begin(200, {"etag": 'W/"e"', "content-length": "10", **crc}, b"")
    download.received(b"1")
    assert "if-match" not in download.headers()


def test_it_does_not_start_over_for_ever() -> None:
    download = begun(restarts=2)
    for _ in range(2):
        with pytest.raises(DownloadInterruptedError):
            download.begin(412, {}, b"")
    with pytest.raises(IceDownloadError, match="started over 3 times: it has changed"):
        download.begin(412, {}, b"")


def test_more_bytes_than_the_file_has() -> None:
    download = begun()
    download.received(b"6789012")
    with pytest.raises(DownloadInterruptedError, match="more bytes"):
        download.ended()
    assert download.offset == 0


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    download = begun(tries=9, first_pause=1.0, longest_pause=10.0, timeout=1000.0)
    assert [download.interrupted("x", 100.0) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    download.received(b"6")
    assert download.interrupted("x", 100.0) == 1


def test_no_pause_goes_past_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    download = begun(timeout=50.0)
    assert download.interrupted("x", 148.0) == 1
    with pytest.raises(IceDownloadError, match=r"its 50 s are over \(after 5 bytes\)"):
        download.interrupted("x", 148.0)


@pytest.mark.parametrize("status", [301, 400, 404, 410, 411])
def test_what_no_retry_changes_is_final(status: int) -> None:
    with pytest.raises(IceDownloadError) as caught:
        begun().begin(status, {}, b"<Error><Code>C</Code><Message>m</Message></Error>")
    assert not caught.value.transient
    assert (caught.value.code, caught.value.http_status) == ("C", status)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"<html>502</html>", b"<Code>" * 999])
def test_any_body_is_survived(body: bytes) -> None:
    with pytest.raises(DownloadInterruptedError):
        begun().begin(502, {}, body)


@pytest.mark.parametrize("crc", ["not a number", "-1", "", " ", "1" * 400])
def test_a_checksum_that_is_none(crc: str) -> None:
    download = Download("media m", DownloadPolicy(), 0.0)
    download.begin(200, {**HEAD, "x-oss-hash-crc64ecma": crc}, b"")
    download.received(b"1234567890")
    if crc.strip():
        with pytest.raises(DownloadInterruptedError):
            download.ended()
    else:
        assert download.ended().crc64 is None


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, *args: Any) -> None:
        self.lines.append(message % args)


def test_progress_is_told_at_growing_intervals() -> None:
    now, lines, download = 0.0, Lines(), begun()
    progress = Progress("media m", lines, lambda: now)
    told: list[float] = []
    for second in range(2000):
        now = float(second)
        before = len(lines.lines)
        progress(download)
        if len(lines.lines) > before:
            told.append(now)
    assert told == [10, 30, 70, 150, 310, 610, 910, 1210, 1510, 1810]
    assert lines.lines[0] == "media m: 0.0 of 0.0 MB read."
