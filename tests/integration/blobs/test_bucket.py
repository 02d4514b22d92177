"""The bucket: signed URLs, what goes wrong with a server, memory, processes."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import multiprocessing
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests.integration.blobs.conftest import S3Server

from longrun.blobs.contract import Blobs
from longrun.blobs.open import open_blobs
from longrun.errors import BlobsFull, BlobsUnavailable, SettingsError
from longrun.settings import Settings

MB = 1 << 20


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * MB


@pytest.mark.parametrize("count", [1, 12])
async def test_a_signed_url_gives_the_bytes_as_an_attachment(s3: Blobs, count: int) -> None:
    await s3.put("a", pieces(count), limit=count * MB, content_type="image/png", filename='grüße "1".png')
    url = await s3.url("a", expires=60)
    assert url is not None and "X-Amz-Expires=60" in url
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    assert (answer.status_code, len(answer.content)) == (200, count * MB)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%221%22.png"


async def test_without_a_type_it_is_plain_bytes(s3: Blobs) -> None:
    await s3.put_bytes("a", b"<svg/>")
    async with httpx.AsyncClient() as client:
        answer = await client.get(str(await s3.url("a", expires=60)))
    assert (answer.headers["content-type"], answer.headers["content-disposition"]) == ("application/octet-stream", "attachment")


async def test_everything_lies_below_the_prefix(s3: Blobs, aws: S3Server, bucket: str) -> None:
    aws.client.put_object(Bucket=bucket, Key="not-ours", Body=b"1")
    await s3.put_bytes("files/a", b"1")
    await s3.check()
    assert await s3.keys() == ["files/a"]
    stored = [one["Key"] for one in aws.client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert stored == ["not-ours", "some/prefix/.check", "some/prefix/files/a"]


async def everything(blobs: Blobs) -> list[BlobsUnavailable]:
    calls = {
        "put": lambda: blobs.put_bytes("a", b"1"),
        "a large put": lambda: blobs.put("a", pieces(12), limit=100 * MB),
        "put_blocking": lambda: asyncio.to_thread(blobs.put_blocking, "a", [b"1"], limit=1),
        "get": lambda: blobs.get("a"),
        "read_blocking": lambda: asyncio.to_thread(blobs.read_blocking, "a", 1),
        "head": lambda: blobs.head("a"),
        "delete": lambda: blobs.delete(["a"]),
        "keys": blobs.keys,
        "check": blobs.check,
    }
    found = []
    for name, call in calls.items():
        try:
            await asyncio.wait_for(call(), 90)
        except BlobsUnavailable as error:
            found.append(error)
        else:
            pytest.fail(f"{name} went well")
    return found


async def test_a_bucket_that_is_gone_is_said_to_be_gone(aws: S3Server, bucket: str) -> None:
    blobs = open_blobs(Settings(blobs=f"s3://{bucket}"))
    await blobs.check()
    aws.client.delete_object(Bucket=bucket, Key=".check")
    aws.client.delete_bucket(Bucket=bucket)
    assert {error.detail for error in await everything(blobs)} == {"The bucket of files does not exist."}


async def test_a_server_that_is_away_is_503_within_seconds(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        blobs = open_blobs(Settings(blobs="s3://bucket"))
        found = await everything(blobs)
    assert {(error.status, error.code, error.detail) for error in found} == {
        (503, "storage-unavailable", "The bucket of files does not answer.")
    }


async def test_a_server_that_takes_connections_and_says_nothing_is_503(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        blobs = open_blobs(Settings(blobs="s3://bucket"))
        async with asyncio.timeout(90):
            with pytest.raises(BlobsUnavailable):
                await blobs.check()


async def test_wrong_credentials_are_said_to_be_wrong(aws: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    blobs = open_blobs(Settings(blobs=f"s3://{bucket}"))
    aws.look_at_credentials(True)
    try:
        found = await everything(blobs)
    finally:
        aws.look_at_credentials(False)
    assert {error.detail for error in found} == {"The bucket of files refuses our credentials."}
    assert not any("stranger" in str(error) for error in found)


async def test_missing_credentials_are_named(aws: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # where a cloud would have some
    with pytest.raises(BlobsUnavailable, match="AWS_ACCESS_KEY_ID"):
        await open_blobs(Settings(blobs=f"s3://{bucket}")).check()


@pytest.mark.parametrize("body", [b"<Error><Code>XMinioStorageFull</Code></Error>", b""])
async def test_a_server_without_room_is_507(aws: S3Server, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 507 Insufficient Storage\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(full, "127.0.0.1", 0) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        blobs = open_blobs(Settings(blobs="s3://bucket"))
        for call in (blobs.put_bytes("a", b"1"), blobs.check()):
            with pytest.raises(BlobsFull) as raised:
                await call
            assert (raised.value.status, raised.value.code) == (507, "storage-full")


@pytest.mark.parametrize(("allowed", "refused"), [("", True), ("true", False)])
def test_plain_http_to_another_machine_has_to_be_allowed(monkeypatch: pytest.MonkeyPatch, allowed: str, refused: bool) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", allowed)
    if refused:
        with pytest.raises(SettingsError, match="AWS_ALLOW_HTTP"):
            open_blobs(Settings(blobs="s3://bucket"))
    else:
        open_blobs(Settings(blobs="s3://bucket"))


async def test_200_mb_stream_through_in_flat_memory(s3: Blobs) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await s3.put("a", pieces(200), limit=200 * MB)
    size = 0
    async for chunk in await s3.get("a"):
        size += len(chunk)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert size == 200 * MB
    assert grown < 100 * MB


async def test_a_spawned_process_can_use_it_after_this_one_has(s3: Blobs, bucket: str) -> None:
    await s3.put_bytes("input", b"in")
    child = multiprocessing.get_context("spawn").Process(target=_in_a_runner, args=(f"s3://{bucket}/some/prefix",))
    child.start()
    await asyncio.to_thread(child.join, 60)
    assert child.exitcode == 0
    assert await s3.read("output", 100) == b"in and out"


def _in_a_runner(place: str) -> None:
    blobs = open_blobs(Settings(blobs=place))
    data = blobs.read_blocking("input", 100)
    blobs.put_blocking("output", [data, b" and out"], limit=100)


async def test_what_a_killed_process_has_half_sent_is_seen_by_nobody(s3: Blobs, aws: S3Server, bucket: str) -> None:
    """Its parts stay in the bucket until the bucket's lifecycle rule takes them: docs/operating.md says which."""
    sender = multiprocessing.get_context("spawn").Process(target=_send_without_end, args=(f"s3://{bucket}/some/prefix",))
    sender.start()
    try:
        deadline = time.monotonic() + 60
        while not await asyncio.to_thread(aws.uploads, bucket):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    finally:
        sender.kill()
        await asyncio.to_thread(sender.join)
    assert await s3.head("a") is None
    assert await s3.keys() == []


def _send_without_end(place: str) -> None:
    open_blobs(Settings(blobs=place)).put_blocking("a", itertools.repeat(bytes(MB)), limit=1 << 40)


async def test_a_server_that_dies_in_the_middle_ends_upload_and_download(
    aws: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Relay(aws.url) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        blobs = open_blobs(Settings(blobs=f"s3://{bucket}"))
        await blobs.put("whole", pieces(12), limit=12 * MB)
        download = await blobs.get("whole")
        await anext(download)

        async def cut_off_after_eight() -> AsyncIterator[bytes]:
            async for chunk in pieces(8):
                yield chunk
            await relay.cut()
            async for chunk in pieces(8):
                yield chunk

        async with asyncio.timeout(90):
            with pytest.raises(BlobsUnavailable):
                await blobs.put("a", cut_off_after_eight(), limit=100 * MB)
            with pytest.raises(BlobsUnavailable):
                await anext(download)


class Relay:
    """A way to the server that can be cut."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, away]
        await asyncio.gather(self._copy(reader, away), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(("place", "loaded"), [("", "False"), ("s3://bucket", "True")])
def test_a_folder_does_without_obstore(tmp_path: Path, place: str, loaded: str) -> None:
    program = f"""
import sys
from longrun.blobs.open import open_blobs
from longrun.settings import Settings
open_blobs(Settings(blobs={place!r}))
print("obstore" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == loaded, done.stderr


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a server, and answers orders to complete an upload with 503 although it was done, each time."""

    behind: str
    failures: int

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        told = httpx.request(self.command, self.behind + self.path, content=body, headers=headers, timeout=60)
        status = told.status_code
        if self.command == "POST" and "uploadId=" in self.path and type(self).failures:
            type(self).failures -= 1
            status = 503
        self.send_response(status)
        length = told.headers.get("content-length", str(len(told.content))) if self.command == "HEAD" else str(len(told.content))
        for name in ("etag", "last-modified", "content-type"):
            if name in told.headers:
                self.send_header(name, told.headers[name])
        self.send_header("content-length", length)
        self.end_headers()
        self.wfile.write(told.content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def forgetful(aws: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blobs]:
    handler = type("Handler", (Forgetful,), {"behind": aws.url, "failures": 3})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield open_blobs(Settings(blobs=f"s3://{bucket}/some/prefix"))
        server.shutdown()


@pytest.mark.parametrize("how", ["put", "put_blocking"])
async def test_an_upload_that_was_completed_though_the_bucket_said_otherwise_is_stored(forgetful: Blobs, how: str) -> None:
    if how == "put":
        stored = await forgetful.put("a", pieces(12), limit=20 * MB)
    else:
        stored = await asyncio.to_thread(forgetful.put_blocking, "a", [bytes(MB)] * 12, limit=20 * MB)
    assert stored.size == 12 * MB == await forgetful.head("a")
