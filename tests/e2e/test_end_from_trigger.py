"""A sensor that ends in the triggerer: its task succeeds and returns the job id, and no worker
resumes it."""

from __future__ import annotations

from airflow_ice.demo.local_airflow import LocalAirflow

DAG_ID = "ice_end_from_trigger"


def test_the_task_succeeds_without_a_second_worker(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger(DAG_ID)
    assert airflow.wait_for_run(DAG_ID, run_id) == "success"
    job_id = airflow.xcom(DAG_ID, run_id, "submit")
    assert airflow.xcom(DAG_ID, run_id, "wait") == job_id
    assert airflow.xcom(DAG_ID, run_id, "take") == job_id
    log = airflow.task_log(DAG_ID, run_id, "wait")
    assert f"Batch job {job_id} is Finished" in log  # what the trigger saw
    assert (
        f"Batch job {job_id} has ended" not in log
    )  # what execute_complete() would have written on a worker
