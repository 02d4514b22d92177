"""Files that jobs make, and what becomes of a job's files when it is buried."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.integration.store.test_files import all_trash, claimed, ended, expire_all, made_by, state, told, trash, uploaded
from tests.integration.store.test_scripts import FAILURE

from longrun.clock import new_job_id
from longrun.errors import JobGone
from longrun.jobs.file_refs import reference
from longrun.jobs.policy import Policy
from longrun.store.file_records import MOST_FILES
from longrun.store.store import Store

# -- files that jobs make --------------------------------------------------------------------------------------------------


async def test_a_file_event_makes_a_file_of_the_job_and_is_told_to_nobody(store: Store) -> None:
    job_id = await claimed(store)
    ref = made_by(job_id)
    async with store.follower.listen(store.job_channel(job_id)) as listener:
        assert await store.claims.append(job_id, "1/n", 0, b"", told(ref))
        assert await store.claims.append(job_id, "1/n", 1, b"", [("output", b'{"value":1}')])
        (note,) = await listener.wait(2)
    assert note.startswith(b"events 3\0")
    page = await store.records.events(job_id, "t", 0, 100)
    assert [(event.seq, event.type) for event in page.events] == [(1, "queued"), (2, "started"), (3, "output")]
    record = await store.files.read(ref.id, "t")
    assert (record.ref, record.expires) == (ref, None)
    assert await state(store, ref, "u") == "file-not-found"


async def test_progress_that_comes_with_nothing_but_files_is_noted(store: Store) -> None:
    job_id = await claimed(store)
    assert await store.claims.append(job_id, "1/n", 0, b'{"fraction":0.5}', told(made_by(job_id)))
    job = await store.records.read(job_id, "t")
    assert job.progress == b'{"fraction":0.5}'
    assert await store.claims.append(job_id, "1/n", 0, b'{"fraction":0.1}', told(made_by(job_id)))
    assert (await store.records.read(job_id, "t")).version == job.version, "sent twice, it counts once"


async def test_file_events_sent_twice_take_their_numbers_once(store: Store) -> None:
    job_id = await claimed(store)
    one, two = made_by(job_id), made_by(job_id)
    events = [*told(one), ("output", b'{"value":"a"}'), *told(two)]
    for more in ([], [("output", b'{"value":"b"}')], [("output", b'{"value":"b"}')]):
        assert await store.claims.append(job_id, "1/n", 0, b"", [*events, *more])
    page = await store.records.events(job_id, "t", 0, 100)
    assert [event.data for event in page.events if event.type == "output"] == [b'{"value":"a"}', b'{"value":"b"}']
    assert await store.connection.command("SCARD", f"{store.prefix}uses:{job_id}") == 2


async def test_a_stale_attempt_registers_no_file(store: Store) -> None:
    job_id = await claimed(store)
    stale = made_by(job_id)
    await store.claims.hand_back(job_id, "1/n", "release")
    await store.claims.claim(job_id, "n2", "w2", "cpu")
    assert await store.claims.append(job_id, "1/n", 0, b"", told(stale)) is False
    assert await state(store, stale) == "file-not-found"
    assert await store.files.needed([stale.key]) == set()


async def test_a_runner_cannot_make_the_bytes_of_another_tenant_its_own(store: Store) -> None:
    """Whoever could would read another's file, and have it erased with the job."""
    job_id = await claimed(store)
    victim, ref = await uploaded(store, tenant="u"), made_by(job_id)
    assert await store.claims.append(job_id, "1/n", 0, b"", [("file", orjson.dumps(ref.members() | {"key": victim.key}))])
    assert await state(store, ref) == "file-not-found"


@pytest.mark.parametrize("wrong", ["attempt", "nonce", "id", "JSON", "size"])
async def test_what_is_no_file_of_this_attempt_is_not_kept_and_that_is_told(store: Store, wrong: str) -> None:
    job_id = await claimed(store)
    ref = made_by(job_id)
    data = {
        "attempt": orjson.dumps(made_by(job_id, "2/n").members()),
        "nonce": orjson.dumps(made_by(job_id, "1/m").members()),
        "id": orjson.dumps(ref.members() | {"id": "file_x", "key": f"{job_id}/1/n/file_x"}),
        "JSON": b"{",
        "size": orjson.dumps({"id": ref.id, "key": ref.key, "digest": ""}),
    }[wrong]
    assert await store.claims.append(job_id, "1/n", 0, b"", [("file", data)])
    assert await store.connection.command("EXISTS", f"{store.prefix}uses:{job_id}") == 0
    page = await store.records.events(job_id, "t", 2, 100)
    assert [event.type for event in page.events] == ["log"], "nothing is dropped silently"


async def test_an_attempt_makes_a_thousand_files_and_an_output_at_most_whatever_was_given_or_made_before(store: Store) -> None:
    given = await uploaded(store)
    job_id = await claimed(store, given, policy=Policy(max_attempts=2))
    for fence in ("1/n", "2/n2"):
        for first in range(0, MOST_FILES, 100):
            refs = [made_by(job_id, fence) for _ in range(100)]
            assert await store.claims.append(job_id, fence, first, b"", told(*refs))
            assert await store.claims.append(job_id, fence, first, b"", told(*refs)), "sent twice, they count once"
        last, over = made_by(job_id, fence), made_by(job_id, fence)
        assert await store.claims.append(job_id, fence, MOST_FILES, b"", told(last, over))
        assert [await state(store, ref) for ref in (refs[-1], last, over)] == ["there", "there", "file-not-found"]
        if fence == "1/n":
            await store.claims.retry_later(job_id, "1/n", 0, FAILURE)
            await store.upkeep.release_due()
            await store.claims.claim(job_id, "n2", "w", "cpu")
    assert await store.connection.command("SCARD", f"{store.prefix}uses:{job_id}") == 1 + 2 * (MOST_FILES + 1)
    assert [event.type for event in (await store.records.events(job_id, "t", 2, 10)).events].count("log") == 2


async def test_files_of_an_attempt_that_failed_live_as_long_as_the_job(store: Store) -> None:
    """Its `output` events may have named them."""
    job_id = await claimed(store, policy=Policy(max_attempts=2))
    first = made_by(job_id)
    await store.claims.append(job_id, "1/n", 0, b"", told(first))
    await store.claims.retry_later(job_id, "1/n", 0, FAILURE)
    await store.upkeep.release_due()
    await store.claims.claim(job_id, "n2", "w", "cpu")
    second = made_by(job_id, "2/n2")
    await store.claims.append(job_id, "2/n2", 0, b"", told(second))
    await store.claims.finish(job_id, "2/n2", "succeeded", reference(second))
    assert [await state(store, ref) for ref in (first, second)] == ["there", "there"]
    await store.records.delete(job_id, "t")
    assert [await state(store, ref) for ref in (first, second)] == ["file-gone", "file-gone"]
    assert await trash(store) == {first.key, second.key}


async def test_an_output_that_is_kept_as_a_file_is_read_as_a_reference(store: Store) -> None:
    job_id = await claimed(store)
    ref = made_by(job_id)
    await store.claims.append(job_id, "1/n", 0, b"", told(ref))
    await store.claims.finish(job_id, "1/n", "succeeded", reference(ref))
    for record in (
        await store.records.read(job_id, "t", most_output=4096),
        (await store.records.list("t", cursor=None, look_at=1, since=0, filters=[])).jobs[0],
    ):
        assert (record.output, record.output_ref) == (None, ref)
    small = await store.records.read(await ended(store), "t")
    assert (small.output, small.output_ref) == (FAILURE, None)


async def test_a_made_file_that_was_given_to_another_job_lives_with_that_one(store: Store) -> None:
    job_id = await claimed(store)
    ref = made_by(job_id)
    await store.claims.append(job_id, "1/n", 0, b"", told(ref))
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    other = await ended(store, ref)
    await store.records.delete(job_id, "t")
    assert await state(store, ref) == "there"
    await store.records.delete(other, "t")
    assert await state(store, ref) == "file-gone"


# -- burial --------------------------------------------------------------------------------------------------------------


async def job_with_many_files(store: Store, count: int, **policy: Any) -> tuple[str, set[str]]:
    job_id = await claimed(store, policy=Policy(**policy))
    refs = [made_by(job_id) for _ in range(count)]
    for first in range(0, count, 100):
        await store.claims.append(job_id, "1/n", first, b"", told(*refs[first : first + 100]))
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    return job_id, {ref.key for ref in refs}


async def test_a_job_with_a_thousand_files_is_buried_in_pieces(store: Store) -> None:
    job_id, keys = await job_with_many_files(store, 1000)
    await store.records.delete(job_id, "t")
    assert len(await all_trash(store)) == 100
    rounds = []
    while looked_at := await store.files.expire():
        rounds.append(looked_at)
    assert rounds == [100] * 9
    assert await all_trash(store) == keys
    assert await store.connection.command("EXISTS", f"{store.prefix}let-go", f"{store.prefix}uses:{job_id}") == 0


async def test_jobs_that_expire_together_let_go_of_a_hundred_files_in_one_script(store: Store) -> None:
    jobs = [await job_with_many_files(store, 60, retain_for=0.01) for _ in range(4)]
    await asyncio.sleep(0.03)
    assert await store.upkeep.expire() == 4
    assert len(await all_trash(store)) == 100
    for job_id, _ in jobs:
        with pytest.raises(JobGone):
            await store.records.read(job_id, "t")
    await expire_all(store)
    assert await all_trash(store) == set().union(*[keys for _, keys in jobs])


async def test_with_retain_for_0_files_go_with_the_data_and_the_status_stays(store: Store) -> None:
    ref = await uploaded(store, None)
    job_id = await claimed(store, ref, policy=Policy(retain_for=0))
    made = made_by(job_id)
    await store.claims.append(job_id, "1/n", 0, b"", told(made))
    await store.claims.finish(job_id, "1/n", "failed", FAILURE)
    await store.connection.command("ZADD", f"{store.prefix}expire", 1, job_id)  # its minute is over
    assert await store.upkeep.expire() == 1
    assert (await store.records.read(job_id, "t")).status == "failed"
    assert await trash(store) == {ref.key, made.key}
    with pytest.raises(JobGone):
        await store.records.resubmit(job_id, "t", new_job_id())


async def test_a_submit_between_the_pieces_of_a_burial_keeps_the_file_it_names(store: Store) -> None:
    job_id, keys = await job_with_many_files(store, 300)
    await store.records.delete(job_id, "t")
    survivor = min(keys - await all_trash(store)).rpartition("/")[2]
    ref = (await store.files.read(survivor, "t")).ref
    other = await ended(store, ref)
    await expire_all(store)
    assert await all_trash(store) == keys - {ref.key}
    await store.records.delete(other, "t")
    assert await all_trash(store) == keys
