"""Query parameters and headers of requests. Each is declared once: how it is read, and how the OpenAPI document describes it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from starlette.requests import HTTPConnection

from longrun.errors import MalformedRequest, ValidationFailed

T = TypeVar("T")
D = TypeVar("D", int, None)

MAX_WAIT = 60.0
ANY_VERSION = -1
_KEY = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})')
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"(\d{1,18})"')


@dataclass(frozen=True)
class Parameter(ABC, Generic[T]):
    """What a request may say besides its path and body.

    Args:
        name: of the parameter.
        description: for the OpenAPI document.
        parse: its value; raises ValueError with what it must be, such as "must be true or false".
        schema: for the OpenAPI document.
    """

    place: ClassVar[str]

    name: str
    description: str
    parse: Callable[[Any], T]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})

    def of(self, request: HTTPConnection) -> T:
        """The value in a request. Raises ValidationFailed, which names the parameter."""
        try:
            return self.parse(self._given(request))
        except ValueError as error:
            finding = {"pointer": f"/{self.place}/{self.name}", "detail": str(error)}
            raise ValidationFailed(f"{self.name}: {error}", errors=[finding]) from None

    @abstractmethod
    def _given(self, request: HTTPConnection) -> Any: ...


class Query(Parameter[T]):
    """A query parameter; `parse` gets its text, None when it is absent."""

    place = "query"

    def _given(self, request: HTTPConnection) -> str | None:
        return request.query_params.get(self.name)


class Header(Parameter[T]):
    """A header; `parse` gets all its values, an empty list when it is absent."""

    place = "header"

    def _given(self, request: HTTPConnection) -> list[str]:
        return request.headers.getlist(self.name)


def as_text(text: str | None) -> str | None:
    """Parses a query parameter that is taken as it is."""
    return text


def first(values: list[str]) -> str | None:
    """Parses a header that is given once."""
    return values[0] if values else None


def whole(form: str, detail: str, absent: D) -> Callable[[str | None], int | D]:
    """Parses a whole number that is written in this form, a regular expression."""

    def parse(text: str | None) -> int | D:
        if text is not None and not re.fullmatch(form, text):
            raise ValueError(detail)
        return absent if text is None else int(text)

    return parse


def one_of(values: Collection[str]) -> Callable[[str | None], str | None]:
    """Parses one of these texts."""

    def parse(text: str | None) -> str | None:
        if text is not None and text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return parse


def flag(text: str | None) -> bool:
    """Parses `true` or `false`; false when absent."""
    if text not in (None, "true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


@dataclass(frozen=True, slots=True)
class Preference:
    """What `Prefer` (RFC 7240) asks for: `wait` in seconds, `applied` the value of `Preference-Applied`."""

    wait: float = 0.0
    applied: str | None = None


_NO_PREFERENCE = Preference()


def preference(values: list[str]) -> Preference:
    """The preferences that we know; as RFC 7240 asks, others, and those that are written wrongly, are left out."""
    if not values:
        return _NO_PREFERENCE
    wait: float | None = None
    background = False
    for part in ",".join(values).split(","):
        token = part.split(";", 1)[0].strip()
        if (found := _WAIT.fullmatch(token)) and wait is None:
            wait = min(float(found[1]), MAX_WAIT)
        background = background or token.lower() == "respond-async"
    if wait is not None:
        return Preference(wait, f"wait={wait:.0f}")
    return Preference(applied="respond-async" if background else None)


def idempotency_key(values: list[str]) -> str:
    """The key, bare or quoted; empty when there is none.

    Raises:
        MalformedRequest: several, or not 1 to 255 visible ASCII characters.
    """
    if not values:
        return ""
    found = _KEY.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        raise MalformedRequest("Idempotency-Key must be given once, with 1 to 255 visible ASCII characters and no spaces.")
    quoted, bare = found.groups()
    return str(bare or re.sub(r"\\(.)", r"\1", quoted))


def known_versions(values: list[str]) -> frozenset[int] | None:
    """The versions that `If-None-Match` names; None when the header is absent. `*` stands for -1: any version."""
    if not values:
        return None
    text = ",".join(values)
    if text.strip() == "*":
        return frozenset({ANY_VERSION})
    return frozenset(int(version) for version in _TAG.findall(text))


PREFER = Header("Prefer", "`wait=N`: wait up to N seconds, 60 at most, for the end (RFC 7240).", preference)
IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "The same key and request: the same job, or batch.",
    idempotency_key,
    {"type": "string", "minLength": 1, "maxLength": 255},
)
KNOWN_VERSIONS = Header("If-None-Match", "Versions that the caller has.", known_versions)
CURSOR = Query("cursor", "From `next` of the page before.", as_text)
LIMIT = Query(
    "limit",
    "How many a page holds, 20 when not given.",
    whole("0{0,2}[1-9]|0?[1-9][0-9]|100", "must be a whole number from 1 to 100", 20),
    {"type": "integer", "minimum": 1, "maximum": 100},
)


def specific(known: frozenset[int] | None) -> frozenset[int] | None:
    """The versions that are named one by one; None: none are."""
    return None if known is None or ANY_VERSION in known else known


def quality(accept: str, media_type: str) -> float:
    """How much the Accept header wants a media type by its name, 0 to 1; ranges such as `*/*` do not count."""
    parts = ([each.strip().lower() for each in part.split(";")] for part in accept.split(","))
    return max((_q(parameters) for name, *parameters in parts if name == media_type), default=0.0)


def _q(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return max(0.0, min(1.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def wants(accept: str, media_type: str) -> bool:
    """Whether a media type is asked for by name, and not less than JSON."""
    wanted = quality(accept, media_type)
    return wanted > 0 and wanted >= quality(accept, "application/json")


def wants_page(accept: str) -> bool:
    """Whether JSON is asked for by name, and more than server-sent events."""
    return quality(accept, "application/json") > quality(accept, "text/event-stream")
