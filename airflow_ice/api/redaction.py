"""What never leaves: secrets in texts that come from outside, and the signatures of URLs.

Logs, errors, XCom and trigger events go through here (rule 10 of the design: nothing secret leaves).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_SIGNED_QUERY: Final = frozenset(
    {
        "signature",
        "ossaccesskeyid",
        "security-token",
        "x-oss-signature",
        "x-oss-credential",
        "x-oss-security-token",
        "auth_key",
    }
)

_URL_WITH_QUERY = re.compile(
    r"(https?:/{1,2}[^\s\"'<>?]+)\?[^\s\"'<>]*"
    # requests and urllib3 name the path alone: "Max retries exceeded with url: /path?query".
    r"|(\burl: {1,3}(?!https?:)[^\s\"'<>?]*)\?[^\s\"'<>]*"
    # Anything else that has a query, such as an address whose scheme was forgotten.
    r"|(?<=[\w/.:)}\]-])\?[^\s\"'<>?=]*=[^\s\"'<>]*",
    re.IGNORECASE,
)
_HARMLESS_QUERY = re.compile(
    r"https://(?:api|next\.api|help)\.(?:aliyun|alibabacloud)\.com/", re.IGNORECASE
)
_USER_OF_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,15}:/{1,2})[^/\s\"'<>?#]*@", re.IGNORECASE)
# Quotes and backslashes: the field may stand in JSON, in JSON within JSON, or in the repr of a dict.
_SECRET_FIELD = re.compile(
    r"((?:security[-_]?token|bearer[-_]?token|signature(?:[-_]?nonce)?|access[-_]?key[-_]?secret|oss[-_]?access[-_]?key[-_]?id)"
    r"[\\\"']*\s*(?:[:=]|%3[ad])\s*[\\\"']*)[^\s\"'\\,&;]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(authorization[\\\"']*\s*[:=]\s*[\\\"']*)[^\r\n\"'\\]+", re.IGNORECASE
)
_SERVER_SIDE_REQUEST = re.compile(
    r"(?<!\s)\s*server\s+(?:StringToSign|CanonicalRequest|string to sign).*",
    re.IGNORECASE | re.DOTALL,
)


def redact(text: str) -> str:
    """Return a text from outside without what must not be shown: queries and passwords of URLs, tokens, signatures.

    A SignatureDoesNotMatch reply repeats the whole canonical request, tokens included; that part is cut off.
    """
    text = _SERVER_SIDE_REQUEST.sub("", text)
    text = _URL_WITH_QUERY.sub(_without_query, text)
    text = _USER_OF_URL.sub(r"\1***@", text)
    text = _AUTHORIZATION.sub(r"\1***", text)
    return _SECRET_FIELD.sub(r"\1***", text)


def _without_query(found: re.Match[str]) -> str:
    return (
        found.group(0)
        if _HARMLESS_QUERY.match(found.group(0))
        else f"{found.group(1) or found.group(2) or ''}?***"
    )


def unsigned_url(url: str | None) -> str | None:
    """Return a URL without its query where that query is a signature: a signed URL is a secret and expires."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0]  # no URL, and no reason to fail a whole reply
    signed = any(
        name.lower() in _SIGNED_QUERY for name, _ in parse_qsl(parts.query, keep_blank_values=True)
    )
    return urlunsplit(parts._replace(query="", fragment="")) if signed else url
