"""Events as they are stored and told."""

from __future__ import annotations

from longrun.jobs.events import Event, carried, decode, gap


def test_a_gap_ends_before_the_event_that_it_stands_in_front_of() -> None:
    assert gap(4, Event(9, 2, 1700, "output", b"{}")) == Event(8, 2, 1700, "gap", b'{"from":4,"to":8}')


def test_a_note_brings_events_as_they_are_stored() -> None:
    stored = [b'1 1700 log {"message":"a b"}', b"1 1700 output {}"]
    assert carried(b"\0".join([b"events 7", *stored])) == [decode(7, stored[0]), decode(8, stored[1])]


def test_any_other_note_brings_none() -> None:
    for note in (b"events", b"done", b"started", b"reconnected", b""):
        assert carried(note) == []
