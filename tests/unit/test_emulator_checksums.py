"""The checksums that OSS sends: the standard's own check value, and files of any length."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from airflow_ice.emulator.media.checksums import crc64, object_facts


def test_the_crc_is_that_of_ecma_182() -> None:
    # The check value of CRC-64/XZ in the catalogue of parametrised CRC algorithms.
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
    assert crc64(b"") == 0


@run(deadline=None)
@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
def test_a_crc_goes_on_where_another_ended(data: bytes, cut: int) -> None:
    assert crc64(data[cut:], crc64(data[:cut])) == crc64(data)


def test_the_facts_of_a_file_follow_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    content = bytes(range(256)) * 1500 + b"odd"
    path.write_bytes(content)
    facts = object_facts(path)
    assert facts.size == len(content)
    assert facts.crc64 == crc64(content)
    expected = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()
    assert facts.etag == f'"{expected}"'
    path.write_bytes(content[1:])
    assert object_facts(path) != facts
