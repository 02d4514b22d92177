"""Files of inputs on their way into a job: stored, judged, named, and removed again when there is no job for them."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import PIL.Image
import pytest
from tests import media_files

from longrun.blobs.folder import Folder
from longrun.errors import FileGone, FileNotFound, PayloadTooLarge, Problem, UnsupportedMedia, ValidationFailed
from longrun.jobs.file_refs import INLINE, referenced
from longrun.media.rules import FileRule
from longrun.models import Audio, File, Image, Limits, Model, Registry
from longrun.queues.celery.tickets import ticket_template
from longrun.service import control
from longrun.service import files as service
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.service.request import parse_request
from longrun.service.submit import Submitted, submit
from longrun.service.uploads import Uploads, from_bytes
from longrun.settings import Settings
from longrun.store.store import Store

TENANT = "me"


class Look(Model):
    def predict(
        self,
        image: Annotated[Image, Limits(max_bytes=20_000, formats=("png", "jpeg"), max_pixels=10_000)],
        more: list[File] = [],  # noqa: B006 - a schema default
        text: str = "",
    ) -> str: ...


class Either(Model):
    def predict(self, thing: Annotated[Image, Limits(formats=("png",))] | Audio) -> str: ...


class Plain(Model):
    def predict(self, text: str) -> str: ...


@pytest.fixture
async def caller(settings: Settings, tmp_path: Path) -> AsyncIterator[Caller]:
    registry = Registry()
    for each in (Look, Plain, Either):
        registry.add(each.__longrun__)
    store = Store(settings.redis_url, settings, ticket_template())
    opened = Parts(settings, store, registry, blobs=Folder(tmp_path / "blobs"))
    yield Caller(opened, TENANT)
    await store.close()
    opened.blobs.close()


@functools.cache
def png(width: int = 8, height: int = 8) -> bytes:
    held = io.BytesIO()
    PIL.Image.effect_noise((width, height), 50).save(held, "PNG")
    return held.getvalue()


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def upload(caller: Caller, data: bytes, name: str = "a.png", **options: Any) -> str:
    async with Uploads(caller, **({"keep": 3600.0} | options)) as uploads:
        record = await uploads.receive(from_bytes(data), filename=name)
        uploads.release()
    return record.ref.id


async def send(caller: Caller, model: str = "look", key: str = "", **input: Any) -> Submitted:
    async with Uploads(caller) as uploads:
        return await submit(caller, model, parse_request({"input": input}), uploads, idempotency_key=key)


async def claimed(caller: Caller, job_id: str) -> tuple[Any, dict[str, Any]]:
    claim = await caller.store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None
    ref = referenced(claim.input)
    data = claim.input if ref is None else await caller.blobs.read(ref.key, 1 << 30)
    return orjson.loads(data), orjson.loads(claim.files or b"{}")


async def keys(caller: Caller) -> list[str]:
    await caller.store.files.expire()
    while gone := await caller.store.files.trash():
        await caller.blobs.delete(gone)
        await caller.store.files.trashed(gone)
    return await caller.blobs.keys()


async def test_a_data_uri_becomes_a_file_and_the_input_names_it(caller):
    sent = await send(caller, image=uri(png()), text="hello")
    data, files = await claimed(caller, sent.job.id)
    (file_id,) = files
    assert data == {"image": file_id, "text": "hello"}
    assert await caller.blobs.read(files[file_id]["key"], 1 << 20) == png()
    assert files[file_id]["facts"] == {"format": "png", "media_type": "image/png", "width": 8, "height": 8, "frames": 1}


async def test_an_uploaded_file_is_used_by_its_id_and_outlives_its_deletion_while_the_job_needs_it(caller):
    file_id = await upload(caller, png())
    sent = await send(caller, image=file_id)
    await service.delete(caller, file_id)
    with pytest.raises(FileGone):
        await service.get(caller, file_id)
    assert await keys(caller) == [file_id]
    claim = await caller.store.claims.claim(sent.job.id, "n", "w", "cpu")
    await caller.store.claims.finish(sent.job.id, claim.fence, "succeeded", b'"x"')
    await control.delete(caller, sent.job.id)
    assert await keys(caller) == []


async def test_files_that_came_with_a_job_go_with_it(caller):
    sent = await send(caller, image=uri(png()))
    assert len(await keys(caller)) == 1
    claim = await caller.store.claims.claim(sent.job.id, "n", "w", "cpu")
    await caller.store.claims.finish(sent.job.id, claim.fence, "failed", b'{"code":"model-error","detail":"x","attempt":1}')
    again = await control.retry(caller, sent.job.id)
    await control.delete(caller, sent.job.id)
    assert len(await keys(caller)) == 1, "the retry needs it"
    data, files = await claimed(caller, again.id)
    assert list(files) == [data["image"]]
    await caller.store.claims.finish(again.id, "1/n", "succeeded", b'"x"')
    await control.delete(caller, again.id)
    assert await keys(caller) == []


async def test_a_large_input_is_kept_as_a_file(caller):
    text = "x" * (2 * INLINE)
    sent = await send(caller, "plain", text=text)
    claim = await caller.store.claims.claim(sent.job.id, "n", "w", "cpu")
    assert len(claim.input) < 1000
    ref = referenced(claim.input)
    assert orjson.loads(await caller.blobs.read(ref.key, 1 << 20)) == {"text": text}
    await caller.store.claims.finish(sent.job.id, "1/n", "succeeded", b'"x"')
    await control.delete(caller, sent.job.id)
    assert await keys(caller) == []


@pytest.mark.parametrize(
    ("image", "error", "rule"),
    [
        (uri(b"<svg onload=alert(1)>"), UnsupportedMedia, "formats"),
        (uri(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"), UnsupportedMedia, "formats"),
        (uri(png(200, 200)), PayloadTooLarge, "max_bytes"),
        (uri(png(101, 100)), ValidationFailed, "max_pixels"),
        (uri(png()[:40]), ValidationFailed, "complete"),
        (uri(png() + b"PK\x05\x06" + bytes(18)), UnsupportedMedia, "polyglot"),
        (uri(b""), ValidationFailed, "empty"),
    ],
)
async def test_a_refused_file_names_the_rule_and_leaves_nothing(caller, image, error, rule):
    with pytest.raises(error) as caught:
        await send(caller, image=image)
    assert caught.value.extra["rule"] == rule
    assert caught.value.errors[0]["pointer"] == "/input/image"
    assert await keys(caller) == []
    assert await caller.store.records.depths() == []


async def test_a_file_of_a_union_may_be_what_any_of_its_members_is(caller):
    assert (await send(caller, "either", thing=uri(png()))).job.id
    assert (await send(caller, "either", thing=uri(media_files.wav(), "audio/wav"))).job.id
    assert (await send(caller, "either", thing=await upload(caller, media_files.wav(), "a.wav"))).job.id
    kept = len(await keys(caller))
    with pytest.raises(UnsupportedMedia):
        await send(caller, "either", thing=uri(b"just text"))
    assert len(await keys(caller)) == kept


async def test_an_uploaded_file_is_judged_by_the_model_that_is_to_use_it(caller):
    text = await upload(caller, b"just text", "a.txt")
    with pytest.raises(UnsupportedMedia) as caught:
        await send(caller, image=text)
    assert caught.value.extra["rule"] == "formats"
    small = await upload(caller, png(300, 300), "b.png")
    with pytest.raises(PayloadTooLarge):
        await send(caller, image=small)
    assert (await send(caller, image=await upload(caller, png()), more=[text, small])).job.id
    assert len(await keys(caller)) == 3


@pytest.mark.parametrize("other", ["unknown", "foreign", "deleted", "expired"])
async def test_a_file_that_is_not_there_is_an_error_of_the_input(caller, other):
    file_id = f"file_{'0' * 32}"
    if other == "foreign":
        file_id = await upload(replace(caller, tenant="you"), png())
    elif other == "deleted":
        file_id = await upload(caller, png())
        await service.delete(caller, file_id)
    elif other == "expired":
        file_id = await upload(caller, png(), keep=0.001)
        await asyncio.sleep(0.01)
    with pytest.raises(ValidationFailed) as caught:
        await send(caller, image=file_id)
    assert caught.value.errors == [{"pointer": "/input/image", "detail": f"There is no file {file_id}"}]


async def test_a_repeated_submit_keeps_one_copy(caller):
    first = await send(caller, key="k", image=uri(png()))
    second = await send(caller, key="k", image=uri(png()))
    assert second.replayed
    assert second.job.id == first.job.id
    assert len(await keys(caller)) == 1


async def test_an_input_that_a_validator_refuses_at_last_leaves_no_file(caller):
    with pytest.raises(ValidationFailed):
        async with Uploads(caller) as uploads:
            body = {"input": {"image": uri(png())}, "delay": 5, "policy": {"total_timeout": 1}}
            await submit(caller, "look", parse_request(body), uploads)
    assert await keys(caller) == []


async def test_urls_are_fetched_only_where_the_operator_allows_it(caller):
    with pytest.raises(ValidationFailed, match="LONGRUN_FETCH_URLS"):
        await send(caller, image="https://example.com/cat.png")


async def test_files_of_others_are_unknown(caller):
    file_id = await upload(caller, png())
    for call in (service.get, service.delete):
        with pytest.raises(FileNotFound):
            await call(replace(caller, tenant="you"), file_id)


async def test_an_upload_over_the_limit_is_stopped_at_once(caller):
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1000
            yield bytes(1000)

    with pytest.raises(PayloadTooLarge) as caught:
        async with Uploads(caller) as uploads:
            await uploads.receive(endless(), rule=FileRule(max_bytes=10_000))
    assert caught.value.extra["limit"] == 10_000
    assert given <= 11_000
    assert await keys(caller) == []


async def test_an_upload_that_breaks_off_leaves_nothing(caller):
    async def broken() -> AsyncIterator[bytes]:
        yield png()
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async with Uploads(caller) as uploads:
            await uploads.receive(broken())
    assert await keys(caller) == []
    assert not [each for each in caller.blobs._root.rglob("*") if each.is_file()]  # type: ignore[attr-defined]


async def test_a_signed_url_opens_for_whoever_has_it(caller):
    file_id = await upload(caller, png())
    view = await service.file_view(caller, await service.get(caller, file_id))
    nobody = replace(caller, tenant="")
    query = dict(pair.split("=", 1) for pair in view.url.partition("?")[2].split("&"))
    assert (await service.readable(nobody, file_id, query)).ref.id == file_id
    other = await upload(caller, png())
    for wrong in (other, f"file_{'0' * 32}"):
        with pytest.raises(Problem) as caught:
            await service.readable(nobody, wrong, query)
        assert caught.value.status == 403
    with pytest.raises(Problem, match="signature"):
        await service.readable(nobody, file_id, {})
