"""The judge of the chaos tests finds what it is there to find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from tests.chaos.check import digest, reachable, violations
from tests.chaos.history import Ask, History, Outcome, Run, Sight

JOB = "job_1"


def good() -> History:
    """A job that lost a worker, ran again and succeeded."""
    job = {"id": JOB, "status": "succeeded", "terminal": True, "attempt": 2, "version": 5, "error": None}
    events = [("queued", 0), ("started", 1), ("started", 2), ("done", 2)]
    return History(
        accepted={JOB: Ask("nap", "x")},
        seen={JOB: [Sight("running", False, 1, 2), Sight("queued", False, 1, 3), Sight("running", False, 2, 4)]},
        outcomes={
            JOB: Outcome(
                job={**job, "output": {"digest": digest("x"), "attempt": 2}},
                events=[{"seq": seq, "type": kind, "attempt": attempt, "data": {}} for seq, (kind, attempt) in enumerate(events, 1)],
                attempts=[{"attempt": 1, "outcome": "crashed"}, {"attempt": 2, "outcome": "succeeded"}],
            )
        },
        runs=[Run(JOB, 1, 100), Run(JOB, 2, 101)],
    )


def job_says(**members: Any) -> Callable[[History], None]:
    return lambda history: history.outcomes[JOB].job.update(members)


def also_seen(*sight: Any) -> Callable[[History], None]:
    return lambda history: history.seen[JOB].append(Sight(*sight))


BROKEN: dict[str, tuple[Callable[[History], Any], str]] = {
    "lost": (lambda history: history.outcomes.clear(), "nothing is known of its end"),
    "never ended": (job_says(status="running", terminal=False), "has not ended"),
    "ended otherwise": (job_says(status="failed"), "ended as failed"),
    "wrong output": (job_says(output={"digest": digest("y"), "attempt": 2}), "has output"),
    "a zombie's output": (job_says(output={"digest": digest("x"), "attempt": 1}), "has output"),
    "changed after its end": (also_seen("failed", True, 2, 5), "changed after its end"),
    "back in time": (also_seen("running", False, 2, 9), "without a newer version"),
    "fewer attempts": (also_seen("running", False, 3, 4), "went back from attempt 3"),
    "illegal move": (lambda history: history.seen[JOB].insert(2, Sight("scheduled", False, 1, 3)), "changed without a newer version"),
    "completed twice": (lambda history: history.outcomes[JOB].attempts[0].update(outcome="succeeded"), "attempts [1, 2] succeeded"),
    "an attempt is missing": (lambda history: history.outcomes[JOB].attempts.pop(0), "lists [2]"),
    "an attempt never ended": (lambda history: history.outcomes[JOB].attempts[0].update(outcome=None), "an attempt has not"),
    "two ends": (lambda history: history.outcomes[JOB].events[1].update(type="done"), "has events ['queued', 'done'"),
    "a hole in the log": (lambda history: history.outcomes[JOB].events.pop(1), "has events [1, 3, 4]"),
    "a zombie's event": (lambda history: history.outcomes[JOB].events[3].update(attempt=1), "events of attempts"),
    "an attempt ran twice": (lambda history: history.runs.append(Run(JOB, 2, 102)), "attempt 2 ran 2 times"),
}


def test_a_history_without_fault_is_accepted() -> None:
    assert violations(good()) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    tamper, words = BROKEN[name]
    history = copy.deepcopy(good())
    tamper(history)
    assert any(words in problem for problem in violations(history)), violations(history)


def test_a_streamed_text_is_compared_with_its_events() -> None:
    history = good()
    history.accepted[JOB] = Ask("spell", "hi")
    history.outcomes[JOB].job["output"] = "hi"
    assert violations(history) == [f"{JOB}: streamed [] in its last attempt instead of 'hi'"]


def test_nothing_is_reachable_from_an_end_and_a_queued_job_may_be_seen_ended_at_once() -> None:
    assert reachable("succeeded") == set()
    assert {"running", "succeeded", "failed", "queued"} <= reachable("queued")
    assert "scheduled" not in reachable("queued")
