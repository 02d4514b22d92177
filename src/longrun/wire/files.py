"""Files."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType

from longrun.wire.base import Answer, Time, about

_Url = Annotated[str, about("opens for whoever has it, for 15 minutes")]
_Type = Annotated[str, about("by its bytes")]
_Digest = Annotated[str, about("`sha-256=` and base64")]
_OfImage = Annotated[int | None, about("of an image")]


class File(Answer):
    """A stored file."""

    id: Annotated[str, about("`file_` and 32 hexadecimal digits")]
    name: str
    content_type: _Type
    size: int
    digest: _Digest
    format: str | None
    width: _OfImage
    height: _OfImage
    frames: _OfImage
    created_at: Time
    expires_at: Time | None
    url: _Url


class OutputFile(Answer):
    """A file that a model made, as it stands in an output."""

    id: str
    url: _Url
    content_type: _Type
    size: int
    digest: _Digest
    name: str | UnsetType = UNSET


class FileForm(Answer):
    """One part is a file, whatever its name."""

    file: Annotated[str, about("the file", format="binary")]
