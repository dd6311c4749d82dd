"""What never leaves: no secret in any spelling, in any surroundings, and in time for any text."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_ice.api.redaction import (
    DEEPEST,
    LONGEST_TEXT,
    holds_signature,
    publishable,
    redact,
    secrets_of_urls,
    unsigned_text,
    unsigned_url,
)

# Time


def whole(text: str) -> str:
    return redact(text, longest=None)


FUNCTIONS: list[Callable[[str], Any]] = [whole, unsigned_text, holds_signature, secrets_of_urls]
HOSTILE = [
    "http:/",
    "https://h?",
    '"',
    "a?",
    "/",
    "\\",
    "a",
    "a.-",
    "a:/",
    "//a@",
    "@",
    " ",
    "?",
    "&",
    "token=",
    "security-token",
    "signature",
    "signature:",
    'signature\\"',
    "signature ",
    "%",
    "authorization:",
    "server ",
    "url: ",
    "url: a",
    "=?",
    "%25",
    "%2525",
    "25",
    "%3a%2f",
    "a:",
    "https%3a%2f",
    "\\u0026",
    "\\/",
    "\\u003f",
    "u003f",
    ",http:/",
    ",",
    ";",
    "&#",
    "%2f%2f",
    "?Signature",
    "http://h?Signature=a,",
    '\\"',
    "/\\",
    ":\\",
    "a ",
    "?a=b&",
]
BEFORE = ("", "http://", "a?", "signature=", "%")


def seconds(function: Callable[[str], object], text: str) -> float:
    """Return the CPU time of a call, the least of three."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        function(text)
        spent.append(time.process_time() - began)
    return min(spent)


def grows_no_faster_than_the_text(
    function: Callable[[str], object], unit: str, before: str = ""
) -> bool:
    times = max(8_000 // len(unit), 1)
    # Linear: 8. Quadratic: 64. What takes less than 5 ms is fast enough to be measured wrong.
    taken = seconds(function, before + unit * times * 8)
    return taken < 0.005 or taken < 24 * seconds(function, before + unit * times)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_grows_with_the_text_and_no_faster(
    function: Callable[[str], object], unit: str
) -> None:
    for before in BEFORE:
        assert grows_no_faster_than_the_text(function, unit, before)


@pytest.mark.parametrize("function", FUNCTIONS)
@given(st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_time_grows_no_faster_for_mixtures(
    function: Callable[[str], object], units: list[str]
) -> None:
    assert grows_no_faster_than_the_text(function, "".join(units))


def test_the_time_grows_no_faster_for_json_in_json() -> None:
    text = "http://h/p?Signature=s"
    while len(text) < 100_000:
        text = json.dumps({"a": text})
    assert "Signature" not in unsigned_text(text)
    assert "=s" not in whole(text)


# Secrets

SURROUNDINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PARTS = st.lists(st.from_regex(r"[A-Z][A-Za-z0-9]{11,15}", fullmatch=True), min_size=1, max_size=3)
SIGNED_QUERIES = [
    "Expires=1&OSSAccessKeyId=LTAI&Signature={s}",
    "security-token={s}&Expires=1",
    "OSSAccessKeyId={s}",
    "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential={s}&x-oss-signature={s}",
    "X-OSS-SECURITY-TOKEN={s}",
    "auth_key=1700000000-0-0-{s}",
    "a=b&Signatur%65={s}",
    "v=1&amp;Signature={s}",
]
URLS = [
    "http://b.oss-cn-shanghai.aliyuncs.com/a.mp4?{q}",
    "http:/b/a.mp4?{q}#t=1",
    "HTTPS://b/a.mp4?{q}",
    "oss://b/a.mp4?{q}",
    "//b/a.mp4?{q}",
    "b/a.mp4?{q}",
    "\nhttp://b/a.mp4?{q}",
    "see http://b/a.mp4?{q}, and http://c/d.mp4",
    "http://b/1.mp4,http://b/2.mp4?{q}",
    "http://b/it's one.mp4?{q}",
    "http://b/a.mp4?title=no blank&{q}",
    "http://proxy/?url=http%3A%2F%2Fb%2Fa.mp4%3F{e}",
]
OTHER_SECRETS = [
    "SecurityToken: {s}",
    "AccessKeySecret={s}",
    "x-acs-bearer-token: {s}",
    "x-acs-signature-nonce:{s}",
    "http://user:{s}@proxy:3128",
    "http:/user:{s}@proxy:3128",
    "my_http://user:{s}@proxy:3128",
    "longer-than-any-scheme-is-http://user:{s}@proxy:3128",
    "Authorization: Bearer {s}",
    "Authorization: ACS3-HMAC-SHA256 Credential={s},SignedHeaders=a,Signature={s}",
    "auth_key={s}",
    "password={s}",
]
FIELDS = ["SecurityToken", "security_token", "AccessKeySecret", "Signature", "password"]


def signed_url(parts: list[str], form: str, query: str) -> str:
    query = query.format(s="/".join(parts))
    return form.format(q=query, e=quote(query, safe=""))


SPELLINGS: list[Callable[[str], str]] = [
    str,
    repr,
    lambda text: json.dumps({"url": text, "next": 1}),
    lambda text: json.dumps([{"url": text}]).replace("/", "\\/"),
    lambda text: json.dumps({"url": text}).replace("&", "\\u0026").replace("=", "\\u003d"),
    lambda text: json.dumps({"url": text}).replace("?", "\\u003F").replace("S", "\\u0053"),
    lambda text: repr({"url": text}),
    lambda text: quote(text, safe=""),
    lambda text: f"<a href='{text}'>",
    lambda text: f"({text})",
]
SPELLING = st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=3)
SIGNED = st.builds(
    lambda parts, form, query: (parts, signed_url(parts, form, query)),
    PARTS,
    st.sampled_from(URLS),
    st.sampled_from(SIGNED_QUERIES),
)


def spelled(text: str, spellings: list[Callable[[str], str]]) -> str:
    for spelling in spellings:
        text = spelling(text)
    return text


def shows(text: str, parts: list[str]) -> bool:
    plain = re.sub(r"(?:\\|%(?:25)*5C)+u0053", "S", text)
    return any(part in plain for part in parts)


@given(SIGNED, SPELLING, SURROUNDINGS, SURROUNDINGS)
@settings(max_examples=300, deadline=None)
def test_no_signature_survives(
    signed: tuple[list[str], str],
    spellings: list[Callable[[str], str]],
    before: str,
    after: str,
) -> None:
    parts, url = signed
    text = f"{before}{spelled(url, spellings)} {after}"
    assert shows(text, parts)
    assert not shows(unsigned_text(text), parts)


@given(SIGNED, SPELLING, SURROUNDINGS, SURROUNDINGS)
@settings(max_examples=300, deadline=None)
def test_no_signature_is_shown(
    signed: tuple[list[str], str],
    spellings: list[Callable[[str], str]],
    before: str,
    after: str,
) -> None:
    parts, url = signed
    text = f"{before}{spelled(url, spellings)} {after}"
    assert not shows(redact(text), parts)
    assert redact(redact(text)) == redact(text)


@given(PARTS, st.sampled_from(OTHER_SECRETS), SPELLING, SURROUNDINGS, SURROUNDINGS)
@settings(max_examples=300, deadline=None)
def test_no_token_and_no_password_is_shown(
    parts: list[str],
    form: str,
    spellings: list[Callable[[str], str]],
    before: str,
    after: str,
) -> None:
    secret = "+".join(parts)
    text = f"{before} {spelled(form.format(s=secret), spellings)} {after}"
    assert not shows(redact(text), parts)
    assert redact(redact(text)) == redact(text)


@given(PARTS, st.sampled_from(FIELDS), SPELLING, SURROUNDINGS)
@settings(max_examples=300, deadline=None)
def test_no_field_of_a_secret_is_shown(
    parts: list[str], field: str, spellings: list[Callable[[str], str]], after: str
) -> None:
    held = {"a": after, field: "/".join(parts), "b": after}
    for text in (json.dumps(held), repr(held)):
        assert not shows(redact(spelled(text, spellings)), parts)


@given(
    st.integers(0, 200),
    PARTS,
    st.sampled_from(
        [*OTHER_SECRETS, *(form.replace("{q}", "Signature={s}") for form in URLS[:-1])]
    ),
)
@settings(max_examples=300)
def test_no_secret_slips_out_where_a_long_text_is_cut(
    place: int, parts: list[str], form: str
) -> None:
    text = "x " * (LONGEST_TEXT // 2 - 50) + "y" * place + " " + form.format(s="".join(parts))
    shown = redact(text + " z" * LONGEST_TEXT)
    assert len(shown) <= LONGEST_TEXT
    for length in range(3, len("".join(parts)) + 1):
        assert "".join(parts)[:length] not in shown


@given(st.text(max_size=3 * LONGEST_TEXT))
@example("x" * (LONGEST_TEXT + 1))
@example("x " * LONGEST_TEXT)
def test_a_long_text_says_how_much_is_cut(text: str) -> None:
    text += " end" * LONGEST_TEXT
    shown = redact(text)
    found = re.search(r"\.\.\. \((\d+) more characters\)\Z", shown)
    assert found
    assert len(text) - LONGEST_TEXT < int(found[1]) <= len(text)
    assert redact(shown) == shown


def test_a_text_of_the_longest_length_is_kept() -> None:
    text = "word " * (LONGEST_TEXT // 5)
    assert redact(text) == text
    assert redact(text + "!").startswith(text[: LONGEST_TEXT - 50])


# What is left


@pytest.mark.parametrize(
    ("text", "unsigned"),
    [
        ("http://b/x.mp4?Expires=1&OSSAccessKeyId=a&Signature=s", "http://b/x.mp4"),
        ("\n http:/b/x.mp4?Signature=s \n", "\n http:/b/x.mp4 \n"),
        ("HTTPS://B/x.mp4?SIGNATURE=s#t=3", "HTTPS://B/x.mp4"),
        ("//b/x.mp4?Signature=s", "//b/x.mp4"),
        ("oss://b/x.mp4?x-oss-signature=s", "oss://b/x.mp4"),
        ("Look (http://b/x?Signature=s).", "Look (http://b/x)."),
        ("http://b/1?Signature=s,http://b/2?Signature=t;oss://c", "http://b/1,http://b/2;oss://c"),
        ('{"u":"http:\\/\\/b\\/x?a=1\\u0026Signature=s\\/\\u003d","n":[1]}',
         '{"u":"http:\\/\\/b\\/x","n":[1]}'),
        ('{"j":"{\\"u\\":\\"http://b/x?Signature=s\\",\\"n\\":1}"}',
         '{"j":"{\\"u\\":\\"http://b/x\\",\\"n\\":1}"}'),
        ("see http:\\u002f/b\\u00253FSignature=s now", "see  now"),
        ("http%3A%2F%2Fb%2Fx%3FSignature%3Ds", "http%3A%2F%2Fb%2Fx"),
        ("http://b/x?v=1&page=2", "http://b/x?v=1&page=2"),
        ("http://b/Signature=s", "http://b/Signature=s"),
        ("Why? Signature=none", "Why? Signature=none"),
        ("http://b/x?signature_version=2", "http://b/x?signature_version=2"),
    ],
)  # fmt: skip
def test_a_signed_url_loses_its_query_and_the_text_around_it_nothing(
    text: str, unsigned: str
) -> None:
    assert unsigned_text(text) == unsigned
    assert unsigned_url(text) == unsigned
    assert unsigned_text(unsigned) == unsigned


@given(st.text())
def test_a_text_without_a_signed_parameter_is_left_alone(text: str) -> None:
    assert unsigned_text(text) == text
    assert unsigned_text(f"http://b/{text}?page=1&x={text}") == f"http://b/{text}?page=1&x={text}"


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["http://b/a.mp4?page=1", "oss://b/c", '{"a": "b?c"}'])
)  # fmt: skip


def trees(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=15,
    )


@given(trees(LEAVES, st.text()))
def test_plain_json_is_published_as_it_is(tree: Any) -> None:
    assert publishable(tree) == tree


SECRETS = ("s3cr3tS1gnature", "s3cr3tToken")
PLANTED = st.builds(
    lambda form, query, spellings, before: (
        before + spelled(signed_url(list(SECRETS), form, query), spellings)
    ),
    st.sampled_from(URLS),
    st.sampled_from(SIGNED_QUERIES),
    st.lists(st.sampled_from(SPELLINGS), max_size=3),
    st.text(max_size=5),
)


@given(
    trees(
        LEAVES | PLANTED | st.sampled_from([math.nan, math.inf, -math.inf, {"a": math.nan}]),
        st.text() | PLANTED,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_tree_is_published_with_a_signature(tree: Any) -> None:
    text = json.dumps(publishable(tree), allow_nan=False)
    assert not shows(text, list(SECRETS))
    assert publishable(publishable(tree)) == publishable(tree)


@given(
    trees(
        LEAVES | st.integers() | st.text(st.characters()) | st.sampled_from(["\ud800", "a\udfff"]),
        st.text() | st.sampled_from(["\ud800", "\udfff", "?"]),
    )
)
def test_airflow_can_send_what_is_published(tree: Any) -> None:
    found = publishable(tree)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found)) == found
    assert publishable(found) == found


def test_what_airflow_cannot_send_is_shown_as_text() -> None:
    tree = {"\ud800": "a\udfffb", "?": [2**64, -(2**63) - 1, 2**64 - 1]}
    assert publishable(tree) == {
        "?": "a?b",
        "?#2": ["18446744073709551616", "-9223372036854775809", 2**64 - 1],
    }


def test_keys_that_become_equal_stay_apart() -> None:
    key = "http://b/x?Signature="
    assert publishable({f"{key}1": 1, "http://b/x#3": 0, f"{key}2": 2, f"{key}3": 3}) == {
        "http://b/x": 1,
        "http://b/x#3": 0,
        "http://b/x#2": 2,
        "http://b/x#4": 3,
    }


def test_what_is_nested_too_deep_is_left_out() -> None:
    def nested(levels: int) -> Any:
        return {"a": [nested(levels - 2)]} if levels > 1 else "end"

    assert publishable(nested(DEEPEST)) == nested(DEEPEST)
    assert "end" not in json.dumps(publishable(nested(DEEPEST + 2)))
    assert publishable("[" * 100_000) == "[" * 100_000
