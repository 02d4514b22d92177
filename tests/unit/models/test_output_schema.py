import array
import dataclasses
import json
import math
import time
import timeit
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from longrun.errors import InvalidOutput
from longrun.models import batched, model
from longrun.models.schema import OutputSchema

UID = UUID("12345678-1234-5678-1234-567812345678")


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


Pair = namedtuple("Pair", "left right")


class Tensor:
    """The part of torch's and numpy's arrays that is used."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def tolist(self) -> Any:
        return self.values


class Scalar:
    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


def encoded(annotation: Any, value: Any) -> Any:
    """What comes out of JSON again; there must be no warnings."""
    result = OutputSchema(annotation).encode(value)
    assert result.warnings == []
    return json.loads(result.data)


def refused(annotation: Any, value: Any) -> str:
    with pytest.raises(InvalidOutput) as caught:
        OutputSchema(annotation).encode(value)
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("text\x00", "text\x00"),
        (2**63, 2**63),
        (-(10**40), -(10**40)),
        ([1, 2.5, "a", None], [1, 2.5, "a", None]),
        ((1, (2,)), [1, [2]]),
        ({1}, [1]),
        (frozenset(["a"]), ["a"]),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        (datetime(2026, 1, 31, 9, 30, tzinfo=UTC), "2026-01-31T09:30:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(minutes=1), "PT1M"),
        (Decimal("1.10"), "1.10"),
        (UID, str(UID)),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Path("/a"), "/a"),
        (Score(label="a"), {"label": "a", "score": 0.5}),
        ([Score(label="a")], [{"label": "a", "score": 0.5}]),
        (Point(1), {"x": 1, "y": None}),
        ([Point(1, Score(label="a"))], [{"x": 1, "y": {"label": "a", "score": 0.5}}]),
        (Loose(anything=[Tensor([1.5]), {UID: 1}]), {"anything": [[1.5], {str(UID): 1}]}),
        (array.array("d", [0.5, 1.5]), [0.5, 1.5]),
        ({"vector": Tensor([[1.0], [2.0]])}, {"vector": [[1.0], [2.0]]}),
        (Tensor(3), 3),
        ([Scalar(0.25)], [0.25]),
        (Tensor([Tensor([1]), UID]), [[1], str(UID)]),
        (
            {1: "a", None: "b", False: "c", 2.5: "d", Color.RED: "e", UID: "f", date(2026, 1, 31): "g"},
            {"1": "a", "null": "b", "false": "c", "2.5": "d", "red": "e", str(UID): "f", "2026-01-31": "g"},
        ),
    ],
)
def test_anything_that_json_can_hold_is_written(value, expected):
    assert encoded(Any, value) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (str, "a", "a"),
        (float, 1, 1.0),
        (float, Scalar(0.5), 0.5),
        (list[float], (1, 2), [1.0, 2.0]),
        (list[float], Tensor([0.5, 1]), [0.5, 1.0]),
        (list[list[float]], [Tensor([0.5]), array.array("d", [1])], [[0.5], [1.0]]),
        (dict[str, float], {"a": Scalar(0.5)}, {"a": 0.5}),
        (dict[int, str], {1: "a"}, {"1": "a"}),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (set[int], {1}, [1]),
        (datetime, datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31T00:00:00Z"),
        (Decimal, Decimal("1.10"), "1.10"),
        (timedelta, timedelta(seconds=1.5), "PT1.5S"),
        (UUID, UID, str(UID)),
        (Color, Color.RED, "red"),
        (Literal["a"], "a", "a"),
        (Score, Score(label="a"), {"label": "a", "score": 0.5}),
        (Score, {"label": "a", "score": Scalar(0.25)}, {"label": "a", "score": 0.25}),
        (list[Score], [{"label": "a"}], [{"label": "a", "score": 0.5}]),
        (Score | None, None, None),
        (Point, Point(1, Tensor([1])), {"x": 1, "y": [1]}),
        (None, None, None),
        (int, 10**30, 10**30),
        (Annotated[int, PlainSerializer(lambda value: f"<{value}>")], 3, "<3>"),
    ],
)
def test_values_are_checked_and_written_as_annotated(annotation, value, expected):
    assert encoded(annotation, value) == expected


def test_aliases_name_the_members_as_the_schema_does():
    class Answer(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        from_: int = Field(alias="from")

    schema = OutputSchema(Answer)
    assert json.loads(schema.encode(Answer(from_=1)).data) == {"from": 1}
    assert list(schema.json_schema()["properties"]) == ["from"]


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (int, "a", "/output: Input should be a valid integer"),
        (str, None, "/output: Input should be a valid string"),
        (list[float], [1, "x"], "/output/1: Input should be a valid number"),
        (list[float], ["x", "y", "z"], "(and 2 more)"),
        (Score, {"score": 1}, "/output/label: Field required"),
        (Annotated[float, Field(le=1)], 2, "less than or equal to 1"),
    ],
)
def test_a_value_that_does_not_fit_the_annotation_is_refused_with_the_place(annotation, value, says):
    assert says in refused(annotation, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null_with_a_warning(value):
    for annotation in (Any, list[float], list[Any]):
        result = OutputSchema(annotation).encode([1.0, value])
        assert result.data == b"[1.0,null]"
        assert result.warnings == ["NaN or infinity became null at /output/1"]


def test_nan_is_found_wherever_it_hides():
    for annotation, value, place in [
        (float, math.nan, "/output"),
        (Score, Score(label="a", score=math.nan), "/output/score"),
        (Loose, Loose(anything=[math.inf]), "/output/anything/0"),
        (Any, Loose(anything={"a": math.inf}), "/output/anything/a"),
        (Any, Point(1, math.nan), "/output/y"),
        (list[float], Tensor([math.nan]), "/output/0"),
        (Loose, Loose(anything=Tensor([math.nan])), "/output/anything/0"),
    ]:
        assert OutputSchema(annotation).encode(value).warnings == [f"NaN or infinity became null at {place}"]


def test_a_null_that_the_author_meant_is_no_warning():
    assert encoded(list[float | None], [None, 1.0]) == [None, 1.0]
    assert encoded(str, "null and void") == "null and void"


def test_many_warnings_are_summed_up():
    (warning,) = OutputSchema(list[float]).encode([math.nan] * 10_000).warnings
    assert warning == "NaN or infinity became null at /output/0, /output/1, /output/2 and more"


@pytest.mark.parametrize("annotation", [Any, list[str], list[Annotated[str, Field(min_length=1)]]])
def test_half_characters_are_replaced_with_a_warning(annotation):
    result = OutputSchema(annotation).encode(["ab", "a\ud800b", "\udfff"])
    assert json.loads(result.data) == ["ab", "a\ufffdb", "\ufffd"]
    assert result.warnings == ["a lone surrogate (half a character) became U+FFFD at /output/1, /output/2"]


def test_half_characters_in_keys_and_models_are_replaced_too():
    assert json.loads(OutputSchema(dict[str, int]).encode({"\ud800": 1}).data) == {"\ufffd": 1}
    result = OutputSchema(Loose).encode(Loose(anything="\ud800"))
    assert json.loads(result.data) == {"anything": "\ufffd"}
    assert len(result.warnings) == 1


@pytest.mark.parametrize("value", [b"\xff", bytearray(b"\xff"), memoryview(b"\xff")])
def test_bytes_are_a_file_and_without_a_service_a_data_uri(value):
    encoded = OutputSchema(Any).encode({"image": value})
    assert json.loads(encoded.data) == {"image": "data:application/octet-stream;base64,/w=="}


def test_an_annotation_of_bytes_is_one_of_a_file():
    assert OutputSchema(bytes).json_schema()["title"] == "File"
    assert OutputSchema(list[bytes]).json_schema()["items"]["title"] == "File"


@pytest.mark.parametrize("value", [object(), len, int, ValueError("x"), iter([1]), map(str, [1]), (n for n in [1])])
def test_what_json_cannot_hold_is_refused_with_its_type(value):
    detail = refused(Any, {"a": [value]})
    assert detail.startswith(f"/output/a/0 is of type {type(value).__name__}, which JSON cannot hold")


@pytest.mark.parametrize("value", [object(), len, int, ValueError("x")])
def test_what_json_cannot_hold_is_refused_inside_a_base_model_too(value):
    assert refused(Loose, Loose(anything=value)).startswith(f"/output/… is of type {type(value).__name__}")


def test_a_half_read_iterator_is_refused_and_not_cut_short():
    assert "which JSON cannot hold" in refused(Loose, Loose(anything=(number for number in [1.0, math.nan])))


def test_keys_that_json_cannot_hold_are_refused():
    assert refused(Any, {(1, 2): 3}) == "/output has a key of type tuple: use text as keys"
    assert refused(Any, [{b"a": 3}]) == "/output/0 has a key of type bytes: use text as keys"


def test_two_keys_that_become_one_are_refused():
    assert "two keys that are both '1'" in refused(Any, {1: "a", "1": "b"})


def test_cycles_are_refused_and_not_a_recursion_error():
    circle: list[Any] = []
    circle.append(circle)
    ring: dict[str, Any] = {}
    ring["self"] = ring
    model_ring = Loose()
    model_ring.anything = [model_ring]
    point = Point(1)
    point.y = point
    for annotation, value in [(Any, circle), (list, circle), (dict[str, Any], ring), (Loose, model_ring), (Any, model_ring), (Any, point)]:
        refused(annotation, value)


@pytest.mark.parametrize("annotation", [Any, list, list[Any], Loose])
def test_nesting_is_allowed_to_64_and_no_deeper(annotation):
    def nested(levels: int) -> Any:
        value: Any = []
        for _ in range(levels - 1):
            value = [value]
        return value

    inner = 63 if annotation is Loose else 64
    value = nested(inner)
    assert encoded(annotation, Loose(anything=value) if annotation is Loose else value)
    value = nested(inner + 1)
    assert "over 64 deep" in refused(annotation, Loose(anything=value) if annotation is Loose else value)
    value = nested(5000)
    refused(annotation, Loose(anything=value) if annotation is Loose else value)


def test_many_brackets_are_not_depth():
    assert encoded(Any, [[] for _ in range(1000)]) == [[]] * 1000
    assert encoded(list[Any], ["[" * 1000]) == ["[" * 1000]


def test_a_number_too_long_to_write_is_refused():
    assert "4,300 digits" in refused(Any, 10**5000)


def test_an_array_or_a_serializer_that_breaks_is_an_invalid_output():
    class Broken:
        def tolist(self) -> Any:
            raise RuntimeError("device lost")

    def fail(value: Any) -> Any:
        raise KeyError("x")

    with pytest.raises(InvalidOutput) as caught:
        OutputSchema(Any).encode([Broken()])
    assert caught.value.cause == "RuntimeError"
    assert "could not be made into JSON" in refused(Annotated[int, PlainSerializer(fail)], 3)


def test_a_stream_of_text_is_joined_to_one_text():
    schema = OutputSchema(str, stream=True)
    items = [schema.encode_item(text).data for text in ["once ", 'upon "a"', "\n", "", "time ☃"]]
    assert schema.is_text_stream
    assert json.loads(schema.join(items)) == 'once upon "a"\ntime ☃'
    assert json.loads(schema.join([])) == ""
    assert schema.json_schema() == {"type": "string"}


@pytest.mark.parametrize("annotation", [dict[str, int], Any, Score, str | None])
def test_other_streams_become_a_list(annotation):
    schema = OutputSchema(annotation, stream=True)
    assert not schema.is_text_stream
    assert json.loads(schema.join([b'{"label":"a"}', b"null"])) == [{"label": "a"}, None]
    assert schema.join([]) == b"[]"
    assert schema.json_schema()["type"] == "array"


def test_an_item_of_a_stream_is_checked():
    with pytest.raises(InvalidOutput, match="valid string"):
        OutputSchema(str, stream=True).encode_item(3)


def test_definitions_of_a_stream_s_items_stay_inside_its_schema():
    schema = OutputSchema(Score, stream=True).json_schema()
    assert schema["items"] == {"$ref": "#/$defs/Score"}
    assert "Score" in schema["$defs"]


def test_a_text_stream_with_a_serializer_is_not_joined_blindly():
    assert not OutputSchema(Annotated[str, PlainSerializer(len)], stream=True).is_text_stream
    assert OutputSchema(Annotated[str, Field(max_length=9)], stream=True).is_text_stream


def test_a_model_s_output_schema_follows_its_return_annotation():
    @model
    def stream(text: str) -> Iterator[str]:
        yield text

    class Ask(BaseModel):
        text: str

    @model
    @batched
    def embed(asks: list[Ask]) -> list[list[float]]: ...

    assert stream.__longrun__.output.is_text_stream
    assert embed.__longrun__.output.json_schema() == {"type": "array", "items": {"type": "number"}}
    assert embed.__longrun__.output.encode([0.5]).data == b"[0.5]"


def test_a_vector_is_written_in_tens_of_microseconds():
    schema = OutputSchema(list[float])
    vector = [number / 7 for number in range(384)]
    seconds = min(timeit.repeat(lambda: schema.encode(vector), timer=time.thread_time, number=200, repeat=5)) / 200
    assert seconds < 200e-6  # 13 µs of CPU time on an idle core
