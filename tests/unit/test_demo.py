"""The demo without its Airflow: what it asks for, what it shows, and what it says when a run fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from airflow_ice.api.client import IceClient
from airflow_ice.api.errors import IceTransportError
from airflow_ice.demo.local_airflow import LocalAirflow, LocalAirflowError
from airflow_ice.demo.run import DemoOptions, _conf, _progress
from airflow_ice.emulator.objects import parse_object_url


def test_the_clips_of_a_user_are_named_as_urls(tmp_path: Path) -> None:
    names = ["take #1.mp4", "what?.mp4", "50%25.mp4", "shop/a b.mp4"]
    (group,) = _conf(DemoOptions(output=tmp_path), {"all": names}, "ice-emulator")["input_config"]["MediaGroupArray"]
    found = [parse_object_url(url) for url in group["MediaArray"]]
    assert [name.key for name in found if name] == names


@pytest.fixture
def airflow(tmp_path: Path) -> LocalAirflow:
    """Return an Airflow that was never started."""
    return LocalAirflow(tmp_path, tmp_path, connections={})


def test_an_airflow_that_does_not_answer_is_an_error_of_its_own(airflow: LocalAirflow) -> None:
    with pytest.raises(LocalAirflowError, match=f"no reply from Airflow at {airflow.url}.*ConnectError"):
        airflow.tasks("dag", "run")
    airflow.stop()


def test_an_airflow_that_refuses_the_login_is_an_error_of_its_own(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = httpx.MockTransport(lambda _: httpx.Response(401, text="who are you"))
    monkeypatch.setattr(airflow, "_http", httpx.Client(base_url=airflow.url, transport=answers))
    with pytest.raises(LocalAirflowError, match="auth/token: HTTP 401: who are you"):
        airflow.ui("connections/hook_meta")
    airflow.stop()


def test_no_part_goes_through_a_proxy_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example.com:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intranet.example.com")
    airflow = LocalAirflow(tmp_path, tmp_path, connections={})
    airflow.stop()
    ask = "import urllib.request as r; assert r.getproxies()['http']; assert r.proxy_bypass('127.0.0.1')"
    subprocess.run([sys.executable, "-c", ask], env=airflow._environ, check=True)


def test_a_look_that_fails_does_not_end_the_demo() -> None:
    class Airflow:
        def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
            return [{"task_id": "submit", "state": "success"}, {"task_id": "wait", "state": None}]

        def xcom(self, *_: str) -> str:
            return "job-1"

    class Client:
        def get_batch_media_producing_job(self, job_id: str) -> Any:
            raise IceTransportError("the connection broke", action="GetBatchMediaProducingJob")

    airflow, client = cast("LocalAirflow", Airflow()), cast("IceClient", Client())
    progress = _progress(airflow, client, "run")
    assert (progress.job_id, progress.job_status, progress.tasks["wait"]) == ("job-1", "not known", ["waiting"])


def test_a_second_ctrl_c_leaves_no_process_behind(airflow: LocalAirflow) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); signal.pause()"
    parts = []
    for name in ("one", "two"):
        process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        airflow._processes[name] = process
        parts.append(process)
    before = signal.signal(signal.SIGALRM, press)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        airflow.stop()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [process.returncode for process in parts] == [-signal.SIGKILL] * 2
