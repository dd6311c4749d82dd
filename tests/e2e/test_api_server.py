"""What the api-server serves of the provider: the connection form and the connection test."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_ice.demo.local_airflow import LocalAirflow
from airflow_ice.emulator.local import LocalIce
from airflow_ice.get_provider_info import get_provider_info
from tests.e2e.conftest import SECRET


def test_the_connection_form_is_the_one_of_the_provider_info(airflow: LocalAirflow) -> None:
    forms = {row["connection_type"]: row for row in airflow.ui("connections/hook_meta")}
    form = forms["alibaba_ice"]
    assert form["hook_name"] == "Alibaba Cloud ICE"
    described = get_provider_info()["connection-types"][0]
    assert set(form["extra_fields"]) == set(described["conn-fields"])
    assert form["extra_fields"]["credential_type"]["schema"]["enum"][0] == "access_key"
    assert form["standard_fields"]["login"]["title"] == "AccessKey ID"
    assert form["standard_fields"]["password"]["title"] == "AccessKey Secret"
    assert form["standard_fields"]["port"]["hidden"] is True


@pytest.mark.parametrize(("secret", "good"), [(SECRET, True), ("wr0ng-s3cret", False)])
def test_the_test_button_answers_in_words(
    airflow: LocalAirflow, ices: dict[str, LocalIce], secret: str, good: bool
) -> None:
    body: dict[str, Any] = {
        "connection_id": "from_the_form",
        "conn_type": "alibaba_ice",
        "host": ices["default"].url,
        "login": ices["default"].access_key_id,
        "password": secret,
        "extra": '{"region_id": "cn-shanghai", "connect_timeout": 2}',
    }
    answer = airflow.api("POST", "connections/test", json=body)
    assert answer["status"] is good
    assert ("may list batch jobs" if good else "AccessKey secret") in answer["message"]
    assert secret not in answer["message"]
