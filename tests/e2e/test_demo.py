"""`airflow-ice demo` as a user runs it: a process of its own, from beginning to end, and
interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import pytest

from tests.children import child


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo with its temporary files below `folder`, by which its processes are known; kill
    what is left of them.
    """
    command = [sys.executable, "-m", "airflow_ice.cli", "demo", "--output", str(folder / "out")]
    with (
        cleared(folder),
        child(
            [*command, *arguments],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield process


@contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Kill the processes of a demo that outlive the block; a test that judges them does so within
    it.
    """
    try:
        yield
    finally:
        for process_id in processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)


def processes_of(folder: Path) -> dict[int, str]:
    """Return the command lines of all processes whose environment names the folder, by id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (process / "environ").read_text(errors="replace"):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended meanwhile
            continue
    return found


def ended(folder: Path, within: float = 5.0) -> dict[int, str]:
    """Return what is still running of a demo that has ended, after a moment for the last ones."""
    deadline = time.monotonic() + within
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_the_demo_leaves_playable_videos_and_nothing_else(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, colour in (("50%25 take #1", "red"), ("what?", "blue")):
        graph = av.filter.Graph()
        source, sink = graph.add("color", f"c={colour}:s=160x120:r=25:d=3"), graph.add("buffersink")
        source.link_to(sink)
        graph.configure()
        with av.open(str(clips / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("h264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for number in range(75):
                frame = graph.vpull().reformat(format="yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    with demo(tmp_path, "--media", str(clips), "--count", "2") as process:
        output, _ = process.communicate(timeout=240)
        left = ended(tmp_path)
    assert process.returncode == 0, output
    videos = sorted((tmp_path / "out").glob("*.mp4"))
    assert len(videos) == 2
    for video in videos:
        assert video.name in output
        with av.open(str(video)) as container:
            picture = container.streams.video[0]
            assert (picture.width, picture.height) == (540, 960)
            frames = [
                frame.reformat(format="rgb24", width=8, height=8)
                for frame in container.decode(video=0)
            ]
        assert len(frames) == 100
        # Half of the video is cut from the red clip and half from the blue one.
        first, last = (bytes(frames[place].planes[0])[:3] for place in (5, -5))
        assert first[0] > 150 > 100 > first[2]
        assert last[2] > 150 > 100 > last[0]
    assert left == {}
    assert list(tmp_path.glob("airflow-ice-demo-*")) == []


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Airflow is up" in line:
                break
        assert len(processes_of(tmp_path)) > 4
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        left = ended(tmp_path)
    assert process.returncode == 130, output
    assert left == {}
    assert list(tmp_path.glob("airflow-ice-demo-*")) == []


def test_a_terminal_that_closes_ends_everything(tmp_path: Path) -> None:
    master, slave = os.openpty()
    # A process without a terminal takes the first one that it opens for its own, and hears when
    # that closes.
    code = (
        "import os, sys; os.open(os.ttyname(0), os.O_RDWR); "
        "from airflow_ice.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "demo", "--output", str(tmp_path / "out")]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with (
        cleared(tmp_path),
        child(command, env=environ, stdin=slave, stdout=slave, stderr=slave) as process,
    ):
        os.close(slave)
        said = b""
        while b"preparing Airflow" not in said:
            said += os.read(master, 1000)
        while len(processes_of(tmp_path)) < 2:
            time.sleep(0.05)
        os.close(master)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGHUP)  # as the shell does, beside the terminal itself
        assert process.wait(timeout=60) > 0  # not ended by the signal
        left = ended(tmp_path)
    assert left == {}
    assert list(tmp_path.glob("airflow-ice-demo-*")) == []


@pytest.mark.parametrize("clips", [[], ["notes.txt"]])
def test_a_folder_without_clips_is_said_before_anything_starts(
    tmp_path: Path, clips: list[str]
) -> None:
    (tmp_path / "clips").mkdir()
    for name in clips:
        (tmp_path / "clips" / name).write_text("no clip")
    with demo(tmp_path, "--media", str(tmp_path / "clips")) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no clips" in output
    assert "Airflow" not in output


def test_a_broken_clip_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "broken.mp4").write_text("no clip")
    with demo(tmp_path, "--media", str(tmp_path / "clips")) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(tmp_path / "clips" / "broken.mp4") in output
    assert "local ICE" not in output
    assert "Airflow is" not in output
    assert list(tmp_path.glob("airflow-ice-demo-*")) == []
