"""Whatever happens to a request before its job is accepted, at every stage of it: nothing stays of what came with it."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs
from tests import media_files
from tests.integration.api.conftest import API

from longrun.errors import BlobsUnavailable, QueueFull, StorageFull
from longrun.store.store import Store

Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
PNG = media_files.saved(media_files.picture(), "PNG")
URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
HOOK = {"webhook": {"url": "https://example.com/x"}}


async def send_form(caller: httpx.AsyncClient) -> httpx.Response:
    """Two files, a third in a data: URI, and so much text that the input becomes a file too."""
    parts: list[Any] = [
        ("cover", ("cover.png", PNG, "image/png")),
        ("more", ("a.bin", b"one")),
        ("more", (None, "data:text/plain,two")),
        ("title", (None, "x" * 70_000)),
        ("_options", (None, '{"webhook": {"url": "https://example.com/x"}}')),
    ]
    return await caller.post(f"{API}/models/collage/jobs", files=parts)


async def send_json(caller: httpx.AsyncClient) -> httpx.Response:
    """A file in a data: URI, and so much text that the input becomes a file too."""
    return await caller.post(f"{API}/models/collage/jobs", json={"input": {"cover": URI, "title": "x" * 70_000}, **HOOK})


async def send_batch(caller: httpx.AsyncClient) -> httpx.Response:
    """Inputs, which are stored as one file."""
    return await caller.post(f"{API}/models/echo/batches", json={"inputs": [{"value": n} for n in range(100)], **HOOK})


async def send_file(caller: httpx.AsyncClient) -> httpx.Response:
    """A file alone, in a form that goes on behind it."""
    return await caller.post(f"{API}/files", files=[("file", ("a.bin", b"one")), ("note", (None, "x"))])


#: By way to send: what is called on it, in this order. A failure is injected before and after each call.
STAGES: dict[Send, list[str]] = {
    send_form: [
        "longrun.service.uploads.Uploads.receive",
        "longrun.service.uploads.record_file",
        "longrun.api.http.multipart.Part.text",
        "longrun.api.routes.submit.parse_request",
        "longrun.service.submit.policy_in_force",
        "longrun.models.schema.InputSchema.file_places",
        "longrun.models.schema.InputSchema.check",
        "longrun.service.uploads.store_input",
        "longrun.service.submit.check_delay",
        "longrun.service.submit.check_url",
        "longrun.service.submit._store",
    ],
    send_json: [
        "longrun.service.uploads.record_file",
        "longrun.models.schema.InputSchema.check",
        "longrun.service.uploads.store_input",
        "longrun.service.submit.check_url",
        "longrun.service.submit._store",
    ],
    send_batch: [
        "longrun.service.batches.record_file",
        "longrun.service.batches._accept",
    ],
    send_file: ["longrun.service.uploads.record_file", "longrun.api.http.multipart.Part.text"],
}
#: After these the job may have been accepted, so that its files are kept.
_ACCEPTED = ("_store", "_accept")
#: Those that wait for something: a request that is canceled, is canceled there.
_WAIT = ("receive", "record_file", "text", "store_input", "_store", "_accept")
_ERRORS: tuple[Callable[[], Exception], ...] = (
    partial(QueueFull, "no room"),
    partial(StorageFull, "no room"),
    partial(BlobsUnavailable, "away"),
    ClientDisconnect,
    partial(RuntimeError, "a defect of ours"),
)


def cases(send: Send) -> Iterator[tuple[str, bool]]:
    """A stage, and whether something happens after it."""
    for stage in STAGES[send]:
        yield stage, False
        if not stage.endswith(_ACCEPTED):
            yield stage, True


def inject(monkeypatch: pytest.MonkeyPatch, stage: str, happens: Callable[[], Any], *, after: bool) -> None:
    """Have something happen before or after the last of the calls; it is awaited where the call is."""
    where, _, name = stage.rpartition(".")
    owner: Any = pytest.importorskip(where) if where.rpartition(".")[2].islower() else None
    if owner is None:
        module, _, cls = where.rpartition(".")
        owner = getattr(pytest.importorskip(module), cls)
    real = getattr(owner, name)

    async def awaited(*args: Any, **options: Any) -> Any:
        if not after:
            await happens()
        found = await real(*args, **options)
        if after:
            await happens()
        return found

    def called(*args: Any, **options: Any) -> Any:
        if after:
            real(*args, **options)
        happens().send(None)

    monkeypatch.setattr(owner, name, awaited if asyncio.iscoroutinefunction(real) else called)


async def fails(error: Callable[[], Exception]) -> None:
    raise error()


async def nothing_stays(kept: Any, store: Store, what: str) -> None:
    # Bytes that have no record yet are nobody's, and swept.
    left = sorted(await kept())
    assert not left or not await store.files.needed(left), what
    assert await store.records.depths() == [], what


@pytest.mark.parametrize("send", STAGES)
async def test_a_failure_leaves_nothing(
    caller: httpx.AsyncClient, kept: Any, store: Store, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    monkeypatch.setattr("longrun.api.middleware.body_limit._MOMENT", 0.0)  # for who is still sending
    for (stage, after), error in itertools.product(cases(send), _ERRORS):
        what = f"{error!r} {'after' if after else 'before'} {stage}"
        with monkeypatch.context() as patched, capture_logs():
            inject(patched, stage, partial(fails, error), after=after)
            if error is ClientDisconnect:
                with pytest.raises(AssertionError):  # httpx: who has gone away gets no answer
                    await send(caller)
            else:
                assert (await send(caller)).status_code >= 400, what
        await nothing_stays(kept, store, what)


@pytest.mark.parametrize("send", STAGES)
async def test_a_request_that_is_canceled_leaves_nothing(
    caller: httpx.AsyncClient, kept: Any, store: Store, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    for (stage, after), times in itertools.product(cases(send), (1, 2)):
        if not stage.endswith(_WAIT):
            continue
        reached = asyncio.Event()

        async def stands_still(reached: asyncio.Event = reached) -> None:
            reached.set()
            await asyncio.sleep(60)

        before = asyncio.all_tasks()
        with monkeypatch.context() as patched:
            inject(patched, stage, stands_still, after=after)
            sending = asyncio.ensure_future(send(caller))
            await asyncio.wait_for(reached.wait(), 10)
            for _ in range(times):
                sending.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await sending
        # A second cancellation does not wait for the removal.
        await asyncio.gather(*(asyncio.all_tasks() - before))
        await nothing_stays(kept, store, f"canceled {times} times {'after' if after else 'before'} {stage}")


@pytest.mark.parametrize("send", [send_form, send_json, send_file])
async def test_what_is_accepted_stays(caller: httpx.AsyncClient, kept: Any, send: Send) -> None:
    answer = await send(caller)
    assert answer.status_code in (201, 202), answer.text
    assert len(await kept()) == {send_form: 4, send_json: 2, send_file: 1}[send]
