"""What the text parts of a form stand for."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, JsonValue

from longrun import File, model
from longrun.api.http.form_values import Json, Sent, joined
from longrun.errors import ValidationFailed
from longrun.models import isolated_registry


class Shade(Enum):
    LIGHT = "light"


class Point(BaseModel):
    x: int


with isolated_registry() as _registry:

    @model
    def ask(
        *,
        text: str,
        number: int,
        maybe: str | None,
        either: str | int,
        shade: Shade,
        choice: Literal["a", "b"],
        point: Point,
        anything: Any,
        json: JsonValue,
        words: list[str],
        numbers: list[int] | None,
        shades: list[Shade],
        points: list[Point],
        file: File | None,
        files: list[File] | None,
        word_or_words: str | list[str],
    ) -> str:
        """Ask for one of each."""
        return ""


SPEC = next(iter(_registry))


def value(name: str, *sent: Any) -> Any:
    """The value of a field from these parts; a text is a part that was sent as text."""
    found = [Sent(each) if isinstance(each, str) else each for each in sent]
    return joined(name, found, SPEC.input.fields_schemas.get(name), SPEC.input.definitions)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("text", "5", "5"),
        ("text", '"quoted"', '"quoted"'),
        ("text", "", ""),
        ("text", "[1]", "[1]"),
        ("maybe", "null", "null"),
        ("shade", "light", "light"),
        ("choice", "a", "a"),
        ("number", "5", 5),
        ("number", " 5 ", 5),
        ("number", "1.5", 1.5),
        ("either", "5", 5),
        ("either", '"5"', "5"),
        ("either", "five", "five"),
        ("either", "NaN", "NaN"),
        ("point", '{"x": 1}', {"x": 1}),
        ("anything", "5", 5),
        ("anything", "five", "five"),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("words", "one", ["one"]),
        ("words", "5", ["5"]),
        ("words", '["a", "b"]', ["a", "b"]),
        ("numbers", "5", [5]),
        ("numbers", "[5, 6]", [5, 6]),
        ("shades", "light", ["light"]),
        ("points", '{"x": 1}', [{"x": 1}]),
        ("file", "file_" + "0" * 32, "file_" + "0" * 32),
        ("files", "data:,x", ["data:,x"]),
        ("files", '["data:,x"]', ["data:,x"]),
        ("word_or_words", "one", "one"),
        ("word_or_words", '["one"]', ["one"]),
        ("no_such_field", "5", 5),
        ("no_such_field", "five", "five"),
    ],
)
def test_a_part_stands_for_what_the_field_takes(name: str, text: str, expected: Any) -> None:
    found = value(name, text)
    assert found == expected and type(found) in (type(expected), Sent)
    assert not isinstance(found, Sent)


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("words", ["a", "5", "[c]"], ["a", "5", "[c]"]),
        ("numbers", ["1", "2"], [1, 2]),
        ("files", ["data:,x", "data:,y"], ["data:,x", "data:,y"]),
        ("word_or_words", ["a", "b"], ["a", "b"]),
    ],
)
def test_several_parts_are_a_list(name: str, texts: list[str], expected: list[Any]) -> None:
    assert value(name, *texts) == expected


@pytest.mark.parametrize("name", ["text", "number", "file", "shade", "no_such_field"])
def test_what_is_no_list_is_given_once(name: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        value(name, "1", "2")
    assert caught.value.errors == [{"pointer": f"/input/{name}", "detail": "This field is given more than once"}]


@pytest.mark.parametrize(
    ("name", "texts", "pointer", "told"),
    [
        ("number", ["five"], "/input/number", "integer"),
        ("number", [""], "/input/number", "JSON"),
        ("number", ["NaN"], "/input/number", "JSON"),
        ("point", ['{"x": 1, "x": 2}'], "/input/point", "not accepted"),
        ("numbers", ["1", "two"], "/input/numbers/1", "integer"),
        ("words", ["[draft] text"], "/input/words", "array"),
    ],
)
def test_what_is_no_json_is_told_where_it_stands(name: str, texts: list[str], pointer: str, told: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        value(name, *texts)
    (finding,) = caught.value.errors or []
    assert finding["pointer"] == pointer and told in finding["detail"]


def test_what_says_it_is_json_stands_for_itself() -> None:
    assert value("text", Json(5)) == 5
    assert value("words", Json(["a"])) == ["a"]
    assert value("words", Json("a"), Json("b")) == ["a", "b"]


def test_names_are_escaped_in_pointers() -> None:
    with pytest.raises(ValidationFailed) as caught:
        joined("a/b~c", [Sent("1"), Sent("2")], None, {})
    assert (caught.value.errors or [])[0]["pointer"] == "/input/a~1b~0c"


def test_a_schema_that_leads_to_itself_is_followed_to_an_end() -> None:
    assert joined("f", [Sent("text")], {"$ref": "#/$defs/A"}, {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}) == "text"
