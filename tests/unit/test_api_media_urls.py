"""Which host a video is read from: nothing but scheme and host may change, the rest is signed."""

from __future__ import annotations

import pytest

from airflow_ice.api.errors import IceDownloadError
from airflow_ice.api.media_urls import readable_url

PATH = "/a%20b/%E4%B8%AD.mp4?Expires=1&OSSAccessKeyId=i&Signature=a%2Bb%3D&security-token=t/+"
OSS = "b.oss-cn-shanghai.aliyuncs.com"
DOMAINS = {"b": "video.example.com", "local": "http://127.0.0.1:8765"}


@pytest.mark.parametrize(
    ("host", "network", "expected"),
    [
        (OSS, "public", "https://video.example.com"),
        (OSS, "vpc", "https://video.example.com"),
        ("c.oss-cn-beijing.aliyuncs.com", "public", "https://c.oss-cn-beijing.aliyuncs.com"),
        ("c.oss-cn-beijing.aliyuncs.com", "vpc", "https://c.oss-cn-beijing-internal.aliyuncs.com"),
        (
            "c.oss-cn-beijing-internal.aliyuncs.com",
            "vpc",
            "https://c.oss-cn-beijing-internal.aliyuncs.com",
        ),
        ("cdn.example.com", "vpc", "https://cdn.example.com"),
        ("127.0.0.1:8765", "vpc", "http://127.0.0.1:8765"),
        ("local.oss-cn-shanghai.aliyuncs.com", "public", "http://127.0.0.1:8765"),
        ("b.oss-cn-shanghai.aliyuncs.com.evil.example", "vpc", None),
    ],
)
def test_the_host(host: str, network: str, expected: str | None) -> None:
    expected = expected or f"https://{host}"
    for scheme in ("http", "https", "HTTP"):
        found = readable_url(f"{scheme}://{host}{PATH}", network=network, domains=DOMAINS)
        assert found == expected + PATH


def test_one_slash_is_completed() -> None:
    assert readable_url(f"http:/{OSS}{PATH}", domains={}) == f"https://{OSS}{PATH}"


@pytest.mark.parametrize(
    "url", ["", "oss://b/a.mp4", "ftp://b/a", "/a.mp4", "http://b", "http://b x/a"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(IceDownloadError, match="not an http"):
        readable_url(url, domains={})


def test_the_error_shows_no_signature() -> None:
    with pytest.raises(IceDownloadError) as caught:
        readable_url(f"oss://b{PATH}", domains={})
    assert "Signature" not in str(caught.value)
