"""What it costs a DAG file to import this package."""

from __future__ import annotations

import statistics
import subprocess
import sys

SCRIPT = """
import time
import airflow.sdk, airflow.triggers.base
began = time.process_time()
import airflow_ice.operators, airflow_ice.sensors, airflow_ice.triggers, airflow_ice.hooks
print(1000 * (time.process_time() - began))
"""


def import_ms(times: int = 7) -> float:
    """Return the CPU time that the imports add to those of Airflow, in milliseconds: the median of
    so many fresh processes."""
    found = [
        float(
            subprocess.run(
                [sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True
            ).stdout
        )
        for _ in range(times)
    ]
    return statistics.median(found)
