"""The version of this installation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("longrun")
except PackageNotFoundError:  # a source tree on the path, not installed
    VERSION = "0+source"
