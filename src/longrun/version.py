"""The version of this installation, and of the contract with callers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: Begins the path of every route of the contract, docs/http.md.
API_PREFIX = "/api/v1"

#: What `VERSION` is where a source tree is on the path, and nothing is installed.
SOURCE = "0+source"

try:
    VERSION = version("longrun-ai")
except PackageNotFoundError:
    VERSION = SOURCE
