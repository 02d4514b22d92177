"""What operators ask: dead letters, queues, workers, counters, health and metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api import metrics
from longrun.api.http.answers import json_response, read_body
from longrun.api.http.routing import TEXT, Answer, Handler, Route, gives, takes
from longrun.api.resources import Resources, caller_of, parts_of
from longrun.api.routes.jobs import LISTING, listing
from longrun.errors import LongrunError
from longrun.service import control, overview
from longrun.service.read import Filters, parse_cursor
from longrun.service.request import parsed

_log = structlog.get_logger("longrun.api")


class RedriveRequest(BaseModel):
    """Which dead letters to retry: by `ids`, by `model`, `code` and `tag`, or `all`; 1,000 at most in one call.

    Unless they are named by `ids`, go on with `cursor` = `next` of the answer before, until it is null.
    """

    model_config = ConfigDict(extra="forbid", strict=True, title="RedriveRequest")

    ids: Annotated[list[str], Field(min_length=1, max_length=control.MOST)] | None = Field(None, description="Ids of dead letters.")
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="Dead letters of this model.")
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="Dead letters whose error has this code.")
    tag: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="Dead letters with this tag.")
    all: Literal[True] | None = Field(None, description="Every dead letter.")
    cursor: str | None = Field(None, description="`next` of the answer before.")

    @model_validator(mode="after")
    def _one_way(self) -> RedriveRequest:
        narrowed = any(each is not None for each in (self.model, self.code, self.tag))
        if sum([self.ids is not None, narrowed, self.all is not None]) != 1:
            raise ValueError("give either `ids`, or any of `model`, `code` and `tag`, or `all`")
        if self.ids is not None and self.cursor is not None:
            raise ValueError("`cursor` does not go with `ids`")
        return self


async def list_dead_letters(request: Request) -> Response:
    """200 and a page of failed jobs that nobody has retried, latest first."""
    return await listing(request, "dead", "/dead-letters")


async def redrive_dead_letters(request: Request) -> Response:
    """200 and which dead letters became which new jobs."""
    caller = caller_of(request)
    asked = parsed(RedriveRequest, await read_body(request))
    if asked.ids is not None:
        done = await control.redrive(caller, asked.ids)
    else:
        if asked.cursor is not None:
            parse_cursor(asked.cursor, "/cursor")
        filters = Filters(model=asked.model, code=asked.code, tag=asked.tag)
        done = await control.redrive_matching(caller, filters, cursor=asked.cursor)
    redriven = [wire.RedrivenJob(old, new) for old, new in done.jobs.items()]
    skipped = [wire.SkippedJob(old, code) for old, code in done.skipped.items()]
    return json_response(wire.Redriven(redriven, skipped, done.left, done.next))


async def get_queues(request: Request) -> Response:
    """200 and how much waits where."""
    parts = parts_of(request)
    return json_response(overview.queues(parts, await overview.look(parts)))


async def get_workers(request: Request) -> Response:
    """200 and what the workers announce. With keys, job ids are left out: they may be another tenant's."""
    parts = parts_of(request)
    seen = await overview.look(parts)
    return json_response(overview.workers(seen, jobs=not parts.settings.api_keys))


async def get_stats(request: Request) -> Response:
    """200 and counts and times per model."""
    parts = parts_of(request)
    return json_response(overview.stats(parts, await overview.look(parts)))


async def get_scale(request: Request) -> Response:
    """200 and how much there is to do in a queue, for an autoscaler."""
    parts = parts_of(request)
    return json_response(overview.scale(parts, await overview.look(parts), request.path_params["queue"]))


async def get_livez(request: Request) -> Response:
    """200: this process answers."""
    return json_response(wire.Live(live=True))


async def get_readyz(request: Request) -> Response:
    """200 when the store answers and jobs may be accepted, else 503; with the number of workers, which may be 0.

    A keeper of files that is away is shown and is no reason for 503: all that needs no file goes on.
    """
    resources: Resources = request.app.state.longrun
    if resources.stopping:
        return json_response(wire.Ready(ready=False, checks={"api": "stopping"}), 503, {"Retry-After": "2"})
    try:
        parts = parts_of(request)
        seen = await overview.look(parts)
        _, files = await asyncio.gather(parts.gate.know(), parts.keeper.checks())
    except LongrunError as error:
        _log.warning("not ready", reason=str(error))
        return json_response(wire.Ready(ready=False, checks={"store": "does not answer"}, workers=0), 503, {"Retry-After": "2"})
    answer = wire.Ready(ready=not parts.gate.closed, checks=parts.gate.checks() | files | seen.trouble, workers=len(seen.workers))
    return json_response(answer, 503, {"Retry-After": "30"}) if parts.gate.closed else json_response(answer)


async def get_metrics(request: Request) -> Response:
    """200 and the figures for Prometheus."""
    parts = parts_of(request)
    text = metrics.render(metrics.families(parts, await overview.look(parts)))
    return Response(text, 200, {"Cache-Control": "no-store"}, metrics.CONTENT_TYPE)


_TAG = "operations"


def _look(path: str, handler: Handler, summary: str, shape: type, *problems: int) -> Route:
    return Route("GET", path, handler, summary, _TAG, {200: gives(shape, summary)}, problems)


_READY = {200: gives(wire.Ready, "It does, and is."), 503: gives(wire.Ready, "It does not, or is not.", "Retry-After")}
ROUTES = [
    Route(
        "GET", "/dead-letters", list_dead_letters, "Failed jobs, latest first", _TAG,
        {200: gives(wire.JobPage, "A page.", "Link")}, (422,), LISTING,
    ),
    Route(
        "POST", "/dead-letters/redrive", redrive_dead_letters, "Retry dead letters", _TAG,
        {200: gives(wire.Redriven, "What became of them.")}, (422, 507), body=takes(RedriveRequest),
    ),
    _look("/queues", get_queues, "How much waits where", wire.QueueList),
    _look("/workers", get_workers, "Who runs what", wire.WorkerList),
    _look("/stats", get_stats, "Counts and times per model", wire.Stats),
    _look("/scale/{queue}", get_scale, "How much there is to do in a queue", wire.Scale, 404),
    Route("GET", "/livez", get_livez, "Whether the process answers", _TAG, {200: gives(wire.Live, "It does.")}, key="none", prefix=""),
    Route("GET", "/readyz", get_readyz, "Whether the store answers and is safe", _TAG, _READY, key="none", prefix=""),
    Route(
        "GET", "/metrics", get_metrics, "Figures for Prometheus", _TAG,
        {200: Answer("Figures for Prometheus.", {"text/plain": TEXT})}, prefix="",
    ),
]  # fmt: skip
