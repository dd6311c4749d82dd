"""Receives ICE's callbacks on loopback, by a test's own means or as docs/how-to/events.md says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs/how-to/events.md"
PATH = "/done?tenant=a"


class Receiver:
    """Takes callbacks. Answers the statuses given, then what `receive` returns, by default 200.

    :param receive: headers, with names in lower case, and body -> status.
    """

    def __init__(self, receive: Callable[[dict[str, str], bytes], int] = lambda *_: 200) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answered: list[int] = []
        self.receive = receive
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((self.path, dict(self.headers), json.loads(body)))
                status = receiver.answer(dict(self.headers), body)
                receiver.answered.append(status)
                self.send_response(status)
                self.end_headers()

            # The base class names it so.
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        if self.statuses:
            return self.statuses.pop(0)
        try:
            return self.receive({name.lower(): value for name, value in headers.items()}, body)
        except Exception:  # noqa: BLE001 - as the page says
            return 500

    def wait_for(self, count: int, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.received) >= count

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def documented(
    monkeypatch: pytest.MonkeyPatch, address: str, replaced: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run the receiver of the page, and return its names.

    :param replaced: what a reader replaces there, besides the address.
    """
    [code] = re.findall(r"```python\n(import json.*?)```", PAGE.read_text(), re.DOTALL)
    for theirs, ours in {"https://example.com/ice": address, **(replaced or {})}.items():
        assert theirs in code, theirs
        code = code.replace(theirs, ours)
    monkeypatch.setenv("AIRFLOW_PASSWORD", "admin")
    recipe: dict[str, Any] = {"__name__": "recipe"}
    exec(code, recipe)  # noqa: S102 - the page is ours
    return recipe
