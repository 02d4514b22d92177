"""What a reader makes of the notes that it hears."""

from __future__ import annotations

from longrun.service.watch import next_events


def note(first: int, count: int) -> bytes:
    return b"\0".join([b"events %d" % first, *[b"1 1700000000000 log {}"] * count])


def seqs(notes: list[bytes], after: int) -> tuple[list[int], bool]:
    events, in_step = next_events(notes, after)
    return [event.seq for event in events], in_step


def test_notes_that_follow_on_are_all_there_is() -> None:
    assert seqs([note(3, 2), note(5, 1)], 2) == ([3, 4, 5], True)


def test_what_the_reader_has_is_left_out() -> None:
    assert seqs([note(3, 2), note(5, 2)], 5) == ([6], True)
    assert seqs([note(3, 2)], 9) == ([], True)


def test_a_hole_sends_the_reader_to_the_store() -> None:
    assert seqs([note(4, 2)], 2) == ([], False)
    assert seqs([note(3, 1), note(5, 1), note(6, 1)], 2) == ([3], False)


def test_a_note_without_events_sends_the_reader_to_the_store() -> None:
    for other in (b"events", b"done", b"gone", b"reconnected", b"dismissed", b"canceling"):
        assert seqs([note(3, 1), other, note(4, 1)], 2) == ([3], False)


def test_so_does_silence_for_a_note_may_be_lost() -> None:
    assert seqs([], 2) == ([], False)
