"""Whatever a model returns: JSON that decodes again, or an InvalidOutput; nothing else ever."""

import dataclasses
import json
import math
from enum import Enum, IntEnum
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from longrun.errors import InvalidOutput
from longrun.models.schema import OutputSchema


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Score(BaseModel):
    label: str
    score: float = 0.5


class Loose(BaseModel):
    anything: Any = None


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Tensor:
    """The part of torch's and numpy's arrays that is used."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def tolist(self) -> Any:
        return self.values


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.binary(max_size=3)
    | st.decimals()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from([Color.RED, Level.HIGH, Score(label="a", score=math.nan), Point(1), object(), len])
)
keys = st.text() | st.integers() | st.none() | st.booleans() | st.floats() | st.uuids() | st.tuples(st.integers())
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Tensor, st.lists(inner, max_size=3))
        | st.builds(Loose, anything=inner)
        | st.builds(Point, st.integers(), inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(values)
def test_any_value_is_either_json_that_decodes_again_or_an_invalid_output(value):
    for annotation in (Any, list[Any], Loose, dict[str, Any]):
        given = {"anything": value} if annotation is Loose else {"a": value} if annotation == dict[str, Any] else [value]
        try:
            data = OutputSchema(annotation).encode(given).data
        except InvalidOutput:
            continue
        json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        data.decode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_what_is_json_already_comes_back_unchanged_and_without_warnings(value):
    result = OutputSchema(Any).encode(value)
    assert orjson.loads(result.data) == value
    assert result.warnings == []
