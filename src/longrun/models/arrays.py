"""Arrays that models return, on their way out without a detour over Python's lists.

NumPy and torch are asked only where they are loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, get_args, get_origin

import orjson

from longrun.jobs import npy
from longrun.models.jsonable import NOT_FINITE, Place, Repairs

#: What a list of one of these may hold, as NumPy names kinds of numbers.
_KINDS = {float: "f", int: "iu", bool: "b", Any: "biuf"}
_NAMED = 4


def as_array(value: Any) -> Any | None:
    """An array or tensor of numbers or booleans as a contiguous `numpy.ndarray` in the machine's byte order; None: it is none.

    A tensor is brought to the CPU; bfloat16, which NumPy does not know, becomes float32.
    """
    if isinstance(value, _class("torch", "Tensor")):
        value = _of_tensor(sys.modules["torch"], value)
    if not isinstance(value, _class("numpy", "ndarray")):
        return None
    return _plain(sys.modules["numpy"], value)


def _class(module: str, name: str) -> Any:
    """For `isinstance`: a class of a module that is loaded; nothing where an author has put something else in the module's place."""
    try:
        found = getattr(sys.modules.get(module), name, None)
    except BaseException:
        return ()
    return found if issubclass(type(found), type) else ()


def _plain(numpy: Any, value: Any) -> Any | None:
    if isinstance(value, numpy.ma.MaskedArray):  # `.tolist()` knows what is masked
        return None
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or value.ndim == 0:
        return None
    return numpy.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))


def _of_tensor(torch: Any, tensor: Any) -> Any:
    try:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (RuntimeError, TypeError, ValueError):
        return None  # sparse, quantised, without NumPy: `.tolist()` may still read it


def native(value: Any) -> Any:
    """For orjson: an array inside a value that it does not write by itself, such as one that is not contiguous. Raises TypeError."""
    array = as_array(value)
    if array is None:
        raise TypeError
    return array


def taker(annotation: Any) -> Callable[[Any], bool]:
    """Tells which arrays fit a return annotation without a look at each number."""
    depth, leaf = 0, annotation
    while get_origin(leaf) is list or leaf is list:
        depth, leaf = depth + 1, (get_args(leaf) or (Any,))[0]
    kinds = _KINDS.get(leaf, "") if leaf in (float, int, bool, Any) else ""
    if leaf is Any:
        return lambda array: array.ndim >= depth
    return lambda array: array.ndim == depth and array.dtype.kind in kinds


def to_json(array: Any) -> bytes:
    """The array as nested lists, with null for NaN and infinity."""
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def to_npy(array: Any) -> bytes:
    """The array in .npy format."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return npy.head(little.dtype.str, array.shape) + bytes(little.data)


def note_not_finite(array: Any, repairs: Repairs) -> None:
    """Note NaN and infinity, which JSON has no words for."""
    if array.dtype.kind != "f":
        return
    finite = sys.modules["numpy"].isfinite(array)
    if not finite.all():
        for place in _places(finite):
            repairs.note(NOT_FINITE, place)


def _places(finite: Any) -> list[Place]:
    numpy = sys.modules["numpy"]
    flat = numpy.flatnonzero(~finite)[:_NAMED]
    places: list[Place] = []
    for indices in zip(*numpy.unravel_index(flat, finite.shape), strict=True):
        place: Place = None
        for index in indices:
            place = (place, int(index))
        places.append(place)
    return places
