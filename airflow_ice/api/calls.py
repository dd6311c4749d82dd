"""The actions as methods, written once for whoever can make a call.

`Calls` gives every action as a blocking method to a class that has `call`; `AsyncCalls` gives their
async twins, with an a-prefix, to one that has `acall`. The clients and the Airflow hook are made of
these, so a new action is one description and two lines here.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypedDict, TypeVar, Unpack

from airflow_ice.api import operations
from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.api.operations import Operation

T = TypeVar("T")
P = ParamSpec("P")


class JobFilters(TypedDict, total=False):
    """What ListBatchMediaProducingJobs can filter by; see
    `operations.list_batch_media_producing_jobs`.
    """

    status: str | None
    job_type: str | None
    start_time: datetime | str | None
    end_time: datetime | str | None
    sort_by: str | None
    job_id: str | None
    page_size: int


def _method(describe: Callable[P, Operation[T]]) -> Callable[Concatenate[Calls, P], T]:
    def method(self: Calls, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(describe(*args, **kwargs))

    return _dressed(method, describe, describe.__name__)


def _async_method(
    describe: Callable[P, Operation[T]],
) -> Callable[Concatenate[AsyncCalls, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncCalls, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.acall(describe(*args, **kwargs))

    return _dressed(method, describe, f"a{describe.__name__}")


M = TypeVar("M", bound=Callable[..., Any])


def _dressed(method: M, describe: Callable[..., Operation[Any]], name: str) -> M:
    """Give a method the name, the text and the arguments of its description, for help() and
    editors.
    """
    functools.update_wrapper(method, describe, assigned=("__doc__", "__module__"), updated=())
    # inspect would take the description's first argument for self
    del method.__wrapped__  # type: ignore[attr-defined]
    method.__name__ = name
    arguments = inspect.signature(describe).parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = inspect.Signature([own, *arguments])  # type: ignore[attr-defined]
    return method


def _unseen(
    jobs: Iterable[BatchMediaProducingJob], seen: set[str]
) -> Iterator[BatchMediaProducingJob]:
    """Yield the jobs that no page before has shown: one that shifts to the next page while pages
    are read comes once.
    """
    for job in jobs:
        if not job.job_id or job.job_id not in seen:
            seen.add(job.job_id)
            yield job


class Calls(ABC):
    """Every action as a blocking method."""

    @abstractmethod
    def call(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """

    get_batch_media_producing_job = _method(operations.get_batch_media_producing_job)
    submit_batch_media_producing_job = _method(operations.submit_batch_media_producing_job)
    submit_screen_media_highlights_job = _method(operations.submit_screen_media_highlights_job)
    submit_sports_highlights_job = _method(operations.submit_sports_highlights_job)
    submit_scene_media_selection_job = _method(operations.submit_scene_media_selection_job)
    submit_scene_timeline_organization_job = _method(
        operations.submit_scene_timeline_organization_job
    )
    submit_scene_batch_editing_job = _method(operations.submit_scene_batch_editing_job)
    get_media_info = _method(operations.get_media_info)
    get_media_producing_job = _method(operations.get_media_producing_job)
    get_editing_project = _method(operations.get_editing_project)
    get_editing_project_materials = _method(operations.get_editing_project_materials)

    def list_batch_media_producing_jobs(
        self, **filters: Unpack[JobFilters]
    ) -> Iterator[BatchMediaProducingJob]:
        """Iterate over all batch jobs that pass the filters, page by page, newest first
        (ListBatchMediaProducingJobs).

        Rows have no sub-jobs, and each job comes once. The filters: status, job_type, start_time,
        end_time, sort_by (`desc`, `asc`), job_id, page_size.

        :raises IceInputError: at once, for a filter that is not valid.
        :raises IceError: while iterating.
        """
        first = operations.list_batch_media_producing_jobs(**filters)

        def jobs() -> Iterator[BatchMediaProducingJob]:
            seen: set[str] = set()
            tokens: set[str] = set()
            page = self.call(first)
            yield from _unseen(page.jobs, seen)
            while (token := page.next_token) and token not in tokens:
                tokens.add(token)  # pages that name each other as the next one would never end
                page = self.call(
                    operations.list_batch_media_producing_jobs(**filters, next_token=token)
                )
                yield from _unseen(page.jobs, seen)

        return jobs()


class AsyncCalls(ABC):
    """Every action as an async method, with an a-prefix."""

    @abstractmethod
    async def acall(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """

    aget_batch_media_producing_job = _async_method(operations.get_batch_media_producing_job)
    asubmit_batch_media_producing_job = _async_method(operations.submit_batch_media_producing_job)
    asubmit_screen_media_highlights_job = _async_method(
        operations.submit_screen_media_highlights_job
    )
    asubmit_sports_highlights_job = _async_method(operations.submit_sports_highlights_job)
    asubmit_scene_media_selection_job = _async_method(operations.submit_scene_media_selection_job)
    asubmit_scene_timeline_organization_job = _async_method(
        operations.submit_scene_timeline_organization_job
    )
    asubmit_scene_batch_editing_job = _async_method(operations.submit_scene_batch_editing_job)
    aget_media_info = _async_method(operations.get_media_info)
    aget_media_producing_job = _async_method(operations.get_media_producing_job)
    aget_editing_project = _async_method(operations.get_editing_project)
    aget_editing_project_materials = _async_method(operations.get_editing_project_materials)

    def alist_batch_media_producing_jobs(
        self, **filters: Unpack[JobFilters]
    ) -> AsyncIterator[BatchMediaProducingJob]:
        """Iterate asynchronously over all batch jobs that pass the filters; see
        `list_batch_media_producing_jobs`.

        :raises IceInputError: at once, for a filter that is not valid.
        :raises IceError: while iterating.
        """
        first = operations.list_batch_media_producing_jobs(**filters)

        async def jobs() -> AsyncIterator[BatchMediaProducingJob]:
            seen: set[str] = set()
            tokens: set[str] = set()
            page = await self.acall(first)
            for job in _unseen(page.jobs, seen):
                yield job
            while (token := page.next_token) and token not in tokens:
                tokens.add(token)
                page = await self.acall(
                    operations.list_batch_media_producing_jobs(**filters, next_token=token)
                )
                for job in _unseen(page.jobs, seen):
                    yield job

        return jobs()
