"""The input of a job: checked, its files found or stored and named by their ids, and written as JSON once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from longrun.clock import is_file_id
from longrun.errors import ValidationFailed
from longrun.jobs.file_refs import INLINE, FileRef, reference
from longrun.media.rules import FileRule
from longrun.models import ModelSpec
from longrun.models.file_schema import FilePlace, any_of, read_data_uri
from longrun.service.aside import aside
from longrun.service.caller import Caller
from longrun.service.files import judge_record
from longrun.service.jsontext import compacted
from longrun.service.uploads import Uploads, from_bytes, narrowed, refusal
from longrun.store.file_records import FileRecord
from longrun.webhooks.guard import Refused, Unreachable

#: Files that one job may be given.
MOST_FILES = 100
#: Bytes of a fetched file that may come over its limit: the rule that it breaks is named, where the client would only break off.
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Inputs:
    """An input that is ready to be stored.

    Args:
        data: JSON, or a reference to the file that holds it.
        files: those that the job needs, by id.
        size: bytes of the JSON.
    """

    data: bytes
    files: dict[str, FileRef]
    size: int


def by_digest(sent: Any, files: Mapping[str, FileRef]) -> Any:
    """A body with the digests of its files in the place of their ids: the same bytes are the same request, whatever ids they were given."""
    if not files:
        return sent
    if isinstance(sent, dict):
        return {name: by_digest(each, files) for name, each in sent.items()}
    if isinstance(sent, list):
        return [by_digest(each, files) for each in sent]
    return files[sent].digest if isinstance(sent, str) and sent in files else sent


async def attach(spec: ModelSpec, data: Any, uploads: Uploads) -> Inputs:
    """Check an input and store its files.

    Args:
        spec: the model.
        data: decoded JSON. Files stand in it by their ids, as `data:` URIs or as URLs.
        uploads: owns what is stored; the input may name what has come with the request.

    Raises:
        ValidationFailed, PayloadTooLarge, UnsupportedMedia: with a pointer to what is wrong.
        BlobsFull, BlobsUnavailable, StorageFull, StoreUnavailable
    """
    places = await _places(spec, data)
    files = await _found(uploads.caller, places, uploads.records) if places else {}
    others = [place for place in places if not is_file_id(place.source)]
    ids: dict[tuple[str | int, ...], str] = {}
    for place in others:
        record = await _store(uploads, place)
        ids[place.path] = record.ref.id
        files[record.ref.id] = record.ref
    inputs = await _checked(spec, _replaced(data, ids), files)
    if len(inputs.data) <= INLINE:
        return inputs
    ref = await uploads.store_input(inputs.data)
    return replace(inputs, data=reference(ref), files=files | {ref.id: ref})


async def named(caller: Caller, spec: ModelSpec, data: Any) -> Inputs:
    """Check an input whose files are all named by their ids; nothing is stored, however large it is.

    Raises as `attach` does.
    """
    places = await _places(spec, data)
    for place in places:
        if not is_file_id(place.source):
            raise _invalid(place.pointer, "In a batch a file is named by its id: upload it first (POST /files)")
    return await _checked(spec, data, await _found(caller, places, {}) if places else {})


async def _places(spec: ModelSpec, data: Any) -> list[FilePlace]:
    if not spec.input.has_files:
        return []
    text = await compacted(data)
    return await aside(spec.input.weight(len(text)), spec.input.file_places, data, text)


async def _checked(spec: ModelSpec, data: Any, files: dict[str, FileRef]) -> Inputs:
    text = await compacted(data)
    await aside(spec.input.weight(len(text)), spec.input.check, data, text, files=files if spec.input.has_files else None)
    return Inputs(text, files, len(text))


async def _found(caller: Caller, places: Sequence[FilePlace], came: Mapping[str, FileRecord]) -> dict[str, FileRef]:
    """The files that the input names by their ids, each of which keeps to the rules of its place. `came`: with this request."""
    if len(places) > MOST_FILES:
        raise _invalid("", f"A job may be given {MOST_FILES} files at most, not {len(places)}")
    places = [place for place in places if is_file_id(place.source)]
    ids = sorted({place.source for place in places} - came.keys())
    stored = await caller.store.files.read_all(ids, caller.tenant) if ids else []
    known = {**came, **{record.ref.id: record for record in stored if record is not None}}
    missing = [{"pointer": place.pointer, "detail": f"There is no file {place.source}"} for place in places if place.source not in known]
    if missing:
        raise ValidationFailed("The input names files that are not there, or not any longer.", errors=missing)
    for place in places:
        _judge(caller, place, known[place.source])
    return {place.source: known[place.source].ref for place in places}


def _judge(caller: Caller, place: FilePlace, record: FileRecord) -> None:
    broken = judge_record(caller, record, place.rules)
    if broken is not None:
        raise refusal(broken, place.pointer)


async def _store(uploads: Uploads, place: FilePlace) -> FileRecord:
    """Store what a `data:` URI holds or a URL leads to."""
    rule = any_of(place.rules)
    if place.source[:5].lower() == "data:":
        decoded = await aside(len(place.source), read_data_uri, place.source)
        if decoded is None:
            raise _invalid(place.pointer, "This data: URI cannot be read; its base64 is wrong")
        record = await uploads.receive(from_bytes(decoded[0]), rule=rule, pointer=place.pointer)
    else:
        record = await _fetch(uploads, place, rule)
    if rule not in place.rules:  # it was not judged by any of them alone
        _judge(uploads.caller, place, record)
    return record


async def _fetch(uploads: Uploads, place: FilePlace, rule: FileRule) -> FileRecord:
    caller = uploads.caller
    if not caller.settings.fetch_urls:
        raise _invalid(
            place.pointer, "This service fetches no URLs (LONGRUN_FETCH_URLS): upload the file, or give a file id or a data: URI"
        )
    most = narrowed(rule, caller.settings.max_file).max_bytes
    try:
        async with caller.parts.fetcher.fetch(place.source, max_bytes=most + _PIECE) as found:
            if found.status != 200:
                raise _invalid(place.pointer, f"The URL was answered with {found.status}, not 200")
            name = urlsplit(found.url).path.rpartition("/")[2]
            return await uploads.receive(found.chunks, filename=name, rule=rule, pointer=place.pointer)
    except Refused as error:
        raise _invalid(place.pointer, str(error)) from None
    except Unreachable as error:
        raise _invalid(place.pointer, f"The URL could not be fetched: {error}") from None


def _replaced(data: Any, texts: Mapping[tuple[str | int, ...], str]) -> Any:
    """A copy of the data with other texts at these paths; what leads to none of them is not copied."""
    if () in texts:
        return texts[()]
    within: dict[str | int, dict[tuple[str | int, ...], str]] = {}
    for (first, *rest), text in texts.items():
        within.setdefault(first, {})[tuple(rest)] = text
    copied = copy.copy(data) if within else data
    for first, of_it in within.items():
        copied[first] = _replaced(data[first], of_it)
    return copied


def _invalid(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, errors=[{"pointer": pointer or "/input", "detail": detail}])
