"""Online editing projects as the service shows them: what a preview is made of, before it is rendered.

A project holds the timeline that the renderer plays, in the form of Alibaba Cloud's page "Timeline
configurations": video tracks of clips, subtitle tracks of texts, audio tracks of speech and music.
All times are seconds: In and Out within the clip, TimelineIn and TimelineOut within the video.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from typing import Any

from airflow_ice.emulator.media.material import MaterialFinder
from airflow_ice.emulator.model.clock import timestamp
from airflow_ice.emulator.model.jobs import FAILED, INIT, SUCCESS
from airflow_ice.emulator.model.store import SubJob
from airflow_ice.emulator.model.timeline import (
    CAPTION_SIZE,
    CAPTION_Y,
    TITLE_SIZE,
    TITLE_Y,
    Caption,
    Timeline,
)


def project(
    sub_job: SubJob, *, request_source: str, cover_url: str | None, timeline: str
) -> dict[str, Any]:
    """Return a Project as GetEditingProject shows it.

    :param request_source: OpenAPI or WebSDK; only for the latter is a timeline converted.
    :param cover_url: a signed URL of a picture; None where the emulator holds no clip of it.
    :param timeline: the timeline, as JSON text.
    """
    body: dict[str, Any] = {
        "ProjectId": sub_job.project_id,
        # Guess: that a project is named after the title of its video.
        "Title": json.loads(sub_job.materials)["Title"] or f"Project {sub_job.position}",
        "Description": "",
        "Timeline": timeline,
        # Guess: in seconds; the official SDK has a whole number without a unit.
        "Duration": round(sub_job.duration),
        "Status": _status(sub_job),
        "ProjectType": "EditingProject",
        "TemplateType": "Timeline",
        "CreateSource": "OpenAPI",
        "ModifiedSource": "OpenAPI",
        "TimelineConvertStatus": "Converted" if request_source == "WebSDK" else "Unconverted",
        "CreateTime": timestamp(sub_job.created),
        "ModifiedTime": timestamp(sub_job.modified),
    }
    return body if cover_url is None else {**body, "CoverURL": cover_url}


def exists(sub_job: SubJob) -> bool:
    """Tell whether the project of a sub-job can be read yet.

    Guess: a preview once it is made, the project of a video once it is being produced.
    """
    if sub_job.media_id is None:
        return sub_job.status == SUCCESS
    return sub_job.status != INIT


def _status(sub_job: SubJob) -> str:
    # The values are those that the official SDK lists. Guess: that a preview is a draft.
    if sub_job.media_id is None:
        return "Draft"
    return {SUCCESS: "Produced", FAILED: "ProduceFailed"}.get(sub_job.status, "Producing")


def timeline_of(sub_job: SubJob, finder: MaterialFinder) -> str:
    """Return the timeline of a sub-job in the service's form, as JSON text."""
    timeline = Timeline.from_dict(json.loads(sub_job.timeline))
    shown = wire_timeline(timeline, lambda media: finder.find(media).media_id)
    return json.dumps(shown, ensure_ascii=False)


def wire_timeline(timeline: Timeline, media_id: Callable[[str], str | None]) -> dict[str, Any]:
    """Return a timeline in the service's form.

    :param media_id: returns the media id for the media id or URL that a job named; None where
        the emulator knows none, and the clip then has no MediaId but the URL.
    """
    body: dict[str, Any] = {"VideoTracks": [{"VideoTrackClips": _clips(timeline, media_id)}]}
    subtitles = []
    if timeline.title:
        whole = Caption(timeline.title, 0.0, timeline.seconds)
        subtitles.append([_text(timeline, whole, TITLE_Y, TITLE_SIZE, "TopCenter")])
    if timeline.captions:
        subtitles.append(
            [
                _text(timeline, caption, CAPTION_Y, CAPTION_SIZE, "BottomCenter")
                for caption in timeline.captions
            ]
        )
    body["SubtitleTracks"] = [{"SubtitleTrackClips": clips} for clips in subtitles]
    speech = [
        {"Type": "AI_TTS", "Content": caption.text, **_span(caption.start, caption.seconds)}
        for caption in timeline.captions
    ]
    music = []
    if timeline.music:
        span = _span(0.0, timeline.seconds)
        music.append({**_named(timeline.music, media_id), "In": 0.0, **span})
    body["AudioTracks"] = [{"AudioTrackClips": clips} for clips in (speech, music) if clips]
    return body


def _clips(timeline: Timeline, media_id: Callable[[str], str | None]) -> list[dict[str, Any]]:
    clips, elapsed = [], 0.0
    for segment in timeline.segments:
        kind = mimetypes.guess_type(segment.media.partition("?")[0])[0] or ""
        clips.append(
            {
                **_named(segment.media, media_id),
                "Type": "Image" if kind.startswith("image/") else "Video",
                "In": segment.start,
                "Out": round(segment.start + segment.seconds, 3),
                **_span(elapsed, segment.seconds),
                "Duration": segment.seconds,
                "X": 0,
                "Y": 0,
                "Width": timeline.width,
                "Height": timeline.height,
                "Effects": [{"Type": "Volume", "Gain": timeline.volume}],
            }
        )
        elapsed += segment.seconds
    return clips


def _named(media: str, media_id: Callable[[str], str | None]) -> dict[str, str]:
    known = media_id(media)
    named = {} if known is None else {"MediaId": known}
    return {**named, "MediaURL": media} if "://" in media else {"MediaId": known or media}


def _text(
    timeline: Timeline, caption: Caption, y: float, size: float, alignment: str
) -> dict[str, Any]:
    return {
        "Type": "Text",
        "Content": caption.text,
        **_span(caption.start, caption.seconds),
        "X": 0,
        "Y": y,
        "FontSize": round(size * timeline.height),
        "FontColor": "#ffffff",
        "Alignment": alignment,
    }


def _span(start: float, seconds: float) -> dict[str, float]:
    return {"TimelineIn": round(start, 3), "TimelineOut": round(start + seconds, 3)}
