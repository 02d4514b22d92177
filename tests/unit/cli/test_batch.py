"""`longrun batch`: inputs read from a file, results written, and how it ended as an exit code."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer

from .test_main import call

ID = "batch_" + "0" * 32
SUBMIT = "POST /models/shout/batches"


def batch(status: str, **counts: int) -> dict[str, Any]:
    all_counts = {"total": 2, "pending": 0, "succeeded": 0, "failed": 0, "canceled": 0, "expired": 0, **counts}
    return {"id": ID, "model": "shout", "status": status, "terminal": status in ("completed", "canceled"), "counts": all_counts}


def line(index: int, status: str = "succeeded", output: Any = None, error: Any = None) -> dict[str, Any]:
    return {"index": index, "id": f"job_{index}", "status": status, "output": output, "error": error}


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in lines)


@pytest.fixture
def shout(server: ScriptedServer) -> ScriptedServer:
    """A server with a batch of two, both of which succeed."""
    Path("in.jsonl").write_text('{"text": "ä"}\n\n{"text": "b"}\n')
    server.on(f"{SUBMIT}?options=%7B%22priority%22%3A+1%7D", Answer(202, batch("running", pending=2)))
    server.on(SUBMIT, Answer(202, batch("running", pending=2)))
    ends(server, batch("completed", succeeded=2), line(0, output="Ä"), line(1, output={"b": 1}))
    return server


def ends(server: ScriptedServer, as_it_is: dict[str, Any], *lines: dict[str, Any]) -> None:
    server.on(f"GET /batches/{ID}", Answer(body=as_it_is))
    server.on(f"GET /batches/{ID}/results", Answer(body=jsonl(*lines)))


def test_a_line_of_results_is_printed_for_each_line_of_inputs(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("batch", "shout", "in.jsonl", "--priority", "1", "--url", shout.url) == 0

    name, _, body = shout.requests[0]
    assert [json.loads(each) for each in body.splitlines()] == [{"text": "ä"}, {"text": "b"}]
    assert name.partition("?")[2] == "options=%7B%22priority%22%3A+1%7D"
    out, err = capsys.readouterr()
    assert out.encode() == jsonl(line(0, output="Ä"), line(1, output={"b": 1}))
    assert err == f"{ID}: 2 jobs\n{ID} completed: 2 succeeded\n"


def test_inputs_may_come_from_stdin(shout: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"text": "a"}\n{"text": "b"}')))

    assert call("batch", "shout", "-", "--url", shout.url) == 0
    assert shout.requests[0][2] == b'{"text": "a"}\n{"text": "b"}\n'


def test_results_go_into_a_new_file(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("batch", "shout", "in.jsonl", "--save", "out.jsonl", "--url", shout.url) == 0

    assert Path("out.jsonl").read_bytes() == jsonl(line(0, output="Ä"), line(1, output={"b": 1}))
    assert capsys.readouterr().out == ""


def test_a_file_that_is_there_is_left_alone_and_nothing_is_submitted(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.jsonl").write_text("mine")

    assert call("batch", "shout", "in.jsonl", "--save", "out.jsonl", "--url", shout.url) == 2
    assert (Path("out.jsonl").read_text(), shout.requests) == ("mine", [])
    assert "--save out.jsonl: File exists" in capsys.readouterr().err


def test_results_that_do_not_come_leave_no_file(shout: ScriptedServer) -> None:
    shout.on(f"GET /batches/{ID}/results", Answer(410, {"code": "batch-gone", "detail": "gone"}))

    assert call("batch", "shout", "in.jsonl", "--save", "out.jsonl", "--url", shout.url) == 1
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("counts", "code", "told"),
    [
        ({"succeeded": 1, "failed": 1}, 1, "1 succeeded, 1 failed"),
        ({"succeeded": 1, "canceled": 1}, 3, "1 succeeded, 1 canceled"),
        ({"succeeded": 1, "expired": 1}, 4, "1 succeeded, 1 expired"),
        ({"failed": 1, "canceled": 1}, 1, "1 failed, 1 canceled"),
        ({"succeeded": 2}, 1, "2 succeeded"),  # one of them is not kept any longer
    ],
)
def test_the_exit_code_says_how_it_ended(
    shout: ScriptedServer, counts: dict[str, int], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(shout, batch("completed", **counts), line(0), line(1, "gone" if counts == {"succeeded": 2} else "failed"))

    assert call("batch", "shout", "in.jsonl", "--url", shout.url) == code
    assert capsys.readouterr().err.splitlines()[-1] == f"{ID} completed: {told}"


def test_the_first_reasons_are_told_and_the_rest_counted(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [line(number, "failed", error={"code": "model-error", "detail": f"no {number}"}) for number in range(8)]
    ends(shout, batch("completed", total=8, failed=8), *broken)

    assert call("batch", "shout", "in.jsonl", "--url", shout.url) == 1
    told = capsys.readouterr().err.splitlines()[1:-1]
    assert told == [f"{number}: job_{number} failed: model-error: no {number}" for number in range(5)] + ["… and 3 more"]


def test_json_prints_the_batch_and_reads_no_results(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("batch", "shout", "in.jsonl", "--json", "--url", shout.url) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["succeeded"] == 2
    assert shout.seen(f"GET /batches/{ID}/results") == []

    assert call("batch", "shout", "in.jsonl", "--json", "--save", "out.jsonl", "--url", shout.url) == 0
    assert json.loads(capsys.readouterr().out)["id"] == ID
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


def test_without_waiting_the_id_is_all(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("batch", "shout", "in.jsonl", "--no-wait", "--url", shout.url) == 0
    assert capsys.readouterr().out == f"{ID}\n"
    assert len(shout.requests) == 1


def test_a_batch_that_is_there_already_is_waited_for(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("batch", ID, "--url", shout.url) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert shout.seen(SUBMIT) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1}\n{"a": \n', "in.jsonl, line 2: not JSON: Expecting value"),
        ('{"a": NaN}', "in.jsonl, line 1: not JSON: NaN is not JSON"),
        (b"\xff", "in.jsonl, line 1: not JSON: 'utf-8' codec"),
        (" \n\n", "in.jsonl holds no input"),
    ],
)
def test_inputs_that_are_none_are_a_usage_error_before_anything_is_sent(
    shout: ScriptedServer, text: str | bytes, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    Path("in.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert call("batch", "shout", "in.jsonl", "--url", shout.url) == 2
    assert told in capsys.readouterr().err
    assert shout.requests == []


@pytest.mark.parametrize(
    "words",
    [["shout"], [ID, "in.jsonl"], ["shout", "none.jsonl"], ["shout", "."], ["shout", "in.jsonl", "--no-wait", "--save", "out.jsonl"]],
)
def test_wrong_words_are_a_usage_error(shout: ScriptedServer, words: list[str]) -> None:
    assert call("batch", *words, "--url", shout.url) == 2
    assert (shout.requests, Path("out.jsonl").exists()) == ([], False)


def test_what_the_server_refuses_is_exit_code_2(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"pointer": "/inputs/1/text", "detail": "line 3: Field required"}]
    shout.on(SUBMIT, Answer(422, {"code": "validation-failed", "detail": "one input is wrong", "errors": errors}))

    assert call("batch", "shout", "in.jsonl", "--url", shout.url) == 2
    assert "/inputs/1/text: line 3: Field required" in capsys.readouterr().err


def test_the_time_limit_is_exit_code_124_and_says_how_to_go_on(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    ends(shout, batch("running", pending=2))
    begun = time.monotonic()

    assert call("batch", "shout", "in.jsonl", "--timeout", "0.7", "--save", "out.jsonl", "--url", shout.url) == 124

    assert 0.6 < time.monotonic() - begun < 60
    assert capsys.readouterr().err.splitlines()[-3:] == [
        f"{ID} goes on without us",
        f"  results: longrun batch {ID} --url {shout.url}",
        f"  cancel: longrun jobs cancel {ID} --url {shout.url}",
    ]
    assert not Path("out.jsonl").exists()


def test_a_batch_is_canceled_like_a_job(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on(f"POST /batches/{ID}/cancel", Answer(202, batch("canceling", pending=2)))

    assert call("jobs", "cancel", ID, "--url", shout.url) == 0
    assert capsys.readouterr().out == f"{ID}\tcanceling\n"
