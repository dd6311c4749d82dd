"""What a submit may say: the service's limits on every parameter, checked before a job is made.

Limits are those of Alibaba Cloud's pages on InputConfig, EditingConfig and OutputConfig and of the
submit actions; where two pages disagree the larger limit holds, so nothing is refused that the
service might take. A refusal is the service's own 400.

This shares nothing with `airflow_ice.api.limits`, which checks the same parameters before they are
sent, and it must not: it stands for the service, so it is what the client's checks are tested
against. With one table for both, a misread limit would agree with itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from airflow_ice.emulator.engine.config_values import number_of, parse_json, whole_number_of
from airflow_ice.emulator.engine.inputs import CheckedInput, check_texts
from airflow_ice.emulator.engine.submissions import Output, Submission, texts
from airflow_ice.emulator.engine.submit_actions import SUBMIT_ACTIONS, SubmitAction
from airflow_ice.emulator.media.objects import parse_object_url
from airflow_ice.emulator.model.errors import invalid_parameter, missing_parameter

INDEX: Final = "{index}"
USER_DATA_BYTES: Final = 512
# Guess: the size of what is only previewed, where none is given.
_DEFAULT_SIZE: Final = (1080, 1920)


def submission(
    action: str, parameters: Mapping[str, str], region_id: str, own_bucket: str
) -> Submission:
    """Check the parameters of a submit.

    :param action: the name of a submit action.
    :param own_bucket: the emulator's own store, whose material may be named with any region.
    :raises ServiceError: the service would refuse them.
    """
    row = SUBMIT_ACTIONS[action]
    _check_client_token(parameters)
    _check_user_data(parameters)
    if row.reads is None:
        return _rendering(row, parameters, region_id)
    chosen = parameters.get("JobType") if row.chooses_type else None
    if row.chooses_type and not chosen:
        raise missing_parameter("JobType")
    if chosen and chosen not in row.job_types:
        raise invalid_parameter("JobType")
    input_config = _required_object(parameters, "InputConfig")
    check_texts(input_config)
    checked = row.reads(input_config, chosen)
    editing_config = _optional_object(parameters, "EditingConfig")
    _check_editing_config(editing_config)
    config = _required_object(parameters, "OutputConfig")
    output = _output(config, region_id, makes_files=row.makes == "videos")
    _check_regions(checked, region_id, own_bucket)
    _check_durations(input_config, output)
    _check_templates(parameters)
    return Submission(
        action,
        checked.job_type,
        output,
        row.makes,
        input_config,
        editing_config,
        checked.material,
        _selection(parameters) if row.makes == "projects" else {},
    )


def _rendering(row: SubmitAction, parameters: Mapping[str, str], region_id: str) -> Submission:
    """Read a submit that names projects to render."""
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
    output = _output(config, region_id, makes_files=True)
    return Submission(row.name, row.job_types[0], output, row.makes, project_ids=project_ids)


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


def _check_regions(checked: CheckedInput, region_id: str, own_bucket: str) -> None:
    """Refuse material outside the region of the endpoint."""
    for media in checked.material:
        found = parse_object_url(media)
        if found and found.bucket != own_bucket and found.region not in (None, region_id):
            # Guess: that input is checked at once too, as output is known to be.
            raise invalid_parameter(f"InputConfig.{checked.name}")


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
