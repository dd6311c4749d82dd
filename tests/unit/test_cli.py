"""The `airflow-ice` command: what it takes, and how it ends when something is wrong."""

from __future__ import annotations

import logging
import re
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.cli import _parser, main
from airflow_ice.demo import run
from airflow_ice.demo.errors import DemoError, LocalAirflowError
from airflow_ice.emulator import server
from airflow_ice.emulator.model.settings import Settings


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Undo what the command does to this process."""
    logger = logging.getLogger("airflow_ice.emulator")
    level = logger.level
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    logger.setLevel(level)


@pytest.mark.parametrize("count", ["0", "101", "-1", "2.5", "many", "", "²"])
def test_a_count_that_cannot_be_is_refused_before_anything_starts(
    count: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "run_demo", lambda *_: pytest.fail("it was started"))
    with pytest.raises(SystemExit) as ended:
        main(["demo", f"--count={count}"])
    assert ended.value.code == 2
    assert "from 1 to 100" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 100])
def test_a_count_that_can_be_is_handed_on(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(run, "run_demo", lambda options, _: asked.append(options.count))
    assert main(["demo", f"--count={count}"]) == 0
    assert asked == [count]


@pytest.mark.parametrize(
    "error",
    [
        DemoError("task collect failed: no"),
        LocalAirflowError("it is ill"),
        OSError("disk full"),
        ValueError("no clips"),
    ],
)
def test_a_demo_that_fails_says_why_and_exits_with_1(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run, "run_demo", fail)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == f"airflow-ice demo failed: {error}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_and_counts_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    def wait(*_: Any) -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            cleaned.append(True)

    monkeypatch.setattr(run, "run_demo", wait)
    assert main(["demo"]) == 130
    assert cleaned == [True]


def test_an_ignored_sighup_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(run, "run_demo", lambda *_: signal.raise_signal(signal.SIGHUP))
    assert main(["demo"]) == 0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder below which temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_emulator_without_a_data_folder_leaves_none_behind(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings, announce: Callable[[Settings], None]) -> None:
        served.append(settings)
        assert settings.data_dir.parent == temporary
        (settings.data_dir / "ice.sqlite3").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", serve)
    assert main(["emulator", "--port", "0", "--no-render", "--callback-auth-key", "abc"]) == 130
    assert list(temporary.iterdir()) == []
    (settings,) = served
    assert (settings.port, settings.render, settings.callback_auth_key, settings.access_key_id) == (
        0,
        False,
        "abc",
        "testid",
    )


def test_a_data_folder_of_the_users_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "serve", lambda settings, _: (settings.data_dir / "kept").touch())
    assert main(["emulator", "--data-dir", str(tmp_path)]) == 0
    assert (tmp_path / "kept").exists()


def broken(folder: Path) -> None:
    (folder / "ice.sqlite3").write_bytes(b"this is no database" * 100)


def another_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "ice.sqlite3")) as database:
        database.execute("CREATE TABLE jobs (name TEXT)")


def a_folder(folder: Path) -> None:
    (folder / "ice.sqlite3").mkdir()


def jobs_that_cannot_be_read(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "ice.sqlite3")) as database:
        database.execute("CREATE TABLE clock (only_row INTEGER PRIMARY KEY, later TEXT)")
        database.execute("INSERT INTO clock VALUES (1, 'x')")
        database.commit()


@pytest.mark.parametrize("harm", [broken, another_database, a_folder, jobs_that_cannot_be_read])
def test_a_data_folder_that_cannot_be_used_is_named(
    harm: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(tmp_path)
    assert main(["emulator", "--port", "0", "--data-dir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("airflow-ice emulator: ")
    assert str(tmp_path) in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "arguments",
    [["--host", "example.com"], ["--callback-auth-key", "no-dashes"], ["--media-dir", "/nowhere"]],
)
def test_a_setting_that_cannot_be_is_said(
    arguments: list[str], temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emulator", *arguments]) == 1
    assert capsys.readouterr().err.startswith(
        f"airflow-ice emulator: {arguments[0][2:].replace('-', '_')}"
    )
    assert list(temporary.iterdir()) == []


def test_the_options_of_the_demo_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[run.DemoOptions] = []
    monkeypatch.setattr(run, "run_demo", lambda options, _: asked.append(options))
    assert main(["demo", "--media", "clips", "--output", "out", "--count", "7", "--keep"]) == 0
    assert main(["demo"]) == 0
    assert asked == [
        run.DemoOptions(media=Path("clips"), output=Path("out"), count=7, keep=True),
        run.DemoOptions(media=None, output=Path("demo-output"), count=4, keep=False),
    ]


COMMANDS = ("demo", "emulator")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_fits_80_columns_and_folds_no_option(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_of(command, capsys).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.endswith("-")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_with_a_value_has_a_default_and_an_example_that_works(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10000")
    text = help_of(command, capsys)
    options = re.findall(r"^  (--[a-z-]+) [A-Z]+\s+(.*)$", text, re.MULTILINE)
    assert len(options) == {"demo": 3, "emulator": 11}[command]
    for name, explained in options:
        assert "(default: " in explained
        (example,) = re.findall(r"e\.g\. (--\S+ \S+)", explained)
        assert example.startswith(f"{name} ")
        _parser().parse_args([command, *example.split()])
    _, _, examples = text.partition("examples:\n")
    assert len(examples.splitlines()) == 2
    for line in examples.splitlines():
        assert _parser().parse_args(line.split()[1:]).command == command
