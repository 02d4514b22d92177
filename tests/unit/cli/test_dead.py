"""`longrun dead`: what it asks of the server, what it prints, and how it ends."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer

from longrun.cli.main import main

ID = "job_0123"
START, END = "2026-01-31T09:30:00.000Z", "2026-01-31T09:30:02.500Z"
ERROR = {
    "code": "worker-lost",
    "detail": "The process that ran the job died (SIGKILL).",
    "signal": "SIGKILL",
    "peak_memory": 3 << 30,
    "hint": "The kernel killed it because memory ran out.",
    "attempt": 3,
    "cause": None,
}


def job(**more: Any) -> dict[str, Any]:
    rest = {"version": 1, "attempt": 3, "position": None, "progress": None, "tags": ["night", "x"], "error": ERROR}
    times = {"created_at": START, "started_at": START, "finished_at": END}
    return {"id": ID, "model": "draw", "status": "failed", "terminal": True, **times, **rest, **more}


def attempt(n: int, outcome: str | None, error: Any = None) -> dict[str, Any]:
    return {
        "attempt": n, "worker": "w1", "device": "cpu", "started_at": START, "finished_at": END if outcome else None,
        "run_s": 2.5 if outcome else None, "outcome": outcome, "error": error,
    }  # fmt: skip


def redriven(*pairs: tuple[str, str], skipped: Any = (), left: int = 0, next: str | None = None) -> Answer:
    return Answer(
        body={"redriven": [{"id": old, "job_id": new} for old, new in pairs], "skipped": list(skipped), "left": left, "next": next}
    )


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


def bodies(server: ScriptedServer) -> list[Any]:
    return [json.loads(body) for name, _, body in server.requests if name == "POST /dead-letters/redrive"]


def test_dead_letters_are_listed_tab_separated_with_their_codes(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET /dead-letters?model=draw&code=worker-lost&tag=night&limit=7", Answer(body={"jobs": [job()], "next": None}))
    filters = ("--model", "draw", "--code", "worker-lost", "--tag", "night", "--limit", "7")

    assert call("dead", "ls", *filters, "--url", server.url) == 0
    assert capsys.readouterr().out.rstrip("\n").split("\t") == [ID, "draw", "worker-lost", "3", END, "night,x", ERROR["detail"]]


def test_dead_letters_are_listed_over_several_pages_as_json(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET /dead-letters?limit=100", Answer(body={"jobs": [job()] * 100, "next": "/api/v1/dead-letters?cursor=c&limit=100"}))
    server.on("GET /dead-letters?cursor=c&limit=100", Answer(body={"jobs": [job()] * 50, "next": None}))

    assert call("dead", "ls", "--limit", "120", "--json", "--url", server.url) == 0
    assert len(json.loads(capsys.readouterr().out)) == 120


def test_a_dead_letter_is_shown_with_each_attempt_and_the_death_of_its_process(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(f"GET /jobs/{ID}", Answer(body=job()))
    tried = [attempt(1, "crashed", ERROR), attempt(2, "released"), attempt(3, None)]
    server.on(f"GET /jobs/{ID}/attempts", Answer(body={"attempts": tried}))

    assert call("dead", "show", ID, "--url", server.url) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        f"{ID} failed: worker-lost: {ERROR['detail']}",
        "  signal: SIGKILL",
        "  peak memory: 3,072 MiB",
        "  hint: The kernel killed it because memory ran out.",
    ]
    assert [line.split("\t")[1:] for line in out.splitlines() if line.startswith("attempt\t") and line.count("\t") > 1] == [
        ["1", "crashed", START, "2.5", "w1", f"worker-lost: {ERROR['detail']}"],
        ["2", "released", START, "2.5", "w1", ""],
        ["3", "running", START, "-", "w1", ""],
    ]


def test_dead_letters_are_redriven_by_id(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {"id": "c", "code": "job-gone"}
    server.on("POST /dead-letters/redrive", redriven(("a", "new_a"), ("b", "new_b"), skipped=[gone], left=4))

    assert call("dead", "redrive", "a", "b", "c", "--url", server.url) == 1
    assert bodies(server) == [{"ids": ["a", "b", "c"]}]
    assert capsys.readouterr() == ("a\tnew_a\nb\tnew_b\n", "c: job-gone\n2 run again, 4 dead letters left\n")


def test_more_ids_than_the_server_takes_are_sent_in_pieces(server: ScriptedServer) -> None:
    server.on("POST /dead-letters/redrive", redriven())

    assert call("dead", "redrive", *[f"j{n}" for n in range(1001)], "--url", server.url) == 0
    assert [len(body["ids"]) for body in bodies(server)] == [1000, 1]


def test_a_redrive_goes_on_by_the_cursor_until_there_is_none(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on(
        "POST /dead-letters/redrive", redriven(("a", "n1"), left=9, next="c1"), redriven(("b", "n2"), left=8, next="c2"), redriven(left=8)
    )

    assert call("dead", "redrive", "--model", "draw", "--code", "timeout", "--tag", "t", "--json", "--url", server.url) == 0
    base = {"model": "draw", "code": "timeout", "tag": "t"}
    assert bodies(server) == [base, {**base, "cursor": "c1"}, {**base, "cursor": "c2"}]
    said = json.loads(capsys.readouterr().out)
    assert ([each["id"] for each in said["redriven"]], said["left"]) == (["a", "b"], 8)


@pytest.mark.parametrize(("typed", "code", "asked"), [("y\n", 0, 1), ("n\n", 1, 0)])
def test_all_is_asked_about_on_a_terminal(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, asked: int
) -> None:
    import io

    stdin = io.StringIO(typed)
    stdin.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", stdin)
    server.on("POST /dead-letters/redrive", redriven())

    assert call("dead", "redrive", "--all", "--url", server.url) == code
    assert bodies(server) == [{"all": True}] * asked


def test_all_is_not_asked_about_with_yes_or_without_a_terminal(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    server.on("POST /dead-letters/redrive", redriven())

    assert call("dead", "redrive", "--all", "--url", server.url) == 0
    assert call("dead", "redrive", "--all", "--yes", "--url", server.url) == 0
    assert bodies(server) == [{"all": True}] * 2


@pytest.mark.parametrize("words", [[], ["a", "--all"], ["a", "--model", "m"], ["--all", "--code", "timeout"]])
def test_a_redrive_names_its_dead_letters_in_one_way(server: ScriptedServer, words: list[str]) -> None:
    assert call("dead", "redrive", *words, "--url", server.url) == 2
    assert server.requests == []


def test_only_failed_jobs_are_discarded(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET /jobs/good", Answer(body=job(id="good", status="succeeded")))
    server.on("GET /jobs/bad", Answer(body=job(id="bad")))
    server.on("DELETE /jobs/bad", Answer(204, b""))

    assert call("dead", "discard", "good", "bad", "--url", server.url) == 1
    assert capsys.readouterr() == ("bad\tdiscarded\n", "good: it is succeeded, not a dead letter\n")
    assert [name for name, _, _ in server.requests] == ["GET /jobs/good", "GET /jobs/bad", "DELETE /jobs/bad"]
