"""What an InputConfig may say, for each kind of job that reads one.

Each function checks the config and returns the type of the job that it makes, and its material.
Limits are those of Alibaba Cloud's pages "Script-to-video", "Smart mixing" and "Highlights"; where
two pages disagree, the larger limit holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_ice.emulator.engine.config_values import check_strings, number_of
from airflow_ice.emulator.engine.submissions import texts
from airflow_ice.emulator.model.errors import invalid_parameter


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """An InputConfig that was checked.

    :param name: the key that holds the material.
    :param material: the media ids and URLs there.
    """

    job_type: str
    name: str
    material: tuple[str, ...]


def script_or_mix(config: Mapping[str, Any], _chosen: str | None) -> CheckedInput:
    """Read a Script where there are groups, else a Smart_Mix."""
    groups = config.get("MediaGroupArray")
    if not groups:
        return mix(config, "Smart_Mix")
    _check_groups(config)
    media = tuple(item for group in groups for item in group["MediaArray"])
    return CheckedInput("Script", "MediaGroupArray", media)


def mix_or_highlights(config: Mapping[str, Any], chosen: str | None) -> CheckedInput:
    """Read the input of the job type that the caller chose."""
    job_type = chosen or ""
    return highlights(config, job_type) if "Highlights" in job_type else mix(config, job_type)


def mix(config: Mapping[str, Any], chosen: str | None) -> CheckedInput:
    """Read a mix of clips, or of what a search in a library finds."""
    if not config.get("MediaArray") and not config.get("MediaSearchInput"):
        raise invalid_parameter("InputConfig")
    # The clips of a mix are limited in length only, not in number.
    return _mixed(config, chosen or "Smart_Mix", None)


def highlights(config: Mapping[str, Any], chosen: str | None) -> CheckedInput:
    """Read the videos of a high-energy mashup."""
    if not config.get("MediaArray"):
        raise invalid_parameter("InputConfig")
    # The pages disagree about 20 or 30 videos.
    return _mixed(config, chosen or "Screen_Media_Highlights", 30)


def _mixed(config: Mapping[str, Any], job_type: str, most: int | None) -> CheckedInput:
    check_strings(config, "MediaArray", most)
    for name in ("OpeningArray", "EndingArray"):
        check_strings(config, name, 20)
    return CheckedInput(job_type, "MediaArray", tuple(config.get("MediaArray") or ()))


def sports(config: Mapping[str, Any], _chosen: str | None) -> CheckedInput:
    """Read the video of a game."""
    if config.get("SportsCategory") not in ("basketball", "pingpong"):
        raise invalid_parameter("InputConfig.SportsCategory")
    if not isinstance(config.get("InputMedia"), str) or not config["InputMedia"]:
        raise invalid_parameter("InputConfig.InputMedia")
    for name, limit in (("FaceRegister", 5), ("TransferNameRegister", 10)):
        value = config.get(name, [])
        if not isinstance(value, list) or len(value) > limit:
            raise invalid_parameter(f"InputConfig.{name}")
    logos = config.get("SlowMotionLogoRegister", {})
    if not isinstance(logos, dict):
        raise invalid_parameter("InputConfig.SlowMotionLogoRegister")
    check_strings(logos, "SlowMotionLogoUrls", 5, within="InputConfig.SlowMotionLogoRegister.")
    return CheckedInput("Sports_Highlights", "InputMedia", (config["InputMedia"],))


def check_texts(config: Mapping[str, Any]) -> None:
    """Refuse titles, narration, music, pictures and stickers that are too many or too long."""
    check_strings(config, "TitleArray", 50, 50)
    check_strings(config, "SpeechTextArray", 50, 1000)
    check_strings(config, "BackgroundMusicArray", 50)
    check_strings(config, "BackgroundImageArray", 50)
    for name in ("Title", "SpeechText"):
        if not isinstance(config.get(name, ""), str):
            raise invalid_parameter(f"InputConfig.{name}")
    stickers = config.get("StickerArray", [])
    if not isinstance(stickers, list) or len(stickers) > 50:
        raise invalid_parameter("InputConfig.StickerArray")
    headings = config.get("SubHeadingArray", [])
    if not isinstance(headings, list):
        raise invalid_parameter("InputConfig.SubHeadingArray")
    for heading in headings:
        if not isinstance(heading, dict) or heading.get("Level") not in (1, 2, 3, 4, 5):
            raise invalid_parameter("InputConfig.SubHeadingArray")
        check_strings(heading, "TitleArray", 50, 50, within="InputConfig.SubHeadingArray.")


def _check_groups(config: Mapping[str, Any]) -> None:
    groups = config["MediaGroupArray"]
    are_groups = isinstance(groups, list) and all(isinstance(group, dict) for group in groups)
    if not are_groups or len(groups) > 40:
        raise invalid_parameter("InputConfig.MediaGroupArray")
    names = [group.get("GroupName") for group in groups]
    named = all(isinstance(name, str) and 0 < len(name) <= 50 for name in names)
    if not named or len(set(names)) < len(names):
        raise invalid_parameter("InputConfig.MediaGroupArray.GroupName")
    for group in groups:
        _check_group(group)
    narrated = any(group.get("SpeechTextArray") for group in groups)
    if narrated and texts(config, "SpeechTextArray", "SpeechText"):
        # Narration is for the whole video or for its groups, never both.
        raise invalid_parameter("InputConfig.SpeechTextArray")


def _check_group(group: Mapping[str, Any]) -> None:
    within = "InputConfig.MediaGroupArray."
    if not group.get("MediaArray"):
        raise invalid_parameter(f"{within}MediaArray")
    check_strings(group, "MediaArray", 200, within=within)
    check_strings(group, "SpeechTextArray", 50, 1000, within=within)
    number_of(group, "Duration", 0, 7200, within=within)
    number_of(group, "Volume", 0, 10, within=within, zero=True)
    if group.get("SplitMode") not in (None, "NoSplit", "AverageSplit"):
        raise invalid_parameter(f"{within}SplitMode")
