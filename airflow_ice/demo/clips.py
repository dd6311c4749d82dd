"""Source clips for a user who has none at hand: short H.264 files, each a moving scene with its
name drawn on it, so that a video shows which clips it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from airflow_ice.emulator.media.scenes import make_scene

# Two clips a group, so that the videos differ: the group, and the scene, which names the file.
_CLIPS: Final = (
    ("opening", "sunrise"),
    ("opening", "city"),
    ("product", "sea"),
    ("product", "road"),
)


def make_clips(folder: Path) -> None:
    """Write the clips to `folder`, a sub-folder for each group."""
    for group, scene in _CLIPS:
        (folder / group).mkdir(parents=True, exist_ok=True)
        make_scene(folder / group / f"{scene}.mp4", scene, scene)


def media_groups(folder: Path) -> dict[str, list[str]]:
    """Return the clips of a folder as media groups: a group for each sub-folder, or two of a flat
    folder's files.

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
