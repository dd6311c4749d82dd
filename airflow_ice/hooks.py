"""IceHook: from an Airflow connection to a client, blocking and async.

Nothing is fetched when a hook is made; the connection is read on the first call. The HTTP and
credentials libraries are loaded only when a client is built, so that a DAG file pays for neither.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import OrderedDict
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.log import amask_secret, mask_secret

from airflow_ice import metrics
from airflow_ice.api import limits, operations
from airflow_ice.api.credentials import CredentialsSource
from airflow_ice.api.errors import IceAuthenticationError, IceError, IceInputError
from airflow_ice.api.models import EditingProject, EditingProjectMaterials, MediaInfo
from airflow_ice.api.operations import Operation
from airflow_ice.api.rate import RateLimiter
from airflow_ice.api.redaction import secrets_of_urls
from airflow_ice.api.signature import Credentials
from airflow_ice.connections import IceConnection, read_connection
from airflow_ice.downloads import MediaDownloads

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_ice.api.client import AsyncIceClient, ClientSettings, IceClient
    from airflow_ice.api.media import MediaSource

T = TypeVar("T")

TRIES: Final = 4
"""Sends in all of one call that may be repeated, unless a hook is given another number."""


# Longer than other classes here: Airflow finds a hook's methods on one class, and each has an
# async twin. What they do lies in `connections`, `api` and `downloads`.
class IceHook(BaseHook, MediaDownloads):
    """Alibaba Cloud ICE (Intelligent Media Services) through an Airflow connection.

    Every action is a method, and has an async twin with an a-prefix. Used as it is, each call opens
    a client and closes it; in a `with` (or `async with`) block all calls share one client and its
    connections:

        with IceHook() as hook:
            for job in hook.list_batch_media_producing_jobs(status="Processing"):
                ...

    :param ice_conn_id: a connection of type `alibaba_ice`, or `alibaba_cloud` of the apache
        provider.
    :param region_id: for example `cn-shanghai`; None for the connection's own.
    :param tries: sends in all of one call that may be repeated; 1 for no retry.
    """

    conn_name_attr = "ice_conn_id"
    default_conn_name = "ice_default"
    conn_type = "alibaba_ice"
    hook_name = "Alibaba Cloud ICE"

    def __init__(
        self,
        ice_conn_id: str = default_conn_name,
        region_id: str | None = None,
        *,
        tries: int = TRIES,
    ) -> None:
        super().__init__()
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id
        self.tries = tries
        self._connection: IceConnection | None = None
        self._is_pinned = False
        # In a with block: what to close at its end, and the client once the first call has opened
        # it.
        self._open: ExitStack | None = None
        self._client: IceClient | None = None
        self._async_open: AsyncExitStack | None = None
        self._async_opening = asyncio.Lock()
        self._async_client: AsyncIceClient | None = None

    @classmethod
    def of(cls, ice_conn_id: str, connection: IceConnection, *, tries: int = 1) -> Self:
        """Return a hook for a connection as it was read, which it never reads again.

        :param ice_conn_id: whose limit of requests a second it shares.
        """
        hook = cls(ice_conn_id, tries=tries)
        hook._connection, hook._is_pinned = connection, True
        return hook

    def pinned(self, *, tries: int | None = None) -> Self:
        """Return a hook for the connection as this one has read it.

        :param tries: as for a new hook; None for those of this one.
        """
        return type(self).of(self.ice_conn_id, self.connection(), tries=tries or self.tries)

    def in_region(self, region_id: str | None) -> Self:
        """Return a hook for the connection as this one has read it, in a region.

        :param region_id: None for the same one.
        """
        connection = self.connection().in_region(region_id)
        return type(self).of(self.ice_conn_id, connection, tries=self.tries)

    def connection(self) -> IceConnection:
        """Return the connection, read once.

        :raises AirflowNotFoundException: there is no such connection.
        :raises IceInputError: a field of it is not valid.
        """
        return self._read()

    async def aconnection(self) -> IceConnection:
        """Return the connection, read once.

        :raises AirflowNotFoundException: there is no such connection.
        :raises IceInputError: a field of it is not valid.
        """
        return await self._aread()

    def get_conn(self) -> IceClient:
        """Return a client of its own, to be used in a `with` block.

        :raises IceInputError: the connection is not valid.
        """
        from airflow_ice.api.client import IceClient

        connection = self._read()
        return IceClient(self._settings(connection), _source(connection))

    async def aget_conn(self) -> AsyncIceClient:
        """Return an async client of its own, to be used in an `async with` block.

        :raises IceInputError: the connection is not valid.
        """
        from airflow_ice.api.client import AsyncIceClient

        connection = await self._aread()
        return AsyncIceClient(self._settings(connection), _source(connection))

    def __enter__(self) -> Self:
        self._open = ExitStack()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._client = None

    async def __aenter__(self) -> Self:
        self._async_open = AsyncExitStack()
        self._async_opening = asyncio.Lock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._async_open is not None:
            await self._async_open.aclose()
        self._async_open = self._async_client = None

    def call(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """
        self._check_region(operation)
        try:
            if self._open is None:
                with self.get_conn() as client:
                    found = client.call(operation)
            else:
                if self._client is None:
                    self._client = self._open.enter_context(self.get_conn())
                found = self._client.call(operation)
        except IceAuthenticationError:
            self._refused()
            raise
        for secret in _secrets_of(found):
            mask_secret(secret)
        return found

    async def acall(self, operation: Operation[T]) -> T:
        """Make one call and return its typed result.

        :raises IceError: the call failed, after the retries that are safe.
        """
        if operation.submit:
            await self._aread()
        self._check_region(operation)
        try:
            if self._async_open is None:
                async with await self.aget_conn() as client:
                    found = await client.acall(operation)
            else:
                async with self._async_opening:  # for many tasks that begin together, one client
                    if self._async_client is None:
                        self._async_client = await self._async_open.enter_async_context(
                            await self.aget_conn()
                        )
                    client = self._async_client
                found = await client.acall(operation)
        except IceAuthenticationError:
            self._refused()
            raise
        for secret in _secrets_of(found):
            await amask_secret(secret)
        return found

    def _check_region(self, operation: Operation[Any]) -> None:
        region = self._read().region if operation.submit else None
        if region is not None:
            limits.one_region(region, {**operation.query, **operation.form})

    def _refused(self) -> None:
        """Read the connection and ask its source of credentials again for the next client: either
        may have changed.
        """
        _forget_source(self._connection)
        if not self._is_pinned:
            self._connection = None

    def endpoint_host(self) -> str:
        """Return the host that requests go to, with its port where that is not the scheme's own.

        :raises IceInputError: the connection is not valid.
        """
        return self._read().endpoint.host

    def account(self) -> dict[str, str]:
        """Return where jobs run and who pays; see `IceConnection.account`.

        :raises IceInputError: the connection is invalid.
        """
        return self._read().account()

    def longest_send(self) -> float:
        """Return after how many seconds one send is given up, from the moment that it needs a
        connection to its reply's last byte.

        The wait for the rate limit and for credentials comes before it.
        """
        connection = self._read()
        return connection.connect_timeout + connection.read_timeout

    def media_source(self, media_id: str, *, ready_timeout: float, timeout: float) -> MediaSource:
        """Return a media asset, and how this connection reads it: what `api.media` takes.

        :raises IceInputError: a length of time is none, or the connection is not valid.
        """
        from airflow_ice.api.media import MediaSource

        connection = self._read()
        return MediaSource(
            media_id,
            self._settings(connection),
            limits.seconds("ready_timeout", ready_timeout),
            limits.seconds("timeout", timeout),
            connection.network,
            connection.media_domains,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Make one free, read-only call (ListBatchMediaProducingJobs, one row) and say in words how
        it went.
        """
        try:
            with self.get_conn() as client:
                client.call(
                    replace(
                        operations.list_batch_media_producing_jobs(page_size=1), repeatable=False
                    )
                )
            where = self.endpoint_host()
        except IceError as error:
            if isinstance(error, IceAuthenticationError):
                self._refused()
            return False, str(error)
        return True, f"ICE at {where} answered: the credentials work, and they may list batch jobs."

    def _read(self) -> IceConnection:
        if self._connection is None:
            found = self.get_connection(_conn_id(self.ice_conn_id))
            self._connection = _read(found, self.region_id)
            _ = found.extra_dejson  # registers with Airflow's masker what is called a secret in it
            for secret in self._connection.secrets():
                mask_secret(secret)
            self._warn(self._connection)
        return self._connection

    async def _aread(self) -> IceConnection:
        if self._connection is None:
            found = await self.aget_connection(_conn_id(self.ice_conn_id))
            self._connection = _read(found, self.region_id)
            await found.aextra_dejson()  # as above
            for secret in self._connection.secrets():
                await amask_secret(secret)
            self._warn(self._connection)
        return self._connection

    def _warn(self, connection: IceConnection) -> None:
        """Name the settings that are not known, once for a process and connection."""
        for sentence in connection.warnings:
            if (self.ice_conn_id, sentence) not in _warned:
                _warned.add((self.ice_conn_id, sentence))
                self.log.warning("Connection %s: %s.", self.ice_conn_id, sentence)

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


def _secrets_of(result: object) -> set[str]:
    """Return what Airflow's masker must hide of a result: the signatures and tokens of its URLs.

    A user's `print(url)` or `raise_for_status()` would show them, and with them anybody can read
    the file until they expire.
    """
    match result:
        case MediaInfo():
            urls: list[Any] = [each.file_url for each in result.files]
            urls += [each.other_fields for each in result.files]
            return secrets_of_urls([*urls, result.cover_url, result.input_url, result.other_fields])
        case EditingProject():
            return secrets_of_urls([result.timeline, result.cover_url, result.other_fields])
        case EditingProjectMaterials():
            own = secrets_of_urls([result.project_materials, result.other_fields])
            return own.union(*map(_secrets_of, result.media))
    return set()


def _conn_id(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        rule = "must be the id of a connection"
        raise IceInputError("ice_conn_id", limits.shown("ice_conn_id", value), rule)
    return value


def _read(connection: Connection, region_id: str | None) -> IceConnection:
    # Airflow's own reading of extra makes nothing of what is no JSON, and takes what is no object.
    return read_connection(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        extra=connection.extra,
        region_id=region_id,
        conn_type=connection.conn_type,
    )


_warned: set[tuple[str, str]] = set()
"""Connection ids, and what was said about each."""

_limiters: dict[tuple[str, float], RateLimiter] = {}
_limiters_lock = threading.Lock()


def _limiter(ice_conn_id: str, per_second: float) -> RateLimiter:
    """Return the limiter of a connection: one for the whole process, since the quota is one for the
    whole account.
    """
    with _limiters_lock:
        return _limiters.setdefault((ice_conn_id, per_second), RateLimiter(per_second))


class MaskedCredentials:
    """A source whose keys are not in the connection, so that Airflow's masker learns each new
    set that it hands out.
    """

    def __init__(self, source: CredentialsSource) -> None:
        self._source = source
        self._masked: Credentials | None = None

    def get(self) -> Credentials:
        """Return credentials, masked."""
        found = self._source.get()
        for secret in self._new_secrets(found):
            mask_secret(secret)
        return found

    async def aget(self) -> Credentials:
        """Return credentials, masked, without blocking the event loop."""
        found = await self._source.aget()
        for secret in self._new_secrets(found):
            await amask_secret(secret)
        return found

    def _new_secrets(self, found: Credentials) -> list[str]:
        if found == self._masked:
            return []
        self._masked = found
        return [
            secret
            for secret in (found.access_key_secret, found.security_token, found.bearer_token)
            if secret
        ]


MOST_SOURCES: Final = 64
_sources: OrderedDict[str, CredentialsSource] = OrderedDict()
_sources_lock = threading.Lock()


def _source(connection: IceConnection) -> CredentialsSource:
    """Return where a connection's credentials come from: one source for the whole process, as long
    as its settings stay the same.

    A source that is made for each call fetches for each call, and some of the library's
    clients start a thread that nobody ends.
    """
    if connection.has_fixed_credentials:
        return connection.credentials()
    key = connection.credentials_key()
    with _sources_lock:
        found = _sources.pop(key, None) or MaskedCredentials(connection.credentials())
        _sources[key] = found  # the last used is the last to go
        if len(_sources) > MOST_SOURCES:
            _sources.popitem(last=False)
    return found


def _forget_source(connection: IceConnection | None) -> None:
    """Let the next client ask a new source: this one's credentials were refused, and it may hold on
    to them.
    """
    if connection is not None:
        with _sources_lock:
            _sources.pop(connection.credentials_key(), None)


@functools.cache
def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow-core")
