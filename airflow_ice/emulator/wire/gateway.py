"""One request in, one reply out: authentication, faults, the action, and the service's errors."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_ice.api.signature import API_VERSION
from airflow_ice.emulator.model.errors import ServiceError
from airflow_ice.emulator.model.faults import Faults
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.emulator.wire.actions import Actions
from airflow_ice.emulator.wire.authentication import Authenticator
from airflow_ice.emulator.wire.connection import drop_connection
from airflow_ice.emulator.wire.faults import ConnectionDroppedError, RequestFault

logger = logging.getLogger(__name__)

_REMEMBERED_REQUESTS: Final = 100_000
_CONTENT_TYPE: Final = "application/json;charset=utf-8"


class Gateway:
    """Serves `POST /`, and GET, as one page of the documentation prints it; an ASGI application.

    :ivar requests: what was asked, oldest first: action, time (real, seconds since the epoch),
        http_status, code. A connection that was dropped has the http_status 0 and the kind of the
        fault as its code.
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
        response: Response | None = None
        try:
            response = await self._reply(request, seen, request_id)
        except ConnectionDroppedError:
            seen["http_status"] = 0
        except ServiceError as error:
            seen["code"] = error.code
            response = self._refusal(error, request_id)
        except Exception:
            # The last resort: a failure of the emulator is an answer too, and the log has its cause.
            logger.exception("the emulator failed at %s", seen["action"])
            seen["code"] = "InternalError"
            message = "The request processing has failed due to some unknown error."
            response = self._refusal(ServiceError(500, "InternalError", message), request_id)
        seen["http_status"] = response.status_code if response else 0
        code = seen["code"] or "OK"
        logger.info("%s %s %s %s", seen["action"] or "-", seen["http_status"], code, request_id)
        if response is None:
            await drop_connection(scope, receive)
        else:
            await response(scope, receive, send)

    async def _reply(self, request: Request, seen: dict[str, Any], request_id: str) -> Response:
        action = seen["action"]
        if not self._actions.knows(action):
            message = "Specified api is not found, please check your url and method."
            raise ServiceError(404, "InvalidAction.NotFound", message)
        if request.headers.get("x-acs-version") != API_VERSION:
            raise ServiceError(400, "InvalidVersion", "Specified parameter Version is not valid.")
        body = await request.body()
        query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self._authenticator.check(request.method, request.url.path, query, request.headers, body)
        faults = self._faults.take(RequestFault, lambda fault: fault.hits(action))
        for fault in faults:
            await fault.delay()
        for fault in faults:
            with _told(fault, seen):
                replaced = fault.before(action)
            if isinstance(replaced, Response):
                seen["code"] = fault.kind
                return replaced
            if replaced is not None:
                return self._success(replaced, request_id)
        # Guess: that the gateway takes every parameter from the query and from the form alike.
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True) if body else []
        base_url = str(request.base_url).rstrip("/")
        answer = self._actions.answer(action, dict([*query, *form]), base_url)
        for fault in faults:
            with _told(fault, seen):
                fault.after()
        return self._success(answer, request_id)

    def _success(self, answer: dict[str, Any], request_id: str) -> Response:
        return _json_response({"RequestId": request_id, **answer}, 200, request_id, {})

    def _refusal(self, error: ServiceError, request_id: str) -> Response:
        advice = f"q={error.code}&product=ICE&requestId={request_id}"
        body = {
            "RequestId": request_id,
            "HostId": self._host_id,
            "Code": error.code,
            "Message": error.message,
            "Recommend": f"https://api.aliyun.com/troubleshoot?{advice}",
            **error.extra,
        }
        return _json_response(body, error.http_status, request_id, error.headers)


@contextlib.contextmanager
def _told(fault: RequestFault, seen: dict[str, Any]) -> Iterator[None]:
    """Note the fault that drops a connection where the code of a reply would stand."""
    try:
        yield
    except ConnectionDroppedError:
        seen["code"] = fault.kind
        raise


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
