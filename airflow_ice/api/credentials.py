"""Where credentials come from, asked again before each try, so that a long wait never signs with an
expired token.

Fixed keys are a value. Everything else is the business of the alibabacloud-credentials library,
which refreshes what it hands out; it is loaded (half a second) only when such a source is first
asked. What that library logs is dropped: whole replies of credentials servers, with tracebacks, and
URLs that hold signatures; `IceCredentialsError` says what went wrong without them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from airflow_ice.api.errors import IceCredentialsError
from airflow_ice.api.signature import Credentials

_OUT_OF_REACH = re.compile(
    r"http_code\s*[:=]\s*(?:5\d\d|429)|time ?out|timed out|connection", re.IGNORECASE
)


class CredentialsSource(Protocol):
    """Something that has credentials which are valid now."""

    def get(self) -> Credentials:
        """Return credentials; may block on the network."""
        ...

    async def aget(self) -> Credentials:
        """Return credentials without blocking the event loop."""
        ...


class FixedCredentials:
    """An AccessKey, an AccessKey with an STS token, or a bearer token, as they were given."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def get(self) -> Credentials:
        """Return them."""
        return self._credentials

    async def aget(self) -> Credentials:
        """Return them."""
        return self._credentials


_LOGGERS: Final = ("credentials", "alibabacloud-tea", "urllib3.connectionpool")
"""Where the library, the HTTP layer below it and the one below that write (alibabacloud-credentials
1.0.12).
"""

_asking = threading.local()


class _Silence(logging.Filter):
    """Drops what is written for the sake of credentials, and nothing of what others write to the
    same loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        # Some of the library's clients refresh in threads of their own.
        return not (getattr(_asking, "now", False) or "alibabacloud_credentials" in record.pathname)


_SILENCE: Final = _Silence()


class LibraryCredentials:
    """A client of alibabacloud-credentials, or what makes one.

    :param make_client: called once, on first use, in a place where blocking is allowed.
    """

    def __init__(self, make_client: Callable[[], Any]) -> None:
        self._make_client = make_client
        self._client: Any = None
        self._lock = threading.Lock()

    def get(self) -> Credentials:
        """Return what the library has; it refreshes what is about to expire.

        :raises IceCredentialsError: it has none.
        """
        for name in _LOGGERS:
            # A filter, which outlives what importing the library and configuring logging do to a
            # logger's handlers and level.
            logging.getLogger(name).addFilter(_SILENCE)
        _asking.now = True
        try:
            with self._lock:
                if self._client is None:
                    self._client = self._make_client()
            model = self._client.get_credential()
        except Exception as cause:  # noqa: BLE001 - the library raises whatever it likes
            raise _credentials_error(cause) from None
        finally:
            _asking.now = False
        if getattr(model, "bearer_token", None):
            return Credentials(bearer_token=model.bearer_token)
        if not model.access_key_id or not model.access_key_secret:
            raise IceCredentialsError("the credentials library returned no AccessKey")
        return Credentials(
            access_key_id=model.access_key_id,
            access_key_secret=model.access_key_secret,
            security_token=model.security_token or None,
            provider_name=model.provider_name,
        )

    async def aget(self) -> Credentials:
        """Return what the library has, from a thread.

        Its async methods take a threading.Lock that a refresh holds for seconds, which would stop a
        triggerer's event loop.

        :raises IceCredentialsError: it has none.
        """
        return await asyncio.to_thread(self.get)


_HEADER_VALUE = re.compile(r"[\x21-\x7e]*")


def usable(credentials: Credentials) -> Credentials:
    """Return credentials that can travel in the headers of a request.

    :raises IceCredentialsError: a part holds a blank, a line end or a letter beyond ASCII; its
        value is not shown.
    """
    for name in ("access_key_id", "security_token", "bearer_token", "provider_name"):
        if not _HEADER_VALUE.fullmatch(getattr(credentials, name) or ""):
            rule = (
                "holds a blank, a line end or a character beyond ASCII, which no such value has; "
                "copy it again"
            )
            raise IceCredentialsError(f"the {name} {rule}")
    return credentials


def _credentials_error(cause: Exception) -> IceCredentialsError:
    # Some of the library's messages end with the whole reply of the credentials server, keys
    # included: cut before it. The cause is dropped from the chain for the same reason, and named
    # instead.
    said = str(cause).partition("result:")[0].strip().rstrip(",")
    network = any(
        kind.__module__.partition(".")[0] in {"requests", "aiohttp", "urllib3"}
        for kind in type(cause).__mro__
    )
    transient = network or isinstance(cause, OSError) or _OUT_OF_REACH.search(said) is not None
    return IceCredentialsError(
        f"no credentials could be had: {type(cause).__name__}: {said}", transient=transient
    )
