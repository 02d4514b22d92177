"""The inputs of a batch on their way into the blob store: each is checked as it passes, and none is held longer than that.

A line of the stored file is one input as compact JSON; behind a tab, if it has files, the JSON of their references by id. Compact JSON
holds neither tabs nor line breaks.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from longrun.errors import PayloadTooLarge, Problem, UnsupportedMedia, ValidationFailed
from longrun.models import ModelSpec
from longrun.models.pointers import MOST_FINDINGS
from longrun.service.aside import aside
from longrun.service.caller import Caller
from longrun.service.input_files import by_digest, named
from longrun.service.jsontext import canonical

#: Seconds of checking after which the event loop gets its turn.
_TURN = 0.004
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One input as it came.

    Args:
        value: decoded JSON.
        line: its line, from 1, in a body of lines.
        wrong: what is wrong with it as JSON; `value` is nothing then.
    """

    value: Any = None
    line: int | None = None
    wrong: tuple[dict[str, str], ...] = ()


class Passing:
    """Inputs as they pass.

    Args:
        caller: who asks.
        spec: the model.
        items: the inputs.
        options: what the fingerprint begins with.

    Attributes:
        total: inputs that have passed.
        files: ids of the files that they name.
    """

    def __init__(self, caller: Caller, spec: ModelSpec, items: AsyncIterator[Item], options: Any) -> None:
        self._caller, self._spec, self._items = caller, spec, items
        self._digest = hashlib.sha256(b"batch\0" + spec.name.encode() + b"\0" + canonical(options) + b"\n")
        self._findings: list[dict[str, str]] = []
        self.total = 0
        self.files: dict[str, None] = {}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of model, options and inputs, the same whatever form they were sent in; files count by their digests."""
        return self._digest.hexdigest()

    async def lines(self) -> AsyncIterator[bytes]:
        """The file to be stored, in pieces.

        Raises:
            ValidationFailed: of the first inputs that are wrong, 50 findings at most; or there are no inputs at all.
            Problem: whatever reading them, or looking at their files, raises.
        """
        held, turn = bytearray(), time.perf_counter()
        async for item in self._items:
            line = await self._check(item)
            self.total += 1
            if not self._findings:
                held += line
            elif len(self._findings) >= MOST_FINDINGS:
                break
            if len(held) >= _PIECE:
                yield bytes(held)
                held.clear()
            if time.perf_counter() - turn > _TURN:
                await asyncio.sleep(0)
                turn = time.perf_counter()
        if self._findings:
            raise _refused(self._findings[:MOST_FINDINGS])
        if not self.total:
            raise ValidationFailed("A batch has at least one input.", errors=[{"pointer": "/inputs", "detail": "empty"}])
        yield bytes(held)

    async def _check(self, item: Item) -> bytes:
        if item.wrong:
            self._note(item, item.wrong)
            return b""
        try:
            inputs = await named(self._caller, self._spec, item.value)
        except (ValidationFailed, PayloadTooLarge, UnsupportedMedia) as problem:
            self._note(item, problem.errors or [{"pointer": "/input", "detail": problem.detail}])
            return b""
        self._digest.update(await aside(inputs.size, canonical, by_digest(item.value, inputs.files)) + b"\n")
        if not inputs.files:
            return inputs.data + b"\n"
        self.files |= dict.fromkeys(inputs.files)
        return inputs.data + b"\t" + orjson.dumps({name: ref.members() for name, ref in inputs.files.items()}) + b"\n"

    def _note(self, item: Item, found: Any) -> None:
        where = "" if item.line is None else f"line {item.line}: "
        for each in found:
            pointer = f"/inputs/{self.total}{each['pointer'].removeprefix('/input')}"
            self._findings.append({"pointer": pointer, "detail": where + each["detail"]})


def _refused(found: list[dict[str, str]]) -> Problem:
    first = found[0]
    more = f" (and {len(found) - 1} more, see errors)" if len(found) > 1 else ""
    return ValidationFailed(f"Nothing was accepted. {first['pointer']}: {first['detail']}{more}", errors=found)
