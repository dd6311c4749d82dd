"""An ICE in memory, for tests that make thousands of jobs: the submit operators' whole world, on a clock that only sleeping moves.

It answers the client's own descriptions (`Operation`) with replies of the wire, so what is sent and read is the real thing; what it
has of faults is what can happen to a submit: refused, lost before ICE took it, lost after, and a list that lags.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal, Self, TypeVar

import pytest

from airflow_ice.api.calls import Calls
from airflow_ice.api.errors import IceError, IceTransportError, error_from_reply
from airflow_ice.api.operations import Operation

T = TypeVar("T")
Reply = Literal["ok", "refused", "throttled", "lost_before", "lost_after"]

INPUT = {"MediaGroupArray": [{"GroupName": "one", "MediaArray": ["a"]}]}
OUTPUT = {"MediaURL": "http://bucket.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4", "Count": 2}


@dataclass
class Job:
    """A job as this ICE keeps it."""

    job_id: str
    action: str
    parameters: dict[str, str]
    created_at: float
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
    """The service.

    :param list_lag: seconds after which a new job shows in the list.
    :param replies: what happens to the next submits; `ok` when empty.
    :param on_submit: called when a submit has arrived, before it is answered; may raise, as a process dies.
    """

    now: float = 1_790_000_000.0
    list_lag: float = 0.0
    jobs: list[Job] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    out_of_reach: bool = False
    list_out_of_reach: bool = False
    before_submit: Callable[[], None] = lambda: None
    after_submit: Callable[[], None] = lambda: None
    reply_takes: float = 10.0
    host: str = "ice.cn-shanghai.aliyuncs.com"
    on_list: Callable[[], None] = lambda: None
    sends: int = 0
    slept: list[float] = field(default_factory=list)

    def call(self, operation: Operation[T]) -> T:
        """Answer one call, as the hook would: a submit with a ClientToken is sent again by the client itself."""
        parameters = {**operation.query, **operation.form}
        if self.out_of_reach:
            raise IceTransportError(
                "no connection",
                action=operation.action,
                submitted="no" if operation.submit else None,
            )
        if operation.submit:
            return operation.read(
                {"RequestId": "R", "JobId": self._submit(operation, parameters).job_id}
            )
        if operation.action == "ListBatchMediaProducingJobs":
            return operation.read({"RequestId": "R", "EditingBatchJobList": self._list(parameters)})
        found = next((job for job in self.jobs if job.job_id == parameters["JobId"]), None)
        if found is None:
            body = {"Code": "ResourceNotFound", "Message": "Resource not found"}
            raise error_from_reply(
                status=404,
                body=body,
                action=operation.action,
                submit=False,
                job_id=operation.job_id,
            )
        return operation.read({"RequestId": "R", "EditingBatchJob": found.wire(listed=False)})

    def _submit(self, operation: Operation[Any], parameters: dict[str, str]) -> Job:
        self.before_submit()
        self.sends += 1
        reply = self.replies.pop(0) if self.replies else "ok"
        if reply == "refused":
            raise self._error(operation, "InvalidParameter")
        if reply == "throttled":
            raise self._error(operation, "Throttling.User")
        if reply == "lost_before":
            self.now += self.reply_takes
            raise IceTransportError(
                "the connection broke", action=operation.action, submitted="unknown"
            )
        token = parameters.get("ClientToken")
        known = next(
            (job for job in self.jobs if token and job.parameters.get("ClientToken") == token), None
        )
        if known is not None and known.parameters != parameters:
            raise self._error(operation, "IdempotentParameterMismatch")
        job = known or Job(f"job-{len(self.jobs)}", operation.action, parameters, self.now)
        if known is None:
            self.jobs.append(job)
        self.after_submit()
        if reply == "lost_after":
            self.now += (
                self.reply_takes
            )  # the job was made at the beginning, and its reply was waited for
            raise IceTransportError(
                "the connection broke", action=operation.action, submitted="unknown"
            )
        return job

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
            for job in self.jobs
            if job.created_at >= since and job.created_at + self.list_lag <= self.now
        ]
        return [job.wire(listed=True) for job in reversed(shown)]

    @staticmethod
    def _error(operation: Operation[Any], code: str) -> IceError:
        return error_from_reply(
            status=400, body={"Code": code, "Message": code}, action=operation.action, submit=True
        )

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

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
        clock = SimpleNamespace(time=lambda: self.now, sleep=self.sleep, monotonic=lambda: self.now)
        for module in ("operators", "polling.worker", "results"):
            monkeypatch.setattr(f"airflow_ice.{module}.time", clock)
        monkeypatch.setattr(
            "airflow_ice.submission.Submission.__init__.__kwdefaults__",
            {"clock": clock.time, "sleep": clock.sleep},
        )


class Killed(BaseException):
    """The process has died: nothing after it runs, and nothing catches it."""


@dataclass
class MemoryStore:
    """Airflow's state store of one task instance. Values go through JSON, as they do there."""

    values: dict[str, str] = field(default_factory=dict)
    unreadable: bool = False
    unwritable: bool = False
    on_set: Callable[[dict[str, Any]], None] = lambda value: None

    def get(self, key: str, default: Any = None) -> Any:
        if self.unreadable:
            raise RuntimeError("API_SERVER_ERROR: out of reach")
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        assert retention is not None
        if self.unwritable:
            raise RuntimeError("API_SERVER_ERROR: out of reach")
        self.on_set(value)
        self.values[key] = json.dumps(value)


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
