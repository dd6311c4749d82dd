"""Reading the JSON that configurations come in: the text itself, and the strings and numbers in it.

A value that cannot be used is refused by its full name, such as `OutputConfig.Video.Crf`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from airflow_ice.emulator.model.errors import invalid_parameter

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def parse_json(text: str) -> Any:
    """Read JSON, also where a comma is missing between two strings.

    :raises ValueError: it cannot be read even so.
    """
    try:
        return json.loads(text)
    except ValueError:
        # Guess: the service's parser forgives this. The documentation's own sample of a finished job lacks such a comma, and a
        # job copied from the documentation is to work as it stands.
        return json.loads(_with_commas(text))


def _with_commas(text: str) -> str:
    parts: list[str] = []
    position = 0
    for match in _STRING.finditer(text):
        between = text[position : match.start()]
        parts += [",", between] if position and not between.strip() else [between]
        parts.append(match.group())
        position = match.end()
    return "".join([*parts, text[position:]])


def check_strings(
    config: Mapping[str, Any],
    name: str,
    most: int | None,
    length: int = 4096,
    within: str = "InputConfig.",
) -> None:
    """Refuse what is there and is no list of at most so many strings of at most so many characters."""
    value = config.get(name)
    if value is None:
        return
    if not isinstance(value, list) or (most is not None and len(value) > most):
        raise invalid_parameter(f"{within}{name}")
    if not all(isinstance(item, str) and len(item) <= length for item in value):
        raise invalid_parameter(f"{within}{name}")


def number_of(
    config: Mapping[str, Any],
    name: str,
    least: float,
    most: float,
    *,
    within: str = "OutputConfig.",
    zero: bool = False,
) -> float | None:
    """Return a number given as a number or as text (the documentation has both); None where it is absent."""
    value = config.get(name)
    if value is None:
        return None
    number = _as_number(value, f"{within}{name}")
    if not (least <= number <= most) or (number == 0 and not zero):
        raise invalid_parameter(f"{within}{name}")
    return number


def whole_number_of(
    config: Mapping[str, Any],
    name: str,
    default: int,
    least: int,
    most: int,
    within: str = "OutputConfig.",
) -> int:
    """Return a whole number given as a number or as text; the default where it is absent."""
    value = config.get(name)
    if value is None:
        return default
    number = _as_number(value, f"{within}{name}")
    if number != int(number) or not least <= number <= most:
        raise invalid_parameter(f"{within}{name}")
    return int(number)


def _as_number(value: Any, name: str) -> float:
    refusal = invalid_parameter(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refusal
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise refusal from None
    if not abs(number) < 1e9:
        raise refusal
    return number
