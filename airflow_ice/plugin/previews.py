"""A preview as something to play: clips one after another, and the texts above them. Pure.

A preview has no file. Its timeline says which parts of which source clips it is made of (the page
"timeline configuration" of the ICE documentation); the page plays those. Effects, transitions,
stickers, music and the spoken text are not shown, so what plays is an approximation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ice.api.models import MediaInfo, number, rows
from airflow_ice.api.redaction import unsigned_url


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a source clip on the main track.

    :param media_id: the source; None where the timeline gives a URL only.
    :param url: the source's address, unsigned; None where the timeline gives an id only.
    :param is_image: a still picture, not a film.
    :param start: seconds in the preview at which it begins. So is end, at which it is over; None
        where only the length of the source tells it.
    :param begin: seconds in the source at which it begins.
    """

    media_id: str | None
    url: str | None
    is_image: bool
    start: float
    end: float | None
    begin: float


@dataclass(frozen=True, slots=True)
class Caption:
    """A text above the picture.

    :param start: seconds in the preview at which it begins. So is end, at which it is over.
    :param y: how far down it stands, 0 (top) to 1; None where that is not known.
    """

    text: str
    start: float
    end: float | None
    y: float | None = None


def clips_of(timeline: Mapping[str, Any], sources: Sequence[MediaInfo]) -> list[Clip]:
    """Return the clips of the main track, in the order in which they play.

    Without `In` and `Out` a whole clip plays; without `TimelineIn` clips follow one another.

    :param sources: the materials of the project, which hold the length of a whole clip.
    """
    found: list[Clip] = []
    clock: float | None = 0.0
    for wire in rows(_main_track(timeline).get("VideoTrackClips")):
        media_id, url = _name(wire.get("MediaId")), _name(wire.get("MediaURL"))
        source = source_of(media_id, url, sources)
        begin = number(wire.get("In")) or 0.0
        start = number(wire.get("TimelineIn"))
        start = start if start is not None else clock or 0.0
        length = _length(wire, begin, source)
        end = number(wire.get("TimelineOut"))
        end = end if end is not None else start + length if length is not None else None
        is_image = str(wire.get("Type") or "").lower() in {"image", "globalimage"}
        clock = end
        if media_id or url:
            found.append(Clip(media_id, unsigned_url(url), is_image, start, end, begin))
    return sorted(found, key=lambda clip: clip.start)


def captions_of(timeline: Mapping[str, Any]) -> list[Caption]:
    """Return titles and subtitles: the texts of the subtitle tracks, and those of text effects."""
    found = [
        _caption(wire, _name(wire.get("Content")), 0.0)
        for track in rows(timeline.get("SubtitleTracks"))
        for wire in rows(track.get("SubtitleTrackClips"))
    ]
    for clip in rows(_main_track(timeline).get("VideoTrackClips")):
        begin = number(clip.get("TimelineIn")) or 0.0
        found += [
            _caption(effect, _name(effect.get("Content")), begin)
            for effect in rows(clip.get("Effects"))
            if str(effect.get("Type") or "").lower() == "text"
        ]
    return [caption for caption in found if caption is not None]


def source_of(
    media_id: str | None, url: str | None, sources: Sequence[MediaInfo]
) -> MediaInfo | None:
    """Return the material that a clip is a part of; None where the project has none such."""
    plain = _address(url)
    for source in sources:
        if media_id and source.media_id == media_id:
            return source
        if plain and not media_id and plain == _address(source.input_url):
            return source
    return None


def preview_view(timeline: Mapping[str, Any], sources: Sequence[MediaInfo]) -> dict[str, Any]:
    """Return a preview for the page: `{"clips", "captions", "seconds", "approximate"}`.

    A clip is named by its place; its address is asked for when it plays.
    """
    clips = clips_of(timeline, sources)
    ends = [clip.end for clip in clips if clip.end is not None]
    return {
        "clips": [
            {
                "place": place,
                "is_image": clip.is_image,
                "start": clip.start,
                "end": clip.end,
                "begin": clip.begin,
            }
            for place, clip in enumerate(clips)
        ],
        "captions": [
            {"text": text.text, "start": text.start, "end": text.end, "y": text.y}
            for text in captions_of(timeline)
        ],
        "seconds": max(ends, default=None),
    }


def _main_track(timeline: Mapping[str, Any]) -> Mapping[str, Any]:
    tracks = [track for track in rows(timeline.get("VideoTracks")) if not _is_effects(track)]
    marked = [track for track in tracks if track.get("MainTrack") in {True, "true", "True"}]
    return next(iter(marked or tracks), {})


def _is_effects(track: Mapping[str, Any]) -> bool:
    return str(track.get("Type") or "").lower() == "effect"


def _length(wire: Mapping[str, Any], begin: float, source: MediaInfo | None) -> float | None:
    out = number(wire.get("Out"))
    if out is not None:
        return max(0.0, out - begin)
    length = number(wire.get("Duration"))
    if length is not None:
        return length
    file = source.source_file if source else None
    return max(0.0, file.duration - begin) if file and file.duration else None


def _caption(wire: Mapping[str, Any], text: str | None, begin: float) -> Caption | None:
    if not text:
        return None
    start = number(wire.get("TimelineIn"))
    end = number(wire.get("TimelineOut"))
    y = number(wire.get("Y"))
    # A share of the height, or pixels from 1 on, which only the output's height would explain.
    y = y if y is not None and 0 <= y < 1 else None
    return Caption(text, start if start is not None else begin, end, y)


def _name(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _address(url: str | None) -> str | None:
    """Return host and path: the service has been seen to change the scheme."""
    plain = unsigned_url(url)
    return plain.partition("://")[2] or plain if plain else None
