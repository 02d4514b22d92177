"""Routes of one model: the document has a path for each, so that generated clients and forms know its input and output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from longrun.api.http.forms import OPTIONS
from longrun.api.http.routing import BINARY, Answer, Body, Route
from longrun.api.openapi.components import Components, Schema, ref
from longrun.models import ModelSpec
from longrun.service.request import BatchOptions, SubmitRequest

_OWN = ("Input", "Output", "Request", "Job", "Form", "Batch")
_FILES: tuple[Schema, ...] = (dict(BINARY), {"type": "array", "items": dict(BINARY)})


@dataclass(frozen=True, slots=True)
class Described:
    """A model whose components, `<title>Input` and so on, are made. `form`: the schema of a submit as a form."""

    spec: ModelSpec
    title: str
    form: Schema


def describe(models: Iterable[ModelSpec], components: Components) -> Iterator[Described]:
    """Make the components of all models, one after the other."""
    options, beside = _members(SubmitRequest, components), _members(BatchOptions, components)
    del options["input"]
    for spec in models:
        yield _describe(spec, options, beside, components)


def submit(route: Route, model: Described) -> Route:
    """POST of a job of the model."""
    spec, title, shown = model.spec, model.title, "application/json"
    answers = {
        status: Answer(each.description, {**each.content, shown: ref(f"{title}Job")}, each.headers)
        for status, each in route.answers.items()
    }
    # OpenAPI 3.1, Encoding Object: files are sent as they are, every other field as JSON that says so.
    members: dict[str, Schema] = model.form["properties"]
    encoding = {name: {"contentType": "application/octet-stream" if each in _FILES else shown} for name, each in members.items()}
    body = Body({shown: ref(f"{title}Request"), "multipart/form-data": ref(f"{title}Form")}, encoding={"multipart/form-data": encoding})
    return _own(route, spec, id=f"submit_{spec.name}", summary=spec.title, description=spec.description, answers=answers, body=body)


def submit_batch(route: Route, model: Described) -> Route:
    """POST of a batch of the model."""
    assert route.body is not None
    body = Body({**route.body.content, "application/json": ref(f"{model.title}Batch")})
    return _own(route, model.spec, id=f"submit_{model.spec.name}_batch", summary=f"{model.spec.title}: many inputs", body=body)


def _own(route: Route, spec: ModelSpec, **more: Any) -> Route:
    return replace(route, path=route.path.replace("{model}", spec.name), each_model=None, **more)


def _describe(spec: ModelSpec, options: dict[str, Schema], beside: dict[str, Schema], components: Components) -> Described:
    made, title = components.schemas, _free_title(spec.name, components)
    given = components.hoisted(spec.input.json_schema(), f"{title}Input")
    output = components.hoisted(spec.output.json_schema(), f"{title}Output")
    made[f"{title}Request"] = _closed({"input": given, **options}, "input")
    made[f"{title}Job"] = {"allOf": [ref("Job"), {"properties": {"output": {"anyOf": [output, {"type": "null"}]}}}]}
    made[f"{title}Form"] = form = _form(spec, components.resolved(given), options)
    inputs = {"type": "array", "items": given, "minItems": 1}
    file = {"type": "string", "description": "id of a file of JSON lines (POST /files)"}
    made[f"{title}Batch"] = {"oneOf": [inputs, _closed({"inputs": inputs, **beside}, "inputs"), _closed({"file": file, **beside}, "file")]}
    return Described(spec, title, form)


def _members(kind: type, components: Components) -> dict[str, Schema]:
    """The members of a request, which is itself no component: each model has its own."""
    members: dict[str, Schema] = components.resolved(components.schema(kind))["properties"]
    del components.schemas[kind.__name__]
    return members


def _closed(members: dict[str, Schema], *required: str) -> Schema:
    closed: Schema = {"type": "object", "properties": members, "additionalProperties": False}
    return closed | {"required": list(required)} if required else closed


def _form(spec: ModelSpec, schema: Schema, options: dict[str, Schema]) -> Schema:
    members = dict(schema.get("properties", {}))
    for name, (_, many) in spec.input.file_rules.items():
        members[name] = _FILES[many]
    members[OPTIONS] = _closed(options) | {"description": "The JSON body without `input`."}
    # A model may allow more fields than it names; then the form does too.
    more: Schema = {name: schema[name] for name in ("required", "additionalProperties") if name in schema}
    return {"type": "object", "properties": members, **more}


def _free_title(name: str, components: Components) -> str:
    """What the components of a model begin with; `a-b` and `a_b` read the same, so the second gets a number."""
    title = "".join(part.capitalize() for part in re.split(r"[-_]", name))
    free, number = title, 1
    while any(f"{free}{end}" in components.schemas for end in _OWN):
        number += 1
        free = f"{title}{number}"
    return free
