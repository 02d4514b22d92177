"""The examples: their models as plain Python, and the parts of the demo that decide something."""

import asyncio
import os
import subprocess
import sys

import pytest
from examples import demo

from longrun import Failure, Job
from longrun.models import isolated_registry

with isolated_registry():  # the names of its models must not meet those of other tests
    from examples import hello


def test_the_demo_ranks_pairs_by_direction_not_by_length() -> None:
    pairs = demo.ranked_pairs([[1, 0], [0, 1], [9, 1]])
    assert [(i, j) for _, i, j in pairs] == [(0, 2), (1, 2), (0, 1)]
    assert pairs[0][0] == pytest.approx(9 / 82**0.5)
    assert pairs[-1][0] == 0


def test_the_demo_refuses_another_nearest_pair(capsys: pytest.CaptureFixture[str]) -> None:
    times = {"queued_at": "2026-01-31T09:30:00.000Z", "started_at": "2026-01-31T09:30:01.250Z", "finished_at": "2026-01-31T09:30:01.500Z"}
    axes = [[float(i == j) for j in range(len(demo.SENTENCES))] for i in range(len(demo.SENTENCES))]
    vectors = list(axes)
    vectors[demo.NEAREST[1]] = vectors[demo.NEAREST[0]]
    demo.report([demo.Outcome(text, 1, times, vector) for text, vector in zip(demo.SENTENCES, vectors, strict=True)])
    assert "1.250   0.250" in capsys.readouterr().out
    vectors[demo.NEAREST[1]], vectors[4] = axes[demo.NEAREST[1]], axes[5]
    with pytest.raises(demo.DemoError, match=r"\(4, 5\) came out nearest"):
        demo.report([demo.Outcome(text, 1, times, vector) for text, vector in zip(demo.SENTENCES, vectors, strict=True)])


def test_the_demo_finds_processes_below_a_process_and_no_others() -> None:
    assert demo.descendants({2: 1, 3: 2, 4: 3, 5: 1, 1: 0, 6: 5}, 2) == {3, 4}


def test_the_demo_sees_living_processes_of_this_machine() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert demo.process_table()[child.pid] == os.getpid()
    child.communicate(b"\n")
    assert child.pid not in demo.process_table()


def test_shout_is_a_plain_function() -> None:
    assert hello.shout("hello", marks=2) == "HELLO!!"


def test_brew_says_how_far_it_is() -> None:
    seen = []
    job = Job(emit=lambda kind, data: seen.append((kind, data["fraction"])))
    assert asyncio.run(hello.brew("tea", job, seconds=0)) == {"cup": "tea"}
    assert seen == [("progress", fraction) for fraction in (0, 0.25, 0.5, 0.75, 1)]


async def test_count_streams_every_number() -> None:
    assert [number async for number in hello.count(3, pause=0)] == [1, 2, 3]


def test_tell_streams_the_text_and_where_it_was_told() -> None:
    tell = hello.Tell()
    tell.load("cpu")
    assert "".join(tell.predict("once upon a time", Job())) == "once upon a time (told on cpu)"


def test_a_square_root_that_fails_leaves_its_neighbours_alone() -> None:
    good, bad = hello.SquareRoot().predict([hello.Number(value=9), hello.Number(value=-1)])
    assert good == {"root": 3, "together": 2}
    assert isinstance(bad, Failure)
