"""OutputConfig and EditingConfig: where the videos go, how many and how large, how loud.

Sizes are those of SubmitMediaProducingJob, which each sub-job is; the pages on batches say nothing
of them. A missing Width or Height passes: no page calls them mandatory, though Alibaba's own tools
treat them so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.fields import number, whole
from airflow_ice.api.limits.keys import EDITING_BLOCKS, OUTPUT_KEYS, spelling

MAX_COUNT: Final = 100
MAX_VOLUME: Final = 10
MAX_SPEECH_RATE: Final = 500

# Of SubmitMediaProducingJob, which each sub-job is; the pages on batches say nothing of sizes.
MIN_SIDE: Final = 128

MAX_SIDE: Final = 4096
MAX_SHORT_SIDE: Final = 2160


def editing(config: Mapping[str, Any]) -> None:
    """Check an EditingConfig: that its blocks are objects, their volumes and the rate of the
    speech.

    :raises IceInputError: a block that is no object, a volume outside 0 to 10, or a rate outside
        -500 to 500.
    """
    for block in EDITING_BLOCKS:
        if block in config and not isinstance(config[block], Mapping):
            raise IceInputError(f"EditingConfig.{block}", config[block], "must be an object")
    for block in ("MediaConfig", "SpeechConfig", "BackgroundMusicConfig"):
        # The table says String, every example has a number: both are sent as they are.
        number(f"EditingConfig.{block}.Volume", config.get(block, {}).get("Volume"), 0, MAX_VOLUME)
    rate = config.get("SpeechConfig", {}).get("SpeechRate")
    number("EditingConfig.SpeechConfig.SpeechRate", rate, -MAX_SPEECH_RATE, MAX_SPEECH_RATE)


def output(config: Mapping[str, Any], *, needs_destination: bool = True) -> None:
    """Check the OutputConfig of a job that makes Count videos.

    :param needs_destination: whether the job renders files; a selection and a preview do not.
    :raises IceInputError: no destination, no `{index}`, a Count outside 1 to 100, or sizes and
        durations that are not valid.
    """
    spelling("OutputConfig", config, OUTPUT_KEYS)
    _destination(
        config, required=needs_destination and config.get("GeneratePreviewOnly") is not True
    )
    whole("OutputConfig.Count", config.get("Count"), 1, MAX_COUNT)
    sides = {key: config[key] for key in ("Width", "Height") if config.get(key) is not None}
    for key, side in sides.items():
        whole(f"OutputConfig.{key}", side, MIN_SIDE, MAX_SIDE)
    if len(sides) == 2 and all(float(side) > MAX_SHORT_SIDE for side in sides.values()):
        raise IceInputError(
            "OutputConfig.Width",
            sides["Width"],
            f"or Height must be at most {MAX_SHORT_SIDE}: the shorter side",
        )
    if not isinstance(config.get("Video", {}), (Mapping, NoneType)):
        raise IceInputError("OutputConfig.Video", config["Video"], "must be an object")
    for key in ("MaxDuration", "FixedDuration"):
        number(f"OutputConfig.{key}", config.get(key), 0, None)
    if config.get("MaxDuration") is not None and config.get("FixedDuration") is not None:
        raise IceInputError(
            "OutputConfig.FixedDuration",
            config["FixedDuration"],
            "cannot stand together with MaxDuration",
        )


def durations(input_config: Mapping[str, Any], output_config: Mapping[str, Any]) -> None:
    """Check FixedDuration against the InputConfig: a narrated video is as long as its narration.

    :raises IceInputError: both are given.
    """
    fixed = output_config.get("FixedDuration")
    if fixed is None:
        return
    groups = input_config.get("MediaGroupArray")
    of_groups = (
        [group.get("SpeechTextArray") for group in groups if isinstance(group, Mapping)]
        if isinstance(groups, list)
        else []
    )
    if any((input_config.get("SpeechTextArray"), input_config.get("SpeechText"), *of_groups)):
        rule = (
            "cannot stand together with SpeechTextArray: the narration decides how long a video is"
        )
        raise IceInputError("OutputConfig.FixedDuration", fixed, rule)


def scene_output(config: Mapping[str, Any]) -> None:
    """Check the OutputConfig of SubmitSceneBatchEditingJob, which renders one video per project.

    :raises IceInputError: as `output`, and for Count and GeneratePreviewOnly, which this action
        does not support.
    """
    for key in ("Count", "GeneratePreviewOnly"):
        if key in config:
            raise IceInputError(
                f"OutputConfig.{key}",
                config[key],
                "is not supported here: this action renders one video per project",
            )
    output(config)


def _destination(config: Mapping[str, Any], *, required: bool) -> None:
    media_url, location, name = (
        config.get(key) for key in ("MediaURL", "StorageLocation", "FileName")
    )
    if media_url is not None:
        field = "OutputConfig.MediaURL"
        if not isinstance(media_url, str) or not re.match(r"https?://[^/\s]+/\S", media_url):
            raise IceInputError(
                field, media_url, "must be http://BUCKET.oss-REGION.aliyuncs.com/NAME_{index}.mp4"
            )
        if re.match(r"https?://[^/]*oss-accelerate", media_url):
            raise IceInputError(
                field,
                media_url,
                "must be the bucket's own address: acceleration and CDN hosts are refused",
            )
        _index(field, media_url)
    elif location is not None or name is not None:
        if not isinstance(location, str) or not location.strip() or "://" in location:
            raise IceInputError(
                "OutputConfig.StorageLocation",
                location,
                "must be a VOD storage host without http://",
            )
        if not isinstance(name, str) or "/" in name or "." not in name:
            raise IceInputError(
                "OutputConfig.FileName",
                name,
                "must be a file name with a suffix and without a path",
            )
        _index("OutputConfig.FileName", name)
    elif required:
        rule = "must say where the videos go: MediaURL (OSS), or StorageLocation and FileName (VOD)"
        raise IceInputError("OutputConfig", dict(config), rule)


def _index(field: str, value: str) -> None:
    if "{index}" not in value:
        raise IceInputError(
            field,
            value,
            "must contain {index}, which ICE replaces with 0, 1, 2, ...; without it all videos "
            "have one name",
        )
