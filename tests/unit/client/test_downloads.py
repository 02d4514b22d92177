"""Fetching files: whole or not at all, over broken connections, and without telling strangers the key."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import Answer as Scripted
from tests.unit.scripted import ScriptedServer, scripted_server

from longrun.client import AsyncClient, Client
from longrun.client.protocol.download import Wanted, digest_of, fetch
from longrun.client.protocol.files import StoredFile, absolute, local_name, with_files
from longrun.client.resources.files import collect
from longrun.errors import ApiError, DownloadBroken, Unreachable

from .played import BROKEN, Played, Stream, answer, problem

DATA = bytes(range(256)) * 4096
ID = "file_" + "a" * 32
FILE = {
    "id": ID,
    "url": f"/api/v1/files/{ID}/content?sig=x",
    "content_type": "image/png",
    "size": len(DATA),
    "digest": "sha-256=" + base64.b64encode(hashlib.sha256(DATA).digest()).decode(),
    "name": "cat.png",
}


def content(*pieces: Any, status: int = 200, **headers: str) -> Stream:
    return Stream(pieces, status, {name.replace("_", "-"): text for name, text in headers.items()})


def rest(start: int, *pieces: Any) -> Stream:
    return content(*pieces, status=206, content_range=f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")


def fetched(played: Played, wanted: Wanted) -> bytes:
    played.run(fetch(played.rules(), wanted))
    held = bytearray()
    for piece in played.given:
        collect(held, piece)
    return bytes(held)


def ranges(played: Played) -> list[str | None]:
    return [request.headers.get("Range") for request in played.requests]


def test_a_file_is_fetched_by_its_id_and_not_by_a_url_that_ages() -> None:
    played = Played([content(DATA[:10], DATA[10:])])
    assert fetched(played, Wanted.of(FILE)) == DATA
    assert [request.path for request in played.requests] == [f"/files/{ID}/content"]


def test_after_a_cut_it_goes_on_where_it_was() -> None:
    played = Played([content(DATA[:1000], BROKEN), answer(503), rest(1000, DATA[1000:5000]), rest(5000, DATA[5000:])])
    assert fetched(played, Wanted.of(FILE)) == DATA
    assert ranges(played) == [None, "bytes=1000-", "bytes=1000-", "bytes=5000-"]


@pytest.mark.parametrize("second", [content(DATA), rest(0, DATA)])
def test_a_server_that_begins_anew_is_taken_at_its_word(second: Stream) -> None:
    played = Played([content(DATA[:1000], BROKEN), second])
    assert fetched(played, Wanted.of(FILE)) == DATA


def test_an_end_that_comes_too_early_is_a_cut() -> None:
    played = Played([content(DATA[:1000]), rest(1000, DATA[1000:])])
    assert fetched(played, Wanted.of(FILE)) == DATA


@pytest.mark.parametrize("wrong", [DATA[:-1] + b"x", DATA + b"x"])
def test_other_bytes_are_never_taken_for_the_file(wrong: bytes) -> None:
    with pytest.raises(DownloadBroken):
        fetched(Played([content(wrong)]), Wanted.of(FILE))


def test_the_digest_of_an_answer_counts_where_no_other_is_known() -> None:
    told = FILE["digest"].replace("=", "=:", 1) + ":"  # type: ignore[attr-defined]
    assert fetched(Played([content(DATA, repr_digest=f"sha-512=:AA==:, {told}")]), Wanted("/files/x")) == DATA
    with pytest.raises(DownloadBroken):
        fetched(Played([content(DATA[1:], repr_digest=told)]), Wanted("/files/x"))
    assert digest_of({"repr-digest": "sha-512=:AA==:"}) == ""


def test_a_refusal_is_final_and_patience_has_an_end() -> None:
    with pytest.raises(ApiError) as caught:
        fetched(Played([content(DATA[:10], BROKEN), problem(410, "file-gone")]), Wanted.of(FILE))
    assert caught.value.code == "file-gone"
    with pytest.raises(Unreachable):
        fetched(Played([BROKEN]), Wanted.of(FILE))


def test_a_slow_download_that_is_cut_again_and_again_goes_on_as_long_as_bytes_come() -> None:
    cuts = [rest(at, DATA[at : at + 1000], BROKEN) for at in range(1000, 100_000, 1000)]
    played = Played([content(DATA[:1000], BROKEN), *cuts, rest(100_000, DATA[100_000:])], takes=20)
    assert fetched(played, Wanted.of(FILE)) == DATA


def test_files_are_found_wherever_they_stand_in_an_output() -> None:
    found = with_files({"a": [FILE, {"id": "x"}], "b": FILE | {"size": "3"}, "c": FILE | {"id": "file_../x"}}, StoredFile)
    assert isinstance(found["a"][0], StoredFile)
    assert found["a"][0] == FILE
    assert [type(each) for each in (found["a"][1], found["b"], found["c"])] == [dict, dict, dict]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/x", "x"),
        ("..\\x", "x"),
        ("..", f"{ID}.png"),
        (".bashrc", f"{ID}.png"),
        ("", f"{ID}.png"),
        ("a\nb", f"{ID}.png"),
    ],
)
def test_a_file_is_never_saved_outside_its_folder_nor_hidden(name: str, kept: str) -> None:
    assert local_name(FILE | {"name": name}) == kept


def test_the_name_of_what_a_url_leads_to_is_its_id() -> None:
    assert local_name(f"http://x/api/v1/files/{ID}/content?sig=../x") == ID
    assert local_name("http://x/..") == "file"


def test_urls_of_answers_are_made_absolute() -> None:
    assert absolute("http://x/ai", "/api/v1/files/a") == "http://x/ai/api/v1/files/a"
    assert absolute("http://x", "https://public/api/v1/files/a") == "https://public/api/v1/files/a"
    assert absolute("http://x/ai", "/ai/api/v1/files/a") == "http://x/ai/api/v1/files/a"


# -- over sockets -----------------------------------------------------------------------------------------------------------


class Cutting(http.server.BaseHTTPRequestHandler):
    """Serves DATA by ranges, 300,000 bytes at most before the connection breaks; remembers the headers."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        self.wfile.write(DATA[start : start + 300_000])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another server, such as a bucket, that breaks off."""
    seen: list[dict[str, str]] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Stranger", (Cutting,), {"seen": seen})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/bucket/x?X-Amz-Signature=y", seen
        server.shutdown()
        thread.join()


def test_a_bucket_that_we_are_sent_to_gets_the_range_but_no_key(server: ScriptedServer, stranger: Any, tmp_path: Path) -> None:
    url, seen = stranger
    server.on(f"GET /files/{ID}", Scripted(body=FILE))
    server.on(f"GET /files/{ID}/content", Scripted(307, b"", {"Location": url}))

    with Client(server.url, "secret-key") as client:
        saved = client.download(ID, tmp_path)

    assert (saved, saved.read_bytes()) == (tmp_path / "cat.png", DATA)
    assert [headers.get("Range") for headers in seen] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert {name.lower() for headers in seen for name in headers} & {"authorization", "cookie"} == set()
    assert {headers["Authorization"] for headers in server.seen(f"GET /files/{ID}/content")} == {"Bearer secret-key"}
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


async def test_asyncio_fetches_the_same_way(server: ScriptedServer, stranger: Any, tmp_path: Path) -> None:
    url, seen = stranger
    server.on(f"GET /files/{ID}", Scripted(body=FILE))
    server.on(f"GET /files/{ID}/content", Scripted(307, b"", {"Location": url}))

    async with AsyncClient(server.url, "secret-key") as client:
        file = await client.file(ID)
        assert (await file.save(tmp_path / "x.png")).read_bytes() == DATA
        assert await file.read() == DATA
        assert (await client.download(url, tmp_path / "y")).read_bytes() == DATA

    assert {name.lower() for headers in seen for name in headers} & {"authorization", "cookie"} == set()


def test_a_url_of_a_stranger_is_fetched_without_the_key_and_one_of_ours_with_it(
    server: ScriptedServer, stranger: Any, tmp_path: Path
) -> None:
    server.on(f"GET /files/{ID}/content?sig=x", Scripted(body=DATA))

    with Client(server.url, "secret-key") as client:
        assert client.download(stranger[0], tmp_path / "a").read_bytes() == DATA
        assert client.download(FILE["url"], tmp_path).read_bytes() == DATA  # type: ignore[arg-type]
        assert client.download(f"{server.url}{FILE['url']}", tmp_path / "b").read_bytes() == DATA

    assert all("Authorization" not in headers for headers in stranger[1])
    assert len(server.seen(f"GET /files/{ID}/content?sig=x")) == 2


def test_what_was_there_stays_when_the_download_fails(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"old")
    server.on(f"GET /files/{ID}/content", Scripted(body=DATA[:-1] + b"x"))

    with Client(server.url, "") as client, pytest.raises(DownloadBroken):
        client.download(FILE, tmp_path)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("cat.png", b"old")]


def test_a_result_that_is_a_file_is_not_fetched_before_it_is_asked_for(server: ScriptedServer, tmp_path: Path) -> None:
    body = {"id": "job_1", "model": "m", "status": "succeeded", "terminal": True, "version": 3, "output": FILE}
    server.on("POST /models/thumbnail/jobs", Scripted(202, body))
    server.on(f"GET /files/{ID}/content", Scripted(body=DATA))

    with Client(server.url, "") as client:
        result = client.run("thumbnail", {"image": "file_x"})
        assert len(server.requests) == 1
        assert (result["url"], result.url) == (f"{server.url}{FILE['url']}",) * 2
        assert (result.content_type, result.size, result.name, result.id, result.digest) == (
            "image/png",
            len(DATA),
            "cat.png",
            ID,
            FILE["digest"],
        )
        assert result.read() == DATA
        assert result.save(tmp_path).read_bytes() == DATA
        assert client.submit("thumbnail", {"image": "file_x"}).output == result


def test_a_large_output_is_read_from_where_the_result_leads_to(server: ScriptedServer) -> None:
    body = {"id": "job_1", "model": "m", "status": "succeeded", "terminal": True, "version": 3, "output": None, "output_file": FILE}
    server.on("POST /models/embed/jobs", Scripted(202, body))
    with scripted_server() as bucket:
        server.on("GET /jobs/job_1/result", Scripted(303, b"", {"Location": f"{bucket.url}/x"}))
        bucket.on("GET /x", Scripted(body=list(range(30_000))))
        with Client(server.url, "secret-key") as client:
            assert client.run("embed", {}) == list(range(30_000))
        assert "Authorization" not in bucket.seen("GET /x")[0]


def test_files_are_deleted_and_one_that_is_gone_after_a_lost_answer_counts(server: ScriptedServer) -> None:
    server.on(f"DELETE /files/{ID}", Scripted(silent=True), Scripted(410, {"code": "file-gone"}))
    with Client(server.url, "") as client:
        client.delete_file(ID)
        with pytest.raises(ApiError):
            client.delete_file(ID)
