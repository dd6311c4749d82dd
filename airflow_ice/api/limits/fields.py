"""Checks of one field of a config: a list, a text, a number, a clip."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.json_values import FROM_NONE, FROM_REPR, NOTHING, PYTHON_REPR, shown

_MEDIA_ID: Final = re.compile(
    r"[A-Za-z0-9_*-]{1,128}"
)  # 32 hex digits, some masked, and icepublic-...
_MEDIA_URL: Final = re.compile(r"(?:https?|oss)://[^/\s]+/.+", re.IGNORECASE | re.DOTALL)
_LOCAL_PATH: Final = re.compile(r"[/\\.~]|file:|[A-Za-z]:[/\\]", re.IGNORECASE)


def clip(field: str, value: object) -> None:
    """Check what stands for a clip, a picture or a sound: a media id or an http(s) or oss URL.

    ICE looks for clips only after it has accepted a submit: the error of a job whose clips are
    missing is in its Extend (page of GetBatchMediaProducingJob).

    :raises IceInputError: it is neither.
    """
    text = value.strip() if isinstance(value, str) else ""
    if text not in NOTHING and (_MEDIA_ID.fullmatch(text) or _MEDIA_URL.fullmatch(text)):
        return
    advice = "ICE reads media ids and http(s) or oss URLs only."
    if value is None or (isinstance(value, str) and text in NOTHING):
        advice = FROM_NONE
    elif PYTHON_REPR.match(text):
        advice = FROM_REPR
    elif _LOCAL_PATH.match(text):
        advice = "ICE cannot read files of this machine: upload it to OSS first."
    elif text.lower().startswith("s3:"):
        advice = "ICE does not read Amazon S3: copy it to OSS first."
    rule = "must be a media id, or an http, https or oss URL"
    raise IceInputError(field, shown(field, value), rule, advice=advice)


def entries(field: str, value: object, most: int | None) -> Sequence[Any]:
    """Return a list.

    :raises IceInputError: it is none, or longer than `most`.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise IceInputError(field, value, "must be a list")
    if most is not None and len(value) > most:
        raise IceInputError(field, None, f"must have at most {most} entries; it has {len(value)}")
    return value


def texts(field: str, value: object, most: int | None, length: int | None = None) -> None:
    """Check that a value is a list of at most `most` texts of at most `length` characters each.

    :raises IceInputError: it is not.
    """
    for place, entry in enumerate(entries(field, value, most)):
        if not isinstance(entry, str) or not entry.strip():
            raise IceInputError(f"{field}[{place}]", entry, "must be a text that is not empty")
        short_text(f"{field}[{place}]", entry, length)


def clips(field: str, value: object, most: int | None) -> None:
    """Check that a value is a list of at most `most` clips; see `clip`.

    :raises IceInputError: it is not.
    """
    for place, entry in enumerate(entries(field, value, most)):
        clip(f"{field}[{place}]", entry)


def clips_or_objects(field: str, value: object, most: int | None) -> None:
    """Check that a value is a list of at most `most` clips or objects.

    :raises IceInputError: it is not.
    """
    # The pages do not show an entry of OpeningArray and EndingArray.
    for place, entry in enumerate(entries(field, value, most)):
        if not isinstance(entry, Mapping):
            clip(f"{field}[{place}]", entry)


def short_text(field: str, value: object, length: int | None) -> None:
    """Check that a value is a text of at most `length` characters; None for any length.

    :raises IceInputError: it is not.
    """
    if not isinstance(value, str):
        raise IceInputError(field, value, "must be a text")
    if length is not None and len(value) > length:
        raise IceInputError(
            field, value, f"must have at most {length} characters; it has {len(value)}"
        )


def number(field: str, value: object, least: float, most: float | None) -> None:
    """Check that a value is None, or a number from `least` to `most`, as a number or a text.

    :raises IceInputError: it is not.
    """
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


def whole(field: str, value: object, least: int, most: int | None) -> None:
    """Check that a value is None, or a whole number from `least` to `most`.

    :raises IceInputError: it is not.
    """
    number(field, value, least, most)
    if value is not None and float(str(value)) != int(float(str(value))):
        raise IceInputError(field, value, "must be a whole number")
