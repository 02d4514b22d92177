"""What a generator has yielded so far: pure."""

from __future__ import annotations

from longrun.errors import ResultTooLarge

#: Each value is an event of its own, whatever its size.
_MOST = 1_000_000


class Items:
    """The encoded values, in order, as long as the output that they will be joined to fits.

    Args:
        max_output: most bytes of that output.
        is_text: it is one text; otherwise a list.
    """

    def __init__(self, max_output: int, *, is_text: bool) -> None:
        self.values: list[bytes] = []
        self._limit = max_output
        # A text has quotes around it, and its parts lose theirs; a list has brackets, and a comma for each value but the first.
        self._size, self._extra = (2, -2) if is_text else (1, 1)

    def add(self, value: bytes) -> None:
        """Take a value. Raises ResultTooLarge when that is too much: an endless generator ends here, and not when memory does."""
        self._size += len(value) + self._extra
        check_size(self._size, self._limit, so_far=True)
        if len(self.values) == _MOST:
            raise ResultTooLarge(f"The model yielded more than {_MOST:,} values.")
        self.values.append(value)


def check_size(size: int, limit: int, *, so_far: bool = False) -> None:
    """Raises ResultTooLarge when an output of `size` bytes is over the limit."""
    if size > limit:
        raise ResultTooLarge(f"The output has {size} bytes{' so far' if so_far else ''}; the limit is {limit}.")
