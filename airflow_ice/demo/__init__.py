"""The demo: a local ICE, a real Airflow, a DAG that makes and publishes videos; all of it ends."""
