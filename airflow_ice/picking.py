"""IcePickOperator: a person picks among the rows of a batch, in Airflow.

It has a module of its own because it is Airflow's own human-in-the-loop operator, which a DAG file
that asks nobody need not load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast, get_args

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_ice.api import limits
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.redaction import publishable
from airflow_ice.exceptions import not_retried
from airflow_ice.hooks import IceHook
from airflow_ice.links import IceVideosLink, push_link
from airflow_ice.results import ICE_PICK

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

NONE: Final = "none of these"
"""The option that picks nothing, and skips the task."""

WHERE: Final = "Watch them on the tab ICE videos of this task."
"""What Airflow's own form says where the DAG says nothing."""

Picked = Literal["media", "media_ids", "media_urls", "project_ids"]
"""What return_value is: the rows, or one column of them."""

_COLUMNS: Final[Mapping[str, str]] = {
    "media_ids": "media_id",
    "media_urls": "media_url",
    "project_ids": "project_id",
}


class IcePickOperator(HITLOperator):
    """Asks a person which videos or previews to use, and returns those.

    The person ticks cards on the task's page "ICE videos", or answers in Airflow's own form, where
    the options read "video 3, 12.5 s"; both go through Airflow's HITL API, with its assigned users
    and time-outs. No worker slot is held meanwhile. Who picks "none of these" skips the task, and
    with it what depends on it.

    Pushes to XCom:

    * `return_value`: as `returns` says
    * `media`, `media_ids`, `media_urls`, `project_ids`: the rows that were picked, and their
      columns without nulls
    * `picked_by`: `{"id", "name"}` of who answered; null where the time-out did
    * `ice_pick`: what was asked, for the page

    :param media: rows, as `IceGetBatchMediaProducingJobOperator` and the submit operators push them
        under `media` (templated).
    :param returns: what return_value is: `media` (default), the rows that were picked; or
        `media_ids`, `media_urls`, `project_ids`, one column of them.
    :param ice_conn_id: the connection that the page plays them through (templated). So is
        region_id; None for the connection's own.
    :param subject: the question (templated).
    :param multiple: whether more than one may be picked; True by default.
    :param defaults: what a time-out picks: "all", "none", or None (default), with which it fails
        the task.
    :param response_timeout: a timedelta; how long to wait for an answer, None for ever.
    :param body: more for the person to read (templated); see HITLOperator, also for notifiers.
    :param assigned_users: who may answer; see HITLOperator.

    :raises NonRetryableIceInputError: there is nothing to pick from, or an argument is not valid.
    :raises HITLTimeoutError: nobody answered in time, and `defaults` is None.
    :raises AirflowSkipException: the person picked none.
    """

    template_fields: Sequence[str] = (
        *HITLOperator.template_fields,
        "media",
        "ice_conn_id",
        "region_id",
    )
    operator_extra_links = (IceVideosLink(),)
    ui_color = "#f4e6fb"
    template_fields_renderers: ClassVar[dict[str, str]] = {"media": "json"}

    def __init__(
        self,
        *,
        media: Sequence[Mapping[str, Any]] | XComArg,
        returns: Picked = "media",
        ice_conn_id: str = IceHook.default_conn_name,
        region_id: str | None = None,
        subject: str = "Which videos are to be used?",
        body: str | None = None,
        multiple: bool = True,
        defaults: Literal["all", "none"] | None = None,
        **kwargs: Any,
    ) -> None:
        with not_retried():
            if "options" in kwargs:
                raise IceInputError("options", kwargs["options"], "are made of the rows in media")
            self.returns = _choice("returns", returns, get_args(Picked))
            self.default_pick = (
                None if defaults is None else _choice("defaults", defaults, ("all", "none"))
            )
            if self.default_pick == "all" and not multiple:
                raise IceInputError("defaults", "all", "needs multiple=True")
        super().__init__(
            subject=subject, body=body or WHERE, options=[NONE], multiple=multiple, **kwargs
        )
        # An upstream output is resolved before execute().
        self.media = cast("Sequence[Mapping[str, Any]]", media)
        self.ice_conn_id = ice_conn_id
        self.region_id = region_id

    def execute(self, context: Context) -> Any:
        """Push what is asked, and ask.

        :raises TaskAwaitingInput: always; the task continues in `execute_complete`.
        """
        with not_retried():
            rows = _rows(self.media)
        labels = options(rows)
        self.options = [*labels, NONE]
        defaults = {"all": labels, "none": [NONE]}
        self.defaults = defaults[self.default_pick] if self.default_pick else None
        asked = {
            "ice_conn_id": self.ice_conn_id,
            "region_id": self.region_id,
            "none": NONE,
            "body": None if self.body == WHERE else self.body,
            "rows": [{**row, "option": label} for row, label in zip(rows, labels, strict=True)],
        }
        # What was shown is what is picked, whatever becomes of the rows meanwhile.
        context["ti"].xcom_push(key=ICE_PICK, value=publishable(asked))
        push_link(context, self.log)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the rows that the answer names.

        :raises AirflowSkipException: it names none.
        :raises HITLTimeoutError: there is no answer.
        """
        with not_retried():
            asked = self._asked(context)
        self.options = [*asked, NONE]
        answer = super().execute_complete(context, event)
        chosen = set(answer["chosen_options"])
        context["ti"].xcom_push(key="picked_by", value=answer["responded_by_user"])
        picked = [row for label, row in asked.items() if label in chosen]
        if not picked:
            raise AirflowSkipException("None of the videos was picked.")
        lists: dict[str, list[Any]] = {
            "media": picked,
            **{name: _column(picked, field) for name, field in _COLUMNS.items()},
        }
        for key, value in lists.items():
            context["ti"].xcom_push(key=key, value=value)
        self.log.info("Picked %d of %d: %s", len(picked), len(asked), ", ".join(sorted(chosen)))
        return lists[self.returns]

    def _asked(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the rows by option, as they were asked for."""
        ti = context["ti"]
        found = ti.xcom_pull(task_ids=self.task_id, key=ICE_PICK, map_indexes=ti.map_index)
        rows = found.get("rows") if isinstance(found, Mapping) else None
        if not isinstance(rows, list) or not rows:
            raise IceInputError(
                ICE_PICK,
                "nothing",
                "is gone from XCom, so the answer names no rows; clear the task",
            )
        return {
            row["option"]: {name: value for name, value in row.items() if name != "option"}
            for row in rows
        }


def options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each row is called in a form: "video 3, 12.5 s"; no two are called the same."""
    names = []
    for place, row in enumerate(rows):
        index, duration = row.get("index"), row.get("duration")
        name = f"video {index if index is not None else place}"
        if isinstance(duration, (int, float)):
            name += f", {duration:.3g} s" if duration < 1000 else f", {duration:.0f} s"
        names.append(name)
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return unique


def _rows(value: object) -> list[dict[str, Any]]:
    """Return the rows to pick from.

    :raises IceInputError: they are no rows, or there are none.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise IceInputError("media", type(value).__name__, "must be a list of rows")
    found = [dict(row) for row in value if isinstance(row, Mapping)]
    if len(found) != len(value):
        raise IceInputError("media", limits.shown("media", value), "must be a list of rows")
    if not found:
        raise IceInputError("media", "[]", "has no rows, so there is nothing to pick from")
    return found


def _column(rows: Sequence[Mapping[str, Any]], field: str) -> list[Any]:
    return [row[field] for row in rows if row.get(field)]


def _choice(name: str, value: object, allowed: Sequence[str]) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise IceInputError(name, limits.shown(name, value), f"must be one of {', '.join(allowed)}")
