"""Folders for copies of files: one for each runner that needs one, and gone soon after the runner, however it ended.

A runner keeps its folder locked as long as it lives. So whoever finds one that is not locked may remove it, without asking whether a
process of some number lives here, or in another container that shares the folder of temporary files.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "longrun-runner-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Copies:
    """The folder of this process.

    Args:
        where: the folder for temporary files, as the worker sees it; None: as this process does.
    """

    def __init__(self, where: str | None = None) -> None:
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
            self._held = os.open(self.folder, _FOLDER)
            with suppress(OSError):  # a file system without locks: the folder stays when the process is killed
                fcntl.flock(self._held, fcntl.LOCK_SH)
            if self.folder.exists():
                return
            os.close(self._held)  # somebody took it for one that was left

    def for_one_job(self) -> Path:
        """A new folder in it."""
        return Path(tempfile.mkdtemp(dir=self.folder))


def remove_left(where: str | None = None) -> None:
    """Remove the folders of runners that are dead."""
    for folder in Path(where or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, in use, or removed meanwhile
            held = os.open(folder, _FOLDER)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
