"""The deferrable triggers of three other providers, each pointed at the benchmark's server instead
of its own service.

All of them speak plain HTTP here, so what TLS costs those that connect anew is not in the figures.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.benchmarks.contenders import FAR, Contender, Waiter, connection, fired


@asynccontextmanager
async def dbt_cloud(port: int, interval: float, _per_second: float) -> AsyncIterator[Waiter]:
    """Yield the wait of DbtCloudRunJobTrigger. Its URL is always https: that one function is
    replaced."""
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    def url_of(
        tenant: str, endpoint: str, *_rest: Any, api_version: str = "v2"
    ) -> tuple[str, dict[str, Any]]:
        return f"http://{tenant}/api/{api_version}/accounts/{endpoint}", {}

    DbtCloudHook.get_request_url_params = staticmethod(url_of)
    connection(
        "dbt_cloud_default",
        conn_type="dbt_cloud",
        host=f"127.0.0.1:{port}",
        login="1",
        password="token",
    )

    async def wait(job_id: str) -> None:
        await fired(
            DbtCloudRunJobTrigger(
                conn_id="dbt_cloud_default",
                run_id=int(job_id),
                end_time=time.time() + FAR,
                poll_interval=interval,
                account_id=1,
            )
        )

    yield wait


@asynccontextmanager
async def databricks(port: int, interval: float, _per_second: float) -> AsyncIterator[Waiter]:
    """Yield the wait of DatabricksExecutionTrigger."""
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    connection(
        "databricks_default",
        conn_type="databricks",
        host="127.0.0.1",
        port=port,
        schema="http",
        password="token",
    )

    async def wait(job_id: str) -> None:
        await fired(
            DatabricksExecutionTrigger(
                int(job_id), "databricks_default", polling_period_seconds=interval
            )  # a float will do
        )

    yield wait


@asynccontextmanager
async def amazon_batch(port: int, interval: float, _per_second: float) -> AsyncIterator[Waiter]:
    """Yield the wait of BatchJobTrigger."""
    from airflow.providers.amazon.aws.triggers.batch import BatchJobTrigger

    extra = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    connection("aws_default", conn_type="aws", login="testid", password="testsecret", extra=extra)

    async def wait(job_id: str) -> None:
        await fired(
            BatchJobTrigger(job_id=job_id, waiter_delay=interval, waiter_max_attempts=10**6)
        )

    yield wait


PEERS: dict[str, tuple[str, Contender]] = {
    "dbt Cloud": ("airflow.providers.dbt.cloud", dbt_cloud),
    "Databricks": ("airflow.providers.databricks", databricks),
    "Amazon Batch": ("airflow.providers.amazon", amazon_batch),
}
"""By name: the package that must be there, and the contender."""


def installed() -> dict[str, Contender]:
    """Return the peers that are installed here."""
    return {name: make for name, (package, make) in PEERS.items() if _found(package)}


def _found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # nor is the package above it
        return False
