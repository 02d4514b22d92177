"""Files in inputs: which are sent with the submit, and which are uploaded before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from longrun.client.http.body import Part, Source, is_file
from longrun.client.protocol.files import StoredFile

#: The ids of uploaded files by `id(object)`: a file that stands in an input twice is uploaded once.
Ids = Mapping[int, str]


def hidden_files(input: Any) -> list[Any]:
    """The files that cannot be parts of a form, because they are deeper than a field, or a list of files, at the top."""
    if not isinstance(input, Mapping):
        return []
    found = {id(each): each for value in input.values() if not _is_form_field(value) for each in _files(value)}
    return list(found.values())


def all_files(input: Any) -> list[Any]:
    """Every file in it, each once."""
    return list({id(each): each for each in _files(input)}.values())


def _is_form_field(value: Any) -> bool:
    return is_file(value) or (isinstance(value, list | tuple) and bool(value) and all(map(is_file, value)))


def _files(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _files(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _files(each)
    elif is_file(value):
        yield value


def with_ids(value: Any, ids: Ids) -> Any:
    """The value with ids in place of files that are on the server: those just uploaded (`ids`), and each `StoredFile`."""
    if id(value) in ids:
        return ids[id(value)]
    if isinstance(value, StoredFile):
        return value.id
    if isinstance(value, Mapping):
        return {name: with_ids(each, ids) for name, each in value.items()}
    return [with_ids(each, ids) for each in value] if isinstance(value, list | tuple) else value


def has_files(input: Any) -> bool:
    """Whether fields of the input are files, so that it must be sent as a form."""
    return isinstance(input, Mapping) and any(map(_is_form_field, input.values()))


def form_parts(input: Mapping[str, Any], to_json: Any) -> list[Part]:
    """The fields as parts of a form, files last, so that the server can refuse wrong values before it receives the files.

    Raises:
        TypeError: a value is nothing that JSON can hold.
    """
    values, files = [], []
    for name, value in input.items():
        if _is_form_field(value):
            files += [Part(name, Source.of(each)) for each in (value if isinstance(value, list | tuple) else [value])]
        else:
            values.append(Part(name, to_json(value)))  # a text as JSON too: a field may take numbers as well, and "5" is none
    return [*values, *files]
