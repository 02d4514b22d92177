"""Forms as they come: in any pieces, from any client, and made to do harm."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
import requests
from tests.unit.growth import MOST, growth, seconds

from longrun.api.http import multipart
from longrun.api.http.multipart import MOST_HEADERS, MOST_PARTS, is_multipart, read_parts
from longrun.errors import MalformedRequest, PayloadTooLarge, UploadTooSlow

KIND = "multipart/form-data; boundary=x"
END = b"--x--\r\n"
Found = tuple[str, str | None, bytes]


def part(disposition: str, data: bytes = b"", *headers: str) -> bytes:
    """One part, with its boundary before it."""
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"--x\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def given(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def parts_of(body: bytes, kind: str = KIND, size: int = 1 << 20) -> list[Found]:
    return [
        (each.name, each.filename, b"".join([data async for data in each.chunks()]))
        async for each in read_parts(in_pieces(body, size), kind)
    ]


FORM = (
    part('name="a"', b"1")
    + part('name="b"', b"")
    + part('name="f"; filename="f.bin"', b"\r\n--x\r--x-\r\n--y\0\xff", "Content-Type: image/png")
    + part('name="a"', b"2")
    + END
)
FOUND = [("a", None, b"1"), ("b", None, b""), ("f", "f.bin", b"\r\n--x\r--x-\r\n--y\0\xff"), ("a", None, b"2")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
async def test_in_whatever_pieces_a_form_comes_it_is_the_same(size: int) -> None:
    assert await parts_of(FORM, size=size) == FOUND


async def test_what_is_not_read_of_a_part_is_left_out() -> None:
    for size in (1, 5, 1 << 20):
        assert [each.name async for each in read_parts(in_pieces(FORM, size), KIND)] == ["a", "b", "f", "a"]


async def test_a_part_is_given_before_the_rest_has_come() -> None:
    came = []

    async def stream() -> AsyncIterator[bytes]:
        for piece in (part('name="f"; filename=""', b"begin")[:-2], b"more", b"\r\n" + END):
            came.append(piece)
            yield piece

    async for each in read_parts(stream(), KIND):
        chunks = each.chunks()
        assert await anext(chunks) == b"begin"
        assert len(came) == 1
        assert b"".join([data async for data in chunks]) == b"more"


def sent_by_httpx() -> tuple[str, bytes]:
    request = httpx.Request("POST", "http://x", data={"a": "1"}, files={"f": ('ü"\n.png', b"data", "image/png")})
    return request.headers["content-type"], request.read()


def sent_by_requests() -> tuple[str, bytes]:
    request = requests.Request("POST", "http://x", data={"a": "1"}, files={"f": ("ü.png", b"data", "image/png")}).prepare()
    assert isinstance(request.body, bytes)
    return request.headers["content-type"], request.body


def sent_by_a_browser() -> tuple[str, bytes]:
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    body = part('name="a"', b"1") + part('name="f"; filename="ü.png"', b"data", "Content-Type: image/png") + END
    return f"multipart/form-data; boundary={boundary}", body.replace(b"--x", f"--{boundary}".encode())


@pytest.mark.parametrize("sent", [sent_by_httpx, sent_by_requests, sent_by_a_browser])
async def test_what_clients_send_is_read(sent: object) -> None:
    kind, body = sent()  # type: ignore[operator]
    (a, file) = await parts_of(body, kind)
    assert a == ("a", None, b"1")
    assert file[0] == "f" and file[2] == b"data"
    assert (file[1] or "").startswith("ü") and (file[1] or "").endswith(".png")


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('name="f"', None),
        ('name="f"; filename=""', ""),
        ("name=f; filename=plain.txt", "plain.txt"),
        ('name="f"; filename="../../x"', "../../x"),
        ('name="f"; filename="a;b=\\"c\\".txt"', 'a;b="c".txt'),
        ("name=\"f\"; filename*=UTF-8''..%2f..%2fx", "../../x"),
        ('name="f"; filename="plain"; filename*=utf-8\'de\'%E2%82%AC.txt', "€.txt"),
        ("name=\"f\"; filename*=iso-8859-1''%E4.txt", "ä.txt"),
        ("name=\"f\"; filename*=UTF-8''%00%ff", "\0\ufffd"),
        ("name=\"f\"; filename*=klingon''x", None),
        ('name="f"; filename="; filename*=UTF-8\'\'evil"', "; filename*=UTF-8''evil"),
        ('name="f"; filename="\u202egnp.exe"', "\u202egnp.exe"),
        ('name="f"; filename="CON"', "CON"),
        (f'name="f"; filename="{"n" * 5000}"', "n" * 5000),
    ],
)
async def test_a_filename_is_what_was_sent_whatever_it_is(disposition: str, filename: str | None) -> None:
    # Made safe by `media.names.safe_name`, later.
    for size in (1, 1 << 20):
        assert await parts_of(part(disposition, b"x") + END, size=size) == [("f", filename, b"x")]


async def test_a_name_that_is_no_utf_8_is_latin_1() -> None:
    assert (await parts_of(b'--x\r\nContent-Disposition: form-data; name="\xe4"\r\n\r\n\r\n' + END))[0][0] == "ä"


def test_a_quote_without_end_is_looked_at_once() -> None:
    made = part('name="f"; filename=' + '"\\' * 3900, b"") + END
    assert seconds(lambda data: asyncio.run(parts_of(data)), made) < 1


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 71}", "multipart/form-data; border=x"],
)
async def test_a_boundary_is_needed(kind: str) -> None:
    with pytest.raises(MalformedRequest, match="boundary"):
        await parts_of(FORM, kind)


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b"--y\r\n" + FORM,
        b"--x",
        FORM[: -len(END)],
        FORM[:40],
        part('name="a"', b"1")[:-2],
        b"--x\r\n\r\nno headers\r\n" + END,
        b"--x\r\nContent-Type: text/plain\r\n\r\nno name\r\n" + END,
        b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\n\r\n' + END,
        b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n" + END,
        b"--x\r\nContent-Disposition : form-data; name=a\r\n\r\n\r\n" + END,
        part('name="a"', b"1", 'Content-Disposition: form-data; name="b"') + END,
        part('name="a"; filename="a"', b"MQ==", "Content-Transfer-Encoding: base64") + END,
    ],
)
async def test_what_is_no_form_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(MalformedRequest):
        await parts_of(body, size=size)


@pytest.mark.parametrize("size", [1000, 1 << 20])
async def test_ten_thousand_parts_are_refused_after_two_hundred(size: int) -> None:
    body, seen = part('name="a"', b"1") * 10_000 + END, 0
    with pytest.raises(PayloadTooLarge) as caught:
        async for _ in read_parts(in_pieces(body, size), KIND):
            seen += 1
    assert (seen, caught.value.extra["limit"]) == (MOST_PARTS, MOST_PARTS)
    assert len(await parts_of(part('name="a"', b"1") * MOST_PARTS + END)) == MOST_PARTS


def endless_header() -> bytes:
    return b"--x\r\nX-Long: " + bytes(1 << 20).replace(b"\0", b"a")


@pytest.mark.parametrize(
    "body",
    [
        endless_header(),
        b"--x\r\n" + b"a" * (1 << 20),
        part('name="a"', b"", *[f"X-{n}: {'v' * 2000}" for n in range(6)]) + END,
        part('name="a"', b"", *["X: y"] * 500),
    ],
)
@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
async def test_headers_of_a_megabyte_are_refused_when_they_are_over_the_limit(body: bytes, size: int) -> None:
    came = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal came
        async for piece in in_pieces(body, size):
            came += len(piece)
            yield piece

    with pytest.raises((PayloadTooLarge, MalformedRequest)):
        async for _ in read_parts(counted(), KIND):
            pass
    assert came <= MOST_HEADERS + 4096 + size


async def test_the_limit_of_headers_is_told() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        await parts_of(endless_header(), size=100)
    assert caught.value.extra["limit"] == MOST_HEADERS


async def test_text_is_bounded() -> None:
    async for each in read_parts(given([part('name="a"', b"12345") + END]), KIND):
        with pytest.raises(PayloadTooLarge) as caught:
            await each.text(4)
        assert caught.value.extra["limit"] == 4
        break


async def test_a_body_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "STILL", 0.1)

    async def stuck() -> AsyncIterator[bytes]:
        yield part('name="f"; filename="f"', b"begin")
        await asyncio.sleep(60)

    with pytest.raises(UploadTooSlow):
        async for each in read_parts(stuck(), KIND):
            async for _ in each.chunks():
                pass


async def test_a_form_whose_body_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "STILL", 0.1)

    async def stuck() -> AsyncIterator[bytes]:
        yield FORM
        await asyncio.sleep(60)

    with pytest.raises(UploadTooSlow):
        async for _ in read_parts(stuck(), KIND):
            pass


async def test_what_is_there_at_once_needs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def there() -> int:
        return 1

    async def refused() -> int:
        raise ConnectionError

    def no_timer(_: float) -> None:
        raise AssertionError("a timer was set")

    monkeypatch.setattr(asyncio, "timeout", no_timer)
    assert await multipart.in_time(there()) == 1
    with pytest.raises(ConnectionError):
        await multipart.in_time(refused())


async def test_what_comes_in_several_steps_is_waited_for_whole() -> None:
    async def late(outcome: int | Exception) -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert await multipart.in_time(late(7)) == 7
    with pytest.raises(ConnectionError):
        await multipart.in_time(late(ConnectionError()))


async def test_who_is_waited_for_sees_that_it_is_given_up_and_that_the_caller_is_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def stuck(first: float) -> None:
        try:
            await asyncio.sleep(first)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("canceled")
            await asyncio.sleep(0.01)
            seen.append("cleaned up")
            raise

    waiting = asyncio.create_task(multipart.in_time(stuck(60)))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    monkeypatch.setattr(multipart, "STILL", 0.05)
    for first in (60, 0.01):
        with pytest.raises(UploadTooSlow):
            await multipart.in_time(stuck(first))
    assert seen == ["canceled", "cleaned up"] * 3


async def test_a_little_after_the_form_is_left_out_and_much_is_not_read() -> None:
    assert await parts_of(FORM + b"an epilogue", size=16) == FOUND
    read = 0

    async def much() -> AsyncIterator[bytes]:
        nonlocal read
        yield FORM
        while True:
            read += 4096
            yield bytes(4096)

    async for _ in read_parts(much(), KIND):
        pass
    assert read <= 80 * 1024


async def _read_what_looks_like_boundaries(pieces: int) -> None:
    async def large() -> AsyncIterator[bytes]:
        yield part('name="f"; filename="f"')[:-2]
        for _ in range(pieces):
            yield b"\r\n--" * 16_384
        yield b"\r\n" + END

    size = 0
    async for each in read_parts(large(), KIND):
        async for data in each.chunks():
            size += len(data)
    assert size == pieces * 65_536


def test_megabytes_pass_through_in_linear_time() -> None:
    assert 0 < growth(lambda pieces: asyncio.run(_read_what_looks_like_boundaries(pieces)), lambda n: n, 40) < MOST


async def test_megabytes_pass_through_little_memory() -> None:
    tracemalloc.start()
    await _read_what_looks_like_boundaries(100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_multipart_is_told_by_its_type_alone() -> None:
    assert is_multipart("Multipart/Form-Data; boundary=x")
    assert not any(map(is_multipart, (None, "", "multipart/mixed; boundary=x", "application/json", "multipart/form-dataX")))
