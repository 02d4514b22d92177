"""What jobs ask, and the answers to that."""

from __future__ import annotations

from typing import Annotated, Self

from msgspec import UNSET, Raw, UnsetType

from longrun.clock import rfc3339
from longrun.wire.base import Answer, Json, Time, about


class AskUrls(Answer):
    """Where an answer is given."""

    signal: Annotated[str, about("signed: whoever has it can see what is asked, and answer it once")]


class Ask(Answer):
    """What a job asks, and waits for."""

    name: str
    ask: Annotated[Json, about("whatever the model has to show")]
    schema: Annotated[Json, about("JSON Schema of the answer", type=["object", "boolean"])]
    until: Annotated[Time, about("when it waits no longer")]
    urls: Annotated[AskUrls | UnsetType, about("only in the job")] = UNSET

    @classmethod
    def of(cls, name: str, ask: bytes, schema: bytes, until: int, url: str | None = None) -> Self:
        """A question with its answer's schema, JSON both (`null`: any value); `until` in milliseconds, `url`: signed, None = not shown."""
        return cls(name, Raw(ask), Raw(b"true" if schema == b"null" else schema), rfc3339(until), UNSET if url is None else AskUrls(url))


class Signal(Answer):
    """How it stands with what a job asks under a name."""

    name: str
    job_id: str
    open: Annotated[bool, about("whether the job waits for this answer now")]
    asked: Annotated[Ask | None, about("only while it is open")]
