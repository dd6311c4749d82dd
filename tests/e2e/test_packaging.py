"""The wheel: what is in it, and that it installs and is discovered in an environment that has nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(folder),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_of_airflows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [entry_points] = [
            archive.read(name).decode() for name in names if name.endswith("entry_points.txt")
        ]
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("METADATA")]
    assert "airflow_ice/py.typed" in names
    assert "airflow_ice/example_dags/ice_produce_and_publish.py" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"airflow_ice"}
    assert "provider_info = airflow_ice.get_provider_info:get_provider_info" in entry_points
    assert "License-Expression: Apache-2.0" in metadata
    assert "Name: airflow-ice" in metadata


def test_the_source_distribution_holds_what_it_needs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "build",
        "--sdist",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    [built] = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    # The links of README, what `make test` reads, and the DAGs that the wheel made from it needs.
    linked = set(re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text()))
    assert "docs/graph.png" in linked
    assert linked - names == set()
    assert {
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
        "LICENSE",
        "tests/conftest.py",
        "airflow_ice/py.typed",
    } <= names


def test_the_wheel_installs_into_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        str(ROOT / "constraints.txt"),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "PYTHON"))
    }
    clean["AIRFLOW_HOME"] = str(tmp_path / "home")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *arguments], env=clean, cwd=tmp_path, capture_output=True, text=True
        )

    imported = run(
        "-c",
        "import airflow_ice.operators, airflow_ice.sensors, airflow_ice.triggers, airflow_ice.api.client",
    )
    assert imported.returncode == 0, imported.stderr
    listed = run("-m", "airflow", "providers", "hooks", "--output", "plain")
    assert "alibaba_ice" in listed.stdout, listed.stderr
    # Without the extra the command says what to install, and does not fall over.
    demo = run("-m", "airflow_ice.cli", "demo")
    assert demo.returncode == 1
    assert "pip install 'airflow-ice[emulator]'" in demo.stderr
