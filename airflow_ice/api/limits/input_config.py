"""InputConfig of each kind of job: the pages "scripted-auto-slice", "script-to-video",
"create-highlight-videos", and documents 2692547 and 2863940.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.fields import (
    clip,
    clips,
    clips_or_objects,
    entries,
    number,
    short_text,
    texts,
    whole,
)
from airflow_ice.api.limits.keys import INPUT_KEYS, spelling
from airflow_ice.api.limits.output_config import MAX_VOLUME

MAX_GROUPS: Final = 40
MAX_GROUP_NAME: Final = 50
MAX_GROUP_MEDIA: Final = 200
MAX_TEXTS: Final = 50
MAX_TITLE: Final = 50
MAX_SPEECH: Final = 1000
MAX_HIGHLIGHT_VIDEOS: Final = 30  # the Chinese page says 20, the English one 30
MAX_OPENINGS: Final = 20
MAX_FACES: Final = 5
MAX_LOGOS: Final = 5
MAX_TRANSFER_NAMES: Final = 10
MAX_SUB_HEADING_LEVEL: Final = 5
MAX_STICKER_FRAMES: Final = 100
SPLIT_MODES: Final = ("NoSplit", "AverageSplit")
SPORTS: Final = ("basketball", "pingpong")

# "No emoji" is all that the page says: here only what is shown as a picture wherever it stands, and
# what makes a sign one.
_EMOJI: Final = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb"
    "\U0001f900-\U0001f9ff\U0001fa70-\U0001faff"
    "\u2705\u2728\u274c\u2753-\u2755\u2757\u2b50\ufe0f]"
)


def batch_input(config: Mapping[str, Any]) -> None:
    """Check the InputConfig of SubmitBatchMediaProducingJob, whose keys decide between Script and
    Smart_Mix.

    :raises IceInputError: none of the documented input forms, or over a limit.
    """
    spelling("InputConfig", config, INPUT_KEYS)
    groups = config.get("MediaGroupArray")
    if not any(config.get(key) for key in ("MediaGroupArray", "MediaArray", "MediaSearchInput")):
        rule = (
            "must hold MediaGroupArray (Script), or MediaArray or MediaSearchInput (Smart_Mix), "
            "and not empty"
        )
        raise IceInputError("InputConfig", dict(config), rule)
    if groups:
        _groups(config, entries("InputConfig.MediaGroupArray", groups, MAX_GROUPS))
    else:
        _smart_mix(config)
    _texts_and_decoration(config)


def selection_input(job_type: str, config: Mapping[str, Any]) -> None:
    """Check the InputConfig of a *_Media_Select or *_Timeline_Organize job: that of the matching
    one-step job.

    :raises IceInputError: none of the documented input forms, or over a limit.
    """
    if job_type.startswith("Screen_Media_Highlights"):
        highlights_input(config)
        return
    spelling("InputConfig", config, INPUT_KEYS)
    if not (config.get("MediaArray") or config.get("MediaSearchInput")):
        raise IceInputError(
            "InputConfig", dict(config), "must hold MediaArray or MediaSearchInput, and not empty"
        )
    _smart_mix(config)
    _texts_and_decoration(config)


def highlights_input(config: Mapping[str, Any]) -> None:
    """Check the InputConfig of a Screen_Media_Highlights job.

    :raises IceInputError: no MediaArray, or over a limit.
    """
    spelling("InputConfig", config, INPUT_KEYS)
    if not config.get("MediaArray"):
        raise IceInputError(
            "InputConfig.MediaArray", config.get("MediaArray"), "must name at least one video"
        )
    clips("InputConfig.MediaArray", config["MediaArray"], MAX_HIGHLIGHT_VIDEOS)
    for key in ("OpeningArray", "EndingArray"):
        if key in config:
            clips_or_objects(f"InputConfig.{key}", config[key], MAX_OPENINGS)
    _texts_and_decoration(config)


def sports_input(config: Mapping[str, Any]) -> None:
    """Check the InputConfig of a Sports_Highlights job.

    :raises IceInputError: an unknown sport, no InputMedia, or over a limit.
    """
    spelling("InputConfig", config, INPUT_KEYS)
    if config.get("SportsCategory") not in SPORTS:
        raise IceInputError(
            "InputConfig.SportsCategory",
            config.get("SportsCategory"),
            f"must be one of {', '.join(SPORTS)}",
        )
    if not isinstance(config.get("InputMedia"), str) or not config["InputMedia"].strip():
        raise IceInputError(
            "InputConfig.InputMedia", config.get("InputMedia"), "must name one video"
        )
    clip("InputConfig.InputMedia", config["InputMedia"])
    if "FaceRegister" in config:
        faces = entries("InputConfig.FaceRegister", config["FaceRegister"], MAX_FACES)
        for place, face in enumerate(faces):
            urls = face.get("FaceUrls") if isinstance(face, Mapping) else None
            if urls is not None:
                clips(f"InputConfig.FaceRegister[{place}].FaceUrls", urls, None)
    if "TransferNameRegister" in config:
        entries(
            "InputConfig.TransferNameRegister", config["TransferNameRegister"], MAX_TRANSFER_NAMES
        )
    logos = config.get("SlowMotionLogoRegister")
    if isinstance(logos, Mapping) and "SlowMotionLogoUrls" in logos:
        clips(
            "InputConfig.SlowMotionLogoRegister.SlowMotionLogoUrls",
            logos["SlowMotionLogoUrls"],
            MAX_LOGOS,
        )


def _groups(config: Mapping[str, Any], groups: Sequence[Any]) -> None:
    names: set[str] = set()
    for place, group in enumerate(groups):
        field = f"InputConfig.MediaGroupArray[{place}]"
        if not isinstance(group, Mapping):
            raise IceInputError(field, group, "must be an object with GroupName and MediaArray")
        name = group.get("GroupName")
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_GROUP_NAME:
            raise IceInputError(
                f"{field}.GroupName", name, f"must be 1 to {MAX_GROUP_NAME} characters"
            )
        if name in names:
            raise IceInputError(
                f"{field}.GroupName", name, "must be unique: another group has this name"
            )
        if _EMOJI.search(name):
            raise IceInputError(f"{field}.GroupName", name, "must not contain emoji")
        names.add(name)
        clips(f"{field}.MediaArray", group.get("MediaArray"), MAX_GROUP_MEDIA)
        if not group["MediaArray"]:
            raise IceInputError(f"{field}.MediaArray", [], "must name at least one clip")
        if group.get("SplitMode") not in (None, *SPLIT_MODES):
            raise IceInputError(
                f"{field}.SplitMode", group["SplitMode"], f"must be one of {', '.join(SPLIT_MODES)}"
            )
        number(f"{field}.Volume", group.get("Volume"), 0, MAX_VOLUME)
        number(f"{field}.Duration", group.get("Duration"), 0, None)
        if group.get("SpeechTextArray"):
            if config.get("SpeechTextArray"):
                rule = (
                    "cannot stand together with InputConfig.SpeechTextArray: narration is either "
                    "global or per group"
                )
                raise IceInputError(f"{field}.SpeechTextArray", group["SpeechTextArray"], rule)
            texts(f"{field}.SpeechTextArray", group["SpeechTextArray"], MAX_TEXTS, MAX_SPEECH)


def _smart_mix(config: Mapping[str, Any]) -> None:
    if config.get("MediaArray"):
        clips("InputConfig.MediaArray", config["MediaArray"], None)
    elif not isinstance(config.get("MediaSearchInput"), Mapping):
        raise IceInputError(
            "InputConfig.MediaSearchInput",
            config.get("MediaSearchInput"),
            "must be an object with LibSearchCondition",
        )


def _texts_and_decoration(config: Mapping[str, Any]) -> None:
    for key, length in (
        ("TitleArray", MAX_TITLE),
        ("SpeechTextArray", MAX_SPEECH),
    ):
        if config.get(key) is not None:
            texts(f"InputConfig.{key}", config[key], MAX_TEXTS, length)
    for key in ("BackgroundMusicArray", "BackgroundImageArray"):
        if config.get(key) is not None:
            clips(f"InputConfig.{key}", config[key], MAX_TEXTS)
    music = config.get("BackgroundMusic")
    if isinstance(music, str) and music and not config.get("BackgroundMusicArray"):
        clip("InputConfig.BackgroundMusic", music)
    for key, length in (("Title", MAX_TITLE), ("SpeechText", MAX_SPEECH)):
        # The older spelling, for one text; the array wins where both are given.
        if config.get(key) is not None and not config.get(f"{key}Array"):
            short_text(f"InputConfig.{key}", config[key], length)
    _stickers(config)
    _sub_headings(config)


def _stickers(config: Mapping[str, Any]) -> None:
    stickers = [] if config.get("StickerArray") is None else config["StickerArray"]
    for place, sticker in enumerate(entries("InputConfig.StickerArray", stickers, MAX_TEXTS)):
        field = f"InputConfig.StickerArray[{place}]"
        if not isinstance(sticker, Mapping):
            raise IceInputError(field, sticker, "must be an object with MediaId or MediaURL")
        for key in ("MediaId", "MediaURL"):
            if sticker.get(key) not in (None, ""):
                clip(f"{field}.{key}", sticker[key])
        number(f"{field}.Opacity", sticker.get("Opacity"), 0, 1)
        whole(f"{field}.DyncFrames", sticker.get("DyncFrames"), 0, MAX_STICKER_FRAMES)


def _sub_headings(config: Mapping[str, Any]) -> None:
    for place, heading in enumerate(
        entries("InputConfig.SubHeadingArray", config.get("SubHeadingArray") or [], None)
    ):
        field = f"InputConfig.SubHeadingArray[{place}]"
        if not isinstance(heading, Mapping):
            raise IceInputError(field, heading, "must be an object with Level and TitleArray")
        if heading.get("Level") is None:
            raise IceInputError(
                f"{field}.Level", None, f"must be given, a number from 1 to {MAX_SUB_HEADING_LEVEL}"
            )
        whole(f"{field}.Level", heading["Level"], 1, MAX_SUB_HEADING_LEVEL)
        texts(f"{field}.TitleArray", heading.get("TitleArray") or [], MAX_TEXTS, MAX_TITLE)
