"""The demo without its Airflow: what it asks for, what it shows, and what it says when a run fails."""

from __future__ import annotations

from pathlib import Path

from airflow_ice.demo.run import DemoOptions, _conf
from airflow_ice.emulator.objects import parse_object_url


def test_the_clips_of_a_user_are_named_as_urls(tmp_path: Path) -> None:
    names = ["take #1.mp4", "what?.mp4", "50%25.mp4", "shop/a b.mp4"]
    (group,) = _conf(DemoOptions(output=tmp_path), {"all": names}, "ice-emulator")["input_config"]["MediaGroupArray"]
    found = [parse_object_url(url) for url in group["MediaArray"]]
    assert [name.key for name in found if name] == names
