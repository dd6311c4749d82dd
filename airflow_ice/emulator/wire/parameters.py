"""Reading the parameters of an action; one that cannot be used is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_ice.emulator.model.clock import parse_timestamp
from airflow_ice.emulator.model.errors import invalid_parameter, missing_parameter

Parameters = Mapping[str, str]


def required(parameters: Parameters, name: str) -> str:
    """Return a parameter that must be there.

    Guess: no page shows what a missing one gets; this is the entry of the product's error table.
    """
    value = parameters.get(name)
    if not value:
        raise missing_parameter(name)
    return value


def one_of(parameters: Parameters, name: str, allowed: tuple[str, ...]) -> str | None:
    """Return a parameter that has one of a few values; None where it is absent."""
    value = parameters.get(name) or None
    if value is not None and value not in allowed:
        raise invalid_parameter(name)
    return value


def whole_number(parameters: Parameters, name: str, default: int, most: int) -> int:
    """Return a parameter that is a whole number from 1 to `most`."""
    text = parameters.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not 1 <= int(text) <= most:
        raise invalid_parameter(name)
    return int(text)


def instant(parameters: Parameters, name: str) -> float | None:
    """Return an instant in seconds since the epoch; None where it is absent."""
    text = parameters.get(name)
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        raise invalid_parameter(name) from None
