"""The checksum of OSS, against its definition and its published check value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ice.api.crc64 import Crc64
from tests.media_server import crc64_of


def test_the_published_check_value() -> None:
    # CRC-64/XZ in the catalogue of parametrised CRC algorithms, and oss2's own.
    assert crc64_of(b"123456789") == 0x995DC9BBDF1939FA


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 2**64 - 1))
def test_only_its_own_checksum_matches(pieces: list[bytes], other: int) -> None:
    right = crc64_of(b"".join(pieces))
    for checksum in (right, right ^ 1, other):
        found = Crc64()
        for piece in pieces:
            found.update(piece)
        assert found.matches(checksum) == (checksum == right)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_pieces_of_any_size(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    whole = Crc64()
    whole.update(data[:size])
    assert whole.matches(crc64_of(data[:size]))
