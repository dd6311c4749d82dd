"""What the fields of an Airflow connection mean: an endpoint, credentials, time limits. Pure, and
nothing of Airflow in it.

Two connection types are understood: `alibaba_ice`, the one of this package, and `alibaba_cloud` of
the apache provider for Alibaba, which keeps its AccessKey in extra.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_ice.api import limits
from airflow_ice.api.credentials import CredentialsSource, FixedCredentials, LibraryCredentials
from airflow_ice.api.endpoints import DEFAULT_REGION, Endpoint, endpoint, region_endpoint
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.rate import DEFAULT_REQUESTS_PER_SECOND
from airflow_ice.api.redaction import redact
from airflow_ice.api.signature import Credentials

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 10.0
"""Seconds; both are the official SDK's defaults."""

TIMEOUTS: Final = (0.001, 86_400.0)
"""Seconds: the shortest and the longest of a request."""

RATES: Final = (0.001, 10_000.0)
"""Requests a second: below, a wait for the next one has no end worth speaking of."""

ROLE_SESSION: Final = (900.0, 43_200.0)
"""Seconds: the shortest and the longest session of a role (AssumeRole of STS, DurationSeconds)."""

CREDENTIAL_TYPES: Final = (
    "access_key",
    "sts",
    "ram_role_arn",
    "ecs_ram_role",
    "oidc_role_arn",
    "credentials_uri",
    "default",
)

_ROLE_SETTINGS: Final = (
    "role_arn",
    "role_session_name",
    "role_session_expiration",
    "policy",
    "external_id",
    "sts_endpoint",
)
_LIBRARY_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "ram_role_arn": ("access_key_id", "access_key_secret", "security_token", *_ROLE_SETTINGS),
    "ecs_ram_role": ("role_name", "disable_imds_v1"),
    "oidc_role_arn": (
        "oidc_provider_arn",
        "oidc_token_file_path",
        *(name for name in _ROLE_SETTINGS if name != "external_id"),
    ),
    "credentials_uri": ("credentials_uri",),
}
"""What alibabacloud_credentials.models.Config takes for each type (version 1.0.12)."""

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "access_key": ("access_key_id", "access_key_secret"),
    "sts": ("access_key_id", "access_key_secret", "security_token"),
    "ram_role_arn": ("access_key_id", "access_key_secret", "role_arn"),
    "credentials_uri": ("credentials_uri",),
    # oidc_role_arn: what the connection leaves out, the library takes from the environment that a
    # cluster's RRSA sets.
}
_WHERE: Final[Mapping[str, str]] = {"access_key_id": "login", "access_key_secret": "password"}
_TEXTS: Final = (
    "role_name",
    "credentials_uri",
    "oidc_provider_arn",
    "oidc_token_file_path",
    *(name for name in _ROLE_SETTINGS if name != "role_session_expiration"),
)
_TRUTH: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_SETTINGS: Final = frozenset(
    {
        "region_id",
        "network",
        "credential_type",
        "security_token",
        "access_key_id",
        "access_key_secret",
        "disable_imds_v1",
        "role_session_expiration",
        "connect_timeout",
        "read_timeout",
        "proxy",
        "verify",
        "max_requests_per_second",
        "media_domains",
        *_TEXTS,
    }
)
"""The keys of extra that are read, whatever the type of the connection."""

_APACHE_TYPE: Final = "alibaba_cloud"
_APACHE_SETTINGS: Final = frozenset({"region", "auth_type", "endpoint", "project"})
"""What the hooks of the apache provider (apache-airflow-providers-alibaba 3.5) read of extra
besides, apart from keys that begin with a product's name."""

_APACHE_PREFIXES: Final = ("oss_", "adb_", "maxcompute_", "extra__")
_REGIONAL_HOST: Final = re.compile(r"ice(?:-vpc)?\.([a-z0-9-]+)\.aliyuncs\.com")
_DOMAIN: Final = re.compile(
    r"(?:https?://)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?/?", re.IGNORECASE
)
_SECRET_NAME: Final = re.compile(r"token|secret|key|sign|auth|pass|cred", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class IceConnection:
    """A connection's fields, read and checked.

    :param endpoint: where requests go.
    :param credential_type: one of CREDENTIAL_TYPES.
    :param connect_timeout: seconds. So is read_timeout.
    :param proxy: an address, or None for what the environment says.
    :param verify: a CA file, or None.
    :param max_requests_per_second: for all of this process that use the connection.
    :param network: `public` or `vpc`, which finished videos are read through as well.
    :param media_domains: bucket to custom domain, for reading videos where OSS refuses its default
        domain.
    :param warnings: sentences about keys of extra that are not known here. They show no value.
    """

    endpoint: Endpoint
    credential_type: str
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    proxy: str | None = field(default=None, repr=False)
    verify: str | None = None
    max_requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND
    network: str = "public"
    media_domains: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def secrets(self) -> list[str]:
        """Return what must be masked wherever it shows."""
        found = [self.settings.get("access_key_secret"), self.settings.get("security_token")]
        for address in (self.proxy, self.settings.get("credentials_uri")):
            found += _secrets_of(str(address or ""))
        return list(dict.fromkeys(str(secret) for secret in found if secret))

    def fingerprint(self) -> str:
        """Return a text that differs where any field differs. It holds no secret."""
        fields = (
            self.endpoint,
            self.credentials_key(),
            self.verify,
            self.max_requests_per_second,
            self.network,
            sorted(self.media_domains.items()),
        )
        return hashlib.sha256(repr(fields).encode()).hexdigest()

    @property
    def has_fixed_credentials(self) -> bool:
        """Whether the credentials are those of the connection itself."""
        return self.credential_type in {"access_key", "sts"}

    @property
    def region(self) -> str | None:
        """The region whose endpoint the requests go to; None for any other host."""
        regional = _REGIONAL_HOST.fullmatch(self.endpoint.host)
        return regional[1] if regional else None

    def in_region(self, region_id: str | None) -> IceConnection:
        """Return what leads to the same account in a region, by the same network.

        :param region_id: None for no other than its own. A host that is no region's endpoint stays.
        """
        if region_id is None or self.region in {None, region_id}:
            return self
        network = "vpc" if self.endpoint.host.startswith("ice-vpc.") else "public"
        return replace(self, endpoint=region_endpoint(region_id, network))

    def account(self) -> dict[str, str]:
        """Return where jobs run and who pays, as texts that differ where either does. No secret is
        in them.

        * `region`: the public and the VPC endpoint of a region are one place; any other host is a
          place of its own.
        * `credentials`: for keys of the connection's own, a hash of the AccessKey ID; else of the
          credential_type and of what it names: role, identity provider, address.
        """
        names = (
            ("access_key_id",)
            if self.has_fixed_credentials
            else ("role_arn", "role_name", "credentials_uri", "oidc_provider_arn")
        )
        payer = [_without_secrets(self.settings.get(name)) for name in names]
        if not self.has_fixed_credentials:
            payer.insert(0, self.credential_type)
        digest = hashlib.sha256(json.dumps(payer).encode()).hexdigest()
        return {
            "region": self.region or self.endpoint.host,
            "credentials": digest[:16],
        }

    def credentials_key(self) -> str:
        """Return what two connections have in common whose credentials are the same. It holds
        secrets.
        """
        times = (self.connect_timeout, self.read_timeout)
        return repr((self.credential_type, sorted(self.settings.items()), self.proxy, times))

    def credentials(self) -> CredentialsSource:
        """Return the source of credentials; no library is loaded and no network used until it is
        asked.
        """
        if self.has_fixed_credentials:
            return FixedCredentials(
                Credentials(
                    access_key_id=self.settings["access_key_id"],
                    access_key_secret=self.settings["access_key_secret"],
                    security_token=self.settings.get("security_token")
                    if self.credential_type == "sts"
                    else None,
                    provider_name="static_sts" if self.credential_type == "sts" else "static_ak",
                )
            )
        return LibraryCredentials(self._library_client)

    def _library_client(self) -> Any:
        from alibabacloud_credentials.client import Client
        from alibabacloud_credentials.models import Config

        if self.credential_type == "default":
            return Client()
        given = {
            name: self.settings[name]
            for name in _LIBRARY_SETTINGS[self.credential_type]
            if name in self.settings
        }
        config = Config(
            type=self.credential_type,
            timeout=int(self.read_timeout * 1000),
            connect_timeout=int(self.connect_timeout * 1000),
            proxy=self.proxy,
            **given,
        )
        return Client(config)


def _without_secrets(name: Any) -> Any:
    """Return the name of who pays; an address without its user, its query and its fragment."""
    if not isinstance(name, str) or "://" not in name:
        return name
    try:
        parts = urlsplit(name)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"
    except ValueError:  # not an address
        return None


def _secrets_of(address: str) -> list[str | None]:
    """Return the password of an address, its query as a whole, and what in the query is called a
    secret.
    """
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:  # not an address, which whoever uses it says
        return []
    # As it is written and as it is meant: either may show.
    found = [password, unquote(password or ""), parts.query]
    return found + [value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name)]


def read_connection(
    *,
    login: str | None,
    password: str | None,
    host: str | None,
    port: int | None = None,
    schema: str | None = None,
    extra: Mapping[str, Any] | str | None,
    region_id: str | None = None,
    conn_type: str | None = None,
) -> IceConnection:
    """Read the fields of a connection of type `alibaba_ice` or `alibaba_cloud`.

    The latter keeps its region in extra `region`. In a connection of type `alibaba_ice` that key is
    read with a warning, since a job must not land in another region than was meant.

    :param login: AccessKey ID. password: AccessKey secret. host: endpoint override.
    :param port: 1 to 65535; None or 0 for the scheme's own.
    :param extra: all else: a dict, or the JSON text of an object; None or empty for nothing.
    :param region_id: wins over the connection's own.
    :raises IceInputError: a field of a wrong type, or out of its range, or a host of another region
        than region_id; its message holds no secret.
    """
    extra = {name: value for name, value in checked_extra(extra).items() if value not in (None, "")}
    _check_text("region_id", region_id)
    address = _address(host, port, schema)
    region = (
        (region_id or "").strip() or _text(extra, "region_id") or _text(extra, "region") or None
    )
    network = _text(extra, "network") or "public"
    where = endpoint(region_id=region or DEFAULT_REGION, network=network, host=address, port=port)
    _one_region(region, where)
    settings = _credential_settings(extra, login, password)
    return IceConnection(
        endpoint=where,
        credential_type=_credential_type(extra, settings),
        connect_timeout=_number(extra, "connect_timeout", CONNECT_TIMEOUT, *TIMEOUTS),
        read_timeout=_number(extra, "read_timeout", READ_TIMEOUT, *TIMEOUTS),
        proxy=_proxy(extra),
        verify=_verify(extra, where),
        max_requests_per_second=_number(
            extra, "max_requests_per_second", DEFAULT_REQUESTS_PER_SECOND, *RATES
        ),
        network=network,
        media_domains=_media_domains(extra),
        warnings=tuple(_unknown_settings(extra, conn_type)),
        settings=settings,
    )


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, (str, NoneType)):
        raise IceInputError(name, limits.shown(name, value), "must be a text")


def _address(host: str | None, port: int | None, schema: str | None) -> str | None:
    """Return the endpoint override with its scheme, if it has one."""
    _check_text("host", host)
    _check_text("schema", schema)
    if port is not None:
        limits.whole_number("port", port, 0, 65535)
    is_bare = host and "://" not in host
    return f"{schema}://{host}" if is_bare and schema in {"http", "https"} else host


def _credential_settings(
    extra: Mapping[str, Any], login: str | None, password: str | None
) -> dict[str, Any]:
    """Return what credentials are made of, without what is not given."""
    settings: dict[str, Any] = {
        "access_key_id": _key(_there("access_key_id"), login or extra.get("access_key_id")),
        "access_key_secret": _key(
            _there("access_key_secret"), password or extra.get("access_key_secret")
        ),
        "security_token": _key(_there("security_token"), extra.get("security_token")),
        "disable_imds_v1": _truth(extra, "disable_imds_v1"),
        **{name: _text(extra, name) for name in _TEXTS},
    }
    if "role_session_expiration" in extra:
        settings["role_session_expiration"] = int(
            _number(extra, "role_session_expiration", 0, *ROLE_SESSION)
        )
    return {name: value for name, value in settings.items() if value not in (None, "")}


def _media_domains(extra: Mapping[str, Any]) -> dict[str, str]:
    """Return the custom domain of each bucket that has one: `{"BUCKET": "video.example.com"}`, as
    an object or as its JSON text, which is what the connection form stores.

    :raises IceInputError: it is neither, or a domain is not a host name or the URL of one.
    """
    given = extra.get("media_domains")
    found = {} if given is None else limits.json_object("media_domains", given)
    for bucket, domain in found.items():
        if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
            rule = "must be a host name such as video.example.com, without a path"
            raise IceInputError(f"media_domains.{bucket}"[: limits.MAX_PATH], None, rule)
    return found


def _one_region(region: str | None, where: Endpoint) -> None:
    """Refuse a host of another region than the one that is given with it: jobs are regional, and
    either may be the one that is meant.
    """
    name = urlsplit(where.url).hostname or ""
    regional = _REGIONAL_HOST.fullmatch(name)
    if region is None or regional is None or regional[1] == region:
        return
    raise IceInputError(
        "region_id",
        region,
        f"must be {regional[1]}, the region of the connection's host {name}",
        advice="Leave the host empty for the region's own endpoint, or make the two agree.",
    )


def _unknown_settings(extra: Mapping[str, Any], conn_type: str | None) -> list[str]:
    """Return a sentence for each key of extra that is not known for the connection's type."""
    apache = conn_type == _APACHE_TYPE
    found = []
    for name in extra:
        if name in _SETTINGS or (apache and _is_apache(name)):
            continue
        shown = redact(name[: limits.MAX_PATH])
        if name == "region":
            overruled = "is ignored" if "region_id" in extra else "is read as region_id"
            found.append(
                f"extra `region` is not a setting here: write `region_id`; `region` {overruled}"
            )
        else:
            found.append(
                f"extra `{shown}` is not a setting here"
                f"{limits.nearest(name, _SETTINGS)}; it is ignored"
            )
    return found


def _is_apache(name: str) -> bool:
    return name in _APACHE_SETTINGS or name.startswith(_APACHE_PREFIXES)


def checked_extra(extra: object) -> dict[str, Any]:
    """Return a connection's extra as an object.

    :param extra: a dict, or the JSON text of an object; None or empty for nothing.
    :raises IceInputError: it is neither. The message shows no value.
    """
    if extra is None or (isinstance(extra, str) and not extra.strip()):
        return {}
    return limits.json_object("the connection's extra", extra)


def _credential_type(extra: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    kind = _text(extra, "credential_type") or (
        "sts" if "security_token" in settings else "access_key"
    )
    if kind not in CREDENTIAL_TYPES:
        raise IceInputError(
            "credential_type", kind, f"must be one of {', '.join(CREDENTIAL_TYPES)}"
        )
    for name in _NEEDED.get(kind, ()):
        if name not in settings:
            raise IceInputError(
                _there(name),
                None,
                f"is empty, and credential_type {kind} needs it",
                advice=(
                    "Fill it in, or choose another credential_type; `default` takes credentials "
                    "from the environment."
                ),
            )
    return kind


def _there(name: str) -> str:
    return (
        f"the connection's {_WHERE[name]}"
        if name in _WHERE
        else f"{name} in the connection's extra"
    )


def _key(there: str, value: object) -> str | None:
    """Return a part of a key without the white space that was copied along."""
    found = value.strip() if isinstance(value, str) else value
    if found is None or found == "":
        return None
    # It goes into a header as it is; httpx would refuse it there with a message that shows it.
    if not isinstance(found, str) or not re.fullmatch(r"[!-~]+", found):
        raise IceInputError(
            there,
            None,
            "must be ASCII letters, digits and signs, with no space or line break in it",
        )
    return found


def _proxy(extra: Mapping[str, Any]) -> str | None:
    return _text(extra, "proxy", "must be a text such as http://proxy.example:3128")


def _verify(extra: Mapping[str, Any], where: Endpoint) -> str | None:
    value = extra.get("verify")
    if value is None or value is True or value in ("true", "True"):
        return None
    if value is False or value in ("false", "False"):
        if where.is_loopback and where.scheme == "http":
            return None
        raise IceInputError(
            "verify",
            value,
            "cannot turn TLS checks off: requests carry credentials; give the file of a CA "
            "certificate",
        )
    if not isinstance(value, str):
        raise IceInputError(
            "verify",
            limits.shown("verify", value),
            "must be the path of a file of CA certificates",
        )
    return value


def _text(extra: Mapping[str, Any], name: str, rule: str = "must be a text") -> str | None:
    value = extra.get(name)
    if not isinstance(value, (str, NoneType)):
        # What stands in the wrong place may be a secret: a proxy's password, a policy, a token.
        raise IceInputError(name, None, f"{rule}, not {type(value).__name__}")
    return value.strip() or None if value else None


def _truth(extra: Mapping[str, Any], name: str) -> bool | None:
    value = extra.get(name)
    if isinstance(value, (bool, NoneType)):
        return value
    found = _TRUTH.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise IceInputError(name, limits.shown(name, value), "must be true or false")
    return found


def _number(
    extra: Mapping[str, Any], name: str, default: float, least: float, most: float
) -> float:
    value = extra.get(name)
    if value is None:
        return default
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not least <= found <= most:  # NaN is in no range
        rule = f"must be a number from {least:g} to {most:g}"
        raise IceInputError(name, limits.shown(name, value), rule)
    return found
