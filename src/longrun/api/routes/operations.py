"""What operators ask: dead letters, queues, workers, counters, health and metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from longrun.api import metrics
from longrun.api.answers import json_response, read_body
from longrun.api.resources import Resources, caller_of, parts_of
from longrun.api.routes.jobs import listing
from longrun.errors import LongrunError, ValidationFailed
from longrun.service import control, overview
from longrun.service.read import Filters, parse_cursor
from longrun.service.request import findings

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
    return await listing(request, "dead")


async def redrive(request: Request) -> Response:
    """200 and which dead letters became which new jobs."""
    caller = caller_of(request)
    asked = _parse_redrive(await read_body(request))
    if asked.ids is not None:
        done = await control.redrive(caller, asked.ids)
    else:
        if asked.cursor is not None:
            parse_cursor(asked.cursor, "/cursor")
        filters = Filters(model=asked.model, code=asked.code, tag=asked.tag)
        done = await control.redrive_matching(caller, filters, cursor=asked.cursor)
    redriven = [{"id": old, "job_id": new} for old, new in done.jobs.items()]
    skipped = [{"id": old, "code": code} for old, code in done.skipped.items()]
    return json_response({"redriven": redriven, "skipped": skipped, "left": done.left, "next": done.next})


def _parse_redrive(body: Any) -> RedriveRequest:
    try:
        return RedriveRequest.model_validate(body)
    except ValidationError as error:
        raise ValidationFailed("The request is not valid.", errors=findings(error)) from None


async def get_queues(request: Request) -> Response:
    """200 and how much waits where."""
    parts = parts_of(request)
    return json_response({"queues": overview.queues(parts, await overview.look(parts))})


async def get_workers(request: Request) -> Response:
    """200 and what the workers announce. With keys, job ids are left out: they may be another tenant's."""
    parts = parts_of(request)
    seen = await overview.look(parts)
    return json_response({"workers": overview.workers(seen, jobs=not parts.settings.api_keys)})


async def get_stats(request: Request) -> Response:
    """200 and counts and times per model."""
    parts = parts_of(request)
    return json_response({"models": overview.stats(parts, await overview.look(parts))})


async def get_scale(request: Request) -> Response:
    """200 and how much there is to do in a queue, for an autoscaler."""
    parts = parts_of(request)
    return json_response(overview.scale(parts, await overview.look(parts), request.path_params["queue"]))


async def get_livez(request: Request) -> Response:
    """200: this process answers."""
    return json_response({"live": True})


async def get_readyz(request: Request) -> Response:
    """200 when the store answers and jobs may be accepted, else 503; with the number of workers, which may be 0.

    A blob store that is away is shown and is no reason for 503: all that needs no file goes on.
    """
    resources: Resources = request.app.state.longrun
    if resources.stopping:
        return json_response({"ready": False, "checks": {"api": "stopping"}}, 503, {"Retry-After": "2"})
    try:
        parts = parts_of(request)
        seen = await overview.look(parts)
        _, files = await asyncio.gather(parts.gate.know(), parts.storage_health.checks())
    except LongrunError as error:
        _log.warning("not ready", reason=str(error))
        return json_response({"ready": False, "checks": {"store": "does not answer"}, "workers": 0}, 503, {"Retry-After": "2"})
    body = {"ready": not parts.gate.closed, "checks": parts.gate.checks() | files | seen.trouble, "workers": len(seen.workers)}
    return json_response(body, 503, {"Retry-After": "30"}) if parts.gate.closed else json_response(body)


async def get_metrics(request: Request) -> Response:
    """200 and the figures for Prometheus."""
    parts = parts_of(request)
    text = metrics.render(metrics.families(parts, await overview.look(parts)))
    return Response(text, 200, {"Cache-Control": "no-store"}, metrics.CONTENT_TYPE)
