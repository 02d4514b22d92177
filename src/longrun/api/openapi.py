"""The OpenAPI 3.1 document: one path a model, so that generated clients and forms know each model's input and output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from longrun.api.openapi_batches import batch_paths, batch_request, batch_schemas, submit_batch
from longrun.api.openapi_files import BINARY, file_paths, file_schemas, form_encoding, form_schema
from longrun.api.openapi_parts import ALWAYS, PREFER, header, ok, operation, problem, query
from longrun.api.openapi_webhooks import webhook_paths, webhook_schemas
from longrun.api.routes.operations import RedriveRequest
from longrun.api.schemas import COMPONENTS, TEXT, Schema, nullable, ref
from longrun.jobs.npy import MEDIA_TYPE
from longrun.models import ModelSpec
from longrun.service.request import PolicyRequest, SubmitRequest
from longrun.settings import Settings
from longrun.version import API_PREFIX, VERSION

_REF = "#/$defs/"

_JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "The job's id."}


def build_openapi(models: Iterable[ModelSpec], settings: Settings) -> dict[str, Any]:
    """The document for these models."""
    schemas = dict(COMPONENTS)
    schemas["PolicyRequest"] = PolicyRequest.model_json_schema()
    schemas["RedriveRequest"] = RedriveRequest.model_json_schema()
    schemas |= webhook_schemas() | file_schemas() | batch_schemas()
    keyed = bool(settings.api_keys)
    paths = _job_paths() | _operator_paths() | webhook_paths() | file_paths() | batch_paths()
    for spec in models:
        title = _component(spec.name, schemas)
        paths[f"{API_PREFIX}/models/{spec.name}/jobs"] = {"post": _submit(spec, title, schemas)}
        schemas[f"{title}Batch"] = batch_request(f"{title}Input")
        paths[f"{API_PREFIX}/models/{spec.name}/batches"] = {"post": submit_batch(spec, f"{title}Batch")}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Longrun", "version": VERSION, "description": "Submit a job, then poll, wait, stream or be told."},
        "paths": {
            path: {verb: _with_doors(each, path, keyed=keyed) for verb, each in verbs.items()} for path, verbs in sorted(paths.items())
        },
        "components": {"schemas": schemas},
    }
    if keyed:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _with_doors(described: dict[str, Any], path: str, *, keyed: bool) -> dict[str, Any]:
    """The operation with the answers that every route can give."""
    is_open = path in ("/livez", "/readyz")
    codes = ALWAYS if not keyed or is_open else (*ALWAYS, 401)
    responses = {str(code): problem(code) for code in codes} | described["responses"]
    more: dict[str, Any] = {"security": []} if keyed and is_open else {}
    if keyed and path.endswith("/content"):
        more = {"security": [{"bearer": []}, {}]}  # a signed URL needs no key
    return described | {"responses": dict(sorted(responses.items()))} | more


def _submit(spec: ModelSpec, title: str, schemas: dict[str, Schema]) -> dict[str, Any]:
    schemas[f"{title}Input"] = _hoisted(spec.input.json_schema(), f"{title}Input", schemas)
    schemas[f"{title}Output"] = _hoisted(spec.output.json_schema(), f"{title}Output", schemas)
    schemas[f"{title}Request"] = _request(f"{title}Input")
    schemas[f"{title}Job"] = {"allOf": [ref("Job"), {"properties": {"output": {"anyOf": [ref(f"{title}Output"), {"type": "null"}]}}}]}
    form = form_schema(spec, _named(schemas[f"{title}Input"], schemas), schemas[f"{title}Request"])
    schemas[f"{title}Form"] = form
    job, headers = ref(f"{title}Job"), ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
    ended = ok(job, "With `Prefer: wait`: the job has ended, however it did. Or the event stream.", headers)
    ended["content"]["text/event-stream"] = {"schema": ref("StreamedEvent")}
    return operation(
        f"submit_{spec.name}",
        spec.title,
        "models",
        {200: ended, 202: ok(job, "Accepted.", headers)},
        *(404, 408, 422, 507),
        description=spec.description,
        parameters=[
            header("Idempotency-Key", "The same key and body: the same job.", minLength=1, maxLength=255),
            header("Prefer", PREFER),
        ],
        requestBody={
            "required": True,
            "content": {
                "application/json": {"schema": ref(f"{title}Request")},
                "multipart/form-data": {"schema": ref(f"{title}Form"), "encoding": form_encoding(form)},
            },
        },
    )


def _named(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema itself, where it is only a reference: a model that contains itself."""
    target = str(schema.get("$ref", "")).rpartition("/")[2]
    return schemas[target] if target else schema


def _request(input_name: str) -> Schema:
    schema = SubmitRequest.model_json_schema()
    members = {name: member for name, member in schema["properties"].items() if name != "input"}
    members["policy"] = ref("PolicyRequest")
    members["webhook"] = nullable(ref("WebhookRequest"))
    return {
        "type": "object",
        "properties": {"input": ref(input_name), **members},
        "required": ["input"],
        "additionalProperties": False,
    }


def _component(name: str, schemas: dict[str, Schema]) -> str:
    """A component name for a model; `a-b` and `a_b` read the same, so the second gets a number."""
    title = "".join(part.capitalize() for part in re.split(r"[-_]", name))
    free, number = title, 1
    while f"{free}Input" in schemas:
        number += 1
        free = f"{title}{number}"
    return free


def _hoisted(schema: Any, owner: str, schemas: dict[str, Schema]) -> Any:
    """The schema with its `$defs` moved to the components, named after their owner."""
    if not isinstance(schema, dict):
        return schema
    names = {name: f"{owner}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)}" for name in schema.get("$defs", {})}
    for name, definition in schema.get("$defs", {}).items():
        schemas[names[name]] = _relinked(definition, names)
    return _relinked({key: value for key, value in schema.items() if key != "$defs"}, names)


def _relinked(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_relinked(each, names) for each in node]
    if isinstance(node, str) and node.startswith(_REF) and node.removeprefix(_REF) in names:
        return f"#/components/schemas/{names[node.removeprefix(_REF)]}"
    if isinstance(node, dict):
        # What an author gives as data is no schema, whatever it looks like.
        return {key: value if key in ("default", "const", "enum", "examples") else _relinked(value, names) for key, value in node.items()}
    return node


_GONE = (404, 410)


def _job_paths() -> dict[str, dict[str, Any]]:
    root = f"{API_PREFIX}/jobs/{{job_id}}"
    listing = {"get": operation("list_jobs", "Own jobs, newest first", "jobs", {200: _page()}, 422, parameters=_filters())}
    return (
        {root: _one_job(), f"{API_PREFIX}/jobs": listing}
        | {root + tail: {"get": each} for tail, each in _job_reads().items()}
        | {root + tail: {"post": each} for tail, each in _job_commands().items()}
    )


def _one_job() -> dict[str, Any]:
    conditions = [_JOB_ID, header("Prefer", PREFER), header("If-None-Match", "Versions that the caller has.")]
    answers = {200: ok(ref("Job"), "The job.", ("ETag", "Retry-After")), 304: {"description": "Not changed."}}
    erased = {204: {"description": "Erased."}}
    return {
        "get": operation("get_job", "One job", "jobs", answers, *_GONE, parameters=conditions),
        "delete": operation("delete_job", "Erase an ended job", "jobs", erased, *_GONE, 409, parameters=[_JOB_ID]),
    }


def _job_reads() -> dict[str, dict[str, Any]]:
    def read(name: str, summary: str, answers: dict[int, Any]) -> dict[str, Any]:
        return operation(name, summary, "jobs", answers, *_GONE, parameters=[_JOB_ID])

    failed = {"description": "It did not succeed.", "content": {"application/problem+json": {"schema": ref("JobUnsuccessful")}}}
    file = {"description": "The output is one file: it is there.", "headers": {"Location": {"schema": TEXT}}}
    output = ok({}, "The output. A large array is given in .npy format to those who ask for that.")
    output["content"][MEDIA_TYPE] = {"schema": BINARY}
    result = {200: output, 303: file, 202: ok(ref("Job"), "Not yet."), 424: failed}
    return {
        "/result": read("get_result", "The output itself", result),
        "/output": read("get_output", "The output so far", {200: ok(ref("OutputSoFar"), "So far.")}),
        "/attempts": read("get_attempts", "Who ran it, and how it went", {200: ok(ref("AttemptList"), "Attempts.")}),
        "/events": _follow(),
        "/ws": _socket(),
    }


def _follow() -> dict[str, Any]:
    seen = [
        _JOB_ID,
        query("after", "The last seq that the caller has."),
        query("types", "Comma-separated event types."),
        header("Last-Event-ID", "As `after`; wins over it."),
    ]
    stream = ok(ref("EventPage"), "The events.")
    stream["content"]["text/event-stream"] = {"schema": ref("StreamedEvent")}
    over = {"description": "Ended, and nothing is left."}
    return operation("get_events", "Follow a job", "jobs", {200: stream, 204: over}, *_GONE, 422, parameters=seen)


def _socket() -> dict[str, Any]:
    """OpenAPI knows no WebSocket: what can be said of one is how its handshake is answered."""
    told = 'Open it as a WebSocket: the events of `/events`, a text frame each. The client may send `{"cancel": true}`, and nothing else.'
    upgraded = {101: {"description": "The handshake of a WebSocket is done."}}
    seen = [_JOB_ID, query("after", "The last seq that the caller has."), query("types", "Comma-separated event types.")]
    return operation("open_socket", "Follow a job over a WebSocket", "jobs", upgraded, 426, *_GONE, 422, description=told, parameters=seen)


def _job_commands() -> dict[str, dict[str, Any]]:
    job, of = ref("Job"), {"parameters": [_JOB_ID]}
    canceled = {200: ok(job, "It has ended."), 202: ok(job, "It is being stopped.")}
    retried = {202: ok(job, "The new job.", ("Location",))}
    return {
        "/cancel": operation("cancel_job", "Stop a job", "jobs", canceled, *_GONE, **of),
        "/retry": operation("retry_job", "Run it again as a new job", "jobs", retried, *_GONE, 409, 507, **of),
    }


def _page() -> dict[str, Any]:
    return ok(ref("JobPage"), "A page.", ("Link",))


def _filters() -> list[dict[str, Any]]:
    return [
        query("model", "Jobs of this model."),
        query("status", "Jobs in this state."),
        query("tag", "Jobs with this tag."),
        query("code", "Jobs whose error has this code."),
        query("created_after", "Jobs created after this time (RFC 3339)."),
        query("cursor", "From `next` of the page before."),
        query("limit", "Jobs a page, 20 when not given.", type="integer", minimum=1, maximum=100),
    ]


def _operator_paths() -> dict[str, dict[str, Any]]:
    def one(name: str, summary: str, answer: str, *problems: int, **more: Any) -> dict[str, Any]:
        return {"get": operation(name, summary, "operations", {200: ok(ref(answer), summary)}, *problems, **more)}

    model = {"name": "model", "in": "path", "required": True, "schema": TEXT, "description": "Name of the model."}
    queue = {"name": "queue", "in": "path", "required": True, "schema": TEXT, "description": "Name of the queue."}
    ready = one("get_readyz", "Whether the store answers and is safe", "Ready")
    ready["get"]["responses"]["503"] = ok(ref("Ready"), "It does not, or is not.", ("Retry-After",))
    metrics = {"description": "Figures for Prometheus.", "content": {"text/plain": {"schema": TEXT}}}
    redrive = operation(
        "redrive_dead_letters",
        "Retry dead letters",
        "operations",
        {200: ok(ref("Redriven"), "What became of them.")},
        422,
        507,
        requestBody={"required": True, "content": {"application/json": {"schema": ref("RedriveRequest")}}},
    )
    return {
        f"{API_PREFIX}/models": one("list_models", "Every model", "ModelList"),
        f"{API_PREFIX}/models/{{model}}": one("get_model", "One model", "Model", 404, parameters=[model]),
        f"{API_PREFIX}/dead-letters": one("list_dead_letters", "Failed jobs, latest first", "JobPage", 422, parameters=_filters()),
        f"{API_PREFIX}/dead-letters/redrive": {"post": redrive},
        f"{API_PREFIX}/queues": one("get_queues", "How much waits where", "QueueList"),
        f"{API_PREFIX}/workers": one("get_workers", "Who runs what", "WorkerList"),
        f"{API_PREFIX}/stats": one("get_stats", "Counts and times per model", "Stats"),
        f"{API_PREFIX}/scale/{{queue}}": one("get_scale", "How much there is to do in a queue", "Scale", 404, parameters=[queue]),
        "/livez": one("get_livez", "Whether the process answers", "Live"),
        "/readyz": ready,
        "/metrics": {"get": operation("get_metrics", "Figures for Prometheus", "operations", {200: metrics})},
    }
