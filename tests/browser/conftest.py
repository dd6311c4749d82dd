"""One real Airflow, one local ICE and one Chromium for all tests of the page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from airflow_ice.demo.clips import make_clips
from airflow_ice.emulator.local import LocalIce
from tests.real_airflow import RealAirflow

ROOT = Path(__file__).resolve().parents[2]
SECRET = "testsecret-that-must-not-show"
SECONDS = 600
"""For one test; the first one also starts Airflow."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
USERS = {"admin": "admin", "vera": "viewer", "edith": "user"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder the time that a real Airflow takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in a line of its own that no browser was there: `.ci/run` fails on it."""
    if installed_chromium() is None:
        terminalreporter.write_line(
            "The browser tests did not run: no Chromium or Chrome is installed. Install one "
            "(Debian's package is chromium), then call `make browser`.",
            red=True,
        )


def installed_chromium() -> str | None:
    """Return the Chromium or Chrome of this machine, if there is one."""
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium or Chrome of this machine."""
    found = installed_chromium()
    if found is None:
        pytest.skip("no Chromium or Chrome is installed; Debian's package is called chromium")
    return found


@pytest.fixture(scope="session")
def ice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIce]:
    """A local ICE with clips that render, behind the connection `ice_default`."""
    clips = tmp_path_factory.mktemp("clips")
    make_clips(clips)
    with LocalIce(job_seconds=6.0, media_dir=clips, access_key_secret=SECRET) as ice:
        yield ice


@pytest.fixture(scope="session")
def airflow(
    chromium: str, ice: LocalIce, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealAirflow]:
    """A real Airflow with the page, an admin, a viewer and an editor."""
    del chromium  # no browser, no Airflow
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    mine = Path(__file__).parent / "dags"
    for source in (*mine.glob("*.py"), ROOT / "dags/ice_preview_review_render.py"):
        shutil.copy(source, dags)
    fields = {"conn_type": "alibaba_ice", "login": ice.access_key_id, "password": SECRET}
    connections = {
        "ice_default": {**fields, "host": ice.url},
        "ice_down": {**fields, "host": "http://127.0.0.1:9"},
    }
    settings = {
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(":".join(user) for user in USERS.items()),
        "CORE__PLUGINS_FOLDER": str(_plugins(folder)),
    }
    with RealAirflow(
        folder / "home", dags, connections=connections, settings=settings, apart=True
    ) as airflow:
        yield airflow


def _plugins(folder: Path) -> Path:
    """Return a plugins folder, which holds the plugin where the package was not installed since it
    has one: an editable install knows the entry points of the day on which it was made.
    """
    plugins = folder / "plugins"
    plugins.mkdir()
    if not entry_points(group="airflow.plugins", name="airflow_ice"):
        line = "from airflow_ice.plugin.plugin import IcePlugin  # noqa: F401\n"
        (plugins / "ice.py").write_text(line)
    return plugins


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A browser window of one user, and all that it did."""

    airflow: RealAirflow
    context: BrowserContext
    page: Page
    base: str
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, dag_id: str, run_id: str, task_id: str | None = None) -> Page:
        """Open the page by itself, as the frame in Airflow's page shows it."""
        address = f"{self.base}/ice/dags/{dag_id}/runs/{quote(run_id, safe='')}"
        if task_id:
            address += f"/tasks/{task_id}/{{MAP_INDEX}}"
        self.page.goto(address)
        return self.page


@pytest.fixture
def visit(airflow: RealAirflow, browser: Browser, ice: LocalIce) -> Iterator[Callable[..., Visit]]:
    """Open a window: `visit()`, or `visit(user="vera", dark=True, width=400)`.

    At the end no window may have written an error to its console, or asked a foreign host.
    """
    visits: list[Visit] = []

    def visit(
        *, user: str = "admin", dark: bool = False, width: int = 1280, base: str | None = None
    ) -> Visit:
        base = base or airflow.url
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        path = urlsplit(base).path or "/"
        value = token(airflow, user)
        context.add_cookies(
            [{"name": "_token", "value": value, "domain": "127.0.0.1", "path": path}]
        )
        found = Visit(airflow, context, context.new_page(), base)
        found.page.on(
            "console",
            lambda message: found.errors.append(message.text) if message.type == "error" else None,
        )
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.hosts.add(urlsplit(request.url).netloc))
        visits.append(found)
        return found

    yield visit
    for found in visits:
        found.context.close()
    for found in visits:
        assert not found.errors, found.errors
        own = {urlsplit(found.base).netloc, urlsplit(ice.url).netloc, ""}
        assert found.hosts <= own, found.hosts - own


def token(airflow: RealAirflow, user: str) -> str:
    """Return a token of a user of Airflow's simple auth manager."""
    passwords = json.loads((airflow.home / "passwords.json").read_text())
    credentials = {"username": user, "password": passwords[user]}
    reply = httpx.post(f"{airflow.url}/auth/token", json=credentials, timeout=30.0)
    reply.raise_for_status()
    return str(reply.json()["access_token"])


def picture(page: Page, name: str) -> None:
    """Save what the window shows as docs/page-NAME.png, where ICE_PICTURES is set."""
    if os.environ.get("ICE_PICTURES"):
        page.screenshot(path=ROOT / f"docs/page-{name}.png")


def input_config(ice: LocalIce) -> dict[str, Any]:
    """Return the input of a Script job over the clips of the local ICE."""
    groups: dict[str, list[str]] = {}
    for media in ice.media():
        groups.setdefault(media["key"].split("/")[-2], []).append(media["url"])
    return {
        "MediaGroupArray": [
            {"GroupName": name, "MediaArray": urls} for name, urls in sorted(groups.items())
        ],
        "TitleArray": ["Now open", "Come and see"],
        "SpeechTextArray": ["Fresh bread every morning."],
    }
