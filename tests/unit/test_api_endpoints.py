"""Region to host: the table, the rule for regions that it does not know, and the host given by
hand."""

from __future__ import annotations

import pytest

from airflow_ice.api.endpoints import (
    DEFAULT_REGION,
    REGIONS,
    Endpoint,
    endpoint,
    is_loopback,
    region_endpoint,
)
from airflow_ice.api.errors import IceInputError


@pytest.mark.parametrize(
    "region",
    ["cn-shanghai", "cn-beijing", "cn-hangzhou", "cn-shenzhen", "us-west-1", "ap-southeast-1"],
)
def test_the_table(region: str) -> None:
    assert region in REGIONS
    assert region_endpoint(region).url == f"https://ice.{region}.aliyuncs.com/"
    assert region_endpoint(region, "vpc").url == f"https://ice-vpc.{region}.aliyuncs.com/"


def test_the_table_holds_six_regions_and_the_default_is_shanghai() -> None:
    assert len(REGIONS) == 6
    assert (
        endpoint()
        == region_endpoint()
        == region_endpoint(DEFAULT_REGION)
        == Endpoint("https", "ice.cn-shanghai.aliyuncs.com")
    )


def test_a_region_that_the_table_does_not_know_follows_its_rule() -> None:
    assert endpoint(region_id="cn-zhangjiakou").host == "ice.cn-zhangjiakou.aliyuncs.com"
    assert (
        endpoint(region_id="eu-central-1", network="vpc").host
        == "ice-vpc.eu-central-1.aliyuncs.com"
    )


@pytest.mark.parametrize(
    "region",
    [
        "",
        "shanghai",
        "cn_shanghai",
        "CN-SHANGHAI",
        "cn-shanghai.evil.com",
        "cn-x/",
        "cn-" + "a" * 70,
    ],
)
def test_what_cannot_be_a_region_is_refused(region: str) -> None:
    with pytest.raises(IceInputError) as caught:
        region_endpoint(region)
    assert caught.value.field == "region_id"


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(IceInputError, match="network is 'intranet', but it must be public or vpc"):
        endpoint(network="intranet")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ice.cn-beijing.aliyuncs.com", "https://ice.cn-beijing.aliyuncs.com/"),
        (" ice.cn-beijing.aliyuncs.com ", "https://ice.cn-beijing.aliyuncs.com/"),
        ("https://ice.cn-beijing.aliyuncs.com/", "https://ice.cn-beijing.aliyuncs.com/"),
        ("https://ice.cn-beijing.aliyuncs.com:443", "https://ice.cn-beijing.aliyuncs.com/"),
        ("ice.example.com:8443", "https://ice.example.com:8443/"),
        ("127.0.0.1:8765", "http://127.0.0.1:8765/"),
        ("http://127.0.0.1:80", "http://127.0.0.1/"),
        ("127.9.9.9", "http://127.9.9.9/"),
        ("LOCALHOST:8765", "http://localhost:8765/"),
        ("https://localhost:8765", "https://localhost:8765/"),
        ("[::1]:8765", "http://[::1]:8765/"),
        ("[::1]", "http://[::1]/"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("10.0.0.7:8443", "https://10.0.0.7:8443/"),
    ],
)
def test_a_host_given_by_hand_wins_over_region_and_network(host: str, url: str) -> None:
    assert endpoint(host=host, region_id="not a region", network="not a network").url == url


def test_a_port_counts_where_the_host_names_none() -> None:
    assert endpoint(host="127.0.0.1", port=8765).host == "127.0.0.1:8765"
    assert endpoint(host="[::1]", port=8765).host == "[::1]:8765"
    assert endpoint(host="127.0.0.1:1234", port=8765).host == "127.0.0.1:1234"
    assert endpoint(host="ice.example.com", port=443).host == "ice.example.com"


@pytest.mark.parametrize("host", [None, "", "  "])
def test_no_host_is_the_region_s(host: str | None) -> None:
    assert endpoint(host=host, region_id="us-west-1").host == "ice.us-west-1.aliyuncs.com"


@pytest.mark.parametrize(
    "host",
    [
        "http://ice.cn-shanghai.aliyuncs.com",
        "http://10.0.0.7:8765",
        "http://0.0.0.0:8765",
        "http://127.0.0.1.evil.com",
    ],
)
def test_plain_http_is_for_loopback_hosts_only(host: str) -> None:
    with pytest.raises(IceInputError, match="must be https: plain http is for loopback hosts only"):
        endpoint(host=host)


@pytest.mark.parametrize(
    "host",
    [
        "https://host/path",
        "https://host?x=1",
        "https://host#x",
        "ftp://host",
        "host name",
        "host:99999",
        "host:abc",
        "[::1",
        "::1",
        "https://",
        "-host",
        "ho_st",
        "a" * 64 + ".com",
        "a..b",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(IceInputError) as caught:
        endpoint(host=host)
    assert caught.value.field == "host"


def test_a_port_that_cannot_be_is_refused() -> None:
    with pytest.raises(IceInputError):
        endpoint(host="127.0.0.1", port=70000)


@pytest.mark.parametrize(
    "host", ["https://user:hunter2@host", "user:hunter2@host", "https://user:hunter2@[bad"]
)
def test_a_password_in_a_host_is_refused_and_not_shown(host: str) -> None:
    with pytest.raises(IceInputError) as caught:
        endpoint(host=host)
    assert (
        "hunter2"
        not in f"{caught.value} {caught.value!r} {caught.value.as_dict()} {caught.value.value}"
    )


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.evil.com", False),
        ("127.0.0.1.nip.io", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_endpoint_knows_whether_it_is_this_machine() -> None:
    assert endpoint(host="[::1]:8765").is_loopback
    assert endpoint(host="https://localhost:1").is_loopback
    assert not endpoint().is_loopback
