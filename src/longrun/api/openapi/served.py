"""The OpenAPI document as it is served: written once, when it is first asked for, in steps between which other requests get their turn."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from longrun.api.http.routing import Route
from longrun.api.openapi.document import build_openapi, openapi_steps
from longrun.models import ModelSpec, Registry
from longrun.settings import Settings

#: Seconds after which others get their turn; a step that has begun is finished.
_TURN = 0.005
#: Members are written one by one down to here: a path's method, a schema of the components.
_DEPTH = 3


class ServedDocument:
    """The document for these routes and for the models that are there when it is asked for."""

    def __init__(self, routes: Iterable[Route], models: Registry, settings: Settings) -> None:
        self._routes, self._models, self._settings = routes, models, settings
        self._written: tuple[tuple[int, ...], bytes] | None = None
        self._writing: asyncio.Task[bytes] | None = None
        self._own: Callable[[], dict[str, Any]] | None = None

    def of(self, app: FastAPI) -> Callable[[], dict[str, Any]]:
        """What is to be `app.openapi`, for those who want the document as an object."""
        built: dict[tuple[int, ...], dict[str, Any]] = {}

        def openapi() -> dict[str, Any]:
            served = self._served()
            if served not in built:
                built.clear()
                built[served] = build_openapi(self._routes, self._models, self._settings)
            # Before 0.132.1 FastAPI kept where it is mounted here, and left the document to put it in.
            return built[served] | ({"servers": app.servers} if app.servers else {})

        self._own = openapi
        return openapi

    async def answer(self, request: Request) -> Response:
        """GET /openapi.json, as FastAPI answers it."""
        app: FastAPI = request.app
        if app.openapi is self._own:
            text, servers = await self.text(), list(app.servers)
        else:  # somebody has put one of their own in its place
            other = dict(app.openapi())
            servers = other.pop("servers", [])
            text = _dumps(other)
        mounted = request.scope.get("root_path", "").rstrip("/")
        if mounted and app.root_path_in_servers and all(each.get("url") != mounted for each in servers):
            servers = [{"url": mounted}, *servers]
        if servers:
            text = text[:-1] + b',"servers":' + _dumps(servers) + b"}"
        return Response(text, media_type="application/json")

    async def text(self) -> bytes:
        """The document as JSON. Who asks while it is written waits for it."""
        served = self._served()
        if self._written is not None and self._written[0] == served:
            return self._written[1]
        writing = self._writing
        if writing is None or writing.done() or writing.get_loop() is not asyncio.get_running_loop():
            writing = self._writing = asyncio.create_task(self._write(served))
        # Whoever gives up leaves it to those who wait.
        return await asyncio.shield(writing)

    async def _write(self, served: tuple[int, ...]) -> bytes:
        steps, began = _text_steps(self._routes, list(self._models), self._settings), time.perf_counter()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self._written = served, end.value
                return self._written[1]
            if time.perf_counter() - began > _TURN:
                await asyncio.sleep(0)
                began = time.perf_counter()

    def _served(self) -> tuple[int, ...]:
        # Models may be added after the app was made; their specs never change.
        return tuple(id(spec) for spec in self._models)


def _text_steps(routes: Iterable[Route], models: Iterable[ModelSpec], settings: Settings) -> Generator[None, None, bytes]:
    document = yield from openapi_steps(routes, models, settings)
    pieces = []
    for piece in _pieces(document, _DEPTH):
        pieces.append(piece)
        yield
    return b"".join(pieces)


def _pieces(value: Any, depth: int) -> Iterator[bytes]:
    """The JSON text of a value in pieces. Members that are written are taken out, so that not all of it is freed at once."""
    if not depth or not isinstance(value, dict) or not value:
        yield _dumps(value)
        return
    before = b"{"
    for name in list(value):
        yield before + _dumps(name) + b":"
        yield from _pieces(value.pop(name), depth - 1)
        before = b","
    yield b"}"


def _dumps(value: Any) -> bytes:
    """As Starlette writes JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
