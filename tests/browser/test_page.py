"""The page in a real browser, inside a real Airflow, over a local ICE."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect

from airflow_ice.demo.local_airflow import free_port
from airflow_ice.emulator.local import LocalIce
from tests.browser.conftest import SECRET, Visit, input_config, picture, token
from tests.real_airflow import RealAirflow

REVIEW = "ice_preview_review_render"
SOON = 60_000  # ms: a real Airflow starts a task in seconds
SIGNED = re.compile(r"Signature=|OSSAccessKeyId=|security-token=", re.IGNORECASE)

expect.set_options(timeout=30_000)


def time_of(video: Locator) -> float:
    return float(video.evaluate("video => video.currentTime"))


def wait_until_it_plays(video: Locator, beyond: float = 0.0) -> None:
    video.evaluate(
        """(video, beyond) => new Promise((done, failed) => {
            const look = () => {
                if (video.currentTime > beyond && !video.paused) done();
                else if (performance.now() > stop) failed(new Error(
                    `at ${video.currentTime}, ${video.error?.message}`));
                else setTimeout(look, 50);
            };
            const stop = performance.now() + 20000;
            look();
        })""",
        beyond,
    )


def ready(page: Page, number: int) -> None:
    expect(page.locator(".state")).to_contain_text(
        f"{number} of {number} videos ready", timeout=SOON
    )


def answer_in_the_frame(visit: Visit, dag_id: str, run_id: str, task_id: str) -> FrameLocator:
    """Open Airflow's own page of a task on the tab ICE videos, and return the frame in it."""
    run = quote(run_id, safe="")
    address = f"{visit.base}/dags/{dag_id}/runs/{run}/tasks/{task_id}/plugin/ice-videos"
    visit.page.goto(address)
    return visit.page.frame_locator("iframe")


@pytest.fixture(scope="module")
def finished(airflow: RealAirflow, ice: LocalIce) -> str:
    """A run of `ice_page` that has ended, one of its three videos failed."""
    ice.fault(
        "sub_jobs_fail",
        indexes=[1],
        code="InvalidMaterial.NotFound",
        message='The specified clips id not found:["c1ip"]',
    )
    run_id = airflow.trigger("ice_page", conf(ice, count=3))
    assert airflow.wait_for_run("ice_page", run_id) == "success"
    return run_id


@pytest.fixture
def asks(airflow: RealAirflow, ice: LocalIce) -> str:
    """A run of the example DAG whose `pick` asks a person about three previews."""
    return review(airflow, ice)


def conf(ice: LocalIce, count: int) -> dict[str, Any]:
    output = {
        "MediaURL": "http://videos.oss-cn-shanghai.aliyuncs.com/page_{index}.mp4",
        "Count": count,
        "MaxDuration": 4,
        "Width": 320,
        "Height": 180,
    }
    return {"input_config": input_config(ice), "output_config": output}


def review(airflow: RealAirflow, ice: LocalIce) -> str:
    silent = {name: held for name, held in input_config(ice).items() if name != "SpeechTextArray"}
    size = {"Width": 320, "Height": 180}
    url = "http://videos.oss-cn-shanghai.aliyuncs.com/picked_{index}.mp4"
    run_id = airflow.trigger(
        REVIEW,
        {
            "input_config": silent,
            "preview_config": {"Count": 3, "FixedDuration": 4, **size},
            "render_config": {"MediaURL": url, **size},
            "publish_folder": str(airflow.home / "published"),
        },
    )
    airflow.wait_for_question(REVIEW, run_id, "pick")
    return run_id


def test_progress_moves_without_a_reload(
    airflow: RealAirflow, ice: LocalIce, visit: Callable[..., Visit]
) -> None:
    run_id = airflow.trigger("ice_page", conf(ice, count=5))
    page = visit().open("ice_page", run_id, "produce")
    bar = page.get_by_role("progressbar", name="Progress of the batch")
    expect(bar).to_be_visible(timeout=SOON)
    page.evaluate("window.mark = 'not reloaded'")
    shown = page.locator("li.card[data-state=running] .percent")
    expect(shown.first).to_contain_text("%")
    before = float(bar.evaluate("bar => bar.value"))
    picture(page, "running")
    links = f"dags/ice_page/dagRuns/{run_id}/taskInstances/produce/links"
    (link,) = airflow.api("GET", links)["extra_links"].values()
    assert link.endswith("/tasks/produce/plugin/ice-videos")  # while the task runs
    page.wait_for_function(
        "before => (document.querySelector('.bar progress')?.value ?? 100) > before", arg=before
    )
    ready(page, 5)
    assert page.evaluate("window.mark") == "not reloaded"
    expect(page.locator("li.card")).to_have_count(5)
    expect(page.locator("li.card .title").first).to_have_text(re.compile("Now open|Come and see"))


def test_a_video_really_plays_and_leaves_nothing_signed(
    finished: str, visit: Callable[..., Visit]
) -> None:
    page = visit().open("ice_page", finished, "produce")
    page.get_by_role("button", name="Play video 0").click()
    video = page.locator("li.card[data-index='0'] video")
    wait_until_it_plays(video, beyond=0.5)
    assert video.evaluate("video => video.videoWidth") == 320
    assert not SIGNED.search(page.content())
    assert not SIGNED.search(str(video.evaluate("video => [video.src, video.currentSrc]")))
    page.get_by_role("button", name="Play video 2").click()
    wait_until_it_plays(page.locator("li.card[data-index='2'] video"), beyond=0.2)
    picture(page, "finished")


def test_an_expired_address_is_renewed_at_the_same_position(
    ice: LocalIce, finished: str, visit: Callable[..., Visit]
) -> None:
    window = visit()
    window.page.clock.install()
    page = window.open("ice_page", finished, "produce")
    page.get_by_role("button", name="Play video 0").click()
    video = page.locator("li.card video")
    wait_until_it_plays(video, beyond=0.1)
    video.evaluate("video => video.pause()")
    signed = len(ice.requests("GetMediaInfo"))
    ice.advance(2 * 3600)
    page.clock.fast_forward("02:00:00")
    video.evaluate("video => { video.currentTime = 0.8; }")
    expect(video).to_have_attribute("data-renewed", "1")
    video.evaluate("video => video.play()")
    wait_until_it_plays(video, beyond=0.8)
    assert video.get_attribute("data-renewed") == "1"
    assert len(ice.requests("GetMediaInfo")) > signed


def test_a_read_that_breaks_off_is_taken_up_at_the_same_position(
    finished: str, visit: Callable[..., Visit]
) -> None:
    page = visit().open("ice_page", finished, "produce")
    page.get_by_role("button", name="Play video 0").click()
    video = page.locator("li.card video")
    wait_until_it_plays(video, beyond=0.5)
    at = video.evaluate(
        """video => {
            const { currentTime } = video;
            video.dispatchEvent(new Event("error"));
            return currentTime;
        }"""
    )
    expect(video).to_have_attribute("data-renewed", "1")
    video.evaluate(
        "video => new Promise(done => video.readyState ? done() : video.onseeked = done)"
    )
    assert time_of(video) >= at - 0.3


def test_a_preview_plays_through_two_clips(asks: str, visit: Callable[..., Visit]) -> None:
    window = visit()
    frame = answer_in_the_frame(window, REVIEW, asks, "pick")
    frame.get_by_role("button", name="Play preview of video 0").click()
    stage = frame.locator(".stage")
    expect(stage).to_have_attribute("data-place", "0")
    wait_until_it_plays(stage.locator("video:visible"), beyond=0.2)
    expect(stage.locator(".texts")).to_contain_text(re.compile("Now open|Come and see"))
    expect(stage).to_have_attribute("data-place", "1")
    wait_until_it_plays(stage.locator("video:visible"), beyond=0.1)
    expect(frame.locator(".note")).to_contain_text("An approximation")
    expect(frame.locator(".clock")).to_have_text("4 s / 4 s")
    expect(frame.locator(".preview").get_by_role("button", name="Play")).to_be_visible()
    for inner in window.page.frames:
        assert not SIGNED.search(inner.content())


def test_picking_resumes_the_task(
    airflow: RealAirflow, asks: str, visit: Callable[..., Visit]
) -> None:
    window = visit()
    frame = answer_in_the_frame(window, REVIEW, asks, "pick")
    submit = frame.locator("button.primary")
    expect(submit).to_be_disabled()
    for index in (0, 2):
        frame.get_by_role("checkbox", name=f"Video {index}").check()
    expect(frame.locator(".picks")).to_contain_text(
        "2 of 3 videos picked. Each is rendered and billed."
    )
    frame.get_by_role("button", name="Play preview of video 1").click()
    wait_until_it_plays(frame.locator(".stage video:visible"), beyond=0.5)
    picture(window.page, "picking")
    submit.click()
    expect(frame.locator(".state")).to_contain_text("picked 2 videos")
    expect(frame.locator("button.primary")).to_have_count(0)
    assert airflow.wait_for_run(REVIEW, asks) == "success"
    rows = airflow.xcom(REVIEW, asks, "preview", "media")
    picked = [row["project_id"] for row in rows if row["index"] in {0, 2}]
    assert airflow.xcom(REVIEW, asks, "pick") == picked
    assert airflow.xcom(REVIEW, asks, "pick", "picked_by")["name"] == "admin"
    assert len(airflow.xcom(REVIEW, asks, "render", "media_ids")) == 2


def test_cores_own_form_reads_video_and_not_hexadecimal(airflow: RealAirflow, asks: str) -> None:
    path = f"dags/{REVIEW}/dagRuns/{asks}/taskInstances/pick/-1/hitlDetails"
    options = airflow.api("GET", path)["options"]
    assert [name.partition(",")[0] for name in options] == [
        "video 0",
        "video 1",
        "video 2",
        "none of these",
    ]
    airflow.answer(REVIEW, asks, "pick", "none of these")
    assert airflow.wait_for_run(REVIEW, asks) == "success"
    states = {row["task_id"]: row["state"] for row in airflow.tasks(REVIEW, asks)}
    assert states["pick"] == states["render"] == "skipped"


def test_who_may_not_answer_is_told_so(asks: str, visit: Callable[..., Visit]) -> None:
    window = visit(user="vera")
    page = window.open(REVIEW, asks, "pick")
    page.get_by_role("checkbox", name="Video 1").check()
    page.locator("button.primary").click()
    expect(page.locator(".picks .problem")).to_contain_text("You may not do this")
    expect(page.get_by_role("checkbox", name="Video 1")).to_be_checked()
    assert window.errors
    assert all("403" in error for error in window.errors)
    window.errors.clear()


def test_a_failed_video_explains_itself(finished: str, visit: Callable[..., Visit]) -> None:
    page = visit(user="vera").open("ice_page", finished, "produce")
    expect(page.locator(".state")).to_contain_text("2 of 3 videos ready · 1 failed")
    page.get_by_role("radio", name="Failed (1)").check()
    card = page.locator("li.card")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("InvalidMaterial.NotFound")
    expect(card).to_contain_text('The specified clips id not found:["c1ip"]')
    expect(card).to_contain_text("What to do: A clip is not where the job looked for it.")


def test_an_outage_is_said_and_keeps_what_was_seen(
    airflow: RealAirflow, ice: LocalIce, visit: Callable[..., Visit]
) -> None:
    ice.freeze()
    try:
        run_id = airflow.trigger("ice_page", conf(ice, count=2))
        page = visit().open("ice_page", run_id, "produce")
        expect(page.locator(".job")).to_be_visible(timeout=SOON)
        ice.advance(2)  # of the six that the job takes
        expect(page.locator("li.card")).to_have_count(2)
        ice.fault("error", status=503, code="ServiceUnavailable", times=-1)
        expect(page.get_by_role("alert")).to_contain_text("ICE is down")
        expect(page.get_by_role("alert")).to_contain_text("What is below was seen before.")
        expect(page.locator("li.card")).to_have_count(2)
    finally:
        ice.clear_faults()
        ice.unfreeze()
    expect(page.get_by_role("alert")).to_have_count(0)
    ready(page, 2)


GROUNDS = """frame => {
    const found = [];
    for (let one = frame; one; one = one.parentElement)
        found.push(getComputedStyle(one).backgroundColor);
    return found;
}"""
"""The background colours of a frame and all that is around it, from the inside to the outside."""

OWN_DARK = "rgb(22, 29, 46)"
"""The page's own dark ground, where nothing around the frame has a colour."""


def test_the_theme_is_airflows(finished: str, visit: Callable[..., Visit]) -> None:
    window = visit(dark=False)
    window.context.add_init_script("localStorage.setItem('theme', 'dark')")
    frame = answer_in_the_frame(window, "ice_page", finished, "produce")
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    expect(frame.locator("li.card")).to_have_count(3)
    expect(frame.locator("h1")).to_have_css("color", "rgb(236, 236, 240)")
    grounds = window.page.locator("iframe").evaluate(GROUNDS)
    ground = next((colour for colour in grounds if colour.startswith("rgb(")), OWN_DARK)
    expect(frame.locator("body")).to_have_css("background-color", ground)
    picture(window.page, "dark")
    # Airflow's page changes its class, and the frame follows at once.
    window.page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    expect(frame.locator("html")).to_have_attribute("data-theme", "light")


def test_it_can_be_used_at_400_pixels_with_a_keyboard(
    finished: str, visit: Callable[..., Visit]
) -> None:
    page = visit(width=400).open("ice_page", finished, "produce")
    expect(page.locator("li.card")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    play = page.get_by_role("button", name="Play video 0")
    for _ in range(20):
        page.keyboard.press("Tab")
        if play.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    video = page.locator("li.card[data-index='0'] video")
    wait_until_it_plays(video, beyond=0.2)
    assert video.evaluate("video => video === document.activeElement")
    picture(page, "narrow")


def test_a_run_shows_its_jobs_and_totals(finished: str, visit: Callable[..., Visit]) -> None:
    page = visit().open("ice_page", finished)
    expect(page.locator(".state")).to_contain_text("1 job · 2 of 3 videos ready · 1 failed")
    row = page.locator("li.card")
    expect(row).to_contain_text("RequestId")
    row.get_by_role("link", name="produce").click()
    expect(page.locator("li.card")).to_have_count(3)


def test_the_billed_job_and_its_ids_can_be_copied(
    airflow: RealAirflow, finished: str, visit: Callable[..., Visit]
) -> None:
    window = visit()
    window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = window.open("ice_page", finished, "produce")
    page.get_by_role("button", name="Copy media ids").click()
    expect(page.locator("#said")).to_have_text("Copied 2 media ids.")
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert copied.split() == airflow.xcom("ice_page", finished, "produce", "media_ids")
    job_id = airflow.xcom("ice_page", finished, "produce", "job_id")
    page.get_by_text("Billed job").click()
    page.get_by_role("button", name=f"Copy job id {job_id}").click()
    assert page.evaluate("navigator.clipboard.readText()") == job_id


def test_a_task_without_a_job_says_so(finished: str, visit: Callable[..., Visit]) -> None:
    page = visit().open("ice_page", finished, "other")
    expect(page.locator("main")).to_contain_text("This task has no ICE job")


def test_behind_a_path_prefix_everything_works(
    airflow: RealAirflow, finished: str, visit: Callable[..., Visit]
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}/some/prefix"
    environ = airflow.environ()
    airflow.processes.environ = environ | {"AIRFLOW__API__BASE_URL": base}
    try:
        airflow.start_part("api-server", "--port", str(port), name="prefixed")
    finally:
        airflow.processes.environ = environ
    try:
        wait_for(f"{base}/api/v2/monitor/health")
        window = visit(base=base)
        frame = answer_in_the_frame(window, "ice_page", finished, "produce")
        frame.get_by_role("button", name="Play video 2").click()
        wait_until_it_plays(frame.locator("video"), beyond=0.2)
        (inner,) = [one for one in window.page.frames if "/ice/" in one.url]
        assert inner.url.startswith(f"{base}/ice/")
    finally:
        airflow.kill_part("prefixed")


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url, timeout=5.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def test_nobody_is_asked_to_log_in(
    airflow: RealAirflow, finished: str, visit: Callable[..., Visit]
) -> None:
    window = visit()
    window.context.clear_cookies()
    page = window.open("ice_page", finished, "produce")
    expect(page.locator("body")).to_contain_text("You are not logged in")
    assert all("401" in error for error in window.errors)
    window.errors.clear()
    path = f"/ice/api/dags/ice_page/runs/{quote(finished, safe='')}/tasks/produce/-1"
    for user, status in (("vera", 200), ("edith", 200)):
        headers = {"Authorization": f"Bearer {token(airflow, user)}"}
        assert httpx.get(airflow.url + path, headers=headers).status_code == status


def test_no_log_of_airflow_holds_a_secret_or_a_signature(
    airflow: RealAirflow, finished: str
) -> None:
    """Runs last: what all the tests before have left behind."""
    for log in airflow.home.glob("*.log"):
        text = log.read_text(errors="replace")
        assert not SIGNED.search(text), log
        assert SECRET not in text, log
