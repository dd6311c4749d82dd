"""What Airflow discovers of this package, held against Airflow's own schemas and its own loader."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema  # type: ignore[import-untyped]
from airflow.sdk._shared.module_loading import import_string

from airflow_ice.connections import CREDENTIAL_TYPES, read_connection
from airflow_ice.get_provider_info import get_provider_info
from airflow_ice.hooks import IceHook

AIRFLOW = Path(airflow.__path__[0])
CONNECTION = get_provider_info()["connection-types"][0]


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((AIRFLOW / name).read_text())
    return found


def test_it_is_what_the_entry_point_names() -> None:
    (entry,) = [
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_ice.")
    ]
    assert entry.load() is get_provider_info


def test_it_fits_airflows_schema() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_the_connection_form_fits_airflows_schema() -> None:
    # provider_info.schema.json does not know the form's fields; that of provider.yaml does.
    whole = schema("provider.yaml.schema.json")
    part = {**whole["properties"]["connection-types"], "definitions": whole.get("definitions", {})}
    jsonschema.validate(get_provider_info()["connection-types"], part)


def test_every_module_and_class_that_it_names_imports() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)
    assert import_string(CONNECTION["hook-class-name"]) is IceHook


def test_it_says_what_the_hook_says() -> None:
    assert (CONNECTION["connection-type"], CONNECTION["hook-name"]) == (
        IceHook.conn_type,
        IceHook.hook_name,
    )
    assert IceHook.conn_name_attr == "ice_conn_id"


def test_the_form_offers_what_the_hook_understands() -> None:
    fields = CONNECTION["conn-fields"]
    assert fields["credential_type"]["schema"]["enum"] == list(CREDENTIAL_TYPES)
    for name, field in fields.items():
        assert "__" not in name  # Airflow splits there
        assert field["label"]
        assert field["description"]
    for name in (
        "region_id",
        "network",
        "connect_timeout",
        "read_timeout",
        "proxy",
        "verify",
        "max_requests_per_second",
    ):
        assert name in fields
    for name in ("security_token", "proxy"):
        assert fields[name]["schema"]["format"] == "password"


def test_the_form_hides_what_the_endpoint_override_says() -> None:
    assert CONNECTION["ui-field-behaviour"]["hidden-fields"] == ["schema"]


def test_the_form_shows_the_port_and_asks_for_a_zero() -> None:
    # Airflow 3.3 refuses to test a connection that is stored without a port.
    behaviour = CONNECTION["ui-field-behaviour"]
    assert "port" not in behaviour["hidden-fields"]
    assert "0" in behaviour["relabeling"]["port"]
    assert behaviour["placeholders"]["port"].startswith("0;")


def test_the_forms_defaults_are_the_hooks() -> None:
    defaults = {
        name: field["schema"]["default"]
        for name, field in CONNECTION["conn-fields"].items()
        if "default" in field["schema"]
    }
    untouched = read_connection(login="id", password="secret", host=None, extra={})
    assert (
        read_connection(
            login="id",
            password="secret",
            host=None,
            extra={**defaults, "role_session_expiration": None},
        )
        == untouched
    )


def test_what_the_form_starts_with_is_valid() -> None:
    for field in CONNECTION["conn-fields"].values():
        jsonschema.validate(field["schema"].get("default"), field["schema"])


def fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_reading_it_imports_nothing_of_airflow() -> None:
    fresh(
        "import sys; from airflow_ice.get_provider_info import get_provider_info\n"
        "get_provider_info()\n"
        "first = {name.split('.')[0] for name in sys.modules}\n"
        "assert not [name for name in first if name in {'airflow', 'httpx'}"
        " or name.startswith('alibabacloud')]"
    )


def test_airflow_loads_the_hook_and_its_form_without_a_warning() -> None:
    # In a process of its own: Airflow's manager loads once, and only then does it say what it does
    # not like.
    said = fresh(
        """if True:
        from airflow.providers_manager import ProvidersManager
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

        hook = ProvidersManagerTaskRuntime().hooks["alibaba_ice"]
        assert hook.hook_class_name == "airflow_ice.hooks.IceHook"
        assert hook.connection_id_attribute_name == "ice_conn_id"
        assert hook.connection_testable
        manager = ProvidersManager()
        prefix = "extra__alibaba_ice__"
        print(len([name for name in manager.connection_form_widgets if name.startswith(prefix)]))
        assert manager.field_behaviours["alibaba_ice"]["relabeling"]["login"] == "AccessKey ID"
        assert manager.providers["airflow-ice"].data["name"] == "Alibaba Cloud ICE"
        """
    )
    assert said == f"{len(CONNECTION['conn-fields'])}\n"
