"""Submits as forms: what becomes of their parts, and that nothing stays of those that are refused."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from tests import media_files
from tests.integration.api.conftest import API, app_of, calling, listening

from longrun.api.http import multipart
from longrun.clock import is_file_id
from longrun.settings import Settings
from longrun.store.store import Store

COLLAGE = f"{API}/models/collage/jobs"
PNG = media_files.saved(media_files.picture(), "PNG")
COVER = ("cover", ("cover.png", PNG, "image/png"))


async def input_of(store: Store, job: dict[str, Any]) -> dict[str, Any]:
    """The input of a job, as a worker gets it."""
    claim = await store.claims.claim(job["id"], "nonce", "w1", "cpu")
    assert claim is not None
    found: dict[str, Any] = orjson.loads(claim.input)
    return found


def text(name: str, value: str) -> tuple[str, tuple[None, str]]:
    """A part without a filename."""
    return name, (None, value)


async def test_each_part_is_a_field(caller: httpx.AsyncClient, store: Store) -> None:
    more = [("more", (f"{n}.txt", f"text {n}".encode(), "text/plain")) for n in range(3)]
    fields = [text("title", "5"), text("columns", "3"), text("tags", "a"), text("tags", "5"), text("shade", "dark"), text("label", "five")]
    answer = await caller.post(COLLAGE, files=[COVER, *more, *fields, text("extra", '{"a": [1]}')])
    assert answer.status_code == 202, answer.text
    found = await input_of(store, answer.json())
    assert is_file_id(found.pop("cover")) and all(map(is_file_id, found["more"])) and len(set(found.pop("more"))) == 3
    assert found == {"title": "5", "columns": 3, "tags": ["a", "5"], "shade": "dark", "label": "five", "extra": {"a": [1]}}


async def test_options_are_the_rest_of_the_body(caller: httpx.AsyncClient) -> None:
    options = text("_options", '{"priority": 9, "tags": ["x"], "metadata": {"n": 1}}')
    job = (await caller.post(COLLAGE, files=[COVER, options])).json()
    assert (job["priority"], job["tags"], job["metadata"]) == (9, ["x"], {"n": 1})


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ("{", "/_options"),
        ("[]", "/_options"),
        ('{"input": {}}', "/_options"),
        ('{"tags": NaN}', "/_options/tags"),
        ('{"priorty": 1}', "/priorty"),
    ],
)
async def test_options_that_are_not_right_are_told(caller: httpx.AsyncClient, kept: Any, options: str, pointer: str) -> None:
    answer = await caller.post(COLLAGE, files=[COVER, text("_options", options)])
    assert (answer.status_code, [each["pointer"] for each in answer.json()["errors"]]) == (422, [pointer])
    assert await kept() == set()


async def test_options_are_sent_once(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(COLLAGE, files=[COVER, text("_options", '{"priority": 9}'), text("_options", '{"priority": 1}')])
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/_options")


@pytest.mark.parametrize(
    ("parts", "status", "pointer"),
    [
        ([("title", ("a.txt", b"x"))], 422, "/input/title"),
        ([("no_such", ("a.txt", b"x"))], 422, "/input/no_such"),
        ([text("no_such", "x")], 422, "/input/no_such"),
        ([("a/b~c", ("a.txt", b"x"))], 422, "/input/a~1b~0c"),
        ([text("columns", "many")], 422, "/input/columns"),
        ([text("columns", "1"), text("columns", "2")], 422, "/input/columns"),
        ([text("title", "a\0b")], 422, "/input/title"),
        ([text("shade", "blue")], 422, "/input/shade"),
        ([("title", (None, b"\xff"))], 422, "/input/title"),
        ([("more", ("a.bin", bytes(200_001)))], 413, "/input/more/0"),
        ([("more", ("a", b""))], 422, "/input/more/0"),
        ([("cover", ("b.png", PNG))], 422, "/input/cover"),
        ([text("more", "file_" + "0" * 32)], 422, "/input/more/0"),
        ([text("more", "../../etc/passwd")], 422, "/input/more/0"),
        ([text("more", "http://127.0.0.1/x")], 422, "/input/more/0"),
    ],
)
async def test_what_is_wrong_is_told_where_it_is_and_nothing_stays(
    caller: httpx.AsyncClient, kept: Any, parts: Any, status: int, pointer: str
) -> None:
    for order in ([COVER, *parts], [*parts, COVER]):
        answer = await caller.post(COLLAGE, files=order)
        assert answer.status_code == status, answer.text
        assert pointer in [each["pointer"] for each in answer.json()["errors"]]
        assert await kept() == set()


async def test_a_cover_that_is_no_picture_is_415_and_names_the_rule(caller: httpx.AsyncClient, kept: Any) -> None:
    answer = await caller.post(COLLAGE, files=[("cover", ("a.png", b"MZ" + bytes(100)))])
    problem = answer.json()
    assert (answer.status_code, problem["rule"], problem["errors"][0]["pointer"]) == (415, "formats", "/input/cover")
    assert await kept() == set()


def as_browsers_send(*fields: bytes) -> dict[str, Any]:
    """A form with the cover, if it is named, and files that were not chosen: no name, no bytes (httpx would leave `filename` out)."""
    parts = [
        b'Content-Disposition: form-data; name="%s"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n' % each
        for each in fields
    ]
    chosen = [b'Content-Disposition: form-data; name="title"\r\n\r\nx']
    if b"cover" not in fields:
        chosen.append(b'Content-Disposition: form-data; name="cover"; filename="c.png"\r\nContent-Type: image/png\r\n\r\n' + PNG)
    body = b"".join(b"--x\r\n" + each + b"\r\n" for each in (*chosen, *parts)) + b"--x--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


async def test_a_missing_file_is_told_like_a_missing_field(caller: httpx.AsyncClient) -> None:
    for form in ({"files": [text("title", "x")]}, as_browsers_send(b"cover")):
        answer = await caller.post(COLLAGE, **form)
        assert (answer.status_code, [each["pointer"] for each in answer.json()["errors"]]) == (422, ["/input/cover"])


async def test_a_file_that_was_not_chosen_is_left_out(caller: httpx.AsyncClient, store: Store) -> None:
    answer = await caller.post(COLLAGE, **as_browsers_send(b"more"))
    assert answer.status_code == 202, answer.text
    assert "more" not in await input_of(store, answer.json())


async def test_a_text_may_stand_for_a_file(caller: httpx.AsyncClient, store: Store) -> None:
    stored = (await caller.post(f"{API}/files", files={"f": ("a.txt", b"stored")})).json()["id"]
    parts = [COVER, text("more", stored), ("more", ("b.txt", b"sent")), text("more", "data:text/plain,said")]
    found = (await input_of(store, (await caller.post(COLLAGE, files=parts)).json()))["more"]
    assert found[0] == stored and len(set(found)) == 3 and all(map(is_file_id, found))
    listed = text("more", f'["{stored}"]')
    assert (await input_of(store, (await caller.post(COLLAGE, files=[COVER, listed])).json()))["more"] == [stored]


async def test_a_repeated_upload_is_the_same_request(caller: httpx.AsyncClient, kept: Any) -> None:
    async def submit(*parts: Any) -> httpx.Response:
        return await caller.post(COLLAGE, files=list(parts), headers={"Idempotency-Key": "k"})

    first = await submit(COVER, text("title", "x"))
    stays = await kept()
    again = await submit(text("title", "x"), COVER)
    assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (202, first.json()["id"], "true")
    other = await submit(text("title", "x"), ("cover", ("cover.png", media_files.saved(media_files.picture(step=1), "PNG"))))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert await kept() == stays and len(stays) == 1


async def test_a_form_and_json_of_the_same_values_are_the_same_request(caller: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": {"a": 1}}, "priority": 3}, headers=key)
    form = [text("value", '{"a": 1}'), text("_options", '{"priority": 3}')]
    again = await caller.post(f"{API}/models/echo/jobs", files=form, headers=key)
    assert again.headers.get("idempotency-replayed") == "true" and again.json()["id"] == first.json()["id"]


async def test_headers_of_a_submit_count_for_forms_too(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(COLLAGE, files=[COVER], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    answer = await caller.post(COLLAGE, files=[COVER], headers={"Idempotency-Key": "\x7f"})
    assert answer.status_code in (400, 422)
    async with caller.stream("POST", COLLAGE, files=[COVER], headers={"Accept": "application/json"}) as plain:
        assert plain.status_code == 202


async def test_a_hundred_files_are_a_job_and_one_more_is_not(caller: httpx.AsyncClient, kept: Any) -> None:
    more = [("more", (f"{n}.txt", b"x")) for n in range(99)]
    assert (await caller.post(COLLAGE, files=[COVER, *more])).status_code == 202
    stays = await kept()
    answer = await caller.post(COLLAGE, files=[COVER, *more, ("more", ("x", b"x"))])
    assert answer.status_code == 422 and "100 files" in answer.json()["detail"]
    assert await kept() == stays and len(stays) == 100


async def test_ten_thousand_parts_are_refused(caller: httpx.AsyncClient, kept: Any) -> None:
    answer = await caller.post(COLLAGE, files=[COVER, *[text("tags", "x")] * 10_000])
    assert (answer.status_code, answer.json()["limit"]) == (413, multipart.MOST_PARTS)
    assert await kept() == set()


async def test_texts_have_the_limit_of_a_json_body_together(settings: Settings, kept: Any) -> None:
    async with calling(app_of(settings.model_copy(update={"max_body": 10_000}))) as caller:
        fits = await caller.post(COLLAGE, files=[COVER, text("title", "x" * 5000), text("label", "y" * 4000)])
        assert fits.status_code == 202, fits.text
        stays = await kept()
        answer = await caller.post(COLLAGE, files=[COVER, text("title", "x" * 5000), text("label", "y" * 6000)])
        assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")
        assert await kept() == stays


async def until_nothing_is(kept: Any) -> None:
    end = asyncio.get_running_loop().time() + 10
    while found := await kept():
        assert asyncio.get_running_loop().time() < end, found
        await asyncio.sleep(0.05)


class CutOff(Exception):
    """The caller's own end of an upload."""


async def test_a_caller_that_goes_away_in_the_middle_leaves_nothing(settings: Settings, kept: Any, tmp_path: Path) -> None:
    whole = httpx.Request("POST", "http://x", files=[COVER, ("more", ("b.bin", bytes(150_000)))])
    body = whole.read()

    async def cut(at: int) -> AsyncIterator[bytes]:
        yield body[:at]
        await asyncio.sleep(0.2)
        raise CutOff

    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as caller:
        for at in (200, len(PNG) // 2, len(PNG) + 2000, len(body) - 5):
            with pytest.raises(CutOff):
                await caller.post(COLLAGE, content=cut(at), headers={"Content-Type": whole.headers["content-type"]})
        assert (await caller.get("/livez")).status_code == 200
        await until_nothing_is(kept)
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != "longrun-store"]
        assert (await caller.get(f"{API}/jobs")).json()["jobs"] == []


async def test_an_upload_that_stands_still_is_408_and_leaves_nothing(
    settings: Settings, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "STILL", 0.3)
    whole = httpx.Request("POST", "http://x", files=[COVER, ("more", ("b.bin", bytes(150_000)))])
    body = whole.read()

    async def stuck() -> AsyncIterator[bytes]:
        yield body[:-1000]
        await asyncio.sleep(3)

    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as caller:
        sent = caller.post(COLLAGE, content=stuck(), headers={"Content-Type": whole.headers["content-type"]})
        answer = await asyncio.wait_for(sent, 60)
        assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (408, "upload-too-slow", "close")
        assert await kept() == set()


async def test_curl_sends_a_form(settings: Settings, store: Store, tmp_path: Path) -> None:
    (tmp_path / "my cover;é.png").write_bytes(PNG)
    async with listening(app_of(settings)) as port:
        url = f"http://localhost:{port}{COLLAGE}"
        form = [
            "-F",
            f'cover=@"{tmp_path}/my cover;é.png"',
            "-F",
            "title=five",
            "-F",
            "columns=2",
            "-F",
            'extra={"a":1};type=application/json',
        ]
        done = await asyncio.to_thread(subprocess.run, ["curl", "-sS", *form, url], capture_output=True, timeout=20)
        job = orjson.loads(done.stdout)
    found = await input_of(store, job)
    assert (found["title"], found["columns"], found["extra"]) == ("five", 2, {"a": 1})
    assert (await store.files.read(found["cover"], "default")).ref.name == "my cover;é.png"


async def test_a_form_keeps_the_connection_open(settings: Settings) -> None:
    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as caller:
        whole = httpx.Request("POST", "http://x", files=[COVER])
        body = whole.read()

        async def chunked() -> AsyncIterator[bytes]:
            yield body
            await asyncio.sleep(0.05)  # so that the last chunk comes alone

        kind = {"Content-Type": whole.headers["content-type"]}
        for content in (body, chunked()):
            answer = await caller.post(COLLAGE, content=content, headers=kind)
            assert answer.status_code == 202 and "connection" not in answer.headers
