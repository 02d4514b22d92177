"""Trees and answers, and the pieces of a stream that steps have yielded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.client.played import BROKEN, Played, answer, problem
from tests.unit.client.test_events import event

from longrun.client import RemoteJob, StepPiece
from longrun.client.protocol.events import Pieces
from longrun.client.protocol.steps import signal, tree
from longrun.errors import ApiError, StreamBroken


def step(key: str, children: int = 0) -> dict[str, Any]:
    return {"key": key, "id": f"job_{key}", "children": children}


def page(*steps: dict[str, Any], next: str | None = None) -> Any:
    return answer(body={"id": "job_1", "steps": list(steps), "next": next})


def test_a_tree_is_all_of_its_pages() -> None:
    served = Played([page(step("a"), next="http://other/api/v1/jobs/job_1/tree?limit=1&cursor=x"), page(step("b", 3))])

    whole = served.run(tree(served.rules(), "job_1", False))

    assert [each["key"] for each in whole["steps"]] == ["a", "b"] and whole["next"] is None
    assert [request.path for request in served.requests] == ["/jobs/job_1/tree", "/jobs/job_1/tree?limit=1&cursor=x"]


def test_a_deep_tree_has_the_steps_of_its_steps() -> None:
    served = Played([page(step("a", 1), step("b")), page(step("c", 1)), page(step("d"))])

    whole = served.run(tree(served.rules(), "job_1", True))

    assert whole["steps"][0]["steps"][0]["steps"] == [step("d")]
    assert "steps" not in whole["steps"][1]
    assert [request.path for request in served.requests] == ["/jobs/job_1/tree", "/jobs/job_a/tree", "/jobs/job_c/tree"]


@pytest.mark.parametrize("value", [None, False, "é", {"ok": True}, [1, 2**70]])
def test_an_answer_is_sent_as_it_is_and_again_when_the_connection_breaks(value: Any) -> None:
    served = Played([BROKEN, answer(503), answer(body={"open": False})])

    served.run(signal(served.rules(), "job_1", "a b/c", value))

    assert [request.path for request in served.requests] == ["/jobs/job_1/signals/a%20b%2Fc"] * 3
    assert {json.dumps(json.loads(request.body or b"")) for request in served.requests} == {json.dumps(value)}  # type: ignore[arg-type]
    assert served.requests[0].headers == {"Content-Type": "application/json"}


def test_a_refused_answer_is_not_sent_again() -> None:
    served = Played([problem(409, "already-answered")])

    with pytest.raises(ApiError, match="already-answered"):
        served.run(signal(served.rules(), "job_1", "ok", 1))
    assert len(served.requests) == 1


def test_what_a_job_asks_is_read_from_its_body() -> None:
    asks = [{"name": "ok", "ask": {"n": 1}, "schema": True, "until": "T", "urls": {"signal": "u"}}]
    job = RemoteJob(None, {"id": "job_1", "asks": asks, "parent": "job_2", "root": "job_3"})  # type: ignore[arg-type]

    assert (job.asks, job.parent, job.root) == (asks, "job_2", "job_3")
    bare = RemoteJob(None, {"id": "job_1"})  # type: ignore[arg-type]
    assert (bare.asks, bare.parent, bare.root) == ([], None, None)


def output(attempt: int, value: Any) -> Any:
    return event("output", attempt, value=value)


def step_output(attempt: int, value: Any) -> Any:
    return event("step_output", attempt, step="n:a", value=value)


def test_values_of_steps_are_left_out_unless_they_are_asked_for() -> None:
    assert Pieces(1, None).take(step_output(1, "x")) == []
    assert Pieces(1, None, steps=True).take(step_output(1, "x")) == [StepPiece("n:a", "x")]


def test_values_of_steps_count_whichever_attempt_it_is() -> None:
    restarts = list[int]()
    pieces = Pieces(2, restarts.append, steps=True)
    log = [
        step_output(1, "a"),
        output(1, "dropped"),
        event("started", 2),
        output(2, "own"),
        event("started", 3),
        step_output(3, "b"),
        output(3, "own"),
    ]

    assert [piece for each in log for piece in pieces.take(each)] == [StepPiece("n:a", "a"), "own", StepPiece("n:a", "b"), "own"]
    assert restarts == [3]


def test_a_job_that_goes_on_after_a_wait_breaks_no_stream_that_gave_only_what_steps_yielded() -> None:
    pieces = Pieces(1, None, steps=True)

    assert pieces.take(step_output(1, "a")) == [StepPiece("n:a", "a")]
    assert pieces.take(event("started", 2, resumed=True)) == []
    assert pieces.take(output(2, "own")) == ["own"]
    with pytest.raises(StreamBroken):
        pieces.take(event("started", 3, resumed=True))
