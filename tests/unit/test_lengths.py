"""Functions fit on a screen, classes stay small; each exception says why where it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FUNCTION = 50
CLASS = 250
LONGER = {"IceHook", "IceSubmitOperator", "OneTaskInstance", "ice_submit"}
"""What may be longer; a comment above it says why."""


def too_long(source: str) -> Iterator[str]:
    """Return the names of functions and classes with more lines than allowed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            allowed = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if (node.end_lineno or 0) - node.lineno + 1 > allowed:
                yield node.name


def test_only_what_says_why_is_longer() -> None:
    found = {
        name: path.read_text()
        for folder in ("airflow_ice", "dags", "docs", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in too_long(path.read_text())
    }
    assert set(found) == LONGER
    assert all("onger than other" in source for source in found.values())


def test_a_line_more_than_allowed_is_found() -> None:
    body = "    pass\n" * (FUNCTION - 1)
    assert list(too_long(f"def f() -> None:\n{body}")) == []
    assert list(too_long(f"def f() -> None:\n{body}    pass\n")) == ["f"]
