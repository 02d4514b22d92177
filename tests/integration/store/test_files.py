"""Files in the store: who sees them, what jobs need, and when bytes may go."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import orjson
import pytest
from tests.integration.store.test_scripts import FAILURE, LANE, new_job

from longrun.clock import new_job_id
from longrun.errors import FileGone, FileNotFound, ValidationFailed
from longrun.jobs.file_refs import FileRef, reference
from longrun.store.file_records import MOST_FILES, FileRecord
from longrun.store.store import Store


def new_ref(**given: Any) -> FileRef:
    file_id = f"file_{secrets.token_hex(16)}"
    members: dict[str, Any] = {
        "id": file_id,
        "key": file_id,
        "size": 3,
        "digest": "sha-256=x",
        "content_type": "image/png",
        "name": "a.png",
    }
    return FileRef(**members | {"facts": {"width": 2}} | given)


def made_by(job_id: str, fence: str = "1/n", **given: Any) -> FileRef:
    """A file as a runner makes it."""
    file_id = f"file_{secrets.token_hex(16)}"
    return new_ref(id=file_id, key=f"{job_id}/{fence}/{file_id}", **given)


def told(*refs: FileRef) -> list[tuple[str, bytes]]:
    return [("file", orjson.dumps(ref.members())) for ref in refs]


async def uploaded(store: Store, keep: float | None = 3600.0, tenant: str = "t") -> FileRef:
    return (await store.files.add(tenant, new_ref(), keep=keep)).ref


async def submitted(store: Store, *refs: FileRef, **given: Any) -> str:
    job = new_job(**given, files=refs)
    assert (await store.records.submit(job)).outcome == "new"
    return job.id


async def claimed(store: Store, *refs: FileRef, **given: Any) -> str:
    job_id = await submitted(store, *refs, **given)
    assert await store.claims.claim(job_id, "n", "w", "cpu") is not None
    return job_id


async def ended(store: Store, *refs: FileRef, outcome: Any = "succeeded", **given: Any) -> str:
    job_id = await claimed(store, *refs, **given)
    assert await store.claims.finish(job_id, "1/n", outcome, FAILURE) == outcome
    return job_id


async def state(store: Store, ref: FileRef, tenant: str = "t") -> str:
    try:
        await store.files.read(ref.id, tenant)
    except (FileNotFound, FileGone) as error:
        return error.code
    return "there"


async def trash(store: Store) -> set[str]:
    return set(await store.files.trash())


async def all_trash(store: Store) -> set[str]:
    return {key.decode() for key in await store.connection.command("ZRANGE", f"{store.prefix}trash", 0, -1)}


async def expire_all(store: Store) -> None:
    while await store.files.expire():
        pass


# -- records -------------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_as_it_was_added(store: Store) -> None:
    ref = new_ref()
    added = await store.files.add("t", ref, keep=60.0)
    assert added == FileRecord(ref, "t", added.created, added.created + 60_000)
    assert await store.files.read(ref.id, "t") == added
    assert await store.files.owned(ref.id) == ("t", added)


async def test_an_addition_sent_twice_makes_one_record(store: Store) -> None:
    ref = new_ref()
    first = await store.files.add("t", ref, keep=60.0)
    await asyncio.sleep(0.01)
    assert await store.files.add("t", ref, keep=60.0) == first


async def test_another_tenants_file_is_an_unknown_one_in_every_way(store: Store) -> None:
    ref, own = await uploaded(store), await uploaded(store, tenant="u")
    embedded = await uploaded(store, keep=None)
    assert await state(store, ref, "u") == await state(store, new_ref(), "u") == "file-not-found"
    with pytest.raises(FileNotFound):
        await store.files.delete(ref.id, "u")
    await store.files.discard([embedded.id], "u")
    assert await store.files.read_all([ref.id, own.id, new_ref().id], "u") == [None, await store.files.read(own.id, "u"), None]
    with pytest.raises(FileGone):
        await store.files.add("u", ref, keep=60.0)
    accepted = await store.records.submit(new_job(tenant="u", files=(own, ref)))
    assert (accepted.outcome, accepted.id) == ("nofile", ref.id)
    assert [await state(store, each) for each in (ref, embedded)] == ["there", "there"]
    await store.files.delete(ref.id, "t")
    assert await state(store, ref, "u") == "file-not-found", "also when it is gone"


async def test_a_deleted_file_is_hidden_at_once_and_its_bytes_are_for_the_trash(store: Store) -> None:
    ref = await uploaded(store)
    await store.files.delete(ref.id, "t")
    assert await state(store, ref) == "file-gone"
    assert await store.files.owned(ref.id) == ("t", None)
    assert await trash(store) == {ref.key}
    with pytest.raises(FileGone):
        await store.files.delete(ref.id, "t")
    await store.files.trashed([ref.key])
    assert await trash(store) == set()
    assert await state(store, ref) == "file-gone"


async def test_a_deletion_sent_twice_says_the_same_and_another_one_finds_it_gone(store: Store) -> None:
    for needed in (False, True):
        ref = await uploaded(store)
        if needed:
            await submitted(store, ref)
        answers = [await store.connection.run("delete_file", ref.id, "t", 60_000, nonce) for nonce in ("one", "one", "two")]
        assert answers == [[b"deleted"], [b"deleted"], [b"gone", b"t"]]


async def test_of_two_deletions_at_once_one_has_done_it(store: Store) -> None:
    ref = await uploaded(store)
    answers = await asyncio.gather(*[store.files.delete(ref.id, "t") for _ in range(2)], return_exceptions=True)
    assert sorted(type(answer) for answer in answers if answer) == [FileGone]
    assert len(answers) == 2


async def test_a_tombstone_goes_after_its_time(store: Store) -> None:
    ref = await uploaded(store)
    await store.connection.run("delete_file", ref.id, "t", 50, "n")
    assert await state(store, ref) == "file-gone"
    await asyncio.sleep(0.08)
    assert await state(store, ref) == "file-not-found"


async def test_a_file_is_gone_when_its_time_is_over_also_before_a_chore_has_run(store: Store) -> None:
    ref = await uploaded(store, keep=0.03)
    await asyncio.sleep(0.05)
    assert await state(store, ref) == "file-gone"
    assert (await store.records.submit(new_job(files=(ref,)))).outcome == "nofile"
    with pytest.raises(FileGone):
        await store.files.delete(ref.id, "t")
    assert await trash(store) == {ref.key}, "the deletion found its time over, and that is no reason to leave it"


async def test_the_chore_lets_files_go_whose_time_is_over(store: Store) -> None:
    brief, lasting = await uploaded(store, keep=0.02), await uploaded(store)
    await asyncio.sleep(0.03)
    assert await store.files.expire() == 1
    assert await store.files.expire() == 0
    assert await trash(store) == {brief.key}
    assert [await state(store, ref) for ref in (brief, lasting)] == ["file-gone", "there"]


async def test_the_chore_looks_at_a_hundred_files_at_a_time(store: Store) -> None:
    refs = await asyncio.gather(*[uploaded(store, keep=0.01) for _ in range(130)])
    await asyncio.sleep(0.03)
    assert [await store.files.expire(), await store.files.expire(), await store.files.expire()] == [100, 30, 0]
    assert await store.connection.command("ZCARD", store.prefix + "trash") == 130
    assert set(await store.files.trash()) < {ref.key for ref in refs}


# -- what jobs need ------------------------------------------------------------------------------------------------------


async def test_a_job_is_not_stored_when_one_of_its_files_is_not_there(store: Store) -> None:
    there, deleted = await uploaded(store), await uploaded(store)
    await store.files.delete(deleted.id, "t")
    for missing in (deleted, new_ref()):
        job = new_job(files=(there, missing), idempotency_key="k", fingerprint="f")
        accepted = await store.records.submit(job)
        assert (accepted.outcome, accepted.id) == ("nofile", missing.id)
        assert (await store.connection.command("EXISTS", f"{store.prefix}job:{job.id}")) == 0
    assert await store.connection.command("EXISTS", f"{store.prefix}needs:{there.id}", f"{store.prefix}wait:{LANE}") == 0
    again = await store.records.submit(new_job(files=(there,), idempotency_key="k", fingerprint="f"))
    assert again.outcome == "new", "a job that was not stored binds no key"


async def test_a_deleted_file_that_waits_for_its_job_is_not_given_to_a_new_job(store: Store) -> None:
    ref = await uploaded(store)
    await submitted(store, ref)
    await store.files.delete(ref.id, "t")
    assert (await store.records.submit(new_job(files=(ref,)))).outcome == "nofile"


async def test_the_bytes_of_a_deleted_file_stay_until_the_last_job_that_needs_them_is_gone(store: Store) -> None:
    ref = await uploaded(store)
    first, second = await ended(store, ref), await ended(store, ref)
    await store.files.delete(ref.id, "t")
    assert await state(store, ref) == "file-gone"
    await store.records.delete(first, "t")
    await expire_all(store)
    assert await trash(store) == set()
    assert await store.files.needed([ref.key]) == {ref.key}
    await store.records.delete(second, "t")
    assert await trash(store) == {ref.key}
    assert await state(store, ref) == "file-gone"


async def test_an_expired_file_waits_for_its_jobs_too(store: Store) -> None:
    ref = await uploaded(store, keep=0.05)
    job_id = await ended(store, ref)
    await asyncio.sleep(0.06)
    await expire_all(store)
    assert await state(store, ref) == "file-gone"
    assert await trash(store) == set()
    await store.records.delete(job_id, "t")
    assert await trash(store) == {ref.key}


async def test_a_file_with_a_time_of_its_own_outlives_its_jobs(store: Store) -> None:
    ref = await uploaded(store)
    await store.records.delete(await ended(store, ref), "t")
    await expire_all(store)
    assert await state(store, ref) == "there"
    assert await trash(store) == set()
    assert (await store.records.submit(new_job(files=(ref,)))).outcome == "new"


async def test_an_embedded_file_goes_with_the_last_job_that_needs_it(store: Store) -> None:
    ref = await uploaded(store, keep=None)
    assert (await store.files.read(ref.id, "t")).expires is None
    first, second = await ended(store, ref), await ended(store, ref)
    await store.records.delete(first, "t")
    assert await state(store, ref) == "there"
    await store.records.delete(second, "t")
    assert await state(store, ref) == "file-gone"
    assert await trash(store) == {ref.key}


async def test_an_embedded_file_that_no_job_needs_goes_after_an_hour_and_one_that_a_job_needs_does_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.store.file_records.UNBOUND", 0.05)
    lonely, needed = await uploaded(store, keep=None), await uploaded(store, keep=None)
    job_id = await ended(store, needed)
    assert await store.files.expire() == 0
    await asyncio.sleep(0.08)
    await expire_all(store)
    assert [await state(store, ref) for ref in (lonely, needed)] == ["file-gone", "there"]
    assert await trash(store) == {lonely.key}
    await store.records.delete(job_id, "t")
    assert await trash(store) == {lonely.key, needed.key}


async def test_discarding_forgets_embedded_files_that_no_job_needs_and_nothing_else(store: Store) -> None:
    lonely, needed, lasting = await uploaded(store, None), await uploaded(store, None), await uploaded(store)
    await submitted(store, needed)
    ids = [ref.id for ref in (lonely, needed, lasting, new_ref())]
    for _ in range(2):
        await store.files.discard(ids, "t")
        assert [await state(store, ref) for ref in (lonely, needed, lasting)] == ["file-not-found", "there", "there"]
        assert await trash(store) == {lonely.key}


async def test_a_submit_sent_twice_and_a_replay_need_files_once_and_bind_no_others(store: Store) -> None:
    ref, other = await uploaded(store, None), await uploaded(store, None)
    job = new_job(files=(ref,), idempotency_key="k", fingerprint="f")
    assert [(await store.records.submit(job)).outcome for _ in range(2)] == ["new", "new"]
    replay = await store.records.submit(new_job(files=(other,), idempotency_key="k", fingerprint="f"))
    reused = await store.records.submit(new_job(files=(other,), idempotency_key="k", fingerprint="g"))
    assert (replay.outcome, reused.outcome) == ("replay", "reused")
    await store.files.discard([ref.id, other.id], "t")
    assert await trash(store) == {other.key}


async def test_a_replay_does_not_mind_that_its_files_are_gone(store: Store) -> None:
    ref = await uploaded(store)
    await submitted(store, ref, idempotency_key="k", fingerprint="f")
    await store.files.delete(ref.id, "t")
    assert (await store.records.submit(new_job(files=(ref,), idempotency_key="k", fingerprint="f"))).outcome == "replay"


async def test_deleting_while_submitting_either_leaves_the_job_its_bytes_or_refuses_it(store: Store) -> None:
    outcomes = set()
    for turn in range(40):
        ref, job = await uploaded(store), new_job()
        submit = store.records.submit(new_job(id=job.id, files=(ref,)))
        delete = store.files.delete(ref.id, "t")
        accepted, _ = (await asyncio.gather(submit, delete)) if turn % 2 else reversed(await asyncio.gather(delete, submit))
        assert accepted is not None
        outcomes.add(accepted.outcome)
        bytes_go = ref.key in await trash(store)
        assert bytes_go is (accepted.outcome == "nofile")
        await store.files.trashed([ref.key])
    assert outcomes == {"new", "nofile"}


async def test_a_claim_brings_the_files_and_the_input_as_it_is_stored(store: Store) -> None:
    large, image = await uploaded(store, None), await uploaded(store)
    job_id = await submitted(store, large, image, input=reference(large))
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None and claim.input == reference(large)
    assert {name: FileRef.of(each) for name, each in orjson.loads(claim.files).items()} == {large.id: large, image.id: image}
    assert await store.claims.claim(job_id, "n", "w", "cpu") == claim
    plain = await store.claims.claim(await submitted(store), "n", "w", "cpu")
    assert plain is not None and plain.files == b""


async def test_a_job_with_too_many_files_is_refused(store: Store) -> None:
    with pytest.raises(ValidationFailed):
        await store.records.submit(new_job(files=tuple(new_ref() for _ in range(MOST_FILES + 1))))


# -- retry ---------------------------------------------------------------------------------------------------------------


async def test_a_retry_keeps_the_files_of_the_old_job_alive_also_a_deleted_one(store: Store) -> None:
    embedded, deleted = await uploaded(store, None), await uploaded(store)
    old = await ended(store, embedded, deleted, outcome="failed")
    await store.files.delete(deleted.id, "t")
    new = await store.records.resubmit(old, "t", new_job_id())
    assert await store.records.resubmit(old, "t", new_job_id()) == new
    await store.records.delete(old, "t")
    await expire_all(store)
    assert await trash(store) == set()
    claim = await store.claims.claim(new, "n", "w", "cpu")
    assert claim is not None and set(orjson.loads(claim.files)) == {embedded.id, deleted.id}
    assert await store.claims.finish(new, "1/n", "succeeded", b"1") == "succeeded"
    await store.records.delete(new, "t")
    assert await trash(store) == {embedded.key, deleted.key}


# -- for the sweep -------------------------------------------------------------------------------------------------------


async def test_what_is_named_needed_in_use_or_in_the_trash_is_not_to_be_swept(store: Store) -> None:
    there, deleted, trashed, removed = [await uploaded(store) for _ in range(4)]
    await submitted(store, deleted)
    job_id = await claimed(store)
    running, earlier, foreign = made_by(job_id), made_by(job_id, 2), made_by(new_job_id())
    for ref in (deleted, trashed, removed):
        await store.files.delete(ref.id, "t")
    await store.files.trashed([removed.key])
    keys = [ref.key for ref in (there, deleted, trashed, removed, running, earlier, foreign)] + ["nobody's", f"x/{there.id}"]
    assert await store.files.needed(keys) == {there.key, deleted.key, trashed.key, running.key}
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    assert await store.files.needed([running.key]) == set(), "it was not registered, and the attempt is over"


async def test_one_process_at_a_time_has_the_turn_to_sweep(store: Store) -> None:
    assert await store.files.sweep_turn(0.2)
    assert not await store.files.sweep_turn(0.2)
    await store.files.hold_turn(60)
    await asyncio.sleep(0.25)
    assert not await store.files.sweep_turn(0.2)


async def test_the_secret_that_signs_is_made_once(store: Store) -> None:
    secrets_told = set(await asyncio.gather(*[store.files.secret() for _ in range(5)]))
    assert len(secrets_told) == 1 and len(secrets_told.pop()) == 32
