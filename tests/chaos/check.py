"""The judge: reads a history and says which promises were broken. Pure, so that it is tested itself (`test_check.py`).

R1  an accepted job reaches exactly one terminal state.         R2  at most one completion is accepted for it.
R3  what callers see only moves forward.                        R4  every reader tells the same end and the same output.
R5  a reader of events misses none, sees none twice, in order.  R6  attempts only grow, and never overlap.
R7  an at_most_once job begins at most once.                    R8  the end is delivered, signed, under one id on every try.
R9  order inside a lane and priority, but for what ran again.   R10 a submit without an answer made no job or one, never two.
R11 a file that was sent is the one that was read, a file that was made is there whole, and none is left when its jobs are gone.
And the output is the right one, by the attempt that the record names, also as a reader of events puts it together.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from tests.chaos.history import Ask, History, Outcome, Sight
from tests.chaos.reader import assembled

from longrun.jobs.states import MOVES, Status

#: Types of webhooks that tell of an end.
ENDS = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})
#: Models that return a digest of their text and the number of the attempt.
PROVING = frozenset({"nap", "grind", "weigh", "pay", "waver", "hold"})


def violations(history: History, *, expected: Iterable[str] = ("succeeded",), ordered: bool = False) -> list[str]:
    """Every broken promise, one line each.

    Args:
        history: all that was asked and seen.
        expected: the terminal states that the jobs of this test may end in.
        ordered: judge R9 too; only where one worker serves and no ticket was lost, because those come back late.
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
            _files(ask, outcome, history.contents),
            _readers(outcome),
            _streams(history.streams.get(job_id, []), outcome),
        )
        found += [f"{job_id}: {problem}" for part in parts for problem in part]
    found += [*_runs(history), *_submits(history), *_deliveries(history)]
    found += [f"all jobs are deleted, and the blob store still holds {name}" for name in history.left]
    return found + list(_order(history)) if ordered else found


def judge(history: History, *, seed: int | None = None, expected: Iterable[str] = ("succeeded",), ordered: bool = False) -> None:
    """An AssertionError that tells every violation, the seed, and all that is known of the first job that is named."""
    found = violations(history, expected=expected, ordered=ordered)
    if found:
        first = next((job_id for problem in found for job_id in history.accepted if job_id in problem), None)
        told = [
            f"{len(found)} broken promises" + ("" if seed is None else f"; again: make chaos SEED={seed}"),
            *(line[:2000] for line in found[:20]),
        ]
        raise AssertionError("\n".join(told + (story(history, first) if first else [])))


def story(history: History, job_id: str) -> list[str]:
    """What happened to one job, in lines."""
    outcome = history.outcomes.get(job_id)
    lines = [f"---- {job_id}: {history.accepted[job_id]}"[:600]]
    lines += [f"seen: {sight}" for sight in history.seen.get(job_id, [])]
    lines += [f"ran: {run}" for run in history.runs if run.job_id == job_id]
    lines += [f"streamed: {[(event['seq'], event['type']) for event in events]}"[:2000] for events in history.streams.get(job_id, [])]
    if outcome is not None:
        shown = outcome.events if len(outcome.events) <= 60 else [*outcome.events[:20], *outcome.events[-40:]]
        lines += [f"event: {json.dumps(event)[:300]}" for event in shown]
        lines += [f"attempt: {attempt}" for attempt in outcome.attempts]
        lines += [f"told: {outcome.told}", f"job: {json.dumps(outcome.job)[:600]}"]
    return lines


def digest(text: str) -> str:
    """What the models `nap` and `grind` must compute, worked out here once more: the judge trusts nobody."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha_256(data: bytes) -> str:
    """As the digest of a file is told."""
    return "sha-256=" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def digest_of(output: Any) -> str:
    """Digest of any output, to compare what readers were told. The URL of a file is another one every few minutes."""
    return digest(json.dumps(without_urls(output), sort_keys=True))


def files_in(output: Any) -> list[dict[str, Any]]:
    """The files that an output names."""
    if isinstance(output, dict):
        own = [output] if str(output.get("id", "")).startswith("file_") else []
        return own + [file for each in output.values() for file in files_in(each)]
    return [file for each in output for file in files_in(each)] if isinstance(output, list) else []


def without_urls(output: Any) -> Any:
    """An output in which no file has a URL."""
    if isinstance(output, dict):
        of_a_file = str(output.get("id", "")).startswith("file_")
        return {name: without_urls(each) for name, each in output.items() if not (of_a_file and name == "url")}
    return [without_urls(each) for each in output] if isinstance(output, list) else output


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
    if not _all_listed(attempts, job["attempt"]):
        yield f"is at attempt {job['attempt']}, but lists {[attempt['attempt'] for attempt in attempts]}"
    completed = [attempt["attempt"] for attempt in attempts if attempt["outcome"] == "succeeded"]
    if completed != ([job["attempt"]] if job["status"] == "succeeded" else []):
        yield f"is {job['status']} at attempt {job['attempt']}, but attempts {completed} succeeded"
    if job["terminal"] and any(attempt["outcome"] is None for attempt in attempts):
        yield f"has ended, but an attempt has not: {attempts}"
    for before, after in pairwise(attempts):
        ended, began = before.get("finished_at"), after.get("started_at")
        if ended and began and began < ended:  # RFC 3339, all in UTC and of one length: they sort as text
            yield f"attempt {after['attempt']} began at {began}, before attempt {before['attempt']} was over at {ended}"


def _all_listed(attempts: list[dict[str, Any]], last: int) -> bool:
    """Whether attempts 1 to `last` are there, in order. Those that only waited, one after the other, are one: the last of them."""
    before = 0
    for attempt in attempts:
        number = attempt["attempt"]
        if number != before + 1 and not (number > before and attempt["outcome"] == "waited"):
            return False
        before = number
    return before == last


def _events(outcome: Outcome) -> Iterator[str]:
    events = outcome.events
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield f"has events {[event['seq'] for event in events]}"
    if any(after["attempt"] < before["attempt"] for before, after in pairwise(events)):
        yield f"has events of attempts {[event['attempt'] for event in events]}"
    types = [event["type"] for event in events]
    if types.count("done") != 1 or types[-1] != "done" or types[0] != "queued":
        yield f"has events {types}"
    if types.count("started") != outcome.job["attempt"]:
        yield f"started {types.count('started')} times in {outcome.job['attempt']} attempts"


def _output(ask: Ask, outcome: Outcome) -> Iterator[str]:
    job = outcome.job
    if job["status"] != "succeeded" or not (ask.model == "spell" or ask.model in PROVING):
        return
    wanted = ask.text if ask.model == "spell" else {"digest": digest(ask.text), "attempt": job["attempt"]}
    if job["output"] != wanted:
        yield f"has output {job['output']} instead of {wanted}"
    streamed = [event["data"]["value"] for event in outcome.events if event["type"] == "output" and event["attempt"] == job["attempt"]]
    if ask.model == "spell" and "".join(streamed) != ask.text:
        yield f"streamed {streamed} in its last attempt instead of {ask.text!r}"


def _files(ask: Ask, outcome: Outcome, contents: Mapping[str, bytes | None]) -> Iterator[str]:
    """What `develop` must make of the film that was sent with the submit."""
    job, film = outcome.job, ask.film
    if film is None or job["status"] != "succeeded":
        return
    output, attempt = job["output"] or {}, job["attempt"]
    wanted = {"digest": hashlib.sha256(film).hexdigest(), "attempt": attempt, "text": ask.text}
    if {name: output.get(name) for name in wanted} != wanted:
        yield f"has read or returned {output} instead of {wanted}"
    shown = output.get("print") or {}
    found, right = contents.get(shown.get("id", "")), f"attempt {attempt}\n".encode() + film[::-1]
    if found is None:
        yield f"its file cannot be read: {shown}"
    elif found != right:
        yield f"its file has {len(found)} bytes that are not the {len(right)} that its attempt {attempt} made"
    elif (shown.get("size"), shown.get("digest")) != (len(right), sha_256(right)):
        yield f"its file is told to be another one: {shown}"


def _readers(outcome: Outcome) -> Iterator[str]:
    if len(set(outcome.told.values())) > 1:
        yield f"readers disagree: {outcome.told}"


def _streams(streams: list[list[dict[str, Any]]], outcome: Outcome) -> Iterator[str]:
    for events in streams:
        ids = [event["seq"] for event in events]
        if ids != list(range(1, len(ids) + 1)):
            yield f"a reader got events {ids}"
        elif len(ids) != len(outcome.events):
            yield f"a reader got {len(ids)} events of {len(outcome.events)}"
        else:
            yield from (
                f"a reader was told {a} instead of {b}" for a, b in zip(events, outcome.events, strict=True) if _core(a) != _core(b)
            )
            yield from _assembly(assembled(events), outcome.job)


def _core(event: dict[str, Any]) -> dict[str, Any]:
    """What never changes: the last event shows the job, which may be retried by another one later."""
    return {**event, "data": event["data"].get("status")} if event["type"] == "done" else event


def _assembly(values: list[Any], job: dict[str, Any]) -> Iterator[str]:
    """What a reader who drops the output of earlier attempts has in the end."""
    if job["status"] == "succeeded" and values and job["output"] not in ("".join(map(str, values)), values):
        yield f"a reader has put together {values} instead of {job['output']!r}"


def _runs(history: History) -> Iterator[str]:
    repeated = Counter((run.job_id, run.attempt) for run in history.runs)
    yield from (f"{job_id}: attempt {attempt} ran {times} times" for (job_id, attempt), times in repeated.items() if times > 1)
    begun = Counter(run.job_id for run in history.runs)
    for job_id, ask in history.accepted.items():
        if ask.at_most_once and begun[job_id] > 1:
            yield f"{job_id}: must begin at most once, and began {begun[job_id]} times"


def _submits(history: History) -> Iterator[str]:
    for key, ids in history.listed.items():
        if len(ids) > 1:
            yield f"the submit with key {key} made {len(ids)} jobs: {ids}"
    for job_id, ask in history.accepted.items():
        listed = history.listed.get(ask.key)
        if listed is not None and job_id not in listed:
            yield f"{job_id}: accepted with key {ask.key}, but that key's job is {listed}"


def _deliveries(history: History) -> Iterator[str]:
    ids: dict[tuple[str, str], set[str]] = {}
    for each in history.deliveries:
        ids.setdefault((each.job_id, each.type), set()).add(each.message_id)
        if not each.genuine:
            yield f"{each.job_id}: {each.type} was delivered with a wrong signature"
    yield from (f"{job_id}: {kind} was delivered as {len(several)} messages" for (job_id, kind), several in ids.items() if len(several) > 1)
    taken = {(each.job_id, each.type, each.status) for each in history.deliveries if 200 <= each.answered < 300}
    for job_id in history.hooked:
        outcome = history.outcomes.get(job_id)
        if outcome is not None and (job_id, f"job.{outcome.job['status']}", outcome.job["status"]) not in taken:
            yield f"{job_id}: its end, {outcome.job['status']}, was not delivered"
    for job_id, kind, status in taken:
        if kind in ENDS and job_id in history.outcomes and history.outcomes[job_id].job["status"] != status:
            yield f"{job_id}: {kind} was delivered, but it is {history.outcomes[job_id].job['status']}"


def _order(history: History) -> Iterator[str]:
    """By (queued, started) of jobs that ran once: milliseconds, so that jobs of the same one may have any order."""
    lanes: dict[tuple[str, int], list[tuple[str, str, str]]] = {}
    for job_id, outcome in history.outcomes.items():
        job = outcome.job
        if job["attempt"] == 1:
            lanes.setdefault((job["model"], job["priority"]), []).append((job["queued_at"], job["started_at"], job_id))
    for lane, jobs in lanes.items():
        latest = ("", "", "")
        for queued, started, job_id in sorted(jobs):
            if started < latest[1] and queued > latest[0]:
                yield f"{job_id} of {lane}: queued at {queued} after {latest[2]}, and started before it, at {started}"
            latest = max(latest, (queued, started, job_id), key=lambda job: job[1])
