"""The verbs of callers about jobs that run jobs: what they are made of, what they ask people, and the answers to that."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import orjson

from longrun.errors import ValidationFailed
from longrun.jobs.states import Status, status_of
from longrun.store.connection import Connection
from longrun.store.kinds import JOB

#: Names of signals that a job may have, and bytes of the value of one.
MOST_SIGNALS, MOST_VALUE = 100, 64 * 1024
#: Nodes of a page, and entries of a journal that one script looks at.
MOST_NODES, _PIECE = 100, 500

Signaled = Literal["new", "same", "other", "ended", "over", "full"]
Kind = Literal["child", "step", "sleep", "wait"]
_NUMBERS = re.compile(r"(\d*)(\D*)")
#: Steps by their keys: when each was made (ms), and its mark.
_Made = dict[bytes, tuple[int, bytes]]
_KINDS: dict[bytes, Kind] = {b"c": "child", b"d": "step", b"f": "step", b"b": "step", b"t": "sleep", b"w": "wait"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a job asks people for, and waits for. `ask` and `schema` (of the answer) are JSON; `until`: ms of the server's clock."""

    name: str
    until: int
    ask: bytes
    schema: bytes


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that a job has made: a child, a step that ran in itself, a sleep, or a wait for a signal. Times are ms; `bytes` are JSON.

    Args:
        key: of the step, in its parent.
        place: where in the code it was made, as the runner says it.
        at: when it was made.
        epoch: of the parent, in which it was made; 0 = before any retry. Of sleeps and waits: 0.
        unused: the code that ran last did not ask for it.
        until: when the sleep or wait is over at the latest.
        done: whether it has its result (or its failure): of a child, that it has ended.
        answered: a signal has come for the wait; False: it has not, or the time of the wait was over first.
        kids: how many steps it has in its turn.
    """

    kind: Kind
    key: str
    place: str
    at: int
    epoch: int = 0
    unused: bool = False
    done: bool = False
    id: str | None = None
    model: str | None = None
    status: Status | None = None
    created: int | None = None
    started: int | None = None
    finished: int | None = None
    attempt: int = 0
    usage: bytes | None = None
    error: bytes | None = None
    kids: int = 0
    kids_usage: bytes | None = None
    name: str | None = None
    until: int | None = None
    answered: bool = False


@dataclass(frozen=True, slots=True)
class TreePage:
    """A piece of what a job has made, oldest first. `next`: cursor of the next piece; empty: there is none."""

    nodes: list[Node]
    next: str


class Trees:
    """See the module."""

    def __init__(self, connection: Connection) -> None:
        self._run = connection.run

    async def signal(self, job_id: str, tenant: str, name: str, value: bytes) -> Signaled:
        """Give the job the value (JSON, as compact as callers' values always are) of a signal that it waits for, or will wait for.

        Returns:
            `new`: it has it now. `same`: it had this value already. `other`: it had another one. `ended`: the job has ended. `over`: the
            time of its wait was over. `full`: it has `MOST_SIGNALS` names, or the value has over `MOST_VALUE` bytes.

        Raises:
            JobNotFound, JobGone
        """
        (outcome,) = JOB.found(job_id, await self._run("signal", job_id, tenant, name, value, MOST_SIGNALS, MOST_VALUE))
        return outcome.decode()  # type: ignore[no-any-return]

    async def open_asks(self, job_id: str, names: Sequence[str]) -> list[Ask]:
        """What the job asks under these names (`JobRecord.asks`); one that has been answered, or whose time is over, is left out."""
        rows = await self._run("asks", job_id, *names) if names else []
        return [_ask(*row) for row in rows]

    async def page(self, job_id: str, tenant: str, cursor: str, limit: int) -> TreePage:
        """Up to `limit` (<= 100) of what the job has made, oldest first, from `cursor` on (empty: from the first).

        Raises:
            JobNotFound, JobGone
            ValidationFailed: the cursor is not one of ours.
        """
        made = await self._made(job_id, tenant)
        last = _read_cursor(cursor, made) if cursor else b""
        keys = _following(made, last, min(limit, MOST_NODES) + 1)
        piece = keys[: min(limit, MOST_NODES)]
        rows = JOB.found(job_id, await self._run("tree_nodes", job_id, tenant, *piece))[1]
        nodes = [_node(key.decode(), row) for key, row in zip(piece, rows, strict=True) if row]
        return TreePage(nodes, _cursor(piece[-1]) if len(keys) > len(piece) else "")

    async def _made(self, job_id: str, tenant: str) -> _Made:
        """All steps, read in pieces: a job may have made ten thousand."""
        made, at = _Made(), b"0"
        while True:
            at, found = JOB.found(job_id, await self._run("tree", job_id, tenant, at, _PIECE))
            made |= zip(found[::3], zip(map(int, found[1::3]), found[2::3], strict=True), strict=True)
            if at == b"0":
                return made


def _following(made: _Made, last: bytes, most: int) -> list[bytes]:
    """Keys of the steps behind the one with the key `last` (empty: from the first), in the order in which they were made; up to `most`."""
    first = made[last][0] if last else 0
    keys: list[bytes] = []
    # Only what is needed is put into the order of its places, which takes long.
    for at, together in groupby(sorted((at, key) for key, (at, _) in made.items() if at >= first), itemgetter(0)):
        ordered = sorted((key for _, key in together), key=lambda key: (_natural(_place(made[key][1])), key))
        keys += ordered[ordered.index(last) + 1 :] if last and at == first else ordered
        if len(keys) >= most:
            break
    return keys[:most]


def _place(mark: bytes) -> str:
    """The place in the code, from a mark `<code>~<place>~<digest>`."""
    return mark.decode().partition("~")[2].rpartition("~")[0]


def _natural(place: str) -> list[tuple[int, str]]:
    """To sort by, with numbers in their order: the tenth call stands behind the second."""
    return [(int(number or 0), text) for number, text in _NUMBERS.findall(place)]


def _ask(name: bytes, until: bytes, asked: bytes) -> Ask:
    """`asked`: JSON of `ask` and `schema`, as the wait was journaled."""
    both = orjson.loads(asked)
    return Ask(name.decode(), int(until), orjson.dumps(both.get("ask")), orjson.dumps(both.get("schema")))


def _node(key: str, row: Sequence[Any]) -> Node:
    """From what tree_nodes.lua says of one."""
    kind, at, mark, unused, done, *more = row
    common = dict[str, Any](kind=_KINDS[kind], key=key, place=_place(mark), at=int(at), unused=unused == 1, done=done == 1)
    if kind == b"c":
        child, epoch, model, status, created, started, finished, attempt, usage, error, kids, kids_usage = more
        return Node(
            **common, id=child.decode(), epoch=int(epoch), model=model and model.decode(), status=status and status_of(status),
            created=_number(created), started=_number(started), finished=_number(finished), attempt=int(attempt or 0), usage=usage,
            error=error, kids=int(kids or 0), kids_usage=kids_usage,
        )  # fmt: skip
    if kind in (b"t", b"w"):
        name = key.partition(":")[2] if kind == b"w" else None
        return Node(**common, until=int(more[0]), name=name, answered=more[1] == 1)
    return Node(**common, epoch=int(more[0]), error=more[1] or None)


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(value)


def _cursor(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _read_cursor(cursor: str, made: Container[bytes]) -> bytes:
    """The key of the last step of the page before. Raises ValidationFailed."""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if key not in made:
        finding = {"pointer": "/query/cursor", "detail": "not a cursor of the tree of this job"}
        raise ValidationFailed("The cursor is not valid. Take it from `next` of the page before, unchanged.", errors=[finding])
    return key
