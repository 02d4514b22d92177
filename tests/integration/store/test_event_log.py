"""The event log: its limits, the gaps they leave, pages of bounded size, and notes that bring events along."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.store.test_scripts import claimed

from longrun.jobs.events import Event, carried
from longrun.jobs.policy import Policy
from longrun.jobs.states import Status
from longrun.settings import Settings
from longrun.store.records import PAGE_BYTES
from longrun.store.store import Store

MOST = 20


@pytest.fixture
async def limited(settings: Settings, valkey_url: str) -> AsyncIterator[Store]:
    """A store whose logs hold 20 events or 2,000 bytes."""
    store = Store(valkey_url, settings.model_copy(update={"max_events": MOST, "max_event_bytes": 2000}), "@ID@")
    yield store
    await store.close()


def outputs(first: int, count: int, width: int = 1) -> list[tuple[str, bytes]]:
    return [("output", b'{"value":"%0*d"}' % (width, n)) for n in range(first, first + count)]


async def append(store: Store, job_id: str, first: int, count: int, *, fence: str = "1/n", width: int = 1) -> None:
    assert await store.claims.append(job_id, fence, first, b"", outputs(first, count, width))


async def read_all(store: Store, job_id: str, after: int = 0, limit: int = 7) -> list[Event]:
    """All pages after a seq."""
    events: list[Event] = []
    while page := (await store.records.events(job_id, "t", after, limit)).events:
        assert len(page) <= limit
        events += page
        after = page[-1].seq
    return events


async def field(store: Store, job_id: str, name: str) -> int:
    return int(await store.connection.command("HGET", f"{store.prefix}job:{job_id}", name) or 0)


async def held(store: Store, job_id: str) -> list[bytes]:
    return list(await store.connection.command("LRANGE", f"{store.prefix}ev:{job_id}", 0, -1))


async def test_of_a_log_that_is_too_long_the_oldest_events_go_and_a_gap_stands_for_them(limited: Store) -> None:
    job_id = await claimed(limited)
    await append(limited, job_id, 0, 50)
    events = await read_all(limited, job_id)
    assert [(event.seq, event.type) for event in events[:3]] == [(1, "queued"), (32, "gap"), (33, "output")]
    assert events[1].data == b'{"from":2,"to":32}'
    assert [event.seq for event in events[2:]] == list(range(33, 53))
    assert events[-1].data == b'{"value":"49"}'
    assert (await limited.records.events(job_id, "t", 0, 7)).latest == 52


async def test_whoever_goes_on_inside_the_gap_is_told_of_the_rest_of_it_and_after_it_of_nothing(limited: Store) -> None:
    job_id = await claimed(limited)
    await append(limited, job_id, 0, 50)
    assert (await read_all(limited, job_id, after=10))[0].data == b'{"from":11,"to":32}'
    assert (await read_all(limited, job_id, after=31))[0].data == b'{"from":32,"to":32}'
    for after in (32, 33, 51):
        assert [event.seq for event in await read_all(limited, job_id, after)] == list(range(after + 1, 53))
    assert await read_all(limited, job_id, after=52) == [] == await read_all(limited, job_id, after=10**12)


async def test_seqs_stay_dense_while_the_log_is_trimmed_again_and_again(limited: Store) -> None:
    job_id = await claimed(limited)
    seen, after = [], 0
    for first in range(0, 300, 3):
        await append(limited, job_id, first, 3)
        page = await limited.records.events(job_id, "t", after, 100)
        seen += [event.seq for event in page.events]
        after = page.events[-1].seq
        assert len(await held(limited, job_id)) <= MOST
    assert seen == list(range(1, 303))


async def test_the_bytes_that_are_kept_are_counted_exactly_and_limited(limited: Store) -> None:
    job_id = await claimed(limited)
    for first in range(0, 60, 4):
        await append(limited, job_id, first, 4, width=first * 7 + 1)
        entries = await held(limited, job_id)
        assert await field(limited, job_id, "log_bytes") == sum(map(len, entries)) <= 2000 or len(entries) == 1
        assert await field(limited, job_id, "base") + len(entries) == first + 5
    await append(limited, job_id, 60, 1, width=5000)
    assert len(await held(limited, job_id)) == 1


async def test_one_large_event_does_not_make_one_call_long(settings: Settings, valkey_url: str) -> None:
    store = Store(valkey_url, settings.model_copy(update={"max_event_bytes": 20_000}), "@ID@")
    job_id = await claimed(store)
    for first in range(0, 400, 100):
        await append(store, job_id, first, 100)
    await append(store, job_id, 400, 1, width=19_900)
    assert len(await held(store, job_id)) == 402 - 102
    for number in range(401, 406):
        await append(store, job_id, number, 1)
    assert await field(store, job_id, "log_bytes") <= 20_000
    await store.close()


async def test_an_append_sent_twice_adds_nothing_and_trims_nothing(limited: Store) -> None:
    job_id = await claimed(limited)
    await append(limited, job_id, 0, 50)
    before = await held(limited, job_id), await field(limited, job_id, "base"), await field(limited, job_id, "log_bytes")
    await append(limited, job_id, 0, 50)
    assert before == (await held(limited, job_id), await field(limited, job_id, "base"), await field(limited, job_id, "log_bytes"))


async def test_only_output_that_is_missing_is_called_cut_and_only_of_its_attempt(limited: Store) -> None:
    job_id = await claimed(limited, Policy(max_attempts=3))
    for first in range(0, 60, 10):
        assert await limited.claims.append(job_id, "1/n", first, b"", [("log", b"{}")] * 10)
    assert (await limited.records.events(job_id, "t", 0, 1)).cut == 0
    await append(limited, job_id, 60, 30)
    assert (await limited.records.events(job_id, "t", 0, 1)).cut == 1
    assert await limited.claims.hand_back(job_id, "1/n", "release") == "queued"
    assert await limited.claims.claim(job_id, "n2", "w", "cpu") is not None
    await append(limited, job_id, 0, 5, fence="2/n2")
    assert (await limited.records.events(job_id, "t", 0, 1)).cut == 1
    await append(limited, job_id, 5, 30, fence="2/n2")
    assert (await limited.records.events(job_id, "t", 0, 1)).cut == 2


async def test_what_ends_a_job_is_the_last_event_of_a_trimmed_log_too(limited: Store) -> None:
    job_id = await claimed(limited)
    await append(limited, job_id, 0, 50)
    await limited.claims.finish(job_id, "1/n", "succeeded", b"1")
    page = await limited.records.events(job_id, "t", 52, 10)
    assert [(event.seq, event.type) for event in page.events] == [(53, "done")]
    assert (page.latest, page.status) == (53, Status.SUCCEEDED)
    await limited.records.delete(job_id, "t")
    assert await held(limited, job_id) == []


async def test_of_a_job_that_keeps_nothing_the_end_can_still_be_read(store: Store) -> None:
    job_id = await claimed(store, Policy(retain_for=0))
    await append(store, job_id, 0, 5)
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    await store.connection.command("ZADD", f"{store.prefix}expire", 1, job_id)
    assert await store.upkeep.expire() == 1
    events = await read_all(store, job_id)
    assert [(event.seq, event.type, event.data) for event in events] == [
        (1, "queued", b"{}"),
        (7, "gap", b'{"from":2,"to":7}'),
        (8, "done", b"{}"),
    ]


async def test_a_page_holds_as_many_bytes_as_are_asked_for_and_one_event_at_least(store: Store) -> None:
    job_id = await claimed(store)
    for first in range(0, 100, 10):
        await append(store, job_id, first, 10, width=10_000)
    await append(store, job_id, 100, 1, width=PAGE_BYTES + 1)
    await append(store, job_id, 101, 3)

    async def sizes(after: int, **limits: Any) -> list[int]:
        page = await store.records.events(job_id, "t", after, 500, **limits)
        return [len(event.data) for event in page.events]

    assert len(await sizes(2)) == 26
    assert len(await sizes(2, most_bytes=50_000)) == 4
    assert len(await sizes(2, most_bytes=1)) == 1
    assert len(await sizes(102)) == 1
    assert len(await sizes(103)) == 3
    assert [event.seq for event in await read_all(store, job_id, limit=500)] == list(range(1, 107))


async def test_a_note_brings_small_events_and_says_only_that_there_are_large_ones(store: Store) -> None:
    job_id = await claimed(store)
    async with store.follower.listen(store.job_channel(job_id)) as listener:
        await append(store, job_id, 0, 3)
        await append(store, job_id, 1, 4)
        await append(store, job_id, 5, 1, width=5000)
        notes: list[bytes] = []
        while len(notes) < 3:
            notes += await listener.wait(2)
    assert [[event.seq for event in carried(note)] for note in notes] == [[3, 4, 5], [6, 7], []]
    assert carried(notes[0])[:2] == (await store.records.events(job_id, "t", 2, 2)).events


async def test_seqs_in_notes_are_right_when_the_log_is_trimmed(limited: Store) -> None:
    job_id = await claimed(limited)
    await append(limited, job_id, 0, 50)
    async with limited.follower.listen(limited.job_channel(job_id)) as listener:
        await append(limited, job_id, 50, 30)
        (note,) = await listener.wait(2)
    assert [event.seq for event in carried(note)] == list(range(53, 83))


async def test_a_listener_that_takes_nothing_holds_little(store: Store) -> None:
    job_id = await claimed(store)
    async with store.follower.listen(store.job_channel(job_id)) as listener:
        for first in range(0, 100, 10):
            await append(store, job_id, first, 10, width=390)
        deadline = time.monotonic() + 60
        while carried(listener.messages[-1])[-1].seq < 102 and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert sum(map(len, listener.messages)) <= 64 * 1024
        assert carried(listener.messages[-1])[-1].seq == 102
