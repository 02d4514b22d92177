"""Calls with their retries, and the paths they go to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from longrun.client.http.retry import Rules, Tries, no_success
from longrun.client.http.steps import Answer, Flow, Give, Json, Request, send
from longrun.errors import CallError

_PAGE = 100  #: jobs that the server gives at once, at most


def path_of(kind: str, name: str, rest: str = "") -> str:
    """Path of a resource, or of what is below it, after `/api/v1`: `path_of("jobs", "job_1", "/cancel")`."""
    return f"/{kind}/{quote(name, safe='')}{rest}"


def ask(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Request:
    """A request with a JSON body (None = without one)."""
    if body is None:
        return Request(method, path, headers or {})
    return Request(method, path, {"Content-Type": "application/json", **(headers or {})}, to_json(body))


def to_json(value: Any) -> bytes:
    """JSON text; what has `model_dump`, as pydantic's models do, is dumped first. Raises TypeError for what JSON cannot hold."""

    def dump(each: Any) -> Any:
        if hasattr(each, "model_dump"):
            return each.model_dump(mode="json", exclude_unset=True)
        if isinstance(each, Mapping):
            return dict(each)
        raise TypeError(f"{type(each).__name__} is no JSON value")

    return json.dumps(value, default=dump).encode()


def call(rules: Rules, request: Request, until: float | None = None) -> Flow[Answer]:
    """One request, tried again while the server is away or too busy; the answer is 2xx or 304.

    Args:
        rules: for how long.
        request: what to ask.
        until: no try begins after that, by the rules' clock.

    Raises:
        ApiError, Unreachable
    """
    tries = Tries(rules, until)
    while True:
        reply = yield from send(request)
        if isinstance(reply, Answer) and (200 <= reply.status < 300 or reply.status == 304):
            return reply
        try:
            yield from tries.wait(reply)
        except CallError as error:
            if key := request.headers.get("Idempotency-Key", ""):
                # A refusal such as 422 is final: an earlier try with the same body was refused as well.
                error.idempotency_key, error.may_exist = key, tries.doubtful and not (isinstance(reply, Answer) and reply.status < 500)
            raise


def call_json(rules: Rules, request: Request) -> Flow[Any]:
    """The JSON of an answer; None when it has no body. Raises ApiError, Unreachable."""
    answer = yield from call(rules, request)
    return body_of(answer)


def get(rules: Rules, path: str) -> Flow[Json]:
    """The JSON object that is at a path. Raises ApiError, Unreachable."""
    body: Json = yield from call_json(rules, Request("GET", path))
    return body


def body_of(answer: Answer) -> Any:
    """The JSON of an answer; None when it has no body. Raises ApiError for something else, such as the page of a proxy."""
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise no_success(answer, {}) from None


def delete(rules: Rules, path: str) -> Flow[None]:
    """Erase an ended job, or a file. Raises ApiError, Unreachable."""
    tries = Tries(rules)
    while True:
        reply = yield from send(Request("DELETE", path))
        # Gone after a try whose answer was lost: that was us.
        if isinstance(reply, Answer) and (reply.status < 300 or (reply.status == 410 and tries.doubtful)):
            return
        yield from tries.wait(reply)


def listing(rules: Rules, where: str, filters: Mapping[str, str | None], limit: int | None) -> Flow[None]:
    """Give the jobs of a listing, page by page. Raises ApiError, Unreachable.

    Args:
        rules: for how long each page is tried again.
        where: `/jobs` or `/dead-letters`.
        filters: query parameters; None = no such filter.
        limit: how many at most; None = all.
    """
    chosen = {name: value for name, value in filters.items() if value is not None}
    left = _PAGE if limit is None else limit
    path: str | None = f"{where}?{urlencode({**chosen, 'limit': min(left, _PAGE)})}"
    while path is not None and left > 0:
        page = yield from call_json(rules, Request("GET", path))
        for job in page["jobs"][: None if limit is None else left]:
            yield Give(job)
        left -= 0 if limit is None else len(page["jobs"])
        path = f"{where}?{urlsplit(page['next']).query}" if page.get("next") else None
