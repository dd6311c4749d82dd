"""Checks what is written out in a DAG file when the file is parsed, with the checks that run before
a request is sent: a mistake is then an import error, not a failed task.

An argument that holds a template or the output of another task anywhere is skipped as a whole: its
value is known only when the task runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_ice.api import limits, operations
from airflow_ice.api.operations import Operation
from airflow_ice.submission.request import SubmitRequest

_TEMPLATE_MARKS: Final = ("{{", "{%", "{#")
_KEY: Final = "0" * 49  # as long as the keys that `Wish.key` returns


def is_literal(value: object, depth: int = 0) -> bool:
    """Tell whether a value is plain JSON without a template in it."""
    if depth > limits.MAX_DEPTH:
        return True  # refused by the check itself
    match value:
        case str():
            return not any(mark in value for mark in _TEMPLATE_MARKS)
        case None | bool() | int() | float():
            return True
        case Mapping():
            return all(
                is_literal(key, depth + 1) and is_literal(each, depth + 1)
                for key, each in value.items()
            )
        case Sequence() if not isinstance(value, (bytes, bytearray, memoryview)):
            return all(is_literal(each, depth + 1) for each in value)
    return False  # the output of an upstream task, a mapped argument


def check_submit(
    describe: Callable[..., Operation[str]], arguments: Mapping[str, Any], user_data: Any
) -> None:
    """Check the arguments of a submit action that are literal. In place of each other one stands
    that of the action's sample, which is valid.

    :param describe: one of `operations.submit_...`.
    :param arguments: its arguments without user_data and client_token.
    :raises IceInputError: the service is known to refuse one of them.
    """
    action = operations.SUBMIT_ACTIONS.get(describe.__name__)
    if action is None:
        return  # an action of the user's own
    checked = {
        name: value if is_literal(value) else action.sample.get(name)
        for name, value in arguments.items()
    }
    SubmitRequest(describe, checked, user_data if is_literal(user_data) else None).operation(_KEY)


def check_job_id(job_id: object) -> None:
    """Check the id of a batch job, where it is literal.

    :raises IceInputError: it is not the id of a job.
    """
    if is_literal(job_id):
        limits.job_id("job_id", job_id)
