"""The cache between the page and ICE: who looks, and how often ICE is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Self

import pytest

from airflow_ice.api.errors import IceUnavailableError
from airflow_ice.api.models import (
    BatchMediaProducingJob,
    MediaFile,
    MediaInfo,
    MediaProducingJob,
    SubJob,
)
from airflow_ice.plugin import service
from airflow_ice.plugin.service import (
    DETAILS_A_POLL,
    INTERVAL,
    KEPT,
    MOST_JOBS,
    Batches,
    Cache,
)
from airflow_ice.plugin.tasks import Account, JobRef

REF = JobRef("j1", Account("ice_default"))


class FakeHook:
    """ICE, and a count of what it was asked."""

    def __init__(self, subs: int = 2, status: str = "Processing") -> None:
        self.asked: list[str] = []
        self.down = False
        state = "Success" if status == "Finished" else "Processing"
        self.job = BatchMediaProducingJob(
            "j1",
            status=status,
            sub_jobs=tuple(SubJob(n, f"s{n}", media_id=f"m{n}", status=state) for n in range(subs)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def aget_batch_media_producing_job(self, job_id: str) -> BatchMediaProducingJob:
        self.asked.append("job")
        await asyncio.sleep(0)
        if self.down:
            raise IceUnavailableError("down")
        return self.job

    async def aget_media_producing_job(self, job_id: str) -> MediaProducingJob:
        self.asked.append(job_id)
        return MediaProducingJob(job_id, progress=50, sub_job_materials='{"Title": "Now open"}')

    async def aget_media_info(self, media_id: str) -> MediaInfo:
        self.asked.append(media_id)
        file = MediaFile(file_type="source_file", file_size=9, width=320, height=180)
        return MediaInfo(media_id, status="Normal", files=(file,))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hooked(monkeypatch: pytest.MonkeyPatch, hook: FakeHook) -> FakeHook:
    monkeypatch.setattr(service, "IceHook", lambda *arguments, **named: hook)
    return hook


async def test_ten_tabs_cost_one_poll_an_interval(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook()), Batches(clock)
    for expected in (1, 2):
        await asyncio.gather(*(batches.state(REF) for _ in range(10)))
        assert hook.asked.count("job") == expected
        clock.now += INTERVAL


async def test_an_ended_job_is_asked_for_no_more(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook(status="Finished")), Batches(clock)
    state = await batches.state(REF)
    assert state.settled
    assert state.details["s0"].size == 9
    assert state.details["s0"].title == "Now open"
    clock.now += KEPT - 1
    await batches.state(REF)
    assert hook.asked.count("job") == 1


async def test_a_large_batch_is_read_a_few_sub_jobs_at_a_time(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook(subs=DETAILS_A_POLL + 2)), Batches(clock)
    await batches.state(REF)
    assert len(hook.asked) == 1 + DETAILS_A_POLL
    clock.now += INTERVAL
    hook.asked.clear()
    state = await batches.state(REF)
    # Those that were never read come first.
    assert {f"s{DETAILS_A_POLL}", f"s{DETAILS_A_POLL + 1}"} <= set(hook.asked)
    assert len(state.details) == DETAILS_A_POLL + 2


async def test_an_outage_keeps_what_was_seen_and_says_so(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook()), Batches(clock)
    await batches.state(REF)
    hook.down = True
    clock.now += INTERVAL
    state = await batches.state(REF)
    assert state.job is hook.job
    assert state.problem is not None
    assert state.problem["title"] == "ICE is down"
    await batches.state(REF)
    assert hook.asked.count("job") == 2  # ten tabs do not beat on a service that is down
    hook.down = False
    clock.now += 60
    assert (await batches.state(REF)).problem is None


async def test_an_overview_asks_for_no_sub_job(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook()), Batches(clock)
    await batches.overview(REF)
    assert hook.asked == ["job"]


async def test_media_that_is_not_ready_is_read_again(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    hook, batches = hooked(monkeypatch, FakeHook(subs=1, status="Finished")), Batches(clock)

    async def preparing(media_id: str) -> Any:
        return replace(MediaInfo(media_id), status="Preparing")

    ready = hook.aget_media_info
    monkeypatch.setattr(hook, "aget_media_info", preparing)
    assert not (await batches.state(REF)).settled
    monkeypatch.setattr(hook, "aget_media_info", ready)
    clock.now += INTERVAL
    assert (await batches.state(REF)).settled


async def test_the_cache_is_bounded() -> None:
    cache: Cache[int, int] = Cache(lambda: 0.0)
    reads = 0

    async def read(last: int | None) -> tuple[int, float]:
        nonlocal reads
        reads += 1
        return reads, 1.0

    for key in range(MOST_JOBS + 1):
        await cache.get(key, read)
    await cache.get(MOST_JOBS, read)
    assert reads == MOST_JOBS + 1
    await cache.get(0, read)  # used longest ago, so it went
    assert reads == MOST_JOBS + 2
