"""What a JSON body may hold."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.growth import seconds

from longrun.api.http import measure
from longrun.api.http.body import MAX_DEPTH, check_content_type, read_json, read_json_at
from longrun.errors import MalformedRequest, PayloadTooLarge, UnsupportedMedia, ValidationFailed
from longrun.models.large import LARGE

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/merge-patch+json",
    ],
)
def test_json_in_utf_8_is_read(kind: str) -> None:
    check_content_type(kind)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/jsonp",
    ],
)
def test_any_other_content_type_is_refused(kind: str | None) -> None:
    with pytest.raises(UnsupportedMedia, match=r"application/json|utf-8"):
        check_content_type(kind)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b' {"a": [1, 2.5, "x", true]} \n', {"a": [1, 2.5, "x", True]}),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1e308", 1e308),
        (b"-0.0", -0.0),
        (b"1e-999", 0.0),
        ('"é\\u00e9\\ud83d\\ude00"'.encode(), "éé😀"),
        (rb'"\\u0000 and \\ud800 are only text here"', "\\u0000 and \\ud800 are only text here"),
        (b"1" * 4300, int("1" * 4300)),
    ],
)
def test_values_are_read_exactly(body: bytes, value: Any) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b'{"a" 1}',
        b"nul",
        b"[1] [2]",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'"line\nbreak"',
        b'"\x00"',
        b"01",
        b"+1",
        b"1.",
        b'"\\x"',
        b"}",
        b"]" * 100,
    ],
)
def test_what_is_not_json_is_malformed_and_says_where(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"line \d+, column \d+"):
        read_json(body)


def test_the_place_of_broken_json_is_counted_in_lines_and_columns() -> None:
    with pytest.raises(MalformedRequest, match="line 2, column 8"):
        read_json(b'{"a": 1,\n  "b": x}')
    with pytest.raises(MalformedRequest, match="line 2, column 3"):
        read_json(b'{\n "\xff": 1}')


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b'{"a": 1, "a": 1}', "/a", "more than once"),
        (b'{"a": {"b": [0, {"c": 1, "c": 2}]}}', "/a/b/1/c", "more than once"),
        (b'{"a": NaN}', "/a", "NaN"),
        (b"[Infinity]", "/0", "Infinity"),
        (b"[1, -Infinity]", "/1", "-Infinity"),
        (b'{"a": 1e400}', "/a", "too large"),
        (b'{"a": -1e400}', "/a", "too large"),
        (b'{"a": 1e99999999999}', "/a", "too large"),
        (b"[" + b"9" * 299 + b"e99]", "/0", "too large"),
        (b"[" + b"9" * 400 + b".0]", "/0", "too large"),
        (rb'{"a": "\ud800"}', "/a", "surrogate"),
        (rb'["\uDC00x"]', "/0", "surrogate"),
        (rb'{"a": "x\u0000"}', "/a", "NUL"),
        (rb'{"a": {"\u0000": 1}}', "/a", "in a key"),
        (rb'{"\ud800": 1}', "", "in a key"),
        (b'{"a/b~c": NaN}', "/a~1b~0c", "NaN"),
        (b'{"a": ' + b"1" * 4301 + b"}", "/a", "4,300 digits"),
        (b'{"a": -' + b"1" * 4301 + b"}", "/a", "4,300 digits"),
        (b'{"a": 0.' + b"1" * 4301 + b"}", "/a", "4,300 digits"),
    ],
)
def test_values_that_cannot_be_kept_are_refused_with_a_pointer(body: bytes, pointer: str, detail: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_json(body)
    assert refused.value.errors is not None
    assert [(each["pointer"], detail in each["detail"]) for each in refused.value.errors] == [(pointer, True)]
    json.dumps(refused.value.errors).encode()


def test_only_the_first_fifty_findings_are_told() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_json(b"[" + b",".join([b"NaN"] * 1000) + b"]")
    assert len(refused.value.errors or []) == 50


@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_deepest_nesting_allowed_is_64_levels(opens: bytes, closes: bytes) -> None:
    read_json(opens * MAX_DEPTH + b"1" + closes * MAX_DEPTH)
    with pytest.raises(ValidationFailed, match="nested"):
        read_json(opens * (MAX_DEPTH + 1) + b"1" + closes * (MAX_DEPTH + 1))


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 500_000, b"[" * 500_000 + b"]" * 500_000, b"[" * 500_000 + b"}" * 500_000])
def test_absurd_nesting_is_refused_before_a_parser_recurses(body: bytes) -> None:
    with pytest.raises(ValidationFailed, match="nested"):
        read_json(body)


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = "[{" * 1000 + '\\"' + "[" * 500
    assert read_json(json.dumps({"a": text, "b": [[text]]}).encode()) == {"a": text, "b": [[text]]}
    assert len(read_json(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 2_000_000,
        b"[" * 65 + b'"\\' * 1_900_000,
        (b"9" * 299 + b"a") * 13_000,
        b"[]" * 2_000_000,
        b"[" + b"1," * 1_900_000 + b"1]",
    ],
    ids=["escapes", "unterminated", "digits", "brackets", "numbers"],
)
def test_four_megabytes_made_to_be_slow_are_read_quickly(body: bytes) -> None:
    def read(body: bytes) -> None:
        with contextlib.suppress(MalformedRequest, ValidationFailed):
            read_json(body)

    assert seconds(read, body) < 1.5


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"1", 0),
        (b"[1, 2]", 2),
        (b'{"a": [1, {}]}', 6),
        (rb'["[{,", "\"[,", "\\", "\\\",{"]', 4),
        (b'["[[[[', 1),
    ],
)
def test_commas_and_opening_brackets_outside_of_strings_are_counted(text: bytes, items: int) -> None:
    assert measure.count_items(text) == items
    assert measure.most_possible(text) >= items


@given(JSON_VALUES, st.integers(1, 9))
def test_it_does_not_matter_where_the_count_is_cut(value: Any, piece: int) -> None:
    def walk(each: Any) -> tuple[int, int, int]:
        if not isinstance(each, dict | list):
            return 0, 0, 0
        is_object = isinstance(each, dict)
        inner = [walk(item) for item in (each.values() if is_object else each)]
        items = 1 + is_object + max(0, len(inner) - 1) + sum(found[0] for found in inner)
        members = is_object * len(inner) + sum(found[1] for found in inner)
        return items, members, 1 + max((found[2] for found in inner), default=0)

    text = json.dumps(value, ensure_ascii=False).encode()
    items, members, depth = walk(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_PIECE", piece)
        assert (measure.count_items(text), measure.count_members(text)) == (items, members)
        assert not measure.is_deep(text, depth)
        assert depth == 0 or measure.is_deep(text, depth - 1)


def test_a_body_that_counts_too_much_is_refused_before_it_is_read() -> None:
    read_json(b"[" + b"1," * 997 + b"1]", 1000)
    read_json(b'["' + b"," * 5000 + b'"]', 1000)
    with pytest.raises(PayloadTooLarge, match=r"count 1,001 .* may count 1,000 \(the operator's LONGRUN_MAX_ITEMS\)") as refused:
        read_json(b"[" + b"1," * 1000 + b"NaN]", 1000)
    assert refused.value.extra == {"limit": 1000}
    with pytest.raises(PayloadTooLarge):
        read_json_at("/query/options", b"[" + b"1," * 1000 + b"1]", 1000)


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        (b'{"a": 1, "b": {"c": ":"}}', {"a": 1, "b": {"c": ":"}}),
        (b"18446744073709551616", 2**64),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
        (b"1.0", 1.0),
        (rb'"\ud83d\ude00"', "😀"),
    ],
)
def test_a_large_body_is_read_like_a_small_one(inner: bytes, value: Any) -> None:
    read = read_json(b'[{"x": "' + b"y" * LARGE + b'"}, ' + inner + b"]")
    assert (read[1], type(read[1])) == (value, type(value))


@pytest.mark.parametrize(
    ("inner", "detail"),
    [
        (b'{"a": 1, "a": 2}', "more than once"),
        (b"NaN", "NaN"),
        (b"1e400", "too large"),
        (b"1" * 4301, "4,300 digits"),
        (rb'"\u0000"', "NUL"),
        (rb'"\ud800"', "surrogate"),
    ],
)
def test_what_is_refused_in_a_small_body_is_refused_in_a_large_one(inner: bytes, detail: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_json(b'["' + b"y" * LARGE + b'", {"k": ' + inner + b"}]")
    assert [(each["pointer"][:4], detail in each["detail"]) for each in refused.value.errors or ()] == [("/1/k", True)]


def test_findings_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_json(b'{"' + b"k" * 200_000 + b'": [' + b"NaN," * 1000 + b"1]}")
    assert max(len(each["pointer"]) for each in refused.value.errors or ()) <= 300


@given(JSON_VALUES)
def test_whatever_json_can_hold_is_read_as_it_is_or_refused_for_nul(value: Any) -> None:
    body = json.dumps(value).encode()
    if "\\u0000" in body.decode() and "\x00" in str(json.loads(body)).replace("\\x00", "\x00"):
        try:
            assert read_json(body) == value
        except ValidationFailed as refused:
            assert "NUL" in str(refused.errors)
    else:
        assert read_json(body) == value


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_anything_but_a_value_or_a_refusal(body: bytes) -> None:
    try:
        read_json(body)
    except (MalformedRequest, ValidationFailed) as refused:
        json.dumps(refused.errors)


@pytest.mark.parametrize(
    ("text", "pointer", "detail"),
    [
        (b"", "/query/options", "It is not JSON: Expecting value at line 1, column 1."),
        (b'{"a": [NaN]}', "/query/options/a/0", "NaN is not a JSON value"),
    ],
)
def test_what_is_wrong_with_json_inside_a_request_is_said_with_its_place(text: bytes, pointer: str, detail: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        read_json_at("/query/options", text)
    assert (caught.value.detail, caught.value.errors) == (f"{pointer}: {detail}", [{"pointer": pointer, "detail": detail}])
