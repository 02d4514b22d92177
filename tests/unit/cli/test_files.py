"""Files on the command line: sent, stored, fetched, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer

from .test_main import call, job

ID = "file_" + "0" * 32
CAT = b"\xff\xd8\xff cat"
FILE = {
    "id": ID,
    "url": f"/api/v1/files/{ID}/content?sig=x",
    "content_type": "image/jpeg",
    "size": len(CAT),
    "digest": "sha-256=0fWVS102KzXeIDHA510K3kNt9NjMEduifDjOIK8+MH8=",
    "name": "cat.jpg",
}
MODEL = {"name": "shout", "input_schema": {"properties": {"image": {"type": "string", "x-longrun-file": {"kind": "image"}}}}}


@pytest.fixture
def photo(server: ScriptedServer) -> ScriptedServer:
    """A server with a model that takes an image and gives one back, and a file in the folder."""
    Path("cat.jpg").write_bytes(CAT)
    server.on("GET /models/shout", Answer(body=MODEL))
    server.on(f"GET /files/{ID}", Answer(body=FILE))
    server.on(f"GET /files/{ID}/content", Answer(body=CAT))
    return server


def succeeds_with(server: ScriptedServer, output: Any) -> None:
    server.on("POST /models/shout/jobs", Answer(202, job("succeeded", output=output)))


def test_a_file_is_sent_and_the_url_of_the_result_is_printed(photo: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    succeeds_with(photo, FILE)

    assert call("run", "shout", "image=@cat.jpg", "--url", photo.url) == 0

    _, headers, body = photo.requests[1]
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert CAT in body
    assert capsys.readouterr().out == f"{photo.url}{FILE['url']}\t{len(CAT)}\timage/jpeg\n"


def test_save_fetches_the_files_and_prints_their_paths_and_replaces_nothing(
    photo: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cat.jpg").write_bytes(b"mine")
    succeeds_with(photo, {"best": FILE, "score": 1})

    assert call("run", "shout", "--save", ".", "--url", photo.url) == 0

    assert json.loads(capsys.readouterr().out) == {"best": "cat-2.jpg", "score": 1}
    assert (Path("cat.jpg").read_bytes(), Path("cat-2.jpg").read_bytes()) == (b"mine", CAT)


def test_save_with_json_keeps_the_json(photo: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    succeeds_with(photo, FILE)
    Path("out").mkdir()

    assert call("run", "shout", "--json", "--save", "out", "--url", photo.url) == 0

    out, err = capsys.readouterr()
    assert json.loads(out)["output"] == FILE
    assert err.splitlines()[-1] == "out/cat.jpg"


def test_a_folder_that_is_not_there_is_told_before_anything_is_sent(photo: ScriptedServer) -> None:
    assert call("run", "shout", "--save", "nowhere", "--url", photo.url) == 2
    assert photo.requests == []


def test_files_are_stored_shown_fetched_and_removed(photo: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    photo.on("POST /files", Answer(201, FILE))
    photo.on(f"DELETE /files/{ID}", Answer(204, b""))

    assert call("files", "upload", "cat.jpg", "--name", "dog.jpg", "--url", photo.url) == 0
    assert capsys.readouterr().out == f"{ID}\t{len(CAT)}\timage/jpeg\tcat.jpg\n"
    assert b'filename="dog.jpg"' in photo.requests[0][2]

    assert call("files", "show", ID, "--json", "--url", photo.url) == 0
    assert json.loads(capsys.readouterr().out) == FILE | {"url": photo.url + str(FILE["url"])}

    assert call("files", "get", ID, "--to", "copy.jpg", "--url", photo.url) == 0
    assert (capsys.readouterr().out, Path("copy.jpg").read_bytes()) == ("copy.jpg\n", CAT)

    assert call("files", "rm", ID, "--url", photo.url) == 0


def test_what_fails_is_told_and_the_others_are_done(photo: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    photo.on("GET /files/file_1", Answer(404, {"code": "file-not-found", "detail": "There is no such file."}))
    Path("out").mkdir()

    assert call("files", "get", "file_1", ID, "--to", "out", "--url", photo.url) == 1

    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("out/cat.jpg\n", "file_1: file-not-found: There is no such file.")


def test_what_is_no_file_is_a_usage_error(photo: ScriptedServer) -> None:
    assert call("files", "upload", "nowhere.jpg", "--url", photo.url) == 2
    assert call("files", "upload", "cat.jpg", "cat.jpg", "--name", "x", "--url", photo.url) == 2
    assert call("files", "get", ID, ID, "--to", "nowhere", "--url", photo.url) == 2
    assert photo.requests == []
