"""What a hook is before it has called anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import structlog
from airflow.sdk import BaseHook

from airflow_ice import __version__
from airflow_ice.api import models
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.models import EditingProject, EditingProjectMaterials
from airflow_ice.hooks import TRIES, IceHook, _limiter, _secrets_of
from airflow_ice.polling.account import AccountPoller

SetConnection = Callable[..., None]


def test_making_a_hook_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHook, "get_connection", pytest.fail)
    monkeypatch.setattr(BaseHook, "aget_connection", pytest.fail)
    assert IceHook().ice_conn_id == "ice_default"


def test_the_region_and_the_connection_are_the_callers(set_connection: SetConnection) -> None:
    set_connection(conn_id="other", extra={"region_id": "cn-beijing"})
    assert IceHook("other")._read().endpoint.host == "ice.cn-beijing.aliyuncs.com"
    assert IceHook("other", "cn-hangzhou")._read().endpoint.host == "ice.cn-hangzhou.aliyuncs.com"


async def test_both_colours_read_the_same_connection(set_connection: SetConnection) -> None:
    set_connection(
        extra={
            "read_timeout": 3,
            "proxy": "http://user:hunter22@p.example:1",
            "max_requests_per_second": 5,
        }
    )
    assert IceHook()._read() == await IceHook()._aread()


def test_every_setting_reaches_the_client(set_connection: SetConnection) -> None:
    set_connection(
        host="https://g.example:8443",
        extra={"connect_timeout": 2, "read_timeout": 3, "proxy": "http://p.example:1"},
    )
    hook = IceHook(tries=7)
    settings = hook._settings(hook._read())
    assert (settings.endpoint.url, settings.proxy) == (
        "https://g.example:8443/",
        "http://p.example:1",
    )
    assert (settings.connect_timeout, settings.read_timeout, settings.retry.tries) == (2.0, 3.0, 7)
    assert f"airflow-ice/{__version__}" in settings.user_agent
    assert settings.user_agent.endswith(f"airflow/{version('apache-airflow')}")


@pytest.mark.parametrize(
    "more", [{}, {"credential_type": "ram_role_arn", "role_arn": "acs:ram::1:role/r"}]
)
def test_the_longest_send_is_the_clients_own_bound(
    set_connection: SetConnection, more: dict[str, str]
) -> None:
    set_connection(extra={"connect_timeout": 2, "read_timeout": 3, **more})
    hook = IceHook()
    assert hook.longest_send() == hook._settings(hook._read()).longest_send == 5.0


def test_one_rate_for_all_hooks_of_a_connection() -> None:
    assert _limiter("a", 5.0) is _limiter("a", 5.0)
    assert _limiter("a", 5.0) is not _limiter("b", 5.0)


def test_a_watcher_takes_its_turn_in_the_rate_of_its_connection(
    set_connection: SetConnection,
) -> None:
    set_connection(extra={"max_requests_per_second": 3})
    hook = IceHook()
    connection = hook.connection()
    default = inspect.signature(AccountPoller).parameters["open_client"].default
    watcher: Any = default("ice_default", connection)()
    assert watcher._settings(connection).limiter is hook._settings(connection).limiter


def test_a_connection_that_cannot_be_is_refused_when_it_is_read(
    set_connection: SetConnection,
) -> None:
    set_connection(extra={"network": "intranet"})
    hook = IceHook()
    with pytest.raises(IceInputError, match="public or vpc"):
        hook.get_conn()
    assert hook.test_connection() == (
        False,
        "network is 'intranet', but it must be public or vpc. Nothing was sent.",
    )


def test_methods_are_documented_with_their_own_arguments() -> None:
    for name in ("get_batch_media_producing_job", "aget_batch_media_producing_job"):
        method = getattr(IceHook, name)
        assert list(inspect.signature(method).parameters) == ["self", "job_id"]
        assert "GetBatchMediaProducingJob" in method.__doc__


def test_a_pinned_hook_never_reads_its_connection_again(
    set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_connection(extra={"region_id": "cn-beijing"})
    hook = IceHook(tries=1)
    pinned, more_tries = hook.pinned(), hook.pinned(tries=TRIES)
    set_connection(extra={"region_id": "cn-hangzhou"})
    for found in (pinned, more_tries):
        found._refused()
        assert found.connection() == hook.connection()
        assert found.connection().endpoint.host == "ice.cn-beijing.aliyuncs.com"
    assert (pinned.tries, more_tries.tries) == (1, TRIES)
    hook._refused()
    assert hook.connection().endpoint.host == "ice.cn-hangzhou.aliyuncs.com"


async def test_an_unknown_key_of_extra_is_named_once_for_a_process_and_connection(
    set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_ice.hooks._warned", set())
    set_connection(extra={"region": "cn-beijing", "timeout": 3})
    set_connection(conn_id="other", extra={"timeout": 3})
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            assert IceHook().connection().region == "cn-beijing"
            await IceHook().aconnection()
            IceHook("other").connection()
    said = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert [text.split(":")[0] for text in said] == [
        "Connection ice_default",
        "Connection ice_default",
        "Connection other",
    ]


def test_every_signed_url_of_a_result_is_masked() -> None:
    def url(name: str) -> str:
        return f"http://b.oss-cn-shanghai.aliyuncs.com/{name}?Signature=s1gnature-of-{name}"

    media = models.media_info(
        {
            "MediaId": "m",
            "MediaBasicInfo": {"CoverURL": url("cover"), "Snapshots": url("snapshots")},
            "FileInfoList": [{"FileBasicInfo": {"FileUrl": url("file"), "New": url("new")}}],
        }
    )
    names = ["cover", "snapshots", "file", "new"]
    assert _secrets_of(media) == {f"s1gnature-of-{name}" for name in names}
    materials = EditingProjectMaterials("p", media=(media,), project_materials=(url("material"),))
    assert _secrets_of(materials) == {f"s1gnature-of-{name}" for name in (*names, "material")}
    timeline = {"VideoTracks": [{"VideoTrackClips": [{"MediaURL": url("clip")}]}]}
    project = EditingProject("p", timeline=timeline, cover_url=url("cover"))
    assert _secrets_of(project) == {"s1gnature-of-clip", "s1gnature-of-cover"}
