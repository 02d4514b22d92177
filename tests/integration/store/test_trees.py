"""What callers see of a job that runs jobs: its tree, its listing, its log."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from tests.integration.store.test_scripts import FAILURE, submit
from tests.integration.store.trees import MARK, ask, call, child, claim, end, entry, field, parent

from longrun.errors import JobNotFound, ValidationFailed
from longrun.jobs.states import Status
from longrun.queues.celery.app import build_app
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.store.trees import Node

_LATER = 4_000_000_000_000


def mark(place: str) -> str:
    return f"12ab34cd~{place}~0011"


async def nodes(store: Store, job_id: str) -> list[Node]:
    page = await store.trees.page(job_id, "t", "", 100)
    assert page.next == ""
    return page.nodes


async def output(store: Store, held: Any, first: int, *values: str, pad: int = 0) -> None:
    events = [("output", orjson.dumps({"value": value + "." * pad})) for value in values]
    assert await store.claims.append(held.id, held.fence, first, b"", events)


async def events(store: Store, job_id: str, kind: str) -> list[Any]:
    return [orjson.loads(each.data) for each in (await store.records.events(job_id, "t", 0, 1000)).events if each.type == kind]


# -- the tree ----------------------------------------------------------------------------------------------------------------


async def test_a_tree_shows_each_kind_of_step_and_what_became_of_it(store: Store) -> None:
    held = await parent(store)
    job_id = await child(store, held, "n:draw", mark=mark("main.0/Draw.0"))
    await end(store, job_id)
    entries = {
        "l:post": ("d 1", ' "x"'),
        "l:bad": ("f 0", " " + FAILURE.decode()),
        "l:once": ("b 0", " 1"),
        "z:60:0": (f"t {_LATER}", ""),
        "z:0:0": ("t 1", ""),
        "s:open": (f"w {_LATER}", " {}"),
        "s:late": ("w 1", " {}"),
        "s:ok": (f"w {_LATER}", " {}"),
        "now:main.0:0": ("d 0", " 1"),
        "now:0011:0": (f"c {job_id} 0", ""),
        "first:0011": ("d 0", ' "n:draw"'),
    }
    for at, (key, (head, tail)) in enumerate(entries.items(), 2):
        await entry(store, held.id, key, f"{head} {at} {mark('main.0')}{tail}")
    for key, epoch in (("l:post", 0), ("l:once", 1)):
        await entry(store, held.id, f"u:{key}", str(epoch))
    assert await store.trees.signal(held.id, "t", "ok", b"1") == "new"
    seen = {node.key: node for node in await nodes(store, held.id)}
    assert list(seen) == ["l:post", "l:bad", "l:once", "z:60:0", "z:0:0", "s:open", "s:late", "s:ok", "now:0011:0", "n:draw"]
    draw = seen["n:draw"]
    assert (draw.kind, draw.id, draw.model, draw.status, draw.attempt) == ("child", job_id, "m", Status.SUCCEEDED, 1)
    assert (draw.place, draw.done) == ("main.0/Draw.0", True)
    assert [(node.kind, node.done) for node in list(seen.values())[:5]] == [
        ("step", True), ("step", True), ("step", False), ("sleep", False), ("sleep", True),
    ]  # fmt: skip
    assert (seen["l:post"].unused, seen["l:post"].epoch, seen["l:bad"].error) == (True, 1, FAILURE)
    assert not seen["l:once"].unused, "of another epoch"
    waits = [(node.name, node.until, node.done, node.answered) for node in list(seen.values())[5:8]]
    assert waits == [("open", _LATER, False, False), ("late", 1, True, False), ("ok", _LATER, True, True)]


async def test_steps_come_in_the_order_in_which_they_were_made_and_then_in_that_of_their_places(store: Store) -> None:
    job_id = (await parent(store)).id
    for n in reversed(range(12)):
        await entry(store, job_id, f"Draw:{n * 7919 % 13:012x}:0", f"t 1 5 {mark(f'main.0/Draw.{n}')}")
    await entry(store, job_id, "l:first", f"d 0 4 {MARK} 1")
    assert [node.place for node in await nodes(store, job_id)][1:] == [f"main.0/Draw.{n}" for n in range(12)]


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
async def test_pages_of_a_hundred_give_each_step_once(store: Store, count: int) -> None:
    job_id = (await parent(store)).id
    for n in range(count):
        await entry(store, job_id, f"l:{n}", f"d 0 {n // 3} {mark(f'main.{n}')} 1")
    seen, cursor, sizes = list[str](), "", list[int]()
    while not sizes or cursor:
        page = await store.trees.page(job_id, "t", cursor, 100)
        seen, cursor = seen + [node.key for node in page.nodes], page.next
        sizes.append(len(page.nodes))
    assert seen == [f"l:{n}" for n in range(count)] and max(sizes) <= 100


@pytest.mark.parametrize("cursor", ["x", "!!!", base64.urlsafe_b64encode(b"l:of another").decode(), "é"])
async def test_a_cursor_of_another_is_refused(store: Store, cursor: str) -> None:
    job_id = (await parent(store)).id
    await entry(store, job_id, "l:a", f"d 0 1 {MARK} 1")
    with pytest.raises(ValidationFailed):
        await store.trees.page(job_id, "t", cursor, 100)


async def test_the_tree_of_another_tenant_is_not_there(store: Store) -> None:
    job_id = (await parent(store)).id
    with pytest.raises(JobNotFound):
        await store.trees.page(job_id, "u", "", 100)


# -- the listing -------------------------------------------------------------------------------------------------------------


async def test_a_parent_that_no_worker_holds_is_waiting_to_callers(store: Store) -> None:
    held = await parent(store)
    for stored in ("waiting", "asleep"):
        await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "status", stored)
        assert (await store.records.read(held.id, "t")).status is Status.WAITING
        assert (await store.records.events(held.id, "t", 0, 10)).status is Status.WAITING
        page = await store.records.list("t", cursor=None, look_at=100, since=0, filters=[("status", "waiting")])
        assert [job.id for job in page.jobs] == [held.id]
    page = await store.records.list("t", cursor=None, look_at=100, since=0, filters=[("status", "running")])
    assert page.jobs == []


async def test_the_listing_has_roots_alone(store: Store) -> None:
    held = await parent(store)
    await child(store, held, "n:a")
    page = await store.records.list("t", cursor=None, look_at=100, since=0, filters=[])
    assert [job.id for job in page.jobs] == [held.id]


# -- what a child streams ----------------------------------------------------------------------------------------------------


async def test_what_a_child_streams_is_in_the_log_of_its_parent_once(store: Store) -> None:
    held = await parent(store)
    job_id = await child(store, held, 'n:say "it"', stream=True)
    run = await claim(store, job_id)
    await output(store, run, 0, "a", "b")
    await output(store, run, 0, "a", "b")
    await output(store, run, 1, "b", "c")
    assert await events(store, held.id, "step_output") == [{"step": 'n:say "it"', "value": value} for value in "abc"]
    assert await events(store, job_id, "output") == [{"value": value} for value in "abc"]
    assert await events(store, held.id, "output") == []


async def test_it_comes_with_the_announcement_so_that_a_reader_need_not_ask(store: Store) -> None:
    held = await parent(store)
    run = await claim(store, await child(store, held, "n:a", stream=True))
    async with store.follower.listen(store.job_channel(held.id)) as listener:
        await output(store, run, 0, "a")
        (note,) = await listener.wait(2)
    assert note.startswith(b"events 4\0") and note.endswith(b' step_output {"step":"n:a","value":"a"}')


async def test_nothing_comes_of_a_child_that_does_not_stream(store: Store) -> None:
    held = await parent(store)
    await output(store, await claim(store, await child(store, held, "n:a")), 0, "a")
    assert await events(store, held.id, "step_output") == []


@pytest.mark.parametrize("streams", [True, False])
async def test_it_goes_on_to_the_parent_above_if_that_link_streams(store: Store, streams: bool) -> None:
    top = await parent(store)
    middle = await claim(store, await child(store, top, "n:middle", stream=streams))
    run = await claim(store, await child(store, middle, "n:deep", stream=True))
    await output(store, run, 0, "a")
    await output(store, middle, 0, "own")
    assert await events(store, middle.id, "step_output") == [{"step": "n:deep", "value": "a"}]
    wanted = [{"step": "n:middle", "value": value} for value in ("a", "own")]
    assert await events(store, top.id, "step_output") == (wanted if streams else [])


@pytest.mark.parametrize("status", ["asleep", "waiting", "queued", "retrying"])
async def test_it_comes_whoever_runs_the_parent_just_now(store: Store, status: str) -> None:
    held = await parent(store)
    run = await claim(store, await child(store, held, "n:a", stream=True))
    await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "status", status)
    await output(store, run, 0, "a")
    assert await events(store, held.id, "step_output") == [{"step": "n:a", "value": "a"}]


async def test_another_attempt_of_the_child_says_so_and_a_stale_one_writes_nothing(store: Store) -> None:
    held = await parent(store)
    job_id = await child(store, held, "n:a", stream=True)
    run = await claim(store, job_id)
    await output(store, run, 0, "a", "b")
    await store.claims.hand_back(job_id, run.fence, "release")
    again = await claim(store, job_id)
    assert not await store.claims.append(job_id, run.fence, 2, b"", [("output", b'{"value":"late"}')])
    await output(store, again, 0, "a")
    assert await events(store, held.id, "step_output") == [
        {"step": "n:a", "value": "a"}, {"step": "n:a", "value": "b"}, {"step": "n:a", "attempt": 2, "value": "a"},
    ]  # fmt: skip


async def test_a_parent_that_was_let_go_between_them_is_no_other_attempt_of_what_streams_through_it(store: Store) -> None:
    top = await parent(store)
    middle = await claim(store, await child(store, top, "n:middle", stream=True))
    (deep,) = await ask(store, middle, call("n:deep", stream=True), need=1)
    run = await claim(store, deep.id)
    await output(store, run, 0, "a")
    assert await store.steps.let_go([(middle.id, middle.fence, 0, b"")]) == ["asleep"]
    await output(store, run, 1, "b")
    await end(store, deep.id, held=run)
    middle = await claim(store, middle.id)
    await output(store, middle, 0, "c")
    wanted = [{"step": "n:middle", "value": "a"}, {"step": "n:middle", "value": "b"}, {"step": "n:middle", "attempt": 2, "value": "c"}]
    assert await events(store, top.id, "step_output") == wanted


async def test_nothing_stands_behind_the_end_of_a_log(store: Store) -> None:
    held = await parent(store)
    run = await claim(store, await child(store, held, "n:a", stream=True))
    await end(store, held.id, held=held)
    await output(store, run, 0, "a")
    assert (await store.records.events(held.id, "t", 0, 100)).events[-1].type == "done"


async def test_the_log_of_the_parent_keeps_its_limits_and_its_own_output_is_not_missing(valkey_url: str, settings: Settings) -> None:
    small = Store(valkey_url, settings.model_copy(update={"max_events": 20}), "@ID@")
    try:
        held = await parent(small)
        run = await claim(small, await child(small, held, "n:a", stream=True))
        for n in range(50):
            await output(small, run, n, str(n))
        page = await small.records.events(held.id, "t", 0, 100)
        assert await small.connection.command("LLEN", f"{small.prefix}ev:{held.id}") == 20
        assert [event.type for event in page.events[:2]] == ["queued", "gap"] and page.cut == 0
        kept = await small.connection.command("LRANGE", f"{small.prefix}ev:{held.id}", 0, -1)
        assert int(await field(small, held.id, "log_bytes") or 0) == sum(map(len, kept))
    finally:
        await small.close()


async def test_a_plain_job_streams_to_nobody(store: Store) -> None:
    held = await claim(store, await submit(store))
    await output(store, held, 0, "a")
    assert await events(store, held.id, "output") == [{"value": "a"}]


# -- its attempts ------------------------------------------------------------------------------------------------------------


async def test_attempts_that_only_waited_one_after_the_other_are_one_row(store: Store) -> None:
    held = await parent(store)
    outcomes = ["crashed", "waited", "waited", "waited", "retrying", "waited", None]
    for n, outcome in enumerate(outcomes, 1):
        fields = [
            f"a:{n}",
            orjson.dumps({"worker": f"w{n}", "device": "cpu", "at": n * 10, "queued": n * 10 - 1}),
            f"u:{n}",
            '{"cost_usd":1}',
        ]
        ended = [f"z:{n}", f"{n * 10 + 5} {outcome} "] if outcome else []
        await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "attempt", n, *fields, *ended)
    rows = [
        (row.attempt, row.outcome, row.started, row.finished, row.usage and row.usage["cost_usd"])
        for row in await store.records.attempts(held.id, "t")
    ]
    assert rows == [
        (1, "crashed", 10, 15, 1),
        (4, "waited", 20, 45, 3),
        (5, "retrying", 50, 55, 1),
        (6, "waited", 60, 65, 1),
        (7, None, 70, None, 1),
    ]


async def test_of_very_many_attempts_the_latest_hundred_rows_are_given(store: Store) -> None:
    held = await parent(store)
    for n in range(1, 301):
        fields = [f"a:{n}", orjson.dumps({"worker": "w", "at": n}), f"z:{n}", f"{n} {'waited' if n % 2 else 'crashed'} "]
        await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "attempt", n, *fields)
    assert [row.attempt for row in await store.records.attempts(held.id, "t")] == list(range(201, 301))


# -- to people from Celery ---------------------------------------------------------------------------------------------------


async def test_celery_sees_a_parent_that_sleeps_as_started_and_no_child_of_an_erased_root(store: Store, settings: Settings) -> None:
    tools = build_app(settings.redis_url, settings.prefix)
    held = await parent(store)
    job_id = await child(store, held, "n:a")
    await end(store, job_id)

    def states() -> list[str]:
        return [tools.AsyncResult(each).status for each in (held.id, job_id)]

    assert states() == ["STARTED", "SUCCESS"]
    await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "status", "asleep")
    assert states() == ["STARTED", "SUCCESS"]
    await store.connection.command("HSET", f"{store.prefix}job:{held.id}", "status", "running")
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    assert states() == ["UNKNOWN", "UNKNOWN"]


async def test_what_is_used_after_the_parents_have_ended_counts_for_all_of_them(store: Store) -> None:
    held = [await parent(store)]
    for _ in range(3):
        held.append(await claim(store, await child(store, held[-1], "n:next")))
    for n, each in list(enumerate(held))[1:]:
        assert await store.claims.finish(each.id, each.fence, "failed", FAILURE, b'{"cost_usd":%d}' % 10**n) == "failed"
    assert [orjson.loads(await field(store, each.id, "kids_usage") or b"{}") for each in held[1:]] == [
        {"cost_usd": 1100},
        {"cost_usd": 1000},
        {},
    ]
    assert orjson.loads(await field(store, held[0].id, "tree_usage") or b"{}") == {"cost_usd": 1110}
