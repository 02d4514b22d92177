"""Whether values fit the schemas that pydantic writes of types: as the types themselves judge, and with bounded work."""

from __future__ import annotations

import enum
import sys
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from annotated_types import Ge, Le, Lt, MultipleOf
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from longrun.service.json_schema import findings


class Choice(enum.Enum):
    A = "a"
    B = "b"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Ge(1), Le(9)] = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=1, max_length=5)


class Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ok: bool
    note: str | None = None
    tags: list[str] = Field(default=[], max_length=2)


class Node(BaseModel):
    value: int
    next: Node | None = None


class Point(TypedDict):
    x: float
    y: float


class Closed(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    at: datetime
    where: dict[Annotated[str, Field(pattern="^[a-z]+$")], Point] = {}


FITS: list[tuple[Any, Any]] = [
    (bool, True), (int, 3), (int, 3.0), (float, 3), (str, "x"), (None, None), (Any, {"a": [1]}), (int | None, None), (Choice, "a"),
    (Literal["x", 1], 1), (list[int], [1, 2]), (tuple[int, str], [1, "a"]), (set[int], [1, 2]), (dict[str, int], {"a": 1}),
    (Decision, {"ok": False}), (Decision, {"ok": True, "note": None, "tags": ["a"]}),
    (Node, {"value": 1, "next": {"value": 2, "next": None}}),
    (Closed, {"pet": {"kind": "dog", "name": "rex"}, "at": "2026-01-31T09:30:00Z", "where": {"a": {"x": 1, "y": 2.5}}}),
    (date, "2026-01-31"), (time, "09:30:00"), (timedelta, "PT5M"), (UUID, "12345678-1234-5678-1234-567812345678"),
    (Annotated[float, MultipleOf(0.1)], 0.3), (Annotated[int, MultipleOf(3)], 10**30 * 3), (Annotated[str, Field(pattern="b+")], "abc"),
]  # fmt: skip
WRONG: list[tuple[Any, Any, list[tuple[str, str]]]] = [
    (bool, 1, [("", "must be true or false")]), (bool, "true", [("", "must be true or false")]),
    (int, True, [("", "must be a whole number")]),
    (int, 3.5, [("", "must be a whole number")]), (float, "3", [("", "must be a number")]), (str, 3, [("", "must be a text")]),
    (int | None, "x", [("", "must be a whole number or null")]), (Choice, "c", [("", 'must be "a" or "b"')]),
    (Literal["x", 1], True, [("", 'must be "x" or 1')]),
    (list[int], [1, "x", None], [("/1", "must be a whole number"), ("/2", "must be a whole number")]),
    (list[int], {}, [("", "must be an array")]), (tuple[int, str], [1], [("", "must have at least 2 items")]),
    (set[int], [2**70, 1, 2**70], [("", "must hold each item once")]),
    (dict[str, int], {"a/b": "x"}, [("/a~1b", "must be a whole number")]),
    (Decision, {}, [("/ok", "missing")]),
    (Decision, {"ok": 1, "no": 2}, [("/ok", "must be true or false"), ("/no", "There is no such field")]),
    (Decision, {"ok": True, "tags": ["a", "b", "c"]}, [("/tags", "must have at most 2 items")]),
    (Node | None, {"value": 1, "next": {"value": "x"}}, [("/next/value", "must be a whole number")]),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "dog", "name": "too long"}, [("/name", "must have at most 5 characters")]),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cow"}, [("", "fits none of the 2 forms that are allowed")]),
    (Cat, {"kind": "cat", "lives": 10}, [("/lives", "must be at most 9")]),
    (Annotated[int, Ge(2), Lt(3)], 3, [("", "must be less than 3")]),
    (dict[Annotated[str, Field(pattern="^[a-z]+$")], int], {"a": "x"}, [("/a", "must be a whole number")]),
    (datetime, "soon", [("", "must be a time such as 2026-01-31T09:30:00Z")]), (UUID, "x", [("", "must be a UUID")]),
    (Annotated[str, Field(pattern="^a+$")], "b", [("", "must match ^a+$")]),
    (Annotated[int, MultipleOf(3)], 10, [("", "must be a multiple of 3")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), FITS, ids=str)
def test_what_the_type_takes_fits(kind: Any, value: Any) -> None:
    adapter = TypeAdapter[Any](kind)
    adapter.validate_python(value)
    assert findings(value, adapter.json_schema()) == []


@pytest.mark.parametrize(("kind", "value", "wrong"), WRONG, ids=str)
def test_what_is_wrong_is_said_with_its_place(kind: Any, value: Any, wrong: list[tuple[str, str]]) -> None:
    found = findings(value, TypeAdapter[Any](kind).json_schema())
    assert [(each["pointer"], each["detail"]) for each in found] == wrong


@pytest.mark.parametrize(
    "schema",
    [
        True, {}, {"$ref": "#"}, {"$ref": "#/$defs/none"}, {"$ref": "https://a.example/x"}, {"type": "new"}, {"not": {}},
        {"if": {}, "then": False},
        {"pattern": "(?!x)"}, {"pattern": "("}, {"format": "new"}, {"allOf": [{"$ref": "#"}, {}]}, {"anyOf": [{"$ref": "#"}]},
        {"anyOf": []},
        {"multipleOf": 0}, {"discriminator": {"propertyName": "x"}, "oneOf": [{}]},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("value", ["text", 1, {"a": 1}, [1]])
def test_what_is_not_read_here_fits(schema: Any, value: Any) -> None:
    assert findings(value, schema) == []


def test_fifty_findings_are_enough_and_none_is_long() -> None:
    found = findings({"x" * 1000: ["y" * 1000] * 1000}, {"additionalProperties": {"items": {"enum": ["z" * 1000]}}})
    assert len(found) == 50
    assert all(len(each["pointer"]) <= 300 and len(each["detail"]) <= 300 for each in found)


class Left(BaseModel):
    inner: Left | Right | None
    a: int = 0


class Right(BaseModel):
    inner: Left | Right | None
    b: int = 0


def calls_of(value: Any, schema: Any) -> int:
    """How many functions are called to find what is wrong."""
    count = 0

    def see(_: object, what: str, __: object) -> None:
        nonlocal count
        count += what == "call"

    sys.setprofile(see)
    try:
        assert findings(value, schema)
    finally:
        sys.setprofile(None)
    return count


def test_a_value_that_may_be_read_in_many_ways_takes_as_long_as_it_is_deep() -> None:
    """Otherwise the work would double with each level."""
    schema = TypeAdapter(Left | Right).json_schema()

    def deep(levels: int) -> Any:
        value: Any = "wrong"
        for _ in range(levels):
            value = {"inner": value, "a": 1, "b": 2}
        return value

    assert calls_of(deep(12), schema) < 3 * calls_of(deep(6), schema)
    assert findings(deep(60), schema)


def test_a_pattern_takes_time_that_is_linear_in_the_text() -> None:
    assert findings("a" * 60_000 + "!", {"pattern": "^(a+)+$"})[0]["detail"] == "must match ^(a+)+$"
