"""What `airflow-ice emulator` prints at its start: all that a user needs to point Airflow at it."""

from __future__ import annotations

import json
import mimetypes
import shlex
from typing import Final

from airflow_ice.emulator.media.objects import ObjectStore, object_url
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.server import url_host

_DEFAULT_REGION: Final = "cn-shanghai"  # of a connection that names none
_MOST_CLIPS: Final = 100


def banner(settings: Settings) -> str:
    """Return the address, the AccessKey, a connection to paste, the bucket and each clip's URL.

    :param settings: with the port that is listened on.
    """
    url = f"http://{url_host(settings.host)}:{settings.port}"
    lines = [
        f"Local ICE at {url} (an emulator: nothing is billed; Ctrl-C stops it)",
        f"  AccessKey ID      {settings.access_key_id}",
        f"  AccessKey secret  {settings.access_key_secret}",
        f"  region            {settings.region_id}",
        f"  bucket            {settings.bucket}",
        "A connection for Airflow, to paste into a shell:",
        f"export AIRFLOW_CONN_ICE_DEFAULT={shlex.quote(_connection(settings, url))}",
        *_clips(settings, url),
    ]
    return "\n".join(lines)


def _connection(settings: Settings, url: str) -> str:
    fields: dict[str, object] = {
        "conn_type": "alibaba_ice",
        "host": url,
        "login": settings.access_key_id,
        "password": settings.access_key_secret,
    }
    if settings.region_id != _DEFAULT_REGION:
        fields["extra"] = {"region_id": settings.region_id}
    return json.dumps(fields)


def _clips(settings: Settings, url: str) -> list[str]:
    if settings.media_dir is None:
        return ["No clips: with --media-dir DIR, jobs can use the files of a folder."]
    urls = [
        object_url(name, settings.region_id)
        for name in ObjectStore(settings).own_media().values()
        if (mimetypes.guess_type(name.key)[0] or "").startswith(("video/", "image/", "audio/"))
    ]
    if not urls:
        return [f"No clips: there is no video, image or sound in {settings.media_dir}."]
    lines = [f"Clips in the folder {settings.media_dir}, as jobs name them:"]
    lines += [f"  {clip}" for clip in urls[:_MOST_CLIPS]]
    if len(urls) > _MOST_CLIPS:
        lines.append(f"  and {len(urls) - _MOST_CLIPS} more: curl {url}/_control/media")
    return lines
