"""One small cluster for the smoke, which `make smoke` runs in the environment that has Celery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import SMALL, Cluster

SECONDS = 900
"""For one test; the first one also starts the cluster, and plays for all of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder the time that a cluster takes."""
    for item in items:
        if item.path.parent.name == "cluster" and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with two workers and two triggerers."""
    # Long enough that many waits are deferred at once even on a slow machine.
    with Cluster(SMALL, job_seconds=30.0) as cluster:
        yield cluster
