"""Files in inputs: what is sent as a form, what is uploaded before, and that each try sends all of it."""

from __future__ import annotations

import io
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import Answer as Scripted
from tests.unit.scripted import ScriptedServer

from longrun import File
from longrun.client import AsyncClient, Client
from longrun.client.http.body import Multipart, Source
from longrun.client.http.steps import Request
from longrun.client.protocol.files import StoredFile
from longrun.client.protocol.submit import submission, submit, upload

from .played import BROKEN, Played, answer, problem

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3000


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    return path


def parts(body: bytes, content_type: str) -> list[tuple[str, str | None, str, bytes]]:
    """Name, file name, type and content of each part, read by somebody else's parser."""
    from email import message_from_bytes

    message: Any = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return [
        (each.get_param("name", header="content-disposition"), each.get_filename(), each.get_content_type(), each.get_payload(decode=True))
        for each in message.get_payload()
    ]


def form(request: Request) -> list[tuple[str, str | None, str, bytes]]:
    assert isinstance(request.body, Multipart)
    return parts(b"".join(request.body), request.body.content_type)


def stored(number: int) -> dict[str, Any]:
    return {"id": f"file_{number:032x}", "url": "/api/v1/files/x", "content_type": "image/png", "size": 3, "digest": "sha-256=x"}


def test_an_input_with_a_file_is_a_form_with_the_files_last(picture: Path) -> None:
    fields = {"image": picture, "text": "ä", "width": 5, "nothing": None, "tags": ["a"]}

    request = submission("thumbnail", fields, {"priority": 9, "idempotency_key": "k"})

    assert (request.path, request.headers["Idempotency-Key"]) == ("/models/thumbnail/jobs", "k")
    assert form(request) == [
        ("_options", None, "application/json", b'{"priority": 9}'),
        ("text", None, "application/json", b'"\\u00e4"'),
        ("width", None, "application/json", b"5"),
        ("nothing", None, "application/json", b"null"),
        ("tags", None, "application/json", b'["a"]'),
        ("image", "cat.png", "application/octet-stream", PNG),
    ]


def test_an_input_without_files_is_json_as_ever() -> None:
    request = submission("shout", {"text": "/etc/passwd"}, {})
    assert (request.body, request.headers["Content-Type"]) == (b'{"input": {"text": "/etc/passwd"}}', "application/json")


def test_a_list_of_files_is_a_part_for_each(picture: Path) -> None:
    request = submission("collage", {"images": [picture, b"two", io.BytesIO(b"three")]}, {})
    assert [(name, filename, content) for name, filename, _, content in form(request)] == [
        ("images", "cat.png", PNG),
        ("images", "file", b"two"),
        ("images", "file", b"three"),
    ]


def open_file(path: Path) -> Any:
    return path.open("rb")


def half_read(path: Path) -> Any:
    file = path.open("rb")
    file.read(100)
    return file


def pipe(path: Path) -> Any:
    end, beginning = os.pipe()

    def write() -> None:
        with os.fdopen(beginning, "wb") as file:
            file.write(path.read_bytes())

    threading.Thread(target=write).start()
    return os.fdopen(end, "rb")


def temporary(path: Path) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the test closes it
    file.write(path.read_bytes())
    return file


@pytest.mark.parametrize("made", [Path, Path.read_bytes, open_file, half_read, pipe, temporary, lambda path: File(path.read_bytes()), File])
def test_every_kind_of_file_is_sent_whole_at_every_try(picture: Path, made: Any) -> None:
    file = made(picture)
    body = submission("thumbnail", {"image": file}, {}).body
    assert isinstance(body, Multipart)

    first, second = b"".join(body), b"".join(body)

    assert first == second
    assert PNG in first
    assert len(first) == body.length()
    if hasattr(file, "close"):
        assert not file.closed  # whoever opened it closes it
        file.close()


def test_one_open_file_in_two_inputs_that_are_sent_side_by_side_is_whole_in_both(picture: Path) -> None:
    with picture.open("rb") as file:
        first, second = Source.of(file).pieces(), Source.of(file).pieces()
        pieces = [piece for pair in zip(first, second, strict=True) for piece in pair]
    assert (b"".join(pieces[::2]), b"".join(pieces[1::2])) == (PNG, PNG)


def test_what_is_no_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("w+") as text, pytest.raises(TypeError, match="'rb'"):
        submission("thumbnail", {"image": text}, {})
    with pytest.raises(TypeError, match="object is no JSON value"):
        submission("thumbnail", {"image": object()}, {})
    with Client("http://127.0.0.1:9", "") as client, pytest.raises(FileNotFoundError):
        client.submit("thumbnail", {"image": tmp_path / "none.png"})


def test_names_cannot_break_out_of_their_header(tmp_path: Path) -> None:
    body = submission("x", {"a": Source_named('x"\r\nX-Evil: 1')}, {}).body
    assert isinstance(body, Multipart)
    head = b"".join(body).split(b"\r\n\r\n")[0]
    assert head.count(b"\r\n") == 2
    assert b'filename="x%22%0D%0AX-Evil: 1"' in head


def Source_named(name: str) -> File:  # noqa: N802 - reads as what it makes
    return File(b"x", name=name)


def test_deeper_files_are_uploaded_first_and_each_once(picture: Path) -> None:
    played = Played([answer(201, stored(1)), answer(201, stored(2)), answer(202, {"id": "job_1"})])
    pages = [{"scan": picture}, {"scan": picture}, {"scan": b"other"}]

    played.run(submit(played.rules(), "read", {"pages": pages, "note": "n"}, {}))

    assert [request.path for request in played.requests] == ["/files", "/files", "/models/read/jobs"]
    assert [name for name, *_ in form(played.requests[0])] == ["file"]
    first, second = (stored(number)["id"] for number in (1, 2))
    asked = json.loads(played.requests[2].body)  # type: ignore[arg-type]
    assert asked["input"] == {"pages": [{"scan": first}, {"scan": first}, {"scan": second}], "note": "n"}


def test_a_list_of_files_and_ids_is_sent_as_ids(picture: Path) -> None:
    played = Played([answer(201, stored(1)), answer(202, {"id": "job_1"})])

    played.run(submit(played.rules(), "collage", {"images": [picture, stored(7)["id"]]}, {}))

    asked = json.loads(played.requests[1].body)  # type: ignore[arg-type]
    assert asked["input"] == {"images": [stored(1)["id"], stored(7)["id"]]}


def test_a_stored_file_in_an_input_stands_for_its_id() -> None:
    request = submission("thumbnail", {"image": 1}, {})
    played = Played([answer(202, {"id": "job_1"})])
    played.run(submit(played.rules(), "thumbnail", {"image": StoredFile(stored(3)), "more": [StoredFile(stored(4))]}, {}))
    asked = json.loads(played.requests[0].body)  # type: ignore[arg-type]
    assert asked["input"] == {"image": stored(3)["id"], "more": [stored(4)["id"]]}
    assert request.path == played.requests[0].path


def test_an_upload_whose_answer_was_lost_is_sent_again_from_its_beginning(picture: Path) -> None:
    played = Played([BROKEN, answer(503), answer(201, stored(1))])
    assert played.run(upload(played.rules(), Source.of(picture)))["id"] == stored(1)["id"]
    bodies = [request.body for request in played.requests]
    assert [b"".join(body) for body in bodies if isinstance(body, Multipart)] == [b"".join(bodies[0])] * 3  # type: ignore[arg-type]


def test_a_file_that_is_refused_is_told_by_its_field(picture: Path) -> None:
    from longrun.errors import ApiError

    played = Played([problem(422, "validation-failed", errors=[{"pointer": "/input/image", "detail": "too large"}])])
    with pytest.raises(ApiError) as caught:
        played.run(submit(played.rules(), "thumbnail", {"image": picture}, {}))
    assert caught.value.errors[0]["pointer"] == "/input/image"


def test_a_submit_with_a_file_goes_over_the_wire_again_with_the_same_key(server: ScriptedServer, picture: Path) -> None:
    server.on("POST /models/thumbnail/jobs", Scripted(silent=True), Scripted(503, {"code": "x"}), Scripted(202, {"id": "job_1"}))

    with Client(server.url, "") as client:
        client.submit("thumbnail", {"image": picture, "width": 5})

    assert len({headers["Idempotency-Key"] for headers in server.seen("POST /models/thumbnail/jobs")}) == 1
    for _, headers, body in server.requests:
        assert "Transfer-Encoding" not in headers
        assert [content for *_, content in parts(body, headers["Content-Type"])] == [b"5", PNG]
    assert len(server.requests) == 3


async def test_asyncio_sends_the_same(server: ScriptedServer, picture: Path) -> None:
    server.on("POST /models/thumbnail/jobs", Scripted(silent=True), Scripted(202, {"id": "job_1"}))
    server.on("POST /files", Scripted(201, stored(1)))

    async with AsyncClient(server.url, "") as client:
        await client.submit("thumbnail", {"image": picture, "width": 5})
        assert (await client.upload(str(picture), name="dog.png")).id == stored(1)["id"]

    assert len(server.requests) == 3
    for _, headers, body in server.requests:
        assert PNG in [content for *_, content in parts(body, headers["Content-Type"])]
    assert [name for _, name, *_ in parts(server.requests[2][2], server.requests[2][1]["Content-Type"])] == ["dog.png"]
