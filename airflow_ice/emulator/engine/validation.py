"""What a submit may say: the service's limits on every parameter, checked before a job is made.

Limits are those of Alibaba Cloud's pages on InputConfig, EditingConfig and OutputConfig ("Script-to-video", "Smart mixing",
"Highlights") and of SubmitBatchMediaProducingJob and its siblings; where two pages disagree the larger limit holds, so nothing is
refused that the service might take. A refusal is the service's own 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_ice.emulator.engine.config_values import (
    check_strings,
    number_of,
    parse_json,
    whole_number_of,
)
from airflow_ice.emulator.media.objects import parse_object_url
from airflow_ice.emulator.model.errors import invalid_parameter, missing_parameter
from airflow_ice.emulator.model.jobs import ORGANIZATION_TYPES, SELECTION_TYPES

INDEX: Final = "{index}"
USER_DATA_BYTES: Final = 512
# Guess: the size of what is only previewed, where none is given.
_DEFAULT_SIZE: Final = (1080, 1920)


@dataclass(frozen=True, slots=True)
class Output:
    """What OutputConfig asks for; durations in seconds, sizes in pixels."""

    media_url: str | None
    count: int
    width: int
    height: int
    crf: int = 27
    max_duration: float | None = None
    fixed_duration: float | None = None
    preview_only: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit that the service takes."""

    action: str
    job_type: str
    output: Output
    input_config: Mapping[str, Any] = field(default_factory=dict)
    editing_config: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    project_ids: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether the job chooses material and makes no sub-jobs."""
        return self.job_type in SELECTION_TYPES

    @property
    def previews(self) -> bool:
        """Whether the sub-jobs make projects and no files."""
        return self.output.preview_only or self.job_type in ORGANIZATION_TYPES

    @property
    def narrations(self) -> list[str]:
        """The narration texts for the whole video, in either spelling; the list wins."""
        return texts(self.input_config, "SpeechTextArray", "SpeechText")

    @property
    def titles(self) -> list[str]:
        """The titles, in either spelling; the list wins."""
        return texts(self.input_config, "TitleArray", "Title")


def texts(config: Mapping[str, Any], plural: str, singular: str) -> list[str]:
    """Return a list of texts given as a list, or as one text in the older spelling."""
    value = config.get(plural) or ([config[singular]] if config.get(singular) else [])
    return [text for text in value if text]


def submission(
    action: str, parameters: Mapping[str, str], region_id: str, own_bucket: str
) -> Submission:
    """Check the parameters of a submit.

    :param own_bucket: the emulator's own store, whose material may be named with any region.
    :raises ServiceError: the service would refuse them.
    """
    _check_client_token(parameters)
    _check_user_data(parameters)
    if action == "SubmitSceneBatchEditingJob":
        return _scene_batch_editing(action, parameters, region_id)
    job_type, input_config = _job_type_and_input(action, parameters)
    selects, organizes = job_type in SELECTION_TYPES, job_type in ORGANIZATION_TYPES
    editing_config = _optional_object(parameters, "EditingConfig")
    _check_editing_config(editing_config)
    output = _output(
        _required_object(parameters, "OutputConfig"),
        region_id,
        makes_files=not selects and not organizes,
    )
    _check_regions(job_type, input_config, region_id, own_bucket)
    _check_durations(input_config, output)
    _check_templates(parameters)
    selection = _selection(parameters) if organizes else {}
    return Submission(action, job_type, output, input_config, editing_config, selection)


def _scene_batch_editing(action: str, parameters: Mapping[str, str], region_id: str) -> Submission:
    ids = parameters.get("ProjectIds")
    if not ids:
        raise missing_parameter("ProjectIds")
    project_ids = tuple(part.strip() for part in ids.split(","))
    if not all(project_ids):
        raise invalid_parameter("ProjectIds")
    config = _required_object(parameters, "OutputConfig")
    for name in ("Count", "GeneratePreviewOnly"):
        if name in config:
            raise invalid_parameter(f"OutputConfig.{name}")
    return Submission(
        action,
        "Scene_Batch_Editing",
        _output(config, region_id, makes_files=True),
        project_ids=project_ids,
    )


def _job_type_and_input(action: str, parameters: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    chosen = parameters.get("JobType")
    allowed = {
        "SubmitSceneMediaSelectionJob": SELECTION_TYPES,
        "SubmitSceneTimelineOrganizationJob": ORGANIZATION_TYPES,
    }.get(action)
    if allowed is not None and not chosen:
        raise missing_parameter("JobType")
    if allowed is not None and chosen not in allowed:
        raise invalid_parameter("JobType")
    config = _required_object(parameters, "InputConfig")
    _check_texts(config)
    if action == "SubmitSportsHighlightsJob":
        _check_sports(config)
        return "Sports_Highlights", config
    if action == "SubmitBatchMediaProducingJob" and config.get("MediaGroupArray"):
        _check_groups(config)
        return "Script", config
    highlights = action == "SubmitScreenMediaHighlightsJob" or "Highlights" in (chosen or "")
    if not config.get("MediaArray") and (highlights or not config.get("MediaSearchInput")):
        raise invalid_parameter("InputConfig")
    # The pages on highlights disagree about 20 or 30 videos; a mix is limited in length only.
    check_strings(config, "MediaArray", 30 if highlights else None)
    for name in ("OpeningArray", "EndingArray"):
        check_strings(config, name, 20)
    if chosen and allowed is not None:
        return chosen, config
    return ("Screen_Media_Highlights" if highlights else "Smart_Mix"), config


def _output(config: Mapping[str, Any], region_id: str, *, makes_files: bool) -> Output:
    preview_only = config.get("GeneratePreviewOnly", False)
    if not isinstance(preview_only, bool):
        raise invalid_parameter("OutputConfig.GeneratePreviewOnly")
    makes_files = makes_files and not preview_only
    width, height = _size(config, makes_files)
    video = config.get("Video", {})
    if not isinstance(video, dict):
        raise invalid_parameter("OutputConfig.Video")
    return Output(
        media_url=_media_url(config, region_id, makes_files),
        count=whole_number_of(config, "Count", 1, 1, 100),
        width=width,
        height=height,
        crf=whole_number_of(video, "Crf", 27, 0, 51, within="OutputConfig.Video."),
        max_duration=number_of(config, "MaxDuration", 0, 7200),
        fixed_duration=number_of(config, "FixedDuration", 0, 7200),
        preview_only=preview_only,
    )


def _size(config: Mapping[str, Any], makes_files: bool) -> tuple[int, int]:
    for name in ("Width", "Height"):
        # Guess: that a missing size is refused. No page calls it mandatory, but Alibaba's own tools treat it as such.
        if makes_files and config.get(name) is None:
            raise missing_parameter(f"OutputConfig.{name}")
    width = whole_number_of(config, "Width", _DEFAULT_SIZE[0], 128, 4096)
    height = whole_number_of(config, "Height", _DEFAULT_SIZE[1], 128, 4096)
    if min(width, height) > 2160:
        raise invalid_parameter("OutputConfig.Width")
    return width, height


def _media_url(config: Mapping[str, Any], region_id: str, makes_files: bool) -> str | None:
    """Return the template of the output URLs; that of a VOD output is put together from its two parts."""
    url, location, file_name = (
        config.get(name) for name in ("MediaURL", "StorageLocation", "FileName")
    )
    if url is None and location is not None:
        if not isinstance(file_name, str) or INDEX not in file_name or "/" in file_name:
            raise invalid_parameter("OutputConfig.FileName")
        url = f"http://{location}/{file_name}"
    if url is None:
        if makes_files:
            raise missing_parameter("OutputConfig.MediaURL")
        return None
    if not isinstance(url, str) or INDEX not in url:
        raise invalid_parameter("OutputConfig.MediaURL")
    if re.match(r"https?:/(?!/)", url):
        # Seen in the field: a URL with one slash is taken, and its job fails later.
        return url
    name = parse_object_url(url.replace(INDEX, "0"))
    if name is None or name.region not in (None, region_id) or url.startswith("oss:"):
        raise invalid_parameter("OutputConfig.MediaURL")
    return url


def _check_groups(config: Mapping[str, Any]) -> None:
    groups = config["MediaGroupArray"]
    if (
        not isinstance(groups, list)
        or len(groups) > 40
        or not all(isinstance(group, dict) for group in groups)
    ):
        raise invalid_parameter("InputConfig.MediaGroupArray")
    names = [group.get("GroupName") for group in groups]
    if not all(isinstance(name, str) and 0 < len(name) <= 50 for name in names) or len(
        set(names)
    ) < len(names):
        raise invalid_parameter("InputConfig.MediaGroupArray.GroupName")
    for group in groups:
        if not group.get("MediaArray"):
            raise invalid_parameter("InputConfig.MediaGroupArray.MediaArray")
        check_strings(group, "MediaArray", 200, within="InputConfig.MediaGroupArray.")
        check_strings(group, "SpeechTextArray", 50, 1000, within="InputConfig.MediaGroupArray.")
        number_of(group, "Duration", 0, 7200, within="InputConfig.MediaGroupArray.")
        number_of(group, "Volume", 0, 10, within="InputConfig.MediaGroupArray.", zero=True)
        if group.get("SplitMode") not in (None, "NoSplit", "AverageSplit"):
            raise invalid_parameter("InputConfig.MediaGroupArray.SplitMode")
    if texts(config, "SpeechTextArray", "SpeechText") and any(
        group.get("SpeechTextArray") for group in groups
    ):
        # Narration is for the whole video or for its groups, never both.
        raise invalid_parameter("InputConfig.SpeechTextArray")


def _check_texts(config: Mapping[str, Any]) -> None:
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


def _check_sports(config: Mapping[str, Any]) -> None:
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


def _check_editing_config(config: Mapping[str, Any]) -> None:
    for block in ("MediaConfig", "SpeechConfig", "BackgroundMusicConfig"):
        value = config.get(block, {})
        if not isinstance(value, dict):
            raise invalid_parameter(f"EditingConfig.{block}")
        number_of(value, "Volume", 0, 10, within=f"EditingConfig.{block}.", zero=True)
    process = config.get("ProcessConfig", {})
    if not isinstance(process, dict):
        raise invalid_parameter("EditingConfig.ProcessConfig")
    number_of(process, "SingleShotDuration", 0, 7200, within="EditingConfig.ProcessConfig.")


def _check_durations(config: Mapping[str, Any], output: Output) -> None:
    if output.fixed_duration is None:
        return
    narrated = texts(config, "SpeechTextArray", "SpeechText")
    narrated = narrated or [
        group for group in config.get("MediaGroupArray") or [] if group.get("SpeechTextArray")
    ]
    if output.max_duration is not None or narrated:
        raise invalid_parameter("OutputConfig.FixedDuration")


def _check_regions(
    job_type: str, config: Mapping[str, Any], region_id: str, own_bucket: str
) -> None:
    """Refuse material outside the region of the endpoint."""
    if job_type == "Script":
        name, named = (
            "MediaGroupArray",
            [media for group in config["MediaGroupArray"] for media in group["MediaArray"]],
        )
    elif job_type == "Sports_Highlights":
        name, named = "InputMedia", [config["InputMedia"]]
    else:
        name, named = "MediaArray", config.get("MediaArray") or []
    for media in named:
        found = parse_object_url(media)
        if found and found.bucket != own_bucket and found.region not in (None, region_id):
            # Guess: that input is checked at once too, as output is known to be.
            raise invalid_parameter(f"InputConfig.{name}")


def _check_templates(parameters: Mapping[str, str]) -> None:
    text = parameters.get("TemplateConfig")
    if not text:
        return
    value = _json(text, "TemplateConfig")
    if (
        not isinstance(value, list)
        or len(value) > 50
        or not all(isinstance(item, str) for item in value)
    ):
        raise invalid_parameter("TemplateConfig")


def _selection(parameters: Mapping[str, str]) -> dict[str, Any]:
    value = _required_object(parameters, "MediaSelectResult")
    outputs = value.get("textMatchMediaOutputList")
    if (
        not isinstance(outputs, list)
        or not outputs
        or not all(isinstance(output, dict) for output in outputs)
    ):
        raise invalid_parameter("MediaSelectResult")
    for output in outputs:
        sentences = output.get("textMatchMediaSentenceOutputList")
        if (
            not isinstance(sentences, list)
            or not sentences
            or not all(_is_sentence(sentence) for sentence in sentences)
        ):
            raise invalid_parameter("MediaSelectResult")
    return value


def _is_sentence(sentence: Any) -> bool:
    clips = sentence.get("matchClipList") if isinstance(sentence, dict) else None
    if not isinstance(clips, list) or not clips:
        return False
    return _is_seconds(sentence.get("duration", 0)) and all(_is_clip(clip) for clip in clips)


def _is_clip(clip: Any) -> bool:
    named = isinstance(clip, dict) and isinstance(clip.get("mediaId"), str)
    return named and _is_seconds(clip.get("startTime")) and _is_seconds(clip.get("endTime"))


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 7200


def _check_client_token(parameters: Mapping[str, str]) -> None:
    token = parameters.get("ClientToken")
    if token is not None and not (token.isascii() and len(token) <= 64):
        raise invalid_parameter("ClientToken")


def _check_user_data(parameters: Mapping[str, str]) -> None:
    text = parameters.get("UserData")
    if text and (
        len(text.encode()) > USER_DATA_BYTES or not isinstance(_json(text, "UserData"), dict)
    ):
        raise invalid_parameter("UserData")


def _required_object(parameters: Mapping[str, str], name: str) -> dict[str, Any]:
    if not parameters.get(name):
        raise missing_parameter(name)
    return _optional_object(parameters, name)


def _optional_object(parameters: Mapping[str, str], name: str) -> dict[str, Any]:
    text = parameters.get(name)
    value = _json(text, name) if text else {}
    if not isinstance(value, dict):
        raise invalid_parameter(name)
    return value


def _json(text: str, name: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        raise invalid_parameter(name) from None
