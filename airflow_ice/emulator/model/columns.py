"""A dataclass as a table: its fields are the columns, so a fact of a job is named in one place.

A field that holds a dataclass itself is stored as JSON text, and None as NULL. What a column is
apart from its type (a key, say) stands with its field: `field(metadata=sql("... PRIMARY KEY"))`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeVar

_SQL: Final = "sql"
_TYPES: Final = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL"}

T = TypeVar("T")


def sql(declaration: str) -> Mapping[str, str]:
    """Return the metadata of a field whose column is declared as given."""
    return types.MappingProxyType({_SQL: declaration})


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column.

    :param declaration: its type and constraints in SQL.
    :param kind: the type of the values, without None.
    """

    name: str
    declaration: str
    kind: Any

    @property
    def assigned(self) -> bool:
        """Whether SQLite assigns its value to a new row."""
        return "AUTOINCREMENT" in self.declaration

    def stored(self, value: Any) -> Any:
        """Return a value of the field as it is stored."""
        return json.dumps(dataclasses.asdict(value)) if _is_nested(self.kind) and value else value

    def loaded(self, value: Any) -> Any:
        """Return a stored value as it is in the field."""
        nested = value is not None and _is_nested(self.kind)
        return _loaded(self.kind, json.loads(value) if nested else value)


@functools.cache
def columns(kind: Any) -> tuple[Column, ...]:
    """Return the columns of a dataclass, in the order of its fields."""
    hints = typing.get_type_hints(kind)
    return tuple(_column(field, hints[field.name]) for field in dataclasses.fields(kind))


def _column(field: dataclasses.Field[Any], hint: Any) -> Column:
    plain, optional = _without_none(hint)
    declared = _TYPES.get(plain, "TEXT") + ("" if optional else " NOT NULL")
    return Column(field.name, field.metadata.get(_SQL, declared), plain)


def create_table(table: str, kind: type) -> str:
    """Return the statement that makes the table of a dataclass where there is none."""
    body = ", ".join(f"{column.name} {column.declaration}" for column in columns(kind))
    return f"CREATE TABLE IF NOT EXISTS {table} ({body});"


def insert(table: str, item: Any) -> tuple[str, list[Any]]:
    """Return the statement that stores an item as a new row, and its values."""
    kind: Any = type(item)
    given = [column for column in columns(kind) if not column.assigned]
    names, marks = ", ".join(column.name for column in given), ", ".join("?" * len(given))
    # The text is made of names of tables and fields; every value is bound.
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
    return statement, [column.stored(getattr(item, column.name)) for column in given]


def load(kind: type[T], row: sqlite3.Row) -> T:
    """Return the item that a row of its table stands for."""
    shown: Any = kind
    item: T = kind(**{column.name: column.loaded(row[column.name]) for column in columns(shown)})
    return item


def _is_nested(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


def _loaded(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if _is_nested(kind):
        return kind(**{each.name: _loaded(each.kind, value[each.name]) for each in columns(kind)})
    return bool(value) if kind is bool else value


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether None was part of it."""
    parts = typing.get_args(hint)
    if type(None) not in parts:
        return hint, False
    (plain,) = (part for part in parts if part is not type(None))
    return plain, True
