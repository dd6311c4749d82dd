"""Buckets are regional: those that a submit names are in the region of the endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from airflow_ice.api.errors import IceInputError
from airflow_ice.api.limits.json_values import MAX_PATH, json_object

_OSS_HOST: Final = re.compile(
    r"(?:[a-z]+://)?(?:[^/\s@]*\.)?oss-([a-z]{2,}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com"
    r"(?::\d+)?(?:/|$)",
    re.IGNORECASE,
)
"""BUCKET.oss-REGION[-internal].aliyuncs.com, with or without a scheme; oss-accelerate is no region.
"""

_SAID: Final = frozenset(
    {"Title", "TitleArray", "SubHeadingArray", "SpeechText", "SpeechTextArray"}
)
"""Keys whose texts are shown or spoken, and may begin with any address."""


def one_region(region: str, parameters: Mapping[str, str]) -> None:
    """Check that the buckets that a submit names are in the region of the endpoint: ICE refuses
    others, and does not say which URL it is.

    Custom domains and media ids name no region, so they pass.

    :param region: of the endpoint, for example `cn-shanghai`.
    :param parameters: of a submit, as they are sent.
    :raises IceInputError: a URL of InputConfig, EditingConfig or OutputConfig is in another region.
    """
    for name in ("InputConfig", "EditingConfig", "OutputConfig"):
        if ".aliyuncs.com" in parameters.get(name, ""):
            _same_region(region, name, json_object(name, parameters[name]))


def _same_region(region: str, path: str, value: object) -> None:
    match value:
        case str():
            other = _OSS_HOST.match(value.strip())
            if other and other[1].lower() != region:
                rule = (
                    f"is in the region {other[1].lower()}, but must be in {region}, the region of "
                    f"the connection's endpoint: {value}"
                )
                raise IceInputError(
                    path,
                    None,
                    rule,
                    advice="Copy the file to a bucket of that region, or use a connection of the "
                    "bucket's region.",
                )
        case Mapping():
            for key, each in value.items():
                if key not in _SAID:
                    _same_region(region, f"{path}.{key}"[:MAX_PATH], each)
        case list():
            for place, each in enumerate(value):
                _same_region(region, f"{path}[{place}]"[:MAX_PATH], each)
