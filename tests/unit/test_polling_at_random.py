"""Random faults of List and Get, edits, throttling, clock jumps and bursts: what must hold.

Two invariants. A job that has ended is told within three intervals, or what the rate allows, of the
moment from which Get works. And no wait ends wrong: neither by what its job is not, nor by the
clock before a poll has judged.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st

from airflow_ice.api.errors import IceError, IceJobFailedError, IceTimeoutError, IceTransportError
from airflow_ice.waiting import GiveUp, JobFinished, PollOutcome, TimedOut
from tests.polling_world import GET, LIST, REQUEST_BOUND, World, refused
from tests.virtual_time import run_virtually

RATE = 10.0
EXAMPLES = int(os.environ.get("AIRFLOW_ICE_EXAMPLES", "150"))

FAULTS: dict[str, Callable[[str], BaseException | float]] = {
    "down": lambda action: IceTransportError("no connection", action=action),
    "time-out": lambda action: IceTimeoutError("no complete reply", action=action),
    "tls": lambda _: ssl.SSLError("record layer failure"),
    "bug": lambda _: ZeroDivisionError("a fault of ours"),
    "throttled": lambda action: refused(action, "Throttling.User"),
    "5xx": lambda action: refused(action, "InternalError", 500),
    "slow": lambda _: 6.0,
    "refused": lambda action: refused(action, "InvalidAccessKeyId.Inactive"),
    "forbidden": lambda action: refused(action, "Forbidden.RAM", 403),
}
OF_CREDENTIALS = {"refused", "forbidden"}


@dataclass
class Phase:
    """A time in which an action fails, for all jobs or for some."""

    action: str
    kind: str
    begins: float
    lasts: float
    every: int = 1
    """Only jobs whose number can be divided by this."""

    @property
    def ends(self) -> float:
        return self.begins + self.lasts

    def hits(self, action: str, number: int, at: float) -> bool:
        return (
            action == self.action
            and self.begins <= at < self.ends
            and (action == LIST or number % self.every == 0)
        )


@dataclass
class One:
    """One wait and its job."""

    ends: float
    outcome: str
    interval: float
    limit: float
    joins: float
    listed: bool
    number: int = 0
    told: PollOutcome | None = None
    told_at: float = 0.0


@dataclass
class Story:
    """Everything that happens."""

    ones: list[One]
    phases: list[Phase]
    jumps: list[tuple[float, float]] = field(default_factory=list)
    others: int = 0
    list_takes: float = 0.05

    def fault(self, world: World) -> Callable[[str, str], BaseException | float | None]:
        def meet(action: str, job_id: str) -> BaseException | float | None:
            number = int(job_id.rpartition("-")[2] or 0) if job_id else 0
            for phase in self.phases:
                if phase.hits(action, number, world.passed):
                    return FAULTS[phase.kind](action)
            return self.list_takes if action == LIST else None

        return meet

    def phases_of(self, one: One) -> Iterator[Phase]:
        for phase in self.phases:
            if phase.action == GET and one.number % phase.every == 0:
                yield phase


seconds = st.sampled_from([0.0, 1.0, 7.0, 20.0, 40.0, 90.0, 200.0])


def phases() -> st.SearchStrategy[Phase]:
    return st.builds(
        Phase,
        action=st.sampled_from([GET, LIST, LIST]),
        kind=st.sampled_from(sorted(FAULTS)),
        begins=st.floats(0, 250),
        lasts=st.sampled_from([0.5, 5.0, 30.0, 50.0, 200.0]),
        every=st.sampled_from([1, 1, 1, 2, 3]),
    )


def ones() -> st.SearchStrategy[One]:
    return st.builds(
        One,
        ends=st.one_of(st.floats(0, 300), st.sampled_from([60.0, 100.0])),
        outcome=st.sampled_from(["Finished", "Finished", "Finished", "Failed"]),
        interval=st.sampled_from([2.0, 5.0, 10.0, 10.0, 30.0, 120.0]),
        limit=st.sampled_from([50.0, 150.0, 1e5, 1e5]),
        joins=st.sampled_from([0.0, 0.0, 0.0, 20.0, 130.0]),
        listed=st.sampled_from([True, True, True, True, False]),
    )


stories = st.builds(
    Story,
    ones=st.lists(ones(), min_size=1, max_size=24),
    phases=st.lists(phases(), max_size=4),
    others=st.sampled_from([0, 0, 0, 150, 3000]),
    list_takes=st.sampled_from([0.0, 0.05, 0.05, 3.0]),
    jumps=st.one_of(
        st.just([]),
        st.lists(st.tuples(st.floats(0, 200), st.sampled_from([-3600.0, 3600.0])), max_size=2),
    ),
)


async def play(story: Story) -> World:
    """Let a story happen, and note what each wait was told and when."""
    world = World(per_second=RATE)
    world.ice.takes = 0.02
    world.ice.others = story.others
    world.ice.fault = story.fault(world)
    for number, one in enumerate(story.ones):
        one.number = number
        world.job(f"job-{number}", ends_in=one.ends, outcome=one.outcome, listed=one.listed)

    async def wait(one: One) -> None:
        await world.until(one.joins)
        if story.jumps:
            one.limit = 1e5  # a clock that jumps over deadlines is another story
        name = f"job-{one.number}"
        one.told, one.told_at = await world.wait(name, one.interval, one.limit)

    async def jump(at: float, by: float) -> None:
        await world.until(at)
        world.skew += by

    jumping = [asyncio.create_task(jump(at, by)) for at, by in story.jumps]
    await asyncio.gather(*map(wait, story.ones))
    for each in jumping:
        each.cancel()
    await asyncio.sleep(0.01)
    return world


def allowance(story: Story, one: One) -> float:
    """Return the seconds that a wait may hear late: three intervals, and what the rate takes."""
    each_once = len(story.ones) / RATE
    slow = REQUEST_BOUND if any(phase.kind == "slow" for phase in story.phases_of(one)) else 0.0
    # Where some jobs are refused and others are not, a probe may meet the wrong ones.
    some = any(phase.every > 1 and phase.action == GET for phase in story.phases)
    probes = 6 * one.interval if some else 0.0
    return 3 * one.interval + 3 * each_once + slow + probes + 2.0


def works_from(story: Story, one: One) -> float:
    """Return the moment from which Get works for a job that has ended, long enough to tell it."""
    moment = max(one.ends, one.joins)
    moved = True
    while moved:
        moved = False
        for phase in story.phases_of(one):
            if phase.kind == "slow":
                continue
            # A request that was sent in the phase and is never answered takes its time.
            ends = phase.ends + (REQUEST_BOUND if phase.kind == "time-out" else 0.0)
            if phase.begins < moment + allowance(story, one) and ends > moment:
                moment, moved = ends, True
    return moment


def refused_for_long(story: Story, one: One, by: float) -> bool:
    """Tell whether a wait may have given up: its job was refused, for a minute in all.

    A poll between two phases may have failed for another reason, and a wait that is held back hears
    of the refusals of others: they count as one.
    """
    own = [phase for phase in story.phases_of(one) if phase.kind in OF_CREDENTIALS]
    times = [
        (phase.begins, phase.ends)
        for phase in story.phases
        if phase.action == GET and phase.kind in OF_CREDENTIALS and phase.begins < by
    ]
    began = min((phase.begins for phase in own), default=by)
    return began < by and max(ends for _, ends in times) - min(min(times)[0], began) >= 55


def check(story: Story, one: One) -> None:
    told, at = one.told, one.told_at
    deadline = one.joins + one.limit
    if isinstance(told, JobFinished):
        assert one.outcome == "Finished"
        assert at >= one.ends
    elif isinstance(told, GiveUp) and isinstance(told.error, IceJobFailedError):
        assert one.outcome == "Failed"
        assert at >= one.ends
        assert told.error.code == "InvalidMaterial.NotFound"
    elif isinstance(told, GiveUp):
        assert refused_for_long(story, one, at), told
    else:
        assert isinstance(told, TimedOut)
        assert at >= deadline - 0.01
        # The last failure may be old news: another poll comes first, and may take its time.
        assert at <= deadline + 60 + allowance(story, one) + 3 * REQUEST_BOUND
        failing = any(
            phase.begins <= at and phase.ends >= deadline - REQUEST_BOUND
            for phase in story.phases_of(one)
        )
        assert failing or one.ends >= deadline - REQUEST_BOUND, (
            "timed out although the job had ended"
        )
        return
    if not (isinstance(told, GiveUp) and not isinstance(told.error, IceJobFailedError)):
        assert at <= works_from(story, one) + allowance(story, one), (at, works_from(story, one))


def a_probe_that_hangs() -> Story:
    """The service is back while the one poll that probes it still waits for a reply."""
    ones = [One(0.0, "Finished", 2.0, 50.0, 0.0, listed=True) for _ in range(2)]
    phases = [Phase(GET, "time-out", 0.0, 5.0, every=2), Phase(GET, "5xx", 0.0, 5.0)]
    return Story(ones, phases, list_takes=0.0)


def refused_one_by_one() -> Story:
    """Every other job is refused: each of them may be the first to tell, and none holds up
    others."""
    ones = [One(0.0, "Finished", 2.0, 50.0, 0.0, listed=True) for _ in range(16)]
    return Story(ones, [Phase(GET, "forbidden", 0.0, 30.0, every=2)], list_takes=3.0)


def probed_in_doubt() -> Story:
    """A wait whose key is refused for 50 s is the one that is probed, and the clock jumps."""
    one = One(20.2, "Finished", 2.0, 1e5, 0.0, listed=True)
    other = One(64.5, "Finished", 5.0, 1e5, 0.0, listed=True)
    phases = [Phase(GET, "refused", 0.0, 50.0, every=2), Phase(GET, "5xx", 46.0, 50.0, every=2)]
    return Story(
        [one, replace(other, joins=130.0, interval=30.0), other],
        phases,
        [(46.0, 3600.0)],
        others=3000,
    )


@given(story=stories)
@example(story=probed_in_doubt())
@example(story=refused_one_by_one())
@example(story=a_probe_that_hangs())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # Shrinking takes minutes.
    phases=[Phases.explicit, Phases.reuse, Phases.generate],
)
def test_each_wait_hears_in_time_and_none_ends_wrong(story: Story) -> None:
    async def run() -> None:
        world = await play(story)
        for one in story.ones:
            check(story, one)
        # Nothing is left behind, and the limit was kept.
        assert (world.ice.open_now, world.ice.under_way) == (0, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(world.ice.asked) <= RATE * (world.passed + 2)

    run_virtually(run())


def test_a_story_is_told_apart_from_a_wrong_one() -> None:
    """The checks themselves fail where a wait was told wrong or late."""
    one = One(50.0, "Finished", 10.0, 1e5, 0.0, listed=True)
    story = Story([one], [Phase(GET, "down", 40.0, 30.0)])
    assert works_from(story, one) == 70.0
    wrong: list[tuple[Any, float]] = [
        (JobFinished("job-0"), 49.0),
        (JobFinished("job-0"), 70.0 + allowance(story, one) + 1),
        (TimedOut("late"), 60.0),
        (GiveUp(IceError("refused")), 60.0),
        (GiveUp(IceJobFailedError("failed", job_id="job-0")), 60.0),
    ]
    for one.told, one.told_at in wrong:
        try:
            check(story, one)
        except AssertionError:
            continue
        raise AssertionError(f"not noticed: {one}")
