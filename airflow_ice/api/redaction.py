r"""What never leaves: secrets in texts that come from outside, and the signatures of URLs.

`redact` is for texts that people read (errors, logs): it hides every query, password, token and
signature, and shortens. `publishable` is for data that tasks read (XCom): it removes the queries of
signed URLs, and changes nothing else.

Every function here takes time in proportion to its input, whatever the input is: the texts come
from outside, and are read in the triggerer's event loop. The patterns keep to two rules. A run that
a pattern repeats over is entered only at its first character (the `(?<!...)` in front), and what a
repetition has matched is not given back (`++`, `*+`).

The spellings of one character that are understood: itself, percent-encoded any number of times
(`%3F`, `%253F`), and escaped in JSON text within JSON text of any depth (`\u003f`, `\\\u003f`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

LONGEST_TEXT: Final = 2_000
"""Characters of a text for people that are kept: enough for any message of the service."""

DEEPEST: Final = 100
"""Levels of nesting that are published. Airflow's serialisation recurses; ICE's replies have fewer
than ten.
"""

# Any character that may stand in a URL; what ends a URL stays as it is, so that JSON stays JSON.
_BACKSLASHES: Final = r"(?:(?<!\\)\\++|(?<!%5c)(?<!255c)(?:%(?:25)*+5c)++)"
_ESCAPED: Final = rf"{_BACKSLASHES}(?:/|u00(?!20|22|27|3c|3e|5c|60)[2-7][0-9a-f])"
_ESCAPE: Final = re.compile(_ESCAPED, re.IGNORECASE)

# Redaction

_WORD_WITH_MARK: Final = re.compile(r"(?<![^\s\"'<>])[^\s\"'<>?%\\]*+[?%\\][^\s\"'<>]*+")
_SCHEME: Final = re.compile(r"https?(?::|%(?:25)*+3a)(?:\\*+/|%(?:25)*+2f)", re.IGNORECASE)
_QUESTION_MARK: Final = re.compile(r"\?|%(?:25)*+3f|u003f", re.IGNORECASE)
# An address whose scheme was forgotten: all that tells it from a question is the parameter.
_PARAMETER: Final = re.compile(r"(?<=[\w/.:)}\]-])\?[^?=]*+=")
# requests and urllib3 name the path alone: "Max retries exceeded with url: /path?query".
_NAMES_A_URL: Final = re.compile(r"\burl: {1,3}\Z", re.IGNORECASE)
_HARMLESS_QUERY: Final = re.compile(
    r"https://(?:api|next\.api|help)\.(?:aliyun|alibabacloud)\.com/", re.IGNORECASE
)
_USER_OF_URL: Final = re.compile(r"([:/]\\*+/)[^/\s\"'<>?#]*@")
_USER_OF_ENCODED_URL: Final = re.compile(
    r"(%(?:25)*+(?:3a|2f)(?:%(?:25)*+5c)*+%(?:25)*+2f)"
    r"(?:(?!%(?:25)*+(?:2f|3f|23|40))[^\s\"'<>/?#])*+(?=%(?:25)*+40)",
    re.IGNORECASE,
)
# The field may stand in JSON, in JSON within JSON, in the repr of a dict, or percent-encoded.
_QUOTES: Final = r"(?:[\\\"']|%(?:25)*+(?:20|22|27|5c))*+"
_BETWEEN: Final = rf"{_QUOTES}\s*+(?:[:=]|%(?:25)*+3[ad]|u003[ad])\s*+{_QUOTES}"
_SECRET_FIELD: Final = re.compile(
    r"((?:(?:security|bearer|session)[-_]?token|signature(?:[-_]?nonce)?"
    r"|(?:access[-_]?key|client)[-_]?secret|oss[-_]?access[-_]?key[-_]?id"
    r"|x-(?:oss|amz|goog)-credential|auth[-_]?key|passw(?:or)?d)"
    rf"{_BETWEEN})[^\s\"'\\,&;]++",
    re.IGNORECASE,
)
_AUTHORIZATION: Final = re.compile(rf"(authorization{_BETWEEN})[^\r\n\"'\\]++", re.IGNORECASE)
_SERVER_SIDE_REQUEST: Final = re.compile(
    r"(?<!\s)\s*+server\s++(?:StringToSign|CanonicalRequest|string to sign).*+",
    re.IGNORECASE | re.DOTALL,
)


def redact(text: str, *, longest: int | None = LONGEST_TEXT) -> str:
    """Return a text without what must not be shown: queries and passwords of URLs, tokens,
    signatures.

    A SignatureDoesNotMatch reply repeats the whole canonical request, tokens included; that part is
    cut off. A text that is redacted already comes back as it is, unless it is longer than
    `longest`.

    :param longest: characters that are read; what follows is cut off, and counted in a note. None
        for all.
    """
    text, note = (text, "") if longest is None else _beginning(text, longest)
    text = _ESCAPE.sub(_character, text)
    text = _SERVER_SIDE_REQUEST.sub("", text)
    text = unsigned_text(_WORD_WITH_MARK.sub(_without_query, text))
    text = _USER_OF_URL.sub(r"\1***@", text)
    text = _USER_OF_ENCODED_URL.sub(r"\1***", text)
    text = _AUTHORIZATION.sub(r"\1***", text)
    return _SECRET_FIELD.sub(r"\1***", text) + note


def _beginning(text: str, longest: int) -> tuple[str, str]:
    """Return the beginning of a text, and a note of what was cut off."""
    if len(text) <= longest:
        return text, ""
    # Part of a word may hide what makes it a secret: the `@` after a password, the `=` of a query.
    # So the cut is between two words. What tells a secret in words is what stands before it.
    room = text[: longest - len("... (1234567890 more characters)")]
    kept = room[: max(room.rfind(end) for end in " \t\r\n\"'<>") + 1].rstrip()
    return kept, f"... ({len(text) - len(kept)} more characters)"


def _without_query(found: re.Match[str]) -> str:
    word = found.group()
    scheme = _SCHEME.search(word)
    query = _PARAMETER.search(word)
    if scheme and not (query and query.start() < scheme.start()):
        if _HARMLESS_QUERY.match(word, scheme.start()):
            return word
        query = _QUESTION_MARK.search(word, scheme.end()) or query
    elif _NAMES_A_URL.search(found.string[max(found.start() - 8, 0) : found.start()]):
        query = _QUESTION_MARK.search(word)
    return f"{word[: query.start()]}?***" if query else word


# Signed URLs

_WORD: Final = re.compile(rf"(?:[^\s\"'<>`\\]|{_ESCAPED})++", re.IGNORECASE)
# A list of URLs in one text: the end of one and the beginning of the next.
_NEXT_URL: Final = re.compile(r"(?<=[,;|])(?=[a-z][a-z0-9+.-]{0,15}:\\*+/)", re.IGNORECASE)
_ENCODED_PERCENT: Final = re.compile(r"%(?:25)++")
# V1 and V4 of OSS (of S3 and the like, too), the token of STS, and the CDN's authentication type A.
_SIGNED: Final = re.compile(
    r"[?&;#](?:signature|ossaccesskeyid|security-token|auth_key"
    r"|x-(?:oss|amz|goog)-(?:signature|credential|security-token))=",
    re.IGNORECASE,
)
_HINT: Final = re.compile(r"[?&;#%\\]")
_SIGNATURE: Final = re.compile(
    r"(?:signature|ossaccesskeyid|security-token|auth_key|x-(?:oss|amz|goog)-credential)\s*+=",
    re.IGNORECASE,
)
_SECRET_PARAMETER: Final = re.compile(
    r"[?&;#](?:signature|security-token|auth_key|x-(?:oss|amz|goog)-(?:signature|security-token))="
    r"([^\s&;#\"'<>]++)",
    re.IGNORECASE,
)
SHORTEST_SECRET: Final = 8
"""Characters of a signature or token below which it is not masked: it would blank other words."""
_PARAMETERS: Final = re.compile(r"[&;#]|%(?:25)*+(?:26|3b|23)|u00(?:26|3b|23)", re.IGNORECASE)
_PUNCTUATION: Final = ")]}.,;!|"


def secrets_of_urls(value: Any) -> set[str]:
    """Return the signatures and security tokens of all signed URLs in parsed JSON, as they stand
    there and decoded, without those shorter than `SHORTEST_SECRET` characters.

    They are for a masker of logs: whoever has one can open the file until the signature expires.
    """
    match value:
        case str():
            once = _unescaped(value)
            spellings = (value, once, _unescaped(once))
            found = {secret for text in spellings for secret in _SECRET_PARAMETER.findall(text)}
            found |= {unquote(secret) for secret in found}
            return {secret for secret in found if len(secret) >= SHORTEST_SECRET}
        case Mapping():
            return set().union(*map(secrets_of_urls, value.values()))
        case list() | tuple():
            return set().union(*map(secrets_of_urls, value))
        case _:
            return set()


def holds_signature(text: str) -> bool:
    """Tell whether a name, such as a path, holds a parameter of a signed URL, whatever separates it
    from what stands before it, in any spelling.

    Stricter than `unsigned_text`: a name can be left out, data cannot.
    """
    plain = _unescaped(_unescaped(text))
    return _SIGNATURE.search(unicodedata.normalize("NFKC", plain)) is not None


def unsigned_url(url: str | None) -> str | None:
    """Return a URL without its query where that query is a signature: a signed URL is a secret.

    Any scheme or none will do, any spelling of it, and any text around it. See `unsigned_text`.
    """
    return unsigned_text(url) if url else None


def unsigned_text(text: str) -> str:
    r"""Return a text in which no URL is signed; whatever is not part of a signed URL stays as it
    is.

    From a signed URL its query is removed, and its fragment. The query is what tells it: it holds
    one of the parameters Signature, OSSAccessKeyId, security-token (OSS V1), x-oss-signature,
    x-oss-credential, x-oss-security-token (OSS V4), or auth_key (CDN). Not recognised: a CDN
    signature in the path (authentication types B and C), which looks like any other path.
    """
    if not _HINT.search(text):
        return text
    return _WORD.sub(lambda word: "".join(map(_unsigned, _NEXT_URL.split(word.group()))), text)


def _unsigned(word: str) -> str:
    if not _HINT.search(word):
        return word
    # Twice, since either kind of escape may stand within the other.
    if not _SIGNED.search(_unescaped(_unescaped(word))):
        return word
    # Without a question mark it is the second half of a URL that has, say, a blank in it.
    query = _QUESTION_MARK.search(word) or _PARAMETERS.search(word)
    # A backslash that is left at the end would escape the quote that follows.
    kept = word[: query.start()].rstrip("\\") if query else ""
    return kept + word[len(word.rstrip(_PUNCTUATION)) :]


def _unescaped(word: str) -> str:
    return unquote(_ENCODED_PERCENT.sub("%", _ESCAPE.sub(_character, word)))


def _character(escape: re.Match[str]) -> str:
    text = escape.group()
    return "/" if text.endswith("/") else chr(int(text[-2:], 16))


def publishable(value: Any) -> Any:
    """Return parsed JSON as it may stand in XCom: plain JSON in which no URL is signed.

    * Texts and keys go through `unsigned_text`. Keys that are equal after it get a number: `#2`.
    * NaN and the infinities become null: JSON has none of them.
    * Half a surrogate pair becomes `?`, and a whole number of more than 64 bits a text: Airflow
      sends values as MessagePack, and a trigger whose event it cannot send ends its triggerer.
    * What is nested deeper than `DEEPEST` levels becomes null.
    """
    return _publishable(value, 0)


def _publishable(value: Any, depth: int) -> Any:
    match value:
        case str():
            return _sendable(unsigned_text(value))
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case float() if not math.isfinite(value):
            return None
        case dict() | list() if depth >= DEEPEST:
            return None
        case dict():
            keys = _distinct([_sendable(unsigned_text(key)) for key in value])
            return {
                key: _publishable(each, depth + 1)
                for key, each in zip(keys, value.values(), strict=True)
            }
        case list():
            return [_publishable(each, depth + 1) for each in value]
        case _:
            return value


def _sendable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _distinct(keys: list[str]) -> list[str]:
    if len(set(keys)) == len(keys):
        return keys
    taken = set(keys)
    counts: dict[str, int] = {}
    for place, key in enumerate(keys):
        counts[key] = number = counts.get(key, 0) + 1
        while number > 1 and f"{key}#{number}" in taken:
            number += 1
        if number > 1:
            keys[place] = f"{key}#{number}"
            taken.add(keys[place])
            counts[key] = number
    return keys
