"""From what a model writes to the lines and events that its caller gets."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longrun.errors import ResultTooLarge
from longrun.worker.runner.context import Context
from longrun.worker.runner.lines import BURST, LONGEST, RATE, Flow, Lines
from longrun.worker.runner.outcome import Items
from longrun.worker.runner.run import Run


def lines(*written: bytes) -> list[str]:
    """The lines that come of this, the last one included that was not ended."""
    cutter = Lines()
    found = [line for data in written for line in cutter.feed(data)]
    return found + [rest for rest in [cutter.rest()] if rest]


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"n", b"e\nt", b"wo"], ["one", "two"]),
        ([b"windows\r\n", b"again\r", b"\n"], ["windows", "again"]),
        ([b"\r 10%", b"\r 20%", b"\r100%", b"\n"], ["100%"]),
        ([b"\r 10%\r 20%\r100%\r\nthen\n"], ["100%", "then"]),
        ([b"\r100%", b"\r      \r", b"after it\n"], ["after it"]),
        ([b"\r100%", b"\r      \r"], []),
        ([b"\n\n  \nsomething\n\n"], ["something"]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\xfe bytes\n", b"a\0b\n"], ["\ufffd\ufffd bytes", "a\ufffdb"]),
        ([b"x" * (LONGEST + 5) + b"\n"], ["x" * LONGEST + " … (5 more bytes left out)"]),
        ([b"x" * LONGEST, b"y" * 1000, b"z\n"], ["x" * LONGEST + " … (1,001 more bytes left out)"]),
        ([b"x" * (LONGEST + 5), b"\rshort\n"], ["short"]),
    ],
)
def test_lines_are_those_that_a_terminal_shows(written: list[bytes], seen: list[str]) -> None:
    assert lines(*written) == seen


@given(st.lists(st.text("ab\r\n", max_size=8), max_size=8))
def test_where_writes_are_cut_makes_no_difference(parts: list[str]) -> None:
    written = [part.encode() for part in parts]
    assert lines(*written) == lines(b"".join(written)) == lines(*[bytes([byte]) for byte in b"".join(written)])


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    cutter = Lines()
    for _ in range(1000):
        assert cutter.feed(b"x" * 10_000) == []
    assert len(cutter.rest()) < LONGEST + 100


def test_a_burst_passes_and_a_flood_is_counted() -> None:
    flow = Flow(0.0)
    assert [flow.lets_through(0.0) for _ in range(BURST + 10)] == [True] * BURST + [False] * 10
    assert not flow.lets_through(0.5)
    # It opens when a second's worth may pass, so that a reader gets stretches and not single lines with gaps.
    assert flow.lets_through(1.1)
    assert flow.notice().startswith("11 lines left out: more than 2,000 at once and 200 a second")
    assert flow.notice() == ""
    assert sum(flow.lets_through(1.1) for _ in range(1000)) == pytest.approx(RATE * 1.1, abs=2)


@pytest.mark.parametrize(
    ("is_text", "values"), [(True, [b'"ab"', b'"c"', b'""']), (False, [b"1", b"[2,3]", b'"x"']), (False, []), (True, [])]
)
def test_items_know_the_size_of_the_output_to_the_byte(is_text: bool, values: list[bytes]) -> None:
    output = b'"abc"' if is_text and values else b'""' if is_text else b"[%s]" % b",".join(values)

    def take(limit: int) -> None:
        items = Items(limit, is_text=is_text)
        for value in values:
            items.add(value)

    take(len(output))
    if values:
        with pytest.raises(ResultTooLarge, match=f"the limit is {len(output) - 1}"):
            take(len(output) - 1)


class Frames:
    """The pipe's end, which only notes what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, Any]] = []

    def send(self, *members: Any) -> None:
        self.sent.append((time.monotonic(), members))

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(kind, json.loads(data)) for _, (_, _, _, events) in self.sent for kind, data in events]


def job() -> tuple[Run, Frames]:
    frames = Frames()
    return Run(("job_1", "1/n", b"{}", b"", False), Context(frames.send)), frames


def test_a_million_reports_of_progress_are_few_frames_and_the_last_one_counts() -> None:
    run, frames = job()
    handle = run.handle("m")
    for n in range(100_000):
        handle.progress(n / 100_000)
    handle.progress(1.0)
    run.close()
    assert len(frames.sent) < 2000
    assert frames.events[0] == ("progress", {"fraction": 0.0, "step": None, "message": None})
    assert frames.events[-1][1]["fraction"] == 1.0


def test_progress_is_not_moved_past_other_events() -> None:
    run, frames = job()
    handle = run.handle("m")
    for n in range(3):
        handle.progress(0.1 * n)
        handle.progress(0.1 * n + 0.05)
        run.emit("output", b'{"value":%d}' % n)
    run.close()
    values = [data.get("value", data.get("fraction")) for _, data in frames.events]
    assert values == pytest.approx([0.0, 0.05, 0, 0.15, 1, 0.25, 2])


def test_what_was_said_leaves_the_process_soon_though_nothing_follows() -> None:
    run, frames = job()
    for n in range(3):
        run.emit("output", b'{"value":%d}' % n)
    said = time.monotonic()
    while len(frames.events) < 3:
        assert time.monotonic() < said + 60
        time.sleep(0.001)


def test_what_comes_after_the_end_counts_for_nothing() -> None:
    run, frames = job()
    handle = run.handle("m")
    handle.log("in time")
    run.close()
    handle.log("late")
    handle.progress(0.5)
    run.written(1, b"late\n")
    time.sleep(0.05)
    assert [data["message"] for _, data in frames.events] == ["in time"]


def test_words_that_json_cannot_hold_are_altered_and_do_no_harm() -> None:
    run, frames = job()
    handle = run.handle("m")
    handle.log("half \ud800 pair, \0")
    handle.progress(0.5, "\udfff", cast(Any, ValueError("an object")))
    handle.log("x" * 10_000)
    run.close()
    assert [data.get("message") for _, data in frames.events] == [
        "half \ufffd pair, \ufffd",
        "an object",
        "x" * LONGEST + " … (1,808 more characters left out)",
    ]


def test_sums_stay_numbers_that_json_can_hold() -> None:
    run, frames = job()
    handle = run.handle("m")
    for _ in range(100_000):
        run.emit("usage", {"tokens": 10**15})
    with pytest.raises(ValueError, match="finite"):
        handle.usage(tokens=10**400)
    run.close()
    assert frames.events[-1][1]["tokens"] == pytest.approx(1e20)


def test_usage_is_told_as_sums() -> None:
    run, frames = job()
    handle = run.handle("m")
    handle.usage(tokens=3)
    handle.usage(tokens=4, cost_usd=0.5)
    run.close()
    assert frames.events[-1] == ("usage", {"tokens": 7, "cost_usd": 0.5})
