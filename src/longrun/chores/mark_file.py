"""The latest mark, in a file beside the data of the embedded Valkey.

After a power cut no process is left that knows which mark was confirmed. The file is synced, so that it may know more than the data, which
are synced once a second. It is another process's mark that is read from it, so it is only compared and never gone on with.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson

from longrun.embedded import is_served_from
from longrun.log import Log
from longrun.store.losses import Mark

log = Log("longrun.store")

#: Seconds: of all processes that use the folder one syncs the file once in this time.
_EVERY_S = 0.9


class MarkFile:
    """The file `last-mark` of a data folder. All processes of the folder share it.

    Args:
        folder: data of the embedded Valkey.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last-mark"
        self._failed = False

    @classmethod
    def beside(cls, data: Path, url: str) -> MarkFile | None:
        """The file in `data`, if the store at `url` is the embedded Valkey there; the data of another are on another machine."""
        return cls(data) if is_served_from(data, url) else None

    def read(self) -> Mark | None:
        """What was confirmed last; None when that is not known."""
        try:
            name, number, at, held = orjson.loads(self._path.read_bytes())
            return Mark(str(name), int(number), int(at), str(held))
        except (OSError, ValueError, TypeError):
            return None  # a first start, or a disk that has kept less of the file than it said

    def remove(self) -> None:
        """What it knew is reported. Where it stays, the next processes that start report it once more."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the latest mark cannot be removed", file=str(self._path), error=str(error))

    def write(self, mark: Mark) -> None:
        """Keep a mark, unless another process has just kept one. A full disk costs the mark and nothing else, and is logged once."""
        try:
            if self._path.exists() and 0 <= time.time() - self._path.stat().st_mtime < _EVERY_S:
                return
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            with fresh.open("wb") as file:
                file.write(orjson.dumps([mark.name, mark.number, mark.at, mark.data]))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("the latest mark cannot be kept", file=str(self._path), error=str(error))
            self._failed = True
