"""Faults on requests: used up by the request that they hit.

They come after authentication: a retry that is signed badly, or with the nonce of the try before,
must not pass because of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from starlette.responses import HTMLResponse, Response

from airflow_ice.emulator.model.errors import ServiceError, forbidden_by_ram, throttled
from airflow_ice.emulator.model.faults import Fault

_HTML: Final = (
    "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center>"
    "<hr>tengine</body></html>"
)


class ConnectionDroppedError(Exception):
    """The connection of a request is dropped, with no reply."""


@dataclass(kw_only=True)
class RequestFault(Fault):
    """A fault on a request. Every delay hits a request, and of the others the first."""

    moment: ClassVar[str] = "a request, before it is carried out"

    def group(self) -> Hashable:
        return "reply"

    async def delay(self) -> None:
        """Wait as long as the reply is to be late."""

    def before(self, action: str) -> Response | dict[str, Any] | None:
        """Return the reply, or its body, that is sent in place of carrying the action out.

        None lets it be carried out.

        :raises ServiceError: the request is refused.
        :raises ConnectionDroppedError: there is no reply.
        """
        return None

    def after(self) -> None:
        """Interfere once the action was carried out.

        :raises ConnectionDroppedError: its reply is lost.
        """


@dataclass(kw_only=True)
class Throttle(RequestFault):
    """The request is refused as one too many; retry_after_ms is sent as x-acs-retry-after."""

    kind: ClassVar[str] = "throttle"
    retry_after_ms: int | None = None
    status: int = 400
    code: str = "Throttling.User"

    def before(self, action: str) -> None:
        raise throttled(self.code, self.status, self.retry_after_ms)


@dataclass(kw_only=True)
class Error(RequestFault):
    """The request is refused with an error of the service."""

    kind: ClassVar[str] = "error"
    status: int = 503
    code: str = "ServiceUnAvailable"
    message: str = "The request has failed due to a temporary failure of the server."

    def before(self, action: str) -> None:
        raise ServiceError(self.status, self.code, self.message)


@dataclass(kw_only=True)
class Html(RequestFault):
    """A gateway answers with an HTML page; the action is not carried out."""

    kind: ClassVar[str] = "html"
    status: int = 502

    def before(self, action: str) -> Response:
        return HTMLResponse(_HTML.format(status=self.status), self.status)


@dataclass(kw_only=True)
class Reset(RequestFault):
    """The connection is dropped; the action is not carried out."""

    kind: ClassVar[str] = "reset"

    def before(self, action: str) -> None:
        raise ConnectionDroppedError


@dataclass(kw_only=True)
class Slow(RequestFault):
    """The reply comes some seconds later."""

    kind: ClassVar[str] = "slow"
    seconds: float = 1.0

    def group(self) -> Hashable:
        return id(self)

    async def delay(self) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(kw_only=True)
class LostReply(RequestFault):
    """The action is carried out, and its reply is lost."""

    kind: ClassVar[str] = "lost_reply"
    moment: ClassVar[str] = "a request, after it was carried out"

    def after(self) -> None:
        raise ConnectionDroppedError


@dataclass(kw_only=True)
class EmptyJob(RequestFault):
    """GetBatchMediaProducingJob answers 200 without a job."""

    kind: ClassVar[str] = "empty_job"

    def hits(self, name: str) -> bool:
        return name == "GetBatchMediaProducingJob" and super().hits(name)

    def before(self, action: str) -> dict[str, Any]:
        return {}


@dataclass(kw_only=True)
class UnauthorizedRam(RequestFault):
    """The RAM user lacks the permission for the action."""

    kind: ClassVar[str] = "unauthorized_ram"

    def before(self, action: str) -> None:
        raise forbidden_by_ram(action)
