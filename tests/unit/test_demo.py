"""The demo without its Airflow: what it asks for and shows, and what it says when a run fails."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from rich.console import Console

from airflow_ice.api.client import IceClient
from airflow_ice.api.errors import IceTransportError
from airflow_ice.demo.clips import check_clips, make_clips, media_groups
from airflow_ice.demo.errors import LocalAirflowError
from airflow_ice.demo.local_airflow import LocalAirflow
from airflow_ice.demo.run import DAG_ID, DemoOptions, _conf, _keep, _last_error, _progress, _why
from airflow_ice.demo.show import Progress, Show, published_lines
from airflow_ice.emulator.media.objects import parse_object_url
from airflow_ice.waiting import counted


def test_the_clips_of_a_user_are_named_as_urls(tmp_path: Path) -> None:
    names = ["take #1.mp4", "what?.mp4", "50%25.mp4", "shop/a b.mp4"]
    (group,) = _conf(DemoOptions(output=tmp_path), {"all": names}, "ice-emulator")["input_config"][
        "MediaGroupArray"
    ]
    found = [parse_object_url(url) for url in group["MediaArray"]]
    assert [name.key for name in found if name] == names


@pytest.fixture
def airflow(tmp_path: Path) -> Iterator[LocalAirflow]:
    """Return an Airflow that was never started."""
    made = LocalAirflow(tmp_path, tmp_path, connections={})
    yield made
    made.stop()


def test_an_airflow_that_does_not_answer_is_an_error_of_its_own(airflow: LocalAirflow) -> None:
    with pytest.raises(
        LocalAirflowError, match=f"no reply from Airflow at {airflow.url}.*ConnectError"
    ):
        airflow.tasks("dag", "run")


def test_an_airflow_that_refuses_the_login_is_an_error_of_its_own(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = httpx.MockTransport(lambda _: httpx.Response(401, text="who are you"))
    monkeypatch.setattr(airflow, "_http", httpx.Client(base_url=airflow.url, transport=answers))
    with pytest.raises(LocalAirflowError, match="auth/token: HTTP 401: who are you"):
        airflow.ui("connections/hook_meta")


def test_no_part_goes_through_a_proxy_to_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example.com:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intranet.example.com")
    airflow = LocalAirflow(tmp_path, tmp_path, connections={})
    airflow.stop()
    ask = (
        "import urllib.request as r; assert r.getproxies()['http']; "
        "assert r.proxy_bypass('127.0.0.1')"
    )
    subprocess.run([sys.executable, "-c", ask], env=airflow.processes.environ, check=True)


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
    assert (progress.job_id, progress.job_status, progress.tasks["wait"]) == (
        "job-1",
        "not known",
        ["waiting"],
    )


def test_a_second_ctrl_c_leaves_no_process_behind(airflow: LocalAirflow) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    stubborn = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(flush=True); signal.pause()"
    )
    parts = []
    for name in ("one", "two"):
        process = subprocess.Popen(
            [sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True
        )
        airflow.processes._running[name] = (
            process  # before anything is read: the fixture then ends it
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        parts.append(process)
    # Not SIGALRM, which counts the time of the test.
    before = signal.signal(signal.SIGUSR1, press)
    later = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        later.start()
        airflow.stop()
    finally:
        later.join()
        signal.signal(signal.SIGUSR1, before)
    assert [process.returncode for process in parts] == [-signal.SIGKILL] * 2


LOG = (Path(__file__).resolve().parents[1] / "samples" / "task_log_failed.jsonl").read_text()


def test_the_reason_of_a_failure_is_read_from_the_log_of_its_task(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {
        "submit": "success",
        "wait": "success",
        "collect": "failed",
        "publish": "upstream_failed",
    }
    rows = [
        {"task_id": task_id, "state": state, "map_index": -1} for task_id, state in states.items()
    ]
    folder = airflow.home / "logs" / f"dag_id={DAG_ID}" / "run_id=r" / "task_id=collect"
    folder.mkdir(parents=True)
    (folder / "attempt=1.log").write_text(LOG)
    monkeypatch.setattr(airflow, "tasks", lambda *_: rows)
    why = _why(airflow, "r")
    assert why.startswith(
        "task collect failed: NonRetryableIceTooFewVideosError: 0 of the 1 sub-jobs of 2bd270de"
    )
    assert "InvalidParameter.ResourceContentBad" in why
    assert "\n" not in why


def test_what_was_raised_counts_and_not_its_cause() -> None:
    details = [
        {"exc_type": "IceTransportError", "exc_value": "no\n reply"},
        {"exc_type": "ConnectError", "exc_value": "111"},
    ]
    entry = {"level": "error", "event": "Task failed with exception", "error_detail": details}
    assert _last_error(f"not JSON\n[1]\n{json.dumps(entry)}\n") == "IceTransportError: no reply"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "its log names no error"),
        ('{"level": "info", "event": "all is well"}\nKilled\n"error"', "its log names no error"),
        ('{"level": "error", "event": "Process timed out"}', "Process timed out"),
    ],
)
def test_a_log_without_a_traceback(log: str, said: str) -> None:
    assert _last_error(log) == said


def test_keep_names_the_address_and_the_login_and_stays_until_ctrl_c(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("airflow_ice.demo.run.time.sleep", sleep)
    shown = io.StringIO()
    _keep(airflow, "manual__1+00:00", Console(file=shown, width=200))
    assert len(slept) == 3
    before, after = shown.getvalue().split("videos stay.")
    page = f"{airflow.url}/dags/{DAG_ID}/runs/manual__1%2B00%3A00/plugin/ice-videos-of-run"
    for word in (
        airflow.url,
        page,
        "user admin",
        "password admin",
        "Ctrl-C stops Airflow",
        "removes",
    ):
        assert word in before
    assert after == "\n\nStopping Airflow and the local ICE; this takes a few seconds.\n"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder)
    return folder


def test_the_demos_own_clips_can_be_used(clips: Path) -> None:
    names = [name for group in media_groups(clips).values() for name in group]
    assert len(names) == 4
    check_clips(clips, names, 2.0)


def test_each_clip_that_cannot_be_used_is_named_with_its_reason(
    clips: Path, tmp_path: Path
) -> None:
    whole = (clips / "opening" / "sunrise.mp4").read_bytes()
    (tmp_path / "good.mp4").write_bytes(whole)
    (tmp_path / "cut off.mp4").write_bytes(whole[:500])  # within its index, which comes first
    (tmp_path / "text.mov").write_text("no video")
    (tmp_path / "empty.png").touch()
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0" * 8000)
    names = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(ValueError, match="clips that cannot be used") as refused:
        check_clips(tmp_path, names, 1.0)
    _, *lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"  {tmp_path / name}" for name in names if name != "good.mp4"
    ]
    assert lines[2].endswith(": it holds no picture")
    assert all(line.partition(": ")[2] for line in lines)


def test_the_list_of_videos_fits_80_columns_and_shows_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    media_id = "0123456789abcdef" * 2
    folder = tmp_path / "demo-output"
    folder.mkdir()
    published = []
    for index, duration in ((0, 4.0), (99, 3599.96)):
        file = folder / f"video-{index}-{media_id}.mp4"
        with file.open("wb") as sparse:
            sparse.truncate(1234 if index == 0 else 12_345_678_900)
        published.append(({"index": index, "duration": duration}, file, "1080 x 1920"))
    shown = io.StringIO()
    for line in published_lines(published):
        Console(file=shown, width=80).print(line, highlight=False, soft_wrap=True)
    heading, columns, *rows = shown.getvalue().splitlines()
    assert heading == "Published 2 videos"
    assert columns.split() == ["video", "length", "picture", "size"]
    assert rows[0].split() == ["0", "4.0", "s", "1080", "x", "1920", "1", "kB"]
    assert rows[2].split() == ["99", "3600.0", "s", "1080", "x", "1920", "12,345,679", "kB"]
    assert [row.strip() for row in rows[1::2]] == [
        f"demo-output/video-{index}-{media_id}.mp4" for index in (0, 99)
    ]
    assert max(map(len, [heading, columns, *rows])) <= 80
    # The columns stand below their headings.
    for word in ("video", "length", "picture"):
        assert rows[0][columns.index(word) + len(word)] == " "


@pytest.mark.parametrize(
    ("tasks", "job", "line"),
    [
        (
            {"submit": ["running"], "wait": ["waiting"], "collect": ["waiting"], "publish": []},
            Progress(),
            "submit running; job not submitted yet",
        ),
        (
            {"submit": ["success"], "wait": ["deferred"], "collect": ["waiting"]},
            Progress(job_status="Processing", sub_jobs=[(0, "Success", 1), (1, "Failed", 0)]),
            "wait deferred; job Processing (1 Success, 1 Failed)",
        ),
        (
            {"collect": ["success"], "publish": ["success", "running", "queued"]},
            Progress(job_status="Finished"),
            "publish 1 success, 1 running, 1 queued; job Finished",
        ),
        (
            {"submit": ["success"], "wait": ["waiting"]},
            Progress(job_status="Init"),
            "between two tasks; job Init",
        ),
        (
            {"submit": ["success"], "publish": ["success"] * 100},
            Progress(job_status="Finished", sub_jobs=[(n, "Success", 100) for n in range(100)]),
            "every task has succeeded; job Finished (100 Success)",
        ),
    ],
)
def test_a_moment_is_a_line_of_80_columns(
    tasks: dict[str, list[str]], job: Progress, line: str
) -> None:
    shown = io.StringIO()
    with Show(Console(file=shown, width=80)) as show:
        for _ in range(2):  # a moment like the one before is not printed again
            show.update(Progress(tasks, "job-1", job.job_status, job.sub_jobs))
    assert shown.getvalue().splitlines() == [line]
    assert len(line) <= 80


def test_a_path_that_is_longer_than_the_terminal_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / ("long name " * 12) / "video.mp4"
    file.parent.mkdir()
    file.touch()
    shown = io.StringIO()
    for line in published_lines([({"index": 0, "duration": 1.0}, file, "1 x 1")]):
        Console(file=shown, width=80).print(line, highlight=False, soft_wrap=True)
    assert str(file) in shown.getvalue()


def test_things_are_counted_in_english() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2)] == ["no clips", "1 clip", "2 clips"]
