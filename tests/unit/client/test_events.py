"""Reading events out of bytes that are cut anywhere, and the pieces of output among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from longrun.client.protocol.events import Event, EventParser, Pieces
from longrun.errors import StreamBroken


def frame(seq: int, kind: str, attempt: int = 1, **data: Any) -> bytes:
    body = {"seq": seq, "attempt": attempt, "at": "T", "type": kind, "data": data}
    return f"id: {seq}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def parsed(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


ODD = "a\u2028b\u0085c \u00e4\U0001f40d"
STREAM = b": hello\nretry: 500\n\n" + frame(1, "queued", 0) + frame(2, "output", value=ODD)
STREAM += b'data: {"seq": 3,\ndata:"type": "done"}\n\n'


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_a_stream_may_be_cut_at_every_byte(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    whole = parsed(stream)

    assert [(event.seq, event.type) for event in whole] == [(1, "queued"), (2, "output"), (3, "done")]
    for cut in range(len(stream)):
        assert parsed(stream[:cut], stream[cut:]) == whole
    assert parsed(*(stream[place : place + 1] for place in range(len(stream)))) == whole


def test_separators_inside_json_text_end_no_line() -> None:
    assert parsed(STREAM)[1].data["value"] == ODD


def test_data_over_several_lines_is_one_event() -> None:
    (event,) = parsed(b'data: {"seq": 1,\ndata:"type": "queued"}\n\n')

    assert event == Event(1, 0, "", "queued", {})


def test_an_event_that_was_cut_off_is_none() -> None:
    assert parsed(frame(1, "queued") + b'data: {"seq": 2') == parsed(frame(1, "queued"))
    assert parsed(frame(1, "queued")[:-1]) == []


def test_comments_and_empty_lines_are_nothing() -> None:
    assert parsed(b":\n\n: \n\n\n\nevent: x\n\n") == []


def event(kind: str, attempt: int = 1, **data: Any) -> Event:
    return Event(1, attempt, "T", kind, data)


def test_the_pieces_are_the_values_of_the_attempt_that_counts() -> None:
    pieces = Pieces(2, None)
    log = [
        event("output", 1, value="old"),
        event("started", 2),
        event("output", 2, value="new"),
        event("log", 2),
        event("output", 2, value=None),
    ]

    assert [piece for each in log for piece in pieces.take(each)] == ["new", None]


def test_an_attempt_that_begins_anew_is_never_mixed_with_what_was_given() -> None:
    pieces = Pieces(1, None)
    pieces.take(event("output", 1, value="half"))

    with pytest.raises(StreamBroken) as caught:
        pieces.take(event("started", 2))

    assert caught.value.attempt == 2


def test_who_is_told_of_a_new_attempt_gets_its_pieces() -> None:
    told: list[int] = []
    pieces = Pieces(1, told.append)
    log = [event("output", 1, value="half"), event("started", 2), event("output", 2, value="half"), event("output", 2, value="whole")]

    assert [piece for each in log for piece in pieces.take(each)] == ["half", "half", "whole"]
    assert told == [2]


def test_an_attempt_that_begins_before_anything_was_given_breaks_nothing() -> None:
    pieces = Pieces(0, None)
    log = [event("started", 1), event("retrying", 1), event("started", 2), event("output", 2, value="x")]

    assert [piece for each in log for piece in pieces.take(each)] == ["x"]


def test_missing_pieces_are_not_passed_over() -> None:
    with pytest.raises(StreamBroken, match="2 to 9"):
        Pieces(1, lambda _: None).take(Event(9, 1, "T", "gap", {"from": 2, "to": 9}))
