"""/files: put in, looked at, deleted; and results that are files."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from tests import media_files
from tests.integration.api.conftest import PlayedWorker, app_of, calling, listening
from tests.integration.api.stored import ANN, BOB, DATA, FILES, OCTETS, add

from longrun.blobs.open import open_blobs
from longrun.clock import new_file_id
from longrun.jobs.file_refs import FileRef, as_output, reference
from longrun.settings import Settings
from longrun.store.claims import Claim
from longrun.store.store import Store


async def test_a_file_is_stored_shown_and_read(caller: httpx.AsyncClient) -> None:
    file = await add(caller, media_files.saved(media_files.picture(size=(40, 30)), "PNG"), "a.png")
    assert (file["name"], file["content_type"], file["format"], file["width"], file["height"]) == ("a.png", "image/png", "png", 40, 30)
    shown = (await caller.get(f"{FILES}/{file['id']}")).json()
    assert {**shown, "url": ""} == {**file, "url": ""}
    assert len((await caller.get(shown["url"])).content) == file["size"]


async def test_a_file_may_be_the_body_itself(caller: httpx.AsyncClient) -> None:
    for headers in (OCTETS, {"Content-Type": "image/png"}, {"Content-Type": "text/plain"}, {}):
        answer = await caller.post(FILES, params={"name": "../x/data.bin"}, content=DATA, headers=headers)
        assert (answer.status_code, answer.json()["name"], answer.json()["size"]) == (201, "data.bin", len(DATA))


async def test_pieces_of_one_byte_are_a_file(caller: httpx.AsyncClient) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for byte in DATA[:3000]:
            yield bytes([byte])

    answer = await caller.post(FILES, content=drip(), headers=OCTETS)
    assert (answer.status_code, answer.json()["size"]) == (201, 3000)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../x", "x"),
        ("..\\..\\x.txt", "x.txt"),
        ("/etc/passwd", "passwd"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("a\0b.txt", "ab.txt"),
        ("\u202etxt.exe", "txt.exe"),
        ("a\r\nX-Evil: 1.txt", "aX-Evil_ 1.txt"),
        ('"; filename="evil.html', "_; filename=_evil.html"),
        ("é€.txt", "é€.txt"),
        ("...", ""),
        ("n" * 5000 + ".txt", "n" * 196 + ".txt"),
    ],
)
async def test_a_name_is_only_ever_shown(caller: httpx.AsyncClient, sent: str, shown: str) -> None:
    file = (await caller.post(FILES, params={"name": sent}, content=b"x", headers=OCTETS)).json()
    assert file["name"] == shown
    answer = await caller.get(file["url"])
    assert answer.headers["content-disposition"].startswith("attachment") and "x-evil" not in answer.headers
    assert answer.headers["content-disposition"].count('"') in (0, 2)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, "unsupported-media"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/mixed; boundary=x"}}, 415, "unsupported-media"),
        ({"content": b"", "headers": OCTETS}, 422, "validation-failed"),
        ({"content": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 422, "validation-failed"),
        ({"content": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400, "validation-failed"),
        ({"files": [("a", ("a", b"1")), ("b", ("b", b"2"))]}, 422, "validation-failed"),
        ({"files": [("a", ("a", b"1"))] + [("b", (None, "2"))] * 200}, 413, "payload-too-large"),
        ({"content": b"x", "headers": OCTETS | {"Content-Encoding": "gzip"}}, 415, "unsupported-media"),
    ],
)
async def test_what_is_not_one_file_is_refused_and_nothing_stays(
    caller: httpx.AsyncClient, kept: Any, request_: Any, status: int, code: str
) -> None:
    answer = await caller.post(FILES, **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await kept() == set()


async def test_a_form_that_ends_in_the_middle_leaves_nothing(caller: httpx.AsyncClient, kept: Any) -> None:
    whole = httpx.Request("POST", "http://x", files=[("a", ("a", DATA))], data={"b": "2"})
    body = whole.read()
    for end in (100, len(body) // 2, len(body) - 60, len(body) - 4):
        answer = await caller.post(FILES, content=body[:end], headers={"Content-Type": whole.headers["content-type"]})
        assert answer.status_code == 400
        assert await kept() == set()


async def test_no_file_is_larger_than_the_operator_allows(settings: Settings, kept: Any) -> None:
    async with calling(app_of(settings.model_copy(update={"max_file": 10_000}))) as caller:
        await add(caller, bytes(10_000))
        stays = await kept()
        for request in ({"files": {"f": ("f", bytes(10_001))}}, {"content": bytes(10_001), "headers": OCTETS}):
            answer = await caller.post(FILES, **request)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["limit"]) == (413, 10_000)
        answer = await caller.post(FILES, content=bytes(10_000 + 65_537), headers=OCTETS)
        assert (answer.status_code, answer.json()["limit"]) == (413, 10_000 + 65_536)
        assert await kept() == stays


async def test_bytes_are_given_so_that_no_browser_shows_or_runs_them(caller: httpx.AsyncClient) -> None:
    file = await add(caller, b"<script>alert(1)</script>", "page.html")
    answer = await caller.get(f"{FILES}/{file['id']}/content")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] in ("application/octet-stream", "text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["content-disposition"] == "attachment; filename=\"page.html\"; filename*=UTF-8''page.html"
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_deleted_file_is_gone_for_everybody(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file = await add(caller, headers=ANN)
        path = f"{FILES}/{file['id']}"
        assert (await caller.delete(path, headers=BOB)).status_code == 404
        assert (await caller.delete(path, headers=ANN)).status_code == 204
        for answer in (
            await caller.get(path, headers=ANN),
            await caller.get(f"{path}/content", headers=ANN),
            await caller.get(file["url"]),
            await caller.delete(path, headers=ANN),
        ):
            assert (answer.status_code, answer.json()["code"]) == (410, "file-gone")


async def test_who_reads_while_it_is_deleted_reads_to_the_end(caller: httpx.AsyncClient, settings: Settings, kept: Any) -> None:
    data = random.Random(1).randbytes(3_000_000)
    file = await add(caller, data)
    path = f"{FILES}/{file['id']}"
    async with (
        listening(app_of(settings)) as port,
        httpx.AsyncClient(base_url=f"http://localhost:{port}") as reader,
        reader.stream("GET", f"{path}/content") as answer,
    ):
        pieces = answer.aiter_bytes()
        read = await anext(pieces)
        assert (await caller.delete(path)).status_code == 204
        assert await kept() == set()  # the bytes are gone from the folder
        assert read + b"".join([piece async for piece in pieces]) == data


async def test_a_foreign_file_is_answered_like_one_that_is_not_there(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        file = await add(caller, headers=ANN)
        for tail in ("", "/content"):
            foreign = await caller.get(f"{FILES}/{file['id']}{tail}", headers=BOB)
            unknown = await caller.get(f"{FILES}/file_{'0' * 32}{tail}", headers=BOB)
            assert foreign.status_code == unknown.status_code == 404
            hidden = [
                {name: value for name, value in answer.json().items() if name not in ("instance", "request_id", "detail")}
                for answer in (foreign, unknown)
            ]
            assert hidden[0] == hidden[1]


@pytest.mark.parametrize("name", ["x", "file_", f"file_{'g' * 32}", f"file_{'0' * 33}", "..", "%2e%2e%2fx", f"file_{'0' * 32}%00"])
async def test_what_is_no_id_is_404(caller: httpx.AsyncClient, name: str) -> None:
    for tail in ("", "/content", "/content?sig=x"):
        answer = await caller.get(f"{FILES}/{name}{tail}")
        assert answer.status_code in (403, 404) and answer.headers["content-type"] == "application/problem+json"


async def made(settings: Settings, claim: Claim, data: bytes, kind: str, name: str) -> FileRef:
    """A file that a job has made, put where its runner puts it."""
    file_id, blobs = new_file_id(), open_blobs(settings)
    stored = await blobs.put_bytes(f"{claim.id}/{claim.fence}/{file_id}", data)
    blobs.close()
    return FileRef(file_id, stored.key, stored.size, stored.digest, kind, name)


async def test_the_result_that_is_a_file_is_a_way_to_it(
    caller: httpx.AsyncClient, settings: Settings, store: Store, worker: PlayedWorker, submit: Callable[..., Any]
) -> None:
    job = await submit()
    claim = await worker.claim(job["id"])
    ref = await made(settings, claim, DATA, "image/png", "out.png")
    await worker.append(claim, 0, ("file", ref.members()))
    assert await store.claims.finish(job["id"], claim.fence, "succeeded", orjson.dumps(as_output(ref)), b"{}") == "succeeded"
    answer = await caller.get(job["urls"]["result"])
    assert answer.status_code == 303 and answer.headers["location"].startswith(f"{FILES}/{ref.id}/content?")
    assert (await caller.get(answer.headers["location"])).content == DATA
    output = (await caller.get(job["urls"]["self"])).json()["output"]
    assert (await caller.get(output["url"])).content == DATA


async def test_the_result_that_is_kept_as_a_file_is_given_as_json(
    caller: httpx.AsyncClient, settings: Settings, store: Store, worker: PlayedWorker, submit: Callable[..., Any]
) -> None:
    job = await submit()
    claim = await worker.claim(job["id"])
    data = orjson.dumps(list(range(50_000)))
    ref = await made(settings, claim, data, "application/json", "output.json")
    await worker.append(claim, 0, ("file", ref.members()))
    assert await store.claims.finish(job["id"], claim.fence, "succeeded", reference(ref), b"{}") == "succeeded"
    answer = await caller.get(job["urls"]["result"])
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/json", data)
    body = (await caller.get(job["urls"]["self"])).json()
    assert (body["output"], body["output_file"]["size"]) == (None, len(data))
    assert (await caller.get(body["output_file"]["url"])).content == data
