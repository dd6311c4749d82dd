"""A submit action is one row; this names what is missing where one is added and something
forgotten:
its methods, its operator, its description in the docs, the emulator's answer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from airflow_ice import operators
from airflow_ice.api.calls import AsyncCalls, Calls
from airflow_ice.api.client import ClientSettings, IceClient
from airflow_ice.api.credentials import FixedCredentials
from airflow_ice.api.endpoints import endpoint
from airflow_ice.api.operations import SUBMIT_ACTIONS
from airflow_ice.api.signature import Credentials
from airflow_ice.emulator.local import LocalIce
from airflow_ice.get_provider_info import get_provider_info
from airflow_ice.operators import IceSubmitOperator

ROOT = Path(__file__).parents[2]
NAMES = sorted(SUBMIT_ACTIONS)
OUTPUT = {
    "MediaURL": "http://b.oss-cn-shanghai.aliyuncs.com/x_{index}.mp4",
    "Width": 128,
    "Height": 128,
}


def operator_of(name: str) -> type[IceSubmitOperator]:
    kinds = [kind for kind in vars(operators).values() if isinstance(kind, type)]
    found = [
        kind
        for kind in kinds
        if issubclass(kind, IceSubmitOperator)
        and kind is not IceSubmitOperator
        and kind.describe.__name__ == name
    ]
    assert len(found) == 1, f"airflow_ice.operators has no operator for operations.{name}"
    return found[0]


@pytest.fixture(scope="module")
def ice() -> Iterator[LocalIce]:
    with LocalIce(render=False) as found:
        yield found


@pytest.fixture(scope="module")
def client(ice: LocalIce) -> Iterator[IceClient]:
    keys = FixedCredentials(Credentials(ice.access_key_id, ice.access_key_secret))
    with IceClient(ClientSettings(endpoint(host=ice.url)), keys) as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_each_action_is_a_hook_method_with_an_async_twin(name: str) -> None:
    assert hasattr(Calls, name), f"Calls has no {name}"
    assert hasattr(AsyncCalls, f"a{name}"), f"AsyncCalls has no a{name}"


@pytest.mark.parametrize("name", NAMES)
def test_each_submit_action_has_an_operator_that_airflow_discovers(name: str) -> None:
    kind = operator_of(name)
    listed = [
        module for row in get_provider_info()["operators"] for module in row["python-modules"]
    ]
    assert kind.__module__ in listed, f"get_provider_info() does not list {kind.__module__}"
    assert getattr(import_module(kind.__module__), kind.__name__) is kind


@pytest.mark.parametrize("name", NAMES)
def test_its_operator_says_what_every_argument_is(name: str) -> None:
    kind = operator_of(name)
    for argument in kind.template_fields:
        if argument not in IceSubmitOperator.template_fields:
            assert f":param {argument}:" in (kind.__doc__ or ""), f"{kind.__name__}: {argument}"


@pytest.mark.parametrize("name", NAMES)
def test_its_operator_takes_its_sample(name: str) -> None:
    kind, sample = operator_of(name), SUBMIT_ACTIONS[name].sample
    operator = kind(task_id="submit", **sample)
    assert {key: operator.arguments()[key] for key in sample} == sample
    assert set(sample) <= set(operator.template_fields)


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_describe_its_operator(name: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    kind = operator_of(name).__name__
    assert any(f"`{kind}`" in page.read_text() for page in pages), f"no page has a row for {kind}"


@pytest.mark.parametrize("name", NAMES)
def test_the_emulator_answers_it(name: str, ice: LocalIce, client: IceClient) -> None:
    row = SUBMIT_ACTIONS[name]
    sample = {**row.sample, "output_config": {**row.sample["output_config"], **OUTPUT}}
    if "project_ids" in sample:
        preview = {"output_config": {**OUTPUT, "GeneratePreviewOnly": True}}
        batch = SUBMIT_ACTIONS["submit_batch_media_producing_job"].sample
        job_id = client.submit_batch_media_producing_job(**{**batch, **preview})
        ice.finish_all()
        projects = [sub.project_id for sub in client.get_batch_media_producing_job(job_id).sub_jobs]
        sample = {**sample, "project_ids": projects}
    job_id = getattr(client, name)(**sample)
    job = client.get_batch_media_producing_job(job_id)
    assert job.job_type in row.job_types, f"the emulator makes a {job.job_type} of {row.action}"
