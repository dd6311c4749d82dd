"""One real Airflow for all end-to-end tests, and a local ICE for each scenario, so that scenarios
run side by side.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_ice.emulator.local import LocalIce
from tests.real_airflow import RealAirflow

ROOT = Path(__file__).resolve().parents[2]

# A secret of its own, so that finding it in a log proves a leak and not a coincidence.
SECRET = "testsecret-that-must-not-show"
WATCHED = ("watched", "others")
SCENARIOS = ("default", "failing", "half", "half_any", "throttled", *WATCHED)
RENDERED = {"default", "watched"}

SECONDS = 900
"""For one test; the first one also starts Airflow, and the slowest ones wait for Airflow to notice
a killed part.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder the time that a real Airflow takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def ices() -> Iterator[dict[str, LocalIce]]:
    """A local ICE for each scenario; connection `ice_NAME` leads to it."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                LocalIce(
                    job_seconds=3.0,
                    render=name in RENDERED,
                    access_key_secret=SECRET,
                    callback_auth_key="abc123",
                )
            )
            for name in SCENARIOS
        }


def connection_to(ice: LocalIce) -> dict[str, str]:
    """Return the fields of an Airflow connection to a local ICE."""
    return {
        "conn_type": "alibaba_ice",
        "host": ice.url,
        "login": ice.access_key_id,
        "password": SECRET,
    }


def watched_example(published: Path) -> str:
    """Return dags/ice_publish_whatever_ends.py as a reader edits it, under a name of its own."""
    watched = (ROOT / "dags/ice_publish_whatever_ends.py").read_text()
    for example, ours in (
        # An account of its own: the other tests' jobs are none of this DAG's business.
        ('"ice_default"', '"ice_watched"'),
        ("POLL_SECONDS = 60", "POLL_SECONDS = 2"),
        ('"published"', repr(str(published))),
        ("def ice_publish_whatever_ends", "def ice_publish_watched"),
        ("\nice_publish_whatever_ends()", "\nice_publish_watched()"),
        ("is_paused_upon_creation=True", "is_paused_upon_creation=False"),
    ):
        assert example in watched, example
        watched = watched.replace(example, ours)
    return watched


@pytest.fixture(scope="session")
def airflow(
    ices: dict[str, LocalIce], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealAirflow]:
    """A real Airflow with the example DAGs and those of the tests."""
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    for source in (*(ROOT / "dags").glob("*.py"), *(ROOT / "tests/e2e/dags").glob("*.py")):
        shutil.copy(source, dags)
    (dags / "ice_publish_watched.py").write_text(watched_example(folder / "published"))
    connections = {f"ice_{name}": connection_to(ice) for name, ice in ices.items()}
    settings = {
        "CORE__PARALLELISM": "8",
        # Seconds after which a frozen worker is given up; its tasks are then retried.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        # Seconds after which another triggerer takes over the waits of a killed one.
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    }
    with RealAirflow(
        folder / "home", dags, connections=connections, settings=settings, apart=True
    ) as airflow:
        yield airflow
