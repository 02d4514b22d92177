"""A submit as a form: each part is an input field, files among them, and `_options` is the rest of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from longrun.api.http.body import read_json_at, refused_character
from longrun.api.http.form_values import Json, Sent, joined, refused
from longrun.api.http.multipart import Part, read_parts
from longrun.errors import ValidationFailed
from longrun.models import ModelSpec
from longrun.models.pointers import pointer
from longrun.service.aside import aside
from longrun.service.input_files import MOST_FILES
from longrun.service.uploads import Uploads

OPTIONS = "_options"


@dataclass(slots=True)
class SubmitForm:
    """What a form says.

    Attributes:
        uploads: owns the files that are stored while the form is read.
        values: by field, in the order in which they came.
        options: the JSON body without `input`; None: they were not sent.
    """

    uploads: Uploads
    values: dict[str, list[Any]] = field(default_factory=dict)
    options: dict[str, Any] | None = None

    @property
    def most_items(self) -> int:
        """What each text of JSON in it may count."""
        return self.uploads.caller.settings.max_items


async def read_submit(request: Request, uploads: Uploads, spec: ModelSpec) -> dict[str, Any]:
    """The body of a submit, in which files that came with it stand by their ids.

    Raises:
        MalformedRequest, PayloadTooLarge, UploadTooSlow: the form cannot be read.
        ValidationFailed, UnsupportedMedia: a field or a file is not right.
        BlobsFull, BlobsUnavailable, StorageFull, StoreUnavailable
    """
    form, most = SubmitForm(uploads), uploads.caller.settings.max_body
    left = most
    async for part in read_parts(request.stream(), request.headers["content-type"]):
        left -= await _take(part, form, spec, left)
    return (form.options or {}) | {"input": await aside(most - left, _input, form, spec)}


def _input(form: SubmitForm, spec: ModelSpec) -> dict[str, Any]:
    schemas, definitions, most = spec.input.fields_schemas, spec.input.definitions, form.most_items
    return {name: joined(name, found, schemas.get(name), definitions, most) for name, found in form.values.items()}


async def _take(part: Part, form: SubmitForm, spec: ModelSpec, left: int) -> int:
    """Read one part; the bytes of it that count as text."""
    if part.name == OPTIONS:
        text = await part.text(left)
        form.options = await aside(len(text), _options, text, form.most_items, again=form.options is not None)
        return len(text)
    if refused_character(part.name):
        raise refused((part.name.replace("\x00", ""),), "The name of this field holds a character that is none")
    rules = spec.input.file_rules
    found = form.values.setdefault(part.name, [])
    if part.filename is None:
        text = await part.text(left)
        says_json = part.content_type.partition(";")[0].strip().lower() == "application/json"
        where = pointer("/input", (part.name,))
        found.append(
            Json(await aside(len(text), read_json_at, where, text, form.most_items)) if says_json else Sent(_utf8(part.name, text))
        )
        return len(text)
    if part.name not in rules:
        known = part.name in spec.input.fields_schemas
        raise refused((part.name,), "This field takes no file" if known else "There is no such field")
    first = await _first(part)
    if first is None and not part.filename:
        # What a browser sends for a file that was not chosen.
        if not found:
            del form.values[part.name]
        return 0
    if len(form.uploads.records) == MOST_FILES:
        raise refused((part.name,), f"A job may be given {MOST_FILES} files at most")
    rule, many = rules[part.name]
    where = pointer("/input", (part.name, len(found)) if many else (part.name,))
    record = await form.uploads.receive(_all(first, part), filename=part.filename, rule=rule, pointer=where)
    found.append(record.ref.id)
    return 0


async def _first(part: Part) -> bytes | None:
    async for chunk in part.chunks():
        if chunk:
            return chunk
    return None


async def _all(first: bytes | None, part: Part) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
        async for chunk in part.chunks():
            yield chunk


def _options(text: bytes, most: int, *, again: bool) -> dict[str, Any]:
    if again:
        raise ValidationFailed(f"{OPTIONS} is sent twice.", errors=[{"pointer": f"/{OPTIONS}", "detail": "sent twice"}])
    options = read_json_at(f"/{OPTIONS}", text, most)
    if not isinstance(options, dict) or "input" in options:
        detail = "must be a JSON object without `input`: the other parts of the form are the input"
        raise ValidationFailed(f"{OPTIONS} {detail}.", errors=[{"pointer": f"/{OPTIONS}", "detail": detail}])
    return options


def _utf8(name: str, text: bytes) -> str:
    try:
        found = text.decode("utf-8")
    except UnicodeDecodeError:
        raise refused((name,), "The text is not UTF-8; send a file with a filename") from None
    if character := refused_character(found):
        raise refused((name,), f"The text holds {character}")
    return found
