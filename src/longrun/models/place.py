"""Where a model is defined: for messages, for telling a reload from a clash, and for resolving its annotations."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_STANDARD_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
_OURS = f"{Path(__file__).parents[1]}{os.sep}"


@dataclass(frozen=True, slots=True)
class Place:
    """A definition in a source file; `str()` gives `Captioner.predict (app.py, line 12)`."""

    name: str  #: what is defined, such as `Captioner.predict`
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} ({self.file}, line {self.line})"


def frame_of_class() -> FrameType:
    """The frame that runs the `class` statement; for use in `__init_subclass__` only.

    Bases with an `__init_subclass__` of their own, and metaclasses such as ABCMeta, put their frames in between.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame = frame.f_back
    return frame or sys._getframe(1)


def local_names(frame: FrameType) -> dict[str, Any]:
    """Names in the functions and classes around a definition that runs in `frame`, the nearest winning; those of the module are left out.

    With `from __future__ import annotations` a type that is defined inside a function, and is named only in annotations, is
    in no closure. The frames that run the definition are the only place where it can be found.
    """
    names: dict[str, Any] = {}
    each: FrameType | None = frame
    while each is not None and each.f_globals is frame.f_globals and each.f_code.co_name != "<module>":
        names = {**each.f_locals, **names}
        each = each.f_back
    return names


def is_authors(file: str) -> bool:
    """Whether a source file is the author's own: neither the standard library's, nor ours, nor of an installed package."""
    installed = f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file
    return not (installed or file.startswith(("<", _STANDARD_LIBRARY, _OURS)))


def names_of(value: object) -> Mapping[str, Any]:
    """The namespace of anything. What answers by code of its own is not asked: a lazy module would be loaded by that."""
    try:
        names: Mapping[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return names


def file_of(module: object) -> str:
    """Its source file; empty = none is known."""
    file = names_of(module).get("__file__")
    return file if isinstance(file, str) else ""
