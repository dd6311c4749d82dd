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

_PLACEHOLDERS: Final[Mapping[str, Any]] = {
    "input_config": {
        "MediaArray": ["placeholder"],
        "SportsCategory": limits.SPORTS[0],
        "InputMedia": "placeholder",
    },
    "output_config": {"MediaURL": "http://placeholder.example/{index}.mp4"},
    "editing_config": None,
    "template_config": None,
    "media_select_result": {},
    "project_ids": ["placeholder"],
}
_JOB_TYPES: Final[Mapping[Callable[..., Operation[str]], str]] = {
    # Smart_Mix, whose rules are the wider ones.
    operations.submit_scene_media_selection_job: limits.SELECTION_JOB_TYPES[0],
    operations.submit_scene_timeline_organization_job: limits.ORGANIZATION_JOB_TYPES[0],
}


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
    """Check the arguments of a submit action that are literal; others are replaced by valid ones.

    :param describe: one of `operations.submit_...`.
    :param arguments: its arguments without user_data and client_token.
    :raises IceInputError: the service is known to refuse one of them.
    """
    placeholders = {**_PLACEHOLDERS, "job_type": _JOB_TYPES.get(describe)}
    plain = {name: is_literal(value) for name, value in arguments.items()}
    if any(not known and name not in placeholders for name, known in plain.items()):
        return  # an action of the user's own
    checked = {
        name: value if plain[name] else placeholders[name] for name, value in arguments.items()
    }
    SubmitRequest(describe, checked, user_data if is_literal(user_data) else None).operation(_KEY)


def check_job_id(job_id: object) -> None:
    """Check the id of a batch job, where it is literal.

    :raises IceInputError: it cannot be the id of a job.
    """
    if is_literal(job_id):
        limits.job_id("job_id", job_id)
