"""`longrun jobs tree` and `longrun signal`: what they ask of the server, what they print, and how they end."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer

from longrun.cli.main import main
from longrun.cli.show import describe_event
from longrun.client import Event

ROOT, DRAW, PART = "job_1", "job_2", "job_3"
TRUE, TEXT = {"type": "boolean"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}


def step(kind: str, key: str, status: str, **more: Any) -> dict[str, Any]:
    nothing = {"id": None, "model": None, "until": None, "usage": None, "steps_usage": None, "error": None, "children": 0, "unused": False}
    return {"kind": kind, "key": key, "status": status, **nothing, **more}


def tree(job_id: str, *steps: dict[str, Any], next: str | None = None, **more: Any) -> Answer:
    job = {"id": job_id, "model": "logo", "status": "waiting", "usage": {"run_s": 1.0}, "steps_usage": {"run_s": 4.0, "cost_usd": 0.25}}
    return Answer(body={**job, **more, "steps": list(steps), "next": next})


def call(*words: str) -> int:
    try:
        main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def flow(server: ScriptedServer) -> ScriptedServer:
    """A job of two pages of steps, one of which has a step."""
    server.on(f"GET /jobs/{ROOT}", Answer(body={"id": ROOT, "model": "logo", "status": "waiting", "terminal": False}))
    draw = step("child", "n:draw", "failed", id=DRAW, model="draw", usage={"run_s": 2.0}, steps_usage={"run_s": 2.0, "cost_usd": 0.25})
    draw |= {"children": 1, "error": {"code": "timeout"}}
    server.on(f"GET /jobs/{ROOT}/tree", tree(ROOT, draw, next=f"https://other/api/v1/jobs/{ROOT}/tree?cursor=abc"))
    gone = step("child", "n:gone", "canceled", model="gone", error={"code": "canceled"})
    wait = step("wait", "s:ok\n?", "waiting", until="2026-01-31T09:30:00.000Z")
    server.on(f"GET /jobs/{ROOT}/tree?cursor=abc", tree(ROOT, step("step", "l:list", "succeeded", unused=True), gone, wait))
    part = step("child", "n:part", "succeeded", id=PART, model="part", usage={"run_s": 2.0, "cost_usd": 0.25}, steps_usage={})
    server.on(f"GET /jobs/{DRAW}/tree", tree(DRAW, part))
    return server


def test_a_tree_is_a_line_for_each_step_below_its_job(flow: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("jobs", "tree", ROOT, "--url", flow.url) == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["logo", "logo", "waiting", "5.0", "$0.2500", ROOT],
        ["  n:draw", "draw", "failed, timeout", "4.0", "$0.2500", DRAW],
        ["    n:part", "part", "succeeded", "2.0", "$0.2500", PART],
        ["  l:list", "step", "succeeded, unused", "-", "-", "-"],
        ["  n:gone", "gone", "canceled", "-", "-", "-"],
        ["  s:ok ?", "wait", "waiting, until 2026-01-31T09:30:00.000Z", "-", "-", "-"],
    ]


def test_a_tree_is_the_servers_json_when_that_is_asked_for(flow: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("jobs", "tree", ROOT, "--url", flow.url, "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in body["steps"]] == ["n:draw", "l:list", "n:gone", "s:ok\n?"]
    assert [each["key"] for each in body["steps"][0]["steps"]] == ["n:part"]


def asking(server: ScriptedServer, schema: Any, *names: str) -> None:
    asks = [{"name": name, "ask": None, "schema": schema, "until": "T", "urls": {"signal": "u"}} for name in names]
    server.on(f"GET /jobs/{ROOT}", Answer(body={"id": ROOT, "model": "m", "status": "waiting", "terminal": False, "asks": asks}))
    server.on(f"POST /jobs/{ROOT}/signals/ok", Answer(body={"name": "ok", "job_id": ROOT, "open": False, "asked": None}))


def sent(server: ScriptedServer) -> list[Any]:
    return [json.loads(body) for name, _, body in server.requests if name == f"POST /jobs/{ROOT}/signals/ok"]


VALUES: list[tuple[str, Any, Any]] = [
    ("true", TRUE, True), ("null", {}, None), ('{"a":1}', {}, {"a": 1}), ("yes", {}, "yes"), ("yes", TEXT, "yes"), ("12", TEXT, "12"),
    ("12", True, 12), ("@@x", TEXT, "@x"), ("@FILE", TEXT, "from a file"), ("-", TEXT, "from stdin"),
]  # fmt: skip


@pytest.mark.parametrize("case", VALUES, ids=str)
def test_an_answer_is_json_or_a_text_where_that_is_asked_for(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, Any, Any]
) -> None:
    value, schema, read = case
    (tmp_path / "answer").write_text("from a file")
    monkeypatch.setattr(sys, "stdin", io.StringIO("from stdin"))
    asking(server, schema, "other", "ok")
    assert call("signal", ROOT, "ok", value.replace("FILE", str(tmp_path / "answer")), "--url", server.url) == 0
    assert sent(server) == [read]


@pytest.mark.parametrize(
    ("value", "said"), [("yes", "not JSON; the field takes boolean"), ("@/no/such", "cannot be read"), ("NaN", "not JSON")]
)
def test_what_cannot_be_read_is_not_sent(server: ScriptedServer, capsys: pytest.CaptureFixture[str], value: str, said: str) -> None:
    asking(server, TRUE, "ok")
    assert call("signal", ROOT, "ok", value, "--url", server.url) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert sent(server) == []


@pytest.mark.parametrize(
    ("status", "code", "ends"),
    [
        (409, "already-answered", 1),
        (409, "wait-timeout", 1),
        (404, "job-not-found", 1),
        (410, "job-gone", 1),
        (422, "validation-failed", 2),
    ],
)
def test_a_refused_answer_is_said_with_its_reason(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], status: int, code: str, ends: int
) -> None:
    asking(server, TRUE, "ok")
    server.on(f"POST /jobs/{ROOT}/signals/ok", Answer(status, {"code": code, "detail": "words", "status": status}))
    assert call("signal", ROOT, "ok", "true", "--url", server.url) == ends
    assert f"{code}: words" in capsys.readouterr().err


def test_what_a_job_waits_for_is_said_in_words() -> None:
    def said(kind: str, **data: Any) -> str | None:
        return describe_event(Event(1, 1, "T", kind, data))

    assert said("waiting", **{"for": ["steps"], "until": None}) == "waiting for its steps"
    assert said("waiting", **{"for": ["a", "b\n"], "until": "T"}) == "waiting until T to be answered: a, b ; see `longrun jobs show ID`"
    assert said("waiting") == "waiting for its steps"
    assert said("step", key="n:a", status="succeeded") == "step n:a: succeeded"
    assert said("step_output", step="n:a", value="x") is None


def test_a_job_shows_what_it_asks_and_how_to_answer(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    asking(server, TRUE, "ok")
    assert call("jobs", "show", ROOT, "--url", server.url) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[-4:] == [
        ["asks", "ok, until T"], ["", "null"], ["schema", '{"type": "boolean"}'], ["answer", f"longrun signal {ROOT} ok VALUE"],
    ]  # fmt: skip
