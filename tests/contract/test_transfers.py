"""A video lands at its destination whole, or not at all: on a disk, in a store that commits at the
end, in one that shows what is partial."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec  # type: ignore[import-untyped]
import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.io.store import attach
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]

from airflow_ice.api.errors import IceDownloadError, IceInputError
from airflow_ice.api.models import MediaFile, MediaInfo
from airflow_ice.exceptions import NonRetryableIceDownloadError, NonRetryableIceInputError
from airflow_ice.hooks import IceHook
from airflow_ice.transfers import IceMediaToObjectStorageOperator, file_name
from tests.media_server import Bucket, crc64_of, serving

SetConnection = Callable[..., None]
CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
ROW = {"index": 3, "media_id": "m-1", "job_id": "j", "user_data": {"campaign": "spring"}}
BLOCK = 100_000


class UploadFile(AbstractBufferedFile):  # type: ignore[misc]
    """Uploads in parts, as S3 does: nothing shows before all parts are completed."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []
        UploadStore.open_uploads += 1

    def _upload_chunk(self, final: bool = False) -> bool:
        UploadStore.calls += 1
        if UploadStore.calls in UploadStore.failing:
            raise OSError("the store is down")
        self.parts.append(self.buffer.getvalue())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        UploadStore.objects[self.path] = b"".join(self.parts)
        UploadStore.open_uploads -= 1

    def discard(self) -> None:
        UploadStore.open_uploads -= 1
        UploadStore.discarded += 1


class UploadStore(AbstractFileSystem):  # type: ignore[misc]
    """An object store with multipart uploads, in memory."""

    protocol = "s3"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    failing: ClassVar[set[int]] = set()
    open_uploads: ClassVar[int] = 0
    discarded: ClassVar[int] = 0
    calls: ClassVar[int] = 0

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.objects[path]), "type": "file"}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **_: Any) -> Any:
        if mode == "rb":
            import io

            return io.BytesIO(self.objects[path])
        return UploadFile(self, path, mode, block_size=BLOCK, autocommit=autocommit)

    def rm_file(self, path: str) -> None:
        del self.objects[self._strip_protocol(path)]


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    fsspec.register_implementation("s3", UploadStore, clobber=True)
    UploadStore.objects.clear()
    UploadStore.failing.clear()
    UploadStore.open_uploads = UploadStore.discarded = UploadStore.calls = 0
    fsspec.filesystem("memory").store.clear()
    # As a provider's `filesystems` would.
    attach("s3", fs=UploadStore())
    attach("memory", fs=fsspec.filesystem("memory"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, set_connection: SetConnection) -> Iterator[Bucket]:
    set_connection(extra={"read_timeout": 1})
    with serving(Bucket(CONTENT)) as found:

        def info(hook: IceHook, media_id: str, **_: Any) -> MediaInfo:
            assert media_id == "m-1"
            file = MediaFile(found.sign(), file_type="source_file")
            return MediaInfo(media_id, "Normal", files=(file,))

        monkeypatch.setattr(IceHook, "get_media_info", info)
        monkeypatch.setattr("random.uniform", lambda low, high: 0.01)
        yield found


def operator(destination: str, **arguments: Any) -> IceMediaToObjectStorageOperator:
    known: dict[str, Any] = {"media": ROW, "destination": destination}
    return IceMediaToObjectStorageOperator(task_id="publish", **{**known, **arguments})


def run(destination: str, **arguments: Any) -> Any:
    context: Any = {}
    return operator(destination, **arguments).execute(context)


def stored(scheme: str, path: str) -> bytes | None:
    if scheme == "s3":
        return UploadStore.objects.get(path)
    file_system = fsspec.filesystem("memory")
    return bytes(file_system.cat_file(path)) if file_system.exists(path) else None


STORES = pytest.mark.parametrize("scheme", ["s3", "memory"])


def test_a_folder(bucket: Bucket, tmp_path: Path) -> None:
    found = run(str(tmp_path / "videos"))
    path = tmp_path / "videos" / "3-m-1.mp4"
    assert path.read_bytes() == CONTENT
    assert found == {
        "index": 3,
        "media_id": "m-1",
        "uri": path.as_uri(),
        "size": len(CONTENT),
        "crc64": str(crc64_of(CONTENT)),
    }
    assert json.loads(json.dumps(found)) == found


def test_a_folder_by_its_address(bucket: Bucket, tmp_path: Path) -> None:
    found = run(f"file://{tmp_path}", name="{user_data.campaign}/{index}.mp4")
    assert (tmp_path / "spring" / "3.mp4").read_bytes() == CONTENT
    assert found["uri"] == (tmp_path / "spring" / "3.mp4").as_uri()


@STORES
def test_a_store(bucket: Bucket, scheme: str) -> None:
    found = run(f"{scheme}://b/videos")
    assert found["uri"] == f"{scheme}://b/videos/3-m-1.mp4"
    assert found["size"] == len(CONTENT)
    assert "b/videos/3-m-1.mp4" in found["uri"]
    assert fsspec.filesystem(scheme).info(found["uri"])["size"] == len(CONTENT)
    assert UploadStore.open_uploads == 0


@STORES
def test_a_broken_connection_is_resumed(bucket: Bucket, scheme: str) -> None:
    bucket.faults = ["reset 200000", "503", "short 1000"]
    run(f"{scheme}://b/videos")
    with fsspec.open(f"{scheme}://b/videos/3-m-1.mp4") as file:
        assert file.read() == CONTENT


@STORES
@pytest.mark.parametrize("faults", [["short 300000"] + ["503"] * 9, ["corrupt"] * 9])
def test_a_download_that_fails_leaves_nothing(
    bucket: Bucket, scheme: str, faults: list[str]
) -> None:
    bucket.faults = list(faults)
    with pytest.raises(IceDownloadError) as caught:
        run(f"{scheme}://b/videos")
    assert not isinstance(caught.value, AirflowFailException)
    assert not fsspec.filesystem(scheme).exists(f"{scheme}://b/videos/3-m-1.mp4")
    assert UploadStore.open_uploads == 0


def test_an_upload_that_fails_leaves_the_older_object(bucket: Bucket) -> None:
    UploadStore.objects["b/videos/3-m-1.mp4"] = b"older"
    UploadStore.failing = {3}
    with pytest.raises(OSError, match="the store is down"):
        run("s3://b/videos")
    assert UploadStore.objects == {"b/videos/3-m-1.mp4": b"older"}
    assert (UploadStore.open_uploads, UploadStore.discarded) == (0, 1)


@STORES
def test_a_retry_finds_an_equal_object_and_reads_nothing(bucket: Bucket, scheme: str) -> None:
    first = run(f"{scheme}://b/videos")
    calls = UploadStore.calls
    assert run(f"{scheme}://b/videos") == first
    assert UploadStore.calls == calls
    assert len(bucket.requests) == 2


@STORES
def test_an_object_of_the_same_size_that_differs_is_replaced(bucket: Bucket, scheme: str) -> None:
    with fsspec.open(f"{scheme}://b/videos/3-m-1.mp4", "wb") as file:
        file.write(bytes(len(CONTENT)))
    run(f"{scheme}://b/videos")
    with fsspec.open(f"{scheme}://b/videos/3-m-1.mp4") as file:
        assert file.read() == CONTENT


@STORES
def test_never_keeps_whatever_is_there(bucket: Bucket, scheme: str) -> None:
    with fsspec.open(f"{scheme}://b/videos/3-m-1.mp4", "wb") as file:
        file.write(b"mine")
    found = run(f"{scheme}://b/videos", overwrite="never")
    assert (found["size"], found["crc64"]) == (4, None)
    assert bucket.requests == []


def test_on_kill_leaves_nothing_partial(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = operator(str(tmp_path))
    progress = "airflow_ice.api.fetch.Progress.__call__"
    monkeypatch.setattr(progress, lambda self, download: killed.on_kill())
    with pytest.raises(AssertionError):
        killed.execute({})
    assert list(tmp_path.iterdir()) == []


def test_a_closed_domain_is_not_retried(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults = ["forbidden"]
    with pytest.raises(NonRetryableIceDownloadError, match="media_domains") as caught:
        run(str(tmp_path))
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../{index}.mp4",
        "a/../../b.mp4",
        "a//b.mp4",
        "a/./b.mp4",
        "a/",
        "a\x00.mp4",
        "a\nb.mp4",
        "a\\b.mp4",
        "x" * 256,
        "\ud800.mp4",
        "/".join(["x" * 200] * 6),
    ],
)
def test_a_name_that_leads_out_is_refused_when_the_dag_is_parsed(name: str) -> None:
    with pytest.raises(NonRetryableIceInputError, match=r"^name"):
        operator("s3://b/videos", name=name)


@pytest.mark.parametrize(
    ("pattern", "row"),
    [
        ("{index}.mp4", {}),
        ("{title}.mp4", {"title": "a/b"}),
        ("{title}.mp4", {"title": "../b"}),
        ("{title}/v.mp4", {"title": ".."}),
        ("{title}.mp4", {"title": "a\x00"}),
        ("{title}.mp4", {"title": None}),
        ("{title}.mp4", {"title": ["a"]}),
        ("{title}.mp4", {"title": True}),
        ("{user_data.campaign}.mp4", {"user_data": None}),
    ],
)
def test_a_field_that_makes_no_name_is_refused(pattern: str, row: dict[str, Any]) -> None:
    with pytest.raises(IceInputError, match=r"^name"):
        file_name(pattern, row)


def test_fields_are_filled_in() -> None:
    assert file_name("{index}-{media_id}.mp4", ROW) == "3-m-1.mp4"
    assert file_name("{user_data.campaign}/v{index}.mp4", ROW) == "spring/v3.mp4"
    assert file_name("{not a field} {}.mp4", ROW) == "{not a field} {}.mp4"


@pytest.mark.parametrize("media", [None, "m-1", [ROW], {}, {"media_id": None, "index": 0}])
def test_what_is_no_row_of_a_video_is_refused(bucket: Bucket, media: Any) -> None:
    with pytest.raises(NonRetryableIceInputError, match=r"^media"):
        run("s3://b/videos", media=media)
    assert bucket.signed == 0


@pytest.mark.parametrize("destination", ["", " ", None, 7, "nosuchstore://b/videos"])
def test_a_destination_that_cannot_be_written_is_refused(bucket: Bucket, destination: Any) -> None:
    with pytest.raises(NonRetryableIceInputError, match=r"^destination"):
        run(destination)
    assert bucket.signed == 0


def test_nothing_signed_leaves(
    bucket: Bucket,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[str] = []

    class Collector:
        def add_output_asset(self, *, context: Any, uri: str) -> None:
            reported.append(uri)

        add_input_asset = add_output_asset

    monkeypatch.setattr("airflow.sdk.lineage.get_hook_lineage_collector", Collector)

    caplog.set_level(logging.DEBUG)
    bucket.faults = ["reset 1000", "refused"]
    found = run("memory://b/videos")
    shown = caplog.text + "".join(capfd.readouterr()) + json.dumps(found)
    assert reported == ["memory://b/videos/3-m-1.mp4"]
    for secret in ("s1gnature", "Signature", "CAIStoken"):
        assert secret not in shown


def test_two_gigabytes_are_copied_in_bounded_memory(tmp_path: Path) -> None:
    code = """
import http.server, resource, threading, time
from pathlib import Path
import httpx
from airflow_ice.api.client import ClientSettings
from airflow_ice.api.download import Download, DownloadPolicy
from airflow_ice.api.endpoints import Endpoint
from airflow_ice.api.fetch import fetch

SIZE = 2 * 1024**3
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(SIZE))
        self.end_headers()
        piece = bytes(1 << 20)
        for _ in range(SIZE >> 20):
            self.wfile.write(piece)

class Discarding:
    def holds(self, size, crc64): return False
    def restart(self): pass
    def write(self, data): pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
url = f"http://127.0.0.1:{server.server_port}/v.mp4"
settings = ClientSettings(Endpoint("http", "127.0.0.1"))
download = Download("media m", DownloadPolicy(), time.monotonic())
found = fetch(download, lambda: url, Discarding(), settings, lambda download: None)
assert found.size == SIZE
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 64 * 1024, f"{grown} kB"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
