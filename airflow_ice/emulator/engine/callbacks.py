"""Callbacks: tells a job's NotifyAddress that it has ended, in the documented form and with the documented tries.

Only addresses on loopback are called: the emulator speaks to nobody else. Tries run on real time, not on the emulator's clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_ice.emulator.model.clock import timestamp
from airflow_ice.emulator.model.jobs import FAILED, sub_job_failure
from airflow_ice.emulator.model.settings import is_loopback
from airflow_ice.emulator.model.store import Job, SubJob

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_TRIES: Final = 3
_SECONDS_BETWEEN_TRIES: Final = 1.0
_TIMEOUT_SECONDS: Final = 3.0
# The account that events come from: a JSON integer of 16 digits, too long for a float.
_USER_ID: Final = 1832203732001234


def batch_event(job: Job) -> dict[str, Any]:
    """Return the event of a main job that has ended. It names neither sub-jobs nor errors."""
    # Guess: the status of a failed batch is the one that the job shows.
    body = {"Status": job.status, "UserData": job.user_data or "", "JobId": job.job_id}
    return _event("BatchProduceMediaComplete", job.completed or job.modified, body)


def sub_job_event(job: Job, sub_job: SubJob) -> dict[str, Any]:
    """Return the event of a sub-job that has ended."""
    # Guess: that sub-jobs tell the NotifyAddress of their main job at all. The status is `Fail` on the page about events.
    failure = sub_job_failure(sub_job.plan, sub_job.render) if sub_job.status == FAILED else None
    body = {
        "Status": "Fail" if failure else sub_job.status,
        "MediaURL": sub_job.media_url or "",
        "MediaId": sub_job.media_id or "",
        "ProjectId": sub_job.project_id,
        "ErrorCode": failure.code if failure else "",
        "ErrorMessage": failure.message if failure else "",
        "JobId": sub_job.job_id,
        "UserData": job.user_data or "",
    }
    return _event("ProduceMediaComplete", sub_job.completed or sub_job.modified, body)


def _event(event_type: str, at: float, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "EventType": event_type,
        "UserId": _USER_ID,
        "EventTime": timestamp(at),
        "MessageBody": body,
    }


def notify_address(user_data: str | None) -> str | None:
    """Return the NotifyAddress in a job's UserData; None when there is none."""
    if not user_data:
        return None
    try:
        value = json.loads(user_data)
    except ValueError:
        return None
    address = value.get("NotifyAddress") if isinstance(value, dict) else None
    return address if isinstance(address, str) and address else None


def may_be_called(address: str) -> bool:
    """Tell whether an address is plain HTTP on this machine's loopback."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "http" and is_loopback(parts.hostname or "")
    except ValueError:
        return False


def signature_headers(address: str, auth_key: str, now: float) -> dict[str, str]:
    """Return the headers that authenticate a callback: the lower-hex MD5 of `address|timestamp|key`."""
    moment = str(int(now))
    # MD5 is what the service's scheme asks for; it protects nothing here.
    digest = hashlib.md5(
        f"{address}|{moment}|{auth_key}".encode(), usedforsecurity=False
    ).hexdigest()
    return {"X-ICE-TIMESTAMP": moment, "X-ICE-SIGNATURE": digest}


class Callbacks:
    """Delivers events, each in a task of its own, so a slow receiver delays nothing.

    :param auth_key: signs callbacks when set.
    """

    # Guess: that per-job callbacks are signed with the key too; the documentation shows it for the global callback.
    def __init__(self, auth_key: str | None) -> None:
        self._auth_key = auth_key
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def send(self, address: str, events: list[dict[str, Any]]) -> None:
        """Deliver events to an address, one after the other."""
        if not may_be_called(address):
            logger.info("callback skipped: its address is not plain HTTP on loopback")
            return
        task = asyncio.get_running_loop().create_task(self._deliver(address, events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is still on its way, and let go of the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _deliver(self, address: str, events: list[dict[str, Any]]) -> None:
        for event in events:
            for attempt in range(_TRIES):
                if attempt:
                    await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
                if await self._post(address, event):
                    break
            else:
                logger.warning(
                    "callback %s for job %s was not taken",
                    event["EventType"],
                    event["MessageBody"]["JobId"],
                )

    async def _post(self, address: str, event: dict[str, Any]) -> bool:
        import httpx

        if self._client is None:
            # No proxy from the environment: loopback is called directly or not at all.
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)
        headers = signature_headers(address, self._auth_key, time.time()) if self._auth_key else {}
        try:
            reply = await self._client.post(address, json=event, headers=headers)
        except httpx.HTTPError:
            return False
        return reply.status_code == 200
