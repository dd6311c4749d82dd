"""Where videos may play from, and the address that the browser is sent to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from airflow_ice.connections import IceConnection

OSS: Final = "https://*.aliyuncs.com"
"""Every bucket's own domain (OSS documentation, "regions and endpoints")."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def policy(hosts: Iterable[str]) -> str:
    """Return the Content-Security-Policy of a page: its own files, and media from these hosts."""
    media = " ".join(["'self'", *dict.fromkeys(hosts)])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src {media}; media-src {media}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )


def media_hosts(endpoint_host: str, media_domains: Mapping[str, str]) -> list[str]:
    """Return where the videos of a connection lie, as sources of a Content-Security-Policy.

    :param endpoint_host: where the API is asked, with its port: a local emulator serves its
        objects, too.
    :param media_domains: bucket to custom domain, as the connection has it.
    """
    hosts = [OSS, *(_source(domain) for domain in media_domains.values())]
    if _is_loopback(endpoint_host):
        hosts.append(f"http://{endpoint_host}")
    return [host for host in hosts if _is_source(host)]


def domains_of(connection: IceConnection) -> Mapping[str, str]:
    """Return the connection's custom domains by bucket: its extra `media_domains`."""
    found = getattr(connection, "media_domains", None)
    return found if isinstance(found, Mapping) else {}


def playable(url: str) -> str:
    """Return a signed URL as a browser may open it: https, unless it is this machine's own.

    ICE signs http addresses, which a browser refuses inside an https page; OSS answers on both, and
    a signature does not cover the scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return urlunsplit(parts._replace(scheme="https"))
    return url


def with_domain(url: str, media_domains: Mapping[str, str]) -> str:
    """Return a signed URL on the bucket's custom domain, where the connection names one.

    A signature in the query does not cover the host (OSS documentation, "add signatures to URLs").
    """
    parts = urlsplit(url)
    bucket = (parts.hostname or "").partition(".")[0]
    domain = media_domains.get(bucket)
    if not domain:
        return url
    custom = urlsplit(domain if "://" in domain else f"https://{domain}")
    return urlunsplit(parts._replace(scheme=custom.scheme, netloc=custom.netloc))


def _source(domain: str) -> str:
    parts = urlsplit(domain if "://" in domain else f"https://{domain}")
    return f"{parts.scheme}://{parts.netloc}"


def _is_source(host: str) -> bool:
    """Tell whether a text can stand in the header without changing what else it says."""
    return not any(character in host for character in " ;,'\"\r\n\t")


def _is_loopback(host: str) -> bool:
    return (urlsplit(f"//{host}").hostname or "") in _LOOPBACK
