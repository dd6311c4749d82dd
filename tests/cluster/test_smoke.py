"""A small cluster, and the kills that matter most: each wish is paid once.

The rows are played side by side, so what is killed in one hits the others as well.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.faults import wishes_of
from tests.cluster.matrix import Result, play, table

ROWS = (
    "baseline",
    "worker killed before the send",
    "worker killed after the send",
    "triggerer killed",
    "tries frozen before the send",
)
SEED = "smoke"


@pytest.fixture(scope="module")
def results(cluster: Cluster) -> dict[str, Result]:
    """Play all rows."""
    with ThreadPoolExecutor(len(ROWS)) as pool:
        played = pool.map(lambda row: play(cluster, row, SEED, "ice_small_cluster"), ROWS)
        try:
            found = {result.row: result for result in played}
        except BaseException:
            cluster.over.set()
            raise
    print(table(found.values()))
    return found


@pytest.mark.parametrize("row", ROWS)
def test_each_wish_is_paid_once_and_its_job_is_in_xcom(
    row: str, results: dict[str, Result]
) -> None:
    result = results[row]
    assert result.wrong == []
    assert result.jobs == result.wishes == len(wishes_of("ice_small_cluster"))
