"""What the emulator says at its start: everything in it works when it is pasted."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from airflow_ice.emulator.banner import banner
from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.model.settings import Settings
from airflow_ice.hooks import IceHook

SETTINGS = Settings(data_dir=Path("unused"), port=4711)


def test_the_connection_that_it_shows_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalIce(
        render=False, access_key_id="o'id", access_key_secret="s$ecr'et", region_id="cn-beijing"
    ) as ice:
        (line,) = re.findall(r"^export (.*)$", banner(ice.settings), re.MULTILINE)
        (setting,) = shlex.split(line)
        monkeypatch.setenv(*setting.split("=", 1))
        good, said = IceHook().test_connection()
        assert good, said
        assert f"127.0.0.1:{ice.port}" in said
        assert '"region_id": "cn-beijing"' in line


def test_it_shows_the_address_the_keys_and_the_bucket() -> None:
    settings = dataclasses.replace(
        SETTINGS, host="::1", access_key_id="an-id", access_key_secret="a-secret", bucket="a-bucket"
    )
    lines = banner(settings).splitlines()
    assert "http://[::1]:4711 " in lines[0]
    assert [line.split()[-1] for line in lines[1:5]] == [
        "an-id",
        "a-secret",
        "cn-shanghai",
        "a-bucket",
    ]
    assert "region_id" not in banner(settings)
    assert lines[-1].startswith("No clips: with --media-dir DIR")


def test_it_shows_the_url_of_each_clip_as_jobs_name_it(tmp_path: Path) -> None:
    for name in ("take #1.mp4", "shop/a.MOV", "logo.png", "voice.mp3", "notes.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with LocalIce(render=False, media_dir=tmp_path, bucket="mine") as ice:
        text = banner(ice.settings)
        shown = re.findall(r"^  (http://mine\S+)$", text, re.MULTILINE)
        known = {item["url"]: item["key"] for item in ice.media()}
    assert [known[url] for url in shown] == ["logo.png", "shop/a.MOV", "take #1.mp4", "voice.mp3"]
    assert f"Clips in the folder {tmp_path}," in text


def test_many_clips_are_cut_short_with_their_number(tmp_path: Path) -> None:
    for number in range(103):
        (tmp_path / f"{number:03}.mp4").touch()
    *_, before_last, last = banner(dataclasses.replace(SETTINGS, media_dir=tmp_path)).splitlines()
    assert before_last.endswith("/099.mp4")
    assert last == "  and 3 more: curl http://127.0.0.1:4711/_control/media"


def test_a_folder_without_clips_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    text = banner(dataclasses.replace(SETTINGS, media_dir=tmp_path))
    assert text.splitlines()[-1] == f"No clips: there is no video, image or sound in {tmp_path}."
