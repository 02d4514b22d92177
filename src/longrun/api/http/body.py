"""Reading a JSON body strictly: what two readers could understand differently, or what could not be stored and shown again, is refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

from longrun.errors import MalformedRequest, UnsupportedMedia, ValidationFailed

MAX_DEPTH = 64
MAX_DIGITS = 4300
_MOST_FINDINGS = 50

# An unterminated string runs to the end of the text, so that each byte is looked at once whatever was sent.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# A number without either stays below 1e308. The look-behind keeps the search linear: a run of digits is tried at its first digit only.
_BIG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{300}|[eE]\+?[0-9]{2}")
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


def read_json(body: bytes) -> Any:
    """The value of a JSON text; integers of up to 4,300 digits are exact.

    Raises:
        MalformedRequest: not JSON, or not UTF-8; the detail says where.
        ValidationFailed: JSON that is refused: duplicate keys, NaN and infinities (also by overflow, such as 1e400), lone surrogates,
            NUL characters, more than 64 levels, numbers of more than 4,300 digits.
    """
    text = _decode(body)
    if _is_deep(body):
        finding = {"pointer": "", "detail": f"nested more than {MAX_DEPTH} levels deep"}
        raise ValidationFailed("The body is nested too deeply.", errors=[finding])
    reader = _own.careful if _BIG_NUMBER.search(body) else _own.plain
    reader.refused = False
    try:
        value = reader.decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(error.msg, error.lineno, error.colno) from None
    if reader.refused or _BAD_ESCAPE.search(body):
        found = [{"pointer": path, "detail": detail} for path, detail in _walk(value)][:_MOST_FINDINGS]
        if found:
            raise ValidationFailed("The body holds values that are not accepted.", errors=found)
    return value


def read_json_at(where: str, text: bytes) -> Any:
    """As `read_json`, of a text that stands at the pointer `where` of a request. Raises ValidationFailed."""
    try:
        return read_json(text)
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


def _is_deep(body: bytes) -> bool:
    """Whether brackets are nested over the limit; in text that is not JSON it may say yes where a parser would complain first."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", body).translate(_TO_SQUARE, _NOT_BRACKETS)
    # Each round takes the innermost level away, in C: a loop over the characters would hold the event loop up.
    for _ in range(MAX_DEPTH):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


class _Refused:
    """Stands in the parsed value where something is not accepted, so that the walk can tell where that is."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


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
        return _Refused(detail)

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
    """Where something is refused: JSON pointers and details. Not recursive."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, each = left.pop()
        if isinstance(each, _Refused):
            yield path, each.detail
        elif isinstance(each, str):
            if found := _BAD_CHARACTER.search(each):
                yield path, _character(found[0])
        elif isinstance(each, list):
            left += [(f"{path}/{index}", item) for index, item in enumerate(each)]
        elif isinstance(each, dict):
            for name, item in each.items():
                if found := _BAD_CHARACTER.search(name):
                    yield path, f"in a key: {_character(found[0])}"
                else:
                    left.append((path + "/" + name.replace("~", "~0").replace("/", "~1"), item))


def refused_character(text: str) -> str:
    """What is in a text that could not be stored and shown again; empty: nothing."""
    found = _BAD_CHARACTER.search(text)
    return _character(found[0]) if found else ""


def _character(character: str) -> str:
    return "a NUL character" if character == "\x00" else "half of a surrogate pair, which is no character"
