"""A local ICE and the official SDK in front of it: what the tests of the emulator share."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from alibabacloud_ice20201109 import models
from alibabacloud_ice20201109.client import Client
from alibabacloud_tea_openapi.models import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_ice.api.signature import Credentials, canonical_query, signed_request_headers
from airflow_ice.emulator.local import LocalIce

GROUPS = {
    "MediaGroupArray": [
        {
            "GroupName": "opening",
            "MediaArray": ["****9d46c886b45481030f6e****", "****6c886b4549d481030f6e****"],
            "Duration": 1,
        },
        {"GroupName": "shop", "MediaArray": ["****d46c886810b454930f6e****"], "Duration": 0.5},
    ],
    "TitleArray": ["First title", "Second title"],
}
OUTPUT = {
    "MediaURL": "http://shop.oss-cn-shanghai.aliyuncs.com/day/v_{index}.mp4",
    "Count": 2,
    "Width": 320,
    "Height": 180,
}


class Sdk:
    """The official SDK's client, with a batch submit that needs no arguments."""

    def __init__(self, ice: LocalIce, **config: Any) -> None:
        keys = {"access_key_id": ice.access_key_id, "access_key_secret": ice.access_key_secret}
        self.client = Client(
            Config(protocol="http", endpoint=f"127.0.0.1:{ice.port}", **{**keys, **config})
        )

    def submit(self, *, inputs: Any = None, output: Any = None, **more: Any) -> str:
        request = models.SubmitBatchMediaProducingJobRequest(
            input_config=json.dumps(inputs or GROUPS),
            output_config=json.dumps({**OUTPUT, **(output or {})}),
            **more,
        )
        job_id: str = self.client.submit_batch_media_producing_job(request).body.job_id
        return job_id

    def get(self, job_id: str) -> Any:
        request = models.GetBatchMediaProducingJobRequest(job_id=job_id)
        return self.client.get_batch_media_producing_job(request).body.editing_batch_job

    def list(self, **filters: Any) -> Any:
        return self.client.list_batch_media_producing_jobs(
            models.ListBatchMediaProducingJobsRequest(**filters)
        ).body

    def media(self, **query: Any) -> Any:
        return self.client.get_media_info(models.GetMediaInfoRequest(**query)).body.media_info


class Wire:
    """Requests made by hand, so that every part of them can be wrong."""

    def __init__(self, ice: LocalIce) -> None:
        self.ice = ice
        self.credentials = Credentials(ice.access_key_id, ice.access_key_secret)

    def headers(
        self, action: str, query: dict[str, str], body: bytes = b"", **changes: Any
    ) -> dict[str, str]:
        options: dict[str, Any] = {
            "credentials": self.credentials,
            "now": datetime.now(UTC),
            "nonce": uuid.uuid4().hex,
            "host": f"127.0.0.1:{self.ice.port}",
            "user_agent": "test",
            **changes,
        }
        return signed_request_headers(action=action, query=query, body=body, **options)

    def send(
        self, headers: dict[str, str], query: dict[str, str], body: bytes = b""
    ) -> httpx.Response:
        return httpx.post(
            f"{self.ice.url}/?{canonical_query(query)}",
            headers=headers,
            content=body,
            trust_env=False,
        )

    def call(
        self, action: str, query: dict[str, str] | None = None, **changes: Any
    ) -> httpx.Response:
        return self.send(self.headers(action, query or {}, **changes), query or {})


@pytest.fixture
def ice() -> Iterator[LocalIce]:
    """A local ICE that renders nothing and whose clock stands still; a job takes 100 of its
    seconds."""
    with LocalIce(render=False, job_seconds=100.0) as running:
        running.freeze()
        yield running


@pytest.fixture
def sdk(ice: LocalIce) -> Sdk:
    return Sdk(ice)


@pytest.fixture
def wire(ice: LocalIce) -> Wire:
    return Wire(ice)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a certificate for 127.0.0.1, which signs itself, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a gateway of the test's own")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "certificate.pem", folder / "key.pem"
