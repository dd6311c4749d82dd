"""Region to endpoint.

The table is that of the API page "Endpoints" (api-ice-2020-11-09-endpoint): the same six regions,
public and VPC. The official SDK's own table points most regions at a legacy host and ignores the
network, so it is not followed here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from airflow_ice.api.errors import IceInputError

Network = Literal["public", "vpc"]

REGIONS: Final = (
    "cn-shanghai",
    "cn-beijing",
    "cn-hangzhou",
    "cn-shenzhen",
    "us-west-1",
    "ap-southeast-1",
)
DEFAULT_REGION: Final = "cn-shanghai"

_REGION = re.compile(r"[a-z]{2}-[a-z]+(?:-[a-z0-9]+)*")
_LONGEST_LABEL: Final = (
    63  # RFC 1035, 2.3.4; a longer one fails in the name lookup, which says nothing useful
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    :param scheme: https, or http for a loopback host.
    :param host: with the port where it is not the scheme's own.
    """

    scheme: str
    host: str

    @property
    def url(self) -> str:
        """The address of the API, ending in `/`."""
        return f"{self.scheme}://{self.host}/"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether a host name without port is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    if ":" in name:
        return _HOST.fullmatch(f"[{name}]") is not None
    return _HOST.fullmatch(name) is not None and all(
        0 < len(label) <= _LONGEST_LABEL for label in name.split(".")
    )


def region_endpoint(region_id: str = DEFAULT_REGION, network: str = "public") -> Endpoint:
    """Return the endpoint of a region; one that the table does not know follows its rule.

    :param network: `public`, or `vpc` for machines inside Alibaba Cloud.
    :raises IceInputError: what is given is not a region or a network.
    """
    if not _REGION.fullmatch(region_id) or len(region_id) > _LONGEST_LABEL:
        raise IceInputError(
            "region_id", region_id, f"is not a region id; ICE runs in {', '.join(REGIONS)}"
        )
    if network not in {"public", "vpc"}:
        raise IceInputError("network", network, "must be public or vpc")
    return Endpoint("https", f"ice{'-vpc' if network == 'vpc' else ''}.{region_id}.aliyuncs.com")


def endpoint(
    *,
    region_id: str = DEFAULT_REGION,
    network: str = "public",
    host: str | None = None,
    port: int | None = None,
) -> Endpoint:
    """Return where requests go: the given host above all, else the region's endpoint.

    :param host: `ice.cn-beijing.aliyuncs.com`, `127.0.0.1:8765` or a URL of either. Without a
        scheme it is https, and http for loopback.
    :param port: a port, where host names none.
    :raises IceInputError: not a host, or plain http to a host that is not loopback.
    """
    if not host or not host.strip():
        return region_endpoint(region_id, network)
    given = host.strip()
    try:
        parts = urlsplit(given if "://" in given else f"//{given}")
        name, own_port = parts.hostname or "", parts.port or port
    except ValueError as cause:
        raise IceInputError(
            "host", None if "@" in given else given, f"is not a host name ({cause})"
        ) from None
    more_than_a_host = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    if more_than_a_host or not _is_host(name) or not 1 <= (own_port or 1) <= 65535:
        raise IceInputError(
            "host",
            None if "@" in given else given,
            "must be a host name, with a scheme and a port at most",
        )
    scheme = parts.scheme or ("http" if is_loopback(name) else "https")
    if scheme not in {"http", "https"}:
        raise IceInputError("host", given, "must be an http or https address")
    if scheme == "http" and not is_loopback(name):
        rule = (
            "must be https: plain http is for loopback hosts only, since requests carry "
            "signatures and tokens"
        )
        raise IceInputError("host", given, rule)
    shown = f"[{name}]" if ":" in name else name
    return Endpoint(
        scheme,
        f"{shown}:{own_port}"
        if own_port and own_port != {"http": 80, "https": 443}[scheme]
        else shown,
    )
