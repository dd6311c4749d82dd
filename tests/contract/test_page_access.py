"""Who may see a page: every route as nobody, as a user without the DAG, as a viewer, as an editor.

The check is Airflow's own dependency with an auth manager that gives each user what its name says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.models.dag import DagModel  # noqa: TID251 - replaced, for there is no database here
from fastapi import FastAPI
from fastapi.routing import APIRoute

from airflow_ice.demo.clips import make_clips
from airflow_ice.emulator.local import LocalIce
from airflow_ice.hooks import IceHook
from airflow_ice.plugin import access, app
from airflow_ice.plugin.tasks import TaskKey

PREFIX = "/prefix"
MOUNT = PREFIX + "/ice"
USERS = ("nobody", "stranger", "viewer", "editor")
PARTS = {
    "dag_id": "mine",
    "run_id": "r",
    "task_id": "produce",
    "map_index": "-1",
    "place": "0",
}


class NamesAsRights:
    """An auth manager: a token is a name. A stranger may read another DAG, and not this one."""

    def __init__(self) -> None:
        self.checked: list[tuple[str, str | None, DagAccessEntity | None]] = []

    async def get_user_from_token(self, token: str) -> str:
        return token

    def is_authorized_dag(
        self, *, method: str, user: str, access_entity: DagAccessEntity | None, details: Any
    ) -> bool:
        self.checked.append((method, details.id, access_entity))
        if user == "stranger":
            return bool(details.id == "another")
        return user == "editor" or (user == "viewer" and method == "GET")


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> NamesAsRights:
    rights = NamesAsRights()
    monkeypatch.setattr(airflow_app._AuthManagerState, "instance", rights)
    monkeypatch.setattr(DagModel, "get_team_name", staticmethod(lambda dag_id: None))
    return rights


@pytest.fixture(scope="module")
def ice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIce]:
    clips = tmp_path_factory.mktemp("clips")
    make_clips(clips)
    with LocalIce(job_seconds=0, media_dir=clips) as ice:
        yield ice


@pytest.fixture
def ids(ice: LocalIce, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The video of a job that the task `produce` of the DAG `mine` has pushed."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_ICE_DEFAULT",
        f'{{"conn_type": "alibaba_ice", "host": "{ice.url}", "login": "{ice.access_key_id}",'
        f' "password": "{ice.access_key_secret}"}}',
    )
    hook = IceHook()
    job_id = hook.submit_batch_media_producing_job(
        input_config={
            "MediaGroupArray": [{"GroupName": "a", "MediaArray": [ice.media()[0]["url"]]}]
        },
        output_config={
            "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4",
            "Count": 1,
            "FixedDuration": 1,
            "Width": 320,
            "Height": 180,
        },
    )
    ice.finish_all()
    pushed = {"job_id": job_id, "ice_conn_id": "ice_default", "region_id": None}
    produce = TaskKey("mine", "r", "produce")
    monkeypatch.setattr(
        app, "xcom_of_task", lambda task, keys: {"ice_job": pushed} if task == produce else {}
    )
    monkeypatch.setattr(app, "xcom_of_run", lambda dag_id, run_id, key: [(produce, pushed)])
    (video,) = hook.get_batch_media_producing_job(job_id).sub_jobs
    return {"media_id": video.media_id or "", "project_id": video.project_id or ""}


@pytest.fixture
async def client(rights: NamesAsRights) -> AsyncIterator[httpx.AsyncClient]:
    outer = FastAPI(root_path=PREFIX)
    outer.mount("/ice", app.create_app())
    transport = httpx.ASGITransport(app=outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        yield client


def routes() -> list[APIRoute]:
    return [route for route in app.create_app().routes if isinstance(route, APIRoute)]


def path_of(route: APIRoute, ids: dict[str, str], **other: str) -> str:
    return MOUNT + route.path.format(**{**PARTS, **ids, **other})


def cookies(user: str) -> dict[str, str]:
    return {} if user == "nobody" else {"Cookie": f"_token={user}"}


@pytest.mark.parametrize("user", USERS)
async def test_every_route_asks_who_it_is(
    client: httpx.AsyncClient, rights: NamesAsRights, ids: dict[str, str], user: str
) -> None:
    expected = {"nobody": {401}, "stranger": {403}, "viewer": {200, 302}, "editor": {200, 302}}
    assert len(routes()) == 7
    for route in routes():
        rights.checked.clear()
        reply = await client.get(path_of(route, ids), headers=cookies(user))
        assert reply.status_code in expected[user], (route.path, reply.status_code, reply.text)
        if user != "nobody":
            assert rights.checked == [("GET", "mine", DagAccessEntity.XCOM)]


@pytest.mark.parametrize("user", ["nobody", "stranger"])
async def test_who_may_not_see_it_learns_nothing(
    client: httpx.AsyncClient, ids: dict[str, str], user: str
) -> None:
    for route in routes():
        reply = await client.get(path_of(route, ids), headers=cookies(user))
        assert not any(value in reply.text for value in ids.values() if value)
        assert "location" not in reply.headers


async def test_another_dag_in_the_query_opens_nothing(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    for route in routes():
        path = path_of(route, ids) + "?dag_id=another&job_id=x&ice_conn_id=other"
        assert (await client.get(path, headers=cookies("stranger"))).status_code == 403


async def test_all_dags_at_once_is_no_dag(client: httpx.AsyncClient, ids: dict[str, str]) -> None:
    for route in routes():
        reply = await client.get(path_of(route, ids, dag_id="~"), headers=cookies("editor"))
        assert reply.status_code == 404


async def test_nothing_can_be_changed(client: httpx.AsyncClient, ids: dict[str, str]) -> None:
    for route in routes():
        assert route.methods == {"GET"}
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            reply = await client.request(method, path_of(route, ids), headers=cookies("editor"))
            assert reply.status_code == 405


async def test_only_videos_of_the_task_are_signed(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    base = f"{MOUNT}/api/dags/mine/runs/r/tasks"
    for path in (
        f"{base}/produce/-1/videos/{'0' * 32}",
        f"{base}/produce/-1/previews/{'0' * 32}",
        f"{base}/other/-1/videos/{ids['media_id']}",
        f"{base}/produce/3/videos/{ids['media_id']}",
    ):
        reply = await client.get(path, headers=cookies("editor"))
        assert reply.status_code == 404
        assert reply.json()["problem"]["title"] == "No such video"


async def test_a_video_is_sent_on_to_a_fresh_address_that_nothing_keeps(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    path = f"{MOUNT}/api/dags/mine/runs/r/tasks/produce/-1/videos/{ids['media_id']}"
    reply = await client.get(path, headers=cookies("viewer"))
    assert reply.status_code == 302
    assert "Signature=" in reply.headers["location"]
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert not reply.content


async def test_the_page_knows_its_prefix_and_where_media_may_come_from(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    path = f"{MOUNT}/dags/mine/runs/r/tasks/produce/%7BMAP_INDEX%7D"
    reply = await client.get(path, headers={**cookies("viewer"), "Accept": "text/html"})
    assert 'src="/prefix/ice/static/page.js"' in reply.text
    assert 'data-airflow="/prefix"' in reply.text
    assert 'data-data="/prefix/ice/api/dags/mine/runs/r/tasks/produce/-1"' in reply.text
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http://127.0.0.1:" in policy
    assert "Signature" not in reply.text


async def test_names_in_the_page_are_text(client: httpx.AsyncClient, ids: dict[str, str]) -> None:
    name = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    path = f"{MOUNT}/dags/mine/runs/r/tasks/{name.replace('%2F', '')}/-1"
    reply = await client.get(path, headers=cookies("viewer"))
    assert reply.status_code == 200
    assert "<script>alert" not in reply.text


async def test_a_person_is_told_in_words_why_not(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    html = {"Accept": "text/html"}
    reply = await client.get(f"{MOUNT}/dags/mine/runs/r", headers=html)
    assert "You are not logged in" in reply.text
    reply = await client.get(f"{MOUNT}/dags/mine/runs/r", headers={**html, **cookies("stranger")})
    assert "read the XCom of this DAG" in reply.text


async def test_own_files_are_open_and_no_others(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{MOUNT}/static/page.js")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/javascript")
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/docs", "/openapi.json"):
        assert (await client.get(MOUNT + path)).status_code == 404


def test_the_check_is_airflows_own() -> None:
    assert access.may_read[0].dependency.__module__ == "airflow.api_fastapi.core_api.security"
