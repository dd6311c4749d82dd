"""What a media file is: size, length, kind, read from the file itself. Values are text, as GetMediaInfo has them."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """The facts of one file.

    :param media_type: image, video, audio or text.
    :param readable: False for a file that is no media.
    :param duration: seconds; bitrate: kbit/s; width and height: pixels; all as text, empty where there is none.
    """

    media_type: str
    readable: bool
    size: int
    format_name: str = ""
    duration: str = ""
    bitrate: str = ""
    width: str = ""
    height: str = ""


def probe(path: Path) -> MediaFacts:
    """Read the facts of a file; one that has not changed is read once."""
    stat = path.stat()
    return _probe(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _probe(path: Path, _modified: int, size: int) -> MediaFacts:
    import av

    kind = (mimetypes.guess_type(path.name)[0] or "").split("/")[0]
    kind = kind if kind in ("image", "video", "audio") else "text"
    try:
        with av.open(str(path)) as container:
            pictures = container.streams.video
            seconds = (container.duration or 0) / av.time_base if kind != "image" else 0
            return MediaFacts(
                media_type=kind if kind != "text" else ("video" if pictures else "audio"),
                readable=True,
                size=size,
                format_name=container.format.name,
                duration=f"{seconds:.6f}" if seconds else "",
                bitrate=f"{size * 8 / 1000 / seconds:.2f}" if seconds else "",
                width=str(pictures[0].width) if pictures else "",
                height=str(pictures[0].height) if pictures else "",
            )
    except av.FFmpegError:
        return MediaFacts(kind, kind == "text", size)
