"""The actions as methods: every action in both colours, and lists that go on to the last page."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import pytest

from airflow_ice.api import operations
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.errors import IceInputError, IceTransportError
from airflow_ice.api.models import BatchMediaProducingJob, BatchMediaProducingJobPage, MediaInfo
from airflow_ice.api.operations import Operation

T = TypeVar("T")
ACTIONS = [
    name
    for name, found in vars(operations).items()
    if inspect.isfunction(found)
    and not name.startswith("_")
    and found.__module__ == operations.__name__
    if name != "list_job_states"  # a glance at what list_batch_media_producing_jobs reads whole
]


class Recorder(Calls, AsyncCalls):
    """Keeps what it is asked to call, and answers with what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.called: list[Operation[Any]] = []
        self.answers = list(answers)

    def call(self, operation: Operation[T]) -> T:
        self.called.append(operation)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        value: T = answer
        return value

    async def acall(self, operation: Operation[T]) -> T:
        return self.call(operation)


def page(token: str | None, *job_ids: str) -> BatchMediaProducingJobPage:
    return BatchMediaProducingJobPage(
        tuple(BatchMediaProducingJob(job_id) for job_id in job_ids), token
    )


PAGES = (page("t1", "a", "b"), page("t2"), page(None, "c"))


def test_every_action_is_a_method_in_both_colours() -> None:
    assert ACTIONS
    for name in ACTIONS:
        assert callable(getattr(Calls, name))
        assert callable(getattr(AsyncCalls, f"a{name}"))


@pytest.mark.parametrize("name", [name for name in ACTIONS if not name.startswith("list")])
def test_a_method_looks_like_its_description(name: str) -> None:
    description = inspect.signature(getattr(operations, name))
    for method in (getattr(Calls, name), getattr(AsyncCalls, f"a{name}")):
        assert list(inspect.signature(method).parameters.values())[1:] == list(
            description.parameters.values()
        )
        assert method.__doc__ == getattr(operations, name).__doc__
    assert getattr(Calls, name).__name__ == name
    assert getattr(AsyncCalls, f"a{name}").__name__ == f"a{name}"
    assert inspect.iscoroutinefunction(getattr(AsyncCalls, f"a{name}"))


def test_a_method_calls_its_description() -> None:
    answer = BatchMediaProducingJob("J")
    recorder = Recorder(answer)
    assert recorder.get_batch_media_producing_job("J") is answer
    assert (recorder.called[0].action, recorder.called[0].query) == (
        "GetBatchMediaProducingJob",
        {"JobId": "J"},
    )


async def test_an_async_method_calls_its_description() -> None:
    answer = MediaInfo("M")
    recorder = Recorder(answer)
    assert await recorder.aget_media_info(media_id="M", auth_timeout=60) is answer
    assert recorder.called[0].query == {"MediaId": "M", "AuthTimeout": "60"}


async def test_bad_arguments_are_refused_without_a_call() -> None:
    recorder = Recorder()
    with pytest.raises(IceInputError):
        recorder.get_batch_media_producing_job("")
    with pytest.raises(IceInputError):
        await recorder.aget_batch_media_producing_job("")
    assert recorder.called == []


async def collected(recorder: Recorder, colour: str, **filters: Any) -> list[str]:
    if colour == "sync":
        return [job.job_id for job in recorder.list_batch_media_producing_jobs(**filters)]
    return [job.job_id async for job in recorder.alist_batch_media_producing_jobs(**filters)]


@pytest.mark.parametrize("colour", ["sync", "async"])
class TestList:
    async def test_all_pages_are_read_with_the_same_filters(self, colour: str) -> None:
        recorder = Recorder(*PAGES)
        assert await collected(recorder, colour, status="Finished", page_size=2) == ["a", "b", "c"]
        filters = {"Status": "Finished", "MaxResults": "2"}
        assert [operation.query for operation in recorder.called] == [
            filters,
            {**filters, "NextToken": "t1"},
            {**filters, "NextToken": "t2"},
        ]

    async def test_a_page_is_asked_for_only_when_it_is_needed(self, colour: str) -> None:
        recorder = Recorder(*PAGES)
        if colour == "sync":
            jobs: Iterator[BatchMediaProducingJob] = recorder.list_batch_media_producing_jobs()
            assert recorder.called == []
            assert next(jobs).job_id == "a"
            assert next(jobs).job_id == "b"
        else:
            ajobs: AsyncIterator[BatchMediaProducingJob] = (
                recorder.alist_batch_media_producing_jobs()
            )
            assert recorder.called == []
            assert (await anext(ajobs)).job_id == "a"
            assert (await anext(ajobs)).job_id == "b"
        assert len(recorder.called) == 1

    async def test_a_page_that_names_itself_as_the_next_is_the_last(self, colour: str) -> None:
        recorder = Recorder(page("t", "a"), page("t", "b"), page("t", "c"))
        assert await collected(recorder, colour) == ["a", "b"]

    @pytest.mark.parametrize("length", [2, 3])
    async def test_pages_that_name_each_other_in_a_circle_end(
        self, colour: str, length: int
    ) -> None:
        pages = [page(f"t{number % length}", f"job-{number}") for number in range(50)]
        recorder = Recorder(*pages)
        assert len(await collected(recorder, colour)) == length + 1

    async def test_a_job_that_shifts_to_the_next_page_comes_once(self, colour: str) -> None:
        # A job submitted between two pages pushes the last row of the first one to the second.
        recorder = Recorder(page("t1", "a", "b"), page("t2", "b", "c"), page(None, "c", "d"))
        assert await collected(recorder, colour) == ["a", "b", "c", "d"]
        again = Recorder(page(None, "a"), page(None, "a"))
        assert [await collected(again, colour) for _ in range(2)] == [["a"], ["a"]]

    async def test_an_empty_list(self, colour: str) -> None:
        assert await collected(Recorder(page(None)), colour) == []

    async def test_filters_that_cannot_be_are_refused_at_once(self, colour: str) -> None:
        recorder = Recorder()
        with pytest.raises(IceInputError):
            recorder.list_batch_media_producing_jobs(page_size=0)
        with pytest.raises(IceInputError):
            recorder.alist_batch_media_producing_jobs(page_size=0)
        assert recorder.called == []

    async def test_an_error_comes_after_what_was_read(self, colour: str) -> None:
        recorder = Recorder(page("t1", "a"), IceTransportError("broken"))
        with pytest.raises(IceTransportError):
            await collected(recorder, colour)
        assert len(recorder.called) == 2
