"""The head of an answer and what follows it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from longrun.api.http.protocol import OneWrite


class Wire:
    """What a transport was told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told


def one_write(wire: Wire) -> OneWrite:
    return OneWrite(cast(Any, wire), asyncio.get_running_loop())


async def test_head_and_body_leave_together_and_the_rest_as_it_comes() -> None:
    wire = Wire()
    transport = one_write(wire)
    transport.write(b"head ")
    assert wire.told == []
    for piece in (b"body", b" more", b""):
        transport.write(piece)
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b" more", b""]


async def test_a_head_whose_body_is_not_there_yet_leaves_at_the_end_of_the_turn() -> None:
    wire = Wire()
    transport = one_write(wire)
    transport.write(b"head")
    await asyncio.sleep(0)
    assert wire.told == [b"head"]
    transport.write(b"body")
    assert wire.told == [b"head", b"body"]


async def test_an_answer_that_has_no_body_leaves_with_its_end() -> None:
    wire = Wire()
    transport = one_write(wire)
    transport.write(b"head")
    transport.write(b"")
    assert wire.told == [b"head"]


async def test_what_is_held_leaves_before_the_connection_is_closed() -> None:
    wire = Wire()
    transport = one_write(wire)
    transport.write(b"head")
    transport.close()
    await asyncio.sleep(0)
    assert (wire.told, transport.is_closing()) == ([b"head", "close"], True)


async def test_nothing_is_written_to_a_connection_that_somebody_else_has_broken_off() -> None:
    wire = Wire()
    one_write(wire).write(b"head")
    wire.close()
    await asyncio.sleep(0)
    assert wire.told == ["close"]
