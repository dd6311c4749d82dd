"""IceMediaToObjectStorageOperator: a finished video, wherever Airflow can write.

A video appears at its destination whole, or not at all. Its signed URL is asked for when it is
needed, and goes nowhere but to OSS: not to the log, not to XCom, not to hook lineage.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from airflow.sdk import BaseOperator

from airflow_ice.api import limits
from airflow_ice.api.download import Downloaded
from airflow_ice.api.errors import IceDownloadError, IceInputError
from airflow_ice.api.files import LocalFile, Overwrite, checked_overwrite, is_equal
from airflow_ice.assets import add_events, asset_uri
from airflow_ice.downloads import DOWNLOAD_TIMEOUT, READY_TIMEOUT
from airflow_ice.exceptions import not_retried, unretried
from airflow_ice.hooks import IceHook
from airflow_ice.lineage import IceLineage, Lineage, of_media, of_uri
from airflow_ice.literals import is_literal

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.sdk import Context, ObjectStoragePath, XComArg

_FIELD: Final = re.compile(r"\{(\w+(?:\.\w+)*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_NAME: Final = 1023
"""Bytes of a name in UTF-8: what OSS and S3 allow for a key."""
_LONGEST_SEGMENT: Final = 255
_LOCAL: Final = frozenset({"", "file", "local"})


class IceMediaToObjectStorageOperator(IceLineage, BaseOperator):
    """Copies a finished video to any `ObjectStoragePath`: a folder, s3, gs, abfs, or what else the
    deployment has a provider for.

    For each row of `media`, as IceGetBatchMediaProducingJobOperator makes them with
    `returns="media"`:

        IceMediaToObjectStorageOperator.partial(
            task_id="publish", destination="s3://aws_default@bucket/videos"
        ).expand(media=collect.output)

    Returns `{"index", "media_id", "uri", "size", "crc64"}`: size in bytes, crc64 the checksum that
    OSS sent and the bytes match, as decimal text, or null where it sent none. uri is without a
    connection id.

    Waits until the media is `Normal`; resumes after a broken connection, a 5xx or an expired
    signature; checks length and CRC-64; holds less than 1 MB at a time, and what the store buffers.
    Each AssetAlias in `outlets` gets an event with the URI of the copy.

    A retry finds an equal file and skips it. Where OSS sent a checksum, a file of the same size in
    a store is read back to compare it.

    :param media: a row with `media_id` (templated).
    :param destination: the folder, bucket or prefix: `/data/videos`, `s3://conn_id@bucket/videos`
        (templated).
    :param name: the name below it, which may have folders. `{index}`, `{media_id}` and any other
        field of the row are filled in; `{user_data.campaign}` reaches into one (templated).
    :param dst_conn_id: the connection of the destination; None for the one in `destination`, or the
        default credentials (templated).
    :param overwrite: "if_different" (default) keeps an equal file, "never" any, "always" none.
    :param ready_timeout: seconds (or timedelta) that the media may take to become Normal.
    :param timeout: seconds (or timedelta) for the download.
    :param ice_conn_id: the connection (templated).
    :param region_id: None for the connection's own (templated).

    :raises NonRetryableIceInputError: an argument that cannot work, for example a name that leads
        out of the destination; nothing was sent.
    :raises NonRetryableIceDownloadError: the file is gone, or its OSS domain is closed to this
        account (PublicEndpointForbidden).
    :raises IceDownloadError: it could not be read; a retry may.
    :raises IceError: GetMediaInfo failed.
    """

    template_fields: Sequence[str] = (
        "media",
        "destination",
        "name",
        "dst_conn_id",
        "ice_conn_id",
        "region_id",
    )
    ui_color = "#d7efdf"

    def __init__(
        self,
        *,
        media: Mapping[str, Any] | XComArg,
        destination: str,
        name: str = "{index}-{media_id}.mp4",
        dst_conn_id: str | None = None,
        overwrite: Overwrite = "if_different",
        ready_timeout: timedelta | float = READY_TIMEOUT,
        timeout: timedelta | float = DOWNLOAD_TIMEOUT,
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.media = cast("Mapping[str, Any]", media)  # resolved before execute()
        self.destination = destination
        self.name = name
        self.dst_conn_id = dst_conn_id
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        with not_retried():
            self.overwrite = checked_overwrite(overwrite)
            self.ready_timeout = limits.seconds("ready_timeout", ready_timeout)
            self.timeout = limits.seconds("timeout", timeout)
            if is_literal(name):
                checked_name(_FIELD.sub("x", name))
        self._file: LocalFile | StoreFile | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy the video."""
        with not_retried():
            media_id = _media_id(self.media)
            name = file_name(self.name, self.media)
            place, uri = self._place(name)
        with IceHook(self.ice_conn_id, self.region_id) as hook, place as file:
            self._file = file
            found = self._copy(hook, media_id, file)
        if found.skipped:
            self.log.info("%s is there already: %d bytes.", uri, found.size)
        else:
            self.log.info("Media %s is at %s: %d bytes.", media_id, uri, found.size)
        result = {
            "index": self.media.get("index"),
            "media_id": media_id,
            "uri": uri,
            "size": found.size,
            "crc64": found.crc64,
        }
        self._tell(context, result)
        return result

    def lineage_before(self) -> Lineage:
        """Return the video, once it is known which."""
        video = of_media(self.media) if isinstance(self.media, Mapping) else None
        return Lineage([] if video is None else [video])

    def _tell(self, context: Context, result: Mapping[str, Any]) -> None:
        """Tell assets and lineage of the video; its URI there is the destination's own."""
        before, copy = self.lineage_before(), of_uri(result["uri"])
        job_id = self.media.get("job_id")
        facts = {"job_id": job_id} if isinstance(job_id, str) else {}
        self._lineage = Lineage(before.inputs, [] if copy is None else [copy], facts)
        extra = {**facts, **{name: result[name] for name in result if name != "uri"}}
        uri = asset_uri(result["uri"])
        if uri is None and context.get("outlets"):
            self.log.warning("The copy has no URI that may name an asset: an alias has no event.")
        add_events(context, [] if uri is None else [(uri, extra)], extra, self.log)

    def on_kill(self) -> None:
        """Leave nothing partial."""
        if self._file is not None:
            self._file.abort()

    def _copy(self, hook: IceHook, media_id: str, file: LocalFile | StoreFile) -> Downloaded:
        from airflow_ice.api.media import read_media

        if self.overwrite == "never" and (size := file.size) is not None:
            return Downloaded(size, skipped=True)
        with not_retried():
            source = hook.media_source(
                media_id, ready_timeout=self.ready_timeout, timeout=self.timeout
            )
        try:
            found = read_media(hook, source, file, self.log)
        except IceDownloadError as error:
            raise unretried(error) from error.__cause__
        if not found.skipped:
            file.commit()
        return found

    def _place(self, name: str) -> tuple[LocalFile | StoreFile, str]:
        """Return the file that is to be written, and its URI."""
        given = self.destination
        if not isinstance(given, str) or not given.strip():
            rule = "must be a folder or the address of one"
            raise IceInputError("destination", limits.shown("destination", given), rule)
        if "://" not in given:
            path = Path(given).resolve() / name
            return LocalFile(path, self.overwrite), path.as_uri()
        try:
            from airflow.sdk import ObjectStoragePath  # a DAG file does not pay for it

            target = ObjectStoragePath(given, conn_id=self.dst_conn_id) / name
            file = StoreFile(target, self.overwrite)
        except (ValueError, ImportError) as cause:
            rule = f"cannot be written here: {cause}"
            advice = "The store needs its provider, for s3 apache-airflow-providers-amazon[s3fs]."
            raise IceInputError("destination", given, rule, advice=advice) from cause
        if target.protocol in _LOCAL:
            path = Path(target.path)
            return LocalFile(path, self.overwrite), path.as_uri()
        return file, file.uri


class StoreFile:
    """A file of an object store, by fsspec. In a `with` block; without `commit`, nothing is left.

    fsspec commits what was written when the file is closed, also by an exception, unless it is
    opened with `autocommit=False`. Stores that do not heed it (fsspec's `memory` among them) show
    what is partial; that is removed.

    :param target: the file.
    :param overwrite: as for `LocalFile`.
    """

    def __init__(self, target: ObjectStoragePath, overwrite: Overwrite = "if_different") -> None:
        self._target = target
        self._fs: Any = target.fs
        self._path = target.path
        self.uri = f"{target.protocol}://{target.path.lstrip('/')}"
        self._overwrite = overwrite
        self._file: Any = None
        self._before: Any = None
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    @property
    def size(self) -> int | None:
        """Bytes of the file that is there; None where there is none."""
        found = self._info()
        return None if found is None or found.get("type") == "directory" else int(found["size"])

    def holds(self, size: int | None, crc64: str | None) -> bool:
        """Tell whether the file that is there has this size and this checksum."""
        if self._overwrite == "always" or size is None or self.size != size:
            return False
        if crc64 is None:
            return True
        with self._fs.open(self._path, "rb") as file:
            return is_equal(file, crc64)

    def restart(self) -> None:
        """Begin from the first byte."""
        self.abort()
        self._before = self._info()
        self._fs.makedirs(self._fs._parent(self._path), exist_ok=True)  # noqa: SLF001 - its own way
        self._file = self._fs.open(self._path, "wb", autocommit=False)
        self._written = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._file.write(data)
        self._written += len(data)

    def commit(self) -> None:
        """Put the file in its place.

        :raises IceDownloadError: the store shows another size than was written.
        """
        from airflow.sdk.lineage import get_hook_lineage_collector

        if self._file is None:
            self.restart()
        self._file.close()
        self._file.commit()
        if self.size != self._written:
            found = self.size
            self.abort()
            raise IceDownloadError(
                f"{self.uri} has {found} bytes after {self._written} were written"
            )
        self._file = None
        get_hook_lineage_collector().add_output_asset(context=self._target, uri=self.uri)

    def abort(self) -> None:
        """Leave nothing of what was not committed. May be called again."""
        file, self._file = self._file, None
        if file is None:
            return
        # Whatever fails here, what is partial must go.
        with contextlib.suppress(Exception):
            file.close()
        with contextlib.suppress(Exception):
            file.discard()
        with contextlib.suppress(Exception):
            if (found := self._info()) is not None and found != self._before:
                self._fs.rm_file(self._path)

    def _info(self) -> Any:
        self._fs.invalidate_cache()
        try:
            return self._fs.info(self._path)
        except FileNotFoundError:
            return None


def _media_id(row: object) -> str:
    if not isinstance(row, Mapping):
        rule = 'must be a row such as {"index": 0, "media_id": "..."}: one of collect.output'
        raise IceInputError("media", limits.shown("media", row), rule)
    found = row.get("media_id")
    if not isinstance(found, str) or not found.strip():
        advice = "A preview has no file: render it with IceSubmitSceneBatchEditingJobOperator."
        raise IceInputError("media.media_id", None, "must be the id of a video", advice=advice)
    return found.strip()


def file_name(pattern: str, row: Mapping[str, Any]) -> str:
    """Return a name with the fields of a row filled in.

    :raises IceInputError: a field is missing, or the name leads out of its folder.
    """

    def filled(match: re.Match[str]) -> str:
        value: Any = row
        for part in match[1].split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            rule = f"names {match[0]}, which this row does not have as a text or number"
            raise IceInputError("name", pattern, rule)
        text = str(value)
        if "/" in text or text in {".", ".."}:
            raise IceInputError("name", None, f"has {match[0]} with a path in it")
        return text

    return checked_name(_FIELD.sub(filled, pattern))


def checked_name(name: str) -> str:
    """Return a name that stays in its folder.

    :raises IceInputError: it is empty, absolute or too long, or has a segment that is empty, `.`
        or `..`, a backslash or a control character.
    """
    segments = name.split("/")
    rule = None
    if not name or any(segment in {"", ".", ".."} for segment in segments):
        rule = "must be a relative path without empty, '.' and '..' segments"
    elif "\\" in name or _CONTROL.search(name):
        rule = "must not contain a backslash or a control character"
    elif not _fits(name, _LONGEST_NAME) or not all(
        _fits(each, _LONGEST_SEGMENT) for each in segments
    ):
        rule = f"must have at most {_LONGEST_NAME} bytes, {_LONGEST_SEGMENT} in each segment"
    if rule is not None:
        raise IceInputError("name", limits.shown("name", name), rule)
    return name


def _fits(text: str, most: int) -> bool:
    try:
        return len(text.encode()) <= most
    except UnicodeEncodeError:
        return False
