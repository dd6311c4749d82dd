"""Source clips for a user who has none at hand: short, real H.264 files, made with FFmpeg's own picture generators."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final

RATE: Final = 25
SECONDS: Final = 3

# Group, file name, FFmpeg source filter. Two clips a group, so that the videos differ.
_CLIPS: Final = (
    (
        "opening",
        "gradients-warm",
        "gradients=s=640x360:r=25:speed=0.03:c0=0xff7e5f:c1=0xfeb47b:c2=0x6a3093:nb_colors=3:seed=7",
    ),
    (
        "opening",
        "gradients-cool",
        "gradients=s=640x360:r=25:speed=0.03:c0=0x0575e6:c1=0x00f260:c2=0x141e30:nb_colors=3:seed=3",
    ),
    (
        "product",
        "mandelbrot",
        "mandelbrot=s=640x360:r=25:start_scale=0.02:end_scale=0.0005:end_pts=200",
    ),
    (
        "product",
        "life",
        "life=s=320x180:r=25:ratio=0.2:seed=11:mold=20:life_color=#9be564:death_color=#1b4332:mold_color=#2d6a4f",
    ),
)


def make_clips(folder: Path) -> None:
    """Write the clips to `folder`, a sub-folder for each group."""
    for group, name, source in _CLIPS:
        (folder / group).mkdir(parents=True, exist_ok=True)
        _write(folder / group / f"{name}.mp4", source)


def _write(target: Path, source: str) -> None:
    import av
    from av.filter import Graph

    graph = Graph()
    name, _, arguments = source.partition("=")
    generator = graph.add(name, arguments)
    scaled = graph.add("scale", "640:360:flags=neighbor")
    pixels = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    generator.link_to(scaled)
    scaled.link_to(pixels)
    pixels.link_to(sink)
    graph.configure()
    with av.open(str(target), "w") as container:
        stream = container.add_stream(
            "h264", rate=RATE, options={"preset": "veryfast", "crf": "23"}
        )
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(RATE * SECONDS):
            frame = graph.vpull()
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def media_groups(folder: Path) -> dict[str, list[str]]:
    """Return the clips of a folder as media groups: a group for each sub-folder, or two of a flat folder's files.

    :return: group name to the names of its files, relative to `folder`.
    :raises ValueError: no clip in the folder.
    """
    clips = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in {".mp4", ".mov", ".mkv", ".webm", ".jpg", ".jpeg", ".png"}
    )
    if not clips:
        raise ValueError(f"no clips (mp4, mov, mkv, webm, jpg, png) in {folder}")
    names = [path.relative_to(folder) for path in clips]
    grouped: dict[str, list[str]] = {}
    for place, name in enumerate(names):
        group = (
            name.parts[0]
            if len(name.parts) > 1
            else ("first" if place < (len(names) + 1) // 2 else "second")
        )
        grouped.setdefault(group[:50], []).append(name.as_posix())
    return grouped


def check_clips(folder: Path, names: Iterable[str], seconds: float) -> None:
    """Decode the beginning of each clip, so that a broken one fails before anything is started.

    :param names: the clips, relative to `folder`.
    :param seconds: how much of each is needed; a shorter clip starts over, so it may end before.
    :raises ValueError: a clip cannot be shown; the text names each such clip and the reason.
    """
    reasons = {name: _reason_not_to_use(folder / name, seconds) for name in names}
    broken = [f"{folder / name}: {reason}" for name, reason in reasons.items() if reason]
    if broken:
        raise ValueError("clips that cannot be used:\n  " + "\n  ".join(broken))


def _reason_not_to_use(clip: Path, seconds: float) -> str | None:
    import av

    try:
        with av.open(str(clip)) as container:
            if not container.streams.video:
                return "it holds no picture"
            frames = 0
            for frame in container.decode(video=0):
                frames += 1
                if frame.time is None or frame.time >= seconds:
                    break
            return None if frames else "it holds no picture"
    except (av.FFmpegError, OSError) as error:
        return (error.strerror or str(error)).rstrip(".")
