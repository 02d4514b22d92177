"""What the answers are made of."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw


class Answer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The base of all answers.

    A member without a default is in every answer; one whose default is `UNSET` may be absent. `forbid_unknown_fields=False` says in the
    schema that members may be added. Values are not checked when an answer is made.
    """


encode = msgspec.json.Encoder().encode


def about(description: str, **schema: Any) -> Meta:
    """What the schema of a member says besides its type."""
    return Meta(description=description, extra_json_schema=schema or None)


def as_it_is(value: Any) -> Raw:
    """A value that others chose: its numbers are written as they are stored, which msgspec would write another way (`1e+22`)."""
    return Raw(orjson.dumps(value))


Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
#: JSON that is stored as it is answered: any value, an object, a list of texts.
Json = Raw
Members = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
Texts = Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "string"}})]
