"""The documentation site: `make docs` builds it into docs/_build/html, without network."""

from __future__ import annotations

import inspect
import io
import os
import tempfile
from contextlib import redirect_stdout, suppress
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Autodoc imports the package, and that imports Airflow, which writes its configuration where
# AIRFLOW_HOME says.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-ice-docs-")
os.environ["COLUMNS"] = "80"  # the width of each `airflow-ice --help` that a page shows

from airflow_ice import __version__
from airflow_ice.emulator.control import fault_table

project = "airflow-ice"
author = "the airflow-ice authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "airflow-ice"
html_show_sphinx = False
default_role = "literal"  # docstrings write `name` as Markdown does
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
_PUBLIC = (
    "operators|picking|sensors|triggers|transfers|hooks|results|exceptions|"
    "api.errors|api.models|emulator.local"
)
# Signatures also name types of other packages, whose documentation is out of reach without a
# network, and internal ones, which have no page.
nitpick_ignore_regex = [(r"py:.*", rf"(?!airflow_ice\.({_PUBLIC})\.(?!T$)).*")]


class FaultTable(SphinxDirective):
    """Shows the faults of the emulator, as their own classes describe them."""

    def run(self) -> list[nodes.Node]:
        """Return a table for each moment at which faults hit."""
        _heading, _rule, *rows = fault_table().strip().splitlines()
        by_moment: dict[str, list[str]] = {}
        for row in rows:
            kind, moment, options, effect = (cell.strip() for cell in row.strip("|").split(" | "))
            shown = f"`{options}`" if options else ""
            by_moment.setdefault(moment, []).append(f"| {kind} | {shown} | {effect} |")
        text = "\n".join(
            f"\n**On {moment}**\n\n| kind | options | what happens |\n|---|---|---|\n"
            + "\n".join(lines)
            for moment, lines in by_moment.items()
        )
        return list(self.parse_text_to_nodes(text))


class CommandHelp(SphinxDirective):
    """Shows what a command prints with --help: `command-help` with the words after airflow-ice."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the help as it is printed."""
        from airflow_ice.cli import main

        with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
            main([*self.arguments, "--help"])
        text = printed.getvalue()
        return [nodes.literal_block(text, text, language="text")]


def mark_literal_blocks(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Mark a docstring's indented paragraphs as literal: reST would make quotations of them.

    A module's own docstring is for who changes it: the pages say what a user needs.
    """
    if what == "module":
        lines.clear()
    marked: list[str] = []
    for place, line in enumerate(lines):
        before = lines[place - 1] if place else ""
        opens = not before and line.startswith("    ") and marked
        if opens and not any(text.startswith(" ") for text in marked[-2:]):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


_ONLY_CLASSES = {f"reference/{page}" for page in ("operators", "sensors", "triggers", "transfers")}


def skip_member(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any
) -> bool | None:
    """Leave out what Airflow calls and a user does not: methods such as execute."""
    if app.env.current_document.docname in _ONLY_CLASSES:
        return True if what == "class" or not inspect.isclass(obj) else None
    return None


def setup(app: Sphinx) -> None:
    """Add what the pages use in addition to Sphinx's own."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("fault-table", FaultTable)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", mark_literal_blocks)
