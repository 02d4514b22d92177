"""The judge: reads a history and says which promises were broken. Pure, so that it is tested itself (`test_check.py`).

Promises: an accepted job reaches exactly one terminal state; at most one completion is accepted for it; what callers see only moves
forward; an attempt number is never used twice; the output is the right one, by the attempt that the record names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.chaos.history import Ask, History, Outcome, Sight

from longrun.jobs.states import MOVES, Status


def violations(history: History, *, expected: Iterable[str] = ("succeeded",)) -> list[str]:
    """Every broken promise, one line each.

    Args:
        history: all that was asked and seen.
        expected: the terminal states that the jobs of this test may end in.
    """
    found = []
    for job_id, ask in history.accepted.items():
        outcome = history.outcomes.get(job_id)
        if outcome is None:
            found.append(f"{job_id}: accepted, but nothing is known of its end")
            continue
        parts = (
            _end(outcome, set(expected)),
            _sights(history.seen.get(job_id, []), outcome),
            _attempts(outcome),
            _events(outcome),
            _output(ask, outcome),
        )
        found += [f"{job_id}: {problem}" for part in parts for problem in part]
    repeated = Counter((run.job_id, run.attempt) for run in history.runs)
    found += [f"{job_id}: attempt {attempt} ran {times} times" for (job_id, attempt), times in repeated.items() if times > 1]
    return found


def digest(text: str) -> str:
    """What the models `nap` and `grind` must compute, worked out here once more: the judge trusts nobody."""
    return hashlib.sha256(text.encode()).hexdigest()


def reachable(status: str) -> set[str]:
    """Every state that legal moves lead to from `status`; readers may miss states in between."""
    reached: set[Status] = set()
    ahead = list(MOVES[Status(status)])
    while ahead:
        if (state := ahead.pop()) not in reached:
            reached.add(state)
            ahead += MOVES[state]
    return {state.value for state in reached}


def _end(outcome: Outcome, expected: set[str]) -> Iterator[str]:
    job = outcome.job
    if not job["terminal"]:
        yield f"has not ended, it is {job['status']}"
    elif job["status"] not in expected:
        yield f"ended as {job['status']}: {job['error']}"


def _sights(sights: list[Sight], outcome: Outcome) -> Iterator[str]:
    sights = [*sights, Sight.of(outcome.job)]
    for before, after in pairwise(sights):
        if before == after:
            continue
        if before.terminal:
            yield f"changed after its end, from {before} to {after}"
        elif after.version <= before.version:
            yield f"changed without a newer version, from {before} to {after}"
        elif after.attempt < before.attempt:
            yield f"went back from attempt {before.attempt} to {after.attempt}"
        elif after.status != before.status and after.status not in reachable(before.status):
            yield f"moved from {before.status} to {after.status}"


def _attempts(outcome: Outcome) -> Iterator[str]:
    job, attempts = outcome.job, outcome.attempts
    if [attempt["attempt"] for attempt in attempts] != list(range(1, job["attempt"] + 1)):
        yield f"is at attempt {job['attempt']}, but lists {[attempt['attempt'] for attempt in attempts]}"
    completed = [attempt["attempt"] for attempt in attempts if attempt["outcome"] == "succeeded"]
    if completed != ([job["attempt"]] if job["status"] == "succeeded" else []):
        yield f"is {job['status']} at attempt {job['attempt']}, but attempts {completed} succeeded"
    if job["terminal"] and any(attempt["outcome"] is None for attempt in attempts):
        yield f"has ended, but an attempt has not: {attempts}"


def _events(outcome: Outcome) -> Iterator[str]:
    events = outcome.events
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield f"has events {[event['seq'] for event in events]}"
    if any(after["attempt"] < before["attempt"] for before, after in pairwise(events)):
        yield f"has events of attempts {[event['attempt'] for event in events]}"
    types = [event["type"] for event in events]
    if types.count("done") != 1 or types[-1] != "done" or types[0] != "queued":
        yield f"has events {types}"
    if types.count("started") != len(outcome.attempts):
        yield f"started {types.count('started')} times in {len(outcome.attempts)} attempts"


def _output(ask: Ask, outcome: Outcome) -> Iterator[str]:
    job = outcome.job
    if job["status"] != "succeeded":
        return
    wanted = ask.text if ask.model == "spell" else {"digest": digest(ask.text), "attempt": job["attempt"]}
    if job["output"] != wanted:
        yield f"has output {job['output']} instead of {wanted}"
    streamed = [event["data"]["value"] for event in outcome.events if event["type"] == "output" and event["attempt"] == job["attempt"]]
    if ask.model == "spell" and "".join(streamed) != ask.text:
        yield f"streamed {streamed} in its last attempt instead of {ask.text!r}"
