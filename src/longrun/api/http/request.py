"""The head of a request, read once: every layer asks for headers, and most of those it asks for are not there."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

_KEY = "longrun.head"


class Head(Headers):
    """Starlette's headers with an index over their names."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._index: dict[str, list[str]] = {}
        for name, value in self.raw:
            self._index.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def __getitem__(self, key: str) -> str:
        return self._index[key.lower()][0]

    def get(self, key: str, default: Any = None) -> Any:
        """The first value of a header."""
        found = self._index.get(key.lower())
        return default if found is None else found[0]

    def getlist(self, key: str) -> list[str]:
        """All values of a header; yours to change."""
        return list(self._index.get(key.lower(), ()))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._index


def head_of(scope: Scope) -> Head:
    """The head of the request of `scope`; the first who asks reads it. Nobody may change the scope's headers after that."""
    head: Head | None = scope.get(_KEY)
    if head is None:
        head = scope[_KEY] = Head(scope)
    return head


class HeadedRequest(Request):
    """Starlette's request, with the head that the layers before it have read."""

    @property
    def headers(self) -> Head:
        """See `Head`."""
        return head_of(self.scope)


def route_path(scope: Scope) -> str:
    """The path of the request below the prefix that the app is mounted under, percent-decoded."""
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.removeprefix(root.rstrip("/")) if root else path
