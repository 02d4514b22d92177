"""Records, events and failures as callers see them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import orjson

from longrun import wire
from longrun.jobs.events import decode
from longrun.jobs.failure import TITLES, JobFailure
from longrun.jobs.policy import Policy
from longrun.jobs.record import FIELDS, AttemptRecord, JobRecord
from longrun.jobs.states import MOVES, RETRYABLE, TERMINAL, Status

PAGE = Path(__file__).parents[3] / "docs" / "http.md"


def record(**given: Any) -> JobRecord:
    stored: dict[str, bytes] = {
        "tenant": b"t", "model": b"m", "queue": b"q", "status": b"queued", "version": b"1", "priority": b"5", "attempt": b"0",
        "created": b"1700000000123",
    }  # fmt: skip
    stored |= {name: str(value).encode() if not isinstance(value, bytes) else value for name, value in given.items()}
    return JobRecord.from_fields("job_" + "a" * 32, [stored.get(name) for name in FIELDS])


def shown(job: JobRecord, **options: Any) -> dict[str, Any]:
    view: dict[str, Any] = orjson.loads(wire.encode(wire.Job.of(job, "/api/v1", **options)))
    return view


def problem(stored: bytes, instance: str, *, debug: bool = False) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(wire.JobProblem.of(stored, instance, debug=debug))
    return members


def attempt(record: AttemptRecord, instance: str) -> dict[str, Any]:
    view: dict[str, Any] = orjson.loads(wire.encode(wire.Attempt.of(record, instance)))
    return view


def test_a_job_has_exactly_the_members_of_the_contract() -> None:
    example = re.search(r'^{"id":"job_.*?}$', PAGE.read_text().partition("## The job")[2], re.MULTILINE | re.DOTALL)
    assert example
    contract = list(orjson.loads(example[0].replace(",…", "")))
    assert list(shown(record())) == contract
    assert list(shown(record(), with_output=False)) == [name for name in contract if name not in ("asks", "output", "output_file")]


def test_times_are_rfc_3339_and_durations_seconds() -> None:
    view = shown(record(status="running", queued=1700000000123, started=1700000001623))
    assert view["created_at"] == "2023-11-14T22:13:20.123Z"
    assert view["usage"]["queue_s"] == 1.5


def test_stored_json_is_passed_on_as_it_is() -> None:
    view = shown(record(status="succeeded", output=b'{"b":1,"a":[2]}', tags=b'["x"]', metadata=b'{"k":null}'))
    assert (view["output"], view["tags"], view["metadata"]) == ({"b": 1, "a": [2]}, ["x"], {"k": None})


def test_retries_left_counts_errors_and_ends_with_the_job() -> None:
    policy = Policy(max_attempts=4).to_json()
    assert record(policy=policy, errors=1).retries_left == 2
    assert record(policy=policy, errors=1, status="failed").retries_left == 0


def test_a_failure_is_a_problem_without_the_operators_text() -> None:
    stored = JobFailure("model-error", attempt=2, cause="ValueError", debug="secret").to_json()
    found = problem(stored, "/api/v1/jobs/x")
    assert "secret" not in str(found)
    assert (found["code"], found["attempt"], found["cause"], found["status"]) == ("model-error", 2, "ValueError", 424)
    assert problem(stored, "/", debug=True)["debug"] == "secret"
    assert shown(record(status="failed", error=stored))["error"]["title"] == TITLES["model-error"]


def test_events_are_cut_out_of_their_stored_form_without_parsing_the_data() -> None:
    event = decode(7, b'2 1700000000123 output {"value":"a b  c"}')
    assert orjson.loads(wire.event_json(event)) == {
        "seq": 7, "attempt": 2, "at": "2023-11-14T22:13:20.123Z", "type": "output", "data": {"value": "a b  c"},
    }  # fmt: skip
    assert decode(8, b"2 1700000000123 done ").data == b"{}"


def test_attempts_show_how_they_ended() -> None:
    begun, ended = b'{"worker":"w","device":"cpu","at":1000}', b'3500 failed {"code":"timeout","detail":"d","attempt":1}'
    view = attempt(AttemptRecord.from_fields(1, begun, ended, b'{"tokens":3}'), "/x")
    assert view["usage"] == {"tokens": 3}
    assert (view["worker"], view["outcome"], view["error"]["code"]) == ("w", "failed", "timeout")
    running = attempt(AttemptRecord.from_fields(1, begun, None), "/x")
    assert (running["finished_at"], running["outcome"], running["error"], running["usage"]) == (None, None, None, None)


def test_the_time_of_an_attempt_is_split_and_what_is_not_known_is_null() -> None:
    begun, ended = b'{"worker":"w","device":"cpu","at":1000,"queued":600}', b"3500 succeeded "
    names = ("queue_s", "wait_s", "run_s", "store_s")

    def split(*fields: bytes | None) -> list[float | None]:
        view = attempt(AttemptRecord.from_fields(1, *fields), "/x")  # type: ignore[arg-type]
        return [view[name] for name in names]

    assert split(begun, ended, b'{"run_s":1.5,"wait_s":0.25}') == [0.4, 0.25, 1.5, 0.75]
    assert split(begun, ended, b'{"run_s":1.5,"wait_s":0.25,"steps_s":0.5}') == [0.4, 0.25, 1.5, 0.25]
    assert split(begun, ended, None) == [0.4, None, None, None]
    assert split(begun, None) == [0.4, None, None, None]
    # As versions before this one have written it: the time in between is nobody's.
    assert split(b'{"worker":"w","device":"cpu","at":1000}', ended, b'{"run_s":1.5,"tokens":3}') == [None, None, 1.5, None]
    # The clock of the store and that of the worker are two.
    assert split(begun, ended, b'{"run_s":2.501,"wait_s":0.001}')[3] == 0


def test_terminal_states_have_no_moves_and_all_others_can_end() -> None:
    assert {status for status, moves in MOVES.items() if not moves} == TERMINAL
    assert RETRYABLE < TERMINAL
    for start in set(Status) - TERMINAL:
        reached, edge = {start}, {start}
        while edge:
            edge = set().union(*(MOVES[status] for status in edge)) - reached
            reached |= edge
        assert reached & TERMINAL


def test_what_is_known_of_a_dead_process_is_shown_in_the_error() -> None:
    stored = JobFailure("worker-lost", attempt=3, signal="SIGSEGV", peak_memory=1 << 30, hint="h").to_json()
    error = shown(record(status="failed", error=stored))["error"]
    assert (error["signal"], error["peak_memory"], error["hint"], "exit_code" in error) == ("SIGSEGV", 1 << 30, "h", False)
    assert "signal" not in problem(JobFailure("timeout").to_json(), "/x")


def test_a_failure_is_stored_whatever_its_texts_are() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    for detail, told in ((ValueError("v"), "v"), ("a \ud800 b", "a ? b"), (Mute(), "Mute"), ("x" * 10**6, "x" * 4096)):
        stored = JobFailure("model-error", detail, cause="\udcff", debug="\udcff" * 10**5).to_json()  # type: ignore[arg-type]
        assert problem(stored, "/x")["detail"] == told
        assert len(stored) < 32_000
