"""The version of this installation, and of the contract with callers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: Begins the path of every route of the contract, docs/http.md.
API_PREFIX = "/api/v1"

try:
    VERSION = version("longrun-ai")
except PackageNotFoundError:  # a source tree on the path, not installed
    VERSION = "0+source"
