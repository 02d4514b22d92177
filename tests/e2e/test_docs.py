"""The examples of docs/http.md and docs/files.md, run in the order of the page against a real service.

Each `sh` block is run with bash. A `http` block right after it shows the answer: its status line, some of its headers, and the body
with `…` for what is left out. `API` stands for the service, `JOB`, `FILE` and `BATCH` for the id in the answer before, as the pages say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import ROOT, Service

PAGE = (ROOT / "docs" / "http.md").read_text()
FILES = (ROOT / "docs" / "files.md").read_text()
EXAMPLE = re.compile(r"^```sh\n(.*?)^```$(?:\n```http\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_JOB = re.compile(r"job_[0-9a-f]{32}")
_BATCH = re.compile(r"batch_[0-9a-f]{32}")
_ID = re.compile(r"(?:job|file|batch)_[0-9a-f]{32}")
#: What differs from run to run.
_CHANGING = (
    (_JOB, "JOB"),
    (_BATCH, "BATCH"),
    (_ID, "FILE"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"req_[0-9a-f]{16}"), "REQUEST"),
    (re.compile(r"longrun-\d+-[0-9a-f]{6}@[\w.-]+"), "WORKER"),
    (re.compile(r'("\w+_s":)[\d.e-]+'), r"\1SECONDS"),
    (re.compile(r"\s*\n\s*"), ""),
)


def stable(text: str) -> str:
    """Text without line breaks, and without what differs from run to run."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return text


def missing(shown: str, answer: str) -> str | None:
    """The first piece between two `…` of `shown` that does not come next in `answer`; None when all do."""
    pieces, rest = stable(shown).split("…"), stable(answer)
    if not rest.startswith(pieces[0]):
        return pieces[0]
    if not rest.endswith(pieces[-1]):
        return pieces[-1]
    for piece in filter(None, pieces):
        _, found, rest = rest.partition(piece)
        if not found:
            return piece
    return None


def split(answer: str) -> tuple[str, list[str], str]:
    """Status line, header lines, body."""
    head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    status, *headers = head.strip().split("\n")
    return status, headers, body


def check(shown: str, answer: str) -> None:
    status, headers, body = split(answer)
    shown_status, shown_headers, shown_body = split(shown)
    # Not the words behind the number: Python 3.13 has new ones for 422.
    assert status.split()[:2] == shown_status.split()[:2], answer
    assert {stable(line) for line in shown_headers} <= {stable(line) for line in headers}, answer
    assert missing(shown_body.strip(), body.strip()) is None, answer


def ids_stay_the_same(shown: str, answer: str, seen: dict[str, str]) -> None:
    """An id of the page stands for one and the same job or file wherever it appears."""
    pairs = dict(zip(dict.fromkeys(_ID.findall(shown)), dict.fromkeys(_ID.findall(answer)), strict=False))
    for on_page, real in pairs.items():
        assert seen.setdefault(on_page, real) == real, f"{on_page} is not what it was before"


def run(script: str, folder: Path, **variables: str) -> str:
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env = os.environ | python | variables
    done = subprocess.run(["bash", "-euc", script], cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


def answers(page: str, service: Service, folder: Path) -> int:
    """Run the examples of a page in their order; how many of them show an answer, which was as shown."""
    seen, tried = dict[str, str](), 0
    variables = {"API": f"{service.url}/api/v1", "JOB": "", "FILE": "", "BATCH": ""}
    for script, shown in EXAMPLE.findall(page):
        if script.startswith("API="):
            continue
        answer = run(script, folder, **variables)
        if shown:
            check(shown, answer)
            ids_stay_the_same(shown, answer, seen)
            tried += 1
        for name, found in re.findall(r"^location: \S+/((job|file|batch)_\w+)$", answer.replace("\r", ""), re.MULTILINE):
            variables[found.upper()] = name
    assert tried == len(re.findall(r"^```http$", page, re.MULTILINE))
    return tried


def test_the_examples_of_the_http_page_answer_as_it_says(hello: Service, tmp_path: Path) -> None:
    assert answers(PAGE, hello, tmp_path) >= 25


def test_the_examples_of_the_page_about_files_answer_as_it_says(images: Service, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(Path(ROOT) / "examples")
    assert answers(FILES, images, tmp_path) >= 8


@pytest.mark.parametrize(
    "shown",
    [
        "HTTP/1.1 202 Accepted\n\n{}",
        'HTTP/1.1 200 OK\netag: "4"\n\n{…}',
        'HTTP/1.1 200 OK\n\n{"status":"failed",…}',
        'HTTP/1.1 200 OK\n\n{…,"output":1}',
        'HTTP/1.1 200 OK\n\n{…"output"…"status"…}',
    ],
)
def test_an_answer_that_is_not_as_shown_is_noticed(shown: str) -> None:
    answer = 'HTTP/1.1 200 OK\r\netag: "3"\r\n\r\n{"status":"succeeded","output":11}'
    check('HTTP/1.1 200 OK\netag: "3"\n\n{"status":"succeeded",…1}', answer)
    with pytest.raises(AssertionError):
        check(shown, answer)


def test_the_page_needs_nothing_but_the_examples() -> None:
    assert (Path(ROOT) / "examples" / "hello.py").is_file()
    assert "longrun serve examples/hello.py" in PAGE
    assert "longrun serve examples/images.py" in FILES
