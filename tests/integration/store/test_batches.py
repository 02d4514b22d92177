"""The scripts of batches, on a real Valkey."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.store.test_files import new_ref
from tests.integration.store.test_scripts import FAILURE, LANE, tickets

from longrun.clock import item_id, new_batch_id
from longrun.errors import BatchGone, BatchNotFound
from longrun.jobs.policy import Policy
from longrun.store.batches import Line, NewBatch
from longrun.store.store import Store

LINES = [Line(b'{"x":1}', b"", 8)] * 100


async def new_batch(store: Store, total: int = 200, **given: object) -> NewBatch:
    ref = new_ref()
    await store.files.add("t", ref, keep=None)
    members = {"id": new_batch_id(), "tenant": "t", "model": "m", "queue": "gpu", "priority": 5, "policy": Policy().to_json()}
    return NewBatch(**members | {"total": total, "file": ref.id, "key": ref.key} | given)  # type: ignore[arg-type]


async def accepted(store: Store, total: int = 200, **given: object) -> str:
    batch = await new_batch(store, total, **given)
    assert await store.batches.accept(batch) == ("new", batch.id)
    return batch.id


async def finish(store: Store, job_id: str, outcome: str, data: bytes) -> None:
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None
    assert await store.claims.finish(job_id, claim.fence, outcome, data) == outcome


async def test_a_piece_that_is_sent_twice_makes_its_items_once(store: Store) -> None:
    batch = await accepted(store)
    first, second = await store.batches.feed(batch, 0, LINES), await store.batches.feed(batch, 0, LINES)
    assert ((first.outcome, first.fed), (second.outcome, second.fed)) == (("fed", 100), ("moved", 100))
    assert await store.connection.command("ZCARD", f"{store.prefix}wait:{LANE}") == 100
    assert len(await tickets(store, 1000)) == 100


async def test_pieces_that_come_at_once_make_each_item_once(store: Store) -> None:
    batch = await accepted(store, total=100)
    answers = await asyncio.gather(*[store.batches.feed(batch, 0, LINES) for _ in range(20)])
    assert sorted(answer.outcome for answer in answers) == ["fed"] + ["moved"] * 19
    assert len(await tickets(store, 1000)) == 100


async def test_no_more_items_are_made_than_the_batch_has(store: Store) -> None:
    batch = await accepted(store, total=7)
    assert (await store.batches.feed(batch, 0, LINES)).fed == 7
    assert len(await tickets(store, 1000)) == 7


async def test_the_script_and_we_name_the_items_alike(store: Store) -> None:
    batch = await accepted(store, total=3)
    await store.batches.feed(batch, 0, LINES)
    waiting = await store.connection.command("ZRANGE", f"{store.prefix}wait:{LANE}", 0, -1)
    assert [each.decode() for each in waiting] == [item_id(batch, index) for index in range(3)]


async def test_an_accept_that_is_sent_twice_is_one_batch(store: Store) -> None:
    batch = await new_batch(store, idempotency_key="k", fingerprint="f")
    assert [(await store.batches.accept(batch))[0] for _ in range(2)] == ["new", "new"]
    other = await new_batch(store, idempotency_key="k", fingerprint="f")
    assert await store.batches.accept(other) == ("replay", batch.id)
    assert (await store.batches.accept(await new_batch(store, idempotency_key="k", fingerprint="g")))[0] == "reused"


async def test_every_way_to_an_end_counts_once(store: Store) -> None:
    batch = await accepted(store, total=5)
    await store.batches.feed(batch, 0, LINES)
    ids = [item_id(batch, index) for index in range(5)]
    await finish(store, ids[0], "succeeded", b"1")
    await finish(store, ids[1], "failed", FAILURE)
    for _ in range(2):
        await store.records.cancel(ids[2], "t")
    await store.connection.command("ZADD", f"{store.prefix}deadline", 1, ids[3])
    for _ in range(2):
        await store.upkeep.release_due()
    record = await store.batches.read(batch, "t")
    assert (record.succeeded, record.failed, record.canceled, record.expired, record.left) == (1, 1, 1, 1, 1)
    assert not record.terminal
    await finish(store, ids[4], "succeeded", b"1")
    record = await store.batches.read(batch, "t")
    assert (record.status, record.left, record.succeeded, record.expires is not None) == ("completed", 0, 2, True)


async def test_an_expired_batch_leaves_a_tombstone_and_others_are_not_told_of_it(store: Store) -> None:
    batch = await accepted(store, total=1)
    await store.batches.feed(batch, 0, LINES)
    await finish(store, item_id(batch, 0), "succeeded", b"1")
    await store.connection.command("ZADD", f"{store.prefix}batch-due", 1, batch)
    await store.connection.command("HSET", f"{store.prefix}batch:{batch}", "expires", 1)
    assert await store.batches.due() == []
    with pytest.raises(BatchGone):
        await store.batches.read(batch, "t")
    with pytest.raises(BatchNotFound):
        await store.batches.read(batch, "other")
    assert await store.batches.page("t", cursor=None, limit=10) == ([], None)


async def test_files_kept_for_a_batch_that_never_comes_are_let_go(store: Store) -> None:
    ref, batch = new_ref(), new_batch_id()
    await store.files.add("t", ref, keep=None)
    await store.batches.bind(batch, "t", [ref.id])
    await store.connection.command("ZADD", f"{store.prefix}batch-due", 1, batch)
    assert await store.batches.due() == []
    assert await store.files.trash() == [ref.key]


async def test_the_end_of_a_batch_is_a_message_and_it_is_kept_until_that_has_an_end(store: Store) -> None:
    hook = b'{"url":"https://example.com/h","events":["batch.completed"]}'
    batch = await accepted(store, total=1, hook=hook)
    await store.batches.feed(batch, 0, LINES)
    await finish(store, item_id(batch, 0), "succeeded", b"1")
    assert (await store.batches.read(batch, "t")).expires is None
    (due,) = await store.webhooks.take("nonce", 10, "whsec_x")
    assert (due.type, due.job) == ("batch.completed", batch)
    await store.webhooks.settle(due, "delivered")
    assert (await store.batches.read(batch, "t")).expires is not None


async def test_a_feeder_that_comes_after_the_cancel_makes_nothing(store: Store) -> None:
    batch = await accepted(store)
    await store.batches.feed(batch, 0, LINES)
    assert await store.batches.cancel(batch, "t"), "its hundred jobs are still to be canceled"
    assert (await store.batches.feed(batch, 100, LINES)).outcome == "over"
    record = await store.batches.read(batch, "t")
    assert (record.fed, record.canceled, record.left) == (100, 100, 100)
