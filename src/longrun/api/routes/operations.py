"""What operators ask: dead letters, queues, workers, counters, health and metrics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from longrun.api import metrics
from longrun.api.answers import json_response, read_body, tenant_of
from longrun.api.resources import parts_of
from longrun.api.routes.jobs import listing
from longrun.errors import LongrunError, ValidationFailed
from longrun.service import control, overview
from longrun.service.request import pointer

_log = structlog.get_logger("longrun.api")


class RedriveRequest(BaseModel):
    """Which dead letters to retry: by `ids`, by `model` and `code`, or `all`; 1,000 at most are retried in one call."""

    model_config = ConfigDict(extra="forbid", strict=True, title="RedriveRequest")

    ids: Annotated[list[str], Field(min_length=1, max_length=control.MOST)] | None = Field(None, description="Ids of dead letters.")
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="Dead letters of this model.")
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="Dead letters whose error has this code.")
    all: Literal[True] | None = Field(None, description="Every dead letter.")

    @model_validator(mode="after")
    def _one_way(self) -> RedriveRequest:
        ways = [self.ids is not None, self.model is not None or self.code is not None, self.all is not None]
        if sum(ways) != 1:
            raise ValueError("give either `ids`, or `model` and/or `code`, or `all`")
        return self


async def list_dead_letters(request: Request) -> Response:
    """200 and a page of failed jobs that nobody has retried, latest first."""
    return await listing(request, "dead")


async def redrive(request: Request) -> Response:
    """200 and which dead letters became which new jobs."""
    parts, tenant = parts_of(request), tenant_of(request)
    asked = _parse_redrive(await read_body(request))
    if asked.ids is not None:
        done = await control.redrive(parts, tenant, asked.ids)
    else:
        done = await control.redrive_matching(parts, tenant, model=asked.model, code=asked.code)
    redriven = [{"id": old, "job_id": new} for old, new in done.jobs.items()]
    skipped = [{"id": old, "code": code} for old, code in done.skipped.items()]
    return json_response({"redriven": redriven, "skipped": skipped, "left": done.left})


def _parse_redrive(body: Any) -> RedriveRequest:
    try:
        return RedriveRequest.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:50]
        errors = [{"pointer": pointer(each["loc"]), "detail": each["msg"].removeprefix("Value error, ")} for each in found]
        raise ValidationFailed("The request is not valid.", errors=errors) from None


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
    """200 when the store answers, 503 when it does not; with the number of workers, which may be 0."""
    try:
        parts = parts_of(request)
        seen = await overview.look(parts)
    except LongrunError as error:
        _log.warning("not ready", reason=str(error))
        return json_response({"ready": False, "checks": {"store": "does not answer"}, "workers": 0}, 503, {"Retry-After": "2"})
    return json_response({"ready": True, "checks": {"store": "ok"}, "workers": len(seen.workers)})


async def get_metrics(request: Request) -> Response:
    """200 and the figures for Prometheus."""
    parts = parts_of(request)
    text = metrics.render(metrics.families(parts, await overview.look(parts)))
    return Response(text, 200, {"Cache-Control": "no-store"}, metrics.CONTENT_TYPE)
