"""Faults on demand: what has been asked to go wrong, and for which requests and jobs.

A fault on a request matches by action name (None is every action) and is used up by the request it hits. A fault on a job is
used up by the next submit that makes a job, and becomes part of that job's plan, so it survives a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Kind -> the options it takes. Options are checked here, so that a typo in a test is an error and not a fault that never bites.
REQUEST_FAULTS: Final[Mapping[str, frozenset[str]]] = {
    "throttle": frozenset({"retry_after_ms", "status", "code"}),
    "error": frozenset({"status", "code", "message"}),
    "html": frozenset({"status"}),
    "reset": frozenset(),
    "slow": frozenset({"seconds"}),
    "lost_reply": frozenset(),
    "empty_job": frozenset(),
    "unauthorized_ram": frozenset(),
}
JOB_FAULTS: Final[Mapping[str, frozenset[str]]] = {
    "sub_jobs_fail": frozenset({"indexes", "code", "message"}),
    "job_fails": frozenset({"code", "message"}),
    "settle_lag": frozenset({"seconds"}),
    "sub_jobs_hidden": frozenset({"seconds", "null"}),
    "list_lag": frozenset({"seconds"}),
    "doc_quirks": frozenset(),
    "stuck": frozenset(),
    "status": frozenset({"value", "seconds"}),
}


@dataclass(slots=True)
class Fault:
    """One fault that was asked for.

    :param kind: a key of REQUEST_FAULTS or JOB_FAULTS.
    :param action: the API action that it hits; None is every one.
    :param times: how often it still bites; -1 until cleared.
    :param options: what the kind takes.
    """

    kind: str
    action: str | None = None
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = REQUEST_FAULTS.get(self.kind, JOB_FAULTS.get(self.kind))
        if known is None:
            raise ValueError(
                f"unknown fault {self.kind!r}; known are {', '.join((*REQUEST_FAULTS, *JOB_FAULTS))}"
            )
        if unknown := self.options.keys() - known:
            raise ValueError(f"fault {self.kind!r} takes no option {', '.join(sorted(unknown))}")
        if self.kind == "status" and not isinstance(self.options.get("value"), str):
            raise ValueError("fault 'status' needs the option value, the status to show")
        for name in ("seconds", "status", "retry_after_ms"):
            if not isinstance(self.options.get(name, 0), int | float):
                raise ValueError(f"fault {self.kind!r} needs a number as {name}")
        if self.times == 0 or self.times < -1:
            raise ValueError("times is at least 1, or -1 for a fault that lasts until cleared")

    def seconds(self, default: float) -> float:
        """Return the option `seconds`."""
        return float(self.options.get("seconds", default))


class Faults:
    """The faults that still have to bite, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Ask for one more."""
        self._pending.append(fault)

    def clear(self) -> None:
        """Forget all of them; jobs already made keep theirs."""
        self._pending.clear()

    def pending(self) -> list[dict[str, Any]]:
        """Tell what still has to bite."""
        return [
            {"kind": fault.kind, "action": fault.action, "times": fault.times, **fault.options}
            for fault in self._pending
        ]

    def take_for_request(self, action: str) -> list[Fault]:
        """Use up what hits this request: every delay, and the first of the other faults."""
        taken: list[Fault] = []
        for fault in list(self._pending):
            if fault.kind not in REQUEST_FAULTS or fault.action not in (None, action):
                continue
            if fault.kind == "empty_job" and action != "GetBatchMediaProducingJob":
                continue
            if fault.kind == "slow" or all(other.kind == "slow" for other in taken):
                taken.append(self._use(fault))
        return taken

    def take_for_job(self, action: str) -> dict[str, Fault]:
        """Use up what shapes the job that this submit makes, one of each kind, by kind."""
        taken: dict[str, Fault] = {}
        for fault in list(self._pending):
            if (
                fault.kind in JOB_FAULTS
                and fault.action in (None, action)
                and fault.kind not in taken
            ):
                taken[fault.kind] = self._use(fault)
        return taken

    def _use(self, fault: Fault) -> Fault:
        if fault.times > 0:
            fault.times -= 1
            if fault.times == 0:
                self._pending.remove(fault)
        return fault
