"""The judge of the chaos tests finds what it is there to find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.chaos.check import digest, digest_of, files_in, judge, reachable, sha_256, violations
from tests.chaos.history import Ask, Delivery, History, Outcome, Run, Sight

JOB = "job_1"


def good() -> History:
    """A job that lost a worker, ran again and succeeded."""
    job = {"id": JOB, "status": "succeeded", "terminal": True, "attempt": 2, "version": 5, "error": None}
    kinds = [("queued", 0), ("started", 1), ("started", 2), ("done", 2)]
    events = [{"seq": seq, "type": kind, "attempt": attempt, "data": {}} for seq, (kind, attempt) in enumerate(kinds, 1)]
    return History(
        accepted={JOB: Ask("nap", "x", "key")},
        seen={JOB: [Sight("running", False, 1, 2), Sight("queued", False, 1, 3), Sight("running", False, 2, 4)]},
        outcomes={
            JOB: Outcome(
                job={**job, "output": {"digest": digest("x"), "attempt": 2}},
                events=events,
                attempts=[
                    {
                        "attempt": 1,
                        "outcome": "crashed",
                        "started_at": "2026-01-31T09:30:00.125Z",
                        "finished_at": "2026-01-31T09:30:02.000Z",
                    },
                    {
                        "attempt": 2,
                        "outcome": "succeeded",
                        "started_at": "2026-01-31T09:30:02.000Z",
                        "finished_at": "2026-01-31T09:30:03.000Z",
                    },
                ],
                told={"job": ("succeeded", "abc"), "result": ("succeeded", "abc")},
            )
        },
        runs=[Run(JOB, 1, 100), Run(JOB, 2, 101)],
        streams={JOB: [copy.deepcopy(events)]},
        listed={"key": [JOB]},
        hooked={JOB},
        deliveries=[Delivery("msg_1", "job.succeeded", JOB, "succeeded", True, answered, at) for at, answered in enumerate((500, 200))],
    )


PRINT = b"attempt 2\nmlif a"


def developed() -> History:
    """The same with a file that was sent and another one that was made of it."""
    history = good()
    history.accepted[JOB] = Ask("develop", "x", "key", film=b"a film")
    shown = {"id": "file_1", "url": "http://here/file_1", "size": len(PRINT), "digest": sha_256(PRINT), "name": "print.bin"}
    history.outcomes[JOB].job["output"] = {"digest": digest("a film"), "attempt": 2, "text": "x", "print": shown}
    history.contents = {"file_1": PRINT}
    return history


def output_says(**members: Any) -> Callable[[History], None]:
    return lambda history: history.outcomes[JOB].job["output"].update(members)


def file_says(**members: Any) -> Callable[[History], None]:
    return lambda history: history.outcomes[JOB].job["output"]["print"].update(members)


WRONG_FILES: dict[str, tuple[Callable[[History], Any], str]] = {
    "another file was read": (output_says(digest=digest("a flim")), "has read or returned"),
    "a text that was cut": (output_says(text=""), "has read or returned"),
    "a zombie's file": (
        lambda history: history.contents.update(file_1=b"attempt 1\nmlif a"),
        "that are not the 16 that its attempt 2 made",
    ),
    "wrong bytes": (lambda history: history.contents.update(file_1=b"attempt 2\nmlif b"), "that are not the 16 that its attempt 2 made"),
    "missing bytes": (lambda history: history.contents.update(file_1=PRINT[:-1]), "has 15 bytes that are not the 16"),
    "no bytes": (lambda history: history.contents.update(file_1=None), "its file cannot be read"),
    "no file": (output_says(print=None), "its file cannot be read"),
    "another size": (file_says(size=1), "told to be another one"),
    "another digest": (file_says(digest=sha_256(b"")), "told to be another one"),
    "an orphan": (lambda history: history.left.append("job_1+1+file_2"), "the blob store still holds job_1+1+file_2"),
}


def told(**members: Any) -> Callable[[History], None]:
    """The receiver also got this."""
    return lambda history: history.deliveries.append(replace(history.deliveries[-1], **members))


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
    "attempts overlap": (
        lambda history: history.outcomes[JOB].attempts[1].update(started_at="2026-01-31T09:30:01.999Z"),
        "attempt 2 began at 2026-01-31T09:30:01.999Z, before",
    ),
    "readers disagree on the output": (lambda history: history.outcomes[JOB].told.update(output=("succeeded", "abd")), "readers disagree"),
    "readers disagree on the end": (lambda history: history.outcomes[JOB].told.update(result=("failed", "abc")), "readers disagree"),
    "a reader missed an event": (lambda history: history.streams[JOB][0].pop(1), "a reader got events [1, 3, 4]"),
    "a reader got an event twice": (
        lambda history: history.streams[JOB][0].insert(1, history.streams[JOB][0][1]),
        "a reader got events [1, 2, 2, 3, 4]",
    ),
    "a reader got events out of order": (lambda history: history.streams[JOB][0].reverse(), "a reader got events [4, 3, 2, 1]"),
    "a reader was told something else": (lambda history: history.streams[JOB][0][1].update(data={"worker": "w"}), "a reader was told"),
    "a reader was told of another attempt": (lambda history: history.streams[JOB][0][1].update(attempt=2), "a reader was told"),
    "a reader was told another end": (lambda history: history.streams[JOB][0][3]["data"].update(status="failed"), "a reader was told"),
    "a reader missed the end": (lambda history: history.streams[JOB][0].pop(), "a reader got 3 events of 4"),
    "two jobs of one submit": (lambda history: history.listed["key"].append("job_2"), "made 2 jobs"),
    "two jobs of a submit without answer": (lambda history: history.listed.update(lost=["job_2", "job_3"]), "key lost made 2 jobs"),
    "another job than the one accepted": (lambda history: history.listed.update(key=["job_2"]), "but that key's job is ['job_2']"),
    "at most once began twice": (
        lambda history: history.accepted.update({JOB: Ask("nap", "x", "key", at_most_once=True)}),
        "must begin at most once, and began 2 times",
    ),
    "its end was not delivered": (lambda history: history.deliveries.pop(), "its end, succeeded, was not delivered"),
    "another id on another try": (told(message_id="msg_2"), "was delivered as 2 messages"),
    "a wrong signature": (told(genuine=False), "delivered with a wrong signature"),
    "another end was delivered": (
        told(message_id="msg_2", type="job.failed", status="failed"),
        "job.failed was delivered, but it is succeeded",
    ),
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


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_found(name: str) -> None:
    tamper, words = WRONG_FILES[name]
    history = developed()
    assert violations(history) == []
    tamper(history)
    assert any(words in problem for problem in violations(history)), violations(history)


def in_lane(*jobs: tuple[str, str, int]) -> History:
    """Jobs of one lane: (queued at, started at, attempts)."""
    outcomes = {
        f"job_{number}": Outcome(
            {"model": "nap", "priority": 5, "queued_at": queued, "started_at": started, "attempt": attempt}, events=[], attempts=[]
        )
        for number, (queued, started, attempt) in enumerate(jobs)
    }
    return History(outcomes=outcomes)


def test_a_job_that_overtook_an_older_one_of_its_lane_is_found() -> None:
    found = violations(in_lane(("1", "5", 1), ("2", "4", 1)), ordered=True)
    assert found == ["job_1 of ('nap', 5): queued at 2 after job_0, and started before it, at 4"]


def test_jobs_of_one_millisecond_and_jobs_that_ran_again_may_have_any_order() -> None:
    assert violations(in_lane(("1", "5", 1), ("1", "4", 1), ("2", "6", 1), ("3", "6", 1)), ordered=True) == []
    assert violations(in_lane(("1", "5", 2), ("2", "4", 1)), ordered=True) == []


def test_the_verdict_names_the_seed_and_tells_the_story_of_the_first_job() -> None:
    history = good()
    history.outcomes[JOB].job["status"] = "failed"
    with pytest.raises(AssertionError, match=r"(?s)broken promises; again: make chaos SEED=7.*ended as failed.*event: .*queued.*attempt: "):
        judge(history, seed=7)
    judge(good(), seed=7)


def test_outputs_are_compared_by_value_and_not_by_the_order_of_members() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_a_new_url_of_a_file_is_the_same_output_and_other_urls_are_not() -> None:
    def output(url: str, **more: str) -> str:
        return digest_of([{"id": "file_1", "url": url, "size": 1, **more}])

    assert output("a") == output("b") != output("a", digest="c")
    assert digest_of({"url": "a"}) != digest_of({"url": "b"})
    assert [file["id"] for file in files_in({"a": [{"id": "file_1", "of": {"id": "file_2"}}], "b": {"id": "job_1"}})] == [
        "file_1",
        "file_2",
    ]


def test_a_streamed_text_is_compared_with_its_events() -> None:
    history = good()
    history.accepted[JOB] = Ask("spell", "hi")
    history.outcomes[JOB].job["output"] = "hi"
    assert violations(history) == [f"{JOB}: streamed [] in its last attempt instead of 'hi'"]


def spelled(*kinds: tuple[str, int, str]) -> History:
    """A job of `spell` with these events (type, attempt, text), read by one reader."""
    history = good()
    events = [{"seq": seq, "type": kind, "attempt": attempt, "data": {"value": text}} for seq, (kind, attempt, text) in enumerate(kinds, 1)]
    history.accepted[JOB] = Ask("spell", "hi", "key")
    history.outcomes[JOB].events[:] = events
    history.outcomes[JOB].job["output"] = "hi"
    history.streams[JOB] = [events]
    return history


def test_a_reader_drops_what_an_earlier_attempt_said() -> None:
    kinds = [
        ("queued", 0, ""),
        ("started", 1, ""),
        ("output", 1, "h"),
        ("started", 2, ""),
        ("output", 2, "h"),
        ("output", 2, "i"),
        ("done", 2, ""),
    ]
    assert violations(spelled(*kinds)) == []


def test_a_reader_that_is_not_told_to_drop_it_is_found() -> None:
    kinds = [
        ("queued", 0, ""),
        ("started", 1, ""),
        ("started", 2, ""),
        ("output", 1, "h"),
        ("output", 2, "h"),
        ("output", 2, "i"),
        ("done", 2, ""),
    ]
    assert any("a reader has put together ['h', 'h', 'i'] instead of 'hi'" in problem for problem in violations(spelled(*kinds)))


def test_nothing_is_reachable_from_an_end_and_a_queued_job_may_be_seen_ended_at_once() -> None:
    assert reachable("succeeded") == set()
    assert {"running", "succeeded", "failed", "queued"} <= reachable("queued")
    assert "scheduled" not in reachable("queued")
