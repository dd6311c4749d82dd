"""The emulator's object store: names of objects, their files, and signed URLs that open them.

An object is addressed as on OSS (`http://BUCKET.oss-REGION.aliyuncs.com/KEY`), as
`oss://BUCKET/KEY`, or by the emulator's own address (`http://127.0.0.1:PORT/objects/BUCKET/KEY`).
Its bytes lie at `data_dir/objects/BUCKET/KEY`; the files of `media_dir` are objects of the
emulator's own bucket as well. A key never leads out of these two folders.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from airflow_ice.emulator.model.settings import Settings, is_loopback

OSS_HOST: Final = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9-]*)\.oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?"
    r"\.aliyuncs\.com"
)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]*")

PROCESS: Final = "x-oss-process"
_MEDIA_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The name of an object.

    :param region: the region that the URL names; None where it names none.
    """

    bucket: str
    key: str
    region: str | None = None


def parse_object_url(url: str) -> ObjectName | None:
    """Read the URL of an object in one of the three forms; None for anything else, and for a key that is not safe as a path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    key = unquote(parts.path).removeprefix("/")
    if parts.scheme == "oss":
        return _named(host, key, None)
    if parts.scheme not in ("http", "https"):
        return None
    if match := OSS_HOST.fullmatch(host):
        return _named(match["bucket"], key, match["region"])
    if is_loopback(host) and key.startswith("objects/"):
        bucket, _, rest = key.removeprefix("objects/").partition("/")
        return _named(bucket, rest, None)
    return None


def _named(bucket: str, key: str, region: str | None) -> ObjectName | None:
    return (
        ObjectName(bucket, key, region) if _BUCKET.fullmatch(bucket) and is_safe_key(key) else None
    )


def is_safe_key(key: str) -> bool:
    """Tell whether a key can be a path below a folder: no empty, `.` or `..` part, no backslash, no control character."""
    try:
        parts = [part.encode() for part in key.split("/")]
    except UnicodeEncodeError:
        return False
    if len(key) > 1023 or "\\" in key or any(ord(char) < 32 for char in key):
        return False
    return all(part not in (b"", b".", b"..") and len(part) <= 255 for part in parts)


class ObjectStore:
    """Finds the files of objects, and signs and checks the URLs that open them."""

    def __init__(self, settings: Settings) -> None:
        self._root = (settings.data_dir / "objects").resolve()
        self._media_dir = settings.media_dir.resolve() if settings.media_dir else None
        self._access_key_id = settings.access_key_id
        self._secret = settings.access_key_secret
        self._own_media: dict[str, ObjectName] = {}
        self._region_id = settings.region_id
        self._oss_urls = settings.oss_urls
        self.bucket = settings.bucket

    def path_to_write(self, name: ObjectName) -> Path:
        """Return where an object's bytes go.

        :raises ValueError: the key would lead out of the store.
        """
        path = self._root / name.bucket / name.key
        if not _is_below(path, self._root):
            raise ValueError("the key leads out of the store")
        return path

    def find(self, name: ObjectName) -> Path | None:
        """Return the file of an object; None when there is none."""
        if not is_safe_key(name.key):
            return None
        places = [(self._root / name.bucket / name.key, self._root)]
        if self._media_dir and name.bucket == self.bucket:
            places.append((self._media_dir / name.key, self._media_dir))
        return next(
            (path for path, root in places if _is_below(path, root) and path.is_file()), None
        )

    def own_object(self, media: str) -> ObjectName | None:
        """Return the object of `media_dir` that a media id stands for."""
        known = self._own_media.get(media)
        if known is not None and self.find(known) is not None:
            return known
        # Files come and go, so a miss reads the folder again; but only for what can be an id of ours.
        if _MEDIA_ID.fullmatch(media):
            self._own_media = self.own_media()
        return self._own_media.get(media)

    def own_media(self) -> dict[str, ObjectName]:
        """Return the objects that the files of `media_dir` are, by media id."""
        if self._media_dir is None:
            return {}
        files = sorted(
            path
            for path in self._media_dir.rglob("*")
            if path.is_file() and _is_below(path, self._media_dir)
        )
        names = [
            ObjectName(self.bucket, path.relative_to(self._media_dir).as_posix()) for path in files
        ]
        return {media_id(name): name for name in names if is_safe_key(name.key)}

    def signed_url(self, base_url: str, name: ObjectName, expires: int, process: str = "") -> str:
        """Return a URL that opens an object until it expires.

        :param base_url: the emulator's own address, `http://127.0.0.1:PORT`, where the URL leads
            unless the settings ask for OSS's own form.
        :param expires: seconds since the epoch, on the emulator's clock.
        :param process: what OSS makes of the object on the way out (`x-oss-process`).
        """
        query = {
            "Expires": str(expires),
            "OSSAccessKeyId": self._access_key_id,
            "Signature": self._sign("GET", name, str(expires), process),
            **({PROCESS: process} if process else {}),
        }
        path = f"{base_url}/objects/{name.bucket}/{quote(name.key)}"
        url = object_url(name, self._region_id) if self._oss_urls else path
        return f"{url}?{urlencode(query)}"

    def refusal(
        self, name: ObjectName, query: Mapping[str, str], now: float, verb: str = "GET"
    ) -> tuple[str, str] | None:
        """Return OSS's code and message for a request that does not open an object, else None."""
        expires, signed = query.get("Expires"), query.get("Signature")
        if not expires or not signed:
            return "AccessDenied", "You have no right to access this object because of bucket acl."
        if query.get("OSSAccessKeyId") != self._access_key_id:
            return (
                "InvalidAccessKeyId",
                "The OSS Access Key Id you provided does not exist in our records.",
            )
        expected = self._sign(verb, name, expires, query.get(PROCESS, ""))
        if not hmac.compare_digest(expected.encode(), signed.encode()):
            return (
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        # The signature covers Expires, and only digits are ever signed.
        return ("AccessDenied", "Request has expired.") if int(expires) < now else None

    def change(self, name: ObjectName) -> None:
        """Overwrite an object with other content that is as good; nothing where there is none.

        A file of `media_dir` is the user's and stays: the store's own copy hides it from then on.
        """
        path = self.find(name)
        if path is None:
            return
        # A box of an MP4 file that every player skips; other formats ignore what follows their end.
        other = path.read_bytes() + struct.pack(">I4s8s", 16, b"free", secrets.token_bytes(8))
        target = self.path_to_write(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.changed")
        unfinished.write_bytes(other)
        unfinished.replace(target)

    def _sign(self, verb: str, name: ObjectName, expires: str, process: str) -> str:
        # The URL signature of OSS, version 1. HMAC-SHA1 is what that scheme asks for.
        resource = f"/{name.bucket}/{name.key}" + (f"?{PROCESS}={process}" if process else "")
        text = f"{verb}\n\n\n{expires}\n{resource}"
        return base64.b64encode(
            hmac.new(self._secret.encode(), text.encode(), hashlib.sha1).digest()
        ).decode()


def object_url(name: ObjectName, region_id: str) -> str:
    """Return the URL of an object as on OSS. What would end the path or stand for something else (`#`, `?`, `%`) is escaped."""
    return f"http://{name.bucket}.oss-{region_id}.aliyuncs.com/{quote(name.key)}"


def media_id(name: ObjectName) -> str:
    """Return the media id of an object of the emulator's own store: 32 lower-case hex characters derived from its name."""
    return hashlib.sha256(f"{name.bucket}/{name.key}".encode()).hexdigest()[:32]


def _is_below(path: Path, root: Path) -> bool:
    # A symbolic link inside the store could still lead out of it.
    return path.resolve().is_relative_to(root)
