"""The settings of a local ICE. They are checked when made, so a wrong value is an error before a
port is opened.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CALLBACK_KEY: Final = re.compile(r"[A-Za-z0-9]{1,32}")
REGIONS: Final = (
    "cn-shanghai",
    "cn-beijing",
    "cn-hangzhou",
    "cn-shenzhen",
    "us-west-1",
    "ap-southeast-1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one emulator. Secrets never show in its repr.

    :param host: the address to listen on; only loopback, because the emulator has no access control
        of its own.
    :param port: the TCP port; 0 takes a free one.
    :param data_dir: the folder that holds the jobs (`ice.sqlite3`) and the objects (`objects/`);
        made when missing.
    :param access_key_id: the one AccessKey ID that is known.
    :param access_key_secret: its secret.
    :param security_token: an STS token accepted with that key, which is also accepted alone; None
        refuses every token.
    :param bearer_token: a bearer token accepted in place of a signature; None refuses every one.
    :param job_seconds: how long a batch job takes on the emulator's clock, in seconds.
    :param media_dir: a folder whose files are objects of the emulator's own store.
    :param bucket: the bucket name of the emulator's own store.
    :param render: make real video files; without it jobs end with no files, which is faster.
    :param callback_auth_key: the key that signs callbacks, 1 to 32 letters and digits; None leaves
        them unsigned.
    :param region_id: the region that the emulator stands for.
    :param media_lag_seconds: for how long after its sub-job's end a media asset is still Preparing,
        in seconds on the emulator's clock.
    :param media_domains: custom domains of buckets, bucket to host name without a port: loopback,
        such as `localhost`, or a name below it. Objects are served there by the Host header.
    :param oss_urls: sign URLs on the bucket's default domain, as the service does, and not on the
        emulator's own address. Nothing here answers at that domain, so a client gets to an object
        by a custom domain only, or with its Host header.
    :raises ValueError: a value cannot be used; the message says which and why.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8765
    access_key_id: str = "testid"
    access_key_secret: str = field(default="testsecret", repr=False)
    security_token: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    job_seconds: float = 10.0
    media_dir: Path | None = None
    bucket: str = "ice-emulator"
    render: bool = True
    callback_auth_key: str | None = field(default=None, repr=False)
    region_id: str = "cn-shanghai"
    media_lag_seconds: float = 0.0
    media_domains: Mapping[str, str] = field(default_factory=dict)
    oss_urls: bool = False

    def __post_init__(self) -> None:
        if not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address; "
                "the emulator listens on 127.0.0.1, ::1 or localhost only"
            )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not between 0 and 65535")
        if not self.job_seconds >= 0:
            raise ValueError(f"job_seconds {self.job_seconds} is negative")
        if not self.access_key_id or not self.access_key_secret:
            raise ValueError("access_key_id and access_key_secret must not be empty")
        if self.media_dir is not None and not self.media_dir.is_dir():
            raise ValueError(f"media_dir {self.media_dir} is not a folder")
        if self.callback_auth_key is not None and not _CALLBACK_KEY.fullmatch(
            self.callback_auth_key
        ):
            raise ValueError("callback_auth_key is not 1 to 32 letters and digits")
        if not self.media_lag_seconds >= 0:
            raise ValueError(f"media_lag_seconds {self.media_lag_seconds} is negative")
        for host in self.media_domains.values():
            if not is_loopback(host) and not host.endswith(".localhost"):
                raise ValueError(
                    f"media_domains {host!r} is not a loopback name, such as localhost"
                )
        if not self.bucket or "/" in self.bucket or "." in self.bucket:
            raise ValueError(f"bucket {self.bucket!r} is not a bucket name")


def is_loopback(host: str) -> bool:
    """Tell whether a host, a name or an address, is this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
