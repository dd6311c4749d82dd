"""What the services of the peers answer when their triggers ask for one job: dbt Cloud, Databricks
and Amazon Batch.

As little as the triggers of apache-airflow-providers-dbt-cloud 4.11.1, -databricks 7.23.0 and
-amazon 9.39.0 read.
"""

from __future__ import annotations

import json

from tests.benchmarks.jobs import RUNNING, Job

DESCRIBE_JOBS = "/v1/describejobs"
GET_RUN = "/jobs/runs/get"


def job_id(path: str, body: bytes) -> str:
    """Return the job that a request asks for: dbt Cloud names it in the path, the others in a JSON
    body, even of a GET."""
    if path == DESCRIBE_JOBS:
        return str(json.loads(body)["jobs"][0])
    if path.endswith(GET_RUN):
        return str(json.loads(body)["run_id"])
    return path.rstrip("/").rpartition("/")[2]


def body(path: str, job: Job, now: float) -> bytes:
    """Return the answer for a job."""
    runs = job.status(now) in RUNNING
    if path == DESCRIBE_JOBS:
        found = {
            "jobId": job.job_id,
            "jobName": "job",
            "status": "RUNNING" if runs else "SUCCEEDED",
            "jobQueue": "q",
            "startedAt": 1,
        }
        return json.dumps({"jobs": [{**found, "jobDefinition": "d"}]}).encode()
    if path.endswith(GET_RUN):
        state = {
            "life_cycle_state": "RUNNING" if runs else "TERMINATED",
            "result_state": "" if runs else "SUCCESS",
        }
        page = {"run_page_url": "http://127.0.0.1", "tasks": []}
        return json.dumps(
            {"run_id": int(job.job_id), "state": {**state, "state_message": ""}, **page}
        ).encode()
    return json.dumps({"data": {"id": int(job.job_id), "status": 3 if runs else 10}}).encode()
