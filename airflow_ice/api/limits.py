"""What the service is known to refuse, checked before anything is sent.

A refused submit costs a round trip and a retry; one that is accepted and fails an hour later costs more. Each check names the
field, the value and the rule. Only documented limits are checked, the wider one where two pages disagree, and unknown keys pass,
so that a newer service is not locked out: `unknown_keys` names them for a warning.

A missing Width or Height passes: no page calls them mandatory, though Alibaba's own tools treat them so.

Sources: the pages on InputConfig, EditingConfig and OutputConfig of each kind of job ("scripted-auto-slice", "script-to-video",
"create-highlight-videos", documents 2692547 and 2863940), and SubmitMediaProducingJob for UserData and ClientToken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.redaction import redact
from airflow_ice.api.signature import percent_encode

MAX_QUERY: Final = 65_000  # ICE documents none; httpx sends no URL of more than 65536 characters
MAX_USER_DATA_BYTES: Final = 512
MAX_SECONDS: Final = 31_622_400  # 366 days: ICE knows a job for a year
# What follows is far more than any job of ICE needs, and little enough to be checked at once.
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
MAX_PATH: Final = 200
MAX_COUNT: Final = 100
MAX_CLIENT_TOKEN: Final = 64
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
MAX_VOLUME: Final = 10
MAX_SUB_HEADING_LEVEL: Final = 5
MAX_SPEECH_RATE: Final = 500
MAX_STICKER_FRAMES: Final = 100
# Of SubmitMediaProducingJob, which each sub-job is; the pages on batches say nothing of sizes.
MIN_SIDE: Final = 128
MAX_SIDE: Final = 4096
MAX_SHORT_SIDE: Final = 2160
SPLIT_MODES: Final = ("NoSplit", "AverageSplit")
SPORTS: Final = ("basketball", "pingpong")

# "No emoji" is all that the page says: here only what is shown as a picture wherever it stands, and what makes a sign one.
_EMOJI: Final = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb\U0001f900-\U0001f9ff\U0001fa70-\U0001faff"
    "\u2705\u2728\u274c\u2753-\u2755\u2757\u2b50\ufe0f]"
)
_SHOWN: Final = frozenset({str, int, float, bool, bytes, timedelta, datetime})
_SECRET_FIELDS: Final = frozenset({"UserData", "the connection's extra"})
_OBJECTS: Final = (
    *(
        "MediaConfig",
        "TitleConfig",
        "SubHeadingConfig",
        "SpeechConfig",
        "BackgroundMusicConfig",
        "BackgroundImageConfig",
    ),
    "ProcessConfig",
)

_JOB_ID: Final = re.compile(r"[A-Za-z0-9_.*-]{1,128}")  # 32 hex digits; the pages mask some with *
_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_*-]{1,128}")  # as above, and icepublic-...
_MEDIA_URL: Final = re.compile(r"(?:https?|oss)://[^/\s]+/.+", re.IGNORECASE | re.DOTALL)
_LOCAL_PATH: Final = re.compile(r"[/\\.~]|file:|[A-Za-z]:[/\\]", re.IGNORECASE)
_PYTHON_REPR: Final = re.compile(r"[\[{(]\s*[\[{(]*\s*'")
_NOTHING: Final = frozenset({"", "None", "null"})
"""What a template leaves where it found nothing: undefined, None, and None through `tojson`."""

_FROM_NONE: Final = (
    "A template rendered to None, or the output of another task is None: that task pushed nothing "
    "under this key, or did not run."
)
_FROM_REPR: Final = (
    "A template rendered a dict or list as Python text: write {{ ... | tojson }}, or pass the "
    "output of the other task itself."
)

_OSS_HOST: Final = re.compile(
    r"(?:[a-z]+://)?(?:[^/\s@]*\.)?oss-([a-z]{2,}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com(?::\d+)?(?:/|$)",
    re.IGNORECASE,
)
"""BUCKET.oss-REGION[-internal].aliyuncs.com, with or without a scheme; oss-accelerate is no region."""

_SAID: Final = frozenset(
    {"Title", "TitleArray", "SubHeadingArray", "SpeechText", "SpeechTextArray"}
)
"""Keys whose texts are shown or spoken, and may begin with any address."""

_INPUT_KEYS: Final = (
    *(
        "MediaGroupArray",
        "MediaArray",
        "MediaSearchInput",
        "TitleArray",
        "SubHeadingArray",
        "SpeechTextArray",
        "StickerArray",
    ),
    *(
        "BackgroundMusicArray",
        "BackgroundImageArray",
        "SceneInfo",
        "OpeningArray",
        "EndingArray",
        "HighlightStrategy",
    ),
    *(
        "SportsCategory",
        "InputMedia",
        "FaceRegister",
        "SlowMotionLogoRegister",
        "TransferNameRegister",
    ),
)
_OUTPUT_KEYS: Final = (
    *(
        "MediaURL",
        "StorageLocation",
        "FileName",
        "VodTemplateGroupId",
        "Count",
        "MaxDuration",
        "FixedDuration",
        "Width",
        "Height",
    ),
    *("Video", "GeneratePreviewOnly"),
)


_TEXT_KEYS: Final = ("Title", "SpeechText", "Sticker", "BackgroundMusic")  # the older, for one each
_GROUP_KEYS: Final = (
    *("GroupName", "MediaArray", "SpeechTextArray", "Duration", "Volume", "SplitMode"),
    "DurationAutoAdapt",
)
_EDITING_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "MediaConfig": ("Volume", "MediaMetaDataArray"),
    "SpeechConfig": (
        *("Volume", "SpeechRate", "Voice", "CustomizedVoice", "Style", "SpeechLanguage"),
        *("AsrConfig", "SpecialWordsConfig"),
    ),
    "BackgroundMusicConfig": ("Volume", "Style"),
    "BackgroundImageConfig": ("SubType", "Color", "Radius"),
    "ProcessConfig": (
        *("SingleShotDuration", "EnableClipSplit", "ImageDuration", "AllowVfxEffect"),
        *("VfxEffectProbability", "VfxFirstClipEffectList", "VfxNotFirstClipEffectList"),
        *("AllowTransition", "TransitionDuration", "TransitionList", "UseUniformTransition"),
        *("AllowFilter", "FilterList", "AlignmentMode", "EnableClipDetection"),
    ),
}
"""The blocks of EditingConfig whose keys the pages list in full."""


def job_id(field: str, value: object) -> str:
    """Return the id of a job, without white space around it: one word of letters, digits and
    `_ . * -`, of at most 128 characters. ICE's own are 32 hex digits.

    :raises IceInputError: it is none; the advice says how it usually came about.
    """
    found = value.strip() if isinstance(value, str) else ""
    if found not in _NOTHING and _JOB_ID.fullmatch(found):
        return found
    advice = None
    if value is None or (isinstance(value, str) and found in _NOTHING):
        advice = _FROM_NONE
    elif isinstance(value, Mapping) or found[:1] in {"{", "["}:
        advice = (
            'This is a whole result, not an id: pass output["job_id"], or where a template stands, '
            '{{ ti.xcom_pull("collect")["job_id"] }}.'
        )
    rule = (
        "must be the id that a submit returned, one word of letters, digits, '_', '-' and '.' of at "
        "most 128 characters"
    )
    rule = f"is None; it {rule}" if value is None else rule
    raise IceInputError(field, shown(field, value), rule, advice=advice)


def rendered(field: str, value: str, what: str = "a JSON object") -> None:
    """Refuse the text of a structured argument that is not what its template was meant to make.

    :param what: the argument must be.
    :raises IceInputError: it is empty, None, or the Python text of a dict or list.
    """
    text = value.strip()
    if text in _NOTHING:
        rule = f"must be {what}" if text else f"must be {what}; it is empty"
        raise IceInputError(field, shown(field, value) if text else None, rule, advice=_FROM_NONE)
    if _PYTHON_REPR.match(text):
        rule = f"must be {what}; this is the text of a Python object, not JSON"
        raise IceInputError(field, shown(field, value), rule, advice=_FROM_REPR)


def rendered_id(field: str, value: str) -> None:
    """Refuse an id that a template made of nothing.

    :raises IceInputError: it is None.
    """
    if value in _NOTHING:
        raise IceInputError(field, shown(field, value), "must be an id", advice=_FROM_NONE)


def clip(field: str, value: object) -> None:
    """Check what stands for a clip, a picture or a sound: a media id or an http(s) or oss URL.

    ICE looks for clips only after it has accepted a submit: the error of a job whose clips are
    missing is in its Extend (page of GetBatchMediaProducingJob).

    :raises IceInputError: it is neither.
    """
    text = value.strip() if isinstance(value, str) else ""
    if text not in _NOTHING and (_MEDIA_ID.fullmatch(text) or _MEDIA_URL.fullmatch(text)):
        return
    advice = "ICE reads media ids and http(s) or oss URLs only."
    if value is None or (isinstance(value, str) and text in _NOTHING):
        advice = _FROM_NONE
    elif _PYTHON_REPR.match(text):
        advice = _FROM_REPR
    elif _LOCAL_PATH.match(text):
        advice = "ICE cannot read files of this machine: upload it to OSS first."
    elif text.lower().startswith("s3:"):
        advice = "ICE does not read Amazon S3: copy it to OSS first."
    rule = "must be a media id, or an http, https or oss URL"
    raise IceInputError(field, shown(field, value), rule, advice=advice)


def unknown_keys(arguments: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key of InputConfig, OutputConfig and EditingConfig that no page
    names. Such a key may be a slip, or newer than this package.

    :param arguments: of a submit action; configs as dicts or JSON texts.
    """
    configs = {
        name: _object_or_none(arguments.get(name))
        for name in ("input_config", "output_config", "editing_config")
    }
    found = _unknown("InputConfig", configs["input_config"], (*_INPUT_KEYS, *_TEXT_KEYS))
    groups = (configs["input_config"] or {}).get("MediaGroupArray")
    for place, group in enumerate(groups if isinstance(groups, list) else []):
        found += _unknown(f"InputConfig.MediaGroupArray[{place}]", group, _GROUP_KEYS)
    found += _unknown("OutputConfig", configs["output_config"], _OUTPUT_KEYS)
    editing_config = configs["editing_config"] or {}
    found += _unknown("EditingConfig", editing_config, (*_OBJECTS, "CoverConfig"))
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


def one_region(region: str, parameters: Mapping[str, str]) -> None:
    """Check that the buckets that a submit names are in the region of the endpoint: ICE refuses
    others, and does not say which URL it is.

    Custom domains and media ids name no region, so they pass.

    :param region: of the endpoint, for example `cn-shanghai`.
    :param parameters: of a submit, as they are sent.
    :raises IceInputError: a URL of InputConfig, EditingConfig or OutputConfig is in another region.
    """
    for name in ("InputConfig", "EditingConfig", "OutputConfig"):
        if ".aliyuncs.com" in parameters.get(name, ""):
            _same_region(region, name, json_object(name, parameters[name]))


def _same_region(region: str, path: str, value: object) -> None:
    match value:
        case str():
            other = _OSS_HOST.match(value.strip())
            if other and other[1].lower() != region:
                rule = (
                    f"is in the region {other[1].lower()}, but must be in {region}, the region of the "
                    f"connection's endpoint: {value}"
                )
                raise IceInputError(
                    path,
                    None,
                    rule,
                    advice="Copy the file to a bucket of that region, or use a connection of the "
                    "bucket's region.",
                )
        case Mapping():
            for key, each in value.items():
                if key not in _SAID:
                    _same_region(region, f"{path}.{key}"[:MAX_PATH], each)
        case list():
            for place, each in enumerate(value):
                _same_region(region, f"{path}[{place}]"[:MAX_PATH], each)


def parameters(query: Mapping[str, str], form: Mapping[str, str]) -> None:
    """Check that parameters can travel: as UTF-8, and those of the query in a URL of a length that can be sent.

    :raises IceInputError: one cannot.
    """
    for name, value in (*query.items(), *form.items()):
        if not _is_utf8(value):
            rule = "must be text that UTF-8 can hold; it holds half a surrogate pair"
            raise IceInputError(name, None, rule)
    encoded = {name: len(percent_encode(value)) for name, value in query.items()}
    if sum(encoded.values()) > MAX_QUERY:
        longest = max(encoded, key=lambda name: encoded[name])
        rule = f"must be shorter: it travels in the URL, which holds {MAX_QUERY} characters, and takes {encoded[longest]} of them"
        raise IceInputError(longest, None, rule)


def client_token(value: object) -> str:
    """Check a ClientToken: 1 to 64 printable ASCII characters.

    :raises IceInputError: it is none.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,64}", value):
        raise IceInputError(
            "client_token",
            shown("client_token", value),
            f"must be 1 to {MAX_CLIENT_TOKEN} printable ASCII characters",
        )
    return value


def user_data(value: str) -> str:
    """Check UserData: a JSON object of at most 512 bytes in UTF-8.

    :raises IceInputError: it is none, or longer.
    """
    user_data_object(value)
    size = len(value.encode(errors="surrogatepass"))
    if size > MAX_USER_DATA_BYTES:
        raise IceInputError(
            "UserData",
            None,
            f"must be at most {MAX_USER_DATA_BYTES} bytes of JSON in UTF-8; this is {size}",
        )
    return value


def user_data_object(value: object) -> dict[str, Any]:
    """Return the object that UserData is, as `json_object` does; its size is not checked.

    :raises IceInputError: it is none. The message shows no value.
    """
    return json_object("UserData", value)


def json_object(field: str, value: object) -> dict[str, Any]:
    """Return the JSON object that a value is, as plain dicts, lists, texts and numbers.

    :param field: named in the error.
    :param value: a Mapping, or the JSON text of an object. Any Sequence in it becomes a list.
    :raises IceInputError: it is neither, or holds what JSON does not: keys that are no text, NaN,
        an infinity, half a surrogate pair, a whole number of more than 64 bits, any other type, or
        itself; or it is nested deeper than 64 levels, or holds more than 100,000 values.
    """
    if isinstance(value, str):
        rendered(field, value)
    found = _parsed(field, value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        what = "a JSON object" if isinstance(value, str) else "a dict or a JSON string"
        raise IceInputError(
            field, shown(field, value), f"must be {what}, not {type(found).__name__}"
        )
    return _Json(field).mapping(field, found, 0)


def _parsed(field: str, value: str) -> object:
    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(value, parse_constant=no_constant)
    except RecursionError:
        cause = f"it is nested deeper than {MAX_DEPTH} levels"
    except ValueError as error:
        cause = f"it is not JSON: {error}"
    raise IceInputError(field, shown(field, value), f"must be a JSON object; {cause}")


class _Json:
    """Copies a value, and checks on the way that it is JSON."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._values = 0

    def mapping(self, path: str, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, each in value.items():
            if not isinstance(key, str):
                rule = f"must have texts as keys, as JSON does; it has one of {type(key).__name__}"
                raise IceInputError(path, None, rule)
            self._text(path, key)
            found[key] = self._value(f"{path}.{key}"[:MAX_PATH], each, depth + 1)
        return found

    def _value(self, path: str, value: object, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH:
            rule = f"must not be nested deeper than {MAX_DEPTH} levels, or hold itself"
            raise IceInputError(self._field, None, rule)
        if self._values > MAX_VALUES:
            raise IceInputError(self._field, None, f"must hold at most {MAX_VALUES:,} values")
        match value:
            case None | bool():
                return value
            case str():
                self._text(path, value)
                return value
            case int() if value.bit_length() <= 64:
                return value
            case float() if math.isfinite(value):
                return value
            case int() | float():
                what = "must be finite" if isinstance(value, float) else "must fit into 64 bits"
                raise IceInputError(path, None, f"{what}, to be written as JSON")
            case Mapping():
                return self.mapping(path, value, depth)
            # The output of a mapped task is a Sequence of Airflow's own.
            case Sequence() if not isinstance(value, (bytes, bytearray, memoryview)):
                return [
                    self._value(f"{path}[{place}]"[:MAX_PATH], each, depth + 1)
                    for place, each in enumerate(value)
                ]
        rule = f"cannot be written as JSON: it is of the type {type(value).__name__}"
        raise IceInputError(path, None, rule)

    @staticmethod
    def _text(path: str, value: str) -> None:
        if not _is_utf8(value):
            rule = "must be text that UTF-8 can hold; it holds half a surrogate pair"
            raise IceInputError(path, None, rule)


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(field: str, value: object) -> object:
    """Return a value where an error may show it, else None.

    UserData and a connection's extra are where people keep keys. Of the rest, only what is short
    to write down is shown: a container may be large without end, and a type of the user's own may
    have no text at all.
    """
    if field in _SECRET_FIELDS or type(value) not in _SHOWN:
        return None
    return None if isinstance(value, int) and value.bit_length() > 256 else value


def seconds(field: str, value: object, *, least: float = 0.0) -> float:
    """Return a length of time in seconds.

    :param value: a timedelta, or a number of seconds.
    :param least: the shortest that is allowed, in seconds.
    :raises IceInputError: it is neither, not finite, shorter, or longer than 366 days.
    """
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(found, bool)
        or not isinstance(found, (int, float))
        or not least <= found <= MAX_SECONDS  # NaN is in no range
    ):
        rule = f"must be a timedelta or seconds, from {least:g} to {MAX_SECONDS:,} (366 days)"
        raise IceInputError(field, shown(field, value), rule)
    return float(found)


def whole_number(field: str, value: object, least: int, most: int) -> int:
    """Return a whole number that is an int, and neither a bool nor a text.

    :raises IceInputError: it is none, or outside the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise IceInputError(
            field, shown(field, value), f"must be a whole number from {least} to {most}"
        )
    return value


def batch_input(config: Mapping[str, Any]) -> None:
    """Check the InputConfig of SubmitBatchMediaProducingJob, whose keys decide between Script and Smart_Mix.

    :raises IceInputError: none of the documented input forms, or over a limit.
    """
    _spelling("InputConfig", config, _INPUT_KEYS)
    groups = config.get("MediaGroupArray")
    if not any(config.get(key) for key in ("MediaGroupArray", "MediaArray", "MediaSearchInput")):
        rule = "must hold MediaGroupArray (Script), or MediaArray or MediaSearchInput (Smart_Mix), and not empty"
        raise IceInputError("InputConfig", dict(config), rule)
    if groups:
        _groups(config, _list("InputConfig.MediaGroupArray", groups, MAX_GROUPS))
    else:
        _smart_mix(config)
    _texts_and_decoration(config)


def selection_input(job_type: str, config: Mapping[str, Any]) -> None:
    """Check the InputConfig of a *_Media_Select or *_Timeline_Organize job: that of the matching one-step job.

    :raises IceInputError: none of the documented input forms, or over a limit.
    """
    if job_type.startswith("Screen_Media_Highlights"):
        highlights_input(config)
        return
    _spelling("InputConfig", config, _INPUT_KEYS)
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
    _spelling("InputConfig", config, _INPUT_KEYS)
    if not config.get("MediaArray"):
        raise IceInputError(
            "InputConfig.MediaArray", config.get("MediaArray"), "must name at least one video"
        )
    _clips("InputConfig.MediaArray", config["MediaArray"], MAX_HIGHLIGHT_VIDEOS)
    for key in ("OpeningArray", "EndingArray"):
        if key in config:
            _clips_or_objects(f"InputConfig.{key}", config[key], MAX_OPENINGS)
    _texts_and_decoration(config)


def sports_input(config: Mapping[str, Any]) -> None:
    """Check the InputConfig of a Sports_Highlights job.

    :raises IceInputError: an unknown sport, no InputMedia, or over a limit.
    """
    _spelling("InputConfig", config, _INPUT_KEYS)
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
        faces = _list("InputConfig.FaceRegister", config["FaceRegister"], MAX_FACES)
        for place, face in enumerate(faces):
            urls = face.get("FaceUrls") if isinstance(face, Mapping) else None
            if urls is not None:
                _clips(f"InputConfig.FaceRegister[{place}].FaceUrls", urls, None)
    if "TransferNameRegister" in config:
        _list(
            "InputConfig.TransferNameRegister", config["TransferNameRegister"], MAX_TRANSFER_NAMES
        )
    logos = config.get("SlowMotionLogoRegister")
    if isinstance(logos, Mapping) and "SlowMotionLogoUrls" in logos:
        _clips(
            "InputConfig.SlowMotionLogoRegister.SlowMotionLogoUrls",
            logos["SlowMotionLogoUrls"],
            MAX_LOGOS,
        )


def editing(config: Mapping[str, Any]) -> None:
    """Check an EditingConfig: that its blocks are objects, their volumes and the rate of the speech.

    :raises IceInputError: a block that is no object, a volume outside 0 to 10, or a rate outside -500 to 500.
    """
    for block in _OBJECTS:
        if block in config and not isinstance(config[block], Mapping):
            raise IceInputError(f"EditingConfig.{block}", config[block], "must be an object")
    for block in ("MediaConfig", "SpeechConfig", "BackgroundMusicConfig"):
        # The table says String, every example has a number: both are sent as they are.
        _number(f"EditingConfig.{block}.Volume", config.get(block, {}).get("Volume"), 0, MAX_VOLUME)
    rate = config.get("SpeechConfig", {}).get("SpeechRate")
    _number("EditingConfig.SpeechConfig.SpeechRate", rate, -MAX_SPEECH_RATE, MAX_SPEECH_RATE)


def output(config: Mapping[str, Any], *, needs_destination: bool = True) -> None:
    """Check the OutputConfig of a job that makes Count videos.

    :param needs_destination: whether the job renders files; a selection and a preview do not.
    :raises IceInputError: no destination, no `{index}`, a Count outside 1 to 100, or sizes and durations that cannot be.
    """
    _spelling("OutputConfig", config, _OUTPUT_KEYS)
    _destination(
        config, required=needs_destination and config.get("GeneratePreviewOnly") is not True
    )
    _whole("OutputConfig.Count", config.get("Count"), 1, MAX_COUNT)
    sides = {key: config[key] for key in ("Width", "Height") if config.get(key) is not None}
    for key, side in sides.items():
        _whole(f"OutputConfig.{key}", side, MIN_SIDE, MAX_SIDE)
    if len(sides) == 2 and all(float(side) > MAX_SHORT_SIDE for side in sides.values()):
        raise IceInputError(
            "OutputConfig.Width",
            sides["Width"],
            f"or Height must be at most {MAX_SHORT_SIDE}: the shorter side",
        )
    if not isinstance(config.get("Video", {}), (Mapping, NoneType)):
        raise IceInputError("OutputConfig.Video", config["Video"], "must be an object")
    for key in ("MaxDuration", "FixedDuration"):
        _number(f"OutputConfig.{key}", config.get(key), 0, None)
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

    :raises IceInputError: as `output`, and for Count and GeneratePreviewOnly, which this action does not support.
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
            "must contain {index}, which ICE replaces with 0, 1, 2, ...; without it all videos have one name",
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
        _clips(f"{field}.MediaArray", group.get("MediaArray"), MAX_GROUP_MEDIA)
        if not group["MediaArray"]:
            raise IceInputError(f"{field}.MediaArray", [], "must name at least one clip")
        if group.get("SplitMode") not in (None, *SPLIT_MODES):
            raise IceInputError(
                f"{field}.SplitMode", group["SplitMode"], f"must be one of {', '.join(SPLIT_MODES)}"
            )
        _number(f"{field}.Volume", group.get("Volume"), 0, MAX_VOLUME)
        _number(f"{field}.Duration", group.get("Duration"), 0, None)
        if group.get("SpeechTextArray"):
            if config.get("SpeechTextArray"):
                rule = "cannot stand together with InputConfig.SpeechTextArray: narration is either global or per group"
                raise IceInputError(f"{field}.SpeechTextArray", group["SpeechTextArray"], rule)
            _strings(f"{field}.SpeechTextArray", group["SpeechTextArray"], MAX_TEXTS, MAX_SPEECH)


def _smart_mix(config: Mapping[str, Any]) -> None:
    if config.get("MediaArray"):
        _clips("InputConfig.MediaArray", config["MediaArray"], None)
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
            _strings(f"InputConfig.{key}", config[key], MAX_TEXTS, length)
    for key in ("BackgroundMusicArray", "BackgroundImageArray"):
        if config.get(key) is not None:
            _clips(f"InputConfig.{key}", config[key], MAX_TEXTS)
    music = config.get("BackgroundMusic")
    if isinstance(music, str) and music and not config.get("BackgroundMusicArray"):
        clip("InputConfig.BackgroundMusic", music)
    for key, length in (("Title", MAX_TITLE), ("SpeechText", MAX_SPEECH)):
        # The older spelling, for one text; the array wins where both are given.
        if config.get(key) is not None and not config.get(f"{key}Array"):
            _text(f"InputConfig.{key}", config[key], length)
    stickers = [] if config.get("StickerArray") is None else config["StickerArray"]
    for place, sticker in enumerate(_list("InputConfig.StickerArray", stickers, MAX_TEXTS)):
        field = f"InputConfig.StickerArray[{place}]"
        if not isinstance(sticker, Mapping):
            raise IceInputError(field, sticker, "must be an object with MediaId or MediaURL")
        for key in ("MediaId", "MediaURL"):
            if sticker.get(key) not in (None, ""):
                clip(f"{field}.{key}", sticker[key])
        _number(f"{field}.Opacity", sticker.get("Opacity"), 0, 1)
        _whole(f"{field}.DyncFrames", sticker.get("DyncFrames"), 0, MAX_STICKER_FRAMES)
    for place, heading in enumerate(
        _list("InputConfig.SubHeadingArray", config.get("SubHeadingArray") or [], None)
    ):
        field = f"InputConfig.SubHeadingArray[{place}]"
        if not isinstance(heading, Mapping):
            raise IceInputError(field, heading, "must be an object with Level and TitleArray")
        if heading.get("Level") is None:
            raise IceInputError(
                f"{field}.Level", None, f"must be given, a number from 1 to {MAX_SUB_HEADING_LEVEL}"
            )
        _whole(f"{field}.Level", heading["Level"], 1, MAX_SUB_HEADING_LEVEL)
        _strings(f"{field}.TitleArray", heading.get("TitleArray") or [], MAX_TEXTS, MAX_TITLE)


def _spelling(field: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    right = {key.lower(): key for key in known}
    for key in config:
        # Whether the service minds the case is not documented; a lower-case key that it overlooks is found out an hour later.
        if key not in right.values() and (meant := right.get(str(key).lower())):
            raise IceInputError(f"{field}.{key}", None, f"must be spelled {meant}")


def _list(field: str, value: object, most: int | None) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise IceInputError(field, value, "must be a list")
    if most is not None and len(value) > most:
        raise IceInputError(field, None, f"must have at most {most} entries; it has {len(value)}")
    return value


def _strings(field: str, value: object, most: int | None, length: int | None = None) -> None:
    for place, entry in enumerate(_list(field, value, most)):
        if not isinstance(entry, str) or not entry.strip():
            raise IceInputError(f"{field}[{place}]", entry, "must be a text that is not empty")
        _text(f"{field}[{place}]", entry, length)


def _clips(field: str, value: object, most: int | None) -> None:
    for place, entry in enumerate(_list(field, value, most)):
        clip(f"{field}[{place}]", entry)


def _clips_or_objects(field: str, value: object, most: int | None) -> None:
    # The pages do not show an entry of OpeningArray and EndingArray.
    for place, entry in enumerate(_list(field, value, most)):
        if not isinstance(entry, Mapping):
            clip(f"{field}[{place}]", entry)


def _text(field: str, value: object, length: int | None) -> None:
    if not isinstance(value, str):
        raise IceInputError(field, value, "must be a text")
    if length is not None and len(value) > length:
        raise IceInputError(
            field, value, f"must have at most {length} characters; it has {len(value)}"
        )


def _number(field: str, value: object, least: float, most: float | None) -> None:
    if value is None:
        return
    try:
        found = (
            float(value)
            if isinstance(value, (int, float, str)) and not isinstance(value, bool)
            else None
        )
    except (ValueError, OverflowError):
        found = None
    if (
        found is None
        or not math.isfinite(found)
        or found < least
        or (most is not None and found > most)
    ):
        raise IceInputError(
            field,
            value,
            f"must be a number from {least} to {most}"
            if most is not None
            else f"must be a number from {least}",
        )


def _whole(field: str, value: object, least: int, most: int | None) -> None:
    _number(field, value, least, most)
    if value is not None and float(str(value)) != int(float(str(value))):
        raise IceInputError(field, value, "must be a whole number")
