"""The documentation's table "What happens to a paid job" is `decide`: each row is played here, and
each row has a case.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.api.models import BatchMediaProducingJob
from airflow_ice.submission import decide as decide_module
from airflow_ice.submission.decide import (
    MISSING,
    Adopt,
    Decision,
    Deliver,
    Fail,
    LookAtJob,
    Policies,
    Reason,
    Reattach,
    Resend,
    SearchByKey,
    SearchByPrefix,
    Situation,
    Submit,
    decide,
)
from airflow_ice.submission.record import Record

ROOT = Path(__file__).resolve().parents[2]
UNANSWERED = Record("k", 0, max_tries=2, inputs={}, intent_at=0.0, sent_at=0.0)
NO_JOB = dataclasses.replace(UNANSWERED, no_job_created=True)
EXISTS = dataclasses.replace(UNANSWERED, job_exists=True)
AGAIN = dataclasses.replace(UNANSWERED, job_id="job-0", wish="again")
SUBMITTED = dataclasses.replace(UNANSWERED, job_id="job-0")
DELIVERED = dataclasses.replace(SUBMITTED, delivered=True)
RUNNING, FINISHED, FAILED = (
    BatchMediaProducingJob("job-0", status=status)
    for status in ("Processing", "Finished", "Failed")
)
TO_PERSON = Policies(on_lost_reply="fail")
RESUBMIT = Policies(on_failed_job="resubmit", on_changed_inputs="resubmit")
FRESH = Policies(on_clear="resubmit")
REATTACH = Policies(on_changed_inputs="reattach")


def seen(record: Record | None, **facts: Any) -> Situation:
    return Situation(record, **facts)


def gone(*jobs: BatchMediaProducingJob, **facts: Any) -> Situation:
    """The record is gone, and the list shows these jobs of the task instance."""
    return Situation(None, may_have_sent=True, by_prefix=jobs, **facts)


Case = tuple[Situation, Decision | type[Decision]]
PLAYED_BY_WAITS = "a wait, not a submission: nothing is decided"
PLAYED_BY_SENDER = "the send itself: tests/unit/test_submission.py"
ROWS: dict[str, list[Case] | str] = {
    "the reply to a submit is lost": [
        (seen(UNANSWERED), SearchByKey(once=False)),
        (seen(UNANSWERED, takes_client_token=True), SearchByKey(once=True)),
        (seen(UNANSWERED, takes_client_token=True, changed=["OutputConfig"]), SearchByKey()),
        (seen(EXISTS, takes_client_token=True), SearchByKey()),
        (seen(UNANSWERED, by_key=RUNNING), Adopt(RUNNING)),
        (seen(UNANSWERED, by_key=FINISHED, cleared=True), Adopt(FINISHED)),
    ],
    "the reply is lost, and the list does not show the job": [
        (seen(UNANSWERED, by_key=MISSING), Resend),
        (seen(UNANSWERED, by_key=MISSING, takes_client_token=True, policies=TO_PERSON), Resend),
        (seen(UNANSWERED, by_key=MISSING, policies=TO_PERSON), Fail(Reason.LOST)),
        (seen(UNANSWERED, by_key=MISSING, policies=TO_PERSON, cleared=True), Submit),
        (seen(EXISTS, by_key=MISSING, takes_client_token=True), Fail(Reason.LOST)),
        (seen(EXISTS, by_key=MISSING, takes_client_token=True, cleared=True), Submit),
    ],
    "the reply comes, and the id cannot be stored": PLAYED_BY_SENDER,
    "the worker dies before the send": [
        (seen(None), Submit),
        (seen(UNANSWERED), SearchByKey()),
        (seen(UNANSWERED, by_key=MISSING), Resend),
    ],
    "the worker dies between send and save": [
        (seen(UNANSWERED), SearchByKey()),
        (seen(UNANSWERED, by_key=RUNNING), Adopt(RUNNING)),
    ],
    "the worker freezes before the send and wakes after its retry has started": PLAYED_BY_SENDER,
    "the task is told to stop before the send": [(seen(NO_JOB), Resend)],
    "the worker dies while it waits": [
        (seen(SUBMITTED), LookAtJob("job-0")),
        (seen(SUBMITTED, job=RUNNING), Reattach(RUNNING)),
    ],
    "the triggerer dies while the task is deferred": PLAYED_BY_WAITS,
    "the task is killed, marked failed or marked successful": PLAYED_BY_WAITS,
    "the wait times out": [(seen(SUBMITTED, job=RUNNING), Reattach(RUNNING))],
    "a retry finds its job running": [
        (seen(SUBMITTED, job=RUNNING), Reattach(RUNNING)),
        (seen(DELIVERED, job=RUNNING), Reattach(RUNNING)),
    ],
    "a retry finds its job finished": [
        (seen(SUBMITTED, job=FINISHED), Deliver(FINISHED)),
        (seen(DELIVERED, job=FINISHED), Deliver(FINISHED)),
    ],
    "a retry finds its job Failed": [
        (seen(SUBMITTED, job=FAILED), Fail(Reason.JOB_FAILED)),
        (seen(SUBMITTED, job=FAILED, policies=RESUBMIT), Submit),
    ],
    "a clear before the result was delivered": [
        (seen(SUBMITTED, cleared=True), LookAtJob("job-0")),
        (seen(SUBMITTED, cleared=True, job=RUNNING), Reattach(RUNNING)),
        (seen(SUBMITTED, cleared=True, job=FINISHED), Deliver(FINISHED)),
        (seen(SUBMITTED, cleared=True, job=FAILED), Submit),
        (seen(NO_JOB, cleared=True), Submit),
    ],
    "a clear after the result was delivered, with the same inputs": [
        (seen(DELIVERED, cleared=True), LookAtJob("job-0")),
        (seen(DELIVERED, cleared=True, job=RUNNING), Reattach(RUNNING)),
        (seen(DELIVERED, cleared=True, job=FINISHED), Deliver(FINISHED)),
        (seen(DELIVERED, cleared=True, job=FAILED), Submit),
        (seen(DELIVERED, cleared=True, policies=FRESH), Submit),
    ],
    "a clear after the result was delivered, with other inputs": [
        (seen(DELIVERED, cleared=True, changed=["UserData"]), LookAtJob("job-0")),
        (seen(DELIVERED, cleared=True, changed=["UserData"], job=FINISHED), Submit),
        (seen(DELIVERED, cleared=True, changed=["UserData"], job=RUNNING), Submit),
        (
            seen(DELIVERED, cleared=True, changed=["UserData"], job=FINISHED, policies=REATTACH),
            Deliver(FINISHED, ["UserData"]),
        ),
        # Nothing was delivered, or nobody has cleared the task.
        (
            seen(SUBMITTED, cleared=True, changed=["UserData"], job=FINISHED),
            Fail(Reason.INPUTS_CHANGED),
        ),
        (seen(DELIVERED, changed=["UserData"], job=FINISHED), Fail(Reason.INPUTS_CHANGED)),
    ],
    "another `wish` than the last submission had, on a retry or a clear": [
        (seen(SUBMITTED, wish="again"), Submit),
        (seen(SUBMITTED, wish="again", job=RUNNING, policies=REATTACH), Submit),
        (seen(DELIVERED, wish="again", cleared=True), Submit),
        (seen(NO_JOB, wish="again"), Submit),
        (seen(AGAIN, job=RUNNING), Submit),
        (seen(AGAIN, wish="again", job=RUNNING), Reattach(RUNNING)),
        (seen(None, wish="again"), Submit),
        (seen(None, wish="again", may_have_sent=True), SearchByPrefix()),
    ],
    "another `wish`, after a lost reply": [
        (seen(UNANSWERED, wish="again"), Submit),
        (seen(UNANSWERED, wish="again", policies=TO_PERSON), Submit),
        (seen(UNANSWERED, wish="again", moved=["region"]), Submit),
        (seen(EXISTS, wish="again"), Submit),
    ],
    "a clear while the task runs": [(seen(SUBMITTED, job=RUNNING), Reattach(RUNNING))],
    "a clear of another task of the run": [(seen(SUBMITTED, job=RUNNING), Reattach(RUNNING))],
    "a clear, and Airflow has emptied the state store": [
        (seen(None, may_have_sent=True, ever_cleared=True), SearchByPrefix()),
        (gone(FINISHED, RUNNING, ever_cleared=True), Adopt(RUNNING)),
        (gone(FINISHED, RUNNING, ever_cleared=True, policies=FRESH), Adopt(RUNNING)),
        (gone(FINISHED, ever_cleared=True, policies=FRESH), Submit),
        (gone(FINISHED, ever_cleared=True), Adopt(FINISHED)),
        (gone(FAILED, ever_cleared=True), Submit),
        (gone(ever_cleared=True), Submit),
    ],
    "a retry, and the state store is empty": [
        (seen(None, may_have_sent=True), SearchByPrefix()),
        (gone(RUNNING), Adopt(RUNNING)),
        (gone(FINISHED, FAILED), Adopt(FINISHED)),
        (gone(), Submit),
    ],
    "a retry finds that ICE does not know its job yet": [
        (seen(SUBMITTED), LookAtJob("job-0")),
        (seen(SUBMITTED, job=MISSING), SearchByKey()),
        (seen(SUBMITTED, job=MISSING, cleared=True), SearchByKey()),
        (seen(SUBMITTED, job=MISSING, by_key=RUNNING, cleared=True), Reattach(RUNNING)),
    ],
    "a retry finds that ICE does not know its job": [
        (seen(SUBMITTED, job=MISSING), SearchByKey()),
        (seen(SUBMITTED, job=MISSING, by_key=MISSING), Fail(Reason.JOB_UNKNOWN)),
        (
            seen(SUBMITTED, job=MISSING, by_key=MISSING, moved=["region"]),
            Fail(Reason.JOB_UNKNOWN),
        ),
        (seen(SUBMITTED, job=MISSING, by_key=MISSING, cleared=True), Submit),
    ],
    "a reply is lost, and the connection then leads to another account or region": [
        (seen(UNANSWERED, moved=["region"]), SearchByKey()),
        (seen(UNANSWERED, moved=["region"], takes_client_token=True), SearchByKey()),
        (seen(UNANSWERED, moved=["region"], cleared=True), SearchByKey()),
        (seen(UNANSWERED, moved=["region"], by_key=RUNNING), Adopt(RUNNING)),
        (
            seen(UNANSWERED, moved=["region"], by_key=MISSING, takes_client_token=True),
            Fail(Reason.MAYBE_ELSEWHERE),
        ),
        (seen(UNANSWERED, moved=["region"], by_key=MISSING), Fail(Reason.MAYBE_ELSEWHERE)),
        (seen(UNANSWERED, moved=["region"], by_key=MISSING, cleared=True), Submit),
        (seen(NO_JOB, moved=["region"]), Resend),
    ],
    "the connection is renamed, or changes between `public` and `vpc`": [
        (seen(SUBMITTED, job=RUNNING), Reattach(RUNNING))
    ],
    "a retry with other inputs than those submitted": [
        (seen(SUBMITTED, job=RUNNING, changed=["UserData"]), Fail(Reason.INPUTS_CHANGED)),
        (
            seen(
                SUBMITTED,
                job=RUNNING,
                changed=["UserData"],
                policies=Policies(on_changed_inputs="reattach"),
            ),
            Reattach(RUNNING, ["UserData"]),
        ),
        (seen(SUBMITTED, job=FINISHED, changed=["UserData"], policies=RESUBMIT), Submit),
    ],
    "too few videos for `require`": [
        (seen(SUBMITTED, cleared=True, job=FINISHED), Deliver(FINISHED))
    ],
    "too few videos, and not all sub-jobs are shown as ended yet": [
        (seen(SUBMITTED, job=FINISHED), Deliver(FINISHED))
    ],
    "too few videos, and you want a new job": [
        (seen(SUBMITTED, wish="again", cleared=True), Submit),
    ],
    "a submit is refused, by the checks here or by ICE": [
        (seen(NO_JOB), Resend),
        (seen(NO_JOB, cleared=True), Submit),
    ],
    "a gateway or proxy refuses a submit, without ICE's RequestId": [
        (seen(UNANSWERED), SearchByKey())
    ],
    "Airflow's state store cannot be read": PLAYED_BY_SENDER,
    "the list or the job cannot be read": PLAYED_BY_SENDER,
}


def rows_of_the_documentation() -> list[str]:
    """Return the first cell of each row of the table; a cell may run over several lines."""
    page = (ROOT / "docs/how-to/submit-exactly-once.md").read_text()
    table = page.split("## What happens to a paid job")[1].split(":::")[1]
    _heading, *rows = re.findall(r"^\* - (.*?)^  - ", table, re.MULTILINE | re.DOTALL)
    return [" ".join(row.split()) for row in rows]


def test_each_row_of_the_documentation_has_a_case_and_each_case_a_row() -> None:
    assert rows_of_the_documentation() == list(ROWS)


CASES = [
    pytest.param(situation, decision, id=f"{row} {number}")
    for row, cases in ROWS.items()
    if not isinstance(cases, str)
    for number, (situation, decision) in enumerate(cases)
]


@pytest.mark.parametrize(("situation", "decision"), CASES)
def test_a_row_of_the_table(situation: Situation, decision: Decision | type[Decision]) -> None:
    step = decide(situation)
    if isinstance(decision, type):
        assert isinstance(step, decision)
    else:
        assert step == decision


def situations() -> Iterator[Situation]:
    """Return every combination of facts."""
    records = (None, UNANSWERED, NO_JOB, EXISTS, SUBMITTED, DELIVERED, AGAIN)
    policies = (Policies(), TO_PERSON, RESUBMIT, FRESH, REATTACH)
    jobs = (None, MISSING, RUNNING, FINISHED, FAILED)
    flags = [(bool(n & 1), bool(n & 2), bool(n & 4), bool(n & 8)) for n in range(16)]
    for record in records:
        for policy in policies:
            for job in jobs:
                for by_key in jobs:
                    for cleared, moved, changed, token in flags:
                        yield Situation(
                            record,
                            policy,
                            cleared=cleared,
                            moved=["region"] if moved else (),
                            changed=["OutputConfig"] if changed else (),
                            may_have_sent=changed,
                            ever_cleared=cleared,
                            takes_client_token=token,
                            job=job,
                            by_key=by_key,
                            by_prefix=[by_key]
                            if isinstance(by_key, BatchMediaProducingJob)
                            else None,
                        )


def test_whatever_the_facts_a_submit_has_its_reason() -> None:
    for at in situations():
        step = decide(at)
        record = at.record
        if not isinstance(step, (Submit, Resend)):
            continue
        if record is not None and record.wish != at.wish:
            assert isinstance(step, Submit), at  # a key names one wish only
        elif record is None:
            assert not at.may_have_sent or at.by_prefix is not None
        elif record.no_job_created:
            pass  # nothing was created under this key
        elif record.job_id is None:
            assert at.by_key is MISSING, at
            assert at.cleared or not (at.moved or record.job_exists), at
            if isinstance(step, Resend):
                assert not at.moved, at
        else:
            assert isinstance(step, Submit), at  # a key that has a job is never sent again
            looked = at.job is not None and (at.job is not MISSING or at.by_key is not None)
            fresh = at.policies.on_clear == "resubmit"
            assert looked or (at.cleared and record.delivered and fresh), at


def test_no_running_job_is_left_for_a_new_one_unless_a_person_or_a_policy_says_so() -> None:
    for at in situations():
        if isinstance(decide(at), Submit) and at.record and at.record.job_id and at.job is RUNNING:
            ran_again = at.cleared and at.record.delivered
            wanted = ran_again and at.policies.on_clear == "resubmit"
            policy = at.policies.on_changed_inputs
            changed = at.changed and (policy == "resubmit" or (ran_again and policy != "reattach"))
            assert wanted or changed or at.record.wish != at.wish, at


def test_the_log_says_what_becomes_of_the_job_of_the_wish_before() -> None:
    for record, words in [
        (SUBMITTED, "job job-0 of the wish before stays billed"),
        (NO_JOB, "the wish before created no job"),
        (UNANSWERED, "a job that the wish before may have under the key k stays billed"),
    ]:
        step = decide(seen(record, wish="again"))
        assert isinstance(step, Submit)
        assert step.why.startswith("wish changed from '' to 'again'; ")
        assert words in step.why


def test_the_module_is_pure() -> None:
    source = Path(decide_module.__file__).read_text()
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imports} == {
        "__future__",
        "collections.abc",
        "dataclasses",
        "enum",
        "typing",
        "airflow_ice.api.models",
        "airflow_ice.submission.record",
        "airflow_ice.waiting",
    }
    assert not re.search(r"^import ", source, re.MULTILINE)
