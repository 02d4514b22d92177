"""No pattern over what strangers send takes time that grows faster than what they send.

Every pattern of `src` is entered here: those that see bytes or texts of callers, of servers that we call, of models or of files are tried
with what makes patterns slow; of the others it is said who writes what they see.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.unit.growth import MOST, growth

import longrun

SOURCE = Path(longrun.__file__).parent
_N = 8192

#: By module and name: the method that is called, and what is given to it: what stands between « and » is repeated.
STRANGERS: dict[str, tuple[str, ...]] = {
    "api.http.body:_BIG_EXPONENT": ("search", "«e»", "«e+»", "«e9»", "«9e»"),
    "api.http.body:_BAD_ESCAPE": ("search", "«\\u»", "«\\u000»", "«\\ud»"),
    "api.http.body:_BAD_CHARACTER": ("search",),
    "api.http.body:_CONTENT_TYPE": ("fullmatch", "application/«+json»/", "application/«a»+", "application/«+»"),
    "api.http.body:_CHARSET": ("fullmatch",),
    "api.http.jsonl:_TYPE": ("fullmatch",),
    "api.http.multipart:_QUOTED": ("sub", '"«\\»', '«"\\»', '"«\\a»'),
    "api.http.multipart:_EXTENDED": (
        "search", ";« »", "«; »", "«;filename*»", "«;filename*=utf-8'»", ";filename* « »=", ";filename*=utf-8'«'»;",
    ),
    "api.http.parameters:_KEY": ("fullmatch", '"«\\\\»', '"«a»'),
    "api.http.parameters:_WAIT": ("fullmatch", "wait« »=", "wait=« »", "wait=«1»"),
    "api.http.parameters:_TAG": ("findall", '«W/"»', '«"1»', '«"111111111111111111»'),
    "api.http.parameters:re.sub": ("sub", "«\\»", "«\\a»"),
    "api.limits:_SUBMIT": ("fullmatch", "/api/v1/models/«a»", "/api/v1/models/«a/jobs»"),
    "api.limits:_BATCH": ("fullmatch", "/api/v1/models/«a»", "/api/v1/models/«a/batches»"),
    "api.limits:_SIGNAL": ("fullmatch", "/api/v1/jobs/«a»", "/api/v1/jobs/«a/signals/»", "/api/v1/jobs/a/signals/«a»/"),
    "api.middleware.access:_CONTENT": ("fullmatch", "/api/v1/files/«a»", "/api/v1/files/«a/content»"),
    "api.middleware.access:_SIGNAL": ("fullmatch", "/api/v1/jobs/«a»", "/api/v1/jobs/«a/signals/»", "/api/v1/jobs/a/signals/«a»/"),
    "api.middleware.access:_PORT": ("sub", "«:1»x", ":«1»x", "«:»x"),
    "api.middleware.request_id:_REQUEST_ID": ("fullmatch",),
    "api.routes.files:_RANGE": ("fullmatch", "bytes=«1»", "bytes=1-«1»"),
    "api.routes.files:_NO_FILE": ("match",),
    "blobs.contract:_KEY": ("fullmatch", "«a»!", "«a/»", "«a/a»!", "«/»"),
    "cli.show:_CONTROL": ("sub", "«\x1b[»", "«\x00»"),
    "client.protocol.download:_CONTENT_RANGE": ("fullmatch", "bytes «1»", "bytes 1-1/«1»"),
    "client.protocol.download:re.search": ("search", "« sha-256=:»", " sha-256=:«A»", "« »"),
    "client.protocol.files:_ID": ("fullmatch",),
    "jobs.file_refs:_PLACEHOLDERS": ("sub", '«"longrun-file:»', '«"longrun-file:file_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa»'),
    "jobs.npy:_HEAD": (
        "fullmatch", "{'descr': '<f4', 'fortran_order': False, 'shape': («1»",
        "{'descr': '<f4', 'fortran_order': False, 'shape': («1, »", "{'descr': '<f4', 'fortran_order': False, 'shape': («, »",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }« »",
    ),
    "jobs.signals:NAME": ("fullmatch",),
    "media.audio:_NOT_ZERO": ("search",),
    "media.audio:_ID3": ("match", "«ID3»"),
    "media.containers:_DOC_TYPE": ("search", "«B\x82»", "«B\x82\x84web»"),
    "media.documents:_PDF": ("search", "«%PDF»"),
    "media.documents:_PDF_END": ("search", "«%%EO»", "«%»"),
    "media.documents:_ZIP_END": ("search", "«PK\x05»"),
    "media.gif:_SCRIPT": ("match", "«=  »"),
    "media.jpeg:_MARKER": ("search", "«ÿ\x00»", "«ÿ»"),
    "media.jpeg:_NOT_FILLING": ("search",),
    "media.jpeg:_NOT_PADDING": ("search",),
    "media.names:_EXTENSION": ("search", "«.a»!", "«.aaaaaaaaaaaaaaaa»!"),
    "media.names:_EDGES": ("sub", "a« »a", "a«.»a", "« a»", "«a. »"),
    "media.names:_NOT_IN_NAMES": ("sub",),
    "media.names:_DEVICE": ("match", "con« »a"),
    "media.names:re.split": ("split",),
    "media.names:re.sub": ("sub",),
    "media.source:_PADDING": ("search",),
    "media.text:_PROLOG": (
        "match", "<!doctype « »", "<!doctype a« »", "<!doctype a«[»", "<!doctype a[«]»", "<!doctype a[«] »", "<!doctype a[« »",
        "<!doctype a[]« »", "<!doctype a[]« »]", "«<!doctype »", "«<!doctype a[»", "<!doctype      «[»", "«<!---->»<!--", "«<!--»",
        "«<!-»", "«<?a?>»<?", "«<?»", "« <!--a-->»<", "<!doctype a>« »", "«<!doctype a>»", "«<!doctype a[]>»<!doctype a[",
    ),
    "media.text:_PAGE": ("match", "<!doctype« »"),
    "media.text:_DRAWING": ("match", "<«a»", "<«a:»"),
    "media.text:_XML": ("match", "« »"),
    "media.watch:_MARKUP": (
        "search", "«<»", "«<!doctype»", "«<!doctype       »", "«<svg»", "«<svg       »", "«<svg>       »", "«<?php»", "«javascript»",
        "«%pdf-»", "«<scrip»",
    ),
    "media.watch:_ARCHIVE": ("search", "«PK\x05\x06»", "«PK\x05\x06abcdxxyz»", "«Rar!\x1a»", "«7z»"),
    "models.file_schema:_DATA_URI": (
        "match", "data:«a»", "data:«a/»", "data:a/«a»", "data:«;»", "data:;«a»", "data:«;a=»", "data:«;a=a»", "data:;a=«=»",
        "data:;«a=»", "data:«;base64»", "data:«;a=;base64»",
    ),
    "models.file_schema:re.match": ("match", "«data»", "file_«0»"),
    "models.options:NAME": ("fullmatch",),
    "service.read:_SCORE": ("fullmatch", "«1»", "1.«1»"),
    "webhooks.connection:_HEADER": ("fullmatch", "a:« »\0", "a:a« »\0", "a:«\ta»\0", "«a»\0", "a:«\t»a\0", "a: a« »\0"),
    "webhooks.urls:_URL": ("fullmatch", "http://«a»#", "http://«/»#", "http://a?«?»#"),
    "webhooks.urls:_AUTHORITY": ("fullmatch", "[«:»", "«a.»:", "a:«1»"),
    "webhooks.urls:_FOREIGN": ("search",),
    "webhooks.urls:_LABEL": ("fullmatch",),
    "store.trees:_NUMBERS": ("findall", "«1»", "«a»", "«1a»"),
    "webhooks.urls:_LIKE_A_NUMBER": ("fullmatch", "0x«0»!"),
    "worker.runner.job_files:_TYPE": ("fullmatch",),
    "worker.runner.job_files:_ACTIVE": ("search", "«/xm»", "«scrip»"),
}  # fmt: skip

#: Who writes what these see; nobody else can.
OURS = {
    "api.openapi.components:re.sub": "authors: names in schemas",
    "api.openapi.document:re.findall": "this code: routes",
    "api.openapi.models:re.split": "authors: names of models",
    "client.http.address:_DOTENV_LINE": "the user: .env",
    "client.http.address:_SINGLE_ESCAPES": "the user: .env",
    "client.http.address:_DOUBLE_ESCAPES": "the user: .env",
    "client.http.address:_DOTENV_REFERENCE": "the user: .env",
    "client.http.address:re.sub": "the user: .env",
    "embedded.address:re.search": "the operator's server",
    "embedded.program:re.match": "the operator's server",
    "embedded.program:re.fullmatch": "this code: a file in the data folder",
    "models.model:_WORDS": "authors: names of classes",
    "models.patches:_IMPORT": "authors: source",
    "models.patches:_LINE": "authors: source",
    "store.scripts:_COMMENT": "this code: scripts",
    "store.scripts:_DEFINITION": "this code: scripts",
    "store.scripts:_DEFINED": "this code: scripts",
    "store.scripts:_STRING": "this code: scripts",
    "store.scripts:_NAMES": "this code: scripts",
    "store.scripts:re.split": "this code: scripts",
    "store.server_facts:re.match": "the operator's server",
}
#: The forms of numbers in queries are given as texts: all of them are bounded.
FORMS = {"api.http.parameters:re.fullmatch"}

#: Patterns of the scripts. All are anchored, or begin with a text that what they repeat cannot hold.
LUA = {
    "'\"id\": ?\"(job_%x+)\"'", "'^%d+ (%a+)'", "'%S+'", "'^(%S+) (%d+)$'", "'^(%S+) (%S+)$'", "'^ *(%d[^,}]*)'",
    "'^{\"run_s\":([%d.e+-]+),\"wait_s\":([%d.e+-]+)'",
    "'^{\"run_s\":[^,]+,\"wait_s\":[^,]+,\"steps_s\":([%d.e+-]+)'", "'%.%d+$'", "'%.(%d+)$'", "'[^%w%.@_:-]'", "'^.*/(.*)$'",
    "'^(job_%x+)/(%d+)/'", "'^(job_%x+)/(%d+/.+)/'",
    "'^file_[0-9a-f]+$'", "'^(%d+) %d+ output '", "'^(%d+) (.*)$'", "'^(%d+) (%d+)$'", "'^(%d+)/(.*)'", "'^[^/]*'", "'/(.*)'",
    # Of journals: their members are without spaces.
    "'^(%a) (.*)$'", "'^%d+'", "'^(%S+) (%d+)'", "'\"tree\":(%d+)'", "'\"depth\":(%d+)'", "'^c (%S+)'", "'^w (%d+) %d+ %S+ (.*)$'",
    "'^%d+ waited'", "'^[dw] %S+ %S+ %S+ '", "'^(%d+) (%d)$'", "'^c (%S+) '", "'^w (%d+) '", "'^(!?)%d*$'", "'^[vx]:'",
    "'^(%a) (%d+) %d+ %S+ (.*)$'", "'^([dfb]) (%S+ .*)$'", "'^%S+'", "'^%S+ %S+ %S+ (.*)$'", "'^c %S+ %d+ (%d+) (%S+)'",
    "'^[dfbtw] %S+ (%d+) (%S+)'", "'^now:'", "'^first:'", "'^([cdfbtw]) (%S+) (.*)$'", "'^(%d+) (%d+) (%S+)'", "'^(%d+) (%S+) ?(.*)$'",
}  # fmt: skip

#: What is tried of each pattern besides.
_COMMON = (*" \t\n\r\0a0A9.:;,=/\\\"'-_+<>[](){}!?*%#&@|~$^\xff", "a ", "a0", " ,", "a=", "=a", '""', "\r\n", "\\\\", "a.", "./")


@cache
def _calls() -> dict[str, ast.Call]:
    return dict(_found())


def _found() -> Iterator[tuple[str, ast.Call]]:
    """Every use of `re` in the source, by module and the name that it is given there, or the function that is called."""
    for path in sorted(SOURCE.rglob("*.py")):
        module, names, used = ".".join(path.relative_to(SOURCE).with_suffix("").parts), dict[int, str](), Counter[str]()
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
                pairs = (
                    zip(target.elts, value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                    else [(target, value)]
                )
                names |= {id(each): name.id for name, each in pairs if isinstance(name, ast.Name)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) == "re"
                and node.func.attr != "escape"
            ):
                used[node.func.attr] += 1
                again = f" {used[node.func.attr]}" if used[node.func.attr] > 1 else ""
                yield f"{module}:{names.get(id(node), f're.{node.func.attr}{again}')}", node


def _lua_patterns(text: str) -> Iterator[str]:
    """The second argument of every call of a function that takes patterns, unless it says that it is plain text."""
    for call in re.finditer(r"string\.(?:match|gmatch|gsub|find)\(", text):
        depth, quoted, arguments = 1, False, [""]
        for letter in text[call.end() :]:
            quoted ^= letter == "'"
            depth += 0 if quoted else (letter in "({") - (letter in ")}")
            if not depth:
                break
            if letter == "," and depth == 1 and not quoted:
                arguments.append("")
            else:
                arguments[-1] += letter
        if arguments[2:] != [" 1", " true"]:
            yield arguments[1].strip()


def _pattern(name: str) -> re.Pattern[Any]:
    module, _, what = name.partition(":")
    known = import_module(f"longrun.{module}")
    if not what.startswith("re."):
        found: re.Pattern[Any] = getattr(known, what)
        return found
    written = _calls()[name].args[0]
    return re.compile(written.value if isinstance(written, ast.Constant) else getattr(known, ast.unparse(written)))  # type: ignore[arg-type]


def test_every_pattern_is_entered_here() -> None:
    assert set(_calls()) == STRANGERS.keys() | OURS.keys() | FORMS


def test_every_pattern_of_the_scripts_is_entered_here() -> None:
    assert {each for path in (SOURCE / "store" / "scripts").glob("*.lua") for each in _lua_patterns(path.read_text())} == LUA


@pytest.mark.parametrize("name", STRANGERS)
def test_its_time_grows_with_what_it_is_given(name: str) -> None:
    pattern = _pattern(name)
    method, *pumps = STRANGERS[name]
    call: Callable[..., object] = getattr(pattern, method)
    texts = isinstance(pattern.pattern, str)
    arguments = ("" if texts else b"",) if method == "sub" else ()
    for pump in (*pumps, *(f"«{each}»{after}" for each in _COMMON for after in ("", "\x01"))):
        before, each, after = re.split("[«»]", pump)

        def make(n: int, before: str = before, each: str = each, after: str = after) -> Any:
            text = before + each * (n // len(each)) + after
            return text if texts else text.encode("latin-1")

        assert growth(lambda given: call(*arguments, given), make, _N) < MOST, pump
