"""Large inputs are checked in another way than small ones, and come to the same."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import gc
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, RootModel, ValidationInfo, field_validator, model_validator
from typing_extensions import TypedDict

from longrun import File
from longrun.errors import ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.models import schema as schemas
from longrun.models.schema import InputSchema
from longrun.models.signature import NO_DEFAULT, Parameter


class Left(BaseModel):
    kind: Literal["left"] = "left"
    a: int = 0


class Right(BaseModel):
    kind: Literal["right"] = "right"
    b: str = ""


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 0


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime.date | None = None
    pair: tuple[int, int] | None = None


class Named(BaseModel):
    known: Annotated[int, Field(alias="Known")] = 0


class Tree(BaseModel):
    children: list[Tree] = []


@dataclass
class Point:
    x: int = 0


class Box(TypedDict, total=False):
    w: int


class Colour(enum.Enum):
    RED = "red"


class Whole(BaseModel):
    """Its code looks at all that was made, also of what describes itself."""

    trees: list[Tree] = []
    rows: list[Left] = []

    @model_validator(mode="after")
    def _all_are_there(self) -> Whole:
        assert all(isinstance(each, Left) for each in self.rows)
        left = list(self.trees)
        while left:
            each = left.pop()
            assert isinstance(each, Tree)
            left += each.children
        return self


class Around(BaseModel):
    """Its code stands at one field and looks at another."""

    rows: list[Left] = []
    last: int = 0

    @field_validator("last")
    @classmethod
    def _rows_are_rows(cls, value: int, info: ValidationInfo) -> int:
        assert all(isinstance(each, Left) for each in info.data.get("rows", ()))
        return value


TYPES: list[Any] = [
    Any, bool, int, float, str, bytes, decimal.Decimal, datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    uuid.UUID, AnyUrl, Colour, Literal["a", 1], Left, Open, Strict, Named, Tree, Point, Box, Whole, Around, RootModel[list[int]],
    Left | Right | None, Annotated[Left | Right, Field(discriminator="kind")], int | str | list[int], Left | dict[str, int],
    list[int], list[Left], list[Left | int], list[list[Left]], list[Any], tuple[int, Left], tuple[Left, ...], set[int], frozenset[str],
    dict[str, int], dict[int, Left], Mapping[str, list[Point]], Sequence[Box], collections.deque[Left],
    Annotated[list[Left], Field(min_length=1, max_length=2)], Annotated[str, Field(pattern="^[a-z]*$")],
]  # fmt: skip
TEXTS = [
    "",
    "a",
    "1",
    "1.5",
    "red",
    "left",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "12:00",
    "P1D",
    str(uuid.UUID(int=1)),
    "http://a.b",
    "true",
]
KEYS = ["a", "b", "x", "w", "kind", "children", "when", "pair", "Known", "known", "1", "trees", "rows", "by_name"]
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -1, 1.0, 1.5, 10**30, *TEXTS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
FILE = f"file_{'a' * 32}"


def schema_of(**fields: Any) -> InputSchema:
    return InputSchema("X", parameters=[Parameter(name, annotation, NO_DEFAULT) for name, annotation in fields.items()])


def refused(call: Any) -> list[dict[str, str]] | None:
    try:
        call()
    except ValidationFailed as problem:
        return problem.errors
    return None


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "LARGE", 0)


SCHEMAS = [(annotation, schema_of(x=annotation)) for annotation in TYPES]


@given(st.data())
def test_a_large_input_is_refused_where_a_small_one_would_be_and_only_there(data: st.DataObject) -> None:
    _, schema = data.draw(st.sampled_from(SCHEMAS), label="type")
    value = {"x": data.draw(VALUES, label="value")}
    text = json.dumps(value).encode()
    small = refused(lambda: schema.parse(value, text=text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schemas, "LARGE", 0)
        large = refused(lambda: schema.check(value, text))
    assert (small is None) == (large is None), (small, large)


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Whole, {"rows": [{}]}),
        (Whole, {"trees": [{"children": [{}, {"children": [{}]}]}]}),
        (Around, {"rows": [{}], "last": 1}),
    ],
)
def test_code_of_the_author_s_sees_all_that_was_made(annotation: Any, value: Any) -> None:
    schema_of(x=annotation, tree=Tree | None).check({"x": value, "tree": None}, orjson.dumps({"x": value, "tree": None}))


@pytest.mark.usefixtures("all_are_large")
def test_what_is_strict_takes_from_a_large_text_what_it_takes_from_a_small_one() -> None:
    value = {"x": {"when": "2026-01-01", "pair": [1, 2]}}
    schema_of(x=Strict).check(value, orjson.dumps(value))


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize(
    ("annotation", "value", "pointers"),
    [
        (list[int], ["a", 1, "b"], ["/input/x/0"]),
        (list[Left], [{}, {"a": "x"}, {"a": "y"}], ["/input/x/1/a"]),
        (dict[str, int], {"a": "x", "b": "y"}, ["/input/x/a"]),
        (Left, {"a": "x", "zz": 1}, ["/input/x/a", "/input/x/zz"]),
    ],
)
def test_the_first_finding_of_each_list_is_shown(annotation: Any, value: Any, pointers: list[str]) -> None:
    found = refused(lambda: schema_of(x=annotation).check({"x": value}, orjson.dumps({"x": value})))
    assert [each["pointer"] for each in found or ()] == pointers


def test_a_small_input_shows_all_that_is_wrong() -> None:
    value = {"x": ["a"] * 60}
    assert len(refused(lambda: schema_of(x=list[int]).check(value, orjson.dumps(value))) or ()) == 50


@pytest.mark.parametrize("annotation", [Left, Point, Box, Annotated[Left | Right, Field(discriminator="kind")]])
def test_a_class_with_a_crowd_of_unknown_members_is_refused_as_one(annotation: Any) -> None:
    value = {"x": {"kind": "left"} | {f"member {number}": 1 for number in range(10_000)}}
    found = refused(lambda: schema_of(x=annotation).check(value, orjson.dumps(value)))
    assert found == [{"pointer": "/input/x", "detail": "It has 10001 members; most of them are no fields"}]


def test_what_was_checked_is_let_go() -> None:
    value = {"x": [{}] * 20_000}
    schema, text = schema_of(x=list[Left]), orjson.dumps(value) + b" " * 70_000
    schema.check(value, text)
    seen: list[int] = []

    class Watched(Left):
        @model_validator(mode="after")
        def _count(self) -> Watched:
            seen.append(sum(type(each) is Watched for each in gc.get_objects()) if len(seen) in (0, 10_000) else 0)
            return self

    schema_of(x=list[Watched]).check(value, text)
    assert (len(seen), seen[10_000] - seen[0] < 10) == (20_000, True)


@pytest.mark.usefixtures("all_are_large")
def test_files_of_a_large_input_are_found_and_what_else_is_wrong_too() -> None:
    schema = schema_of(files=list[File | str], marks=list[int])
    value: dict[str, Any] = {"files": ["x", FILE, "data:,a"], "marks": [1]}
    assert [(place.path, place.source) for place in schema.file_places(value, orjson.dumps(value))] == [
        (("files", 1), FILE),
        (("files", 2), "data:,a"),
    ]
    assert schema.file_places(value) == schema.file_places(value, orjson.dumps(value))
    schema.check({**value, "files": [FILE]}, b"{}", files={FILE: FileRef(FILE, FILE, 1, "")})
    value["marks"] = ["a", "b"]
    assert [each["pointer"] for each in refused(lambda: schema.file_places(value, orjson.dumps(value))) or ()] == ["/input/marks/0"]


def test_thousands_of_files_are_too_many_before_each_is_an_error() -> None:
    value = {"files": ["data:,"] * 100_000}
    found = refused(lambda: schema_of(files=list[File]).file_places(value, orjson.dumps(value)))
    assert found == [{"pointer": "/input", "detail": "It names more than 2,000 files"}]


@pytest.mark.parametrize(
    ("annotation", "tries"), [(list[int], 1), (int | Left, 2), (list[int | str | Left] | dict[str, int], 6), (Tree, 1), (Left | None, 1)]
)
def test_a_union_is_as_much_work_as_a_larger_input(annotation: Any, tries: int) -> None:
    assert schema_of(x=annotation).weight(3_000) == max(3_000, tries * 1_000)


@given(st.data())
def test_what_takes_long_without_being_large_shows_all_that_is_wrong(data: st.DataObject) -> None:
    annotation, schema = data.draw(st.sampled_from(SCHEMAS), label="type")
    value = {"x": data.draw(VALUES, label="value")}
    text = json.dumps(value).encode()
    plain = refused(lambda: schema.check(value, text))
    slow = schema_of(x=annotation)
    vars(slow)["_tries"] = 1_000_000
    found = refused(lambda: slow.check(value, text))
    assert [each["pointer"] for each in found or ()] == [each["pointer"] for each in plain or ()]
