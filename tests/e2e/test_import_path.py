"""The service in a folder full of files that are named like libraries, and files that end the process when they are imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .conftest import LONGRUN, Serve

EACH_KIND = Path(__file__).parents[1] / "integration" / "worker" / "models_of_each_kind.py"
LOADED = """
import sys
import longrun.api.app, longrun.api.server, longrun.cli.commands, longrun.embedded, longrun.inprocess, longrun.worker.celery.worker
import longrun.worker.runner.host
from longrun.models import early_imports
early_imports.load()
print(*{name.partition(".")[0] for name in sys.modules})
"""
#: What `python -m` looks for in the working folder before any code of ours runs, and `multiprocessing` in a new process.
BY_PYTHON = [
    "__future__",
    "__main__",
    "collections",
    "contextlib",
    "functools",
    "importlib",
    "keyword",
    "longrun",
    "operator",
    "reprlib",
    "types",
    "warnings",
]
MODEL = "from longrun import model\n@model\ndef f(x: int) -> int:\n    return x\n"


def test_a_folder_of_files_named_like_libraries_hides_none_of_them_from_any_process(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.touch()
    done = subprocess.run([sys.executable, "-P", "-c", LOADED], capture_output=True, text=True, check=True)
    shutil.copy(EACH_KIND, tmp_path / "app.py")
    for name in set(done.stdout.split()) - set(BY_PYTHON):
        (tmp_path / f"{name}.py").write_text(f"open({str(record)!r}, 'a').write(__name__ + chr(10))\nraise ImportError(__name__)\n")
    service = serve("app.py:Loaded,children")
    with httpx.Client(base_url=service.url + "/api/v1", timeout=120) as http:
        for name, given, output in [("loaded", {"text": "a"}, "a on cpu"), ("children", {"text": "a", "method": "spawn"}, "AA")]:
            job = http.post(f"/models/{name}/jobs", json={"input": given}, headers={"Prefer": "wait=60"}).json()
            assert (job["status"], job.get("output")) == ("succeeded", output), (job, record.read_text())
        assert httpx.get(service.url + "/openapi.json").status_code == 200
    assert service.stop()[0] == 0
    assert record.read_text() == ""


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("import sys\nsys.exit('bye')\n", "app.py:6 ends the process ('bye'); importing it must only define models"),
        pytest.param(
            "import argparse\nargparse.ArgumentParser().parse_args()\n",
            "app.py:6 reads a command line by argparse",
            marks=pytest.mark.slow,
        ),
        pytest.param("raise KeyboardInterrupt\n", "app.py:5 raises KeyboardInterrupt", marks=pytest.mark.slow),
        pytest.param(
            "import asyncio\nraise asyncio.CancelledError('stop')\n",
            "app.py cannot be served: CancelledError: stop",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_file_that_ends_the_process_at_import_is_said_to_do_that_once(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "app.py").write_text(MODEL + lines)
    command = [*LONGRUN, "serve", "app.py", "--port", "0", "--data", str(tmp_path / "data"), "--api-processes", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert says in said
    assert said.count("cannot be served") == 1
    assert "starting it again" not in said
