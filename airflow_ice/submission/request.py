"""What is to be sent: a submit action with its arguments, the key in its UserData, and fingerprints
that reveal a change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_ice.api import limits
from airflow_ice.api.arguments import Config
from airflow_ice.api.endpoints import REGIONS
from airflow_ice.api.errors import IceInputError
from airflow_ice.api.models import BatchMediaProducingJob, parsed
from airflow_ice.api.operations import Operation
from airflow_ice.submission.identity import hash_of

USER_DATA_KEY: Final = "airflow_ice"
"""The name of the key in UserData, next to the user's own fields."""

_ENDPOINT: Final = "endpoint"
_REGION_NAME: Final = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """What is to be submitted, and to whom.

    :param describe: one of `operations.submit_...`.
    :param arguments: its arguments without user_data and client_token.
    :param user_data: the user's own.
    :param takes_client_token: whether the action has a ClientToken.
    :param account: where the job runs and who pays, from `IceHook.account`. Not secret.
    """

    describe: Callable[..., Operation[str]]
    arguments: Mapping[str, Any]
    user_data: Config | None = None
    takes_client_token: bool = False
    account: Mapping[str, str] = field(default_factory=dict)

    def operation(self, key: str) -> Operation[str]:
        """Return the call that submits the job under a key.

        :raises IceInputError: the service is known to refuse it.
        """
        token = {"client_token": key} if self.takes_client_token else {}
        user_data = with_key(self.user_data, key)
        found = self.describe(**self.arguments, **token, user_data=user_data)
        if (region := self.account.get("region")) in REGIONS:  # else a host of another kind
            limits.one_region(region, {**found.query, **found.form})
        return found

    def inputs(self) -> dict[str, str]:
        """Return a short hash for each field that makes the job what it is. The layout of JSON does
        not count.

        :raises IceInputError: the service is known to refuse it.
        """
        plain = self.describe(**self.arguments)
        own = {"UserData": _canonical(self.user_data)} if self.user_data else {}
        sent = {name: _canonical(value) for name, value in {**plain.query, **plain.form}.items()}
        return {name: fingerprint(value) for name, value in {**sent, **own}.items()}

    def account_fingerprints(self) -> dict[str, str]:
        """Return a short hash for each fact about the account."""
        return {name: fingerprint(value) for name, value in self.account.items()}

    def changed_since(self, inputs: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the fields that differ from those hashes; the offending one where
        this is refused by now.
        """
        try:
            now = self.inputs()
        except IceInputError as error:
            return (error.field,)
        names = sorted({*now, *inputs})
        return tuple(name for name in names if now.get(name) != inputs.get(name))

    def moved_since(self, account: Mapping[str, str]) -> tuple[str, ...]:
        """Return which facts about the account differ from those hashes.

        Records of an earlier version hold a hash of the endpoint's host instead. The public and the
        VPC host of a region are one place. Who pays is not in them.
        """
        if _ENDPOINT in account:
            return () if account[_ENDPOINT] in self._hosts_of_region() else ("region",)
        now = self.account_fingerprints()
        return tuple(name for name in sorted(now) if now[name] != account.get(name))

    def _hosts_of_region(self) -> set[str]:
        region = self.account.get("region", "")
        hosts = {region}
        if _REGION_NAME.fullmatch(region):
            hosts |= {f"ice.{region}.aliyuncs.com", f"ice-vpc.{region}.aliyuncs.com"}
        return {fingerprint(host) for host in hosts}


def with_key(user_data: Config | None, key: str) -> dict[str, Any]:
    """Return the user's UserData with this package's key added.

    :raises IceInputError: not a JSON object, the name is in use, or together more than 512 bytes.
    """
    own = {} if user_data is None or user_data == "" else limits.user_data_object(user_data)
    if USER_DATA_KEY in own:
        raise IceInputError(
            f"UserData.{USER_DATA_KEY}",
            None,
            "is reserved: this package keeps its own key under it",
        )
    merged = {**own, USER_DATA_KEY: key}
    size = len(json.dumps(merged, ensure_ascii=False).encode())
    if size > limits.MAX_USER_DATA_BYTES:
        ours = len(json.dumps({USER_DATA_KEY: key}))
        raise IceInputError(
            "UserData",
            None,
            f"must be at most {limits.MAX_USER_DATA_BYTES} bytes together with the {ours} by "
            f"which this package finds the job again; together they are {size}",
        )
    return merged


def key_in(job: BatchMediaProducingJob) -> str | None:
    """Return the key that a job's UserData holds, or None."""
    user_data = parsed(job.user_data)
    key = user_data.get(USER_DATA_KEY) if isinstance(user_data, Mapping) else None
    return key if isinstance(key, str) else None


def fingerprint(value: str) -> str:
    """Return the first 12 hex digits of a text's hash: enough to detect a change."""
    return hash_of(value)[:12]


def _canonical(value: Any) -> str:
    """Return a text that is equal for equal values: JSON sorted and without blanks, other text as
    it is.
    """
    plain = parsed(value) if isinstance(value, str) else value
    if isinstance(value, str) and not isinstance(plain, (dict, list)):
        return value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
