"""Canonical JSON: RFC 8785's own example, a round trip for all of the profile, and refusal outside it."""

# wrong types are passed on purpose; expected answers are booleans

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import canonicalise, parse_canonical
from byok_portal.errors import IntegrityError, InvalidInput

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ascii_keys = st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=10)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_keys, inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(ascii_keys, values, max_size=5)


def test_the_strings_and_literals_of_rfc_8785_section_3_2_come_out_as_printed_there() -> None:
    document = {"string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/", "literals": [None, True, False]}
    expected = b'{"literals":[null,true,false],"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert canonicalise(document) == expected


def test_fixed_documents_keep_their_bytes() -> None:
    document = {"b": 1, "a": {"Z": -1, "10": [], "1": {}}, "": "\x7f\u2028\b\t\f\r\x1f😀"}
    expected = b'{"":"\x7f\xe2\x80\xa8\\b\\t\\f\\r\\u001f\xf0\x9f\x98\x80","a":{"1":{},"10":[],"Z":-1},"b":1}'
    assert canonicalise(document) == expected


@given(documents)
def test_every_document_of_the_profile_comes_back_equal(document: dict[str, Any]) -> None:
    data = canonicalise(document)
    assert parse_canonical(data) == document
    assert json.loads(data) == document
    assert b"\n" not in data


@given(documents)
def test_the_order_of_insertion_does_not_show(document: dict[str, Any]) -> None:
    assert canonicalise(dict(reversed(document.items()))) == canonicalise(document)


@given(documents, st.data())
def test_any_other_spelling_of_the_same_document_is_refused(document: dict[str, Any], data: st.DataObject) -> None:
    spelling = data.draw(
        st.sampled_from(
            [
                json.dumps(document),
                json.dumps(document, indent=1),
                json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n",
                " " + canonicalise(document).decode(),
            ]
        )
    ).encode()
    if spelling != canonicalise(document):
        with pytest.raises(IntegrityError):
            parse_canonical(spelling)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(IntegrityError):
        parse_canonical('{"a":1}'.encode(encoding))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_calmly_or_come_back_the_same(data: bytes) -> None:
    try:
        document = parse_canonical(data)
    except IntegrityError:
        return
    assert canonicalise(document) == data


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        0.1,
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        10**5000,
        "\ud800",
        "a\0b",
        b"bytes",
        (1, 2),
        {1, 2},
        object(),
        {1: "key"},
        {"é": "key"},
        {"a\0": "key"},
        {None: "key"},
        [[[1.5]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_outside_the_profile_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonicalise({"a": value})
    assert caught.value.code == "not_canonical"


@pytest.mark.parametrize("document", [[], "text", 1, None, [{"a": 1}]])
def test_only_an_object_is_a_document(document: Any) -> None:
    with pytest.raises(InvalidInput):
        canonicalise(document)
    with pytest.raises(IntegrityError):
        parse_canonical(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"o":{"a":1,"a":2}}',
        b'{"b":1,"a":2}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\u0041"}',
        b'{"a":"\\u000F"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"\xc3\xa9":1}',
        b'{"a":1}{"a":1}',
        b'{"a":1}\n',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda data: data[:20].decode("latin-1"),
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_canonical(data)


def test_a_document_that_holds_itself_is_refused() -> None:
    document: dict[str, Any] = {}
    document["self"] = document
    with pytest.raises(InvalidInput):
        canonicalise(document)


def test_an_enum_word_is_written_as_its_text() -> None:
    class Word(StrEnum):
        YES = "yes"

    assert canonicalise({Word.YES: Word.YES}) == b'{"yes":"yes"}'
