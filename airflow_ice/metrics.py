"""What this package counts, through Airflow's stats.

airflow_ice.requests       counter  requests sent, tags action, outcome (`ok`, an error code, an exception's name)
airflow_ice.throttled      counter  requests that the service throttled
airflow_ice.waits          gauge    waits of one connection and region in this triggerer, tags connection, region
airflow_ice.oldest_wait    gauge    seconds since the oldest of them began, same tags
airflow_ice.poll_duration  timing   one poll for all of them, same tags
"""

from __future__ import annotations

import functools
import sys
from datetime import timedelta
from importlib import import_module
from typing import Any


def request(action: str, outcome: str) -> None:
    """Count a request."""
    stats = _stats()
    stats.incr("airflow_ice.requests", tags={"action": action, "outcome": outcome})
    if outcome.startswith(("Throttling", "RequestsTooFrequent", "IceThrottled")):
        stats.incr("airflow_ice.throttled", tags={"action": action})


def polled(connection: str, region: str | None, waits: int, oldest: float, seconds: float) -> None:
    """Note one poll: how many waits it served, the age of the oldest and what it took, in seconds."""
    tags = {"connection": connection, "region": region or "default"}
    stats = _stats()
    stats.gauge("airflow_ice.waits", waits, tags=tags)
    stats.gauge("airflow_ice.oldest_wait", oldest, tags=tags)
    stats.timing("airflow_ice.poll_duration", timedelta(seconds=seconds), tags=tags)


@functools.cache
def _stats() -> Any:
    # Airflow keeps two copies of its stats: core's, which a triggerer sets up, and the Task SDK's, which a task process sets up.
    in_triggerer = "airflow.jobs.triggerer_job_runner" in sys.modules
    return import_module("airflow.observability.stats" if in_triggerer else "airflow.sdk.observability.stats")
