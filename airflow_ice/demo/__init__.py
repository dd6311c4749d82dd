"""The demonstration: a local ICE, a real Airflow, a DAG that produces videos and publishes them, and nothing left running."""
