"""What Airflow discovers of this package. Imports nothing of Airflow: it runs while Airflow itself
is being imported.
"""

from __future__ import annotations

from typing import Any

from airflow_ice import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, in the form of airflow/provider_info.schema.json."""
    return {
        "package-name": "airflow-ice",
        "name": "Alibaba Cloud ICE",
        "description": (
            "Batch video production with Alibaba Cloud ICE (Intelligent Media Services)."
        ),
        "versions": [__version__],
        "integrations": _integrations(),
        "hooks": [
            {"integration-name": "Alibaba Cloud ICE", "python-modules": ["airflow_ice.hooks"]}
        ],
        "operators": [
            {
                "integration-name": "Alibaba Cloud ICE",
                "python-modules": ["airflow_ice.operators", "airflow_ice.picking"],
            }
        ],
        "sensors": [
            {"integration-name": "Alibaba Cloud ICE", "python-modules": ["airflow_ice.sensors"]}
        ],
        "triggers": [
            {"integration-name": "Alibaba Cloud ICE", "python-modules": ["airflow_ice.triggers"]}
        ],
        "transfers": [
            {
                "source-integration-name": "Alibaba Cloud ICE",
                "target-integration-name": "Object storage",
                "python-module": "airflow_ice.transfers",
            }
        ],
        "asset-uris": [
            {
                "schemes": ["oss"],
                "handler": "airflow_ice.assets.normalized_oss_uri",
                "to_openlineage_converter": "airflow_ice.lineage.openlineage_dataset",
            }
        ],
        "extra-links": ["airflow_ice.links.IceVideosLink"],
        "connection-types": [_connection_type()],
    }


def _integrations() -> list[dict[str, Any]]:
    return [
        {
            "integration-name": "Alibaba Cloud ICE",
            "external-doc-url": "https://help.aliyun.com/zh/ims/",
            "tags": ["service"],
        },
        {
            "integration-name": "Object storage",
            "external-doc-url": (
                "https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/"
                "objectstorage.html"
            ),
            "tags": ["protocol"],
        },
    ]


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "alibaba_ice",
        "hook-class-name": "airflow_ice.hooks.IceHook",
        "hook-name": "Alibaba Cloud ICE",
        "ui-field-behaviour": {
            # Port stays: Airflow 3.3's page sends port 0 with a test where none is
            # stored, and its server refuses the difference (apache/airflow#73298).
            "hidden-fields": ["schema"],
            "relabeling": {
                "login": "AccessKey ID",
                "password": "AccessKey Secret",
                "host": "Endpoint override",
                "port": "Port (0: the default)",
            },
            "placeholders": {
                "login": "LTAI...; empty with a role or the default chain",
                "host": (
                    "empty for the region's own; http://127.0.0.1:8765 for the local emulator"
                ),
                "port": "0; left empty, Airflow 3.3 refuses to test it",
            },
        },
        "conn-fields": _connection_fields(),
    }


def _connection_fields() -> dict[str, Any]:
    return {**_place_fields(), **_credential_fields(), **_request_fields()}


def _place_fields() -> dict[str, Any]:
    return {
        "region_id": _field(
            "Region",
            f"Jobs, buckets and media are regional. ICE runs in {_REGIONS}.",
            default="cn-shanghai",
        ),
        "network": _field(
            "Network",
            "vpc for Airflow inside Alibaba Cloud.",
            default="public",
            enum=["public", "vpc"],
        ),
    }


def _credential_fields() -> dict[str, Any]:
    return {
        "credential_type": _field(
            "Credential type",
            "access_key: AccessKey ID and Secret above. sts: the same and an STS token. The "
            "others get keys that refresh "
            "themselves; default: the environment, a profile or the machine's role.",
            default="access_key",
            enum=[
                "access_key",
                "sts",
                "ram_role_arn",
                "ecs_ram_role",
                "oidc_role_arn",
                "credentials_uri",
                "default",
            ],
        ),
        "security_token": _field(
            "STS token",
            "For sts, and for ram_role_arn on top of a temporary AccessKey.",
            format="password",
        ),
        "role_arn": _field(
            "Role ARN", "For ram_role_arn and oidc_role_arn: acs:ram::ACCOUNT:role/NAME."
        ),
        "role_session_name": _field("Role session name", "Shows in the audit log. Optional."),
        "role_session_expiration": _number(
            "Role session (s)", "Seconds that a role session lives, from 900.", 3600, least=900
        ),
        "external_id": _field("External id", "For ram_role_arn, where the role asks for one."),
        "role_name": _field("ECS role name", "For ecs_ram_role; empty to ask the machine."),
        "oidc_provider_arn": _field(
            "OIDC provider ARN", "For oidc_role_arn; empty to take it from the environment (RRSA)."
        ),
        "oidc_token_file_path": _field(
            "OIDC token file", "For oidc_role_arn; empty to take it from the environment (RRSA)."
        ),
        "credentials_uri": _field(
            "Credentials URI",
            "For credentials_uri: a local service that answers with STS credentials.",
        ),
    }


def _request_fields() -> dict[str, Any]:
    return {
        "connect_timeout": _number("Connect time-out (s)", "Seconds to make a connection.", 5),
        "read_timeout": _number(
            "Read time-out (s)", "Seconds without a byte before a request is given up.", 10
        ),
        "max_requests_per_second": _number(
            "Requests a second", "For each worker or triggerer process.", 10
        ),
        "proxy": _field(
            "Proxy", "http://host:port; empty to follow HTTPS_PROXY.", format="password"
        ),
        "media_domains": _field(
            "Media domains",
            "Custom domain of each bucket, for reading videos where OSS refuses its own: "
            '{"BUCKET": "video.example.com"}.',
        ),
        "verify": _field(
            "CA file",
            "Path of a PEM file, for a proxy or gateway with its own certificate. Checks cannot "
            "be turned off.",
        ),
    }


_REGIONS = "cn-shanghai, cn-beijing, cn-hangzhou, cn-shenzhen, us-west-1 and ap-southeast-1"


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "label": label,
        "description": description,
        "schema": {"type": ["string", "null"], **schema},
    }


def _number(label: str, description: str, default: float, least: float = 0) -> dict[str, Any]:
    schema = {"type": ["number", "null"], "default": default, "minimum": least}
    return {"label": label, "description": description, "schema": schema}
