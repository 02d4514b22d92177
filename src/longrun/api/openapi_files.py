"""The part of the OpenAPI document that is about files: their routes, and inputs that are sent as forms."""

from __future__ import annotations

from typing import Any

from longrun.api.http.forms import OPTIONS
from longrun.api.openapi_parts import header, in_path, ok, operation, query
from longrun.api.schemas import INTEGER, TEXT, TIME, Schema, array, nullable, record, ref, text
from longrun.models import ModelSpec
from longrun.version import API_PREFIX

_TAG = "files"
_FILE_ID = in_path("file_id", "The file's id.")
_SIGNED = "Of a signed URL, which needs no key; use such URLs as they are."
#: A file in a form.
BINARY: Schema = {"type": "string", "format": "binary"}


def file_schemas() -> dict[str, Schema]:
    """Components: a file, and where the output of a job is when it is kept as one."""
    what = {"content_type": text("by its bytes"), "size": INTEGER, "digest": text("`sha-256=` and base64")}
    facts = {name: {"type": ["integer", "null"], "description": "of an image"} for name in ("width", "height", "frames")}
    stored = {"id": text("`file_` and 32 hexadecimal digits"), "name": TEXT, **what}
    times = {"created_at": TIME, "expires_at": nullable(TIME)}
    signed = text("opens for whoever has it, for 15 minutes")
    form = record({"file": BINARY}, description="One part is a file, whatever its name.")
    return {
        "File": record({**stored, "format": nullable(TEXT), **facts, **times, "url": signed}),
        "OutputFile": record({"id": TEXT, "url": signed, **what, "name": TEXT}, optional=("name",)),
        "FileForm": form,
    }


def file_paths() -> dict[str, dict[str, Any]]:
    """Every route that is about files."""
    root = f"{API_PREFIX}/files"
    return {root: {"post": _add()}, f"{root}/{{file_id}}": _one(), f"{root}/{{file_id}}/content": {"get": _content()}}


def _add() -> dict[str, Any]:
    body = {"multipart/form-data": {"schema": ref("FileForm")}, "application/octet-stream": {"schema": BINARY}}
    return operation(
        "add_file",
        "Store a file, to be named in inputs",
        _TAG,
        {201: ok(ref("File"), "Stored.", ("Location",))},
        *(408, 413, 415, 422, 507),
        parameters=[query("name", "What the file is called, when it is the body itself.")],
        requestBody={"required": True, "content": body},
    )


def _one() -> dict[str, Any]:
    deleted = {204: {"description": "Hidden. Its bytes go with the last job that needs them."}}
    return {
        "get": operation("get_file", "What is known of a file", _TAG, {200: ok(ref("File"), "The file.")}, 404, 410, parameters=[_FILE_ID]),
        "delete": operation("delete_file", "Delete a file", _TAG, deleted, 404, 410, parameters=[_FILE_ID]),
    }


def _content() -> dict[str, Any]:
    told = ("ETag", "Repr-Digest", "Accept-Ranges", "Content-Disposition")
    part = _bytes("The bytes that were asked for.", *told, "Content-Range")
    elsewhere = {"description": "They are in the bucket.", "headers": {"Location": {"schema": TEXT}}}
    answers = {200: _bytes("The bytes.", *told), 206: part, 304: {"description": "Not changed."}, 307: elsewhere}
    asked = [
        _FILE_ID,
        header("Range", "One range of bytes; several are answered with the whole file."),
        header("If-Range", "The ETag of the file that the range is of."),
        header("If-None-Match", "ETags that the caller has."),
        *(query(name, _SIGNED) for name in ("expires", "kid", "sig")),
    ]
    return operation("get_content", "The bytes of a file", _TAG, answers, 404, 410, 416, parameters=asked)


def _bytes(description: str, *headers: str) -> dict[str, Any]:
    return {"description": description, "headers": {name: {"schema": TEXT} for name in headers}, "content": {"*/*": {"schema": BINARY}}}


def form_schema(spec: ModelSpec, schema: Schema, request: Schema) -> Schema:
    """The body of a submit as a form.

    Args:
        spec: the model.
        schema: of its input, as it stands among the components.
        request: of the JSON body.
    """
    members = dict(schema.get("properties", {}))
    for name, (_, many) in spec.input.file_rules.items():
        members[name] = array(BINARY) if many else BINARY
    options = {name: member for name, member in request["properties"].items() if name != "input"}
    members[OPTIONS] = {
        "type": "object",
        "properties": options,
        "additionalProperties": False,
        "description": "The JSON body without `input`.",
    }
    # A model may allow more fields than it names; then the form does too.
    more: Schema = {name: schema[name] for name in ("required", "additionalProperties") if name in schema}
    return {"type": "object", "properties": members, **more}


def form_encoding(form: Schema) -> dict[str, Any]:
    """How the parts of a form are sent (OpenAPI 3.1, Encoding Object): files as they are, every other field as JSON that says so."""
    members: dict[str, Schema] = form["properties"]
    files = (BINARY, array(BINARY))
    return {name: {"contentType": "application/octet-stream" if each in files else "application/json"} for name, each in members.items()}
