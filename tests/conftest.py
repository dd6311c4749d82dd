"""What every test starts from: an Airflow of its own that knows no secret and no proxy of the
machine it runs on."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before airflow is imported for the first time: it reads its configuration while it is being
# imported.
_HOME = tempfile.mkdtemp(prefix="airflow-ice-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in list(os.environ):
    if _name.startswith(("ALIBABA_CLOUD_", "AIRFLOW_CONN_")) or _name.upper().endswith("_PROXY"):
        del os.environ[_name]

# Under nohup SIGHUP is ignored, and in a shell's background SIGINT is. Children inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says more of the machine than of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

from airflow_ice.emulator.local import LocalIce  # noqa: E402 - the environment comes first

SetConnection = Callable[..., None]


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch) -> SetConnection:
    """Return what sets the connection `ice_default`, by its fields; an emulator's address and key
    stand in for what is left out."""

    def set_connection(
        ice: LocalIce | None = None, /, conn_id: str = "ice_default", **fields: Any
    ) -> None:
        known: dict[str, Any] = {
            "conn_type": "alibaba_ice",
            "login": "testid",
            "password": "testsecret",
        }
        if ice is not None:
            known |= {
                "host": ice.url,
                "login": ice.access_key_id,
                "password": ice.access_key_secret,
            }
            # The emulator has no quota, and a test has no time for the space between requests.
            fields["extra"] = {"max_requests_per_second": 1000, **fields.get("extra", {})}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(known | fields))

    return set_connection


@pytest.fixture(scope="module")
def running_ice() -> Iterator[LocalIce]:
    """Run an emulator that makes no files, one for a module's tests."""
    with LocalIce(render=False) as local:
        yield local


@pytest.fixture
def connected_ice(running_ice: LocalIce, set_connection: SetConnection) -> Iterator[LocalIce]:
    """Return an emulator with nothing wrong, and point `ice_default` at it. Its record of requests
    is the whole module's."""
    set_connection(running_ice)
    yield running_ice
    running_ice.clear_faults()
    running_ice.unfreeze()
