"""How a route is declared: what it takes and answers, for the router and for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from longrun.api.http.parameters import Parameter
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


def gives(shape: Shape, description: str, *headers: str, **others: Shape) -> Answer:
    """An answer that is JSON of this shape; `others`: see `MEDIA_TYPES`."""
    return Answer(description, {"application/json": shape} | {MEDIA_TYPES[name]: each for name, each in others.items()}, headers)


MEDIA_TYPES = {"stream": "text/event-stream", "array": "application/x-npy"}


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
    """One method of one path.

    Args:
        method: of HTTP.
        path: below the prefix; a part in braces is a parameter.
        handler: answers.
        summary: what it does, in a few words.
        tag: groups the routes in the document.
        answers: by status, problems apart.
        problems: statuses of the problems it may answer with, beside those of every route.
        parameters: what the handler reads of the query and the headers.
        body: of the request.
        description: more words.
        key: whether an API key is needed, where the service has some; `signed`: or a signed URL.
        prefix: stands before the path.
        id: `operationId`; the handler's name.
        mentions: shapes that only the texts name.
        each_model: makes the route of one model, for the document; the model's name takes the place of `{model}`.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter[Any], ...] = ()
    body: Body | None = None
    description: str = ""
    key: Literal["needed", "signed", "none"] = "needed"
    prefix: str = API_PREFIX
    id: str = ""
    mentions: tuple[type, ...] = ()
    each_model: Callable[[Route, Any], Route] | None = None

    @property
    def full_path(self) -> str:
        """With its prefix."""
        return self.prefix + self.path
