"""Arrays that models return: which annotations take them, and the JSON that comes of them."""

from __future__ import annotations

from typing import Any

import numpy
import orjson
import pytest
from numpy.typing import NDArray

from longrun.errors import InvalidOutput
from longrun.jobs.npy import is_npy
from longrun.models.schema import OutputSchema

ONES = numpy.ones((2, 2), numpy.float32)


def written(annotation: Any, value: Any) -> Any:
    return orjson.loads(OutputSchema(annotation).encode(value).data)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, ONES),
        (list, ONES),
        (numpy.ndarray, ONES),
        (NDArray[numpy.float32], ONES),
        (list[list[float]], ONES),
        (list[Any], ONES),
        (dict[str, numpy.ndarray], {"a": ONES}),
        (list[float], numpy.ones(3)),
        (list[int], numpy.arange(3, dtype="u1")),
        (list[bool], numpy.array([True, False])),
        (list[float], numpy.arange(3)),
        (Any, numpy.eye(3)[:, ::-1]),
        (Any, numpy.asfortranarray(numpy.arange(6).reshape(2, 3))),
        (Any, numpy.arange(3, dtype=">i8")),
        (Any, numpy.arange(3, dtype="f2")),
        (Any, numpy.zeros((0, 3))),
        (Any, numpy.ma.array([1, 2])),
        (Any, numpy.float32(1.5)),
        (Any, numpy.array(7)),
        (Any, {"a": [ONES, numpy.eye(2).T], "b": numpy.int64(3)}),
    ],
)
def test_arrays_become_lists(annotation: Any, value: Any) -> None:
    def plain(each: Any) -> Any:
        if isinstance(each, dict):
            return {name: plain(item) for name, item in each.items()}
        return [plain(item) for item in each] if isinstance(each, list) else each.tolist()

    assert written(annotation, value) == plain(value)


@pytest.mark.parametrize("annotation", [Any, list[list[float]], numpy.ndarray])
def test_an_array_does_not_pass_through_lists(annotation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(numpy.ndarray):
        def tolist(self) -> Any:
            raise AssertionError("a list was made of it")

    OutputSchema(annotation).encode(ONES.view(Watched))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[int], ONES),
        (list[float], ONES),
        (list[str], numpy.ones(2)),
        (numpy.ndarray, numpy.array(1.0)),
        (numpy.ndarray, "text"),
        (float, ONES),
        (Any, numpy.full(2, 1j)),
        (Any, {"a": numpy.full(2, 1j)}),
        (Any, numpy.ones(2, numpy.longdouble)),
        (Any, numpy.array([object()])),
    ],
)
def test_what_does_not_fit_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidOutput):
        OutputSchema(annotation).encode(value, npy_over=0)


def test_the_first_places_of_nan_and_infinity_are_named() -> None:
    array = numpy.full((3, 2), numpy.nan)
    found = OutputSchema(Any).encode(array)

    assert orjson.loads(found.data) == [[None, None]] * 3
    assert found.warnings == ["NaN or infinity became null at /output/0/0, /output/0/1, /output/1/0 and more"]
    assert OutputSchema(Any).encode(array, npy_over=0).warnings == found.warnings
    assert OutputSchema(Any).encode({"a": numpy.array([1, numpy.inf])}).warnings == ["NaN or infinity became null at /output/a/1"]


def test_only_a_whole_output_over_the_limit_is_kept_in_its_own_format() -> None:
    schema = OutputSchema(Any)
    assert is_npy(schema.encode(ONES, npy_over=15).data)
    assert not is_npy(schema.encode(ONES, npy_over=16).data)
    assert not is_npy(schema.encode(ONES).data)
    assert not is_npy(schema.encode([ONES], npy_over=0).data)
    assert not is_npy(OutputSchema(numpy.ndarray, stream=True).encode_item(ONES).data)


def test_an_array_is_a_list_in_the_schema() -> None:
    assert OutputSchema(numpy.ndarray).json_schema() == {"type": "array", "items": {}}
    assert OutputSchema(dict[str, NDArray[numpy.float32]]).json_schema()["additionalProperties"] == {"type": "array", "items": {}}
