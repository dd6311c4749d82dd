"""The `airflow-ice` command: what it takes, and how it ends when something is wrong."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_ice.cli import main
from airflow_ice.demo import run
from airflow_ice.demo.local_airflow import LocalAirflowError


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Undo what the command does to this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
    [run.DemoError("task collect failed: no"), LocalAirflowError("it is ill"), OSError("disk full"), ValueError("no clips")],
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
def test_a_signal_is_an_interruption_and_counts_once(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_nohup_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(run, "run_demo", lambda *_: signal.raise_signal(signal.SIGHUP))
    assert main(["demo"]) == 0
