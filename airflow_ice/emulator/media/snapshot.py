"""A picture of a video, as OSS makes it on the way out for `x-oss-process=video/snapshot`."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Final

COVER_PROCESS: Final = "video/snapshot,t_0,f_jpg"
_SNAPSHOT: Final = re.compile(r"video/snapshot,t_(?P<milliseconds>\d{1,9}),f_jpg")


def snapshot(path: Path, process: str) -> bytes:
    """Return a JPEG of the picture at an instant of a video, or of its last one.

    :param process: the value of `x-oss-process`, such as `video/snapshot,t_1500,f_jpg`; t is in
        milliseconds.
    :raises ValueError: another process is asked for, or the file holds no picture.
    """
    asked = _SNAPSHOT.fullmatch(process)
    if asked is None:
        raise ValueError(f"only video/snapshot,t_MILLISECONDS,f_jpg is served, not {process!r}")
    import av

    frame = None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.time is None or frame.time * 1000 >= int(asked["milliseconds"]):
                    break
    except (av.FFmpegError, IndexError):
        frame = None
    if frame is None:
        raise ValueError(f"{path.name} holds no picture")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.framerate = Fraction(1)
    picture = frame.reformat(format="yuvj420p", dst_color_range="JPEG")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
