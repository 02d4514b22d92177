"""The base install: httpx and nothing else. Both clients work with it; what needs more says in one line which extra to install."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.unit.scripted import Answer, ScriptedServer

#: As if only httpx, and what httpx needs, were installed.
ONLY_HTTPX = """
import importlib.abc, sys
BASE = {"longrun", "httpx", "httpcore", "h11", "anyio", "certifi", "idna", "sniffio", "typing_extensions"}
def refuse(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
class OnlyHttpx(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in BASE and top not in sys.stdlib_module_names:
            refuse(name)
sys.meta_path.insert(0, OnlyHttpx())
"""
FILE = {"id": f"file_{0:032}", "url": "/api/v1/files/x/content", "content_type": "text/plain", "size": 2, "digest": "", "name": "a.txt"}
DONE = {"seq": 1, "attempt": 1, "at": "", "type": "done", "data": {}}


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ONLY_HTTPX + textwrap.dedent(code), *words], capture_output=True, text=True, timeout=30, check=False
    )


def test_the_clients_do_everything_with_httpx_alone(server: ScriptedServer) -> None:
    job = {"id": "job_1", "model": "m", "status": "succeeded", "terminal": True, "version": 1, "attempt": 1, "output": [FILE, 1.5]}
    counts = {"total": 1, "pending": 0, "succeeded": 1, "failed": 0, "canceled": 0, "expired": 0}
    batch = {"id": "batch_1", "model": "m", "status": "succeeded", "terminal": True, "counts": counts, "progress": 1.0}
    server.on("POST /files", Answer(201, FILE))
    server.on("POST /models/m/jobs", Answer(202, job))
    server.on("POST /models/m/batches", Answer(202, batch))
    server.on("GET /batches/batch_1/results", Answer(200, json.dumps({"index": 0, "id": "job_1", "status": "failed"}).encode() + b"\n"))
    server.on("GET /jobs/job_1", Answer(200, job))
    server.on("GET /jobs/job_1/events", Answer(200, f"data: {json.dumps(DONE)}\n\n".encode(), {"Content-Type": "text/event-stream"}))
    server.on(f"GET /files/{FILE['id']}/content", Answer(200, b"hi"))
    server.on("GET /models", Answer(200, {"models": []}))
    code = """
        import asyncio, io, longrun
        client = longrun.Client(sys.argv[1])
        file = client.upload(b"hi", name="a.txt")
        job = client.submit("m", {"a": file, "b": io.BytesIO(b"hi"), "deep": [{"c": b"hi"}]})
        print(job.result()[0].read(), [event.type for event in job.events()], list(client.map("m", [{}, {}], progress=True))[1][1])
        print([item.status for item in client.batch("m", [{}, {"d": b"hi"}]).wait(progress=True).results()])

        async def main():
            async with longrun.AsyncClient(sys.argv[1]) as client:
                print(await client.models(), (await client.run("m", {}))[1], [each[1] async for each in client.map("m", [{}])])

        asyncio.run(main())
        try:
            job.result(as_array=True)
        except longrun.LongrunError as error:
            print(error)
    """

    done = python(code, server.url)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "b'hi' ['done'] 1.5",
        "['failed']",
        "[] 1.5 [1.5]",
        "arrays need NumPy: `pip install numpy`, or leave as_array out and take lists",
    ]


def test_the_command_says_in_one_line_what_to_install() -> None:
    for words in ([], ["serve", "app.py"], ["run", "shout", "text=a"], ["--version"], ["doctor"]):
        done = python("from longrun.cli.main import main; main()", *words)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: The command needs the server's packages: pip install 'longrun-ai[serve]'\n"


def test_the_command_says_so_too_where_only_some_of_the_packages_are_there(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from longrun import model\n\n\n@model\ndef echo(text: str) -> str:\n    return text\n")
    code = """
        server = {"orjson", "celery", "kombu", "fastapi", "starlette", "redis", "structlog", "uvicorn", "msgspec"}
        OnlyHttpx.find_spec = lambda self, name, *_: None if name not in server else refuse(name)
        from longrun.cli.main import main; main()
    """
    for words in (["api", "app.py"], ["worker", "app.py"], ["doctor"]):
        done = python(code, *words)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: The command needs the server's packages: pip install 'longrun-ai[serve]'\n"


def test_names_of_the_server_say_in_one_line_what_to_install() -> None:
    code = """
        import longrun
        lacking = set()
        for name in longrun.__all__:
            try:
                getattr(longrun, name)
            except ImportError as error:
                assert str(error) == f"longrun.{name} needs the server's packages: pip install 'longrun-ai[serve]'", error
                lacking.add(name)
        print(*sorted(lacking))
        from longrun import Model
    """

    done = python(code)

    lacking = "Audio File Image Job JobHandle Limits Model Retry batched chain close create_app fan_out model submit"
    assert done.stdout.splitlines() == [lacking]
    assert done.stderr.splitlines()[-1].endswith("longrun.Model needs the server's packages: pip install 'longrun-ai[serve]'")
