"""Faults on demand: what was asked to go wrong, and how often it still will.

A fault is one class: its fields are its options, its base says at which moment it hits, its methods
what happens then, and its docstring is its line in every table of faults. Faults on requests are in
`wire/faults.py`, those on reads of objects in `wire/object_faults.py`, those that shape a job in
`engine/faults.py`.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

KINDS: Final[dict[str, type[Fault]]] = {}
"""The faults by kind; each class enters itself when it is defined."""

_OF_EVERY_FAULT: Final = ("action", "times")
_NAMES_OF_TYPES: Final = {float: "a number", int: "a whole number", str: "a text", bool: "a bool"}

F = TypeVar("F", bound="Fault")


@dataclass(kw_only=True)
class Fault:
    """A fault that was asked for.

    :param action: the API action that it hits; None is every one.
    :param times: how often it still hits; -1 until cleared.
    """

    kind: ClassVar[str]
    moment: ClassVar[str]
    action: str | None = None
    times: int = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    def hits(self, name: str) -> bool:
        """Tell whether it hits a request for an action."""
        return self.action in (None, name)

    def group(self) -> Hashable:
        """Return what it has in common with faults of which only the first hits a request."""
        return self.kind


def make_fault(kind: str, action: str | None, times: int, options: Mapping[str, Any]) -> Fault:
    """Return a fault.

    Options are checked here, so that a typo in a test is an error and not a fault that never hits.

    :raises ValueError: there is no such kind, or it takes no such option or value.
    """
    wanted = KINDS.get(kind)
    if wanted is None:
        raise ValueError(f"unknown fault {kind!r}; known are {', '.join(KINDS)}")
    known = {field.name: field for field in _options(wanted)}
    if unknown := options.keys() - known:
        raise ValueError(f"fault {kind!r} takes no option {', '.join(sorted(unknown))}")
    hints = typing.get_type_hints(wanted)
    for name, field in known.items():
        if name not in options and field.default is dataclasses.MISSING:
            raise ValueError(f"fault {kind!r} needs the option {name}")
        if name in options and not _fits(options[name], hints[name]):
            raise ValueError(f"fault {kind!r} needs {_type_name(hints[name])} as {name}")
    if times == 0 or times < -1:
        raise ValueError("times is at least 1, or -1 for a fault that lasts until cleared")
    return wanted(action=action, times=times, **options)


def describe_faults() -> list[tuple[str, str, str, str]]:
    """Return the faults for a table: kind, moment, options with their defaults, what happens."""
    return [
        (kind, fault.moment, ", ".join(_shown(field) for field in _options(fault)), _effect(fault))
        for kind, fault in sorted(KINDS.items(), key=lambda item: item[1].moment)
    ]


def _options(fault: type[Fault]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(fault) if field.name not in _OF_EVERY_FAULT]


def _shown(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return f"{field.name} (needed)"
    return field.name if field.default is None else f"{field.name}={field.default}"


def _effect(fault: type[Fault]) -> str:
    return inspect.cleandoc(fault.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _plain(hint: Any) -> Any:
    """Return a type without None."""
    plain = [part for part in typing.get_args(hint) if part is not type(None)]
    return plain[0] if plain and type(None) in typing.get_args(hint) else hint


def _type_name(hint: Any) -> str:
    return _NAMES_OF_TYPES.get(_plain(hint), "a list of whole numbers")


def _fits(value: Any, hint: Any) -> bool:
    plain = _plain(hint)
    if value is None:
        return plain is not hint
    if typing.get_origin(plain) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, int) for item in value)
    if isinstance(value, bool):
        return plain is bool
    return isinstance(value, int | float if plain is float else plain)


class Faults:
    """The faults that still have to hit, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: list[tuple[Fault, Mapping[str, Any]]] = []

    def add(self, kind: str, action: str | None, times: int, options: Mapping[str, Any]) -> None:
        """Ask for one more.

        :raises ValueError: see `make_fault`.
        """
        self._pending.append((make_fault(kind, action, times, options), dict(options)))

    def clear(self) -> None:
        """Forget all of them; jobs that are already made keep theirs."""
        self._pending.clear()

    def pending(self) -> list[dict[str, Any]]:
        """Return what still has to hit, with the options as they were given."""
        return [
            {"kind": fault.kind, "action": fault.action, "times": fault.times, **options}
            for fault, options in self._pending
        ]

    def take(self, family: type[F], hits: Callable[[F], bool]) -> list[F]:
        """Use up the faults of a family that hit now: of each group the first."""
        taken: dict[Hashable, F] = {}
        for fault, _ in self._pending:
            if isinstance(fault, family) and fault.group() not in taken and hits(fault):
                taken[fault.group()] = fault
        for used in taken.values():
            if used.times > 0:
                used.times -= 1
        self._pending = [item for item in self._pending if item[0].times]
        return list(taken.values())
