"""IceHook: from an Airflow connection to a client, in both colours.

Nothing is fetched when a hook is made; the connection is read on the first call. The HTTP and credentials libraries are loaded
only when a client is built, so that a DAG file pays for neither.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.log import amask_secret, mask_secret

from airflow_ice import metrics
from airflow_ice.api import operations
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.errors import IceError
from airflow_ice.api.operations import Operation
from airflow_ice.api.rate import RateLimiter
from airflow_ice.connections import IceConnection, read_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_ice.api.client import AsyncIceClient, ClientSettings, IceClient

T = TypeVar("T")


class IceHook(BaseHook, Calls, AsyncCalls):
    """Alibaba Cloud ICE (Intelligent Media Services) through an Airflow connection.

    Every action is a method, and has an async twin with an a-prefix. Used as it is, each call opens a client and closes it; in a
    `with` (or `async with`) block all calls share one client and its connections:

        with IceHook() as hook:
            for job in hook.list_batch_media_producing_jobs(status="Processing"):
                ...

    :param ice_conn_id: a connection of type `alibaba_ice`, or `alibaba_cloud` of the apache provider.
    :param region_id: for example `cn-shanghai`; None for the connection's own.
    :param tries: sends in all of one call that may be repeated; 1 for no retry.
    """

    conn_name_attr = "ice_conn_id"
    default_conn_name = "ice_default"
    conn_type = "alibaba_ice"
    hook_name = "Alibaba Cloud ICE"

    def __init__(self, ice_conn_id: str = default_conn_name, region_id: str | None = None, *, tries: int = 4) -> None:
        super().__init__()
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.tries = tries
        self._connection: IceConnection | None = None
        # In a with block: what to close at its end, and the client once the first call has opened it.
        self._open: ExitStack | None = None
        self._client: IceClient | None = None
        self._async_open: AsyncExitStack | None = None
        self._async_client: AsyncIceClient | None = None

    def get_conn(self) -> IceClient:
        """Return a client of its own, to be used in a `with` block.

        :raises IceInputError: the connection cannot be.
        """
        from airflow_ice.api.client import IceClient

        connection = self._read()
        return IceClient(self._settings(connection), connection.credentials())

    async def aget_conn(self) -> AsyncIceClient:
        """Return an async client of its own, to be used in an `async with` block.

        :raises IceInputError: the connection cannot be.
        """
        from airflow_ice.api.client import AsyncIceClient

        connection = await self._aread()
        return AsyncIceClient(self._settings(connection), connection.credentials())

    def __enter__(self) -> Self:
        self._open = ExitStack()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._client = None

    async def __aenter__(self) -> Self:
        self._async_open = AsyncExitStack()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._async_open is not None:
            await self._async_open.aclose()
        self._async_open = self._async_client = None

    def call(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """
        if self._open is None:
            with self.get_conn() as client:
                return client.call(operation)
        if self._client is None:
            self._client = self._open.enter_context(self.get_conn())
        return self._client.call(operation)

    async def acall(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """
        if self._async_open is None:
            async with await self.aget_conn() as client:
                return await client.acall(operation)
        if self._async_client is None:
            opened = await self._async_open.enter_async_context(await self.aget_conn())
            self._async_client = self._async_client or opened  # another task may have been first; both are closed at the end
        return await self._async_client.acall(operation)

    def endpoint_host(self) -> str:
        """Return the host that requests go to, with its port where that is not the scheme's own.

        :raises IceInputError: the connection cannot be.
        """
        return self._read().endpoint.host

    def test_connection(self) -> tuple[bool, str]:
        """Make one free, read-only call (ListBatchMediaProducingJobs, one row) and say in words how it went."""
        try:
            with self.get_conn() as client:
                client.call(replace(operations.list_batch_media_producing_jobs(page_size=1), repeatable=False))
            where = self.endpoint_host()
        except IceError as error:
            return False, str(error)
        return True, f"ICE at {where} answered: the credentials work, and they may list batch jobs."

    def _read(self) -> IceConnection:
        if self._connection is None:
            found = self.get_connection(self.ice_conn_id)
            self._connection = _read(found, found.extra_dejson, self.region_id)
            for secret in self._connection.secrets():
                mask_secret(secret)
        return self._connection

    async def _aread(self) -> IceConnection:
        if self._connection is None:
            found = await self.aget_connection(self.ice_conn_id)
            self._connection = _read(found, await found.aextra_dejson(), self.region_id)
            for secret in self._connection.secrets():
                await amask_secret(secret)
        return self._connection

    def _settings(self, connection: IceConnection) -> ClientSettings:
        from airflow_ice.api.client import USER_AGENT, ClientSettings
        from airflow_ice.api.retries import RetryPolicy

        return ClientSettings(
            endpoint=connection.endpoint,
            connect_timeout=connection.connect_timeout,
            read_timeout=connection.read_timeout,
            proxy=connection.proxy,
            verify=connection.verify,
            retry=RetryPolicy(tries=self.tries),
            limiter=_limiter(self.ice_conn_id, connection.max_requests_per_second),
            observer=metrics.request,
            user_agent=f"{USER_AGENT} airflow/{_airflow_version()}",
        )


def _read(connection: Connection, extra: Mapping[str, Any], region_id: str | None) -> IceConnection:
    return read_connection(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        extra=extra,
        region_id=region_id,
    )


_limiters: dict[tuple[str, float], RateLimiter] = {}
_limiters_lock = threading.Lock()


def _limiter(ice_conn_id: str, per_second: float) -> RateLimiter:
    """Return the limiter of a connection: one for the whole process, since the quota is one for the whole account."""
    with _limiters_lock:
        return _limiters.setdefault((ice_conn_id, per_second), RateLimiter(per_second))


@functools.cache
def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow-core")
