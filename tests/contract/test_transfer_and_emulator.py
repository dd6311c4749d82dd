"""The transfer operator reads what the emulator serves as OSS does: its domains, its faults, its
signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from airflow_ice.demo.clips import make_clips
from airflow_ice.emulator.local import LocalIce
from airflow_ice.exceptions import NonRetryableIceDownloadError
from airflow_ice.hooks import IceHook
from airflow_ice.transfers import IceMediaToObjectStorageOperator

SetConnection = Callable[..., None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.01)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder)
    first = min(folder.rglob("*.mp4"))
    first.rename(folder / "v 中.mp4")
    return folder


@pytest.fixture(scope="module")
def on_oss(clips: Path) -> Iterator[LocalIce]:
    """Return an emulator that signs URLs on the bucket's default domain, which nothing answers."""
    with LocalIce(
        render=False, media_dir=clips, oss_urls=True, media_domains={"ice-emulator": "localhost"}
    ) as ice:
        yield ice


@pytest.fixture(scope="module")
def plain(clips: Path) -> Iterator[LocalIce]:
    with LocalIce(render=False, media_dir=clips) as ice:
        yield ice


def publish(tmp_path: Path) -> dict[str, Any]:
    url = "http://ice-emulator.oss-cn-shanghai.aliyuncs.com/v%20%E4%B8%AD.mp4"
    media_id = IceHook().get_media_info(input_url=url).media_id
    operator = IceMediaToObjectStorageOperator(
        task_id="publish", media={"index": 0, "media_id": media_id}, destination=str(tmp_path)
    )
    context: Any = {}
    found: dict[str, Any] = operator.execute(context)
    return found


def test_a_custom_domain_is_read(
    on_oss: LocalIce, clips: Path, set_connection: SetConnection, tmp_path: Path
) -> None:
    domain = f"http://localhost:{on_oss.port}"
    set_connection(on_oss, extra={"media_domains": {"ice-emulator": domain}})
    on_oss.fault("public_endpoint_forbidden")
    found = publish(tmp_path)
    on_oss.clear_faults()
    assert next(tmp_path.iterdir()).read_bytes() == (clips / "v 中.mp4").read_bytes()
    assert found["crc64"]
    assert [read["domain"] for read in on_oss.reads()] == ["custom"]


def test_a_closed_default_domain_is_final(
    plain: LocalIce, set_connection: SetConnection, tmp_path: Path
) -> None:
    set_connection(plain)
    plain.fault("public_endpoint_forbidden")
    with pytest.raises(NonRetryableIceDownloadError, match="media_domains") as caught:
        publish(tmp_path)
    assert caught.value.code == "PublicEndpointForbidden"
    assert list(tmp_path.iterdir()) == []


def test_resets_and_errors_are_resumed(
    plain: LocalIce, clips: Path, set_connection: SetConnection, tmp_path: Path
) -> None:
    set_connection(plain)
    plain.fault("object_reset", after_bytes=1000)
    plain.fault("object_error")
    found = publish(tmp_path)
    assert next(tmp_path.iterdir()).read_bytes() == (clips / "v 中.mp4").read_bytes()
    assert publish(tmp_path) == found
