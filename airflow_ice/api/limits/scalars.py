"""Arguments that are one value: ids, times, numbers, tokens; and whether parameters can travel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.json_values import FROM_NONE, NOTHING, is_utf8, shown
from airflow_ice.api.signature import percent_encode

MAX_QUERY: Final = 65_000  # ICE documents none; httpx sends no URL of more than 65536 characters
MAX_SECONDS: Final = 31_622_400  # 366 days: ICE knows a job for a year
MAX_CLIENT_TOKEN: Final = 64
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_.*-]{1,128}")  # 32 hex digits; the pages mask some with *


def job_id(field: str, value: object) -> str:
    """Return the id of a job, without white space around it: one word of letters, digits and
    `_ . * -`, of at most 128 characters. ICE's own are 32 hex digits.

    :raises IceInputError: it is none; the advice says how it usually came about.
    """
    found = value.strip() if isinstance(value, str) else ""
    if found not in NOTHING and _JOB_ID.fullmatch(found):
        return found
    advice = None
    if value is None or (isinstance(value, str) and found in NOTHING):
        advice = FROM_NONE
    elif isinstance(value, Mapping) or found[:1] in {"{", "["}:
        advice = (
            'This is a whole result, not an id: pass output["job_id"], or where a template stands, '
            '{{ ti.xcom_pull("collect")["job_id"] }}.'
        )
    rule = (
        "must be the id that a submit returned, one word of letters, digits, '_', '-' and '.' of "
        "at most 128 characters"
    )
    rule = f"is None; it {rule}" if value is None else rule
    raise IceInputError(field, shown(field, value), rule, advice=advice)


def rendered_id(field: str, value: str) -> None:
    """Refuse an id that a template made of nothing.

    :raises IceInputError: it is None.
    """
    if value in NOTHING:
        raise IceInputError(field, shown(field, value), "must be an id", advice=FROM_NONE)


def parameters(query: Mapping[str, str], form: Mapping[str, str]) -> None:
    """Check that parameters can travel: as UTF-8, and those of the query in a URL of a length that
    can be sent.

    :raises IceInputError: one cannot.
    """
    for name, value in (*query.items(), *form.items()):
        if not is_utf8(value):
            rule = "must be text that UTF-8 can hold; it holds half a surrogate pair"
            raise IceInputError(name, None, rule)
    encoded = {name: len(percent_encode(value)) for name, value in query.items()}
    if sum(encoded.values()) > MAX_QUERY:
        longest = max(encoded, key=lambda name: encoded[name])
        rule = (
            f"must be shorter: it travels in the URL, which holds {MAX_QUERY} characters, and "
            f"takes {encoded[longest]} of them"
        )
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
