"""The files of an input: found, stored, judged, and named by their ids, before the job is stored."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from longrun.clock import is_file_id, new_file_id
from longrun.errors import StorageFull, StoreUnavailable, ValidationFailed
from longrun.jobs.files import INLINE, FileRef, reference
from longrun.models import ModelSpec
from longrun.models.file_schema import FilePlace, any_of, read_data_uri
from longrun.service.caller import Caller
from longrun.service.files import discard, from_bytes, judge_record, narrowed, receive, refusal
from longrun.service.jsontext import compact
from longrun.service.noting import put_away
from longrun.store.files import FileRecord
from longrun.webhooks.guard import Refused, Unreachable

#: Files that one job may be given.
MOST_FILES = 100
#: Bytes of a fetched file that may come over its limit: the rule that it breaks is named, where the client would only break off.
_PIECE = 64 * 1024


@dataclass(slots=True)
class Inputs:
    """An input that is ready to be stored.

    Args:
        data: JSON, or a reference to the file that holds it.
        files: those that the job needs.
        fresh: ids of files that were stored for this request alone, and are of no use without its job.
    """

    data: bytes = b""
    files: dict[str, FileRef] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    uploads: dict[str, FileRecord] = field(default_factory=dict)  #: those of `fresh` that came with the request


def by_digest(sent: Any, files: Mapping[str, FileRef]) -> Any:
    """A body with the digests of its files in the place of their ids: the same bytes are the same request, whatever ids they were given."""
    if isinstance(sent, dict):
        return {name: by_digest(each, files) for name, each in sent.items()}
    if isinstance(sent, list):
        return [by_digest(each, files) for each in sent]
    return files[sent].digest if isinstance(sent, str) and sent in files else sent


async def attach(caller: Caller, spec: ModelSpec, data: Any, uploads: Sequence[FileRecord] = ()) -> Inputs:
    """Check an input and store its files. When that fails, and when the job does (`let_go`), what was stored for it is removed again.

    Args:
        uploads: files that came with the request; the input names them by id.

    Raises:
        ValidationFailed, PayloadTooLarge, UnsupportedMedia: with a pointer to what is wrong.
        BlobsFull, BlobsUnavailable, StorageFull, StoreUnavailable
    """
    came = {record.ref.id: record for record in uploads}
    inputs = Inputs(fresh=list(came), uploads=came)
    try:
        if spec.input.has_files:
            data = await _with_files(caller, spec, data, inputs)
        else:
            spec.input.parse(data)
        inputs.data = compact(data)
        if len(inputs.data) > INLINE:
            await _put_away(caller, inputs)
    except BaseException as error:
        await let_go(caller, inputs, error)
        raise
    return inputs


async def let_go(caller: Caller, inputs: Inputs, error: BaseException) -> None:
    """Remove what was stored for a job that there will not be because of `error`."""
    # A store that is away would only be waited for once more: what it holds goes within the hour.
    if not isinstance(error, StoreUnavailable) or isinstance(error, StorageFull):
        await discard(caller, inputs.fresh)


async def named(caller: Caller, spec: ModelSpec, data: Any) -> Inputs:
    """Check an input whose files are all named by their ids; nothing is stored, however large it is.

    Raises as `attach` does.
    """
    inputs = Inputs()
    if spec.input.has_files:
        for place in spec.input.file_places(data):
            if not is_file_id(place.source):
                raise _invalid(place.pointer, "In a batch a file is named by its id: upload it first (POST /files)")
        await _with_files(caller, spec, data, inputs)
    else:
        spec.input.parse(data)
    inputs.data = compact(data)
    return inputs


async def _with_files(caller: Caller, spec: ModelSpec, data: Any, inputs: Inputs) -> Any:
    places = spec.input.file_places(data)
    if len(places) > MOST_FILES:
        raise _invalid("", f"A job may be given {MOST_FILES} files at most, not {len(places)}")
    known = dict(inputs.uploads)
    known |= await _named(caller, {place.source for place in places if is_file_id(place.source)} - known.keys())
    _judge(caller, [place for place in places if is_file_id(place.source)], known)
    data = copy.deepcopy(data) if any(not is_file_id(place.source) for place in places) else data
    for place in places:
        if is_file_id(place.source):
            record = known[place.source]
        else:
            record = await _take(caller, place)
            inputs.fresh.append(record.ref.id)
            _judge(caller, [replace(place, source=record.ref.id)], {record.ref.id: record})
            _set(data, place.path, record.ref.id)
        inputs.files[record.ref.id] = record.ref
    spec.input.parse(data, files=inputs.files)
    return data


async def _named(caller: Caller, ids: set[str]) -> dict[str, FileRecord]:
    found = await caller.store.files.read_all(sorted(ids), caller.tenant) if ids else []
    return {record.ref.id: record for record in found if record is not None}


def _judge(caller: Caller, places: Sequence[FilePlace], known: dict[str, FileRecord]) -> None:
    missing = [{"pointer": place.pointer, "detail": f"There is no file {place.source}"} for place in places if place.source not in known]
    if missing:
        raise ValidationFailed("The input names files that are not there, or not any longer.", errors=missing)
    for place in places:
        broken = judge_record(caller, known[place.source], place.rules)
        if broken is not None:
            raise refusal(broken, place.pointer)


async def _take(caller: Caller, place: FilePlace) -> FileRecord:
    """Store what a `data:` URI holds or a URL leads to."""
    rule = any_of(place.rules)
    if place.source[:5].lower() == "data:":
        decoded = read_data_uri(place.source)
        if decoded is None:
            raise _invalid(place.pointer, "This data: URI cannot be read; its base64 is wrong")
        return await receive(caller, from_bytes(decoded[0]), rule=rule, pointer=place.pointer)
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
            return await receive(caller, found.chunks, filename=name, rule=rule, pointer=place.pointer)
    except Refused as error:
        raise _invalid(place.pointer, str(error)) from None
    except Unreachable as error:
        raise _invalid(place.pointer, f"The URL could not be fetched: {error}") from None


async def _put_away(caller: Caller, inputs: Inputs) -> None:
    """An input that is too large for the store becomes a file."""
    fresh = new_file_id()
    ref = await put_away(caller.store, caller.blobs, caller.tenant, inputs.data, fresh)
    inputs.fresh.append(fresh)
    inputs.files[fresh] = ref
    inputs.data = reference(ref)


def _set(data: Any, path: Sequence[str | int], value: str) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


def _invalid(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, errors=[{"pointer": pointer or "/input", "detail": detail}])
