"""The lines of thousands of waits come so many a second, each whole and in its own log."""

from __future__ import annotations

import asyncio
import contextvars
import time
from dataclasses import dataclass, field
from typing import Any

from airflow_ice.connections import IceConnection, read_connection
from airflow_ice.polling.lines import AT_ONCE, LINES_A_SECOND, Lines, PacedLog
from airflow_ice.polling.registry import Registry
from airflow_ice.waiting import JobFinished, PollOutcome, Wait
from tests.polling_world import World
from tests.virtual_time import virtual_time

task: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="nobody")


@dataclass
class Log:
    """What was written, when and in whose context."""

    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def info(self, message: str, /, *args: Any) -> None:
        now = asyncio.get_running_loop().time()
        self.lines.append((now, message % args, task.get()))

    warning = info


def most_within_a_second(moments: list[float]) -> int:
    return max(sum(begin <= at < begin + 1 for at in moments) for begin in moments)


@virtual_time
async def test_a_few_lines_are_written_at_once() -> None:
    log, lines = Log(), Lines()
    for number in range(AT_ONCE):
        PacedLog(log, lines).info("%d", number)
    assert [text for _, text, _ in log.lines] == [str(number) for number in range(AT_ONCE)]


@virtual_time
async def test_many_lines_come_in_turn_and_in_their_own_context() -> None:
    log, lines = Log(), Lines()
    for number in range(1000):
        context = contextvars.copy_context()
        context.run(task.set, f"task {number}")
        paced = PacedLog(log, lines)
        context.run(paced.info, "%d begins", number)
        context.run(paced.warning, "%d goes on", number)
    await asyncio.sleep(2000 / LINES_A_SECOND)
    assert len(log.lines) == 2000
    assert most_within_a_second([at for at, _, _ in log.lines]) <= AT_ONCE + LINES_A_SECOND + 1
    assert all(text.split()[0] == whose.split()[1] for _, text, whose in log.lines)
    by_task: dict[str, list[str]] = {}
    for _, text, whose in log.lines:
        by_task.setdefault(whose, []).append(text.partition(" ")[2])
    assert all(texts == ["begins", "goes on"] for texts in by_task.values())


class Broken(Log):
    """A log that is gone."""

    def info(self, message: str, /, *args: Any) -> None:
        raise BrokenPipeError("gone")

    warning = info


@virtual_time
async def test_a_log_that_cannot_be_written_holds_up_no_other() -> None:
    log, lines = Log(), Lines()
    for number in range(AT_ONCE + 1):
        PacedLog(log, lines).info("%d", number)
    PacedLog(Broken(), lines).info("lost")
    PacedLog(log, lines).info("kept")
    await asyncio.sleep(1)
    assert log.lines[-1][1] == "kept"


class Waits:
    """Waits of a triggerer, through the registry, each with a log."""

    def __init__(self, count: int, log: type[Log] = Log) -> None:
        self.world = World()
        self.logs = [log() for _ in range(count)]
        for number in range(count):
            self.world.job(f"job-{number}", ends_in=100)
        self.registry = Registry(self._read, lambda conn_id, connection: self.world.ice.open)
        self.tasks = [
            asyncio.create_task(self._wait(number), context=contextvars.Context())
            for number in range(count)
        ]

    async def _read(self, ice_conn_id: str, region_id: str | None) -> IceConnection:
        return read_connection(
            login="testid", password="testsecret", host=None, extra={"region_id": "cn-shanghai"}
        )

    async def _wait(self, number: int) -> tuple[PollOutcome, int]:
        task.set(f"task {number}")
        now = time.time()
        wait = Wait(
            f"job-{number}",
            interval=10.0,
            started_at=now,
            deadline=now + 1e6,
            log=self.logs[number],
        )
        outcome = await self.registry.watch("ice_default", None, wait, 10.0)
        return outcome, len(self.logs[number].lines)

    @property
    def moments(self) -> list[float]:
        return sorted(at for log in self.logs for at, _, _ in log.lines)


@virtual_time
async def test_a_thousand_waits_write_in_turn_and_all_is_written_at_their_ends() -> None:
    waits = Waits(1000)
    await waits.world.until(50)
    first = waits.moments
    assert len(first) == 1000
    assert most_within_a_second(first) <= AT_ONCE + LINES_A_SECOND + 1
    for number, log in enumerate(waits.logs):
        (line,) = log.lines
        assert line[1:] == (f"Batch job job-{number} is Processing.", f"task {number}")
    for number, (outcome, lines) in enumerate(await asyncio.gather(*waits.tasks)):
        assert isinstance(outcome, JobFinished)
        # A wait that is over has written all before Airflow hears of it.
        assert lines == 2
        last = waits.logs[number].lines[1][1]
        assert last == f"Batch job job-{number} is Finished (RequestId=R)."


@virtual_time
async def test_a_log_that_cannot_be_written_loses_no_end() -> None:
    waits = Waits(200, Broken)
    outcomes = [outcome for outcome, _ in await asyncio.gather(*waits.tasks)]
    assert all(isinstance(outcome, JobFinished) for outcome in outcomes)


@virtual_time
async def test_lines_go_on_after_a_stray_cancellation() -> None:
    log, lines = Log(), Lines()
    logs = [PacedLog(log, lines) for _ in range(200)]
    for paced in logs:
        paced.info("first")
    (writing,) = (task for task in asyncio.all_tasks() if task.get_name() == "airflow-ice-lines")
    writing.cancel()
    await asyncio.sleep(1)
    for paced in logs:
        paced.info("second")
    await asyncio.sleep(10)
    assert [text for _, text, _ in log.lines] == ["first"] * 200 + ["second"] * 200


@virtual_time
async def test_waits_that_are_cancelled_keep_nothing_back_and_write_nothing_more() -> None:
    waits = Waits(1000)
    await waits.world.until(13)
    for each in waits.tasks:
        each.cancel()
    await asyncio.gather(*waits.tasks, return_exceptions=True)
    written = len(waits.moments)
    await asyncio.sleep(60)
    assert 0 < written < 1000
    assert len(waits.moments) == written
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("airflow-ice")]
