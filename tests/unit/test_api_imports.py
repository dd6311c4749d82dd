"""What the api package may import, and when: nothing of Airflow, and the heavy things only where
they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_ice.api

API = Path(airflow_ice.api.__file__).parent
MODULES = sorted(path.stem for path in API.glob("*.py"))


def imported(module: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((API / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("module", MODULES)
def test_no_module_knows_airflow_or_the_rest_of_the_package(module: str) -> None:
    for name in imported(module):
        assert name.partition(".")[0] != "airflow"
        assert not name.startswith("airflow_ice.") or name.startswith("airflow_ice.api")


def test_only_the_client_speaks_http() -> None:
    assert [module for module in MODULES if "httpx" in imported(module)] == [
        "client",
        "transport",
    ]
    assert not [
        module
        for module in MODULES
        if any(name.startswith("alibabacloud") for name in imported(module))
    ]


def loaded_after(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_descriptions_errors_and_models_cost_next_to_nothing() -> None:
    loaded = loaded_after(
        "import airflow_ice.api.calls, airflow_ice.api.credentials, airflow_ice.api.endpoints, airflow_ice.api.errors, "
        "airflow_ice.api.limits, airflow_ice.api.models, airflow_ice.api.operations, airflow_ice.api.rate, "
        "airflow_ice.api.redaction, airflow_ice.api.replies, airflow_ice.api.retries"
    )
    assert not loaded & {
        "airflow",
        "httpx",
        "alibabacloud_credentials",
        "requests",
        "aiohttp",
        "av",
        "fastapi",
        "pydantic",
    }


def test_the_client_loads_neither_airflow_nor_the_credentials_library() -> None:
    loaded = loaded_after("import airflow_ice.api.client")
    assert "httpx" in loaded
    assert not loaded & {"airflow", "alibabacloud_credentials", "requests", "aiohttp"}
