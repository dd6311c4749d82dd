"""The wheel and the sdist: what is in them, and that the wheel installs into an environment that
has nothing else, where Airflow discovers it."""

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


def files_of(folder: str) -> list[Path]:
    return [
        file
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and not {"__pycache__", "_build"} & set(file.parts)
    ]


def test_the_wheel_holds_the_package_and_nothing_of_airflows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [entry_points] = [
            archive.read(name).decode() for name in names if name.endswith("entry_points.txt")
        ]
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("METADATA")]
    assert "airflow_ice/py.typed" in names
    assert "airflow_ice/example_dags/ice_produce_and_publish.py" in names
    package = {
        str(file.relative_to(ROOT)) for file in files_of("airflow_ice") if file.suffix != ".pyc"
    }
    dags = {f"airflow_ice/example_dags/{file.name}" for file in (ROOT / "dags").glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == package | dags
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
        members = [member for member in archive.getmembers() if member.isfile()]
        names = {member.name.partition("/")[2] for member in members}
    folders = ("airflow_ice", "dags", "docs", "tests", ".ci")
    below = {str(file.relative_to(ROOT)) for folder in folders for file in files_of(folder)}
    assert {name for name in names if "/" in name} == below
    assert {name for name in names if "/" not in name} == {
        *("pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "PKG-INFO"),
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
        *(".gitignore", ".pre-commit-config.yaml"),
    }
    # The links of README, what `make test` reads, and the DAGs that the wheel made from it needs.
    linked = set(re.findall(r"\]\(([^):#]+)", (ROOT / "README.md").read_text()))
    assert "docs/graph.png" in linked
    assert linked - names == set()


def test_the_base_installs_no_more_than_it_needs_and_the_extra_is_the_emulator(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(name).decode().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if "Requires-Dist" in line]
    names = {
        re.split(r"[<>=;\s]", line)[0]: "extra == 'emulator'" in line.replace('"', "'")
        for line in required
    }
    assert {name for name, extra in names.items() if extra} == {
        "av",
        "starlette",
        "uvicorn",
        "rich",
    }
    assert {name for name, extra in names.items() if not extra} == {
        *("apache-airflow", "apache-airflow-providers-standard", "httpx", "httpcore"),
        *("alibabacloud-credentials", "msgspec"),
    }
    assert [line for line in lines if line.startswith("Provides-Extra")] == [
        "Provides-Extra: emulator"
    ]


def test_only_versions_that_were_run_are_claimed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = archive.read(name).decode()
    claimed = re.findall(r"Classifier: Programming Language :: Python :: (.*)", metadata)
    assert claimed == ["3.11"]
    readme = (ROOT / "README.md").read_text()
    pinned = re.findall(
        r"^apache-airflow==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    assert f"Run with Python 3.11 and Airflow {pinned[0]}; newer versions" in readme


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
        "import airflow_ice.operators, airflow_ice.sensors, airflow_ice.triggers; "
        "import airflow_ice.api.client",
    )
    assert imported.returncode == 0, imported.stderr
    listed = run("-m", "airflow", "providers", "hooks", "--output", "plain")
    assert "alibaba_ice" in listed.stdout, listed.stderr
    # Without the extra the command says what to install, and does not fall over.
    demo = run("-m", "airflow_ice.cli", "demo")
    assert demo.returncode == 1
    assert "pip install 'airflow-ice[emulator]'" in demo.stderr
