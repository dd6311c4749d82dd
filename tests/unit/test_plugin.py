"""The page's entry point: where it shows, and that no fault of it reaches Airflow."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_ice.plugin.plugin import IcePlugin, LazyApp

ROOT = Path(__file__).resolve().parents[2]


async def asked(app: LazyApp, path: str = "/ice/dags/d/runs/r") -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        return await client.get(path)


async def test_an_application_that_cannot_be_built_answers_503_and_is_built_once() -> None:
    built = []

    def build() -> Any:
        built.append(1)
        raise ImportError("cannot import name 'requires_access_dag'")

    app = LazyApp(build)
    for _ in range(2):
        reply = await asked(app)
        assert reply.status_code == 503
        assert "log of the api-server" in reply.text
    assert built == [1]


def test_a_process_that_loads_the_plugin_loads_no_web_framework() -> None:
    # Every worker and scheduler does.
    code = (
        "import sys, airflow_ice.plugin.plugin;"
        "print(sorted(set(sys.modules) & {'fastapi', 'airflow_ice.plugin.app'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["airflow.plugins"]["airflow_ice"].partition(":")
    assert getattr(import_module(module), name) is IcePlugin


def test_airflow_takes_the_plugin_for_one() -> None:
    from airflow._shared.plugins_manager import is_valid_plugin

    assert is_valid_plugin(IcePlugin)


@pytest.mark.parametrize("destination", ["task_instance", "dag_run"])
def test_there_is_a_tab_that_keeps_the_path_prefix(destination: str) -> None:
    (view,) = [row for row in IcePlugin.external_views if row["destination"] == destination]
    assert view["name"] == "ICE videos"
    assert not view["href"].startswith(("/", "http"))
    assert "{DAG_ID}" in view["href"]
    assert "?" not in view["href"]
