"""What the documentation shows works as it stands: its Python runs, its commands and its JSON are
valid, its links lead to files; and its reference forgets no operator, error, metric or fault.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import tempfile
import tomllib
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetAlias, AssetWatcher, task
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice import (
    claims,
    exceptions,
    hooks,
    metrics,
    operators,
    picking,
    sensors,
    transfers,
    triggers,
)
from airflow_ice.api import errors
from airflow_ice.cli import _parser
from airflow_ice.emulator.local import LocalIce
from airflow_ice.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))
    if "_build" not in page.relative_to(ROOT).parts
)
WHOLE_RUN = "dag.test()"
"""A block with it needs Airflow's database: tests/e2e/test_documented_script.py runs it."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """Return a page with folded commands in one line."""
    return re.sub(r"\\\n *", "", page.read_text())


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(rf"^{margin}", "", block, flags=re.MULTILINE) for margin, block in found]


def python_blocks(page: Path) -> list[str]:
    return blocks(page, "python")


def frame() -> dict[str, Any]:
    """Return the names that a reader has: the package's, those of imports that the page leaves out,
    and a publishing task of the reader's own.
    """

    @task
    def publish(media: dict[str, Any]) -> str:
        return str(media["media_id"])

    public = {
        name: value
        for module in (operators, picking, sensors, transfers, triggers, hooks, claims)
        for name, value in vars(module).items()
        if name[0] != "_"
    }
    modules = {module.__name__: module for module in (httpx, tempfile)}
    given = {
        "DAG": DAG,
        "Asset": Asset,
        "AssetAlias": AssetAlias,
        "AssetWatcher": AssetWatcher,
        "EmptyOperator": EmptyOperator,
        "task": task,
        "timedelta": timedelta,
    }
    return {**public, **modules, **given, "Path": Path, "LocalIce": LocalIce, "publish": publish}


def each(pairs: list[tuple[Path, str]]) -> list[Any]:
    assert pairs
    return [
        pytest.param(page, text, id=f"{named(page)} {place}")
        for place, (page, text) in enumerate(pairs)
    ]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_line_is_longer_than_a_hundred(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if len(line) > 100] == []


@pytest.mark.parametrize(
    ("page", "block"), each([(page, block) for page in PAGES for block in python_blocks(page)])
)
def test_a_python_block_runs(page: Path, block: str) -> None:
    code = compile(block, str(page), "exec")
    if WHOLE_RUN not in block:
        exec(code, frame())  # noqa: S102 - it is our own documentation


@pytest.mark.parametrize(
    ("page", "block"), each([(page, block) for page in PAGES for block in blocks(page, "json")])
)
def test_a_json_block_is_valid(page: Path, block: str) -> None:
    json.loads(block)


def test_the_policy_of_the_tutorial_names_actions_that_there_are() -> None:
    (policy,) = [json.loads(block) for block in blocks(DOCS / "tutorial.md", "json")[:1]]
    names = {name.removeprefix("ice:") for name in policy["Statement"][0]["Action"]}
    known = {
        "".join(part.title() for part in name.split("_"))
        for name, _ in inspect.getmembers(hooks.IceHook)
    }
    assert names - known == set()


def test_the_job_of_the_tutorial_is_accepted() -> None:
    job = json.loads(blocks(DOCS / "tutorial.md", "json")[1])
    with DAG("tutorial", schedule=None):
        operators.IceSubmitBatchMediaProducingJobOperator(task_id="submit", **job)


@pytest.mark.parametrize(
    ("page", "line"),
    each(
        [
            (page, line)
            for page in PAGES
            for line in re.findall(r"^ +(airflow-ice .*)$", text_of(page), re.MULTILINE)
        ]
    ),
)
def test_a_command_is_valid(page: Path, line: str) -> None:
    _parser().parse_args(shlex.split(line, comments=True)[1:])


def test_each_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    for page in PAGES:
        used = re.findall(r"(?:^ +|`)make ([a-z0-9]+)", page.read_text(), re.MULTILINE)
        assert set(used) - set(targets.split()) == set(), page
    assert "make docs" in (ROOT / "README.md").read_text()


def test_each_extra_that_a_page_installs_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = {extra for page in PAGES for extra in re.findall(r"'[.\w-]+\[(\w+)\]'", text_of(page))}
    assert used == set(project["optional-dependencies"])


def test_each_example_dag_that_a_page_names_exists() -> None:
    names = {name for page in PAGES for name in re.findall(r"\bdags/\w+\.py", text_of(page))}
    assert names == {f"dags/{file.name}" for file in (ROOT / "dags").glob("*.py")}


def test_the_connection_in_the_environment_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(DOCS / "how-to/connection.md")
    (setting,) = re.findall(r"export (AIRFLOW_CONN_\w+='[^']*')", text)
    (variable,) = shlex.split(setting)
    monkeypatch.setenv(*variable.split("=", 1))
    with hooks.IceHook().get_conn() as client:
        assert client is not None


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_link_targets_exist(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in link]
    for link in links:
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]
            assert heading in slugs, link


def test_the_table_of_contents_holds_every_page() -> None:
    trees = re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    entries = {line for tree in trees for line in tree.splitlines() if line and line[0] != ":"}
    pages = {named(page).removeprefix("docs/").removesuffix(".md") for page in PAGES}
    assert entries == {page for page in pages if (DOCS / f"{page}.md").is_file()} - {"index"}


def test_the_reference_holds_every_module_that_airflow_discovers() -> None:
    info = get_provider_info()
    listed = {
        module
        for kind in ("operators", "sensors", "hooks", "triggers")
        for row in info[kind]
        for module in row["python-modules"]
    }
    listed |= {row["python-module"] for row in info.get("transfers", ())}
    text = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    directives = re.findall(r"\.\. auto(?:module|class):: ([\w.]+)", text)
    missing = {name for name in listed if not any(each.startswith(name) for each in directives)}
    assert missing == set(), "add `.. automodule::` to a page in docs/reference"


def first_cells(page: Path) -> list[str]:
    text = page.read_text()
    return re.findall(r"^(?:\* - |\| )[— ]*`([^`]+)`", text, re.MULTILINE)


def own_errors(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, (errors.IceError, AirflowNotFoundException))
        and value.__module__ == module.__name__
    }


def test_the_reference_says_what_each_error_means_for_the_bill() -> None:
    cells = first_cells(DOCS / "reference/errors.md")
    assert sorted(cells) == sorted(own_errors(errors) | own_errors(exceptions))


def test_the_reference_holds_every_metric() -> None:
    names = re.findall(r'"(airflow_ice\.\w+)"', inspect.getsource(metrics))
    assert set(first_cells(DOCS / "reference/metrics.md")) == set(names) - {"airflow_ice.api"}


def test_the_faults_that_a_page_shows_over_http_are_valid() -> None:
    with LocalIce(render=False) as ice:
        bodies = re.findall(
            r"/_control/faults -d '([^']+)'", text_of(DOCS / "how-to/test-your-dag.md")
        )
        assert bodies
        for body in bodies:
            ice.fault(**json.loads(body))


def test_each_place_that_a_contributor_is_sent_to_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`([\w./*-]+/[\w.*-]*|[\w-]+\.(?:py|md))`", text)
    assert len(places) > 12
    for place in places:
        found = [found for base in (ROOT, ROOT / "airflow_ice", DOCS) for found in base.glob(place)]
        assert found, place


def test_pre_commit_runs_what_make_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^lint: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    linted = [
        line.replace("$(BIN)/", "").strip(" .") for line in recipe.split("\t") if line.strip()
    ]
    hooks_file = (ROOT / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"entry: \.venv/bin/(.*?)(?: --force-exclude)?$", hooks_file, re.MULTILINE)
    assert entries == [line.strip().removesuffix(" .") for line in linted]
    assert set(re.findall(r"language: (.*)", hooks_file)) == {"system"}
