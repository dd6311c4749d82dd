"""What the fields of a connection mean, however Airflow was told them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_ice.api.credentials import FixedCredentials, LibraryCredentials
from airflow_ice.api.errors import IceInputError
from airflow_ice.connections import (
    _SETTINGS,
    CREDENTIAL_TYPES,
    IceConnection,
    read_connection,
)
from airflow_ice.get_provider_info import get_provider_info

SECRET = "s3cr3t-of-the-key"
TOKEN = "t0k3n-of-sts"

EVERYTHING: dict[str, Any] = {
    "region_id": "cn-beijing",
    "network": "vpc",
    "credential_type": "sts",
    "security_token": TOKEN,
    "connect_timeout": 2.5,
    "read_timeout": 40,
    "proxy": "http://user:hunter22@proxy.example:3128",
    "verify": "/etc/ssl/company.pem",
    "max_requests_per_second": 3,
}


def read(
    *, login: str | None = "LTAItest", password: str | None = SECRET, **fields: Any
) -> IceConnection:
    known: dict[str, Any] = {"host": None, "extra": {}}
    return read_connection(login=login, password=password, **known | fields)


def read_airflow(connection: Connection) -> IceConnection:
    return read_connection(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        extra=connection.extra_dejson,
    )


def round_trip(connection: Connection) -> Connection:
    return Connection.from_uri(connection.get_uri(), conn_id="again")


# What is meant


def test_login_and_password_are_all_that_is_needed() -> None:
    found = read()
    assert found.endpoint.url == "https://ice.cn-shanghai.aliyuncs.com/"
    assert found.credential_type == "access_key"
    assert (found.connect_timeout, found.read_timeout, found.max_requests_per_second) == (
        5.0,
        10.0,
        10.0,
    )
    assert (found.proxy, found.verify) == (None, None)
    credentials = found.credentials().get()
    assert (
        credentials.access_key_id,
        credentials.access_key_secret,
        credentials.security_token,
    ) == ("LTAItest", SECRET, None)


def test_every_setting_is_taken() -> None:
    found = read(extra=EVERYTHING)
    assert found.endpoint.url == "https://ice-vpc.cn-beijing.aliyuncs.com/"
    assert (found.connect_timeout, found.read_timeout, found.max_requests_per_second) == (
        2.5,
        40.0,
        3.0,
    )
    assert (found.proxy, found.verify) == (EVERYTHING["proxy"], EVERYTHING["verify"])
    credentials = found.credentials().get()
    assert (credentials.security_token, credentials.provider_name) == (TOKEN, "static_sts")


def test_numbers_may_be_text_and_empty_fields_are_not_there() -> None:
    found = read(
        extra={
            "connect_timeout": "2",
            "read_timeout": "",
            "proxy": None,
            "region_id": "",
            "network": "",
        }
    )
    assert (found.connect_timeout, found.read_timeout, found.proxy) == (2.0, 10.0, None)
    assert found.endpoint.host == "ice.cn-shanghai.aliyuncs.com"


def test_the_callers_region_wins() -> None:
    assert (
        read(extra={"region_id": "cn-beijing"}, region_id="cn-hangzhou").endpoint.host
        == "ice.cn-hangzhou.aliyuncs.com"
    )


def test_a_security_token_alone_means_sts() -> None:
    assert read(extra={"security_token": TOKEN}).credential_type == "sts"
    assert (
        read(extra={"security_token": TOKEN, "credential_type": "access_key"})
        .credentials()
        .get()
        .security_token
        is None
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "ice.cn-shenzhen.aliyuncs.com"}, "https://ice.cn-shenzhen.aliyuncs.com/"),
        ({"host": "https://gateway.example:8443"}, "https://gateway.example:8443/"),
        ({"host": "gateway.example", "port": 8443}, "https://gateway.example:8443/"),
        ({"host": "127.0.0.1", "port": 8765}, "http://127.0.0.1:8765/"),
        ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765/"),
        ({"host": "localhost:8765", "schema": "http"}, "http://localhost:8765/"),
        ({"host": "127.0.0.1", "port": 8765, "schema": "https"}, "https://127.0.0.1:8765/"),
        ({"host": "127.0.0.1", "port": 8765, "schema": ""}, "http://127.0.0.1:8765/"),
        ({"host": "http://[::1]:8765"}, "http://[::1]:8765/"),
    ],
)
def test_host_overrides_the_regions_endpoint(fields: dict[str, Any], url: str) -> None:
    regional = "cn-shenzhen" if "cn-shenzhen" in url else "cn-beijing"
    assert read(extra={"region_id": regional}, **fields).endpoint.url == url


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": {"region_id": "cn-beijing"}},
        {"extra": {"region": "cn-beijing"}},
        {"extra": {}, "region_id": "cn-beijing"},
        {"extra": {"region_id": "cn-shanghai"}, "region_id": "cn-beijing"},
        {"extra": {"region_id": "cn-beijing"}, "port": 8443},
    ],
)
@pytest.mark.parametrize(
    "host", ["ice.cn-shanghai.aliyuncs.com", "https://ice-vpc.cn-shanghai.aliyuncs.com"]
)
def test_a_host_of_another_region_is_refused(host: str, fields: dict[str, Any]) -> None:
    with pytest.raises(IceInputError, match=r"'cn-beijing', but it must be cn-shanghai") as caught:
        read(host=host, **fields)
    assert caught.value.field == "region_id"


def test_a_host_alone_names_the_region() -> None:
    found = read(host="ice.cn-beijing.aliyuncs.com")
    assert (found.region, found.account()["region"]) == ("cn-beijing", "cn-beijing")
    assert read(host="127.0.0.1:1").region is None


@pytest.mark.parametrize(
    ("extra", "conn_type", "said"),
    [
        ({"region": "cn-beijing"}, "alibaba_ice", "`region` is read as region_id"),
        ({"region": "cn-beijing"}, None, "write `region_id`"),
        ({"region": "x", "region_id": "cn-beijing"}, "alibaba_ice", "`region` is ignored"),
        ({"regionid": "cn-beijing"}, "alibaba_ice", "(did you mean region_id?); it is ignored"),
        ({"timeout": 3}, "alibaba_ice", "extra `timeout` is not a setting here"),
        ({"read_timout": 3}, "alibaba_cloud", "(did you mean read_timeout?)"),
        ({"oss_region": "x"}, "alibaba_ice", "`oss_region` is not a setting here"),
        ({"region": "cn-beijing", "auth_type": "AK", "oss_region": "x"}, "alibaba_cloud", ""),
        (EVERYTHING, "alibaba_ice", ""),
    ],
)
def test_an_unknown_key_of_extra_is_named(
    extra: dict[str, Any], conn_type: str | None, said: str
) -> None:
    found = read(extra=extra, conn_type=conn_type)
    assert len(found.warnings) == bool(said)
    assert said in "".join(found.warnings)
    for secret in (SECRET, TOKEN):
        assert secret not in str(found.warnings)


def test_every_field_of_the_form_is_known() -> None:
    (kind,) = get_provider_info()["connection-types"]
    assert read(extra=dict.fromkeys(kind["conn-fields"], "")).warnings == ()
    assert set(kind["conn-fields"]) <= _SETTINGS


def test_a_connection_of_the_apache_provider_works() -> None:
    connection = Connection(
        conn_id="oss",
        conn_type="alibaba_cloud",
        extra=json.dumps(
            {"access_key_id": "LTAIapache", "access_key_secret": SECRET, "region": "cn-hangzhou"}
        ),
    )
    for found in (read_airflow(connection), read_airflow(round_trip(connection))):
        assert found.endpoint.host == "ice.cn-hangzhou.aliyuncs.com"
        credentials = found.credentials().get()
        assert (credentials.access_key_id, credentials.access_key_secret) == ("LTAIapache", SECRET)
        assert found.secrets() == [SECRET]


def test_white_space_that_was_copied_along_is_not_part_of_a_key() -> None:
    found = read(
        login=" LTAItest\n", password=f"{SECRET}\r\n", extra={"security_token": f" {TOKEN}\n"}
    )
    credentials = found.credentials().get()
    assert credentials.access_key_id == "LTAItest"
    assert credentials.access_key_secret == SECRET
    assert credentials.security_token == TOKEN


# As Airflow is told it


def test_from_a_uri() -> None:
    uri = (
        f"alibaba-ice://testid:{SECRET}@127.0.0.1:8765/"
        "?region_id=cn-beijing&read_timeout=3&max_requests_per_second=50"
    )
    connection = Connection.from_uri(uri, conn_id="ice_default")
    assert connection.conn_type == "alibaba_ice"
    found = read_airflow(connection)
    assert found.endpoint.url == "http://127.0.0.1:8765/"
    assert (found.read_timeout, found.max_requests_per_second) == (3.0, 50.0)
    assert found.credentials().get().access_key_id == "testid"


@pytest.mark.parametrize(
    "host",
    [
        None,
        "ice.cn-beijing.aliyuncs.com",
        "127.0.0.1:8765",
        "http://127.0.0.1:8765",
        "https://g.example:8443",
    ],
)
def test_a_round_trip_through_a_uri_changes_nothing(host: str | None) -> None:
    connection = Connection(
        conn_id="c",
        conn_type="alibaba_ice",
        login="id/with+odd",
        password=f"{SECRET}/+%@:=",
        host=host,
        extra=json.dumps(EVERYTHING),
    )
    assert read_airflow(round_trip(connection)) == read_airflow(connection)
    assert read_airflow(round_trip(round_trip(connection))) == read_airflow(connection)


# Credentials that refresh themselves

LIBRARY: dict[str, dict[str, Any]] = {
    "ram_role_arn": {
        "role_arn": "acs:ram::1:role/r",
        "role_session_name": "airflow",
        "role_session_expiration": "1800",
    }
    | {
        "policy": "{}",
        "external_id": "x",
        "sts_endpoint": "sts.cn-beijing.aliyuncs.com",
        "security_token": TOKEN,
    },
    "ecs_ram_role": {"role_name": "worker", "disable_imds_v1": "true"},
    "oidc_role_arn": {
        "oidc_provider_arn": "acs:ram::1:oidc-provider/p",
        "oidc_token_file_path": "/nothing",
        "role_arn": "acs:ram::1:role/r",
    },
    "credentials_uri": {"credentials_uri": "http://127.0.0.1:1/credentials"},
    "default": {},
}


def test_every_credential_type_is_covered_here() -> None:
    assert set(LIBRARY) == set(CREDENTIAL_TYPES) - {"access_key", "sts"}


@pytest.mark.parametrize("kind", LIBRARY)
def test_refreshing_credentials_are_the_librarys_business(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Client:
        def __init__(self, config: Any = None) -> None:
            made.append(config)

        def get_credential(self) -> Any:
            from alibabacloud_credentials.models import CredentialModel

            return CredentialModel(
                access_key_id="STS.a",
                access_key_secret=SECRET,
                security_token=TOKEN,
                provider_name=kind,
            )

    monkeypatch.setattr("alibabacloud_credentials.client.Client", Client)
    source = read(
        extra={"credential_type": kind, "read_timeout": 7, "connect_timeout": 2, **LIBRARY[kind]}
    ).credentials()
    assert isinstance(source, LibraryCredentials)
    assert not made  # nothing is built, and so nothing asked, before credentials are needed
    for _ in range(2):
        found = source.get()
        assert (found.access_key_id, found.security_token, found.provider_name) == (
            "STS.a",
            TOKEN,
            kind,
        )
    (config,) = made
    if kind == "default":
        assert config is None
        return
    assert (config.type, config.timeout, config.connect_timeout) == (kind, 7000, 2000)
    given = LIBRARY[kind] | {
        name: value
        for name, value in {"role_session_expiration": 1800, "disable_imds_v1": True}.items()
        if name in LIBRARY[kind]
    }
    assert {name: getattr(config, name) for name in given} == given


def test_the_library_accepts_what_it_is_given(tmp_path: Path) -> None:
    # In a process of its own: some of the library's clients start threads that outlive them. No
    # network is used.
    (tmp_path / "token").write_text("x")
    kinds = {
        **LIBRARY,
        "oidc_role_arn": {
            **LIBRARY["oidc_role_arn"],
            "oidc_token_file_path": str(tmp_path / "token"),
        },
    }
    code = """if True:
        import json, os, sys
        from airflow_ice.connections import read_connection
        for kind, extra in json.loads(sys.argv[1]).items():
            extra = {"credential_type": kind, **extra}
            found = read_connection(login="id", password="secret", host=None, extra=extra)
            assert found._library_client() is not None, kind
            print(kind, flush=True)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(kinds)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == (list(LIBRARY), "")


def test_an_unneeded_key_may_be_missing_where_the_credentials_come_from_elsewhere() -> None:
    for kind in ("ecs_ram_role", "oidc_role_arn", "default"):
        assert (
            read(login=None, password=None, extra={"credential_type": kind}).credential_type == kind
        )


def test_fixed_keys_need_no_library() -> None:
    assert isinstance(read().credentials(), FixedCredentials)


# What is refused


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": None}, "login"),
        ({"password": ""}, "password"),
        ({"login": " "}, "login"),
        ({"extra": {"credential_type": "sts"}}, "security_token"),
        ({"extra": {"credential_type": "ram_role_arn"}}, "role_arn"),
        ({"extra": {"credential_type": "ram_role_arn", "role_arn": "r"}, "login": None}, "login"),
        ({"extra": {"credential_type": "credentials_uri"}}, "credentials_uri"),
        ({"extra": {"credential_type": "AccessKey"}}, "access_key, sts, ram_role_arn"),
        ({"extra": {"credential_type": 7}}, "credential_type"),
        ({"extra": {"region_id": "Shanghai"}}, "region_id"),
        ({"extra": {"region_id": "cn-shanghai.evil.example/"}}, "region_id"),
        ({"extra": {"region_id": 7}}, "region_id"),
        ({"extra": {"network": "intranet"}}, "public or vpc"),
        ({"extra": {"connect_timeout": 0}}, "connect_timeout"),
        ({"extra": {"connect_timeout": "soon"}}, "connect_timeout"),
        ({"extra": {"read_timeout": -1}}, "read_timeout"),
        ({"extra": {"read_timeout": "nan"}}, "read_timeout"),
        ({"extra": {"read_timeout": "inf"}}, "read_timeout"),
        ({"extra": {"read_timeout": [1]}}, "read_timeout"),
        ({"extra": {"max_requests_per_second": 0}}, "max_requests_per_second"),
        ({"extra": {"role_session_expiration": 60}}, "role_session_expiration"),
        ({"extra": {"verify": False}}, "cannot turn TLS checks off"),
        ({"extra": {"verify": "false"}}, "cannot turn TLS checks off"),
        (
            {"extra": {"verify": False}, "host": "https://127.0.0.1:8765"},
            "cannot turn TLS checks off",
        ),
        ({"extra": {"verify": 1.5}}, "CA certificates"),
        ({"extra": {"proxy": {"https": f"http://u:{SECRET}@p"}}}, "proxy"),
        ({"extra": {"proxy": [f"http://u:{SECRET}@p"]}}, "proxy"),
        ({"host": "http://ice.cn-shanghai.aliyuncs.com"}, "must be https"),
        ({"host": "ftp://127.0.0.1"}, "http or https"),
        ({"host": f"https://u:{SECRET}@ice.cn-shanghai.aliyuncs.com"}, "host"),
        ({"host": "ice.example/path"}, "host"),
        ({"host": "ice.example:99999"}, "host"),
        ({"host": "ice example"}, "host"),
        ({"password": "s3cr3t-of-thé-key"}, "password"),
        ({"password": "s3cr3t-of\nthe-key"}, "password"),
        ({"login": "LTAI test"}, "login"),
        ({"login": "LTAI\u200btest"}, "login"),
        ({"extra": {"security_token": "t0k3n\nof-sts"}}, "security_token"),
        ({"extra": {"security_token": {"t0k3n": "t0k3n"}}}, "security_token"),
        ({"login": None, "extra": {"access_key_id": 7}}, "login"),
        ({"password": None, "extra": {"access_key_secret": ["s3cr3t"]}}, "password"),
    ],
)
def test_what_cannot_be_is_refused_without_showing_a_secret(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(IceInputError) as caught:
        read(**fields)
    shown = f"{caught.value} {caught.value!r} {caught.value.as_dict()}"
    assert says in str(caught.value)
    assert "Nothing was sent" in str(caught.value)
    for secret in (SECRET, "s3cr3t", "t0k3n", "hunter22"):
        assert secret not in shown


def test_verify_off_means_nothing_on_loopback_http() -> None:
    assert read(host="127.0.0.1:8765", extra={"verify": False}).verify is None


# What must not show


def test_a_repr_holds_no_secret() -> None:
    shown = repr(read(extra=EVERYTHING)) + repr(read(extra=EVERYTHING).credentials())
    for secret in (SECRET, TOKEN, "hunter22"):
        assert secret not in shown


def test_every_secret_is_named_for_masking() -> None:
    assert set(read(extra=EVERYTHING).secrets()) == {SECRET, TOKEN, "hunter22"}
    odd = read(extra={"proxy": "http://user:p%40ss-w0rd@proxy.example:3128"}).secrets()
    assert set(odd) == {SECRET, "p%40ss-w0rd", "p@ss-w0rd"}  # as it is written, and as it is meant


def test_what_a_credentials_uri_holds_is_masked_too() -> None:
    uri = "http://user:p%40ss-w0rd@127.0.0.1:9/creds?token=t0k3n%2Fof-uri&region=cn-shanghai"
    secrets = read(
        login=None,
        password=None,
        extra={"credential_type": "credentials_uri", "credentials_uri": uri},
    ).secrets()
    # Not the region, which would be blanked wherever it shows.
    assert set(secrets) == {
        "p%40ss-w0rd",
        "p@ss-w0rd",
        "token=t0k3n%2Fof-uri&region=cn-shanghai",
        "t0k3n/of-uri",
    }


def account(**fields: Any) -> dict[str, str]:
    fields = {"login": "LTAI-one", "password": "secret", **fields}
    return read(**fields).account()


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": {"region_id": "cn-shanghai"}},
        {"extra": {"network": "vpc"}},
        {"host": "ice.cn-shanghai.aliyuncs.com"},
        {"host": "https://ice-vpc.cn-shanghai.aliyuncs.com"},
        {"password": "a-new-secret-of-the-same-AccessKey"},
        {"extra": {"read_timeout": 3, "proxy": "http://proxy.example:3128"}},
    ],
    ids=str,
)
def test_an_edit_that_leads_to_the_same_account_and_region_is_no_move(
    fields: dict[str, Any],
) -> None:
    assert account(**fields) == account()


@pytest.mark.parametrize(
    ("fields", "moved"),
    [
        ({"login": "LTAI-two"}, {"credentials"}),
        ({"extra": {"region_id": "cn-beijing"}}, {"region"}),
        ({"host": "127.0.0.1:8765"}, {"region"}),
        ({"host": "ice.cn-shanghai.aliyuncs.com.example"}, {"region"}),
        ({"extra": {"credential_type": "ecs_ram_role", "role_name": "one"}}, {"credentials"}),
        ({"extra": {"credential_type": "default"}}, {"credentials"}),
    ],
    ids=str,
)
def test_an_edit_that_leads_elsewhere_is_a_move(fields: dict[str, Any], moved: set[str]) -> None:
    now, then = account(**fields), account()
    assert {name for name in then if now[name] != then[name]} == moved


@pytest.mark.parametrize(
    "setting", ["role_arn", "role_name", "credentials_uri", "oidc_provider_arn"]
)
def test_a_role_or_what_stands_for_it_is_who_pays(setting: str) -> None:
    def of(name: str) -> dict[str, str]:
        kind = "oidc_role_arn" if setting in {"role_arn", "oidc_provider_arn"} else "ecs_ram_role"
        kind = "credentials_uri" if setting == "credentials_uri" else kind
        return account(extra={"credential_type": kind, setting: name})

    assert of("http://one") != of("http://two")


def test_a_secret_within_a_credentials_uri_is_no_part_of_the_account() -> None:
    def of(uri: str) -> dict[str, str]:
        return account(extra={"credential_type": "credentials_uri", "credentials_uri": uri})

    assert of("http://host/path?token=old") == of("http://user:word@host/path?token=new")


def test_the_account_shows_no_key() -> None:
    assert "LTAI" not in repr(account())
    assert "secret" not in repr(account())


# Whether it was edited


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_fingerprint_differs_where_any_field_does(name: str) -> None:
    other = {key: value for key, value in EVERYTHING.items() if key != name}
    if name == "credential_type":
        other.pop("security_token")
    whole = read(extra=EVERYTHING).fingerprint()
    assert whole == read(extra=dict(EVERYTHING)).fingerprint()
    if name != "security_token":  # which such credentials need
        assert read(extra=other).fingerprint() != whole
    changed = {**EVERYTHING, "security_token": "an0ther"}
    assert read(extra=changed).fingerprint() != whole
    assert read(extra=EVERYTHING, password="an0ther").fingerprint() != whole
    assert read(extra=EVERYTHING, login="an0ther").fingerprint() != whole
    assert read(extra=EVERYTHING, host="ice.example").fingerprint() != whole


def test_a_fingerprint_is_the_same_for_two_ways_to_name_a_region() -> None:
    own = read(extra={"region_id": "cn-beijing"})
    assert own.fingerprint() == read(extra={}, region_id="cn-beijing").fingerprint()
    assert own.fingerprint() != read(extra={}).fingerprint()


def test_a_fingerprint_tells_no_secret() -> None:
    found = read(extra=EVERYTHING).fingerprint()
    assert not [secret for secret in (SECRET, TOKEN, "hunter22") if secret in found]


@pytest.mark.parametrize(
    ("fields", "region", "host"),
    [
        ({}, "cn-beijing", "ice.cn-beijing.aliyuncs.com"),
        ({"extra": {"network": "vpc"}}, "cn-beijing", "ice-vpc.cn-beijing.aliyuncs.com"),
        ({}, None, "ice.cn-shanghai.aliyuncs.com"),
        ({"host": "ice.cn-beijing.aliyuncs.com"}, "cn-shanghai", "ice.cn-shanghai.aliyuncs.com"),
        ({"host": "http://127.0.0.1:8080"}, "cn-beijing", "127.0.0.1:8080"),
    ],
)
def test_a_connection_leads_to_another_region_by_the_same_network(
    fields: dict[str, Any], region: str | None, host: str
) -> None:
    given = {"login": "id", "password": "secret", "host": None, "extra": {}, **fields}
    connection = read_connection(**given)
    moved = connection.in_region(region)
    assert moved.endpoint.host == host
    assert moved.credentials_key() == connection.credentials_key()
    assert (moved == connection) is (host == connection.endpoint.host)


@pytest.mark.parametrize(
    "given",
    [
        {"b": "video.example.com", "c": "http://localhost:8765"},
        '{"b": "video.example.com", "c": "http://localhost:8765"}',
    ],
)
def test_custom_domains_of_buckets(given: Any) -> None:
    found = read_connection(login="i", password="s", host=None, extra={"media_domains": given})
    assert found.media_domains == {"b": "video.example.com", "c": "http://localhost:8765"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    "given",
    [
        "video.example.com",
        ["b"],
        7,
        {"b": 7},
        {"b": ""},
        {"b": "video.example.com/path"},
        {"b": "user:secret@video.example.com"},
        {"b": "video example.com"},
        {"b": "ftp://video.example.com"},
    ],
)
def test_a_custom_domain_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(IceInputError, match=r"^media_domains") as caught:
        read_connection(login="i", password="s", host=None, extra={"media_domains": given})
    assert "secret@" not in str(caught.value)


def test_a_connection_without_custom_domains() -> None:
    found = read_connection(login="i", password="s", host=None, extra={"network": "vpc"})
    assert (found.media_domains, found.network) == ({}, "vpc")
