"""Reading a JSON body strictly: what two readers could understand differently, or what could not be stored and shown again, is refused."""

from __future__ import annotations

import gc
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any

import orjson

from longrun.api.http.measure import count_items, count_members, is_deep, most_possible
from longrun.errors import MalformedRequest, PayloadTooLarge, UnsupportedMedia, ValidationFailed
from longrun.models.large import LARGE
from longrun.models.pointers import LONGEST_DETAIL, MOST_FINDINGS, pointer, shorten

MAX_DEPTH = 64
MAX_DIGITS = 4300

# A number without either stays below 1e308.
_BIG_EXPONENT = re.compile(rb"[eE]\+?[0-9]{2}")
_MANY_DIGITS = b"9" * 300
# Digits of a whole number that orjson may turn into a float; a run of them may stand elsewhere too.
_LONG_RUN = b"9" * 19
_TO_NINES = bytes.maketrans(b"0123456789", b"9999999999")
_BAD_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_BAD_CHARACTER = re.compile("[\ud800-\udfff\x00]")
_CONTENT_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)", re.IGNORECASE)
_CHARSET = re.compile(r'charset="?utf-?8"?', re.IGNORECASE)


def check_content_type(value: str | None) -> None:
    """Raise UnsupportedMedia unless the header says JSON in UTF-8."""
    value = value or ""
    kind = value.partition(";")[0].strip()
    if not kind:
        raise UnsupportedMedia("The body needs a content type: send `Content-Type: application/json`.")
    if not _CONTENT_TYPE.fullmatch(kind):
        raise UnsupportedMedia(f"This route reads JSON, not {kind[:100]!r}: send `Content-Type: application/json`.")
    check_charset(value)


def check_charset(content_type: str) -> None:
    """Raise UnsupportedMedia when a content type names a charset other than UTF-8."""
    for parameter in content_type.split(";")[1:]:
        if parameter.strip().lower().startswith("charset") and not _CHARSET.fullmatch(parameter.strip()):
            raise UnsupportedMedia("JSON is UTF-8: leave the charset out, or send `charset=utf-8`.")


def read_json(body: bytes, most: int | None = None) -> Any:
    """The value of a JSON text; integers of up to 4,300 digits are exact.

    Args:
        body: the text.
        most: what it may count, see `count_items`; None: it is not counted.

    Raises:
        PayloadTooLarge: it counts more than that.
        MalformedRequest: not JSON, or not UTF-8; the detail says where.
        ValidationFailed: JSON that is refused: duplicate keys, NaN and infinities (also by overflow, such as 1e400), lone surrogates,
            NUL characters, more than 64 levels, numbers of more than 4,300 digits.
    """
    # A byte counts two at most, so that small bodies need no look.
    if most is not None and 2 * len(body) > most < most_possible(body) and (items := count_items(body)) > most:
        raise _too_many(items, most)
    if is_deep(body, MAX_DEPTH):
        _decode(body)
        finding = {"pointer": "", "detail": f"nested more than {MAX_DEPTH} levels deep"}
        raise ValidationFailed("The body is nested too deeply.", errors=[finding])
    if len(body) <= LARGE:
        return _read(body)
    with _collector_at_rest():
        return _read_quickly(body)


def _too_many(items: int, most: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The body holds too many values: its commas and opening brackets count {items:,} (a brace counts twice), "
        f"and may count {most:,} (the operator's LONGRUN_MAX_ITEMS).",
        limit=most,
    )


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """JSON holds no circles, and to look for some again and again while it is built takes longer than to build it."""
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()


def _read_quickly(body: bytes) -> Any:
    """As `_read`, which does what this cannot: a whole number over 64 bits, and to say what is wrong."""
    try:
        if rb"\u0000" in body or _LONG_RUN in body.translate(_TO_NINES):
            return _read(body)
        value = orjson.loads(body)
        # orjson keeps the last of the members of one name.
        members = count_members(body)
        if members == 0 or members == count_members(orjson.dumps(value)):
            return value
        del value
    except orjson.JSONDecodeError:
        pass
    return _read(body)


def _read(body: bytes) -> Any:
    text = _decode(body)
    reader = _own.careful if _may_overflow(body) else _own.plain
    reader.refused = False
    try:
        value = reader.decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(error.msg, error.lineno, error.colno) from None
    if reader.refused or _BAD_ESCAPE.search(body):
        found = [{"pointer": where, "detail": detail} for where, detail in islice(_walk(value), MOST_FINDINGS)]
        if found:
            raise ValidationFailed("The body holds values that are not accepted.", errors=found)
    return value


def read_json_at(where: str, text: bytes, most: int | None = None) -> Any:
    """As `read_json`, of a text that stands at the pointer `where` of a request. Raises PayloadTooLarge, ValidationFailed."""
    try:
        return read_json(text, most)
    except MalformedRequest as error:
        found = [{"pointer": where, "detail": error.detail.replace("The body", "It")}]
    except ValidationFailed as error:
        found = [{"pointer": where + each["pointer"], "detail": each["detail"]} for each in error.errors or ()]
    raise ValidationFailed(f"{found[0]['pointer']}: {found[0]['detail']}", errors=found)


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        before = body[: error.start]
        line = before.count(b"\n") + 1
        raise _malformed("Not UTF-8", line, error.start - before.rfind(b"\n")) from None


def _malformed(what: str, line: int, column: int) -> MalformedRequest:
    return MalformedRequest(f"The body is not JSON: {what} at line {line}, column {column}.")


def _may_overflow(body: bytes) -> bool:
    return _BIG_EXPONENT.search(body) is not None or (len(body) >= len(_MANY_DIGITS) and _MANY_DIGITS in body.translate(_TO_NINES))


class _Refused:
    """Stands in the parsed value where something is not accepted, so that the walk can tell where that is."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


@cache
def _mark(detail: str) -> _Refused:
    """One for all places with the same fault: there may be a million."""
    return _Refused(detail)


class _Reader:
    """A decoder whose hooks note what is refused."""

    def __init__(self, *, careful: bool) -> None:
        self.refused = False
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float if careful else None,
            parse_int=self._int if careful else None,
        )

    def _refuse(self, detail: str) -> _Refused:
        self.refused = True
        return _mark(detail)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    members[name] = self._refuse("the key appears more than once")
                seen.add(name)
        return members

    def _constant(self, name: str) -> _Refused:
        return self._refuse(f"{name} is not a JSON value")

    def _float(self, digits: str) -> float | _Refused:
        if len(digits) > MAX_DIGITS:
            return self._refuse(f"a number of more than {MAX_DIGITS:,} digits")
        number = float(digits)
        return self._refuse("a number that is too large") if number in (float("inf"), float("-inf")) else number

    def _int(self, digits: str) -> int | _Refused:
        if len(digits.lstrip("-")) > MAX_DIGITS:
            return self._refuse(f"a number of more than {MAX_DIGITS:,} digits")
        return int(digits)


class _Readers(threading.local):
    """Made once for each thread: to make one takes as long as to read a small body with it."""

    def __init__(self) -> None:
        self.plain, self.careful = _Reader(careful=False), _Reader(careful=True)


_own = _Readers()


def _walk(value: Any) -> Iterator[tuple[str, str]]:
    """Where something is refused, in order: JSON pointers and details. Not recursive, and nothing is made of what is not refused."""
    path: list[str | int] = [""]
    left: list[Iterator[tuple[str | int, Any]]] = [iter([("", value)])]
    while left:
        if (following := next(left[-1], None)) is None:
            left.pop()
            path.pop()
            continue
        path[-1], each = following
        if isinstance(each, _Refused):
            yield _pointer(path), each.detail
        elif isinstance(each, str):
            if found := _BAD_CHARACTER.search(each):
                yield _pointer(path), _character(found[0])
        elif isinstance(each, list):
            left.append(iter(enumerate(each)))
            path.append("")
        elif isinstance(each, dict):
            for name in each:
                if found := _BAD_CHARACTER.search(name):
                    yield _pointer(path), f"in a key: {_character(found[0])}"
            left.append((name, item) for name, item in each.items() if not _BAD_CHARACTER.search(name))
            path.append("")


def _pointer(path: list[str | int]) -> str:
    return shorten(pointer("", (part if isinstance(part, int) else part[:LONGEST_DETAIL] for part in path[1:])))


def refused_character(text: str) -> str:
    """What is in a text that could not be stored and shown again; empty: nothing."""
    found = _BAD_CHARACTER.search(text)
    return _character(found[0]) if found else ""


def _character(character: str) -> str:
    return "a NUL character" if character == "\x00" else "half of a surrogate pair, which is no character"
