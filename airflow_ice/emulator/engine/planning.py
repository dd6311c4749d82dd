"""What a job will make: which clips, title and narration, and how long, for each of its videos.

Pure functions. A video is described by a timeline, which is also what a preview project holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_ice.emulator.engine.submissions import Submission
from airflow_ice.emulator.model.timeline import FOUND_BY_SEARCH, Caption, Segment, Timeline

# Guess: what the service takes where nothing is said.
_DEFAULT_VIDEO_SECONDS: Final = 10.0
_DEFAULT_SHOT_SECONDS: Final = 3.0
# Documented: the default of MediaGroup.Duration.
_DEFAULT_GROUP_SECONDS: Final = 5.0
# Where a speaker pauses: the full stops and commas of Western and of Chinese writing.
_PAUSES: Final = ".!?,;\n\u3001\u3002\uff01\uff0c\uff1b\uff1f"
_SENTENCE: Final = re.compile(rf"[^{_PAUSES}]+[{_PAUSES}]*")
_SSML: Final = re.compile(r"<[^>]*>")
_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a job."""

    timeline: Timeline
    title: str
    speech_text: str


def videos(submission: Submission) -> list[Video]:
    """Return the videos that a submit asks for, in the order of their index. Not for selections and batch editing."""
    return [_video(submission, index) for index in range(submission.output.count)]


def rescaled(timeline: Timeline, submission: Submission, index: int) -> Timeline:
    """Return a project's timeline as a batch editing job renders it: the same pieces at the size asked for now."""
    output = submission.output
    return replace(timeline, index=index, width=output.width, height=output.height, crf=output.crf)


def _video(submission: Submission, index: int) -> Video:
    output, titles = submission.output, submission.titles
    title = titles[index % len(titles)] if titles else ""
    narrations = submission.narrations
    narration = narrations[index % len(narrations)] if narrations else ""
    if submission.job_type == "Script":
        segments, spoken = _script_segments(submission, index, narration)
    elif submission.selection:
        segments, spoken = _selected_segments(submission, index)
    else:
        segments, spoken = _mixed_segments(submission, index, narration)
    music = submission.input_config.get("BackgroundMusicArray") or [""]
    volume = float((submission.editing_config.get("MediaConfig") or {}).get("Volume") or 0)
    timeline = Timeline(
        index,
        output.width,
        output.height,
        output.crf,
        volume,
        tuple(segments),
        title,
        tuple(_captions(segments, spoken)),
        music[index % len(music)],
    )
    return Video(timeline, title, narration or " ".join(text for text in spoken if text))


def _captions(segments: Sequence[Segment], spoken: Sequence[str]) -> Iterator[Caption]:
    """Return the subtitles of a video, a sentence each.

    :param spoken: the narration, as one text for the whole video or as one for each segment.
    """
    lengths = [segment.seconds for segment in segments]
    if len(spoken) == 1:
        lengths = [sum(lengths)]
    start = 0.0
    for text, seconds in zip(spoken, lengths, strict=True):
        sentences = sentences_of(text) if text else []
        whole = sum(_speech_seconds(sentence) for sentence in sentences)
        elapsed = start
        for sentence in sentences:
            share = seconds * _speech_seconds(sentence) / whole
            yield Caption(sentence, round(elapsed, 3), round(share, 3))
            elapsed += share
        start += seconds


def _script_segments(
    submission: Submission, index: int, narration: str
) -> tuple[list[Segment], list[str]]:
    """Take one clip from each group, and return the segments with what is spoken.

    The choice counts through all combinations, so that videos differ as long as they can.
    """
    output = submission.output
    clips: list[str] = []
    lengths: list[float] = []
    spoken: list[str] = []
    turn = index
    for group in submission.input_config["MediaGroupArray"]:
        media = group["MediaArray"]
        turn, choice = divmod(turn, len(media))
        clips.append(media[choice])
        group_texts = group.get("SpeechTextArray") or []
        text = group_texts[index % len(group_texts)] if group_texts else ""
        spoken.append(text)
        lengths.append(_group_seconds(submission, group, text))
    if narration or output.fixed_duration is not None:
        whole = _speech_seconds(narration) if narration else output.fixed_duration
        lengths = [(whole or 0) / len(clips)] * len(clips)
    segments = [Segment(clip, length) for clip, length in zip(clips, lengths, strict=True)]
    return _at_most(segments, output.max_duration), [narration] if narration else spoken


def _group_seconds(submission: Submission, group: Mapping[str, Any], text: str) -> float:
    if text:
        return _speech_seconds(text)
    return float(group.get("Duration") or _shot_seconds(submission) or _DEFAULT_GROUP_SECONDS)


def _selected_segments(submission: Submission, index: int) -> tuple[list[Segment], list[str]]:
    """Return the pieces that the selection result names, with what is spoken over each."""
    outputs = submission.selection["textMatchMediaOutputList"]
    sentences = outputs[index % len(outputs)]["textMatchMediaSentenceOutputList"]
    segments = []
    for sentence in sentences:
        clips = sentence["matchClipList"]
        clip = clips[index % len(clips)]
        seconds = sentence.get("duration") or clip["endTime"] - clip["startTime"]
        segments.append(
            Segment(clip["mediaId"], max(float(seconds), 0.2), max(float(clip["startTime"]), 0.0))
        )
    spoken = [str(sentence.get("text") or "") for sentence in sentences]
    return _at_most(segments, submission.output.max_duration), spoken


def _mixed_segments(
    submission: Submission, index: int, narration: str
) -> tuple[list[Segment], list[str]]:
    """Return a clip for each sentence of the narration, or a row of short shots."""
    output, media = submission.output, material(submission)
    if narration:
        spoken = sentences_of(narration)
        lengths = [_speech_seconds(sentence) for sentence in spoken]
    else:
        whole = output.fixed_duration or output.max_duration or _DEFAULT_VIDEO_SECONDS
        count = max(1, round(whole / (_shot_seconds(submission) or _DEFAULT_SHOT_SECONDS)))
        spoken, lengths = [""] * count, [whole / count] * count
    segments = [
        Segment(media[(index + turn) % len(media)], length) for turn, length in enumerate(lengths)
    ]
    return _at_most(segments, output.max_duration), spoken


def _shot_seconds(submission: Submission) -> float | None:
    value = (submission.editing_config.get("ProcessConfig") or {}).get("SingleShotDuration")
    return float(value) if value else None


def _at_most(segments: Sequence[Segment], most: float | None) -> list[Segment]:
    # Guess: a video that would be too long is shortened in all of its pieces alike.
    whole = sum(segment.seconds for segment in segments)
    factor = min(1.0, most / whole) if most else 1.0
    return [replace(segment, seconds=round(segment.seconds * factor, 3)) for segment in segments]


def material(submission: Submission) -> list[str]:
    """Return the media ids and URLs that a job is cut from, in the order of its submit."""
    if submission.selection:
        outputs = submission.selection["textMatchMediaOutputList"]
        sentences = [
            sentence
            for output in outputs
            for sentence in output["textMatchMediaSentenceOutputList"]
        ]
        return [clip["mediaId"] for sentence in sentences for clip in sentence["matchClipList"]]
    # A search in a library finds what it finds; here it finds one generated clip.
    return list(submission.material or [FOUND_BY_SEARCH])


def mentioned(submission: Submission) -> list[str]:
    """Return every media id and URL that a submit names: its material, and its music, pictures and stickers."""
    if submission.project_ids:
        return []
    config = submission.input_config
    found = [item for item in material(submission) if item != FOUND_BY_SEARCH]
    for name in ("BackgroundMusicArray", "BackgroundImageArray", "OpeningArray", "EndingArray"):
        found += config.get(name) or []
    for sticker in config.get("StickerArray") or []:
        # The media id wins where both are given.
        named = isinstance(sticker, dict) and (sticker.get("MediaId") or sticker.get("MediaURL"))
        found += [named] if isinstance(named, str) else []
    return found


def sentences_of(text: str) -> list[str]:
    """Split a narration where a speaker pauses; SSML tags are not spoken."""
    plain = _SSML.sub(" ", text)
    return [part for part in (match.strip() for match in _SENTENCE.findall(plain)) if part] or [
        plain.strip() or "…"
    ]


def _speech_seconds(text: str) -> float:
    # Guess: about 4.5 Chinese, Japanese or Korean characters, or 2.5 words of other languages, are spoken in a second.
    plain = _SSML.sub(" ", text)
    characters = len(_CJK.findall(plain))
    words = len(_CJK.sub(" ", plain).split())
    return max(1.0, round(characters / 4.5 + words / 2.5, 3))


def selection_result(submission: Submission) -> dict[str, Any]:
    """Return the ExtendOutput of a selection job: for each text its sentences, for each sentence a piece of the material."""
    media = material(submission)
    # Guess: what the highlights type answers; no page shows it. It has no texts, so a row of shots stands for one.
    narrations = submission.narrations or [""]
    result = []
    for number, narration in enumerate(narrations):
        sentences = sentences_of(narration) if narration else [""] * 3
        matches = []
        for turn, sentence in enumerate(sentences):
            seconds = _speech_seconds(sentence) if sentence else _DEFAULT_SHOT_SECONDS
            place = number + turn
            start = round(seconds * (place // len(media)), 3)
            clip = {
                "clipId": f"null-{place}",
                "endTime": round(start + seconds, 3),
                "mediaId": media[place % len(media)],
                "score": round(-0.2 - 0.01 * place, 4),
                "startTime": start,
            }
            matches.append(
                {
                    "duration": seconds,
                    "matchClipList": [clip],
                    "text": sentence,
                    "textId": str(number),
                }
            )
        result.append({"textMatchMediaSentenceOutputList": matches})
    return {"textMatchMediaOutputList": result}
