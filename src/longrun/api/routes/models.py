"""/models"""

from __future__ import annotations

from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import json_response
from longrun.api.http.routing import Routes, gives
from longrun.api.resources import caller_of
from longrun.models import ModelSpec
from longrun.service.policies import model_policy
from longrun.settings import Settings

routes = Routes("operations")


@routes("GET", "/models", {200: gives(wire.ModelList)})
async def list_models(request: Request) -> Response:
    """Every model."""
    caller = caller_of(request)
    return json_response(wire.ModelList([model_view(spec, caller.settings, caller.base) for spec in caller.models]))


@routes("GET", "/models/{model}", {200: gives(wire.Model)}, (404,))
async def get_model(request: Request) -> Response:
    """One model."""
    caller = caller_of(request)
    return json_response(model_view(caller.models.get(request.path_params["model"]), caller.settings, caller.base))


def model_view(spec: ModelSpec, settings: Settings, base: str) -> wire.Model:
    """A model as callers see it."""
    options = spec.options
    return wire.Model(
        name=spec.name, title=spec.title, description=spec.description, queue=spec.queue,
        streams=spec.streams, batched=spec.batched is not None,
        input_schema=Raw(spec.input.json_schema_text), output_schema=Raw(spec.output.json_schema_text),
        policy=wire.Policy.of(model_policy(options, settings)),
        limits={"max_body": settings.max_body, "max_output": settings.max_output, "max_queued": settings.max_queued},
        options={
            "gpus": options.gpus, "processes": options.processes, "concurrency": spec.concurrency,
            "max_batch_size": None if spec.batched is None else spec.batched.max_size,
        },
        urls={"self": f"{base}/models/{spec.name}", "jobs": f"{base}/models/{spec.name}/jobs"},
    )  # fmt: skip
