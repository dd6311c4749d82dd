"""Decisions as pure functions: when to poll again, when a wait is over, and whether an outcome is
good enough."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api.errors import (
    IceAuthenticationError,
    IceCredentialsError,
    IceError,
    IceInputError,
    IceJobFailedError,
    IceJobNotFoundError,
    IcePermissionError,
    IceThrottledError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.models import BatchMediaProducingJob, JobError, SubJob
from airflow_ice.waiting import (
    CLOCK_TOLERANCE,
    DEADLINE_GRACE,
    DOUBT,
    FIRST_HEARTBEAT,
    LONGEST_ASKED_PAUSE,
    LONGEST_DOUBT_PAUSE,
    LONGEST_ERROR_PAUSE,
    LONGEST_HEARTBEAT,
    SHORTEST_PAUSE,
    GiveUp,
    JobFinished,
    PollAgain,
    TimedOut,
    Wait,
    counted,
    duration,
    is_settled,
    job_failed,
    judge,
    progress,
    required,
)

JOB_ID = "61195f35cc7d4786a0bda02390cb4587"


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []

    def info(self, message: str, /, *args: Any) -> None:
        self.infos.append(message % args)

    def warning(self, message: str, /, *args: Any) -> None:
        self.warnings.append(message % args)


def job(status: str = "Processing", **fields: Any) -> BatchMediaProducingJob:
    return BatchMediaProducingJob(job_id=JOB_ID, status=status, request_id="R-1", **fields)


def wait(log: Lines | None = None, **options: Any) -> Wait:
    known: dict[str, Any] = {
        "interval": 30.0,
        "started_at": 1000.0,
        "deadline": 5000.0,
        "draw": lambda: 0.0,
    }
    return Wait(JOB_ID, log=log or Lines(), **{**known, **options})


def sub(place: int, status: str = "Success", **fields: Any) -> SubJob:
    return SubJob(index=place, job_id=f"sub-{place}", status=status, **fields)


def seconds(outcome: object) -> float:
    assert isinstance(outcome, PollAgain), outcome
    return outcome.seconds


# What a poll means


@pytest.mark.parametrize(
    "status", ["Init", "Processing", "", "Queuing", "Success", "finished", "FINISHED"]
)
def test_only_finished_and_failed_end_a_job(status: str) -> None:
    assert isinstance(wait().on_job(job(status), 1001), PollAgain)


def test_a_finished_job_ends_the_wait_whatever_its_extend_says() -> None:
    found = job("Finished", error=JobError("InvalidMaterial.NotFound", "no such clip"))
    assert wait().on_job(found, 1001) == JobFinished(JOB_ID)


def test_a_failed_job_ends_the_wait_with_the_services_own_reason() -> None:
    outcome = wait().on_job(
        job("Failed", error=JobError("InvalidMaterial.NotFound", "no such clip")), 1001
    )
    assert isinstance(outcome, GiveUp)
    assert isinstance(outcome.error, IceJobFailedError)
    assert (outcome.error.code, outcome.error.job_id, outcome.error.request_id) == (
        "InvalidMaterial.NotFound",
        JOB_ID,
        "R-1",
    )
    assert "no such clip" in str(outcome.error)
    assert "waiting again cannot help" in str(outcome.error)


def test_a_failed_job_without_a_reason_says_so() -> None:
    assert "gives no reason" in str(job_failed(job("Failed")))


@pytest.mark.parametrize("silent_fail", [False, True])
def test_a_failed_job_ends_even_a_silent_wait(silent_fail: bool) -> None:
    assert isinstance(wait(silent_fail=silent_fail).on_job(job("Failed"), 1001), GiveUp)


@pytest.mark.parametrize(
    "error", [IceTransportError("x"), IceUnavailableError("x"), IceThrottledError("x")]
)
def test_a_poll_that_fails_for_now_is_repeated_at_any_age_of_the_wait(error: IceError) -> None:
    assert isinstance(wait().on_error(error, 4000), PollAgain)


@pytest.mark.parametrize(
    "error",
    [IceAuthenticationError("x"), IceInputError("job_id", "", "must be an id"), IceError("x")],
)
def test_an_error_that_polling_again_does_not_help_ends_a_wait_at_its_first_poll(
    error: IceError,
) -> None:
    assert wait(is_first_poll=True).on_error(error, 1000) == GiveUp(error, at_first_poll=True)
    silent = wait(is_first_poll=True, silent_fail=True)
    assert isinstance(silent.on_error(error, 1000), PollAgain)


def test_an_error_of_the_request_itself_ends_a_wait_at_any_poll() -> None:
    waiting = wait()
    waiting.on_job(job(), 1000)
    error = IceError("x")
    assert waiting.on_error(error, 1030) == GiveUp(error)


DOUBTFUL = [
    IceAuthenticationError("x"),
    IceCredentialsError("x"),
    IcePermissionError("x"),
    IceJobNotFoundError("x"),
    IceInputError("region_id", "", "must be a region"),
]


@pytest.mark.parametrize("error", DOUBTFUL, ids=lambda error: type(error).__name__)
def test_a_doubtful_error_ends_a_wait_when_it_has_lasted_a_minute(error: IceError) -> None:
    waiting = wait()
    waiting.on_job(job(), 1000)
    now, polls = 1030.0, 0
    while isinstance(outcome := waiting.on_error(error, now), PollAgain):
        assert outcome.same_process
        now += outcome.seconds
        polls += 1
    assert outcome == GiveUp(error)
    assert now - 1030 == pytest.approx(DOUBT)
    assert polls >= DOUBT / LONGEST_DOUBT_PAUSE


@pytest.mark.parametrize("error", DOUBTFUL, ids=lambda error: type(error).__name__)
def test_a_minute_that_a_jump_of_the_clock_makes_ends_nothing(error: IceError) -> None:
    waiting, now, paused = wait(), 1000.0, 0.0
    while isinstance(outcome := waiting.on_error(error, now), PollAgain):
        now += outcome.seconds + 3600 * (paused == 0)
        paused += outcome.seconds
    assert paused == pytest.approx(DOUBT)
    waiting, now, paused = wait(), 1000.0, 0.0
    while isinstance(outcome := waiting.on_error(error, now), PollAgain):
        now += outcome.seconds - 3600 * (paused == 0)
        paused += outcome.seconds
    assert DOUBT <= paused <= 4 * DOUBT


@pytest.mark.parametrize("error", DOUBTFUL, ids=lambda error: type(error).__name__)
def test_a_poll_that_works_ends_the_doubt(error: IceError) -> None:
    waiting = wait()
    for now in range(1000, 1055, 5):
        assert isinstance(waiting.on_error(error, now), PollAgain)
    waiting.on_job(job(), 1058)
    for now in range(1060, 1119, 5):
        assert isinstance(waiting.on_error(error, now), PollAgain)


def test_refusals_of_other_jobs_count_only_until_polls_work_again() -> None:
    waiting, now = wait(), 1000.0
    for _ in range(20):
        outcome = waiting.on_error(IcePermissionError("x"), now)
        assert isinstance(outcome, PollAgain)
        now += outcome.seconds + 10
        waiting.on_recovery()


def test_doubt_and_errors_that_pass_take_turns_and_the_doubt_goes_on() -> None:
    """A refused key behind a flaky network stays refused."""
    waiting, now = wait(draw=lambda: 0.3), 1000.0
    errors = itertools.cycle([IceAuthenticationError("x"), IceTransportError("x")])
    while isinstance(outcome := waiting.on_error(next(errors), now), PollAgain):
        now += outcome.seconds
    assert isinstance(outcome, GiveUp)
    assert isinstance(outcome.error, IceAuthenticationError)
    assert DOUBT <= now - 1000 <= 4 * DOUBT


def test_a_permission_that_is_missing_for_now_is_no_doubt() -> None:
    """Credentials that could not be had just now say nothing of the credentials."""
    waiting = wait(is_first_poll=True)
    for now in range(1000, 1500, 30):
        outcome = waiting.on_error(IceCredentialsError("x", transient=True), now)
        assert isinstance(outcome, PollAgain)
        assert not outcome.same_process


def test_an_unknown_job_is_given_time_to_become_known() -> None:
    unknown, waiting = IceJobNotFoundError("no such job"), wait()
    now = 1000.0
    while isinstance(outcome := waiting.on_error(unknown, now), PollAgain):
        now += outcome.seconds
    assert outcome == GiveUp(unknown)
    assert now == pytest.approx(1000 + DOUBT)
    patient = wait(interval=300.0, draw=lambda: 0.9)
    assert seconds(patient.on_error(unknown, 1000)) == LONGEST_DOUBT_PAUSE


# Time


def test_the_last_poll_is_at_the_deadline_itself() -> None:
    assert seconds(wait().on_job(job(), 4990)) == pytest.approx(10)
    assert isinstance(wait().on_job(job(), 5000), TimedOut)
    assert isinstance(wait().on_job(job("Finished"), 5000), JobFinished)


@pytest.mark.parametrize("before", [0.0, 60.0, 3000.0])
def test_a_poll_that_fails_at_the_deadline_is_repeated_for_a_minute(before: float) -> None:
    waiting, now, polls = wait(), 5000.0 - before, 0
    while isinstance(outcome := waiting.on_error(IceTransportError("x"), now), PollAgain):
        now += outcome.seconds
        polls += now > 5000
    assert isinstance(outcome, TimedOut)
    assert now == pytest.approx(5000 + DEADLINE_GRACE)
    assert polls >= DEADLINE_GRACE / 15
    waiting = wait()
    assert isinstance(waiting.on_error(IceTransportError("x"), 5000), PollAgain)
    assert isinstance(waiting.on_job(job("Finished"), 5010), JobFinished)
    waiting = wait()
    assert isinstance(waiting.on_error(IceTransportError("x"), 5000), PollAgain)
    assert isinstance(waiting.on_job(job(), 5010), TimedOut)


def test_a_timeout_says_what_was_seen_what_failed_and_what_happens_to_the_job() -> None:
    waiting = wait()
    waiting.on_job(job("Processing"), 1030)
    outcome = waiting.on_error(
        IceTransportError("connection refused", action="GetBatchMediaProducingJob"),
        5000 + DEADLINE_GRACE,
    )
    assert isinstance(outcome, TimedOut)
    for said in (
        JOB_ID,
        "4060 s",
        "last seen: Processing",
        "keeps running in ICE and stays billed",
        "connection refused",
    ):
        assert said in outcome.reason


def test_a_timeout_promises_no_retry_that_airflow_does_not_make() -> None:
    # Airflow does not retry AirflowSensorTimeout; the way to wait again is to clear the task.
    assert "retry" not in wait().timeout_reason(5000).lower()
    assert "Clear" in wait().timeout_reason(5000)


def test_polls_come_up_to_a_tenth_early_so_that_waits_part() -> None:
    assert seconds(wait(draw=lambda: 0.0).on_job(job(), 1000)) == pytest.approx(30)
    assert seconds(wait(draw=lambda: 0.999999).on_job(job(), 1000)) == pytest.approx(27, abs=0.01)


def test_exponential_backoff_doubles_up_to_max_wait() -> None:
    waiting, now, pauses = wait(exponential_backoff=True, max_wait=100.0, interval=10.0), 1000.0, []
    for _ in range(6):
        pauses.append(seconds(waiting.on_job(job(), now)))
        now += pauses[-1]
    assert pauses == pytest.approx([10, 20, 40, 80, 100, 100])


def test_exponential_backoff_goes_on_in_a_wait_that_was_made_anew() -> None:
    # A rescheduled sensor and a restarted trigger have a new Wait each time; the interval must not
    # fall back to the first.
    now, pauses = 1000.0, []
    for _ in range(4):
        pauses.append(seconds(wait(exponential_backoff=True, interval=10.0).on_job(job(), now)))
        now += pauses[-1]
    assert pauses == pytest.approx([10, 20, 40, 80])


def test_exponential_backoff_is_bounded_after_thousands_of_polls() -> None:
    waiting = wait(exponential_backoff=True, deadline=math.inf)
    pauses = [seconds(waiting.on_job(job(), 1000.0 + poll)) for poll in range(3000)]
    assert all(math.isfinite(pause) for pause in pauses)


def test_pauses_after_failed_polls_have_full_jitter_over_two_intervals_at_most() -> None:
    widest = wait(interval=10.0, draw=lambda: 0.999999, deadline=math.inf)
    pauses = [seconds(widest.on_error(IceTransportError("x"), 1000)) for _ in range(9)]
    assert pauses == pytest.approx([10, *[20] * 8], rel=0.001)
    slow = wait(interval=1000.0, draw=lambda: 0.999999, deadline=math.inf)
    assert seconds(slow.on_error(IceTransportError("x"), 1000)) == pytest.approx(
        LONGEST_ERROR_PAUSE, rel=0.001
    )
    shortest = wait(interval=10.0, draw=lambda: 0.0, deadline=math.inf)
    assert [
        seconds(shortest.on_error(IceTransportError("x"), 1000)) for _ in range(9)
    ] == pytest.approx([1.0] * 9)


def test_a_poll_that_works_ends_the_growth_of_error_pauses() -> None:
    waiting = wait(interval=10.0, draw=lambda: 0.999999)
    for _ in range(5):
        waiting.on_error(IceTransportError("x"), 1000)
    waiting.on_job(job(), 1000)
    assert seconds(waiting.on_error(IceTransportError("x"), 1000)) == pytest.approx(10, rel=0.001)


@pytest.mark.parametrize("asked", [0.5, 45.0, LONGEST_ASKED_PAUSE, 90.0, 1e9])
def test_what_the_service_asks_to_wait_is_added_up_to_a_minute(asked: float) -> None:
    pause = seconds(wait().on_error(IceThrottledError("x", retry_after=asked), 1000))
    honoured = min(asked, LONGEST_ASKED_PAUSE)
    assert honoured < pause <= honoured + 30


polls = st.lists(
    st.one_of(
        st.sampled_from(["Init", "Processing", "Odd", ""]),
        st.just(IceTransportError("x")),
        st.builds(
            lambda after: IceThrottledError("x", retry_after=after),
            st.one_of(st.none(), st.floats(0, 1e6)),
        ),
        st.just(IceJobNotFoundError("x")),
        st.just(IceAuthenticationError("x")),
    ),
    min_size=1,
    max_size=30,
)


@given(
    polls=polls,
    interval=st.floats(0, 1e5),
    timeout=st.floats(0, 1e7),
    exponential_backoff=st.booleans(),
    max_wait=st.one_of(st.none(), st.floats(0, 1e6)),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1),
)
def test_no_wait_is_ever_hot_or_beyond_its_deadline(
    polls: list[str | IceError],
    interval: float,
    timeout: float,
    exponential_backoff: bool,
    max_wait: float | None,
    draws: list[float],
) -> None:
    drawn, now = itertools.cycle(draws), 1_000_000.0
    deadline = now + timeout
    waiting = wait(
        interval=interval,
        started_at=now,
        deadline=deadline,
        exponential_backoff=exponential_backoff,
        max_wait=max_wait,
        silent_fail=True,
        draw=lambda: next(drawn),
    )
    for poll in polls:
        outcome = (
            waiting.on_job(job(poll), now) if isinstance(poll, str) else waiting.on_error(poll, now)
        )
        end = deadline if isinstance(poll, str) else deadline + DEADLINE_GRACE
        if end - now < CLOCK_TOLERANCE:
            assert isinstance(outcome, TimedOut)
            return
        pause = seconds(outcome)
        left = (deadline if deadline - now >= CLOCK_TOLERANCE else end) - now
        assert 0 < pause <= left
        assert pause >= min(SHORTEST_PAUSE, left)
        if deadline - now >= CLOCK_TOLERANCE:
            asked = min(getattr(poll, "retry_after", None) or 0.0, LONGEST_ASKED_PAUSE)
            assert pause >= min(asked, left)
        now += pause


# What is logged


def test_a_line_for_each_change_of_state_and_none_for_each_poll() -> None:
    log = Lines()
    waiting = wait(log)
    for poll, status in enumerate(
        ["Init", "Init", "Processing", "Processing", "Processing", "Finished"]
    ):
        waiting.on_job(job(status), 1000.0 + poll)
    assert len(log.infos) == 3
    assert [
        line
        for status in ("Init", "Processing", "Finished")
        for line in log.infos
        if f"is {status}" in line
    ] == log.infos
    assert "R-1" in log.infos[0]
    assert not log.warnings


def test_heartbeats_come_at_growing_intervals() -> None:
    log = Lines()
    waiting = wait(log, deadline=math.inf)
    beats = []
    for now in range(1000, 1000 + 4 * 3600, 10):
        before = len(log.infos)
        waiting.on_job(job(), now)
        if len(log.infos) > before and now > 1000:
            beats.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise([1000, *beats])]
    assert gaps == [
        FIRST_HEARTBEAT,
        120,
        240,
        480,
        960,
        LONGEST_HEARTBEAT,
        LONGEST_HEARTBEAT,
        *gaps[7:],
    ]
    assert set(gaps[7:]) <= {LONGEST_HEARTBEAT}
    assert log.infos[1] == f"Batch job is still Processing, 1 min (JobId={JOB_ID})."


def test_a_heartbeat_says_how_far_the_job_is() -> None:
    log = Lines()
    waiting = wait(log, deadline=math.inf)
    waiting.on_job(job(), 1000)
    subs = tuple(sub(n, "Success" if n < 35 else "Failed" if n < 37 else "") for n in range(100))
    waiting.on_job(job(sub_jobs=subs), 1000 + 12 * 60 + 5)
    assert log.infos[1] == f"37 of 100 sub-jobs done, 2 failed, 12 min (JobId={JOB_ID})."


def test_a_list_leaves_a_heartbeat_to_a_get_unless_none_comes() -> None:
    log = Lines()
    waiting = wait(log, deadline=math.inf)
    waiting.on_listed("Processing", 1000)
    assert not waiting.is_heartbeat_due(1059)
    assert waiting.is_heartbeat_due(1060)
    waiting.on_listed("Processing", 1119)
    assert len(log.infos) == 1
    waiting.on_listed("Processing", 1120)
    assert log.infos[1:] == [f"Batch job is still Processing, 2 min (JobId={JOB_ID})."]
    assert not waiting.is_heartbeat_due(1121)


def test_a_wait_that_continues_says_no_state_again_and_keeps_the_heartbeats() -> None:
    beats = []
    for now in range(1030, 1000 + 3600, 30):  # each poll is a process of its own
        log = Lines()
        wait(log, deadline=math.inf, interval=30, continues=True).on_job(job(), now)
        beats += [now] * bool(log.infos)
    firsts = [at for at in beats if at - 30 not in beats]
    assert firsts == [1060, 1180, 1420, 1900, 2860]
    assert len(beats) <= 2 * len(firsts)
    log = Lines()
    wait(log, continues=True).on_job(job("Finished"), 1090)
    assert "is Finished" in log.infos[0]


def test_a_line_on_a_failed_poll_is_short() -> None:
    log = Lines()
    error = IceUnavailableError(
        "the service is down", code="E", http_status=503, request_id="R-1", recommend="https://x"
    )
    waiting = wait(log, deadline=math.inf)
    for now in range(1000, 1008):
        waiting.on_error(error, now)
    assert [line.split(", next one")[0] for line in log.warnings] == [
        "Poll failed",
        *(f"Poll failed {times} times in a row" for times in (2, 4, 8)),
    ]
    facts = f"(JobId={JOB_ID}, Code=E, HTTP status=503, RequestId=R-1)"
    for line in log.warnings:
        assert line.endswith(f"{error.happened()}. {facts}")
        assert len(line) < 200
    assert "https://x" in str(error)
    assert "https://x" not in error.brief()


def test_an_unknown_state_is_warned_of_once() -> None:
    log = Lines()
    waiting = wait(log)
    for poll in range(5):
        waiting.on_job(job("Paused"), 1000.0 + poll)
    assert len(log.warnings) == 1
    assert "'Paused'" in log.warnings[0]


def test_a_failed_poll_is_logged_with_its_cause_and_when_the_next_one_comes() -> None:
    log = Lines()
    wait(log).on_error(IceTransportError("connection refused"), 1000)
    assert "connection refused" in log.warnings[0]
    assert "next one within" in log.warnings[0]


def test_an_error_of_a_finished_job_is_reported_without_signed_urls() -> None:
    log = Lines()
    wait(log).on_job(
        job("Finished", error=JobError("E", "http://b.oss/x.mp4?Signature=abc&Expires=1")), 1000
    )
    assert "reports an error" in log.warnings[0]
    assert "abc" not in log.warnings[0]


def test_progress_counts_the_sub_jobs_that_are_done() -> None:
    assert progress(job()) == ""
    found = job(sub_jobs=(sub(0), sub(1, "Failed"), sub(2), sub(3, "")))
    assert progress(found) == "3 of 4 sub-jobs done, 1 failed"
    assert progress(job(sub_jobs=(sub(0, "Init"),))) == "0 of 1 sub-job done"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (7199, "1 h 59 min"), (7200, "2 h 0 min")],
)
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "no clips"), (1, "1 clip"), (2, "2 clips")])
def test_things_are_counted_in_english(number: int, words: str) -> None:
    assert counted(number, "clip") == words


# Whether it is good enough


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        ("all", "all"),
        ("any", "any"),
        (1, 1),
        (7, 7),
        (0.5, 0.5),
        (1.0, 1.0),
        ("3", 3),
        ("0.8", 0.8),
        (".5", 0.5),
        ("1.0", 1.0),
    ],
)
def test_requirements_may_be_rendered_text(given_value: Any, expected: Any) -> None:
    found = required(given_value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        0.0,
        1.5,
        2.0,
        -0.5,
        math.nan,
        math.inf,
        True,
        False,
        None,
        ["all"],
        {"all": 1},
        {"all"},
        ("any",),
        b"all",
        "",
        "0",
        "-2",
        "1.5",
        "most",
        "All",
        "nan",
        "50%",
        "0.0",
    ],
)
def test_what_is_no_requirement_is_refused(value: object) -> None:
    with pytest.raises(IceInputError, match="require"):
        required(value)


@pytest.mark.parametrize(
    ("require", "enough"),
    [
        ("all", False),
        ("any", True),
        (1, True),
        (2, True),
        (3, False),
        (0.5, True),
        (0.66, True),
        (0.67, False),
        (1.0, False),
    ],
)
def test_two_good_of_three(require: Any, enough: bool) -> None:
    outcome = judge(
        job("Finished", sub_jobs=(sub(0), sub(1, "Failed", error_code="ProduceFailed"), sub(2))),
        require,
    )
    assert outcome.enough is enough
    assert bool(outcome.reason) is not enough
    if not enough:
        assert "2 of the 3" in outcome.reason
        assert "ProduceFailed" in outcome.reason


@given(share=st.integers(1, 100), total=st.integers(1, 100))
def test_a_share_asks_for_no_more_than_it_says(share: int, total: int) -> None:
    needed = max(1, -(-share * total // 100))
    for good, enough in ((needed, True), (needed - 1, False)):
        rows = tuple(sub(place, "Success" if place < good else "Failed") for place in range(total))
        assert judge(job("Finished", sub_jobs=rows), share / 100).enough is enough


def test_rows_are_ordered_by_index_and_status_decides() -> None:
    rows = (
        sub(10),
        sub(2, error_code="InvalidMaterial.NotFound"),
        sub(7, "Failed"),
        sub(1, "Processing"),
        sub(0, "Strange"),
    )
    outcome = judge(job("Finished", sub_jobs=rows), "any")
    assert [row.index for row in outcome.good] == [2, 10]
    assert [row.index for row in outcome.bad] == [0, 1, 7]


@pytest.mark.parametrize("require", ["all", "any", 1, 0.1])
def test_a_finished_job_without_sub_jobs_has_made_no_video(require: Any) -> None:
    outcome = judge(job("Finished", job_type="Script"), require)
    assert not outcome.enough
    assert "made no video" in outcome.reason


@pytest.mark.parametrize(
    ("output", "enough"),
    [
        ('{"items": [1]}', True),
        ("[1]", True),
        ("{}", False),
        ("", False),
        (None, False),
        ("not json", False),
    ],
)
def test_a_selection_is_judged_by_its_result(output: str | None, enough: bool) -> None:
    found = job("Finished", job_type="Smart_Mix_Media_Select", extend_output=output)
    assert judge(found, "all").enough is enough
    assert is_settled(found) is enough


@pytest.mark.parametrize(
    ("rows", "settled"),
    [
        ((), False),
        ((sub(0), sub(1, "Processing")), False),
        ((sub(0), sub(1, "Odd")), False),
        ((sub(0), sub(1, "Failed")), True),
        ((sub(0),), True),
    ],
)
def test_a_finished_job_is_settled_once_every_sub_job_has_ended(
    rows: tuple[SubJob, ...], settled: bool
) -> None:
    assert is_settled(job("Finished", sub_jobs=rows)) is settled


def test_a_failed_job_is_settled_as_it_is() -> None:
    assert is_settled(job("Failed"))
