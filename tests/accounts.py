"""ICE in several places, and one connection that leads to one of them and may be edited: for waits
that go on while keys are rotated and connections are changed.

Stands in for the clients of the hook, so that what the hook reads, keeps and forgets is the real
thing. All of it is on a `Clock`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_ice.api.operations import Operation
from airflow_ice.api.replies import error_from_reply
from airflow_ice.connections import IceConnection
from airflow_ice.hooks import IceHook
from tests.three_modes import Clock

T = TypeVar("T")
GET, LIST = "GetBatchMediaProducingJob", "ListBatchMediaProducingJobs"
SHANGHAI, BEIJING = "ice.cn-shanghai.aliyuncs.com", "ice.cn-beijing.aliyuncs.com"
OLD, NEW = "old-key", "new-key"


def settings(key: str = OLD, region: str = "cn-shanghai", **fields: Any) -> dict[str, Any]:
    """Return a connection's fields."""
    extra = json.dumps({} if "host" in fields else {"region_id": region})
    return {
        "conn_type": "alibaba_ice",
        "login": key,
        "password": "a-secret",
        "extra": extra,
    } | fields


@dataclass(frozen=True)
class Asked:
    """A call that has arrived."""

    at: float
    host: str
    key: str
    action: str
    job_id: str


@dataclass
class Accounts:
    """The places, by host, and the connection.

    :param jobs: by host, then by job id: seconds after which the job is Finished.
    :param connection: the connection's fields at a time, in seconds from the beginning; None for no
        connection.
    :param takes: whether a key is valid at a time.
    :param fault: what a call meets at a time.
    """

    clock: Clock
    jobs: dict[str, dict[str, float]] = field(default_factory=dict)
    connection: Callable[[float], dict[str, Any] | None] = lambda passed: settings()
    takes: Callable[[str, float], bool] = lambda key, passed: True
    fault: Callable[[float], Exception | None] = lambda passed: None
    asked: list[Asked] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    submitted: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for Airflow's connections and the hook's clients."""

        def get_connection(conn_id: str) -> Connection:
            self.read_at.append(self.clock.passed)
            fields = self.connection(self.clock.passed)
            if fields is None:
                raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
            return Connection(conn_id=conn_id, **fields)

        async def aget_connection(conn_id: str) -> Connection:
            return get_connection(conn_id)

        async def aget_conn(hook: IceHook) -> Client:
            return Client(self, await hook.aconnection())

        monkeypatch.setattr(IceHook, "get_connection", staticmethod(get_connection))
        monkeypatch.setattr(IceHook, "aget_connection", staticmethod(aget_connection))
        monkeypatch.setattr(IceHook, "get_conn", lambda hook: Client(self, hook.connection()))
        monkeypatch.setattr(IceHook, "aget_conn", aget_conn)

    def answer(self, connection: IceConnection, operation: Operation[T]) -> T:
        """Answer a call as the place that the connection leads to does."""
        passed, host = self.clock.passed, connection.endpoint.host
        key = connection.credentials().get().access_key_id
        job_id = operation.query.get("JobId", "")
        self.asked.append(Asked(passed, host, key, operation.action, job_id))
        fault = self.fault(passed)
        if fault is not None:
            raise fault
        if not self.takes(key, passed):
            raise _error(operation, 404, "InvalidAccessKeyId.NotFound")
        here = self.jobs.setdefault(host, {})
        if operation.submit:
            self.submitted += 1
            return operation.read({"RequestId": "R", "JobId": next(iter(here))})
        if operation.action == LIST:
            return operation.read({"RequestId": "R", "EditingBatchJobList": []})
        if job_id not in here:
            raise _error(operation, 404, "ResourceNotFound")
        return operation.read({"RequestId": "R", "EditingBatchJob": _shown(job_id, passed, here)})

    def count(self, action: str) -> int:
        """Return how many calls of an action have arrived."""
        return sum(asked.action == action for asked in self.asked)


def _shown(job_id: str, passed: float, here: dict[str, float]) -> dict[str, Any]:
    if passed < here[job_id]:
        return {"JobId": job_id, "Status": "Processing"}
    url = "http://bucket.oss-cn-shanghai.aliyuncs.com/v.mp4"
    good = {"JobId": f"{job_id}-0", "Status": "Success", "MediaId": "m", "MediaURL": url}
    return {"JobId": job_id, "Status": "Finished", "JobType": "Script", "SubJobList": [good]}


def _error(operation: Operation[Any], status: int, code: str) -> Exception:
    return error_from_reply(
        status=status,
        body={"Code": code, "Message": code, "RequestId": "R"},
        action=operation.action,
        submit=bool(operation.submit),
        job_id=operation.job_id,
    )


@dataclass
class Client:
    """Stands in for both clients."""

    accounts: Accounts
    connection: IceConnection

    def call(self, operation: Operation[T]) -> T:
        return self.accounts.answer(self.connection, operation)

    async def acall(self, operation: Operation[T]) -> T:
        return self.accounts.answer(self.connection, operation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
