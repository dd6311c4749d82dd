"""The exception tree of the ICE client.

Every exception carries data (`code`, `message`, `http_status`, `request_id`, `recommend`, `action`,
`job_id`), and its text says what happened, what that means for the paid job, and what to do. None
holds a secret, a signature or a signed URL: texts that come from outside go through `redact`. An
error is made once, with all that is known; who knows more makes a copy (`IceError.with_facts`).

    IceError
    |-- IceInputError               refused here, nothing was sent (also a ValueError)
    |-- IceCredentialsError         no credentials could be had
    |-- IceTransportError           no reply: connection, TLS, proxy
    |   `-- IceTimeoutError         no reply in time
    |-- IceServiceError             a reply that says no
    |   |-- IceThrottledError       too many requests
    |   |-- IceUnavailableError     5xx, or a reply that is not ICE's (a proxy's page, no body)
    |   |-- IceAuthenticationError  AccessKey, token, signature or clock
    |   |-- IcePermissionError      RAM policy, service not opened, subscription
    |   |-- IceNotFoundError        project, media or other resource
    |   |   `-- IceJobNotFoundError no such job (for this account, in this region, within a year)
    |   `-- IceParameterError       a parameter was refused
    |-- IceDownloadError            a finished video could not be read
    `-- IceJobError                 the job itself, not a request
        |-- IceJobFailedError       the main job has ended in Failed
        |-- IceJobNotEndedError     the job is still running
        `-- IceTooFewVideosError    the job has ended with fewer good sub-jobs than required

Codes and statuses: the product's error table (help.aliyun.com, document 197855) and recorded
replies of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self, TypeVar

from airflow_ice.api.redaction import redact

Submitted = Literal["no", "unknown"]
"""What a failed submit means: `no`, certainly no job was made; `unknown`, ICE may have created it.
"""

E = TypeVar("E", bound="IceError")

_ABOUT_ONE_JOB: Final = re.compile(r"Get\w*Job")
_FACTS: Final = (
    "message",
    "code",
    "http_status",
    "request_id",
    "recommend",
    "action",
    "job_id",
    "submitted",
    "advice",
    "transient",
)


class IceError(Exception):
    """Anything that went wrong with ICE.

    :param message: what happened, in the service's words where it spoke.
    :param code: the error code, for example `InvalidParameter`; None where there was none.
    :param http_status: the HTTP status of the reply; None without a reply.
    :param request_id: the RequestId, which support asks for; None without a reply.
    :param recommend: the service's own link to a diagnosis of this very request.
    :param action: the API action, for example `GetBatchMediaProducingJob`.
    :param job_id: the job that the error is about; None where it is about none, or the job has no
        id yet.
    :param submitted: for a submit, whether ICE may have created the job; None for other actions.
    :param advice: what to do; a default by code where it is None.
    :param transient: whether the same call may work a moment later; None for what holds for this
        class.
    """

    transient: bool = False
    """Whether the same call may work a moment later. A failed poll is not a failed job: a wait goes
    on after these.
    """

    _advice: ClassVar[str] = ""
    more_facts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        recommend: str | None = None,
        action: str | None = None,
        job_id: str | None = None,
        submitted: Submitted | None = None,
        advice: str | None = None,
        transient: bool | None = None,
    ) -> None:
        self.message = redact(message.strip())
        self.code = code
        self.http_status = http_status
        self.request_id = request_id
        self.recommend = redact(recommend) if recommend else None
        self.action = action
        self.job_id = job_id
        self.submitted = submitted
        self.advice = advice
        if transient is not None:
            self.transient = transient
        super().__init__(self.message)

    def with_facts(self, **facts: Any) -> Self:
        """Return a copy that knows more, or knows better: same class, same cause and traceback, all
        other facts kept.

        :param facts: by the names of the constructor's arguments and of the class's own facts, for
            example `submitted`, `advice`, `action`, `job_id`, `transient`.
        :raises TypeError: the class has no such fact.
        """
        if unknown := facts.keys() - {*_FACTS, *self.more_facts}:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name in {"message", "recommend"} & facts.keys():
            facts[name] = redact(facts[name].strip()) if facts[name] else facts[name]
        return restored_as(type(self), self, **facts)

    def happened(self) -> str:
        """Say what happened, in one clause."""
        return self.message

    def consequence(self) -> str:
        """Say what it means for the paid job."""
        if self.submitted == "no":
            return "No job was made and nothing is billed."
        if self.submitted == "unknown":
            return (
                "Whether ICE took the job is not known: it may be running and billed. "
                "Look for it in ListBatchMediaProducingJobs, by its UserData, before submitting "
                "it again."
            )
        if _ABOUT_ONE_JOB.fullmatch(self.action or ""):
            return (
                "The job itself is not touched by this: what was submitted keeps running in ICE "
                "and stays billed."
            )
        # A list may be asked for where no job was ever submitted, as the connection test does.
        return "No job is touched by this." if "Jobs" in (self.action or "") else ""

    def __str__(self) -> str:
        advice = self.advice or _ADVICE.get(self.code or "", "") or self._advice
        text = " ".join(
            _sentence(part) for part in (self.happened(), self.consequence(), advice) if part
        )
        facts = [
            f"JobId={self.job_id}" if self.job_id and self.job_id not in text else "",
            f"Code={self.code}" if self.code else "",
            f"HTTP status={self.http_status}" if self.http_status else "",
            f"RequestId={self.request_id}" if self.request_id else "",
            f"Recommend={self.recommend}" if self.recommend else "",
        ]
        known = ", ".join(fact for fact in facts if fact)
        return f"{text} ({known})" if known else text

    def brief(self) -> str:
        """Return one sentence and the facts, for a line of a log: what to do is in `str`."""
        facts = [
            f"JobId={self.job_id}" if self.job_id and self.job_id not in self.happened() else "",
            f"Code={self.code}" if self.code else "",
            f"HTTP status={self.http_status}" if self.http_status else "",
            f"RequestId={self.request_id}" if self.request_id else "",
        ]
        known = ", ".join(fact for fact in facts if fact)
        return f"{_sentence(self.happened())} ({known})" if known else _sentence(self.happened())

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the default pickling of exceptions, and Airflow
        # moves them between processes.
        return (_restore, (type(self), self.message, dict(self.__dict__)))

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain JSON, to travel in a trigger's event; `error_from_dict` is the
        way back.
        """
        return {
            "error": type(self).__name__,
            **{name: getattr(self, name) for name in (*_FACTS, *self.more_facts)},
        }


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _restore(kind: type[E], message: str, state: dict[str, Any]) -> E:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


def restored_as(kind: type[E], error: IceError, **facts: Any) -> E:
    """Return a copy of an error as another class of the same facts, with the same cause and
    traceback.

    :param kind: the error's own class, or one that is derived from it.
    :param facts: what differs in the copy.
    """
    copy = _restore(kind, facts.get("message", error.message), {**error.__dict__, **facts})
    copy.__cause__ = error.__cause__
    copy.__context__ = error.__context__
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


class IceInputError(IceError, ValueError):
    """An argument or a setting that cannot work; it was refused here and nothing was sent.

    :param field: the field as the user wrote it, for example `OutputConfig.Count`.
    :param value: the offending value, shortened in the message; None where showing it would show a
        secret.
    :param rule: the rule it breaks.
    """

    more_facts = ("field", "rule")  # not the value, which may be large or hold a secret

    def __init__(self, field: str, value: object, rule: str, *, advice: str | None = None) -> None:
        shown = "" if value is None else f" is {_short(value)}, but it"
        super().__init__(f"{field}{shown} {rule}", submitted=None, advice=advice)
        self.field = redact(field)
        self.value = value
        self.rule = redact(rule)

    def consequence(self) -> str:
        """Say that nothing was sent."""
        return "Nothing was sent."

    def __reduce__(self) -> tuple[Any, ...]:
        # The value may be anything that a user can pass, and not all of that can be pickled.
        plain = (
            self.value
            if isinstance(self.value, (str, int, float, type(None)))
            else redact(_short(self.value))
        )
        return (_restore, (type(self), self.message, {**self.__dict__, "value": plain}))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


class IceCredentialsError(IceError):
    """No credentials could be had from the source that the connection names.

    It is transient where the source was only out of reach, so that asking again may help.
    """

    _advice = "Check the connection's credential_type and what that type needs."


class IceTransportError(IceError):
    """No reply came: the connection could not be made, was refused by a proxy, failed in TLS, or
    broke.
    """

    transient = True
    _advice = (
        "Check the endpoint (host, region_id, network), the proxy and the network of this machine."
    )

    def happened(self) -> str:
        """Name the action and the cause."""
        return f"{self.action or 'The request'} got no reply: {self.message}"


class IceTimeoutError(IceTransportError):
    """No connection within `connect_timeout`, no byte within `read_timeout`, or no complete reply
    within both together.
    """


class IceServiceError(IceError):
    """The service, or something before it, replied with an error.

    :param retry_after: the seconds that the reply asks to wait, or None.
    """

    more_facts = ("retry_after",)

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after

    def happened(self) -> str:
        """Name the action and the reply."""
        said = f"{self.code}: {self.message}" if self.code else self.message
        return f"{self.action or 'The request'} was answered with {said}"


class IceThrottledError(IceServiceError):
    """Too many requests for this account."""

    transient = True
    _advice = (
        "Lower max_requests_per_second of the connection, or spread the tasks; the quota is "
        "shared by the whole account."
    )


class IceUnavailableError(IceServiceError):
    """A fault on the service's side, or a reply that is not ICE's: a proxy's page, no body."""

    transient = True
    _advice = (
        "This usually passes; if it lasts, give the RequestId to support or look at what stands "
        "between here and ICE."
    )


class IceAuthenticationError(IceServiceError):
    """The AccessKey, the token, the signature or the clock was refused."""

    _advice = "Check the AccessKey of the connection."


class IcePermissionError(IceServiceError):
    """These credentials may not do this, or the account has not opened or bought the service."""

    _advice = "Allow the action in the RAM policy of the user or role behind the connection."


class IceNotFoundError(IceServiceError):
    """A resource that the request names does not exist here."""


class IceJobNotFoundError(IceNotFoundError):
    """The service knows no such job."""

    _advice = (
        "Check the job id, and that the connection's account and region_id are those that "
        "submitted it: "
        "jobs are regional, and only those of the last year can be read."
    )

    def consequence(self) -> str:
        """Say what an unknown job id does and does not mean."""
        return "If the job was submitted elsewhere, it keeps running there and stays billed."


class IceParameterError(IceServiceError):
    """A parameter was refused."""

    _advice = (
        "Compare the argument with the API page; an OSS URL must be in the region of the endpoint."
    )


class IceDownloadError(IceError):
    """A finished video could not be read from where it lies. `code` is OSS's where OSS answered.

    It is transient where a later try may read it; not so where the file is gone, or the domain is
    closed to this account.
    """

    transient = True
    _advice = "Let this task retry: it downloads again, which bills no job."

    def consequence(self) -> str:
        """Say that the video is still there, and nothing partial is left where it was to go."""
        return "The video stays in its bucket, and nothing partial was left at the destination."


class IceJobError(IceError):
    """About a job, not about a request.

    :param job_id: the main job.
    """

    job_id: str

    def __init__(self, message: str, *, job_id: str, **facts: Any) -> None:
        super().__init__(message, job_id=job_id, **facts)


class IceJobFailedError(IceJobError):
    """The main job has ended in Failed. `code` and `message` are the job's own (its Extend)."""

    _advice = "Read the code, fix the input and submit a new job."

    def happened(self) -> str:
        """Name the job and its error."""
        return f"Batch job {self.job_id} has failed: {self.message}"

    def consequence(self) -> str:
        """Say that waiting again cannot help."""
        return "It has ended for good: waiting again cannot help, and nothing more is produced."


class IceJobNotEndedError(IceJobError):
    """The job is still running, so its results cannot be collected yet."""

    _advice = "Put an IceBatchMediaProducingJobSensor before this task."

    def consequence(self) -> str:
        """Say that the job keeps running."""
        return "It keeps running in ICE and stays billed."


class IceTooFewVideosError(IceJobError):
    """The job has ended, and fewer of its sub-jobs are good than `require` asks for."""

    _advice = (
        "Lower `require` and clear this task to take what is there, which bills nothing. "
        "For a new, paid job, fix the input and change `wish` of the task that submits."
    )

    def consequence(self) -> str:
        """Say what was kept."""
        return (
            "The job has ended and its produced videos are billed; the rows of the good and the "
            "failed sub-jobs are in XCom "
            "(keys media and failed)."
        )


_ADVICE: Final[Mapping[str, str]] = {
    "PublicEndpointForbidden": (
        "OSS refuses its default public domain to this account (mainland buckets, users since "
        "March 2025): bind a custom domain to the bucket and name it in the connection's extra, "
        '{"media_domains": {"BUCKET": "video.example.com"}}; or, inside Alibaba Cloud, set network '
        "to vpc, and the bucket is read through its internal domain."
    ),
    "InvalidAccessKeyId.NotFound": (
        "The AccessKey ID of the connection (login) does not exist; check it for typing errors."
    ),
    "InvalidAccessKeyId.Inactive": (
        "The AccessKey is disabled; enable it in the RAM console or use another one."
    ),
    "SignatureDoesNotMatch": (
        "The AccessKey secret of the connection (password) is wrong, or a proxy rewrites the "
        "request."
    ),
    "InvalidTimeStamp.Expired": (
        "The clock of this machine is more than 15 minutes off; set it right."
    ),
    "InvalidSecurityToken.Expired": (
        "The STS token has expired; a credential_type such as ram_role_arn refreshes itself."
    ),
    "InvalidSecurityToken.Malformed": "The STS token of the connection is damaged; copy it again.",
    "InvalidSecurityToken.MismatchWithAccessKey": (
        "The STS token belongs to another AccessKey; the three values come as one set."
    ),
    "MissingSecurityToken": (
        "This is a temporary AccessKey (STS.*): set credential_type to sts and give the "
        "security_token."
    ),
    "OperationDenied": "Open Intelligent Media Services for this account in its console.",
    "OperationDenied.Suspended": (
        "The service is suspended, usually for an overdue bill; settle it in the console."
    ),
    "Forbidden.SubscriptionRequired": (
        "Batch production needs the IMS subscription; buy it in the console."
    ),
    "IdempotentParameterMismatch": (
        "The ClientToken was used before with other parameters; use a new one for a new job."
    ),
    "InvalidAction.NotFound": "This endpoint does not know the action; check host and region_id.",
    "InvalidApi.NotFound": "This endpoint does not know the action; check host and region_id.",
    "InvalidProduct.NotFound": "This host is not an ICE endpoint; check host and region_id.",
}


_FORMERLY: Final = "Unretried"


def error_from_dict(fields: Mapping[str, Any]) -> IceError:
    """Return the exception that `IceError.as_dict` described; an unknown kind becomes a plain
    `IceError`.
    """
    kinds = {kind.__name__: kind for kind in _tree(IceError)}
    name = str(fields.get("error"))
    # Events of an earlier version, which called these errors Unretried...
    name = f"NonRetryable{name[len(_FORMERLY) :]}" if name.startswith(_FORMERLY) else name
    kind = kinds.get(name, IceError)
    message = str(fields.get("message") or "")
    state = {name: fields.get(name) for name in (*_FACTS, *kind.more_facts)}
    state["transient"] = bool(fields.get("transient", kind.transient))
    for name in {"field", "rule"} & state.keys():
        state[name] = str(state[name] or "")
    if issubclass(kind, IceJobError):
        state["job_id"] = str(state["job_id"] or "")
    if issubclass(kind, IceInputError):
        state["value"] = None
    return _restore(kind, message, {**state, "message": message})


def _tree(kind: type[IceError]) -> list[type[IceError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _tree(child))]
