"""What the api-server serves of the provider: the connection form and the connection test.

The bodies are those that the page of Airflow 3.3.2 sends, seen in a browser: the form sends its
fields without the empty ones; the Test button sends the row that the list of connections holds,
its password masked, a null as an empty text, and a null port as 0 (JavaScript's `Number(null)`).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_ice.demo.local_airflow import LocalAirflow, LocalAirflowError
from airflow_ice.emulator.local import LocalIce
from airflow_ice.get_provider_info import get_provider_info
from tests.e2e.conftest import SECRET

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/connection.md").read_text()
WRONG = "wr0ng-s3cret"
KEYS = pytest.mark.parametrize(("secret", "good"), [(SECRET, True), (WRONG, False)])


def form_of(airflow: LocalAirflow) -> dict[str, Any]:
    forms = {row["connection_type"]: row for row in airflow.ui("connections/hook_meta")}
    found: dict[str, Any] = forms["alibaba_ice"]
    return found


def save_as_the_form_does(
    airflow: LocalAirflow, conn_id: str, ice: LocalIce, secret: str, **port: int
) -> None:
    """Send what Save sends of a form whose extra fields are left as they are."""
    fields = form_of(airflow)["extra_fields"]
    body = {
        "conn_type": "alibaba_ice",
        "connection_id": conn_id,
        "extra": json.dumps({name: field["value"] for name, field in fields.items()}, indent=2),
        "host": ice.url,
        "login": ice.access_key_id,
        "password": secret,
    }
    airflow.api("POST", "connections", json=body | port)


def press_the_test_button(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    """Send what the Test button sends, made from the row that the page shows."""
    rows = airflow.api("GET", "connections", params={"limit": 100})["connections"]
    (row,) = [row for row in rows if row["connection_id"] == conn_id]
    assert row["password"] == "***"
    body = {
        "conn_type": row["conn_type"],
        "connection_id": conn_id,
        "description": row["description"] or "",
        "extra": row["extra"] or "{}",
        "host": row["host"] or "",
        "login": row["login"] or "",
        "password": row["password"],
        "port": row["port"] or 0,
        "schema": row["schema"] or "",
    }
    found: dict[str, Any] = airflow.api("POST", "connections/test", json=body)
    return found


def check(answer: dict[str, Any], good: bool) -> None:
    assert answer["status"] is good
    assert ("may list batch jobs" if good else "AccessKey secret") in answer["message"]
    assert SECRET not in answer["message"]
    assert WRONG not in answer["message"]


def command_line(
    airflow: LocalAirflow, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `airflow ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env=airflow._environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_connection_form_is_the_one_of_the_provider_info(airflow: LocalAirflow) -> None:
    form = form_of(airflow)
    assert form["hook_name"] == "Alibaba Cloud ICE"
    described = get_provider_info()["connection-types"][0]
    assert set(form["extra_fields"]) == set(described["conn-fields"])
    assert form["extra_fields"]["credential_type"]["schema"]["enum"][0] == "access_key"
    assert form["standard_fields"]["login"]["title"] == "AccessKey ID"
    assert form["standard_fields"]["password"]["title"] == "AccessKey Secret"
    assert form["standard_fields"]["url_schema"]["hidden"] is True
    port = form["standard_fields"]["port"]
    assert (port["hidden"], port["title"]) == (False, "Port (0: the default)")


@KEYS
def test_the_button_tests_a_connection_made_in_the_form(
    airflow: LocalAirflow, ices: dict[str, LocalIce], secret: str, good: bool
) -> None:
    conn_id = f"from_the_form_{good}"
    save_as_the_form_does(airflow, conn_id, ices["default"], secret, port=0)
    check(press_the_test_button(airflow, conn_id), good)


def test_airflow_refuses_to_test_a_connection_without_a_port(
    airflow: LocalAirflow, ices: dict[str, LocalIce]
) -> None:
    # Where this fails, Airflow is fixed, and Port can be hidden again (the page, the form).
    save_as_the_form_does(airflow, "without_a_port", ices["default"], SECRET)
    with pytest.raises(LocalAirflowError, match=r"HTTP 400.*port to test differs"):
        press_the_test_button(airflow, "without_a_port")


@KEYS
def test_the_button_tests_a_connection_made_with_the_documented_command(
    airflow: LocalAirflow, ices: dict[str, LocalIce], secret: str, good: bool
) -> None:
    unfolded = re.sub(r"\\\n *", "", PAGE)
    (line,) = re.findall(r"^ *airflow (connections add ice_default .*)$", unfolded, re.MULTILINE)
    conn_id, ice = f"from_the_command_line_{good}", ices["default"]
    with_keys = {"ice_default": conn_id, "LTAI...": ice.access_key_id, "...": secret}
    arguments = [with_keys.get(word, word) for word in shlex.split(line)]
    added = command_line(airflow, *arguments, "--conn-host", ice.url)
    assert added.returncode == 0, added.stderr
    check(press_the_test_button(airflow, conn_id), good)


@KEYS
def test_the_command_line_tests_a_connection_of_the_environment(
    airflow: LocalAirflow, ices: dict[str, LocalIce], secret: str, good: bool
) -> None:
    (text,) = re.findall(r"^ *export (AIRFLOW_CONN_\w+='[^']*')$", PAGE, re.MULTILINE)
    (setting,) = shlex.split(text)
    name, _, value = setting.partition("=")
    ice = ices["default"]
    keys = {"login": ice.access_key_id, "password": secret, "host": ice.url}
    environ = {name: json.dumps(json.loads(value) | keys)}
    done = command_line(airflow, "connections", "test", "ice_default", **environ)
    assert done.returncode == (0 if good else 1), done.stderr
    assert ("Connection success" if good else "AccessKey secret") in " ".join(done.stdout.split())
    assert secret not in done.stdout


def test_the_page_does_not_list_connections_of_the_environment(airflow: LocalAirflow) -> None:
    rows = airflow.api("GET", "connections", params={"limit": 100})["connections"]
    assert "ice_default" not in {row["connection_id"] for row in rows}
