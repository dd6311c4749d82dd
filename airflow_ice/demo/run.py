"""`airflow-ice demo`: the whole journey of one batch, on this machine and for nothing.

It starts a local ICE and a real Airflow, runs the example DAG over real clips through Airflow's
REST API, and ends every process afterwards, on Ctrl-C as well.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from rich.console import Console

from airflow_ice.api.client import ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import endpoint
from airflow_ice.api.errors import IceError
from airflow_ice.api.signature import Credentials
from airflow_ice.demo.clips import check_clips, make_clips, media_groups
from airflow_ice.demo.errors import DemoError, LocalAirflowError
from airflow_ice.demo.local_airflow import LOGIN, LocalAirflow
from airflow_ice.demo.show import Progress, Show, published_lines
from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.media.objects import ObjectName, object_url
from airflow_ice.waiting import counted

DAG_ID: Final = "ice_produce_and_publish"
TASKS: Final = ("submit", "wait", "collect", "publish")
REGION: Final = "cn-shanghai"  # of a connection that names none, and of the local ICE
RUN_WITHIN: Final = 300.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `airflow-ice demo` was asked for.

    :param media: a folder of clips; None to make some.
    :param output: where the published videos are left.
    :param count: how many videos. job_seconds: how long the local ICE takes at least.
    :param width: pixels. So is height. seconds: the length of a video.
    :param keep: leave Airflow up until Ctrl-C.
    """

    output: Path
    media: Path | None = None
    count: int = 4
    width: int = 540
    height: int = 960
    seconds: float = 4.0
    job_seconds: float = 12.0
    keep: bool = False


def dags_folder() -> Path:
    """Return the folder of the example DAGs: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "example_dags"
    return installed if installed.is_dir() else package.parent / "dags"


def run_demo(options: DemoOptions, console: Console) -> None:
    """Run the demo from beginning to end.

    :raises DemoError: a task failed, or the time was over.
    :raises LocalAirflowError: Airflow did not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="airflow-ice-demo-"))
    started = time.monotonic()
    try:
        _run(options, console, folder, started)
    except (DemoError, LocalAirflowError):
        console.print(f"The logs are kept in {folder}.", highlight=False)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _run(options: DemoOptions, console: Console, folder: Path, started: float) -> None:
    def say(words: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {words}", highlight=False)

    media = options.media or folder / "clips"
    if options.media is None:
        say("making a few source clips")
        make_clips(media)
    groups = media_groups(media)
    names = [name for group in groups.values() for name in group]
    if options.media is not None:
        say(f"checking {counted(len(names), 'clip')}")
        check_clips(media, names, options.seconds / len(groups))
    with LocalIce(data_dir=folder / "ice", media_dir=media, job_seconds=options.job_seconds) as ice:
        say(f"local ICE at {ice.url} (emulator; nothing is billed)")
        connection = {
            "conn_type": "alibaba_ice",
            "host": ice.url,
            "login": ice.access_key_id,
            "password": ice.access_key_secret,
        }
        dags = folder / "dags"
        dags.mkdir()
        shutil.copy(dags_folder() / f"{DAG_ID}.py", dags)
        airflow = LocalAirflow(
            folder / "airflow", dags, connections={"ice_default": connection}, on_progress=say
        )
        with airflow, _client(ice) as client:
            say(f"Airflow is up at {airflow.url}")
            run_id = airflow.trigger(DAG_ID, _conf(options, groups, ice.settings.bucket))
            say(
                f"DAG {DAG_ID} is running over {counted(len(names), 'clip')} "
                f"in {counted(len(groups), 'group')}"
            )
            _follow(airflow, client, run_id, console)
            published = _published(airflow, run_id)
            say("done")
            for line in published_lines(
                [(row, file, _picture_size(file)) for row, file in published]
            ):
                # A path that is folded cannot be copied: it goes over the edge if need be.
                console.print(line, highlight=False, soft_wrap=True)
            if options.keep:
                _keep(airflow, run_id, console)
    if options.keep:
        say("stopped; nothing is left running")


def _conf(options: DemoOptions, groups: Mapping[str, list[str]], bucket: str) -> dict[str, Any]:
    return {
        "input_config": {
            "MediaGroupArray": [
                {
                    "GroupName": group,
                    "MediaArray": [object_url(ObjectName(bucket, name), REGION) for name in names],
                }
                for group, names in groups.items()
            ],
            "TitleArray": ["Now open", "Come and see"],
        },
        "output_config": {
            "MediaURL": f"http://demo-output.oss-{REGION}.aliyuncs.com/videos/demo_{{index}}.mp4",
            "Count": options.count,
            "FixedDuration": options.seconds,
            "Width": options.width,
            "Height": options.height,
        },
        "publish_folder": str(options.output.resolve()),
    }


def _client(ice: LocalIce) -> IceClient:
    credentials = Credentials(ice.access_key_id, ice.access_key_secret)
    return IceClient(ClientSettings(endpoint(host=ice.url)), FixedCredentials(credentials))


def _follow(airflow: LocalAirflow, client: IceClient, run_id: str, console: Console) -> None:
    """Show the run until it has ended.

    :raises DemoError: it failed, or took too long.
    """
    deadline = time.monotonic() + RUN_WITHIN
    with Show(console) as show:
        while (state := airflow.run_state(DAG_ID, run_id)) not in {"success", "failed"}:
            if time.monotonic() > deadline:
                raise DemoError(f"the run is still {state} after {RUN_WITHIN:.0f} s")
            show.update(_progress(airflow, client, run_id))
            time.sleep(0.5)
        show.update(_progress(airflow, client, run_id))
    if state == "failed":
        raise DemoError(_why(airflow, run_id))


def _progress(airflow: LocalAirflow, client: IceClient, run_id: str) -> Progress:
    tasks: dict[str, list[str]] = {task_id: [] for task_id in TASKS}
    for row in airflow.tasks(DAG_ID, run_id):
        tasks.setdefault(row["task_id"], []).append(row["state"] or "waiting")
    if "success" not in tasks["submit"]:
        return Progress(tasks)
    job_id = str(airflow.xcom(DAG_ID, run_id, "submit"))
    try:
        job = client.get_batch_media_producing_job(job_id)
    except IceError:  # the sensor decides about the job, so a failed poll does not end the demo
        return Progress(tasks, job_id, "not known")
    sub_jobs = []
    for sub in sorted(job.sub_jobs, key=lambda sub: sub.index):
        percent = 100 if sub.status in {"Success", "Failed"} else 0
        if sub.status == "Processing":
            with suppress(IceError):  # a bar that does not move is no reason to end the demo
                percent = client.get_media_producing_job(sub.job_id).progress or 0
        sub_jobs.append((sub.index, sub.status, percent))
    return Progress(tasks, job_id, job.status, sub_jobs)


def _published(airflow: LocalAirflow, run_id: str) -> list[tuple[dict[str, Any], Path]]:
    rows = airflow.xcom(DAG_ID, run_id, "collect")
    return [
        (row, _file_of(airflow.xcom(DAG_ID, run_id, "publish", map_index=place)))
        for place, row in enumerate(rows)
    ]


def _file_of(published: Mapping[str, Any]) -> Path:
    return Path(unquote(urlsplit(published["uri"]).path))


def _picture_size(file: Path) -> str:
    import av

    with av.open(str(file)) as container:
        video = container.streams.video[0]
        return f"{video.width} x {video.height}"


def _why(airflow: LocalAirflow, run_id: str) -> str:
    """Return the reason why a run failed: the error lines of its failed tasks."""
    reasons = []
    for row in airflow.tasks(DAG_ID, run_id):
        if row["state"] != "failed":
            continue
        log = airflow.task_log(DAG_ID, run_id, row["task_id"], row["map_index"])
        reasons.append(f"task {row['task_id']} failed: {_last_error(log)}")
    return "\n".join(reasons) or "the run failed without a failed task"


def _last_error(log: str) -> str:
    for line in reversed(log.splitlines()):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") == "error":
                details = entry.get("error_detail") or []
                chain = [
                    f"{part.get('exc_type')}: {part.get('exc_value')}"
                    for part in details
                    if isinstance(part, dict)
                ]
                # The first one is what was raised; its causes follow.
                return re.sub(r"\s+", " ", chain[0] if chain else str(entry.get("event")))
    return "its log names no error"


def _keep(airflow: LocalAirflow, run_id: str, console: Console) -> None:
    user, password = LOGIN
    run = f"{airflow.url}/dags/{DAG_ID}/runs/{quote(run_id, safe='')}"
    console.print(
        f"Airflow stays up at {airflow.url} (user {user}, password {password}).\n"
        f'The page "ICE videos" plays the videos: {run}/plugin/ice-videos-of-run\n'
        "Ctrl-C stops Airflow and the local ICE and removes their files; the videos stay.",
        highlight=False,
        soft_wrap=True,
    )
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    # On a line of its own: the terminal has written ^C.
    console.print(
        "\nStopping Airflow and the local ICE; this takes a few seconds.", highlight=False
    )
