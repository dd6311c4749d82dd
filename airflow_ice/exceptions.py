"""Failures that no retry of the task can mend: `api.errors` as Airflow's "fail at once, do not retry".

They are Airflow's AirflowFailException and, all the same, part of the client's own tree, so `except IceJobFailedError` finds
them.
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowFailException

from airflow_ice.api.errors import IceJobFailedError, IceTooFewVideosError


class UnretriedIceJobFailedError(AirflowFailException, IceJobFailedError):
    """The batch job has ended in Failed: waiting again, or collecting again, cannot help."""


class UnretriedIceTooFewVideosError(AirflowFailException, IceTooFewVideosError):
    """The batch job has ended with fewer good sub-jobs than required: collecting again cannot help."""
