"""The part of the OpenAPI document that is about batches."""

from __future__ import annotations

from typing import Any

from longrun.api.openapi_parts import PREFER, header, in_path, ok, operation, query
from longrun.api.schemas import ANY, BOOLEAN, INTEGER, NUMBER, TEXT, TIME, Schema, array, nullable, record, ref, text
from longrun.models import ModelSpec
from longrun.service.batch_request import BatchOptions, BatchWebhookRequest
from longrun.service.batch_view import STATUSES
from longrun.version import API_PREFIX

_TAG = "batches"
_BATCH_ID = in_path("batch_id", "The batch's id.")
_HOW = (
    "Each input becomes a job, or nothing is accepted. A JSON array of inputs; or an object with `inputs`, or with `file`, the id of a "
    "stored file of JSON lines, and options beside it; or JSON lines, an input each, with the options in the query."
)
_COUNTS = ("total", "pending", "succeeded", "failed", "canceled", "expired")


def batch_schemas() -> dict[str, Schema]:
    """Components: what is asked, and what is answered."""
    batch: dict[str, Schema] = {
        "id": text("`batch_` and 32 hexadecimal digits"),
        "model": TEXT,
        "status": {"enum": list(STATUSES), "description": "treat one that you do not know as unfinished"},
        "terminal": {"type": "boolean", "description": "whether all items have ended"},
        "version": {"type": "integer", "description": "moves on with whatever becomes of an item; also the ETag"},
        "priority": INTEGER,
        "counts": record(dict.fromkeys(_COUNTS, INTEGER), description="Items; `pending` have not ended."),
        "progress": NUMBER | {"description": "share of the items that have ended, 0 to 1"},
        "created_at": TIME,
        "finished_at": nullable(TIME),
        "expires_at": nullable(TIME),
        "tags": array(TEXT),
        "metadata": {"type": "object"},
        "policy": ref("Policy"),
        "webhook": nullable(record({"url": TEXT, "events": array(TEXT)}, description="Who is told of its end.")),
        "urls": record(dict.fromkeys(("self", "results", "cancel"), TEXT)),
    }
    result: dict[str, Schema] = {
        "index": {"type": "integer", "description": "place of the input, from 0"},
        "id": text("of the item's job"),
        "status": text("of the job; `pending`: it is none yet; `gone`: deleted or expired"),
        "output": ANY,
        "partial": BOOLEAN,
        "error": ref("JobProblem"),
    }
    return {
        "Batch": record(batch),
        "BatchPage": record({"batches": array(ref("Batch")), "next": {"type": ["string", "null"], "description": "URL of the next page"}}),
        "BatchResult": record(result, optional=("output", "partial", "error"), description="One line of the results."),
        "BatchWebhookRequest": BatchWebhookRequest.model_json_schema(),
    }


def batch_request(input_name: str) -> Schema:
    """The JSON body of a batch of a model; `input_name`: the component of its input."""
    schema = BatchOptions.model_json_schema()
    members = schema["properties"] | {"policy": ref("PolicyRequest"), "webhook": nullable(ref("BatchWebhookRequest"))}
    inputs = array(ref(input_name)) | {"minItems": 1}
    file = text("id of a file of JSON lines (POST /files)")

    def with_options(name: str, member: Schema) -> Schema:
        return {"type": "object", "properties": {name: member, **members}, "required": [name], "additionalProperties": False}

    return {"oneOf": [inputs, with_options("inputs", inputs), with_options("file", file)]}


def submit_batch(spec: ModelSpec, request: str) -> dict[str, Any]:
    """POST of a batch of a model; `request`: the component of its JSON body."""
    batch, headers = ref("Batch"), ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
    return operation(
        f"submit_{spec.name}_batch",
        f"{spec.title}: many inputs",
        _TAG,
        {200: ok(batch, "With `Prefer: wait`: the batch has ended.", headers), 202: ok(batch, "Accepted.", headers)},
        *(404, 408, 410, 422, 507),
        description=_HOW,
        parameters=[
            header("Idempotency-Key", "The same key, inputs and options: the same batch.", minLength=1, maxLength=255),
            header("Prefer", PREFER),
            query("options", "Of a body that is an array or lines: JSON of the members that stand beside `inputs` otherwise."),
        ],
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": ref(request)}, "application/jsonl": {"schema": {"type": "string"}}},
        },
    )


def batch_paths() -> dict[str, dict[str, Any]]:
    """Every route that is about batches, but those that submit them."""
    root = f"{API_PREFIX}/batches"
    batch = ref("Batch")
    conditions = [_BATCH_ID, header("Prefer", PREFER), header("If-None-Match", "Versions that the caller has.")]
    seen = {200: ok(batch, "The batch.", ("ETag", "Retry-After")), 304: {"description": "Not changed."}}
    canceled = {200: ok(batch, "It has ended."), 202: ok(batch, "It is being stopped.")}
    page = {200: ok(ref("BatchPage"), "A page.", ("Link",))}
    pages = [
        query("cursor", "From `next` of the page before."),
        query("limit", "Batches a page, 20 when not given.", type="integer", minimum=1, maximum=100),
    ]
    return {
        root: {"get": operation("list_batches", "Own batches, newest first", _TAG, page, 422, parameters=pages)},
        f"{root}/{{batch_id}}": {"get": operation("get_batch", "One batch", _TAG, seen, 404, 410, parameters=conditions)},
        f"{root}/{{batch_id}}/results": {"get": _results()},
        f"{root}/{{batch_id}}/cancel": {
            "post": operation("cancel_batch", "Stop a batch", _TAG, canceled, 404, 410, parameters=[_BATCH_ID])
        },
    }


def _results() -> dict[str, Any]:
    # A stream of lines has the schema of each of them.
    lines = {"description": "A line for each item, in the order of the inputs.", "content": {"application/x-ndjson": {"schema": {}}}}
    asked = [
        _BATCH_ID,
        query("partial", "`true`: also before the end, with what is there.", enum=["true", "false"]),
        query("after", "Index of the last item that the caller has.", type="integer", minimum=-1),
        query("limit", "Items, all when not given.", type="integer", minimum=1),
    ]
    answers = {200: lines, 202: ok(ref("Batch"), "Not yet.", ("Retry-After",))}
    told = "Each line is a `BatchResult`."
    return operation("get_batch_results", "What became of the items", _TAG, answers, 404, 410, 422, description=told, parameters=asked)
