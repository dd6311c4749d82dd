"""The chains that the API is made for, each an example DAG, on a real Airflow against the
emulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import av
import pytest

from airflow_ice.emulator.local import LocalIce
from airflow_ice.submission.identity import Wish
from airflow_ice.submission.request import USER_DATA_KEY
from tests.real_airflow import RealAirflow

REVIEW = "ice_preview_review_render"
SCENES = "ice_select_organize_render"
CAMPAIGNS = "ice_many_campaigns"
SOME_FAILED = "ice_some_failed"

BUCKET = "http://chains.oss-cn-shanghai.aliyuncs.com"
SMALL = {"Width": 320, "Height": 180}
PICKED = (2, 0)


@dataclass(frozen=True)
class Run:
    """A run of an example DAG."""

    airflow: RealAirflow
    ice: LocalIce
    dag_id: str
    run_id: str

    def ended(self) -> str:
        return self.airflow.wait_for_run(self.dag_id, self.run_id, within=300)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self.airflow.xcom(self.dag_id, self.run_id, task_id, key, map_index)

    def states(self, task_id: str) -> list[str]:
        rows = [
            row for row in self.airflow.tasks(self.dag_id, self.run_id) if row["task_id"] == task_id
        ]
        return [row["state"] for row in sorted(rows, key=lambda row: int(row["map_index"]))]

    def names(self, task_id: str) -> list[str]:
        """Return what the web page calls the mapped task instances, sorted."""
        rows = self.airflow.tasks(self.dag_id, self.run_id)
        return sorted(row["rendered_map_index"] for row in rows if row["task_id"] == task_id)

    def jobs(self, task_id: str, map_index: int = -1) -> list[dict[str, Any]]:
        """Return the jobs at the emulator whose UserData holds a key of this task."""
        run = self.airflow.api("GET", f"dags/{self.dag_id}/dagRuns/{self.run_id}")
        ids = SimpleNamespace(
            dag_id=self.dag_id,
            run_id=self.run_id,
            task_id=task_id,
            map_index=map_index,
            try_number=1,
            max_tries=0,
        )
        dates = {
            name: run[name] and datetime.fromisoformat(run[name])
            for name in ("run_after", "logical_date")
        }
        prefix = Wish.of(ids, SimpleNamespace(**dates, clear_number=0), 0).key_prefix
        return [job for job in self.ice.jobs() if key_of(job).startswith(f"{prefix}-")]

    def published(self, count: int) -> list[Path]:
        rows = [self.xcom("publish", map_index=place) for place in range(count)]
        return [Path(unquote(urlsplit(row["uri"]).path)) for row in rows]


def key_of(job: dict[str, Any]) -> str:
    found = json.loads(job["user_data"] or "{}")
    return str(found.get(USER_DATA_KEY, ""))


def campaign(name: str, count: int, clip: str) -> dict[str, Any]:
    return {
        "user_data": {"campaign": name},
        "input_config": {"MediaGroupArray": [{"GroupName": "all", "MediaArray": [clip]}]},
        "output_config": {
            "MediaURL": f"{BUCKET}/{name}_{{index}}.mp4",
            "Count": count,
            "FixedDuration": 1,
            **SMALL,
        },
    }


def pictures(file: Path) -> tuple[int, int, int]:
    """Decode a video and return its width, height and number of pictures."""
    with av.open(str(file)) as container:
        video = container.streams.video[0]
        return video.width, video.height, len(list(container.decode(video=0)))


def confs(ice: LocalIce) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the DAG and the params of each chain, by name."""
    clip = "0" * 32
    groups = [{"GroupName": "all", "MediaArray": [clip]}]
    return {
        "review": (
            REVIEW,
            {
                "input_config": {"MediaGroupArray": groups},
                "preview_config": {
                    "MediaURL": f"{BUCKET}/preview_{{index}}.mp4",
                    "Count": 3,
                    "FixedDuration": 1,
                    **SMALL,
                },
                "render_config": {"MediaURL": f"{BUCKET}/picked_{{index}}.mp4", **SMALL},
            },
        ),
        "scenes": (
            SCENES,
            {
                "input_config": {
                    "MediaArray": [clip],
                    "SpeechTextArray": ["Come in. Not this. Try it."],
                },
                "leave_out": ["Not this."],
                "project_config": {"Count": 2, **SMALL},
                "render_config": {"MediaURL": f"{BUCKET}/scene_{{index}}.mp4", **SMALL},
            },
        ),
        "campaigns": (
            CAMPAIGNS,
            {"campaigns": [campaign("one", 2, clip), campaign("two", 1, clip)]},
        ),
        # A clip of the emulator's own bucket that is not there: the job is accepted and then fails,
        # as with the service.
        "one_bad": (
            CAMPAIGNS,
            {
                "campaigns": [
                    campaign("bad", 1, f"http://{own_bucket(ice)}/missing.mp4"),
                    campaign("good", 1, clip),
                ]
            },
        ),
    }


@pytest.fixture(scope="module")
def runs(
    airflow: RealAirflow, ices: dict[str, LocalIce], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    """All chains, begun together, by name. Each test waits for its own."""
    ice = ices["default"]
    found = {}
    for name, (dag_id, conf) in confs(ice).items():
        run_id = airflow.trigger(
            dag_id, {**conf, "publish_folder": str(tmp_path_factory.mktemp(name))}
        )
        found[name] = Run(airflow, ice, dag_id, run_id)
    return found


def own_bucket(ice: LocalIce) -> str:
    return f"{ice.settings.bucket}.oss-{ice.settings.region_id}.aliyuncs.com"


@pytest.fixture(scope="module")
def question(runs: dict[str, Run]) -> dict[str, Any]:
    """What the person was asked, and then answered."""
    run = runs["review"]
    asked = run.airflow.wait_for_question(run.dag_id, run.run_id, "pick")
    # Nothing is rendered before the answer.
    assert run.jobs("render") == []
    options = asked["options"]
    run.airflow.answer(run.dag_id, run.run_id, "pick", *(options[place] for place in PICKED))
    return asked


def test_a_person_is_shown_each_preview_and_may_pick_several(
    runs: dict[str, Run], question: dict[str, Any]
) -> None:
    rows = runs["review"].xcom("preview", "media")
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [row["media_id"] for row in rows] == [None, None, None]
    names = [option.partition(",")[0] for option in question["options"]]
    assert names == ["video 0", "video 1", "video 2", "none of these"]
    assert question["multiple"] is True


@pytest.mark.usefixtures("question")
def test_only_the_picked_previews_are_rendered_and_published(runs: dict[str, Run]) -> None:
    run = runs["review"]
    assert run.ended() == "success"
    projects = [row["project_id"] for row in run.xcom("preview", "media")]
    [preview] = run.jobs("preview")
    [render] = run.jobs("render")
    assert json.loads(preview["output_config"])["GeneratePreviewOnly"] is True
    assert json.loads(render["extend_input"]) == [projects[place] for place in sorted(PICKED)]
    assert len(render["sub_jobs"]) == len(PICKED)
    assert run.states("publish") == ["success", "success"]
    assert [pictures(file) for file in run.published(2)] == [(320, 180, 25)] * 2
    rows = run.xcom("render")
    assert [row["media_url"] for row in rows] == [
        f"{BUCKET}/picked_{index}.mp4" for index in (0, 1)
    ]


def test_an_edited_selection_becomes_projects_and_then_videos(runs: dict[str, Run]) -> None:
    run = runs["scenes"]
    assert run.ended() == "success"
    [select], [organize], [render] = (
        run.jobs(task_id) for task_id in ("select", "organize", "render")
    )

    def sentences(selection: Any) -> Sequence[str]:
        [script] = selection["textMatchMediaOutputList"]
        return [sentence["text"] for sentence in script["textMatchMediaSentenceOutputList"]]

    assert sentences(run.xcom("select", "extend_output")) == ["Come in.", "Not this.", "Try it."]
    assert sentences(json.loads(organize["extend_input"])) == ["Come in.", "Try it."]
    assert (select["sub_jobs"], len(organize["sub_jobs"])) == ([], 2)
    assert json.loads(render["extend_input"]) == run.xcom("organize", "project_ids")
    assert run.states("publish") == ["success", "success"]
    # A second for each sentence that was left in.
    assert [pictures(file) for file in run.published(2)] == [(320, 180, 50)] * 2


def test_many_campaigns_are_one_job_each_and_one_list_of_videos(runs: dict[str, Run]) -> None:
    run = runs["campaigns"]
    assert run.ended() == "success"
    jobs = [run.jobs("submit", place) for place in (0, 1)]
    assert [len(found) for found in jobs] == [1, 1]
    assert [json.loads(job["user_data"])["campaign"] for [job] in jobs] == ["one", "two"]
    for task_id in ("submit", "wait", "collect"):
        assert run.names(task_id) == ["one", "two"]
    assert run.names("publish") == ["one 0", "one 1", "two 0"]
    assert [row["media_url"] for row in run.xcom("flatten")] == [
        f"{BUCKET}/{name}.mp4" for name in ("one_0", "one_1", "two_0")
    ]
    assert run.states("publish") == ["success"] * 3
    assert [pictures(file) for file in run.published(3)] == [(320, 180, 25)] * 3
    assert [file.name.rpartition("-")[0] for file in run.published(3)] == [
        "one-0",
        "one-1",
        "two-0",
    ]
    assert run.states("some_failed") == ["skipped"]


def test_a_bad_campaign_turns_the_run_red_and_holds_up_no_other(runs: dict[str, Run]) -> None:
    run = runs["one_bad"]
    assert run.ended() == "failed"
    assert run.states("wait") == ["failed", "success"]
    assert "InvalidMaterial.NotFound" in run.airflow.task_log(
        run.dag_id, run.run_id, "wait", map_index=0
    )
    assert [row["media_url"] for row in run.xcom("flatten")] == [f"{BUCKET}/good_0.mp4"]
    assert run.states("publish") == ["success"]
    assert (run.names("wait"), run.names("collect")) == (["bad", "good"], ["good"])
    assert pictures(run.published(1)[0]) == (320, 180, 25)
    assert run.states("some_failed") == ["failed"]


@pytest.mark.usefixtures("question")
def test_each_submitting_task_made_one_job_that_holds_its_key(
    runs: dict[str, Run], ices: dict[str, LocalIce]
) -> None:
    for run in runs.values():
        run.ended()
    tasks = {
        "review": [("preview", -1), ("render", -1)],
        "scenes": [("select", -1), ("organize", -1), ("render", -1)],
        "campaigns": [("submit", 0), ("submit", 1)],
        "one_bad": [("submit", 0), ("submit", 1)],
    }
    found = {(name, *task): len(runs[name].jobs(*task)) for name in tasks for task in tasks[name]}
    assert found == dict.fromkeys(found, 1)
    # And there is none beside them, with another key or with none.
    assert len([job for job in ices["default"].jobs() if is_of_a_chain(job)]) == len(found)


@pytest.mark.usefixtures("question")
def test_the_videos_that_failed_are_named_and_only_they_are_produced_again(
    runs: dict[str, Run], airflow: RealAirflow, ices: dict[str, LocalIce]
) -> None:
    for run in runs.values():
        run.ended()  # the fault is for the next job
    ice = ices["default"]
    ice.fault("sub_jobs_fail", indexes=[1], code="ProduceFailed", message="no tracks")
    output = {
        "MediaURL": "http://some-failed.oss-cn-shanghai.aliyuncs.com/v_{index}.mp4",
        "Count": 3,
        "FixedDuration": 1,
        **SMALL,
    }
    groups = [{"GroupName": "all", "MediaArray": ["0" * 32]}]
    conf = {"input_config": {"MediaGroupArray": groups}, "output_config": output}
    run = Run(airflow, ice, SOME_FAILED, airflow.trigger(SOME_FAILED, conf))
    assert run.ended() == "success"
    assert run.xcom("alert") == ["v_1.mp4: no tracks (ProduceFailed)"]
    assert run.states("all_good") == ["skipped"]
    [media] = run.xcom("resubmit")["media"]
    assert media["media_url"].endswith("/v_again_0.mp4")
    assert [len(run.jobs(task_id)) for task_id in ("submit", "resubmit")] == [1, 1]
    assert run.xcom("wait", "ice_job")["job_id"] == run.xcom("submit")


def is_of_a_chain(job: dict[str, Any]) -> bool:
    return BUCKET in job["output_config"] or job["job_type"] in {
        "Smart_Mix_Media_Select",
        "Smart_Mix_Timeline_Organize",
    }
