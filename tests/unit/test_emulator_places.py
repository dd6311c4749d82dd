"""What a change to the emulator must not forget: each test names what is missing.

A submit action is a row of `engine/submit_actions.py`, a fault is a class; what follows from them
is held here.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

from airflow_ice.api import operations
from airflow_ice.emulator import control
from airflow_ice.emulator.engine.submit_actions import JOB_TYPES, SUBMIT_ACTIONS
from airflow_ice.emulator.local import LocalIce
from airflow_ice.emulator.model.faults import KINDS, describe_faults

TESTS = Path(__file__).parents[1]
ACTION = re.compile(r'"((?:Get|List|Submit)[A-Z][A-Za-z]+)"')


@pytest.fixture(scope="module")
def answered() -> frozenset[str]:
    with LocalIce(render=False) as ice:
        return ice._call(lambda emulator: emulator.actions.names)


def test_every_action_of_the_client_has_an_answer(answered: frozenset[str]) -> None:
    sent = set(ACTION.findall(inspect.getsource(operations)))
    assert "SubmitBatchMediaProducingJob" in sent
    assert sent - answered == set()


def test_every_action_is_judged_by_the_official_sdk(answered: frozenset[str]) -> None:
    judged = "".join(path.read_text() for path in TESTS.glob("contract/test_emulator_*.py"))
    judged += (TESTS / "contract" / "conftest.py").read_text()
    assert {name for name in answered if f"models.{name}Request" not in judged} == set()


def test_every_job_type_is_of_one_action_and_of_the_documented_nine() -> None:
    assert [job_type for job_type, times in Counter(JOB_TYPES).items() if times > 1] == []
    # The values of JobType on the page of GetBatchMediaProducingJob.
    assert set(JOB_TYPES) == {
        "Script",
        "Smart_Mix",
        "Sports_Highlights",
        "Screen_Media_Highlights",
        "Smart_Mix_Media_Select",
        "Screen_Media_Highlights_Media_Select",
        "Smart_Mix_Timeline_Organize",
        "Screen_Media_Highlights_Timeline_Organize",
        "Scene_Batch_Editing",
    }
    for row in SUBMIT_ACTIONS.values():
        assert row.chooses_type == (row.makes != "videos"), row.name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_is_described_and_tried(kind: str) -> None:
    (line,) = [line for line in control.fault_table().splitlines() if f"`{kind}`" in line]
    assert line.count("|") == 5
    tried = "".join(path.read_text() for path in TESTS.glob("contract/test_emulator_*.py"))
    assert f'"{kind}"' in tried, f"no test of the emulator asks for the fault {kind}"


def test_the_table_of_faults_is_what_the_classes_say() -> None:
    rows = {kind: row for kind, *row in describe_faults()}
    assert rows["status"][1] == "value (needed), seconds"
    assert rows["throttle"] == [
        "a request, before it is carried out",
        "retry_after_ms, status=400, code=Throttling.User",
        "The request is refused as one too many; retry_after_ms is sent as x-acs-retry-after.",
    ]
    assert all(row[2].endswith(".") for row in rows.values())


def test_the_help_of_the_control_api_names_every_route_and_fault() -> None:
    told = control.help_text()
    assert [route.path for route in control.routes() if route.path not in told] == []
    assert [kind for kind in KINDS if kind not in told] == []
