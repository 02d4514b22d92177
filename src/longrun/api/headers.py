"""What request headers and query parameters say: pure decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from longrun.clock import parse_rfc3339
from longrun.errors import MalformedRequest, ValidationFailed
from longrun.jobs import npy
from longrun.jobs.events import TYPES
from longrun.jobs.states import Status
from longrun.service.read import Filters
from longrun.store.webhooks import DELIVERY_STATUSES

MAX_WAIT = 60.0
#: No log is as long; larger numbers would not survive the store's arithmetic.
_MAX_SEQ = 10**12
_KEY = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})')
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"(\d{1,18})"')


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


ANY_VERSION = -1


def etag(version: int) -> str:
    """The entity tag of a job's version."""
    return f'"{version}"'


def quality(accept: str, media_type: str) -> float:
    """How much the Accept header wants a media type by its name, 0 to 1; ranges such as `*/*` do not count."""
    best = 0.0
    for part in accept.split(","):
        name, *parameters = [each.strip().lower() for each in part.split(";")]
        if name == media_type:
            best = max(best, _q(parameters))
    return best


def _q(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return max(0.0, min(1.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def wants_stream(accept: str) -> bool:
    """Whether server-sent events are asked for by name, and not less than JSON."""
    stream = quality(accept, "text/event-stream")
    return stream > 0 and stream >= quality(accept, "application/json")


def wants_array(accept: str) -> bool:
    """Whether the .npy format is asked for by name, and not less than JSON."""
    array = quality(accept, npy.MEDIA_TYPE)
    return array > 0 and array >= quality(accept, "application/json")


def wants_page(accept: str) -> bool:
    """Whether JSON is asked for by name, and more than server-sent events."""
    return quality(accept, "application/json") > quality(accept, "text/event-stream")


def after(query: Mapping[str, str], last_event_id: str | None) -> int:
    """The seq after which events are wanted: `Last-Event-ID` before `?after=`, 0 without both.

    Raises:
        ValidationFailed: not a whole number of at least 0.
    """
    given = (last_event_id or "").strip()
    where, text = ("/header/Last-Event-ID", given) if given else ("/query/after", query.get("after", "0"))
    if not re.fullmatch(r"[0-9]{1,100}", text):
        raise _wrong(where, "must be a whole number of at least 0")
    return min(int(text), _MAX_SEQ)


def types(query: Mapping[str, str]) -> frozenset[str]:
    """The event types that `?types=` names; all when it is absent. Raises ValidationFailed for an unknown one."""
    if "types" not in query:
        return TYPES
    named = frozenset(part.strip() for part in query["types"].split(",") if part.strip())
    if not named or not named <= TYPES:
        raise _wrong("/query/types", f"must be a comma-separated list of {', '.join(sorted(TYPES))}")
    return named


def limit(query: Mapping[str, str]) -> int:
    """`?limit=`, 1 to 100, 20 when absent. Raises ValidationFailed."""
    text = query.get("limit", "20")
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise _wrong("/query/limit", "must be a whole number from 1 to 100")
    return int(text)


def results_after(query: Mapping[str, str]) -> int:
    """`?after=`: the index of the last item that the caller has; -1 when absent. Raises ValidationFailed."""
    text = query.get("after", "-1")
    if not re.fullmatch(r"-1|[0-9]{1,12}", text):
        raise _wrong("/query/after", "must be the index of an item, or -1")
    return int(text)


def results_limit(query: Mapping[str, str]) -> int | None:
    """`?limit=`: how many items at most; None when absent: all. Raises ValidationFailed."""
    text = query.get("limit")
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,11}", text):
        raise _wrong("/query/limit", "must be a whole number of at least 1")
    return None if text is None else int(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A query parameter that is `true` or `false`; false when absent. Raises ValidationFailed."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise _wrong(f"/query/{name}", "must be true or false")
    return text == "true"


def filters(query: Mapping[str, str]) -> Filters:
    """`?model=`, `?status=`, `?tag=`, `?code=` and `?created_after=`. Raises ValidationFailed."""
    status = query.get("status")
    if status is not None and status not in set(Status):
        raise _wrong("/query/status", f"must be one of {', '.join(Status)}")
    return Filters(
        model=query.get("model"),
        status=None if status is None else Status(status),
        tag=query.get("tag"),
        code=query.get("code"),
        since=_since(query.get("created_after")),
    )


def delivery_filters(query: Mapping[str, str]) -> dict[str, str]:
    """`?job=`, `?endpoint=` and `?status=` of webhook deliveries. Raises ValidationFailed."""
    if query.get("status", "pending") not in DELIVERY_STATUSES:
        raise _wrong("/query/status", f"must be one of {', '.join(DELIVERY_STATUSES)}")
    return {name: query[name] for name in ("job", "endpoint", "status") if name in query}


def _since(text: str | None) -> int:
    if text is None:
        return 0
    try:
        # A `+` of a time zone arrives as a space where a caller forgot to encode it.
        return max(0, parse_rfc3339(text.replace(" ", "+") if "T" in text else text) + 1)
    except (ValueError, OverflowError):
        raise _wrong("/query/created_after", "must be a time such as 2026-01-31T09:30:00Z") from None


def _wrong(where: str, detail: str) -> ValidationFailed:
    return ValidationFailed(f"{where.rpartition('/')[2]}: {detail}", errors=[{"pointer": where, "detail": detail}])
