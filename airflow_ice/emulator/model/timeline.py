"""The timeline of a video: its size, its clips, its texts and its music, as plain JSON.

It is what the renderer plays, and what a preview project holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

FOUND_BY_SEARCH: Final = "search-result"
"""The clip that a search in a media library finds here; the emulator's own, so never unknown."""

# Guess: where titles and subtitles stand, and how large they are, as shares of the height.
TITLE_Y: Final = 0.08
CAPTION_Y: Final = 0.88
TITLE_SIZE: Final = 0.055
CAPTION_SIZE: Final = 0.045


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a video.

    :param media: the media id or URL that it is cut from.
    :param seconds: its length in the video.
    :param start: where the piece starts in the material, in seconds.
    """

    media: str
    seconds: float
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that is spoken and shown.

    :param start: when it comes up in the video, in seconds; it stays for `seconds`.
    """

    text: str
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """A video to be rendered.

    :param index: the number drawn on generated pictures, which makes one video differ from the
        next.
    :param volume: how loud the clips' own sound is, 0 silences it.
    :param title: shown from the beginning to the end; empty for none.
    :param captions: the narration, as subtitles.
    :param music: the media id or URL of the background music; empty for none.
    """

    index: int
    width: int
    height: int
    crf: int
    volume: float
    segments: tuple[Segment, ...]
    title: str = ""
    captions: tuple[Caption, ...] = ()
    music: str = ""

    @property
    def seconds(self) -> float:
        """The length of the video."""
        return round(sum(segment.seconds for segment in self.segments), 3)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timeline:
        """Read what `to_dict` wrote, also before there were titles, captions and music."""
        segments = tuple(Segment(**segment) for segment in data["segments"])
        captions = tuple(Caption(**caption) for caption in data.get("captions", ()))
        return cls(**{**data, "segments": segments, "captions": captions})
