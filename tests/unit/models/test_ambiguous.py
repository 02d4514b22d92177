"""Unions that contain themselves: what an input of a few hundred bytes may cost, and that nothing else changes."""

from __future__ import annotations

import datetime
import json
import threading
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tests.unit.models.test_large import refused, schema_of
from typing_extensions import TypeAliasType, TypedDict

from longrun.models import ambiguous
from longrun.models import schema as schemas
from longrun.models.refusals import AMBIGUOUS
from longrun.models.schema import InputSchema


class Left(BaseModel):
    kind: Literal["left"] = "left"
    child: Left | Right | None = None
    children: list[Left | Right] = []
    marks: list[int] = []
    text: Annotated[str, Field(pattern="^[a-z]*$")] = ""


class Right(BaseModel):
    kind: Literal["left", "right"] = "right"
    child: Left | Right | None = None
    children: list[Left | Right] = []
    marks: list[float] = []
    text: str = ""


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    child: Strict | Stricter | None = None
    when: datetime.date | None = None


class Stricter(Strict): ...


class First(BaseModel):
    child: Annotated[First | Second | None, Field(union_mode="left_to_right")] = None


class Second(BaseModel):
    child: Annotated[First | Second | None, Field(union_mode="left_to_right")] = None


class Through(BaseModel):
    child: dict[str, dict[str, Through]] | Between | None = None


class Between(BaseModel):
    child: Through | None = None


@dataclass
class Point:
    child: Point | Place | None = None


@dataclass
class Place:
    child: Point | Place | None = None


class Box(TypedDict, total=False):
    child: Box | Case


class Case(TypedDict, total=False):
    child: Box | Case


class Careless(BaseModel):
    child: Careless | Left | dict[str, Careless] | None = None

    @field_validator("child", mode="wrap")
    @classmethod
    def _any(cls, value: Any, check: Any) -> Any:
        try:
            return check(value)
        except Exception:
            return None


class Tagged(BaseModel):
    kind: Literal["tagged"]
    child: Annotated[Tagged | Labelled, Field(discriminator="kind")] | None = None


class Labelled(BaseModel):
    kind: Literal["labelled"]
    child: Annotated[Tagged | Labelled, Field(discriminator="kind")] | None = None


class Tree(BaseModel):
    children: list[Tree | int] = []


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")  # type: ignore[misc]
AMBIGUOUS_TYPES: list[Any] = [
    Left | Right, list[Left | Right], Left, dict[str, Right], Strict | None, First, Point | Place, Box, Careless | int,
]  # fmt: skip
PLAIN: list[Any] = [Any, int, Tagged, Tree, Json, list[Tagged | int], Tagged | dict[str, int] | list[int]]


def chain(levels: int, value: Any) -> Any:
    for _ in range(levels):
        value = {"child": value}
    return value


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was counted."""
    found: list[int] = []
    cost = ambiguous._cost
    monkeypatch.setattr(ambiguous, "_cost", lambda value: found.append(cost(value)) or found[-1])
    return found


@pytest.mark.parametrize("annotation", [*AMBIGUOUS_TYPES, Through])
@pytest.mark.parametrize("bottom", [{}, {"zz": 1}, 1])
@pytest.mark.parametrize("large", [False, True])
def test_what_can_be_read_in_too_many_ways_is_refused_after_little_work(
    annotation: Any, bottom: Any, large: bool, visits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = schema_of(x=annotation)
    deep = chain(24, bottom)
    if large:
        monkeypatch.setattr(schemas, "LARGE", 0)
        monkeypatch.setattr(ambiguous, "LARGE", 0)
    value = {"x": [deep]} if annotation == list[Left | Right] else {"x": {"a": deep}} if annotation == dict[str, Right] else {"x": deep}
    text = json.dumps(value).encode()
    found = refused(lambda: schema.check(value, text))
    assert sum(visits) < 250_000
    if annotation is not Through and not (annotation is First and bottom == {}):  # nothing is ambiguous there, or the first choice fits
        assert found == AMBIGUOUS == refused(lambda: schema.parse(value))


@pytest.mark.parametrize("of", [lambda: {"marks": [1] * 20_000}, lambda: {"text": "a" * 60_000}, lambda: {"children": [{}] * 10_000}])
def test_what_lies_at_the_bottom_counts(of: Any, visits: list[int]) -> None:
    value = {"x": chain(11, of())}
    text = json.dumps(value).encode()
    assert refused(lambda: schema_of(x=Left | Right).check(value, text)) == AMBIGUOUS
    assert sum(visits) < 120_000 + 30 * len(text)


@pytest.mark.parametrize("annotation", PLAIN)
def test_other_types_count_nothing(annotation: Any) -> None:
    assert schema_of(x=annotation)._ways is None


@pytest.mark.parametrize("annotation", AMBIGUOUS_TYPES)
def test_such_unions_are_seen(annotation: Any) -> None:
    assert ambiguous.ambiguous(schema_of(x=annotation)._core)


@pytest.mark.parametrize("item", ["{}", '{"children":[{}]}', '{"kind":"left","marks":[1,2,3]}', '{"child":{"child":{}}}'])
@pytest.mark.parametrize("annotation", [Left, Point])
def test_a_long_list_of_small_objects_is_honest(annotation: Any, item: str) -> None:
    if annotation is Point and ("marks" in item or "children" in item):
        return
    text = b'{"x":[%s]}' % b",".join([item.encode()] * 5_000)
    union = Left | Right if annotation is Left else Point | Place
    assert refused(lambda: schema_of(x=list[union]).check(json.loads(text), text)) is None


class Beside(BaseModel):
    """Has nothing to do with the others but that they are fields of one input."""

    marks: list[int | str | float | bool] = []


class Beneath(Beside): ...


def test_what_stands_beside_such_a_union_is_not_counted(visits: list[int]) -> None:
    value = {"tree": {}, "x": [{}] * 20_000}
    text = json.dumps(value).encode()
    assert refused(lambda: schema_of(tree=Left | Right, x=list[Beside | Beneath | Tagged | Labelled | int]).check(value, text)) is None
    assert len(visits) < 10


KEYS = st.sampled_from(["kind", "child", "children", "marks", "text", "z"])
VALUES = st.recursive(
    st.sampled_from([None, 1, 1.5, "a", "A", "left", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
COUNTED = [(each, schema_of(x=each)) for each in AMBIGUOUS_TYPES]


@given(st.data())
def test_nothing_else_changes(data: st.DataObject) -> None:
    _, schema = data.draw(st.sampled_from(COUNTED), label="type")
    value = {"x": data.draw(VALUES, label="value")}
    text = json.dumps(value).encode()
    counted = refused(lambda: schema.check(value, text)), _parsed(schema, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_ways", None)
        assert (refused(lambda: schema.check(value, text)), _parsed(schema, value)) == counted


def _parsed(schema: InputSchema, value: Any) -> Any:
    try:
        return repr(schema.parse(value))
    except Exception as error:
        return str(error)


def test_threads_count_apart() -> None:
    schema, deep = schema_of(x=Left | Right), {"x": chain(30, {})}
    found: list[Any] = []
    honest = {"x": chain(6, {})}

    def check(value: Any) -> None:
        found.extend((value is deep, refused(lambda: schema.parse(value)) == AMBIGUOUS) for _ in range(20))

    threads = [threading.Thread(target=check, args=(value,)) for value in (deep, honest, deep, honest)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 80
    assert all(deep == seen for deep, seen in found)
