"""Where fetched bytes go: into memory, or into a file that is there whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from longrun.client.fetching import Piece


class Saving:
    """A file that takes its name when it is whole; until then it is beside it, under another. A context manager.

    Args:
        to: what it will be called. A file of that name is replaced.
    """

    def __init__(self, to: Path) -> None:
        self._to = to
        self._part = to.with_name(f".longrun-{uuid.uuid4().hex}.part")
        self._at = 0

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        return self

    def write(self, piece: Piece) -> None:
        """Put it in its place. Raises OSError."""
        if piece.at != self._at:
            self._file.seek(piece.at)
            self._file.truncate()
        self._file.write(piece.data)
        self._at = piece.at + len(piece.data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self._to)
        finally:
            self._part.unlink(missing_ok=True)


def collect(held: bytearray, piece: Piece) -> None:
    """Put it in its place in memory."""
    del held[piece.at :]
    held += piece.data
