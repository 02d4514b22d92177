"""The .npy format: what we write NumPy reads, byte for byte as it writes itself, and what we render is what NumPy would list."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from longrun.jobs import npy
from longrun.models.arrays import to_npy

KINDS = ["?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def text(data: bytes, size: int = 1 << 18) -> Any:
    return orjson.loads(b"".join(npy.to_json(pieces(data, size))))


def listed(array: Any) -> Any:
    """As JSON shows it: null for what is not finite."""
    return orjson.loads(orjson.dumps(array.tolist()))


@given(arrays.arrays(st.sampled_from(KINDS), arrays.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=6)), st.integers(1, 200))
def test_any_array_is_written_and_rendered(array: Any, size: int) -> None:
    data, own = to_npy(array), io.BytesIO()
    numpy.save(own, array)

    assert data == own.getvalue()
    assert text(data, size) == listed(array)


# Around the size of a block, and with the axis that is divided first, in the middle and last.
@pytest.mark.parametrize(
    "shape", [(200_000,), (2, 40_001), (3, 2, 17_000), (9001, 3), (300, 401), (1, 1, 70_000), (2, 2, 2, 20_000), (5, 1)]
)
@pytest.mark.parametrize("kind", ["?", "<i2", "<f4", "<f8"])
def test_arrays_of_many_blocks_are_rendered_whole(shape: tuple[int, ...], kind: str) -> None:
    array = numpy.random.default_rng(0).integers(-99, 99, shape).astype(kind)
    for size in (10_007, 1 << 18):
        assert text(to_npy(array), size) == array.tolist()


def test_no_piece_of_text_is_much_larger_than_a_block() -> None:
    data = to_npy(numpy.random.default_rng(0).random((100, 20_000)))
    renderer = npy.Renderer()
    made = [piece for each in pieces(data, 1 << 18) for piece in renderer.feed(each)]
    renderer.close()
    assert len(made) > 100
    assert max(map(len, made)) < 256 * 1024


def changed(old: bytes, new: bytes) -> bytes:
    data = to_npy(numpy.arange(9.0))
    assert old in data
    return data.replace(old, new, 1)


@pytest.mark.parametrize(
    "data",
    [
        changed(b"\x93NUMPY\x01", b"\x93NUMPY\x02"),
        changed(b"'<f8'", b"'|O8'"),
        changed(b"'<f8'", b"'<c8'"),
        changed(b"'<f8'", b"'<f1'"),
        changed(b"False", b"True "),
        changed(b"(9,)", b"(x,)"),
        changed(b"(9,)", b"(8,)"),
        to_npy(numpy.arange(9.0))[:-1],
        to_npy(numpy.arange(9.0))[:50],
        b'{"some": "JSON"}' * 100,
        b"",
    ],
)
def test_what_is_no_array_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="npy file"):
        list(npy.to_json([data]))


def test_objects_have_no_head() -> None:
    with pytest.raises(ValueError, match="not a kind of numbers"):
        npy.head("|O8", (3,))
