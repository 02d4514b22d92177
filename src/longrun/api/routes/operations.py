"""What operators ask: dead letters, queues, workers, counters, health and metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api import metrics
from longrun.api.http.answers import json_response, read_body
from longrun.api.http.routing import TEXT, Answer, Routes, gives, takes
from longrun.api.resources import caller_of, parts_of, resources_of
from longrun.api.routes.jobs import LISTING, listing
from longrun.errors import LongrunError
from longrun.log import Log
from longrun.observe.output import lost_lines
from longrun.service import control, overview
from longrun.service.losses import sentence
from longrun.service.read import Filters, parse_cursor
from longrun.service.request import Body, at_most, parsed

_READY = {200: gives(wire.Ready, "It does, and is."), 503: gives(wire.Ready, "It does not, or is not.", "Retry-After")}
routes = Routes("operations")


_log = Log("longrun.api")


class RedriveRequest(Body):
    """Which dead letters to retry: by `ids`, by `model`, `code` and `tag`, or `all`; 1,000 at most in one call.

    Unless they are named by `ids`, go on with `cursor` = `next` of the answer before, until it is null.
    """

    ids: Annotated[list[str], at_most(control.MOST), Field(min_length=1, max_length=control.MOST)] | None = Field(
        None, description="Ids of dead letters."
    )
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


@routes("GET", "/dead-letters", {200: gives(wire.JobPage, "Failed jobs that nobody has retried.", "Link")}, (422,), LISTING)
async def list_dead_letters(request: Request) -> Response:
    """Failed jobs, latest first."""
    return await listing(request, "dead", "/dead-letters")


@routes("POST", "/dead-letters/redrive", {200: gives(wire.Redriven)}, (422, 507), body=takes(RedriveRequest))
async def redrive_dead_letters(request: Request) -> Response:
    """Retry dead letters."""
    caller = caller_of(request)
    asked = parsed(RedriveRequest, await read_body(request, caller.settings.max_items))
    if asked.ids is not None:
        done = await control.redrive(caller, asked.ids)
    else:
        if asked.cursor is not None:
            parse_cursor(asked.cursor, "/cursor")
        filters = Filters(model=asked.model, code=asked.code, tag=asked.tag)
        done = await control.redrive_matching(caller, filters, cursor=asked.cursor)
    return json_response(done)


@routes("GET", "/queues", {200: gives(wire.QueueList)})
async def get_queues(request: Request) -> Response:
    """How much waits where."""
    parts = parts_of(request)
    return json_response(overview.queues(parts, await overview.look(parts)))


@routes("GET", "/workers", {200: gives(wire.WorkerList)})
async def get_workers(request: Request) -> Response:
    """Who runs what.

    Where keys are needed, the ids of jobs are left out: they may be another tenant's.
    """
    parts = parts_of(request)
    seen = await overview.look(parts)
    return json_response(overview.workers(seen, jobs=not parts.settings.api_keys))


@routes("GET", "/stats", {200: gives(wire.Stats)})
async def get_stats(request: Request) -> Response:
    """Counts and times per model."""
    parts = parts_of(request)
    return json_response(overview.stats(parts, await overview.look(parts)))


@routes("GET", "/scale/{queue}", {200: gives(wire.Scale)}, (404,))
async def get_scale(request: Request) -> Response:
    """How much there is to do in a queue."""
    parts = parts_of(request)
    return json_response(overview.scale(parts, await overview.look(parts), request.path_params["queue"]))


@routes("GET", "/livez", {200: gives(wire.Live)}, key="none", prefix="")
async def get_livez(request: Request) -> Response:
    """Whether the process answers."""
    return json_response(wire.Live(live=True))


@routes("GET", "/readyz", _READY, key="none", prefix="")
async def get_readyz(request: Request) -> Response:
    """Whether the store answers and is safe.

    A blob store that is away is shown and is no reason for 503: all that needs no file goes on. Nor is a loss of the last day (`lost`).
    """
    if resources_of(request).stopping:
        return json_response(wire.Ready(ready=False, checks={"api": "stopping"}), 503, {"Retry-After": "2"})
    try:
        parts = parts_of(request)
        seen = await overview.look(parts)
        _, files = await asyncio.gather(parts.admission.know(), parts.storage_health.checks())
    except LongrunError as error:
        _log.warning("not ready", reason=str(error))
        return json_response(wire.Ready(ready=False, checks={"store": "does not answer"}, workers=0), 503, {"Retry-After": "2"})
    loss, lines = parts.store.losses.latest, lost_lines()
    lost = ({} if loss is None else {"lost": sentence(loss)}) | ({"log": f"{lines} lines could not be written"} if lines else {})
    checks = parts.admission.checks() | files | lost | seen.trouble
    answer = wire.Ready(ready=not parts.admission.closed, checks=checks, workers=len(seen.workers))
    return json_response(answer, 503, {"Retry-After": "30"}) if parts.admission.closed else json_response(answer)


@routes("GET", "/metrics", {200: Answer("The figures.", {"text/plain": TEXT})}, prefix="")
async def get_metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    parts = parts_of(request)
    text = metrics.render(metrics.families(parts, await overview.look(parts)))
    return Response(text, 200, {"Cache-Control": "no-store"}, metrics.CONTENT_TYPE)
