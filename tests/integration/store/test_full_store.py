"""A server out of memory: new jobs and large values are refused, and what was accepted goes on to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.store import families
from tests.integration.store.test_batches import LINES, accepted
from tests.integration.store.test_fence import contents
from tests.integration.store.test_files import all_trash, expire_all, made_by, new_ref, told, uploaded
from tests.integration.store.test_files import claimed as claimed_with
from tests.integration.store.test_scripts import FAILURE, claimed, new_job, status, submit, tickets
from tests.integration.store.trees import bury_all, child, claim, end, ends, field, parent, wait

from longrun.embedded import EmbeddedValkey
from longrun.errors import StorageFull
from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.claims import Ending
from longrun.store.steps import Sleep
from longrun.store.store import Store


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that these tests may fill."""
    with EmbeddedValkey(tmp_path_factory.mktemp("full")) as server:
        yield server.start()


@pytest.fixture
async def store(own_url: str, prefix: str) -> AsyncIterator[Store]:
    store = Store(own_url, Settings(prefix=prefix, redis_url=own_url, lease=2, heartbeat=0.5), ticket_template())
    yield store
    await full(store, "0")
    await store.close()


async def full(store: Store, limit: str = "1mb") -> None:
    await store.connection.command("CONFIG", "SET", "maxmemory", limit)


async def test_a_new_job_is_refused_and_an_accepted_one_runs_to_its_end(store: Store) -> None:
    job_id = await submit(store)
    await full(store)
    with pytest.raises(StorageFull):
        await store.records.submit(new_job())
    assert len(await tickets(store)) == 1
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None
    assert (claim.id, claim.attempt, claim.input) == (job_id, 1, b'{"x":1}')
    assert await store.claims.heartbeat([(job_id, "1/n")], 1) == [1]
    assert await store.claims.append(job_id, "1/n", 0, b'{"fraction":0.5}', [("progress", b'{"fraction":0.5}')])
    assert await store.claims.finish(job_id, "1/n", "succeeded", b'"done"') == "succeeded"
    assert (await store.records.read(job_id, "t")).output == b'"done"'


async def test_a_large_output_is_refused_until_there_is_room_and_the_claim_holds_meanwhile(store: Store) -> None:
    job_id = await claimed(store)
    await full(store)
    large = b'"' + b"x" * 10_000 + b'"'
    with pytest.raises(StorageFull):
        await store.claims.finish(job_id, "1/n", "succeeded", large)
    with pytest.raises(StorageFull):
        await store.claims.append(job_id, "1/n", 0, b"", [("output", large)])
    for _ in range(6):  # longer than the lease
        await asyncio.sleep(0.5)
        assert await store.claims.heartbeat([(job_id, "1/n")], 1) == [1]
        assert await store.upkeep.sweep() == {}
    await full(store, "0")
    assert await store.claims.finish(job_id, "1/n", "succeeded", large) == "succeeded"


async def test_retries_hand_backs_cancels_and_lost_workers_are_dealt_with(store: Store) -> None:
    retried, released, canceled, lost = [await claimed(store) for _ in range(4)]
    delayed = await submit(store, delay=0.01)
    await full(store)
    assert await store.claims.retry_later(retried, "1/n", 0, FAILURE) == "retrying"
    assert await store.claims.hand_back(released, "1/n", "release") == "queued"
    assert await store.records.cancel(canceled, "t") == "canceling"
    assert await store.claims.finish(canceled, "1/n", "canceled", FAILURE) == "canceled"
    await asyncio.sleep(0.02)
    assert await store.upkeep.release_due() == 2
    assert [await status(store, job_id) for job_id in (retried, delayed)] == ["queued", "queued"]
    end = asyncio.get_running_loop().time() + 10
    while await status(store, lost) == "running":
        await store.upkeep.sweep()
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.3)
    assert await status(store, lost) == "queued"


async def test_what_has_expired_or_is_deleted_makes_room(store: Store) -> None:
    brief = await claimed(store, Policy(retain_for=0.001))
    kept = await claimed(store)
    await store.claims.finish(brief, "1/n", "succeeded", b"1")
    await store.claims.finish(kept, "1/n", "succeeded", b"1")
    await full(store)
    await asyncio.sleep(0.01)
    assert await store.upkeep.expire() == 1
    await store.records.delete(kept, "t")
    await store.claims.announce("w", b"{}")


async def test_files_are_refused_as_new_records_and_their_removal_makes_room(store: Store) -> None:
    deleted, discarded, brief, needed = [await uploaded(store, keep) for keep in (60.0, None, 0.01, None)]
    job_id = await claimed_with(store, needed)
    await full(store)
    with pytest.raises(StorageFull):
        await store.files.add("t", new_ref(), keep=60.0)
    made = made_by(job_id)
    assert await store.claims.append(job_id, "1/n", 0, b"", told(made)), "what an accepted job has made is small and is taken"
    assert await store.claims.finish(job_id, "1/n", "succeeded", b"1") == "succeeded"
    await store.files.delete(deleted.id, "t")
    await store.files.discard([discarded.id], "t")
    await asyncio.sleep(0.02)
    await store.records.delete(job_id, "t")
    await expire_all(store)
    assert await all_trash(store) == {ref.key for ref in (deleted, discarded, brief, needed, made)}
    await store.files.trashed(await store.files.trash())
    assert await all_trash(store) == set()
    assert len(await store.files.secret()) == 32
    assert await store.files.needed([made.key]) == set()


async def test_a_job_with_files_is_refused_whole(store: Store) -> None:
    ref = await uploaded(store)
    await full(store)
    with pytest.raises(StorageFull):
        await store.records.submit(new_job(files=(ref,)))
    await store.files.delete(ref.id, "t")
    assert await all_trash(store) == {ref.key}, "no job came to need it"


async def test_more_file_events_than_are_small_wait_for_room_and_are_taken_once(store: Store) -> None:
    job_id = await claimed(store)
    refs = [made_by(job_id) for _ in range(50)]
    await full(store)
    with pytest.raises(StorageFull):
        await store.claims.append(job_id, "1/n", 0, b"", told(*refs))
    await full(store, "0")
    assert await store.files.read_all([ref.id for ref in refs], "t") == [None] * 50
    assert await store.claims.append(job_id, "1/n", 0, b"", told(*refs))
    assert [record.ref for record in await store.files.read_all([ref.id for ref in refs], "t") if record] == refs


async def test_a_large_output_among_small_ones_is_refused_alone(store: Store) -> None:
    first, big, last = await claimed(store), await claimed(store), await claimed(store)
    await full(store)
    large = b'"' + b"x" * 10_000 + b'"'
    endings = [Ending(job_id, "1/n", "succeeded", data) for job_id, data in ((first, b"1"), (big, large), (last, b"3"))]
    answers = await store.claims.finish_all(endings)
    assert (answers[0], answers[2]) == ("succeeded", "succeeded")
    assert isinstance(answers[1], StorageFull)
    assert [await status(store, job_id) for job_id in (first, big, last)] == ["succeeded", "running", "succeeded"]
    await full(store, "0")
    assert await store.claims.finish_all(endings) == ["succeeded"] * 3


async def test_a_batch_that_meets_a_full_store_is_fed_on_when_there_is_room(store: Store) -> None:
    batch = await accepted(store, total=200)
    assert (await store.batches.feed(batch, 0, LINES)).fed == 100
    await full(store)
    with pytest.raises(StorageFull):
        await store.batches.feed(batch, 100, LINES)
    assert (await store.batches.feeding(batch)).fed == 100
    assert await store.connection.command("ZSCORE", f"{store.prefix}batch-due", batch) is not None, "a chore looks again"
    await full(store, "0")
    assert (await store.batches.feed(batch, 100, LINES)).fed == 200
    assert [len(await tickets(store)) for _ in range(3)] == [100, 100, 0]


async def test_a_batch_is_canceled_in_a_full_store(store: Store) -> None:
    batch = await accepted(store, total=200)
    await store.batches.feed(batch, 0, LINES)
    await full(store)
    assert await store.batches.cancel(batch, "t")
    assert await store.batches.cancel_items(batch) == 0
    record = await store.batches.read(batch, "t")
    assert (record.status, record.canceled, record.left) == ("canceled", 200, 0)


async def test_a_small_answer_counts_and_a_large_one_is_refused_whole(store: Store) -> None:
    held = await parent(store)
    for name in ("small", "large"):
        await wait(store, held, name)
    await full(store)
    assert await store.trees.signal(held.id, "t", "small", b"1") == "new"
    large = b'"' + b"x" * 10_000 + b'"'
    with pytest.raises(StorageFull):
        await store.trees.signal(held.id, "t", "large", large)
    assert await ends(store, held.id) == [b"s:small"]
    assert (await store.records.read(held.id, "t")).asks == "large"
    await full(store, "0")
    assert await store.trees.signal(held.id, "t", "large", large) == "new"


async def test_a_retry_of_a_tree_is_refused_whole(store: Store) -> None:
    held = await parent(store)
    await end(store, await child(store, held, "n:a"))
    await end(store, held.id, "failed", FAILURE, held)
    await full(store)
    fresh = new_job().id
    with pytest.raises(StorageFull):
        await store.records.resubmit(held.id, "t", fresh)
    assert await store.connection.command("EXISTS", *(f"{store.prefix}{kind}:{fresh}" for kind in ("job", "steps", "ends"))) == 0
    assert (await store.records.read(held.id, "t")).retried_by is None


async def test_a_tree_that_is_deleted_makes_room_and_what_is_small_goes_into_the_logs_above(store: Store) -> None:
    held = await parent(store)
    run = await claim(store, await child(store, held, "n:a", stream=True))
    await full(store)
    assert await store.claims.append(run.id, run.fence, 0, b"", [("output", b'{"value":1}')])
    assert [event.type for event in (await store.records.events(held.id, "t", 0, 10)).events][-1] == "step_output"
    with pytest.raises(StorageFull):
        await store.claims.append(run.id, run.fence, 1, b"", [("output", b'{"value":"%s"}' % (b"x" * 10_000))])
    assert [event.type for event in (await store.records.events(run.id, "t", 0, 10)).events].count("output") == 1
    await end(store, run.id, held=run)
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    await bury_all(store)
    assert await field(store, run.id, "gone") == b"1"


async def test_a_parent_goes_on_and_large_inputs_of_its_steps_wait_for_room(store: Store) -> None:
    job = await families.parent(store)
    await full(store)
    large = families.child("n:b", input=b'"' + b"x" * 10_000 + b'"')
    before = await contents(store)
    with pytest.raises(StorageFull):
        await job.ask("n:a", large)
    assert await contents(store) == before
    (small,) = await job.made("n:a", need=1)
    await families.run(store, small.id)
    assert await store.steps.resume(job.id, job.fence, 0, go=True) is not None
    await job.ask(Sleep("z:9:1", "m", 9), need=1)
    assert await job.let_go() == "asleep"
    assert await store.records.cancel(job.id, "t") == "canceled"
    await full(store, "0")
