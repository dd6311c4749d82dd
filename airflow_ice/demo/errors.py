"""What the demo raises."""

from __future__ import annotations


class DemoError(Exception):
    """The demo did not end well; the text says why."""


class LocalAirflowError(Exception):
    """Airflow did not start, or did not do what was asked; the text names the log to read."""
