"""The command line itself: exit codes, usage errors, and that it starts fast."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer

from longrun.cli.main import main
from longrun.cli.run import read_input
from longrun.version import VERSION

MODEL = {"name": "shout", "input_schema": {"properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}}
ID = "job_0123"
START = "2026-01-31T09:30:00.000Z"


def job(status: str, **more: Any) -> dict[str, Any]:
    terminal = status in ("succeeded", "failed", "canceled", "expired")
    times = {"created_at": START, "started_at": START, "finished_at": "2026-01-31T09:30:02.500Z"}
    rest = {"version": 1, "attempt": 1, "position": None, "progress": None, "error": None, "output": None}
    return {"id": ID, "model": "shout", "status": status, "terminal": terminal, **times, **rest, **more}


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


@pytest.fixture
def shout(server: ScriptedServer) -> ScriptedServer:
    server.on("GET /models/shout", Answer(body=MODEL))
    return server


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("canceled", 3), ("expired", 4)])
def test_the_exit_code_says_how_the_job_ended(shout: ScriptedServer, status: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job(status)))
    shout.on(f"GET /jobs/{ID}/result", Answer(body={"said": "HELLO"}))

    assert call("run", "shout", "text=hello", "n=3", "--priority", "7", "--url", shout.url) == code
    _, headers, body = shout.requests[1]
    assert json.loads(body) == {"input": {"text": "hello", "n": 3}, "priority": 7}
    assert len(headers["Idempotency-Key"]) == 32
    out, err = capsys.readouterr()
    assert out == ('{\n  "said": "HELLO"\n}\n' if code == 0 else "")
    assert code == 0 or err.splitlines()[-1] == f"{ID} {status}"


def test_a_result_that_is_no_json_is_written_as_it_is(shout: ScriptedServer, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job("succeeded")))
    shout.on(f"GET /jobs/{ID}/result", Answer(body=b"\x89PNG\xff", headers={"Content-Type": "image/png"}))

    assert call("run", "shout", "--url", shout.url) == 0
    assert capfdbinary.readouterr().out == b"\x89PNG\xff"


def test_json_prints_the_job(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job("failed")))

    assert call("run", "shout", "--json", "--url", shout.url) == 1
    assert json.loads(capsys.readouterr().out) == job("failed")


def test_no_wait_prints_the_id_and_leaves(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job("queued")))

    assert call("run", "shout", "--no-wait", "--url", shout.url) == 0
    assert capsys.readouterr().out == f"{ID}\n"


def test_a_wait_that_takes_too_long_leaves_the_job_running(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job("queued")))
    shout.on(f"GET /jobs/{ID}", Answer(body=job("queued")))
    started = time.monotonic()

    assert call("run", "shout", "--timeout", "0.5", "--url", shout.url) == 124
    assert time.monotonic() - started < 60
    assert f"cancel: longrun jobs cancel {ID} --url {shout.url}" in capsys.readouterr().err
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    shout.on("POST /models/shout/jobs", Answer(202, job("queued")))
    shout.on(f"GET /jobs/{ID}", Answer(body=job("queued")))

    def interrupt() -> None:
        while not shout.seen(f"GET /jobs/{ID}"):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()

    assert call("run", "shout", "--url", shout.url) == 130
    assert f"follow: longrun jobs show {ID} --wait --url {shout.url}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "shout", "hello"], "not key=value"),
        (["run", "shout", "n=three"], "not JSON; the field takes integer"),
        (["run", "shout", "--input", "[1]"], "must be a JSON object"),
        (["run", "shout", "--input", "{"], "not JSON"),
        (["run", "shout", "--input", "@missing.json"], "No such file"),
        (["run", "shout", "--priority", "10"], "less than or equal to 9"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    shout: ScriptedServer, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words, "--url", shout.url) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert shout.seen("POST /models/shout/jobs") == []


def test_a_refused_input_is_shown_with_its_pointer(shout: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "validation-failed", "detail": "wrong", "errors": [{"pointer": "/input/text", "detail": "too short"}]}
    shout.on("POST /models/shout/jobs", Answer(422, problem))

    assert call("run", "shout", "--url", shout.url) == 2
    assert capsys.readouterr().err == "error: validation-failed: wrong\n  /input/text: too short\n"


def test_no_server_is_exit_code_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("models", "--url", "http://127.0.0.1:9") == 5
    assert "start it with `longrun serve`" in capsys.readouterr().err


def test_what_is_no_url_is_a_usage_error() -> None:
    assert call("models", "--url", "nonsense") == 2


def test_words_win_over_the_input_option(shout: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"text": "from the file", "n": 1}')
    shout.on("POST /models/shout/jobs", Answer(202, job("queued")))

    assert call("run", "shout", "n=2", "--input", f"@{tmp_path}/input.json", "--no-wait", "--url", shout.url) == 0
    assert json.loads(shout.requests[-1][2])["input"] == {"text": "from the file", "n": 2}


def test_the_input_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO('{"text": "piped"}'))

    assert read_input("-") == {"text": "piped"}
    assert read_input(None) == {}


def test_jobs_are_listed_over_several_pages(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on(
        "GET /jobs?tag=t&limit=100", Answer(body={"jobs": [job("succeeded")] * 100, "next": "/prefix/api/v1/jobs?cursor=c&limit=100"})
    )
    last = job("failed", tags=["a", "b"], usage={"run_s": 2.25})
    server.on("GET /jobs?cursor=c&limit=100", Answer(body={"jobs": [last] * 100, "next": "/api/v1/jobs?cursor=d"}))

    assert call("jobs", "ls", "--limit", "101", "--tag", "t", "--url", server.url) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 101
    assert lines[-1].split("\t") == [ID, "shout", "failed", "1", START, "2.2", "a,b"]


def test_several_jobs_are_canceled_even_when_one_of_them_is_unknown(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("POST /jobs/one/cancel", Answer(404, {"code": "job-not-found", "detail": "No job one."}))
    server.on("POST /jobs/two/cancel", Answer(202, job("canceling")))

    assert call("jobs", "cancel", "one", "two", "--url", server.url) == 1
    assert capsys.readouterr() == (f"{ID}\tcanceling\n", "one: job-not-found: No job one.\n")


def test_a_retried_job_is_a_new_one(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("POST /jobs/old/retry", Answer(202, job("queued")))

    assert call("jobs", "retry", "old", "--json", "--url", server.url) == 0
    assert json.loads(capsys.readouterr().out) == [job("queued")]


def test_a_job_is_shown_with_its_output(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on(f"GET /jobs/{ID}", Answer(body=job("succeeded", output="HELLO", usage={"run_s": 1.5, "load_s": None})))

    assert call("jobs", "show", ID, "--url", server.url) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"id\t{ID}" in lines
    assert "usage\trun_s=1.5" in lines
    assert lines[-1] == "HELLO"


def test_an_id_cannot_lead_to_another_path(server: ScriptedServer) -> None:
    server.on("GET /jobs/..%2Fmodels", Answer(404, {"code": "job-not-found", "detail": "no"}))

    assert call("jobs", "show", "../models", "--url", server.url) == 1


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"longrun {VERSION}\n"


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["api"], ["worker"], ["run"], ["jobs"], ["jobs", "ls"], ["dead"], ["dead", "redrive"], ["models"]]
)
def test_every_command_has_a_help_text(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command, "--help") == 0
    assert len(capsys.readouterr().out) > 100


def test_nothing_to_serve_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("serve") == 2
    assert "error: nothing to serve: name a file" in capsys.readouterr().err


def test_a_worker_without_a_store_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("from longrun import model\n@model\ndef tiny(text: str) -> str:\n    return text\n")
    done = subprocess.run([sys.executable, "-m", "longrun", "api", "tiny.py"], capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert "LONGRUN_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_starts_without_what_it_may_not_need() -> None:
    code = "import sys, longrun.cli.commands; print(*(set(sys.modules) & set(sys.argv[1:])))"
    heavy = ["fastapi", "starlette", "uvicorn", "celery", "kombu", "redis", "httpx", "rich", "pydantic"]

    assert subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True).stdout == "\n"
