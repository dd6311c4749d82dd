"""Publish the videos of every Alibaba Cloud ICE batch job that ends, whoever submitted it: a web
shop, the console, another team.

    (a job ends) --> ended_jobs --> collect --> videos --> publish
                                    (one task a job)       (one task a video)

Every good video is published, or a red task says why not; only previews, which have no file, are
left out. No task waits: a watcher in the triggerer polls the account, one request a minute. Unpause
this DAG to start; the jobs that end from then on are published. It runs against the real service
and against the local emulator alike: only the connection differs.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetAlias, AssetWatcher, dag, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.claims import claim_ended_jobs
from airflow_ice.operators import IceGetBatchMediaProducingJobOperator
from airflow_ice.transfers import IceMediaToObjectStorageOperator
from airflow_ice.triggers import IceBatchJobEventTrigger

log = logging.getLogger(__name__)

ICE_CONN_ID = "ice_default"
POLL_SECONDS = 60
# Jobs of one run. It maps all their videos, and Airflow maps 1024 at most ([core] max_map_length):
# enough for 20 videos a job. Where yours have 100, set 10 here, or raise max_map_length. The next
# run begins with the jobs that are left.
MOST_JOBS = 50
PUBLISH_FOLDER = "published"  # or s3://aws_default@your-bucket/videos

ended = Asset(
    f"{ICE_CONN_ID}_batch_jobs",
    watchers=[
        AssetWatcher(
            name=f"{ICE_CONN_ID}_batch_jobs",
            trigger=IceBatchJobEventTrigger(
                ICE_CONN_ID,
                # Your decision: all jobs of the account, or those of some `job_types`, or those
                # whose UserData has what `user_data_contains` says.
                statuses=["Finished"],
                poll_interval=POLL_SECONDS,
                name="publish_whatever_ends",  # its memory; keep it when you edit the filters
            ),
        )
    ],
)


def is_preview(row: dict[str, Any]) -> bool:
    """Tell whether a good row is a preview: a project without a file, so nothing to publish.

    Any other row without a media asset stays: its publish task fails and says so.
    """
    if row["media_id"] or row["media_url"] or not row["project_id"]:
        return False
    log.warning("Left out: number %d of job %s is a preview.", row["index"], row["job_id"])
    return True


@dag(
    schedule=[ended],
    catchup=False,
    # Runs may overlap: each job is one run's own.
    max_active_runs=4,
    is_paused_upon_creation=True,  # it works on the whole account
    tags=["ice", "example"],
)
def ice_publish_whatever_ends() -> None:
    """Collect each job that has ended, and publish its good videos."""

    # One at a time, over all runs: so no two runs take the same job, and a job that is reported
    # twice is published once.
    @task(inlets=[ended], max_active_tis_per_dag=1, retries=3)
    def ended_jobs(**context: Any) -> list[dict[str, Any]]:
        """Return the jobs that are this run's own."""
        return claim_ended_jobs(ended, context, most=MOST_JOBS)

    jobs = ended_jobs()
    collect = IceGetBatchMediaProducingJobOperator.partial(
        task_id="collect",
        require="any",  # your decision: publish what is good, or nothing unless all are ("all")
        returns="media",
        map_index_template="{{ task.job_id }}",
    ).expand_kwargs(jobs)

    @task(trigger_rule="all_done")
    def videos(
        jobs: list[dict[str, Any]], batches: list[list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Return the videos of all jobs in one list, each with its job's connection."""
        where = {job.pop("job_id"): job for job in jobs}
        rows = [row for batch in batches for row in batch if not is_preview(row)]
        return [{"media": row, **where[row["job_id"]]} for row in rows]

    publish = IceMediaToObjectStorageOperator.partial(
        task_id="publish",
        destination=PUBLISH_FOLDER,
        name="{job_id}/{index}-{media_id}.mp4",
        outlets=[AssetAlias("published_videos")],  # other DAGs may be scheduled on it
        retries=3,
        retry_delay=timedelta(seconds=30),
    ).expand_kwargs(videos(jobs, collect.output))

    @task(trigger_rule="one_failed")
    def some_failed() -> None:
        """Turn the run red: with the others published, it would end green."""
        raise AirflowFailException("Some job or video failed; its red task says why. Clear it.")

    [collect, publish] >> some_failed()


ice_publish_whatever_ends()
