"""A request that is sent again with its Idempotency-Key, whatever has become of its files since; and files behind URLs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import pytest

from longrun.blobs.folder import Folder
from longrun.errors import IdempotencyKeyReused, PayloadTooLarge, ValidationFailed
from longrun.models import File, Limits, Model, Registry
from longrun.queues.celery.tickets import ticket_template
from longrun.service import files
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.service.request import parse_request
from longrun.service.submit import Submitted, submit
from longrun.service.uploads import Uploads, from_bytes
from longrun.settings import Settings
from longrun.store.file_records import FileRecord
from longrun.store.store import Store

TENANT = "me"


class Weigh(Model):
    def predict(self, file: Annotated[File, Limits(max_bytes=100_000)]) -> int: ...


@pytest.fixture
async def caller(settings: Settings, tmp_path: Path) -> AsyncIterator[Caller]:
    registry = Registry()
    registry.add(Weigh.__longrun__)
    told = settings.model_copy(update={"fetch_urls": True, "allowed_networks": ("127.0.0.0/8",)})
    store = Store(told.redis_url, told, ticket_template())
    opened = Parts(told, store, registry, blobs=Folder(tmp_path / "blobs"))
    yield Caller(opened, TENANT)
    await store.close()
    opened.blobs.close()


@asynccontextmanager
async def serving(body: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A URL that gives these bytes, and the requests that came."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/cat.bin", seen


async def upload(caller: Caller, data: bytes) -> FileRecord:
    async with Uploads(caller, keep=3600) as uploads:
        record = await uploads.receive(from_bytes(data))
        uploads.release()
        return record


async def send(caller: Caller, file: str, key: str = "k") -> Submitted:
    async with Uploads(caller) as uploads:
        return await submit(caller, "weigh", parse_request({"input": {"file": file}}), uploads, idempotency_key=key)


async def send_with(caller: Caller, data: bytes, key: str = "k") -> tuple[Submitted, FileRecord]:
    """A request that brings its file."""
    async with Uploads(caller) as uploads:
        record = await uploads.receive(from_bytes(data))
        body = parse_request({"input": {"file": record.ref.id}})
        return await submit(caller, "weigh", body, uploads, idempotency_key=key), record


async def test_a_repeat_finds_its_job_also_when_its_file_was_deleted_since(caller: Caller) -> None:
    file = await upload(caller, b"here")
    first = await send(caller, file.ref.id)
    await files.delete(caller, file.ref.id)
    again = await send(caller, file.ref.id)
    assert (again.replayed, again.job.id) == (True, first.job.id)
    with pytest.raises(ValidationFailed):
        await send(caller, file.ref.id, "another key")


async def test_a_repeat_with_other_bytes_is_another_request(caller: Caller) -> None:
    file, other = await upload(caller, b"here"), await upload(caller, b"there")
    await send(caller, file.ref.id)
    with pytest.raises(IdempotencyKeyReused):
        await send(caller, other.ref.id)


async def test_what_a_repeat_brings_is_removed(caller: Caller) -> None:
    first, _ = await send_with(caller, b"here")
    again, once_more = await send_with(caller, b"here")
    assert (again.replayed, again.job.id) == (True, first.job.id)
    assert await caller.store.files.trash() == [once_more.ref.key]


async def test_a_repeat_fetches_no_url_once_more(caller: Caller) -> None:
    async with serving(b"here") as (url, seen):
        first = await send(caller, url)
    again = await send(caller, url)
    assert (again.replayed, again.job.id, len(seen)) == (True, first.job.id, 1)


async def test_what_is_too_large_behind_a_url_breaks_the_rule_that_it_breaks_when_it_is_sent(caller: Caller) -> None:
    async with serving(bytes(5_000_000)) as (url, _):
        with pytest.raises(PayloadTooLarge) as caught:
            await send(caller, url)
    assert (caught.value.extra["rule"], caught.value.extra["limit"]) == ("max_bytes", 100_000)
    assert caught.value.errors[0]["pointer"] == "/input/file"
    assert await caller.blobs.keys() == []
