"""The way from a path to its handler. It takes the same time for every path, where the framework tries one pattern after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from longrun.api.http.request import HeadedRequest, route_path
from longrun.api.http.routing import Handler, Route
from longrun.api.problems import answer_to

#: Path → method → handler. A part of a path in braces is a parameter: one or more characters, no slash.
Table = Mapping[str, Mapping[str, Handler]]


@dataclass(slots=True)
class _Part:
    """A place in the tree of paths: what may follow, and who answers when nothing does."""

    fixed: dict[str, _Part] = field(default_factory=dict)
    parameter: tuple[str, _Part] | None = None
    handlers: Mapping[str, Handler] | None = None


class Router:
    """ASGI middleware: requests for the paths of `table` are answered here, all others by `app`. What handlers raise becomes a problem."""

    def __init__(self, app: ASGIApp, table: Table) -> None:
        self._app, self._root = app, _Part()
        for path, handlers in table.items():
            _place(self._root, path).handlers = handlers

    def find(self, path: str) -> tuple[Mapping[str, Handler], dict[str, str]] | None:
        """Who answers at `path`, by method, and the path's parameters; a fixed part goes before a parameter."""
        at, parameters = self._root, {}
        for each in path.split("/"):
            following = at.fixed.get(each)
            if following is None:
                if at.parameter is None or not each:
                    return None
                name, following = at.parameter
                parameters[name] = each
            at = following
        return None if at.handlers is None else (at.handlers, parameters)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(route_path(scope)) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        handlers, parameters = found
        scope["path_params"] = {**scope.get("path_params", {}), **parameters}
        request = HeadedRequest(scope, receive, send)
        try:
            response = await _handler(handlers, scope["method"])(request)
        except Exception as error:
            response = answer_to(request, error)
        # An answer that fails has begun: only breaking the connection off tells the caller, which is not for us to do.
        await response(scope, receive, send)


def table_of(routes: Iterable[Route]) -> Table:
    """The handlers of these routes. One entry a path, so that `Allow` names all its methods."""
    table: dict[str, dict[str, Handler]] = {}
    for route in routes:
        table.setdefault(route.full_path, {})[route.method] = route.handler
    return table


def _place(root: _Part, path: str) -> _Part:
    at = root
    for each in path.split("/"):
        if not each.startswith("{"):
            at = at.fixed.setdefault(each, _Part())
            continue
        name = each.strip("{}")
        if at.parameter is None:
            at.parameter = (name, _Part())
        if at.parameter[0] != name:
            raise ValueError(f"{path}: the parameter here is named {at.parameter[0]} in another path")
        at = at.parameter[1]
    return at


def _handler(handlers: Mapping[str, Handler], method: str) -> Handler:
    handler = handlers.get("GET" if method == "HEAD" else method)
    if handler is None:
        raise HTTPException(405, headers={"Allow": ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else [])])})
    return handler
