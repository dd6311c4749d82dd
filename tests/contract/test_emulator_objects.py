"""Objects over HTTP as OSS serves them: parts, conditions, domains, errors and faults."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.media.checksums import crc64
from airflow_ice.emulator.media.render import Sources, render
from airflow_ice.emulator.model.timeline import Segment, Timeline
from tests.contract.conftest import Sdk

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
NAME = "oss://ice-emulator/clip.bin"


@pytest.fixture(scope="module")
def media_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "clip.bin").write_bytes(CONTENT)
    timeline = Timeline(1, 160, 128, 30, 0.0, (Segment("x", 0.4),))
    render(timeline, Sources([None]), folder / "clip.mp4", lambda: False)
    return folder


@pytest.fixture
def studio(media_dir: Path) -> Iterator[LocalIce]:
    domains = {"ice-emulator": "localhost"}
    with LocalIce(media_dir=media_dir, render=False, media_domains=domains) as ice:
        ice.freeze()
        yield ice


@pytest.fixture
def url(studio: LocalIce) -> str:
    return signed(studio)


def signed(ice: LocalIce, name: str = NAME) -> str:
    (info,) = Sdk(ice).media(input_url=name).file_info_list
    found: str = info.file_basic_info.file_url
    return found


def fetch(url: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(url, headers=named, trust_env=False)


def code(reply: httpx.Response) -> tuple[int, str]:
    assert reply.headers["content-type"].startswith("application/xml")
    return reply.status_code, fields(reply)["Code"]


def fields(reply: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r"<(\w+)>([^<]*)</\1>", reply.text))


def test_a_whole_object(url: str) -> None:
    reply = fetch(url)
    assert (reply.status_code, reply.content) == (200, CONTENT)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest().upper()
    expected = {
        "etag": f'"{digest}"',
        "content-length": str(SIZE),
        "accept-ranges": "bytes",
        "x-oss-hash-crc64ecma": str(crc64(CONTENT)),
        "x-oss-object-type": "Normal",
        "server": "AliyunOSS",
    }
    assert {name: reply.headers[name] for name in expected} == expected
    assert reply.headers["last-modified"].endswith("GMT")


def test_a_browser_may_play_it(studio: LocalIce) -> None:
    url = signed(studio, "oss://ice-emulator/clip.mp4")
    reply = fetch(url, Range="bytes=0-", Origin="http://airflow.example")
    assert (reply.status_code, reply.headers["content-type"]) == (206, "video/mp4")
    assert (
        reply.headers["content-range"] == f"bytes 0-{len(reply.content) - 1}/{len(reply.content)}"
    )
    assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=10-19", 10, 19),
        ("bytes=10000-", 10000, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE - 1),
    ],
)
def test_a_part(url: str, asked: str, first: int, last: int) -> None:
    reply = fetch(url, Range=asked)
    assert (reply.status_code, reply.content) == (206, CONTENT[first : last + 1])
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply.headers["content-length"] == str(last - first + 1)
    # That of the whole object, also here.
    assert reply.headers["x-oss-hash-crc64ecma"] == str(crc64(CONTENT))


@pytest.mark.parametrize(
    ("asked", "standard"),
    [
        (f"bytes={SIZE}-", 416),
        (f"bytes=100-{SIZE}", 206),
        (f"bytes=-{SIZE + 1}", 206),
        ("bytes=-0", 416),
        ("bytes=20-10", 200),
        ("byte=0-4", 200),
    ],
)
def test_a_part_outside_the_object(url: str, asked: str, standard: int) -> None:
    assert fetch(url, Range=asked).content == CONTENT
    reply = fetch(url, Range=asked, x_oss_range_behavior="standard")
    assert reply.status_code == standard
    if standard == 416:
        assert code(reply) == (416, "InvalidRange")


def test_several_parts_at_once_are_refused(url: str) -> None:
    assert code(fetch(url, Range="bytes=0-1,4-5")) == (416, "InvalidRange")


def test_conditions(url: str) -> None:
    etag = fetch(url).headers["etag"]
    assert fetch(url, If_Match=etag, Range="bytes=5-9").content == CONTENT[5:10]
    assert code(fetch(url, If_Match='"OTHER"', Range="bytes=5-9")) == (412, "PreconditionFailed")
    assert fetch(url, If_None_Match=etag).status_code == 304


def test_an_expired_url(studio: LocalIce, url: str) -> None:
    studio.advance(3602)
    reply = fetch(url)
    assert code(reply) == (403, "AccessDenied")
    assert fields(reply)["Message"] == "Request has expired."
    assert fields(reply)["RequestId"] == reply.headers["x-oss-request-id"]
    assert {"Expires", "ServerTime", "HostId"} <= set(fields(reply))


def test_a_url_signed_for_get_is_refused_for_head(url: str) -> None:
    assert httpx.head(url, trust_env=False).status_code == 403


def test_an_object_that_is_not_there(studio: LocalIce, url: str) -> None:
    (studio.settings.data_dir / "objects" / "shop" / "day").mkdir(parents=True)
    file = studio.settings.data_dir / "objects" / "shop" / "day" / "v.bin"
    file.write_bytes(b"x")
    gone = signed(studio, "oss://shop/day/v.bin")
    file.unlink()
    assert code(fetch(gone)) == (404, "NoSuchKey")


# Domains


def on_host(url: str, host: str) -> str:
    """Return the URL of an object with its bucket's own domain: the key is the path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=host, path=parts.path.split("/", 3)[3]))


def test_the_domains_of_a_bucket(studio: LocalIce, url: str) -> None:
    here = on_host(url, f"127.0.0.1:{studio.port}")
    oss = "ice-emulator.oss-cn-shanghai"
    replies = [
        fetch(url),
        fetch(here, Host=f"{oss}.aliyuncs.com"),
        fetch(here, Host=f"{oss}-internal.aliyuncs.com"),
        # As a client reaches a custom domain: another host in the URL, the same signature.
        fetch(on_host(url, f"localhost:{studio.port}")),
        fetch(url.replace("127.0.0.1", "localhost")),
    ]
    assert [reply.content for reply in replies] == [CONTENT] * 5
    domains = [seen["domain"] for seen in studio.reads()]
    assert domains == ["public", "public", "internal", "custom", "custom"]
    assert code(fetch(here)) == (404, "NoSuchBucket")


def test_public_endpoint_forbidden(studio: LocalIce, url: str) -> None:
    studio.fault("public_endpoint_forbidden", times=-1)
    reply = fetch(url)
    assert code(reply) == (400, "PublicEndpointForbidden")
    assert fields(reply)["EC"] == "0048-00000401"
    unsigned = url.partition("?")[0]
    assert code(fetch(unsigned)) == (400, "PublicEndpointForbidden")
    here = on_host(url, f"127.0.0.1:{studio.port}")
    internal = "ice-emulator.oss-cn-shanghai-internal.aliyuncs.com"
    assert fetch(here, Host=internal).content == CONTENT
    assert fetch(on_host(url, f"localhost:{studio.port}")).content == CONTENT


def test_urls_in_osss_own_form(media_dir: Path) -> None:
    domains = {"ice-emulator": "localhost"}
    settings: dict[str, Any] = {"media_dir": media_dir, "render": False, "oss_urls": True}
    with LocalIce(media_domains=domains, **settings) as ice:
        url = signed(ice)
        assert url.startswith("http://ice-emulator.oss-cn-shanghai.aliyuncs.com/clip.bin?")
        custom = urlunsplit(urlsplit(url)._replace(netloc=f"localhost:{ice.port}"))
        assert fetch(custom).content == CONTENT


# Faults


def received(url: str, **headers: str) -> tuple[bytes, bool]:
    """Return what came of a body, and whether its end did."""
    got = b""
    with httpx.stream("GET", url, headers=headers, trust_env=False) as reply:
        try:
            for piece in reply.iter_raw():
                got += piece
        except httpx.TransportError:
            return got, False
    return got, True


def test_a_reset_inside_the_body_and_a_resume(studio: LocalIce, url: str) -> None:
    studio.fault("object_reset", after_bytes=3000)
    got, complete = received(url)
    assert (got, complete) == (CONTENT[:3000], False)
    rest = fetch(url, Range=f"bytes={len(got)}-")
    assert got + rest.content == CONTENT
    assert [(seen["http_status"], seen["range"], seen["sent"]) for seen in studio.reads()] == [
        (200, None, 3000),
        (206, "bytes=3000-", SIZE - 3000),
    ]


def test_errors_slow_replies_and_matching_by_key(studio: LocalIce, url: str) -> None:
    studio.fault("object_error", key="other.bin", times=-1)
    studio.fault("object_error", key="clip.bin", status=500, code="InternalError")
    studio.fault("object_slow", seconds=0.2)
    started = time.monotonic()
    assert code(fetch(url)) == (500, "InternalError")
    assert time.monotonic() - started >= 0.2
    assert fetch(url).content == CONTENT


def test_a_body_that_trickles(studio: LocalIce, url: str) -> None:
    studio.fault("object_trickle", bytes_each=SIZE // 4, seconds=0.05)
    started = time.monotonic()
    assert received(url) == (CONTENT, True)
    assert time.monotonic() - started >= 0.15  # three pauses


def test_an_object_that_changes_between_two_reads(studio: LocalIce, media_dir: Path) -> None:
    url = signed(studio, "oss://ice-emulator/clip.mp4")
    before = fetch(url)
    studio.fault("object_changed")
    after = fetch(url, If_Match=before.headers["etag"])
    assert code(after) == (412, "PreconditionFailed")
    after = fetch(url)
    for name in ("etag", "x-oss-hash-crc64ecma", "content-length"):
        assert after.headers[name] != before.headers[name]
    assert after.headers["x-oss-hash-crc64ecma"] == str(crc64(after.content))
    # The user's own file is as it was.
    assert (media_dir / "clip.mp4").read_bytes() == before.content


def test_a_flipped_bit_does_not_fit_the_crc(studio: LocalIce, url: str) -> None:
    studio.fault("object_corrupt")
    reply = fetch(url)
    assert (len(reply.content), reply.content != CONTENT) == (SIZE, True)
    assert reply.headers["x-oss-hash-crc64ecma"] == str(crc64(CONTENT))
    assert fetch(url).content == CONTENT


def test_a_fault_does_not_excuse_a_bad_signature(studio: LocalIce, url: str) -> None:
    studio.fault("object_error")
    assert code(fetch(url[:-2])) == (403, "SignatureDoesNotMatch")
    assert code(fetch(url)) == (503, "ServiceUnavailable")


def test_nothing_signed_is_remembered_of_a_read(studio: LocalIce, url: str) -> None:
    fetch(url)
    assert "Signature" not in str(studio.reads())
    shown = httpx.get(f"{studio.url}/_control/reads", trust_env=False).json()["reads"]
    assert shown == studio.reads()


# Media that is not ready yet


def test_media_is_preparing_for_a_while_after_its_job() -> None:
    with LocalIce(render=False, job_seconds=10.0, media_lag_seconds=30.0) as ice:
        ice.freeze()
        sdk = Sdk(ice)
        job_id = sdk.submit()
        ice.finish_all()
        made = sdk.get(job_id).sub_job_list[-1]
        assert made.status == "Success"
        info = sdk.media(media_id=made.media_id)
        assert (info.media_basic_info.status, info.file_info_list) == ("Preparing", [])
        ice.advance(31)
        info = sdk.media(media_id=made.media_id)
        assert (info.media_basic_info.status, len(info.file_info_list)) == ("Normal", 1)
