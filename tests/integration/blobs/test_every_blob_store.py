"""What every blob store promises, on a folder and on an S3 server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from longrun.blobs.contract import BadKey, BlobNotFound, Blobs
from longrun.blobs.sweep import sweep
from longrun.errors import PayloadTooLarge

MB = 1 << 20
Leftovers = Callable[[], list[str]]


async def pieces(count: int, size: int = MB, fill: bytes = b"x") -> AsyncIterator[bytes]:
    for _ in range(count):
        yield fill * size


async def whole(blobs: Blobs, key: str, **bounds: int) -> bytes:
    return b"".join([chunk async for chunk in await blobs.get(key, **bounds)])


@pytest.mark.parametrize("count", [0, 1, 5, 13], ids=lambda count: f"{count}MB")
async def test_what_was_put_is_there_with_its_size_and_digest(blobs: Blobs, count: int) -> None:
    stored = await blobs.put("files/a.bin", pieces(count), limit=count * MB)
    data = b"x" * (count * MB)
    assert (stored.key, stored.size) == ("files/a.bin", len(data))
    assert stored.digest == "sha-256=" + base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert await blobs.head("files/a.bin") == len(data)
    assert await whole(blobs, "files/a.bin") == data
    assert await blobs.read("files/a.bin", len(data)) == data


@pytest.mark.parametrize("count", [2, 13], ids=["one request", "several parts"])
async def test_an_upload_ends_at_the_limit_and_leaves_nothing(blobs: Blobs, leftovers: Leftovers, count: int) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 64 * 1024
            yield bytes(64 * 1024)

    with pytest.raises(PayloadTooLarge, match=f"{count * MB:,} bytes"):
        await blobs.put("a", endless(), limit=count * MB)
    assert taken - count * MB <= 64 * 1024
    assert await blobs.head("a") is None
    assert leftovers() == []


@pytest.mark.parametrize(
    "error", [ValueError("the client left"), OSError(28, "not the blob store's disk"), FileNotFoundError("nor its file")]
)
@pytest.mark.parametrize("count", [1, 12])
async def test_what_the_source_raises_comes_out_and_nothing_is_left(
    blobs: Blobs, leftovers: Leftovers, count: int, error: Exception
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for chunk in pieces(count):
            yield chunk
        raise error

    with pytest.raises(type(error)) as raised:
        await blobs.put("a", broken(), limit=100 * MB)
    assert raised.value is error
    with pytest.raises(type(error)) as raised:
        await asyncio.to_thread(blobs.put_blocking, "a", failing(count, error), limit=100 * MB)
    assert raised.value is error
    assert await blobs.head("a") is None
    assert leftovers() == []


def failing(count: int, error: Exception) -> Iterator[bytes]:
    yield from [bytes(MB)] * count
    raise error


@pytest.mark.parametrize("count", [1, 12])
async def test_a_canceled_upload_leaves_nothing(blobs: Blobs, leftovers: Leftovers, count: int) -> None:
    stalled = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        async for chunk in pieces(count):
            yield chunk
        stalled.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(blobs.put("a", stalls(), limit=100 * MB))
    await asyncio.wait_for(stalled.wait(), 30)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await blobs.head("a") is None
    assert leftovers() == []


async def test_two_puts_of_one_key_leave_one_of_the_two(blobs: Blobs, leftovers: Leftovers) -> None:
    fills = [b"a", b"b", b"c", b"d"]
    await asyncio.gather(*(blobs.put("a", pieces(7, fill=fill), limit=7 * MB) for fill in fills))
    assert await whole(blobs, "a") in [fill * 7 * MB for fill in fills]
    assert leftovers() == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, b"0123456789"), (3, 5, b"34"), (8, None, b"89"), (8, 99, b"89"), (10, None, b""), (50, 60, b""), (5, 3, b"")],
)
async def test_a_range_ends_where_the_file_does(blobs: Blobs, start: int, end: int | None, expected: bytes) -> None:
    await blobs.put_bytes("a", b"0123456789")
    assert b"".join([chunk async for chunk in await blobs.get("a", start=start, end=end)]) == expected
    assert b"".join(await asyncio.to_thread(lambda: list(blobs.get_blocking("a", start=start, end=end)))) == expected


async def test_what_is_not_there_says_so_before_the_first_byte(blobs: Blobs) -> None:
    assert await blobs.head("a") is None
    with pytest.raises(BlobNotFound):
        await blobs.get("a")
    with pytest.raises(BlobNotFound):
        await asyncio.to_thread(blobs.read_blocking, "a", 10)
    assert blobs.path("a") is None


async def test_reading_whole_has_a_limit(blobs: Blobs) -> None:
    await blobs.put_bytes("a", bytes(11))
    with pytest.raises(PayloadTooLarge):
        await blobs.read("a", 10)


async def test_deleting_takes_what_is_there_and_minds_nothing_else(blobs: Blobs) -> None:
    for key in ("a", "b", "c"):
        await blobs.put_bytes(key, b"1")
    await blobs.delete(["a", "missing", "b"])
    await blobs.delete([])
    assert await blobs.keys() == ["c"]


async def test_a_list_has_a_prefix_and_an_age(blobs: Blobs) -> None:
    await blobs.check()
    for key in ("jobs/1/a", "jobs/12/b", "files/c"):
        await blobs.put_bytes(key, b"1")
    assert await blobs.keys() == ["files/c", "jobs/1/a", "jobs/12/b"]
    assert await blobs.keys("jobs/1") == ["jobs/1/a", "jobs/12/b"]
    assert await blobs.keys("jobs/1/") == ["jobs/1/a"]
    assert await blobs.keys(older_than=30) == []


async def test_a_sweep_takes_old_files_that_no_record_names(blobs: Blobs) -> None:
    for key in ("named", "orphan/1", "orphan/2"):
        await blobs.put_bytes(key, b"1")
    asked: list[str] = []

    async def is_referenced(keys: object) -> set[str]:
        asked.extend(keys)  # type: ignore[call-overload]
        return {"named"}

    assert (await sweep(blobs, is_referenced, older_than=60)).removed == 0
    assert asked == []
    assert (await sweep(blobs, is_referenced, older_than=0, second_look=0)).removed == 2
    assert asked == ["named", "orphan/1", "orphan/2", "orphan/1", "orphan/2"]
    assert await blobs.keys() == ["named"]


async def test_a_file_whose_record_comes_between_the_two_looks_of_a_sweep_stays(blobs: Blobs) -> None:
    """A bucket dates a large upload by its beginning: the file is old when it appears, and its record comes a moment later."""
    for key in ("late", "orphan"):
        await blobs.put_bytes(key, b"1")
    looks: list[list[str]] = []

    async def is_referenced(keys: Sequence[str]) -> set[str]:
        looks.append(list(keys))
        return {"late"} if len(looks) > 1 else set()

    begun = time.monotonic()
    swept = await sweep(blobs, is_referenced, older_than=0, second_look=0.5)
    assert looks == [["late", "orphan"], ["late", "orphan"]]
    assert await blobs.keys() == ["late"]
    assert time.monotonic() - begun >= 0.5 and swept.busy < time.monotonic() - begun - 0.4


async def test_a_thread_without_a_loop_can_do_it_all(blobs: Blobs) -> None:
    for count in (1, 12):
        stored = await asyncio.to_thread(blobs.put_blocking, "out", [b"y" * MB] * count, limit=count * MB)
        assert stored.size == count * MB
        assert await asyncio.to_thread(blobs.read_blocking, "out", count * MB) == b"y" * (count * MB)
    with pytest.raises(PayloadTooLarge):
        await asyncio.to_thread(blobs.put_blocking, "more", [bytes(MB)] * 12, limit=11 * MB)
    assert await blobs.head("more") is None


@pytest.mark.parametrize(
    "key", ["", "../etc", "a/../b", "/a", "a//b", "a/", "a\0b", ".check", ".part-1", "a/.b", "a+b", "a\\b", "ä", "a\n", "x" * 201]
)
async def test_what_is_no_key_is_refused_everywhere(blobs: Blobs, key: str) -> None:
    with pytest.raises(BadKey):
        await blobs.put_bytes(key, b"1")
    with pytest.raises(BadKey):
        blobs.put_blocking(key, [b"1"], limit=1)
    with pytest.raises(BadKey):
        await blobs.get(key)
    with pytest.raises(BadKey):
        list(blobs.get_blocking(key))
    with pytest.raises(BadKey):
        await blobs.head(key)
    with pytest.raises(BadKey):
        await blobs.delete([key])
    with pytest.raises(BadKey):
        blobs.path(key)
