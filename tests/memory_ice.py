"""An ICE in memory, for tests that make thousands of jobs: the submit operators' whole world, on a
clock that only sleeping moves.

It answers the client's own descriptions (`Operation`) with replies of the wire, so what is sent and
read is the real thing. Its faults are what can happen to a submit: refused, throttled, lost before
or after ICE took it, answered by a gateway that knows nothing, stopped or frozen on its way; a list
and a Get that lag, a kind that the list never shows, keys that lead to another account.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal, Self, TypeVar

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_ice.api.calls import Calls
from airflow_ice.api.errors import (
    IceError,
    IcePermissionError,
    IceTransportError,
    IceUnavailableError,
)
from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import error_from_reply

T = TypeVar("T")
Reply = Literal[
    "ok",
    "refused",
    "throttled",
    "lost_before",
    "lost_after",
    "gateway_before",
    "gateway_after",
    "silent_before",
    "silent_after",
]
"""What comes of a submit. `before`: ICE never saw it; `after`: it has created the job. `gateway`:
an error page; `silent`: an error that does not say whether a job was created.
"""

INPUT = {"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["a"]}]}
# A custom domain, which names no region: the connection of a test may move to another one.
OUTPUT = {"MediaURL": "http://videos.example/v_{index}.mp4", "Count": 2}


@dataclass
class Job:
    """A job as this ICE keeps it."""

    job_id: str
    action: str
    parameters: dict[str, str]
    created_at: float
    place: tuple[str, str] = ("cn-shanghai", "AK")
    status: str = "Processing"

    @property
    def key(self) -> str:
        """The key that the package put into UserData."""
        return str(json.loads(self.parameters["UserData"])["airflow_ice"])

    def wire(self, *, listed: bool) -> dict[str, Any]:
        """Return the job as ICE shows it."""
        time = datetime.fromtimestamp(self.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        shown: dict[str, Any] = {
            "JobId": self.job_id,
            "Status": self.status,
            "CreateTime": time,
            "JobType": "Script",
        }
        shown |= {
            "UserData": self.parameters["UserData"],
            "OutputConfig": self.parameters.get("OutputConfig"),
        }
        if self.status == "Failed":
            shown["Extend"] = (
                '{"ErrorCode": "InvalidMaterial.NotFound", "ErrorMessage": "no such clip"}'
            )
        if not listed and self.status == "Finished":
            url = f"http://bucket.oss-cn-shanghai.aliyuncs.com/v_{{}}.mp4?{self.job_id}"
            shown["SubJobList"] = [
                {
                    "JobId": f"{self.job_id}-{n}",
                    "Status": "Success",
                    "MediaId": f"m-{self.job_id}-{n}",
                    "MediaURL": url.format(n),
                }
                for n in range(2)
            ]
        return shown


@dataclass
class MemoryIce(Calls):
    """The service, and the client that talks to it.

    :param list_lag: seconds after which a new job shows in the list. get_lag: after which it is
        known by its id.
    :param unlisted: the list never shows any job.
    :param replies: what happens to the next submits; `ok` when empty.
    :param access_key: whose account is used; each has its own.
    :param client_tries: sends of the client itself within one call of a submit with a ClientToken.
    :param limiter_takes: seconds that a submit waits for its turn.
    :param in_limiter: called while a submit waits for its turn, before it is checked.
    :param before_submit: called when a submit arrives. after_submit: when its job is there. Either
        may raise, as a process dies.
    """

    now: float = 1_790_000_000.0
    suspended: float = 0.0
    list_lag: float = 0.0
    get_lag: float = 0.0
    unlisted: bool = False
    jobs: list[Job] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    out_of_reach: bool = False
    list_out_of_reach: bool = False
    limiter_takes: float = 0.0
    in_limiter: Callable[[], None] = lambda: None
    before_submit: Callable[[], None] = lambda: None
    after_submit: Callable[[], None] = lambda: None
    reply_takes: float = 10.0
    client_tries: int = 1
    host: str = "ice.cn-shanghai.aliyuncs.com"
    access_key: str = "AK"
    on_list: Callable[[], None] = lambda: None
    sends: int = 0
    slept: list[float] = field(default_factory=list)

    def call(self, operation: Operation[T]) -> T:
        """Answer one call, as the hook would: a submit with a ClientToken is sent again by the
        client itself.
        """
        parameters = {**operation.query, **operation.form}
        if operation.submit:
            job_id = self._submit_with_retries(operation, parameters).job_id
            return operation.read({"RequestId": "R", "JobId": job_id})
        if self.out_of_reach:
            raise IceTransportError("no connection", action=operation.action)
        if operation.action == "ListBatchMediaProducingJobs":
            return operation.read({"RequestId": "R", "EditingBatchJobList": self._list(parameters)})
        known = [job for job in self._mine() if job.created_at + self.get_lag <= self.now]
        job = next((job for job in known if job.job_id == parameters["JobId"]), None)
        if job is None:
            raise error_from_reply(
                status=404,
                body={
                    "Code": "ResourceNotFound",
                    "Message": "Resource not found",
                    "RequestId": "R",
                },
                action=operation.action,
                submit=False,
                job_id=operation.job_id,
            )
        return operation.read({"RequestId": "R", "EditingBatchJob": job.wire(listed=False)})

    def _submit_with_retries(self, operation: Operation[Any], parameters: dict[str, str]) -> Job:
        maybe_created = False
        for number in range(1, self.client_tries + 1):
            self.now += self.limiter_takes
            self.in_limiter()
            if operation.before_send is not None:
                operation.before_send()
            try:
                return self._submit(operation, parameters)
            except IceError as error:
                if maybe_created and error.submitted == "no":
                    error = error.with_facts(submitted="unknown")
                maybe_created = maybe_created or error.submitted != "no"
                if not (error.transient and operation.repeatable and number < self.client_tries):
                    raise error from None
            self.sleep(1.0)
        raise AssertionError("unreachable")

    def _submit(self, operation: Operation[Any], parameters: dict[str, str]) -> Job:
        if self.out_of_reach:
            raise IceTransportError("no connection", action=operation.action, submitted="no")
        self.before_submit()
        self.sends += 1
        reply = self.replies.pop(0) if self.replies else "ok"
        if reply == "refused":
            raise self._error(operation, "InvalidParameter")
        if reply == "throttled":
            raise self._error(operation, "Throttling.User")
        if reply.endswith("_before"):
            self._fail(operation, reply)
        token = parameters.get("ClientToken")
        known = next(
            (job for job in self._mine() if token and job.parameters.get("ClientToken") == token),
            None,
        )
        if known is not None and known.parameters != parameters:
            raise self._error(operation, "IdempotentParameterMismatch")
        job = known
        if job is None:
            job_id = f"job-{len(self.jobs)}"
            job = Job(job_id, operation.action, parameters, self.now, self.place)
            self.jobs.append(job)
        self.after_submit()
        if reply != "ok":
            self._fail(operation, reply)
        return job

    def _fail(self, operation: Operation[Any], reply: str) -> None:
        # The job was created at the beginning, and its reply was waited for.
        self.now += self.reply_takes
        facts: dict[str, Any] = {"action": operation.action, "submitted": "unknown"}
        if reply.startswith("gateway"):
            raise IceUnavailableError("HTTP 502 with a body that is not ICE's", **facts)
        if reply.startswith("silent"):
            raise IcePermissionError("HTTP 403", action=operation.action, submitted=None)
        raise IceTransportError("the connection broke", **facts)

    @property
    def place(self) -> tuple[str, str]:
        """Where jobs are now, and whose they are."""
        region = self.host.removeprefix("ice-vpc.").removeprefix("ice.")
        return region.removesuffix(".aliyuncs.com"), self.access_key

    def _mine(self) -> list[Job]:
        return [job for job in self.jobs if job.place == self.place]

    def _list(self, parameters: dict[str, str]) -> list[dict[str, Any]]:
        self.on_list()
        if self.list_out_of_reach:
            raise IceTransportError("no connection", action="ListBatchMediaProducingJobs")
        since = (
            datetime.strptime(parameters["StartTime"], "%Y-%m-%dT%H:%M:%SZ")
            .replace(tzinfo=UTC)
            .timestamp()
        )
        shown = [
            job
            for job in self._mine()
            if job.created_at >= since and job.created_at + self.list_lag <= self.now
        ]
        return [] if self.unlisted else [job.wire(listed=True) for job in reversed(shown)]

    @staticmethod
    def _error(operation: Operation[Any], code: str) -> IceError:
        return error_from_reply(
            status=400,
            body={"Code": code, "Message": code, "RequestId": "R"},
            action=operation.action,
            submit=True,
        )

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        """Return what a clock shows that stands still while the machine is suspended."""
        return self.now - self.suspended

    def suspend(self, seconds: float) -> None:
        """Let the time pass while the machine is suspended."""
        self.now += seconds
        self.suspended += seconds

    def account(self) -> Mapping[str, str]:
        region, access_key = self.place
        return {"region": region, "credentials": access_key}

    def pinned(self, *, tries: int | None = None) -> Self:
        return self

    def connection(self) -> str:
        return self.host

    def endpoint_host(self) -> str:
        return self.host

    def longest_send(self) -> float:
        return self.reply_takes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for the hook and the clock of the operators."""
        for module in ("operators", "polling.worker"):
            monkeypatch.setattr(f"airflow_ice.{module}.IceHook", lambda *_, **__: self)
        clock = SimpleNamespace(time=lambda: self.now, sleep=self.sleep, monotonic=self.monotonic)
        for module in ("operators", "polling.worker", "results"):
            monkeypatch.setattr(f"airflow_ice.{module}.time", clock)


class Killed(BaseException):
    """The process has died: nothing after it runs, and nothing catches it."""


@dataclass
class MemoryStore:
    """Airflow's state store of one task instance. Values go through JSON, as they do there.

    :param unwritable: how many writes fail from now on. on_set: called before a write; after_set:
        after it.
    """

    values: dict[str, str] = field(default_factory=dict)
    unreadable: bool = False
    unwritable: float = 0
    current_try: int = 0
    on_set: Callable[[dict[str, Any]], None] = lambda value: None
    on_accepted: Callable[[dict[str, Any]], None] = lambda value: None
    after_set: Callable[[dict[str, Any]], None] = lambda value: None

    def of_next_try(self) -> TryStore:
        """Return what the next try gets; from now on, those of earlier tries are refused."""
        self.current_try += 1
        return TryStore(self, self.current_try)


@dataclass
class TryStore:
    """The state store as one try reaches it. Each try has a task instance id of its own, and
    Airflow knows the newest only.
    """

    store: MemoryStore
    number: int

    def get(self, key: str, default: Any = None) -> Any:
        if self.store.unreadable:
            raise RuntimeError("API_SERVER_ERROR: out of reach")
        if self.number != self.store.current_try or key not in self.store.values:
            return default
        return json.loads(self.store.values[key])

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert retention is not None
        self.store.on_set(value)
        if self.store.unwritable > 0:
            self.store.unwritable -= 1
            raise RuntimeError("API_SERVER_ERROR: out of reach")
        if self.number != self.store.current_try:
            detail = {"status_code": 404, "message": "not found", "detail": {"reason": "not_found"}}
            raise AirflowRuntimeError(
                ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)
            )
        self.store.on_accepted(value)
        self.store.values[key] = json.dumps(value)
        self.store.after_set(value)


@dataclass
class DagRun:
    """As much of a DAG run as the operators ask for."""

    run_after: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    logical_date: datetime | None = None
    start_date: datetime | None = datetime(2026, 1, 2, 0, 1, tzinfo=UTC)
    clear_number: int | None = 0


@dataclass
class TaskInstance:
    """As much of a task instance as the operators ask for; Airflow clears its XComs on each try."""

    max_tries: int
    dag_id: str = "dag"
    run_id: str = "run"
    task_id: str = "submit"
    map_index: int = -1
    try_number: int = 1
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))
