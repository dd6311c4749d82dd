"""An argument of a call becomes a parameter of its request: checked, and as text.

Every structured argument is a JSON string on the wire. Here it may be given as a dict, or as a JSON
string, which is then sent as it stands. `SUBMIT` names each argument that a submit action may have
once: its parameter, what travels, and what may be said about it alone. What several arguments make
together is checked by the row of the action (`operations`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from airflow_ice.api import limits, models
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.signature import DATE_FORMAT

Config = Mapping[str, Any] | str
"""A structured argument: a dict, or the JSON string of one."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Checked = tuple[Any, str | None]
"""An argument to be checked with others, and the text that is sent; None where nothing is."""


class Parameter(NamedTuple):
    """How an argument of a submit action travels.

    :param name: of the parameter.
    :param read: makes both of the argument: what is checked with others, and what is sent.
    :param in_form: whether it travels in the form body; in the query else (the official SDK,
        alibabacloud-ice20201109 6.20.2, `client.py`).
    """

    name: str
    read: Callable[[object], Checked]
    in_form: bool = False


def given(parameters: Mapping[str, str | None]) -> dict[str, str]:
    """Return the parameters that are not None: the official SDK sends no others."""
    return {name: value for name, value in parameters.items() if value is not None}


def one_id(name: str, value: object) -> str:
    """Return an id without white space around it.

    :raises IceInputError: it is none: empty, not a text, or more than one line.
    """
    found = value.strip() if isinstance(value, str) else ""
    if not found or CONTROL.search(found):
        raise IceInputError(name, limits.shown(name, value), "must be an id, a text on one line")
    limits.rendered_id(name, found)
    return found


def text(name: str, value: object) -> str | None:
    """Return a text or None as it is.

    :raises IceInputError: it is anything else.
    """
    if value is not None and not isinstance(value, str):
        raise IceInputError(
            name, limits.shown(name, value), f"must be a text, not {type(value).__name__}"
        )
    return value


def ids(name: str, value: object) -> list[str]:
    """Return a list of ids: of a sequence, of JSON text, or of text with commas.

    :raises IceInputError: it is none of these, is empty, or holds what is no id.
    """
    if isinstance(value, str):
        limits.rendered(name, value, "a list of ids")
        if value.strip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as cause:
                raise IceInputError(
                    name, value, f"must be a list of ids; it is not JSON: {cause}"
                ) from None
        else:
            value = value.split(",")
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray, memoryview)):
        raise IceInputError(name, limits.shown(name, value), "must be a list of ids")
    found = [one_id(f"{name}[{place}]", entry) for place, entry in enumerate(value)]
    if not found:
        raise IceInputError(name, value, "must name at least one id")
    if comma := next((entry for entry in found if "," in entry), None):
        raise IceInputError(name, comma, "must not contain a comma")
    return found


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Check that a value is one of those allowed.

    :raises IceInputError: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise IceInputError(name, limits.shown(name, value), f"must be one of {', '.join(allowed)}")


def time(name: str, value: datetime | str | None) -> str | None:
    """Return a time as the wire has it: UTC, `yyyy-MM-ddTHH:mm:ssZ`.

    :raises IceInputError: it is no time, or has no time zone.
    """
    if value is None:
        return None
    found: object = models.time(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        rule = "must be a time, UTC, in the form yyyy-MM-ddTHH:mm:ssZ, or a datetime"
        raise IceInputError(name, limits.shown(name, value), rule)
    if found.tzinfo is None:
        raise IceInputError(name, value, "must have a time zone")
    try:
        return found.astimezone(UTC).strftime(DATE_FORMAT)
    except (ValueError, OverflowError):
        raise IceInputError(name, value, "must be a time of the years 1 to 9999, UTC") from None


def config(name: str, value: object) -> tuple[dict[str, Any], str]:
    """Return a structured argument both ways: as an object, to be checked, and as what is sent.

    :raises IceInputError: it is no JSON object.
    """
    found = limits.json_object(name, value)
    return found, value if isinstance(value, str) else json.dumps(found, ensure_ascii=False)


def _optional_config(name: str, value: object) -> Checked:
    return (None, None) if value is None or value == "" else config(name, value)


def _editing_config(value: object) -> Checked:
    found, sent = _optional_config("EditingConfig", value)
    if found is not None:
        limits.editing(found)
    return found, sent


def _template_config(value: object) -> Checked:
    found = None if value is None else ids("TemplateConfig", value)
    return found, None if found is None else json.dumps(found)


def _project_ids(value: object) -> Checked:
    found = ids("project_ids", value)
    return found, ",".join(found)


def _user_data(value: object) -> Checked:
    found, sent = _optional_config("UserData", value)
    return found, None if sent is None else limits.user_data(sent)


def _client_token(value: object) -> Checked:
    return value, None if value is None else limits.client_token(value)


def _job_type(value: object) -> Checked:
    return value, value if isinstance(value, str) else None  # the action's row knows which


SUBMIT: Final[Mapping[str, Parameter]] = {
    "job_type": Parameter("JobType", _job_type),
    "input_config": Parameter(
        "InputConfig", lambda value: config("InputConfig", value), in_form=True
    ),
    "media_select_result": Parameter(
        "MediaSelectResult", lambda value: config("MediaSelectResult", value)
    ),
    "project_ids": Parameter("ProjectIds", _project_ids),
    "output_config": Parameter("OutputConfig", lambda value: config("OutputConfig", value)),
    "editing_config": Parameter("EditingConfig", _editing_config, in_form=True),
    "template_config": Parameter("TemplateConfig", _template_config),
    "user_data": Parameter("UserData", _user_data),
    "client_token": Parameter("ClientToken", _client_token),
}
"""Every argument that a submit action may have, by name."""
