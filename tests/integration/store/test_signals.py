"""Signals: people answer what a job waits for, or will wait for. One name has one value."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.store.trees import MARK, bury_all, end, entry, field, parent

from longrun.errors import JobGone, JobNotFound
from longrun.store.store import Store
from longrun.store.trees import MOST_SIGNALS, MOST_VALUE, Ask

_LATER = 4_000_000_000_000


async def waits(store: Store, job_id: str, name: str, due: int = _LATER) -> None:
    """The job has asked for it."""
    await entry(store, job_id, f"s:{name}", f'w {due} 5 {MARK} {{"ask":{{"draft":[]}},"schema":{{"type":"object"}}}}')
    asks = await field(store, job_id, "asks")
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "asks", f"{asks.decode()} {name}" if asks else name)
    await store.connection.command("HINCRBY", f"{store.prefix}job:{job_id}", "kids", 1)


async def ends(store: Store, job_id: str) -> list[bytes]:
    return list(await store.connection.command("LRANGE", f"{store.prefix}ends:{job_id}", 0, -1))


async def test_an_answer_counts_once_and_the_same_again_is_the_same(store: Store) -> None:
    job_id = (await parent(store)).id
    await waits(store, job_id, "approve")
    version = (await store.records.read(job_id, "t")).version
    answers = [await store.trees.signal(job_id, "t", "approve", value) for value in (b'{"ok":true}', b'{"ok":true}', b'{"ok":false}')]
    assert answers == ["new", "same", "other"]
    assert await ends(store, job_id) == [b"s:approve"]
    job = await store.records.read(job_id, "t")
    assert (job.asks, job.version) == ("", version + 1), "who waits for a change hears of it"


async def test_of_a_hundred_answers_at_once_one_counts(store: Store) -> None:
    job_id = (await parent(store)).id
    await waits(store, job_id, "approve")
    answers = await asyncio.gather(*(store.trees.signal(job_id, "t", "approve", b"%d" % n) for n in range(100)))
    assert sorted(answers) == ["new"] + ["other"] * 99
    assert await ends(store, job_id) == [b"s:approve"]


async def test_an_answer_that_comes_before_the_question_is_kept_and_counted(store: Store) -> None:
    """`kids` beyond `ends` says that something is open; an early end must not hide an open child."""
    job_id = (await parent(store)).id
    assert await store.trees.signal(job_id, "t", "early", b"1") == "new"
    assert await store.trees.signal(job_id, "t", "early", b"1") == "same"
    assert (await field(store, job_id, "kids"), await ends(store, job_id)) == (b"1", [b"s:early"])
    assert await field(store, job_id, "flow") == b"1", "the run reads it, and it is erased with the job"


async def test_one_that_comes_after_the_time_of_its_wait_is_refused_for_good(store: Store) -> None:
    """By the server's clock, also when nobody has looked at the wait since."""
    job_id = (await parent(store)).id
    await waits(store, job_id, "late", due=1)
    assert await store.trees.signal(job_id, "t", "late", b"1") == "over"
    assert await store.trees.signal(job_id, "t", "late", b"1") == "over"
    assert await store.connection.command("HGET", f"{store.prefix}steps:{job_id}", "v:late") == b"!"
    assert await ends(store, job_id) == [b"s:late"], "its parent wakes, and once"
    assert (await field(store, job_id, "asks"), await field(store, job_id, "over")) == (b"", b"late")


async def test_an_ended_job_takes_no_answer_but_knows_the_one_it_has(store: Store) -> None:
    held = await parent(store)
    await store.trees.signal(held.id, "t", "a", b"1")
    await end(store, held.id, held=held)
    assert await store.trees.signal(held.id, "t", "a", b"1") == "same", "its answer was lost on the way"
    assert await store.trees.signal(held.id, "t", "b", b"1") == "ended"


@pytest.mark.parametrize("tenant", ["u", "t"])
async def test_a_job_of_others_and_one_that_is_gone_are_not_there(store: Store, tenant: str) -> None:
    held = await parent(store)
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    with pytest.raises(JobNotFound if tenant == "u" else JobGone):
        await store.trees.signal(held.id, tenant, "a", b"1")


async def test_a_job_has_a_hundred_names_of_64_kilobytes(store: Store) -> None:
    job_id = (await parent(store)).id
    assert await store.trees.signal(job_id, "t", "large", b'"%s"' % (b"x" * (MOST_VALUE - 1))) == "full"
    assert await store.trees.signal(job_id, "t", "0", b'"%s"' % (b"x" * (MOST_VALUE - 2))) == "new"
    answers = [await store.trees.signal(job_id, "t", str(n), b"1") for n in range(1, MOST_SIGNALS + 1)]
    assert answers == ["new"] * (MOST_SIGNALS - 1) + ["full"]


async def test_open_asks_are_those_without_an_answer_and_in_their_time(store: Store) -> None:
    job_id = (await parent(store)).id
    for name, due in (("open", _LATER), ("answered", _LATER), ("late", 1)):
        await waits(store, job_id, name, due)
    await store.trees.signal(job_id, "t", "answered", b"1")
    asks = ["open", "answered", "late", "unknown"]
    assert await store.trees.open_asks(job_id, asks) == [Ask("open", _LATER, b'{"draft":[]}', b'{"type":"object"}')]
    assert await store.trees.open_asks(job_id, []) == []


async def test_what_people_answered_goes_with_the_job(store: Store) -> None:
    held = await parent(store)
    await store.trees.signal(held.id, "t", "a", b'"secret"')
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    await bury_all(store)
    for kind in ("steps", "ends"):
        assert await store.connection.command("EXISTS", f"{store.prefix}{kind}:{held.id}") == 0
