"""The front door: one request in, one reply out. Authentication, faults, the action, and errors in the service's own form."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import deque
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from airflow_ice.api.signature import API_VERSION
from airflow_ice.emulator.model.errors import ServiceError, forbidden_by_ram, throttled
from airflow_ice.emulator.model.faults import Fault, Faults
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.wire.actions import Actions
from airflow_ice.emulator.wire.authentication import Authenticator
from airflow_ice.emulator.wire.connection import drop_connection

logger = logging.getLogger(__name__)

_REMEMBERED_REQUESTS: Final = 100_000
_CONTENT_TYPE: Final = "application/json;charset=utf-8"
_HTML: Final = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center><hr>tengine</body></html>"


class Gateway:
    """Serves `POST /` (and GET, as one page of the documentation prints it), an ASGI application.

    :ivar requests: what was asked, oldest first: action, time (real, seconds since the epoch), http_status, code. A connection
        that was dropped has the http_status 0 and the fault as its code.
    """

    def __init__(self, settings: Settings, actions: Actions, faults: Faults) -> None:
        self._authenticator = Authenticator(settings)
        self._actions = actions
        self._faults = faults
        self._host_id = f"ice.{settings.region_id}.aliyuncs.com"
        self.requests: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or drop its connection."""
        request = Request(scope, receive)
        seen = {
            "action": request.headers.get("x-acs-action", ""),
            "time": time.time(),
            "http_status": 0,
            "code": "",
        }
        self.requests.append(seen)
        request_id = str(uuid.uuid4()).upper()
        try:
            response = await self._reply(request, seen, request_id)
        except ServiceError as error:
            seen["code"] = error.code
            response = self._refusal(error, request_id)
        except (
            Exception
        ):  # The last resort: a fault in the emulator is an answer too, and its cause is in the log
            logger.exception("the emulator failed at %s", seen["action"])
            seen["code"] = "InternalError"
            message = "The request processing has failed due to some unknown error."
            response = self._refusal(ServiceError(500, "InternalError", message), request_id)
        seen["http_status"] = response.status_code if response else 0
        logger.info(
            "%s %s %s %s",
            seen["action"] or "-",
            seen["http_status"],
            seen["code"] or "OK",
            request_id,
        )
        if response is None:
            await drop_connection(scope, receive)
            return
        await response(scope, receive, send)

    async def _reply(
        self, request: Request, seen: dict[str, Any], request_id: str
    ) -> Response | None:
        """Return the reply; None drops the connection."""
        action = seen["action"]
        if not self._actions.knows(action):
            message = "Specified api is not found, please check your url and method."
            raise ServiceError(404, "InvalidAction.NotFound", message)
        if request.headers.get("x-acs-version") != API_VERSION:
            raise ServiceError(400, "InvalidVersion", "Specified parameter Version is not valid.")
        body = await request.body()
        query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self._authenticator.check(request.method, request.url.path, query, request.headers, body)
        # Faults come after authentication: a retry that is signed badly, or not anew, must not pass because of one.
        fault = await self._fault(action)
        if fault is not None:
            seen["code"] = fault.kind if fault.kind in ("html", "reset", "lost_reply") else ""
            if fault.kind == "reset":
                return None
            if fault.kind == "html":
                status = int(fault.options.get("status", 502))
                return HTMLResponse(_HTML.format(status=status), status)
            if fault.kind == "empty_job":
                return self._success({}, request_id)
            if error := _error(fault, action):
                raise error
        # Guess: that the gateway takes every parameter from the query and from the form alike.
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True) if body else []
        answer = self._actions.answer(
            action, dict([*query, *form]), str(request.base_url).rstrip("/")
        )
        return (
            None
            if fault is not None and fault.kind == "lost_reply"
            else self._success(answer, request_id)
        )

    async def _fault(self, action: str) -> Fault | None:
        """Wait out the delays that hit this request, and return the other fault that does."""
        other = None
        for fault in self._faults.take_for_request(action):
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds(1.0))
            else:
                other = fault
        return other

    def _success(self, answer: dict[str, Any], request_id: str) -> Response:
        return _json_response({"RequestId": request_id, **answer}, 200, request_id, {})

    def _refusal(self, error: ServiceError, request_id: str) -> Response:
        body = {
            "RequestId": request_id,
            "HostId": self._host_id,
            "Code": error.code,
            "Message": error.message,
            "Recommend": f"https://api.aliyun.com/troubleshoot?q={error.code}&product=ICE&requestId={request_id}",
            **error.extra,
        }
        return _json_response(body, error.http_status, request_id, error.headers)


def _error(fault: Fault, action: str) -> ServiceError | None:
    options = fault.options
    if fault.kind == "throttle":
        status = int(options.get("status", 400))
        return throttled(
            str(options.get("code", "Throttling.User")), status, options.get("retry_after_ms")
        )
    if fault.kind == "unauthorized_ram":
        return forbidden_by_ram(action)
    if fault.kind == "error":
        message = "The request has failed due to a temporary failure of the server."
        code = str(options.get("code", "ServiceUnAvailable"))
        return ServiceError(
            int(options.get("status", 503)), code, str(options.get("message", message))
        )
    return None


def _json_response(
    body: dict[str, Any], status: int, request_id: str, headers: dict[str, str]
) -> Response:
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    acs = {
        "x-acs-request-id": request_id,
        "x-acs-trace-id": uuid.uuid4().hex,
        "content-type": _CONTENT_TYPE,
    }
    return Response(content, status, headers={**acs, **headers})
