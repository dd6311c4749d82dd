"""What this package counts, through Airflow's stats.

* `airflow_ice.requests`, counter: requests sent; tags action, outcome (`ok`, an error code, an
  exception's name)
* `airflow_ice.throttled`, counter: requests that the service throttled; tag action
* `airflow_ice.waits`, gauge: waits of one connection and region in this triggerer; tags connection,
  region
* `airflow_ice.oldest_wait`, gauge: seconds since the oldest of them began; same tags
* `airflow_ice.poll_duration`, timing: one poll for all of them; same tags
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from airflow_ice.api.errors import IceError, IceThrottledError

log = logging.getLogger(__name__)


def request(action: str, error: IceError | None) -> None:
    """Count a request, by what came of it."""
    outcome = "ok" if error is None else error.code or type(error).__name__
    with _harmless():
        _stats().incr("airflow_ice.requests", tags={"action": action, "outcome": outcome})
        if isinstance(error, IceThrottledError):
            _stats().incr("airflow_ice.throttled", tags={"action": action})


def polled(
    connection: str, region: str | None, waits: int, oldest: float, seconds: float | None
) -> None:
    """Note one poll: how many waits it served, the age of the oldest and what it took, in seconds;
    None where there was none.
    """
    tags = {"connection": connection, "region": region or "default"}
    with _harmless():
        _stats().gauge("airflow_ice.waits", waits, tags=tags)
        _stats().gauge("airflow_ice.oldest_wait", oldest, tags=tags)
        if seconds is not None:
            _stats().timing("airflow_ice.poll_duration", timedelta(seconds=seconds), tags=tags)


@contextmanager
def _harmless() -> Iterator[None]:
    """Let no fault of a stats backend reach the caller: it could lose the id of a job that was just
    paid for.
    """
    try:
        yield
    except Exception:
        log.warning("Airflow's stats could not be written", exc_info=True)


@functools.cache
def _stats() -> Any:
    # Airflow keeps two copies of its stats: core's, which a triggerer sets up, and the Task SDK's,
    # which a task process sets up.
    in_triggerer = "airflow.jobs.triggerer_job_runner" in sys.modules
    return import_module(
        "airflow.observability.stats" if in_triggerer else "airflow.sdk.observability.stats"
    )
