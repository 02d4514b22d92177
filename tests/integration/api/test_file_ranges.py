"""The bytes of a file: whole, in pieces, and not again."""

from __future__ import annotations

import httpx
import pytest
from tests.integration.api.stored import DATA, DIGEST, ETAG, add


async def test_what_is_read_can_be_checked(caller: httpx.AsyncClient) -> None:
    file = await add(caller)
    for method in ("GET", "HEAD"):
        answer = await caller.request(method, file["url"])
        assert (answer.status_code, answer.headers["etag"], answer.headers["repr-digest"]) == (200, ETAG, f"sha-256=:{DIGEST}:")
        assert (answer.headers["accept-ranges"], answer.headers["content-length"]) == ("bytes", str(len(DATA)))
        assert answer.content == (DATA if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100-", 100, 10_240),
        ("bytes=-100", 10_140, 10_240),
        ("bytes=-99999", 0, 10_240),
        ("bytes=10239-", 10_239, 10_240),
        ("bytes=0-99999", 0, 10_240),
        (f"bytes=5-{'9' * 18}", 5, 10_240),
    ],
)
async def test_one_range_is_given(caller: httpx.AsyncClient, asked: str, start: int, end: int) -> None:
    file = await add(caller)
    answer = await caller.get(file["url"], headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (206, f"bytes {start}-{end - 1}/10240")
    assert answer.content == DATA[start:end] and answer.headers["etag"] == ETAG


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(101)),
        "bytes=0-1,5-6",
        "bytes=5-4",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=1 0-20",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=0x1-0x2",
        f"bytes=0-{'9' * 5000}",
        "pages=1-2",
        "bytes 0-1",
        "",
    ],
)
async def test_ranges_that_are_not_understood_are_left_out_of_account(caller: httpx.AsyncClient, asked: str) -> None:
    file = await add(caller)
    answer = await caller.get(file["url"], headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=10240-10241", "bytes=-0", f"bytes={'9' * 18}-", f"bytes={'9' * 30}-"])
async def test_a_range_after_the_end_is_416_and_the_size_is_told(caller: httpx.AsyncClient, asked: str) -> None:
    file = await add(caller)
    answer = await caller.get(file["url"], headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"], answer.headers["content-range"]) == (416, "range-not-satisfiable", "bytes */10240")


@pytest.mark.parametrize(
    ("condition", "status"), [(ETAG, 206), ('"other"', 200), (f"W/{ETAG}", 200), ("Wed, 25 Nov 2026 21:00:00 GMT", 200), ("", 200)]
)
async def test_a_range_of_another_file_is_not_given(caller: httpx.AsyncClient, condition: str, status: int) -> None:
    file = await add(caller)
    answer = await caller.get(file["url"], headers={"Range": "bytes=0-9", "If-Range": condition})
    assert (answer.status_code, len(answer.content)) == (status, 10 if status == 206 else len(DATA))


@pytest.mark.parametrize(
    ("known", "status"), [(ETAG, 304), (f"W/{ETAG}", 304), (f'"a", {ETAG}', 304), ("*", 304), ('"a"', 200), (",".join(['"a"'] * 500), 200)]
)
async def test_what_the_caller_has_is_not_sent_again(caller: httpx.AsyncClient, known: str, status: int) -> None:
    file = await add(caller)
    for method in ("GET", "HEAD"):
        answer = await caller.request(method, file["url"], headers={"If-None-Match": known})
        assert (answer.status_code, answer.headers["etag"]) == (status, ETAG)
