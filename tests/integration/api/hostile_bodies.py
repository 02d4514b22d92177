"""Bodies that are made to cost much, each at the limit of four megabytes: what to send where, and what has to come back."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, create_model, field_validator
from typing_extensions import TypedDict

from longrun import File, Image, model
from longrun.models import Registry, isolated_registry

LIMIT = 4 * 1024 * 1024
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
LINES = "application/jsonl"

with isolated_registry() as _defined:

    class Left(BaseModel):
        kind: Literal["left"] = "left"
        a: int = 0

    class Right(BaseModel):
        kind: Literal["right"] = "right"
        b: int = 0

    class Tree(BaseModel):
        children: list[Tree] = []

    class Either(BaseModel):
        child: Either | Other | None = None
        data: list[float] = []

    class Other(BaseModel):
        child: Either | Other | None = None
        data: list[float] = []

    class Judged(BaseModel):
        rows: list[Left] = []

        @field_validator("rows")
        @classmethod
        def _few(cls, rows: list[Left]) -> list[Left]:
            return rows

    @dataclass
    class Point:
        x: int = 0

    class Box(TypedDict, total=False):
        w: int

    class Colour(enum.Enum):
        RED = "red"

    Many: Any = Union[tuple(create_model(f"Many{n}", data=(list[int], [])) for n in range(8))]  # noqa: UP007
    Within: Any = Union[tuple(create_model(f"Within{n}", many=(Many, ...)) for n in range(8))]  # noqa: UP007
    Code = Annotated[str, Field(pattern=r"^[a-z]{1,8}$")]

    @model
    def take(  # noqa: PLR0917
        any: Any = None,
        texts: list[str] | None = None,
        numbers: list[float] | None = None,
        rows: list[list[float]] | None = None,
        mixed: list[int | Left | Right] | None = None,
        tagged: list[Annotated[Left | Right, Field(discriminator="kind")]] | None = None,
        boxes: list[Box] | None = None,
        points: list[Point] | None = None,
        one: Left | None = None,
        point: Point | None = None,
        by_name: dict[str, Left] | None = None,
        by_number: dict[int, list[int]] | None = None,
        code: Code | None = None,
        codes: list[Code] | None = None,
        when: datetime.datetime | None = None,
        days: list[datetime.date] | None = None,
        price: decimal.Decimal | None = None,
        prices: list[decimal.Decimal] | None = None,
        names: list[uuid.UUID] | None = None,
        unique: set[str] | None = None,
        colours: list[Colour] | None = None,
        tree: Tree | None = None,
        ambiguous: Either | Other | None = None,
        ambiguities: list[Either | Other] | None = None,
        judged: Judged | None = None,
        data: bytes | None = None,
        many: list[Many] | None = None,
        within: list[Within] | None = None,
    ) -> None:
        """Take anything."""

    @model
    def look(
        picture: Image | None = None,
        files: list[File] | None = None,
        either: list[File | str] | None = None,
        marks: list[int] | None = None,
    ) -> None:
        """Take files."""


def served() -> Registry:
    """A registry with both."""
    registry = Registry()
    for spec in _defined:
        registry.add(spec)
    return registry


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    Args:
        body: makes its bytes.
        answers: statuses of which it must get one.
        path: after the prefix.
        content_type: of the body.
        method: of the request.
        query: of the URL.
        headers: more of them.
    """

    body: Callable[[], bytes]
    answers: tuple[int, ...]
    path: str = "/models/take/jobs"
    content_type: str = JSON
    method: str = "POST"
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def listed(item: bytes, most: int | None = None, before: bytes = b"[", after: bytes = b"]") -> bytes:
    """A list of the same items, as long as a body may be, or of `most` items."""
    number = (LIMIT - 128 - len(before) - len(after) - 64) // (len(item) + 1)
    return before + b",".join([item] * min(number, most or number)) + after


def members(value: bytes = b"1", most: int = 330_000) -> bytes:
    """An object of many members."""
    return b"{" + b",".join(b'"%x":%s' % (number, value) for number in range(most)) + b"}"


def given(name: str, value: Callable[[], bytes]) -> Callable[[], bytes]:
    """The body of a submit with one field of the input."""
    return lambda: b'{"input":{"%s":%s}}' % (name.encode(), value())


def text(piece: bytes, around: bytes = b'"') -> bytes:
    """A text that fills the body."""
    return around + piece * ((LIMIT - 256) // len(piece)) + around


def chain(levels: int, bottom: bytes = b"{}") -> bytes:
    """Objects of which each is the `child` of the one around it."""
    return b'{"child":' * levels + bottom + b"}" * levels


def parts(head: Callable[[int], bytes], value: bytes, most: int | None = None) -> bytes:
    """A form of many parts."""
    pieces, size = [], 0
    for number in count():
        piece = b"--b\r\nContent-Disposition: form-data; " + head(number) + b"\r\n\r\n" + value + b"\r\n"
        size += len(piece)
        if size > LIMIT - 64 or number == most:
            break
        pieces.append(piece)
    return b"".join(pieces) + b"--b--\r\n"


def lines(line: bytes) -> bytes:
    """Many lines, all alike."""
    return (line + b"\n") * (LIMIT // (len(line) + 1))


TAKE, BATCH, LOOK = "/models/take/jobs", "/models/take/batches", "/models/look/jobs"
HOOKS, REDRIVE = "/webhook-endpoints", "/dead-letters/redrive"
MANY, WRONG, TAKEN, EITHER = (413,), (422,), (202,), (202, 422)
#: A few of each kind: the others wait for the chaos gate.
QUICK = (
    "events", "nested 58 deep", "commas in many texts", "NaN", "Infinity behind a long key", "the last key again",
    "numbers of 4,300 digits", "objects nested 60 deep", "honest floats", "unions of nothing", "unions", "prices",
    "unknown fields of a dataclass", "a deep tree", "an ambiguous chain", "an ambiguous chain of 60 KB", "60 KB of eight classes",
    "rows that the author looks at", "known events", "tags of a job",
    "unknown members of the policy", "ids of dead letters", "batch of wrong inputs", "blank lines", "a line of unions",
    "empty files", "a data: URI of escapes", "a part of NaN",
)  # fmt: skip
_EVENTS = b'{"input":{},"webhook":{"url":"https://example.com/","events":%s}}'
_URI = b'"data:text/plain;base64,%s"'

CASES: dict[str, Case] = {
    # What is counted before it is read.
    "events": Case(lambda: _EVENTS % listed(b'""', 1_390_000), MANY),
    "numbers": Case(given("any", lambda: listed(b"1")), MANY),
    "NaN a million times": Case(given("any", lambda: listed(b"NaN")), MANY),
    "empty lists": Case(given("any", lambda: listed(b"[]")), MANY),
    "empty objects": Case(given("any", lambda: listed(b"{}")), MANY),
    "nested 58 deep": Case(given("any", lambda: listed(b"[" * 58 + b"]" * 58)), MANY),
    "opened only": Case(lambda: b"[" * LIMIT, MANY),
    "objects opened only": Case(lambda: b'{"a":' * (LIMIT // 5), MANY),
    "metadata": Case(lambda: b'{"input":{},"metadata":{"a":%s}}' % listed(b"{}"), MANY),
    "commas in one text": Case(given("any", lambda: text(b",[{")), TAKEN),
    "commas in many texts": Case(given("texts", lambda: listed(b'"[,{"', 600_000)), TAKEN),
    "texts that look like the end of one": Case(given("texts", lambda: listed(rb'"\\\",["', 440_000)), TAKEN),
    # Read as far as it goes.
    "NaN": Case(given("any", lambda: listed(b"NaN", 990_000)), WRONG),
    "Infinity behind a long key": Case(lambda: b'{"input":{"%s":%s}}' % (b"k" * 2_000_000, listed(b"NaN", 500_000)), WRONG),
    "one key again and again": Case(given("any", lambda: b"{" + b",".join([b'"a":1'] * 690_000) + b"}"), WRONG),
    "the last key again": Case(given("any", lambda: members()[:-1] + b',"1":1}'), WRONG),
    "a long key again": Case(lambda: b'{"input":{"%s":1,"%s":1}}' % (b"k" * 2_000_000, b"k" * 2_000_000), WRONG),
    "NUL": Case(given("any", lambda: listed(rb'"\u0000"')), WRONG),
    "half of a pair": Case(given("any", lambda: listed(rb'"\ud800"')), WRONG),
    "keys with half of a pair": Case(given("any", lambda: listed(rb'{"\ud800":1}', 300_000)), WRONG),
    "escapes": Case(given("any", lambda: text(rb"\\")), TAKEN),
    "escaped letters": Case(given("any", lambda: text(rb"\u0041")), TAKEN),
    "whole pairs": Case(given("any", lambda: text(rb"\ud83d\ude00")), TAKEN),
    "a million digits": Case(given("any", lambda: text(b"1", b"")), WRONG),
    "a million digits after the point": Case(given("any", lambda: b"0." + text(b"1", b"")), WRONG),
    "numbers of 4,300 digits": Case(given("any", lambda: listed(b"7" * 4300)), TAKEN),
    "numbers of 20 digits": Case(given("any", lambda: listed(b"7" * 20)), TAKEN),
    "overflowing numbers": Case(given("any", lambda: listed(b"1e400")), WRONG),
    "spaces": Case(lambda: b" " * LIMIT, (400,)),
    "quotes": Case(lambda: b'"' * LIMIT, (400,)),
    "no UTF-8": Case(given("any", lambda: text(b"\xff")), (400,)),
    "65 deep": Case(given("any", lambda: listed(b"[" * 65 + b"1" + b"]" * 65, 10_000)), WRONG),
    "objects of one member": Case(given("any", lambda: b"[" + b",".join(b'{"%x":1}' % number for number in range(320_000)) + b"]"), TAKEN),
    "objects nested 60 deep": Case(given("any", lambda: listed(b'{"a":' * 60 + b"1" + b"}" * 60, 8_000)), TAKEN),
    "lists nested 60 deep": Case(given("any", lambda: listed(b"[" * 60 + b"1" + b"]" * 60, 16_000)), TAKEN),
    "members": Case(given("any", members), TAKEN),
    # Checked by the model.
    "honest floats": Case(given("numbers", lambda: listed(b"0.123456")), TAKEN),
    "short floats": Case(given("numbers", lambda: listed(b"1.5", 990_000)), TAKEN),
    "honest texts": Case(given("texts", lambda: listed(b'"a word"')), TAKEN),
    "honest rows": Case(given("rows", lambda: listed(b"[0.25,0.125,0.75]")), TAKEN),
    "honest objects": Case(given("tagged", lambda: listed(b'{"kind":"left","a":17}')), TAKEN),
    "wrong numbers": Case(given("numbers", lambda: listed(b'""', 990_000)), WRONG),
    "wrong rows": Case(given("rows", lambda: listed(b"0", 990_000)), WRONG),
    "unions of nothing": Case(given("mixed", lambda: listed(b'""', 990_000)), WRONG),
    "unions": Case(given("mixed", lambda: listed(b"{}", 330_000)), TAKEN),
    "tags that are none": Case(given("tagged", lambda: listed(b'{"kind":""}', 300_000)), WRONG),
    "tags without objects": Case(given("tagged", lambda: listed(b'""', 990_000)), WRONG),
    "empty boxes": Case(given("boxes", lambda: listed(b"{}", 330_000)), TAKEN),
    "empty points": Case(given("points", lambda: listed(b"{}", 330_000)), TAKEN),
    "unknown fields": Case(lambda: b'{"input":%s}' % members(), WRONG),
    "unknown fields of a class": Case(given("one", members), WRONG),
    "unknown fields of a dataclass": Case(given("point", members), WRONG),
    "classes with unknown fields": Case(given("mixed", lambda: listed(b'{"z":1}', 330_000)), WRONG),
    "names of wrong values": Case(given("by_name", members), WRONG),
    "names of classes": Case(given("by_name", lambda: members(b"{}", 300_000)), TAKEN),
    "names that are no numbers": Case(given("by_number", lambda: members(b"[1]", 240_000)), WRONG),
    "a long code": Case(given("code", lambda: text(b"a")), WRONG),
    "wrong codes": Case(given("codes", lambda: listed(b'"A"', 990_000)), WRONG),
    "codes": Case(given("codes", lambda: listed(b'"abcdefg"')), TAKEN),
    "a long time": Case(given("when", lambda: text(b"1")), WRONG),
    "days": Case(given("days", lambda: listed(b'"2026-01-01"')), TAKEN),
    "a long price": Case(given("price", lambda: text(b"1")), EITHER),
    "prices": Case(given("prices", lambda: listed(b"1.25")), TAKEN),
    "names": Case(given("names", lambda: listed(b'"7a1d1b1e-7a1d-4b1e-8a1d-7a1d1b1e7a1d"')), TAKEN),
    "a set": Case(given("unique", lambda: b"[" + b",".join(b'"%x"' % number for number in range(500_000)) + b"]"), TAKEN),
    "colours that are none": Case(given("colours", lambda: listed(b'""', 990_000)), WRONG),
    "a wide tree": Case(given("tree", lambda: b'{"children":%s}' % listed(b"{}", 330_000)), TAKEN),
    "a deep tree": Case(given("tree", lambda: b'{"children":%s}' % listed(b'{"children":[' * 20 + b"]}" * 20)), TAKEN),
    "an ambiguous chain": Case(given("ambiguous", lambda: chain(40)), WRONG),
    "an ambiguous chain of 60 KB": Case(given("ambiguous", lambda: chain(8, b'{"data":%s}' % listed(b"1", 30_000))), WRONG),
    "a large ambiguous chain": Case(given("ambiguous", lambda: chain(20, b'{"data":%s}' % listed(b"1", 900_000))), WRONG),
    "ambiguous chains": Case(given("ambiguities", lambda: listed(chain(20), 10_000)), WRONG),
    "60 KB of eight classes": Case(given("many", lambda: listed(b"{}", 20_000)), TAKEN),
    "60 KB of eight classes within eight": Case(given("within", lambda: listed(b'{"many":{}}', 5_000)), TAKEN),
    "eight classes": Case(given("many", lambda: listed(b"{}", 330_000)), TAKEN),
    "ambiguous objects": Case(given("ambiguities", lambda: listed(b"{}", 330_000)), TAKEN),
    "ambiguous lines": Case(lambda: lines(b'{"ambiguous":%s}' % chain(9))[: 100 * 130], EITHER, BATCH, LINES),
    "an ambiguous part": Case(
        lambda: parts(lambda number: b"name=ambiguous\r\nContent-Type: application/json", chain(30), 1), WRONG, TAKE, FORM
    ),
    "rows that the author looks at": Case(given("judged", lambda: b'{"rows":%s}' % listed(b"{}", 100_000)), TAKEN),
    "bytes": Case(given("data", lambda: text(b"a")), TAKEN),
    # What is ours.
    "known events": Case(lambda: _EVENTS % listed(b'"job.failed"', 270_000), WRONG),
    "tags of a job": Case(lambda: b'{"input":{},"tags":%s}' % listed(b'""', 990_000), WRONG),
    "unknown members": Case(lambda: b'{"input":{},' + members()[1:], WRONG),
    "unknown members of the policy": Case(lambda: b'{"input":{},"policy":%s}' % members(), WRONG),
    "unknown members of the webhook": Case(lambda: b'{"input":{},"webhook":%s}' % members(), WRONG),
    "large metadata": Case(lambda: b'{"input":{},"metadata":%s}' % members(), WRONG),
    "a list as priority": Case(lambda: b'{"input":{},"priority":%s}' % listed(b'""', 990_000), WRONG),
    "a long URL": Case(lambda: b'{"input":{},"webhook":{"url":%s}}' % text(b"a"), WRONG),
    "a long secret": Case(lambda: b'{"input":{},"webhook":{"url":"https://example.com/","secret":%s}}' % text(b"a"), WRONG),
    "events of an endpoint": Case(lambda: b'{"url":"https://example.com/","events":%s}' % listed(b'"job.failed"', 270_000), WRONG, HOOKS),
    "wrong events of an endpoint": Case(lambda: b'{"url":"https://example.com/","events":%s}' % listed(b'""', 990_000), WRONG, HOOKS),
    "unknown members of an endpoint": Case(members, WRONG, HOOKS),
    "unknown members of a change": Case(members, WRONG, f"{HOOKS}/we_1", method="PATCH"),
    "a long description": Case(lambda: b'{"url":"https://example.com/","description":%s}' % text(b"a"), WRONG, HOOKS),
    "unknown members of a rotation": Case(members, WRONG, "/webhook-secret/rotate"),
    "ids of dead letters": Case(lambda: b'{"ids":%s}' % listed(b"1", 990_000), WRONG, REDRIVE),
    "a long cursor": Case(lambda: b'{"all":true,"cursor":%s}' % text(b"a"), WRONG, REDRIVE),
    "a list where an object stands": Case(lambda: listed(b'""', 990_000), WRONG, HOOKS),
    # Batches.
    "batch of nothing": Case(lambda: listed(b"1", 990_000), WRONG, BATCH),
    "batch of wrong inputs": Case(lambda: listed(b'{"z":1}', 320_000), WRONG, BATCH),
    "batch with unknown members": Case(lambda: b'{"inputs":[],' + members()[1:], WRONG, BATCH),
    "batch with tags": Case(lambda: b'{"inputs":[{}],"tags":%s}' % listed(b'""', 990_000), WRONG, BATCH),
    "batch with one large input": Case(lambda: b'[{"mixed":%s}]' % listed(b'""', 990_000), WRONG, BATCH),
    "batch of lists": Case(lambda: listed(b"[]"), MANY, BATCH),
    "blank lines": Case(lambda: b"\n" * LIMIT, WRONG, BATCH, LINES),
    "wrong lines": Case(lambda: lines(b"x"), WRONG, BATCH, LINES),
    "lines of no input": Case(lambda: lines(b"1"), WRONG, BATCH, LINES),
    "a line of lists": Case(lambda: listed(b"[]"), WRONG, BATCH, LINES),
    "a line of NaN": Case(lambda: listed(b"NaN", 990_000), WRONG, BATCH, LINES),
    "a line of unions": Case(lambda: b'{"mixed":%s}' % listed(b'""', 990_000), WRONG, BATCH, LINES),
    "a line of floats": Case(lambda: b'{"numbers":%s}' % listed(b"0.123456"), TAKEN, BATCH, LINES),
    # Files.
    "files that are none": Case(given("files", lambda: listed(b'""', 990_000)), WRONG, LOOK),
    "ids of files": Case(given("files", lambda: listed(b'"file_%s"' % (b"0" * 32))), WRONG, LOOK),
    "empty files": Case(given("files", lambda: listed(b'"data:,"', 450_000)), WRONG, LOOK),
    "files or texts": Case(given("either", lambda: listed(b'"data:,"', 450_000)), WRONG, LOOK),
    "a long data: URI": Case(given("picture", lambda: _URI % text(b"AAAA", b"")), (413, 415, 422), LOOK),
    "a data: URI of escapes": Case(given("files", lambda: b'["data:,%s"]' % text(b"%41", b"")), (202, 413, 415, 422), LOOK),
    "a long head of a data: URI": Case(given("files", lambda: b'["data:%s"]' % text(b";a=", b"")), WRONG, LOOK),
    "marks beside files": Case(given("marks", lambda: listed(b'""', 990_000)), WRONG, LOOK),
    "honest marks beside a file": Case(lambda: b'{"input":{"files":["data:,a"],"marks":%s}}' % listed(b"17"), (202, 413), LOOK),
    # Forms.
    "parts": Case(lambda: parts(lambda number: b"name=a%d" % number, b""), MANY, TAKE, FORM),
    "one name": Case(lambda: parts(lambda number: b"name=texts", b"1"), MANY, TAKE, FORM),
    "a part of lists": Case(lambda: parts(lambda number: b"name=any", listed(b"[]", 1_300_000), 1), MANY, TAKE, FORM),
    "a part of NaN": Case(lambda: parts(lambda number: b"name=numbers", listed(b"NaN", 990_000), 1), WRONG, TAKE, FORM),
    "a part of JSON": Case(
        lambda: parts(lambda number: b"name=mixed\r\nContent-Type: application/json", listed(b'""', 990_000), 1), WRONG, TAKE, FORM
    ),
    "a part of options": Case(lambda: parts(lambda number: b"name=_options", members(), 1), WRONG, TAKE, FORM),
    "parts with long names": Case(lambda: parts(lambda number: b"name=" + b"a" * 8000, b""), (413, 422), TAKE, FORM),
    "nested names": Case(lambda: parts(lambda number: b"name=" + b"a[b]" * 1900, b""), (413, 422), TAKE, FORM),
    # Heads.
    "many preferences": Case(lambda: b'{"input":{}}', TAKEN, headers=((b"prefer", b"wait," * 12_000),)),
    "many media types": Case(lambda: b'{"input":{}}', TAKEN, headers=((b"accept", b"text/html;q=0," * 4_000),)),
    "many parameters": Case(lambda: b'{"input":{}}', TAKEN, query=b"a=1&" * 15_000),
    "many versions": Case(lambda: b'{"input":{}}', TAKEN, headers=((b"if-none-match", b'"1",' * 15_000),)),
    "large options": Case(lambda: b"[{}]", WRONG, BATCH, query=b"options=" + b"[[],[]," * 8_000),
}  # fmt: skip
