"""Outputs as NumPy arrays. NumPy is imported when one is asked for, and not before."""

from __future__ import annotations

import io
from typing import Any

from longrun.errors import LongrunError

#: Asks for an array as it is kept, or for JSON where it is kept as that (small arrays are).
ACCEPT = "application/x-npy, application/json;q=0.5"
_NPY = b"\x93NUMPY"


def to_array(output: Any) -> Any:
    """The output as a `numpy.ndarray`; null in lists of numbers becomes NaN.

    Args:
        output: .npy bytes, or lists of numbers.

    Raises:
        LongrunError: NumPy is not installed.
        TypeError: the output is no array of numbers or booleans.
    """
    try:
        import numpy  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise LongrunError("arrays need NumPy: `pip install numpy`, or leave as_array out and take lists") from None
    if isinstance(output, bytes) and output.startswith(_NPY):
        return numpy.load(io.BytesIO(output), allow_pickle=False)
    if isinstance(output, list):
        try:
            found = numpy.array(output)
            found = found.astype(float) if found.dtype == object else found
        except (TypeError, ValueError):  # rows of different lengths, or things that are no numbers
            found = None
        if found is not None and found.dtype.kind in "biuf":
            return found
    raise TypeError(f"the output is no array of numbers, but {type(output).__name__}: {str(output)[:60]}")
