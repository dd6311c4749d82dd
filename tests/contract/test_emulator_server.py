"""The server as a whole: how it starts, stops, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from alibabacloud_ice20201109 import models

from airflow_ice.emulator.local import LocalIce
from tests.children import child
from tests.contract.conftest import Sdk, Wire

PROGRAM = """
import logging, sys
from pathlib import Path
from airflow_ice.emulator.server import serve
from airflow_ice.emulator.model.settings import Settings
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
serve(Settings(data_dir=Path(sys.argv[1]), port=0))
print("stopped cleanly")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "data")]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().rsplit(" ")[-1].strip()
        for _ in range(2000):
            try:
                assert (
                    httpx.get(f"{address}/_control/health", trust_env=False).json()["status"]
                    == "ok"
                )
                break
            except httpx.ConnectError:
                time.sleep(0.01)
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.endswith("stopped cleanly\n")
    assert errors == ""


def test_the_command_prints_an_address_that_answers_and_nothing_is_left(tmp_path: Path) -> None:
    program = "from airflow_ice.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-W", "error", "-c", program, "emulator", "--port", "0"]
    with child(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[3]
        # Connected at once, so before the application is up.
        reply = httpx.get(f"{address}/_control/health", trust_env=False)
        assert reply.json()["status"] == "ok"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert address in process.stdout.read()  # of the connection to paste
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with LocalIce(job_seconds=0, data_dir=tmp_path) as ice:
        Sdk(ice).submit(output={"Count": 1})
        ice.finish_all()
        port = ice.port
    assert set(threading.enumerate()) <= before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert (tmp_path / "ice.sqlite3").is_file()


def test_the_temporary_folder_is_removed() -> None:
    with LocalIce(render=False) as ice:
        folder = ice.settings.data_dir
        assert folder.is_dir()
    assert not folder.exists()


def test_a_port_that_is_taken_is_an_error(ice: LocalIce) -> None:
    with pytest.raises(OSError, match="in use"), LocalIce(port=ice.port):
        pass


def test_outside_its_block_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        LocalIce().jobs()


async def test_many_requests_at_once(ice: LocalIce, sdk: Sdk) -> None:
    job_id = sdk.submit()
    request = models.GetBatchMediaProducingJobRequest(job_id=job_id)
    replies = await asyncio.gather(
        *(sdk.client.get_batch_media_producing_job_async(request) for _ in range(50))
    )
    assert {reply.body.editing_batch_job.job_id for reply in replies} == {job_id}
    assert len(ice.requests("GetBatchMediaProducingJob")) == 50


def test_a_failure_of_the_emulator_is_an_answer(
    ice: LocalIce, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_ice.emulator.wire import replies

    monkeypatch.setattr(replies, "list_row", lambda job: 1 / 0)
    Sdk(ice).submit()
    reply = wire.call("ListBatchMediaProducingJobs")
    assert (reply.status_code, reply.json()["Code"]) == (500, "InternalError")


def test_get_is_taken_like_post(ice: LocalIce, wire: Wire) -> None:
    # One page of the documentation prints GET; the signature then covers that method.
    headers = wire.headers("ListBatchMediaProducingJobs", {})
    reply = httpx.get(ice.url, headers=headers, trust_env=False)
    assert reply.json()["Code"] == "SignatureDoesNotMatch"
