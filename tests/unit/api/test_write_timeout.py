"""Which readers are cut off."""

from __future__ import annotations

import asyncio

from longrun.api.http.write_timeout import WriteTimeout

KB = 1024


class Connection(asyncio.WriteTransport):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_write_buffer_size(self) -> int:
        return self.size


def cut_after(sizes: list[int]) -> int | None:
    """The second at which a connection is cut that holds these sizes, one a second."""
    stalled, connection = WriteTimeout(patience=5), Connection(0)
    for second, size in enumerate(sizes):
        connection.size = size
        if stalled.look([connection], float(second)):
            return second
    return None


def test_a_full_connection_from_which_nothing_leaves_is_cut_when_the_patience_is_over() -> None:
    assert cut_after([0, 70 * KB] + [70 * KB] * 10) == 6
    assert cut_after([70 * KB] * 5) is None


def test_a_ping_that_is_added_is_no_sign_of_life() -> None:
    assert cut_after([70 * KB + n for n in range(10)]) == 5


def test_a_reader_that_takes_anything_at_all_begins_anew() -> None:
    assert cut_after([70 * KB - n // 4 for n in range(1000)]) is None


def test_it_is_cut_as_well_when_it_stops_half_way() -> None:
    assert cut_after([70 * KB, 60 * KB, 40 * KB] + [40 * KB] * 10) == 7


def test_a_connection_that_is_not_full_is_left_alone_however_long_it_holds_something() -> None:
    assert cut_after([64 * KB] * 100) is None


def test_one_that_has_drained_counts_from_the_next_time_it_is_full() -> None:
    assert cut_after([70 * KB, 70 * KB, 70 * KB, 10 * KB, 60 * KB, 60 * KB, 60 * KB, 60 * KB, 70 * KB] + [70 * KB] * 10) == 13


def test_what_is_closed_is_forgotten() -> None:
    stalled = WriteTimeout(patience=5)
    stalled.look([Connection(70 * KB)], 0)
    assert stalled.look([], 10) == [] and not stalled._held
