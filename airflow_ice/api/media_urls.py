"""Where a video is read: the signed URL of GetMediaInfo, on a host that this account may use.

Since 2025-03-20, OSS refuses new users' requests to mainland buckets through the default public
domain (documents 31836 and map-custom-domain-names-1, EC 0048-00000401). A V1 query signature
covers the verb, the expiry and the object, not the host (document "Include signatures in URLs"), so
the same signature holds on a custom domain of the bucket and on its internal domain. Nothing but
scheme and host is changed: path and query are signed as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from airflow_ice.api.endpoints import is_loopback
from airflow_ice.api.errors import IceDownloadError

_OSS_HOST: Final = re.compile(
    r"([a-z0-9-]+)\.(oss-[a-z0-9-]+?)(-internal)?\.aliyuncs\.com", re.IGNORECASE
)


def bucket_of(host: str) -> str | None:
    """Return the bucket whose default OSS domain a host is; None for another host."""
    found = _OSS_HOST.fullmatch(host)
    return found[1].lower() if found else None


def readable_url(url: str, *, network: str = "public", domains: Mapping[str, str]) -> str:
    """Return a signed URL on the host that is to be read: https, unless that is this machine.

    :param network: `vpc` reads the bucket's internal domain.
    :param domains: bucket to custom domain, `video.example.com` or its URL; wins over `network`.
    :raises IceDownloadError: it is not an http(s) URL.
    """
    found = re.fullmatch(r"(https?):/{1,2}([^/?#\s]+)(/[^\s#]*)", url.strip(), re.IGNORECASE)
    if found is None:
        raise IceDownloadError("GetMediaInfo gave a file URL that is not an http(s) address")
    host, rest = found[2], found[3]
    oss = _OSS_HOST.fullmatch(host)
    if oss and (domain := domains.get(oss[1])):
        _, _, host = domain.rstrip("/").rpartition("://")
    elif oss and network == "vpc":
        host = f"{oss[1]}.{oss[2]}-internal.aliyuncs.com"
    scheme = "http" if is_loopback(urlsplit(f"//{host}").hostname or "") else "https"
    return f"{scheme}://{host}{rest}"
