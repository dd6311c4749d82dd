"""What a DAG file pays for importing this package, and what nobody but the one who needs it may
load."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import airflow_ice

PACKAGE = Path(airflow_ice.__path__[0])
HEAVY = (
    "alibabacloud_credentials",
    "airflow_ice.api.client",
    "airflow_ice.emulator",
    "apscheduler",
    "Tea",
)


def fresh(code: str) -> None:
    environment = {
        "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"],  # the tests' own
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_CONN_ICE_DEFAULT": json.dumps(
            {
                "conn_type": "alibaba_ice",
                "login": "i",
                "password": "secret",
                "host": "http://127.0.0.1:9",
            }
        ),
        "AIRFLOW_CONN_ROLE": json.dumps(
            {
                "conn_type": "alibaba_ice",
                "extra": {
                    "credential_type": "credentials_uri",
                    "credentials_uri": "http://127.0.0.1:9/",
                },
                "host": "http://127.0.0.1:9",
            }
        ),
    }
    lines = f"""
import sys
HEAVY = {HEAVY!r}
def heavy():
    return [name for name in sys.modules if name.split(".")[0] in HEAVY or name.startswith(HEAVY)]
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_dag_file_loads_neither_client_nor_credentials_nor_emulator() -> None:
    fresh(
        """
import airflow_ice.operators, airflow_ice.sensors, airflow_ice.transfers, airflow_ice.triggers
from airflow.sdk import DAG
assert not heavy(), heavy()
with DAG("d"):
    done = airflow_ice.sensors.IceBatchMediaProducingJobSensor(task_id="wait", job_id="j")
    collect = airflow_ice.operators.IceGetBatchMediaProducingJobOperator
    collect(task_id="collect", job_id=done.output)
airflow_ice.hooks.IceHook()
airflow_ice.triggers.IceBatchMediaProducingJobTrigger(
    job_id="j", ice_conn_id="c", poke_interval=1, started_at=0, deadline=1
).serialize()
assert not heavy(), heavy()
"""
    )


def test_the_credentials_library_is_loaded_only_where_its_credentials_are_needed() -> None:
    fresh(
        """
from airflow_ice.api.errors import IceError
from airflow_ice.hooks import IceHook
def loaded():
    return "alibabacloud_credentials" in sys.modules
for conn_id in ("ice_default", "role"):
    hook = IceHook(conn_id, tries=1)
    with hook.get_conn():
        assert not loaded()
    try:
        hook.get_batch_media_producing_job("j")
    except IceError:
        pass
    assert loaded() == (conn_id == "role")
"""
    )


SOURCES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


AIRFLOW_SIDE = [
    path for path in SOURCES if len(path.parts) == 1 or path.parts[0] in {"polling", "submission"}
]


@pytest.mark.parametrize("path", AIRFLOW_SIDE, ids=str)
def test_only_airflows_public_surface_is_used(path: Path) -> None:
    public: tuple[str, ...] = ("airflow.sdk", "airflow.triggers.base")
    if path.name == "picking.py":
        public += ("airflow.providers.standard.operators.hitl",)  # what IcePickOperator is one of
    for name in imported(path):
        if name.split(".")[0] == "airflow":
            assert name.startswith(public), name
            assert not any(part.startswith("_") for part in name.split(".")), name


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    names = imported(path)
    if path.parts[0] != "plugin":
        assert not {name for name in names if name.startswith("airflow_ice.plugin")}
    if path.parts[0] not in {"emulator", "cli.py", "demo"}:
        assert not {name for name in names if name.startswith("airflow_ice.emulator")}
    if path.parts[0] == "api" or path.name in {
        "waiting.py",
        "connections.py",
        "__init__.py",
        "get_provider_info.py",
    }:
        assert not {name for name in names if name.split(".")[0] == "airflow"}
    if path.parts[0] == "submission" and path.name in {
        "identity.py",
        "record.py",
        "request.py",
        "decide.py",
    }:
        pure = ("airflow_ice.api", "airflow_ice.submission", "airflow_ice.waiting")
        ours = {name for name in names if name.startswith("airflow")}
        assert all(name.startswith(pure) for name in ours), ours
        assert not names & {"time", "asyncio", "httpx", "logging"}
    if path.name == "waiting.py":
        assert not names & {"time", "asyncio", "httpx", "datetime"}
    if path.parts[0] in {"polling", "hooks.py", "connections.py", "waiting.py", "results.py"}:
        assert not {name for name in names if name.startswith("airflow_ice.triggers")}
    if path.parts[0] in {"hooks.py", "connections.py", "waiting.py"}:
        assert not {name for name in names if name.startswith("airflow_ice.polling")}
    if path.name not in {"sensors.py", "operators.py", "transfers.py"}:
        assert not {
            name
            for name in names
            if name.startswith(
                ("airflow_ice.sensors", "airflow_ice.operators", "airflow_ice.transfers")
            )
        }


ROOMS = ("", "wire", "engine", "media", "model")  # the doors first; each may use those behind it
EMULATOR_FILES = [path for path in SOURCES if path.parts[0] == "emulator"]


def room(parts: Sequence[str]) -> str:
    return parts[0] if parts and parts[0] in ROOMS else ""


@pytest.mark.parametrize("path", EMULATOR_FILES, ids=str)
def test_the_rooms_of_the_emulator_import_one_way(path: Path) -> None:
    inside = room(path.parts[1:-1])
    for name in imported(path):
        if name.startswith("airflow_ice.emulator"):
            used = room(name.split(".")[2:])
            assert ROOMS.index(used) >= ROOMS.index(inside), f"{path} imports {name}"
        elif name.startswith("airflow") and name != "airflow_ice.api":  # from it, not all of it
            allowed = (
                "airflow_ice.api.signature",
                "airflow_ice.api.models",
                "airflow_ice.api.errors",
            )
            assert name.startswith(allowed), f"{path} imports {name}"


def test_each_file_of_the_emulator_is_in_a_room_or_is_a_door() -> None:
    doors = {path.name for path in EMULATOR_FILES if len(path.parts) == 2}
    assert doors == {
        "__init__.py",
        "banner.py",
        "control.py",
        "emulator.py",
        "local.py",
        "server.py",
    }
    assert {path.parts[1] for path in EMULATOR_FILES if len(path.parts) == 3} == set(ROOMS[1:])
