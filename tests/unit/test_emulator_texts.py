"""Texts and scenes that the emulator draws: they show, at their time and place, and they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from av.video.frame import VideoFrame

from airflow_ice.emulator.media.render import Sources, render
from airflow_ice.emulator.media.scenes import SCENES, make_scene
from airflow_ice.emulator.media.text import Label, labelled, text_picture
from airflow_ice.emulator.model.timeline import Caption, Segment, Timeline

WIDTH, HEIGHT = 320, 192


def rendered(path: Path, **more: Any) -> list[bytes]:
    """Return the brightness of each picture of a video of one second, row by row."""
    timeline = Timeline(1, WIDTH, HEIGHT, 20, 0.0, (Segment("x", 1.0),), **more)
    render(timeline, Sources([None]), path, lambda: False)
    return pictures(path)


def pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [
            bytes(frame.reformat(width=WIDTH, height=HEIGHT, format="gray").planes[0])
            for frame in container.decode(video=0)
        ]


def strip(picture: bytes, top: float, bottom: float) -> bytes:
    return picture[round(top * HEIGHT) * WIDTH : round(bottom * HEIGHT) * WIDTH]


def changed(one: bytes, other: bytes) -> int:
    return sum(abs(a - b) > 60 for a, b in zip(one, other, strict=True))


def test_a_title_shows_on_top_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    plain = rendered(tmp_path / "plain.mp4")
    titled = rendered(tmp_path / "titled.mp4", title="A new shop")
    other = rendered(tmp_path / "other.mp4", title="An old shop")
    assert len(titled) == len(plain) == 25
    for number in (0, 24):
        assert changed(strip(titled[number], 0, 0.2), strip(plain[number], 0, 0.2)) > 60
        assert changed(strip(titled[number], 0.2, 1), strip(plain[number], 0.2, 1)) == 0
        assert changed(strip(titled[number], 0, 0.2), strip(other[number], 0, 0.2)) > 20


def test_a_subtitle_shows_below_while_it_is_spoken(tmp_path: Path) -> None:
    plain = rendered(tmp_path / "plain.mp4")
    captions = (Caption("First words", 0.2, 0.4), Caption("and others", 0.6, 0.4))
    spoken = rendered(tmp_path / "spoken.mp4", captions=captions)
    differs = [
        changed(strip(one, 0.8, 1), strip(other, 0.8, 1)) > 100
        for one, other in zip(spoken, plain, strict=True)
    ]
    assert differs == [False] * 5 + [True] * 20
    assert changed(strip(spoken[10], 0.8, 1), strip(spoken[20], 0.8, 1)) > 50


def test_a_long_text_is_wrapped_and_stays_in_the_picture() -> None:
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane in frame.planes:
        plane.update(b"\x80" * plane.buffer_size)
    (drawn,) = labelled([frame], [Label("many words " * 8, 2, bottom=0.95)])
    rows = bytes(drawn.reformat(format="gray").planes[0])
    width = drawn.reformat(format="gray").planes[0].line_size
    lit = [row for row in range(HEIGHT) if max(rows[row * width : row * width + WIDTH]) > 220]
    assert max(lit) < 0.95 * HEIGHT
    assert max(lit) - min(lit) > 3 * 16


def content(text: str) -> bytes:
    return bytes(text_picture([text]).planes[0])


def test_characters_outside_of_ascii_are_told_apart() -> None:
    assert len({content(text) for text in ("今天", "明天", "今日", "  ", "ab")}) == 5
    (accented,) = labelled([blank()], [Label("crème brûlée", 1)])
    (plain,) = labelled([blank()], [Label("creme brulee", 1)])
    assert bytes(accented.planes[0]) == bytes(plain.planes[0])


def blank() -> VideoFrame:
    frame = VideoFrame(128, 64, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


def test_no_text_leaves_the_pictures_alone() -> None:
    frame = blank()
    assert list(labelled([frame], [Label(" ", 1)])) == [frame]


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_moves_and_carries_its_name(scene: str, tmp_path: Path) -> None:
    size = {"width": WIDTH, "height": HEIGHT}
    make_scene(tmp_path / "named.mp4", "opening", scene, seconds=0.8, **size)
    make_scene(tmp_path / "other.mp4", "product", scene, seconds=0.8, **size)
    named, other = pictures(tmp_path / "named.mp4"), pictures(tmp_path / "other.mp4")
    assert len(named) == 20
    assert sum(abs(a - b) > 20 for a, b in zip(named[0], named[-1], strict=True)) > 100
    assert changed(strip(named[0], 0.25, 0.6), strip(other[0], 0.25, 0.6)) > 50
    # Above it is the place of a video's title.
    for above, below in ((0, 0.2), (0.65, 1)):
        assert changed(strip(named[0], above, below), strip(other[0], above, below)) == 0


def loudness(path: Path) -> float:
    """Return the mean square of the sound."""
    total, count = 0.0, 0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = memoryview(bytes(frame.planes[0])).cast("f")
            total += sum(value * value for value in samples)
            count += len(samples)
    return total / count


def test_music_takes_the_place_of_the_placeholder(tmp_path: Path) -> None:
    music = tmp_path / "music.mp4"
    rendered(music)
    results = {}
    for volume in (0.0, 0.2, 1.0):
        timeline = Timeline(1, 128, 128, 30, 0.0, (Segment("x", 0.8),), music_volume=volume)
        render(timeline, Sources([None], music=music), tmp_path / "v.mp4", lambda: False)
        results[volume] = loudness(tmp_path / "v.mp4")
    assert results[0.0] < 1e-9 < results[0.2] < results[1.0] / 10
