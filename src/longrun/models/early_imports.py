"""What is imported before the models are, in each process that imports them: a file of the same name beside them hides none of it.

The folder of the models comes first in `sys.path`, as in plain Python. A `queue.py` there must not become the `queue` of the standard
library for us, nor for libraries that we use. They import much of it late, in functions. This is what is then imported first:
`tests/unit/models/test_early_imports.py` looks for more in their text. What no code of ours can reach is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

from longrun.models.place import is_authors

_NAMES = """
    _strptime asyncio codeop concurrent.futures.process concurrent.futures.thread csv email.generator email.parser email.policy
    encodings.idna grp gzip hmac importlib.metadata inspect linecache multiprocessing.connection multiprocessing.dummy
    multiprocessing.forkserver
    multiprocessing.managers multiprocessing.pool multiprocessing.popen_fork multiprocessing.popen_forkserver
    multiprocessing.popen_spawn_posix multiprocessing.queues multiprocessing.resource_sharer multiprocessing.shared_memory
    multiprocessing.sharedctypes multiprocessing.spawn multiprocessing.synchronize platform pwd queue tarfile tokenize traceback
    tracemalloc
"""
#: Not in every build or version of Python, or not installed.
_WHERE_THERE = "_ast_unparse _md5 _sha1 _sha2 _sha256 _sha3 _sha512 _colorize _suggestions annotationlib PIL"


def load() -> None:
    """Import them; a matter of milliseconds where Longrun runs, for most of them are loaded anyway."""
    for name in _NAMES.split():
        import_module(name)
    for name in _WHERE_THERE.split():
        with suppress(ImportError):
            import_module(name)


class _PastTheFolder:
    """Finds what libraries import past the folder of the models, which is first in `sys.path`: what is there is for the models' own code.

    What is nowhere else is theirs again, for a library may import by name what an author tells it to.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if path is not None or _importer_is_author(sys._getframe(1)):
            return None
        return PathFinder.find_spec(name, [each for each in sys.path if each != self._folder], target)


def _importer_is_author(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_globals.get("__name__") in ("importlib", "importlib._bootstrap"):
        frame = frame.f_back
    return frame is None or is_authors(frame.f_code.co_filename)


def look_past(folder: str) -> None:
    """From now on libraries do not find in this folder what is elsewhere too."""
    sys.meta_path.insert(0, _PastTheFolder(folder))
