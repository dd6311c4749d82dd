"""A structured argument is plain JSON: what may be sent as one, and what a template was meant to
make.

Far more is allowed than any job of ICE needs, and little enough to be checked at once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_ice.api.errors import IceInputError

MAX_USER_DATA_BYTES: Final = 512
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
MAX_PATH: Final = 200
_SHOWN: Final = frozenset({str, int, float, bool, bytes, timedelta, datetime})
_SECRET_FIELDS: Final = frozenset({"UserData", "the connection's extra"})
PYTHON_REPR: Final = re.compile(r"[\[{(]\s*[\[{(]*\s*'")

NOTHING: Final = frozenset({"", "None", "null"})
"""What a template leaves where it found nothing: undefined, None, and None through `tojson`."""

FROM_NONE: Final = (
    "A template rendered to None, or the output of another task is None: that task pushed nothing "
    "under this key, or did not run."
)

FROM_REPR: Final = (
    "A template rendered a dict or list as Python text: write {{ ... | tojson }}, or pass the "
    "output of the other task itself."
)


def rendered(field: str, value: str, what: str = "a JSON object") -> None:
    """Refuse the text of a structured argument that is not what its template was meant to make.

    :param what: the argument must be.
    :raises IceInputError: it is empty, None, or the Python text of a dict or list.
    """
    text = value.strip()
    if text in NOTHING:
        rule = f"must be {what}" if text else f"must be {what}; it is empty"
        raise IceInputError(field, shown(field, value) if text else None, rule, advice=FROM_NONE)
    if PYTHON_REPR.match(text):
        rule = f"must be {what}; this is the text of a Python object, not JSON"
        raise IceInputError(field, shown(field, value), rule, advice=FROM_REPR)


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
        if not is_utf8(value):
            rule = "must be text that UTF-8 can hold; it holds half a surrogate pair"
            raise IceInputError(path, None, rule)


def is_utf8(value: str) -> bool:
    """Tell whether a text can be sent: half a surrogate pair cannot."""
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
