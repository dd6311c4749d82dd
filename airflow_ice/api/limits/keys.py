"""The keys of configs that the pages name: a key in the wrong case is refused, an unknown one is
named in a warning, since it may be newer than this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.json_values import MAX_PATH, json_object
from airflow_ice.api.redaction import redact

INPUT_KEYS: Final = (
    "MediaGroupArray",
    "MediaArray",
    "MediaSearchInput",
    "TitleArray",
    "SubHeadingArray",
    "SpeechTextArray",
    "StickerArray",
    "BackgroundMusicArray",
    "BackgroundImageArray",
    "SceneInfo",
    "OpeningArray",
    "EndingArray",
    "HighlightStrategy",
    "SportsCategory",
    "InputMedia",
    "FaceRegister",
    "SlowMotionLogoRegister",
    "TransferNameRegister",
)
OUTPUT_KEYS: Final = (
    "MediaURL",
    "StorageLocation",
    "FileName",
    "VodTemplateGroupId",
    "Count",
    "MaxDuration",
    "FixedDuration",
    "Width",
    "Height",
    "Video",
    "GeneratePreviewOnly",
)
_TEXT_KEYS: Final = ("Title", "SpeechText", "Sticker", "BackgroundMusic")  # the older, for one each
_GROUP_KEYS: Final = (
    "GroupName",
    "MediaArray",
    "SpeechTextArray",
    "Duration",
    "Volume",
    "SplitMode",
    "DurationAutoAdapt",
)

EDITING_BLOCKS: Final = (
    "MediaConfig",
    "TitleConfig",
    "SubHeadingConfig",
    "SpeechConfig",
    "BackgroundMusicConfig",
    "BackgroundImageConfig",
    "ProcessConfig",
)
_EDITING_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "MediaConfig": ("Volume", "MediaMetaDataArray"),
    "SpeechConfig": (
        "Volume",
        "SpeechRate",
        "Voice",
        "CustomizedVoice",
        "Style",
        "SpeechLanguage",
        "AsrConfig",
        "SpecialWordsConfig",
    ),
    "BackgroundMusicConfig": ("Volume", "Style"),
    "BackgroundImageConfig": ("SubType", "Color", "Radius"),
    "ProcessConfig": (
        "SingleShotDuration",
        "EnableClipSplit",
        "ImageDuration",
        "AllowVfxEffect",
        "VfxEffectProbability",
        "VfxFirstClipEffectList",
        "VfxNotFirstClipEffectList",
        "AllowTransition",
        "TransitionDuration",
        "TransitionList",
        "UseUniformTransition",
        "AllowFilter",
        "FilterList",
        "AlignmentMode",
        "EnableClipDetection",
    ),
}
"""The blocks of EditingConfig whose keys the pages list in full."""


def unknown_keys(arguments: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key of InputConfig, OutputConfig and EditingConfig that no page
    names. Such a key may be a slip, or newer than this package.

    :param arguments: of a submit action; configs as dicts or JSON texts.
    """
    configs = {
        name: _object_or_none(arguments.get(name))
        for name in ("input_config", "output_config", "editing_config")
    }
    found = _unknown("InputConfig", configs["input_config"], (*INPUT_KEYS, *_TEXT_KEYS))
    groups = (configs["input_config"] or {}).get("MediaGroupArray")
    for place, group in enumerate(groups if isinstance(groups, list) else []):
        found += _unknown(f"InputConfig.MediaGroupArray[{place}]", group, _GROUP_KEYS)
    found += _unknown("OutputConfig", configs["output_config"], OUTPUT_KEYS)
    editing_config = configs["editing_config"] or {}
    found += _unknown("EditingConfig", editing_config, (*EDITING_BLOCKS, "CoverConfig"))
    for block, known in _EDITING_KEYS.items():
        found += _unknown(f"EditingConfig.{block}", editing_config.get(block), known)
    return found


def _object_or_none(value: object) -> Mapping[str, Any] | None:
    try:
        return json_object("config", value) if value else None
    except IceInputError:
        return None  # refused elsewhere


def _unknown(field: str, config: object, known: Sequence[str]) -> list[str]:
    unknown = [key for key in config if key not in known] if isinstance(config, Mapping) else []
    return [
        f"{redact(f'{field}.{key}'[:MAX_PATH])} is a key that no API page names"
        f"{nearest(key, known)}. It is sent as it is."
        for key in unknown
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause that names the known name that is most like this one, or nothing."""
    import difflib  # only where something is wrong: a DAG file does not pay for it

    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f" (did you mean {lower[close[0]]}?)" if close else ""


def spelling(field: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check that no key is a known one in another case.

    :raises IceInputError: one is.
    """
    right = {key.lower(): key for key in known}
    for key in config:
        # Whether the service minds the case is not documented; a lower-case key that it overlooks
        # is found out an hour later.
        if key not in right.values() and (meant := right.get(str(key).lower())):
            raise IceInputError(f"{field}.{key}", None, f"must be spelled {meant}")
