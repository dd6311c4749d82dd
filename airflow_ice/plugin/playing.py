"""From a video or a preview of a task to what plays: signed addresses, asked for when they play.

Nothing but what the task itself knows is signed: a media id or a project id of another job is
refused. No address is kept or logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import HTTPException

from airflow_ice.api.errors import IceError
from airflow_ice.api.models import EditingProject, EditingProjectMaterials
from airflow_ice.hooks import IceHook
from airflow_ice.plugin.media import domains_of, playable, with_domain
from airflow_ice.plugin.previews import clips_of, preview_view, source_of
from airflow_ice.plugin.service import LONGEST_READ, Batches, Cache
from airflow_ice.plugin.tasks import Account, JobRef, PickRef
from airflow_ice.plugin.wording import problem

PROJECT_KEPT: Final = 300.0
"""Seconds that a preview's timeline is kept: it holds no signed address."""

SIGNED_FOR: Final = 3600
"""Seconds that a signed address lives; also the service's default, which clips of previews get."""

_SOURCE: Final = "WebSDK"
"""RequestSource that shows the projects of previews (GetEditingProject, page "previews")."""

Known = JobRef | PickRef | None
T = TypeVar("T")

log = logging.getLogger(__name__)


class Player:
    """Signs what a task may show."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._projects: Cache[tuple[Account, str], EditingProject] = Cache()

    async def video(self, known: Known, media_id: str) -> str:
        """Return the signed address of a video.

        :raises HTTPException: 404 no video of this task; 409 not ready yet; 502 ICE refused.
        """
        account = await self._account_for(known, media_id, "media_id")

        async def sign(hook: IceHook) -> str:
            info = await hook.aget_media_info(media_id, auth_timeout=SIGNED_FOR)
            if not info.file_url:
                raise refusal(
                    409,
                    "Not ready yet",
                    f"ICE shows the video as {info.status or 'unknown'}: try again in a moment.",
                )
            return await _playable(hook, info.file_url)

        return await _asked(account, sign)

    async def preview(self, known: Known, project_id: str) -> dict[str, Any]:
        """Return the timeline of a preview; see `previews.preview_view`.

        :raises HTTPException: 404 no preview of this task, or one without a timeline; 502 ICE
            refused.
        """
        account = await self._account_for(known, project_id, "project_id")

        async def read(hook: IceHook) -> dict[str, Any]:
            project = await self._project(hook, account, project_id)
            materials = await hook.aget_editing_project_materials(project_id)
            return preview_view(project.timeline or {}, materials.media)

        view = await _asked(account, read)
        if not view["clips"]:
            raise refusal(404, "Nothing to play", "The timeline of this preview has no clips.")
        return view

    async def clip(self, known: Known, project_id: str, place: int) -> str:
        """Return the signed address of the source of a preview's clip.

        :param place: of the clip, from 0, as `preview` counts them.
        :raises HTTPException: 404 no such clip; 502 ICE refused.
        """
        account = await self._account_for(known, project_id, "project_id")

        async def sign(hook: IceHook) -> str:
            project = await self._project(hook, account, project_id)
            materials = await hook.aget_editing_project_materials(project_id)
            return await _playable(hook, _clip_url(project, materials, place))

        return await _asked(account, sign)

    async def _project(self, hook: IceHook, account: Account, project_id: str) -> EditingProject:
        async def read(last: EditingProject | None) -> tuple[EditingProject, float]:
            del last
            found = await hook.aget_editing_project(project_id, request_source=_SOURCE)
            return found, PROJECT_KEPT

        return await self._projects.get((account, project_id), read)

    async def _account_for(self, known: Known, wanted: str, field: str) -> Account:
        """Return where to ask for an id that the task knows.

        :raises HTTPException: the task knows no such id.
        """
        if isinstance(known, PickRef):
            ids = {candidate.row.get(field) for candidate in known.candidates}
        elif isinstance(known, JobRef):
            state = await self._batches.state(known)
            if state.job is None and state.problem:
                raise HTTPException(502, detail=state.problem)
            ids = {getattr(sub, field) for sub in state.job.sub_jobs} if state.job else set()
        else:
            ids = set()
        if known is None or not wanted or wanted not in ids:
            raise refusal(404, "No such video", "This task has none of that id.")
        return known.account


def refusal(status: int, title: str, detail: str) -> HTTPException:
    """Return a refusal in words, as `wording.problem` has them."""
    words = {"title": title, "detail": detail, "code": None, "request_id": None}
    return HTTPException(status, detail=words)


async def _asked(account: Account, ask: Callable[[IceHook], Awaitable[T]]) -> T:
    try:
        async with (
            asyncio.timeout(LONGEST_READ),
            IceHook(account.ice_conn_id, account.region_id, tries=2) as hook,
        ):
            return await ask(hook)
    except (IceError, AirflowNotFoundException, TimeoutError) as error:
        raise HTTPException(502, detail=problem(error, account)) from error


async def _playable(hook: IceHook, url: str) -> str:
    connection = await hook.aconnection()
    return playable(with_domain(url, domains_of(connection)))


def _clip_url(project: EditingProject, materials: EditingProjectMaterials, place: int) -> str:
    clips = clips_of(project.timeline or {}, materials.media)
    if not 0 <= place < len(clips):
        raise refusal(404, "No such clip", "The preview has fewer clips.")
    clip = clips[place]
    source = source_of(clip.media_id, clip.url, materials.media)
    if source is None or not source.file_url:
        raise refusal(
            404,
            "A clip is missing",
            "ICE shows no file for a source clip of this preview: it may have been deleted.",
        )
    return source.file_url
