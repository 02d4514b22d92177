"""How files are named in records, inputs and outputs: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

#: Larger inputs and outputs (bytes of JSON) are kept as files, and the record holds a reference.
INLINE = 64 * 1024
#: What stands in the place of a URL until somebody asks: a URL holds for a while only.
_PLACEHOLDER = "longrun-file:"
_PLACEHOLDERS = re.compile(rb'"longrun-file:(file_[0-9a-f]{32})"')
_REFERENCE = b"@"
_SHOWN = {"id", "url", "content_type", "size", "digest", "name"}


@dataclass(frozen=True, slots=True)
class FileRef:
    """A stored file.

    Args:
        id: `file_` and 32 hexadecimal digits.
        key: of its bytes, in the blob store. Inputs: the id. Outputs: `<job id>/<fence>/<id>`, see `jobs.fence`.
        size: bytes.
        digest: `sha-256=<base64>`.
        content_type: from our own table, never the caller's word.
        name: for people; safe to show, never a path.
        facts: what its bytes say (`media.facts.Facts.to_json`).
    """

    id: str
    key: str
    size: int
    digest: str
    content_type: str = "application/octet-stream"
    name: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def members(self) -> dict[str, Any]:
        """As stored."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> FileRef:
        """The opposite of `members`; unknown members are left out."""
        return cls(**{name: members[name] for name in cls.__slots__ if name in members})


def as_output(ref: FileRef) -> dict[str, Any]:
    """A file as it stands in the JSON of an output, with a placeholder for its URL (see `with_urls`)."""
    shown = {"id": ref.id, "url": _PLACEHOLDER + ref.id, "content_type": ref.content_type, "size": ref.size, "digest": ref.digest}
    return shown | ({"name": ref.name} if ref.name else {})


def holds_files(data: bytes | None) -> bool:
    """Whether JSON text may hold placeholders."""
    return data is not None and b'"longrun-file:' in data


def only_file(data: bytes) -> str | None:
    """The id of the file that an output is, if it is one and nothing else."""
    if not holds_files(data) or not data.startswith(b'{"id":"file_'):
        return None
    shown = orjson.loads(data)
    url = shown.get("url")
    return str(shown["id"]) if url == f"{_PLACEHOLDER}{shown['id']}" and shown.keys() <= _SHOWN else None


def shown_file(value: Any) -> FileRef | None:
    """The file that a part of an output names, with its id, size and digest, and without its key; None: it names none."""
    if not isinstance(value, dict) or not value.keys() <= _SHOWN or value.get("url") != f"{_PLACEHOLDER}{value.get('id')}":
        return None
    try:
        return FileRef(value["id"], "", int(value["size"]), value["digest"], value["content_type"], value.get("name", ""))
    except (KeyError, TypeError, ValueError):
        return None


def with_urls(data: bytes, url_of: Callable[[str], str]) -> bytes:
    """JSON text with URLs in the place of placeholders.

    `url_of` gets ids that the text names, whoever wrote them: it must sign for the owner of the text alone.
    """
    return _PLACEHOLDERS.sub(lambda found: orjson.dumps(url_of(found[1].decode())), data)


def reference(ref: FileRef) -> bytes:
    """What a record holds in the place of an input or output that is kept as a file."""
    return _REFERENCE + orjson.dumps(ref.members())


def referenced(data: bytes | None) -> FileRef | None:
    """The file that a record's input or output refers to; None: it is the JSON itself (which never begins like a reference)."""
    return FileRef.of(orjson.loads(data[1:])) if data is not None and data.startswith(_REFERENCE) else None
