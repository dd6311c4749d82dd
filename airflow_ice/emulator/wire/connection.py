"""Dropping a TCP connection without a reply, which ASGI itself has no word for.

The server's protocol class hands each connection's transport to the application in the scope's `state`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.types import Receive, Scope
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_TRANSPORT: Final = "ice_emulator_transport"


def droppable_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's own HTTP protocol, made to tell the application its transport."""
    base: Any = AutoHTTPProtocol

    def connection_made(self: Any, transport: asyncio.BaseTransport) -> None:
        base.connection_made(self, transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}

    protocol: type[asyncio.Protocol] = type(
        "DroppableProtocol", (base,), {"connection_made": connection_made}
    )
    return protocol


async def drop_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request at once, with no reply.

    :raises ConnectionAbortedError: the server is not one of `droppable_protocol`, so nothing could be closed.
    """
    transport = scope.get("state", {}).get(_TRANSPORT)
    if transport is None:
        raise ConnectionAbortedError("the connection is dropped on purpose")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        continue
