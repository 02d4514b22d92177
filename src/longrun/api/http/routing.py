"""How a route is declared: what it takes and answers, for the router and for the OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from longrun.api.http.parameters import Parameter
from longrun.jobs import npy
from longrun.version import API_PREFIX

Handler = Callable[[Request], Awaitable[Response]]
#: What a body looks like: a struct of `longrun.wire`, a pydantic model, or a JSON schema.
Shape = type | Mapping[str, Any]
#: A file.
BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
TEXT: Mapping[str, Any] = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a route: its body by media type, none when there is none, and the headers that it may have."""

    description: str
    content: Mapping[str, Shape] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


def gives(shape: Shape, description: str = "", *headers: str, stream: Shape | None = None, array: Shape | None = None) -> Answer:
    """An answer that is JSON of this shape, described by the shape's own words when nothing else is said.

    Args:
        shape: of the JSON.
        description: what it means.
        headers: that the answer may have.
        stream: of an event, when events can be asked for instead.
        array: of the bytes, when the .npy format can be asked for instead.
    """
    content = {"application/json": shape, "text/event-stream": stream, npy.MEDIA_TYPE: array}
    words = description or (shape.__doc__ or "").partition("\n")[0]
    return Answer(words, {media_type: each for media_type, each in content.items() if each is not None}, headers)


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request, by media type; `encoding`: how the parts of forms are sent, by media type too."""

    content: Mapping[str, Shape]
    required: bool = True
    encoding: Mapping[str, Any] = field(default_factory=dict)


def takes(shape: Shape, *, required: bool = True) -> Body:
    """A body that is JSON of this shape."""
    return Body({"application/json": shape}, required)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `routes("GET", "/jobs", answers, …)` above its handler declares it, see `Routes`.

    Args:
        method: of HTTP.
        path: below the prefix; a part in braces is a parameter.
        answers: by status, problems apart.
        problems: statuses of the problems it may answer with, beside those of every route.
        parameters: what the handler reads of the query and the headers.
        body: of the request.
        key: whether an API key is needed, where the service has some; `signed`: or a signed URL.
        prefix: stands before the path.
        mentions: shapes that only the texts name.
        each_model: makes the route of one model, for the document; the model's name takes the place of `{model}`.
        handler: answers. Its docstring is `summary` and `description`, its name the `id`.
        tag: groups the routes in the document.
    """

    method: str
    path: str
    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter[Any], ...] = ()
    _: KW_ONLY
    body: Body | None = None
    key: Literal["needed", "signed", "none"] = "needed"
    prefix: str = API_PREFIX
    mentions: tuple[type, ...] = ()
    each_model: Callable[[Route, Any], Route] | None = None
    handler: Handler
    tag: str
    id: str
    summary: str
    description: str

    @property
    def full_path(self) -> str:
        """With its prefix."""
        return self.prefix + self.path


class Routes(list[Route]):
    """The routes of a tag. An instance declares them, as a decorator of their handlers that takes the first arguments of `Route`."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self._tag = tag

    def __call__(self, *declared: Any, **more: Any) -> Callable[[Handler], Handler]:
        """Declare a route."""

        def declare(handler: Handler) -> Handler:
            summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n")
            more["handler"], more["tag"], more["id"] = handler, self._tag, handler.__name__
            self.append(Route(*declared, **more, summary=summary.rstrip("."), description=description.strip()))
            return handler

        return declare
