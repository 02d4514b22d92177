"""What scripts cost that look at lanes: as much as the lanes have in which something waits, not as many as there are."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.store.test_scripts import new_job, status, submit

from longrun.store.store import Store

MANY = 300
#: Of lanes in which nothing waits: one command for sixteen, and sixteen more where one of those has something.
MOST_FOR_EMPTY = MANY / 16 + 1 + 3 * 16


async def commands(store: Store, script: str, *arguments: object) -> int:
    """How many commands a script runs in the server."""
    await store.connection.run(script, *arguments)
    before = await count(store)
    await store.connection.run(script, *arguments)
    return await count(store) - before - 2  # the one that counts, and the one that runs the script


async def count(store: Store) -> int:
    stats = await store.connection.command("INFO", "commandstats")
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in stats.decode().split() if line.startswith("cmdstat_"))


async def lanes(store: Store, number: int) -> list[str]:
    """So many lanes; in three of them wait jobs of two priorities."""
    names = [f"gpu.m{each}" for each in range(number)]
    for each in names:
        await store.connection.command("SADD", f"{store.prefix}lanes", each)
    for each in range(3):
        for priority in (9, 5) * 10:
            await store.records.submit(new_job(model=f"m{each * (number // 3)}", priority=priority))
    return names


def asked(names: Sequence[str], *more: str) -> list[object]:
    return [value for name in names for value in (name, 1)] + list(more)


async def test_a_look_for_tickets_costs_as_the_lanes_do_in_which_jobs_wait(store: Store) -> None:
    names = await lanes(store, MANY)
    few = await commands(store, "pop", *asked([names[0], names[100], names[200]], "waiting"))
    many = await commands(store, "pop", *asked(names, "waiting"))
    assert many < few + MOST_FOR_EMPTY
    # a look at all of them asks once for each
    assert await commands(store, "pop", *asked(names)) < few + MANY


async def test_a_look_for_tickets_where_nothing_waits_costs_next_to_nothing(store: Store) -> None:
    assert await commands(store, "pop", *asked([f"gpu.m{each}" for each in range(MANY)], "waiting")) < MANY / 16 + 5


async def test_depths_and_suspects_cost_as_the_lanes_do_in_which_something_waits(store: Store) -> None:
    names = await lanes(store, 3)
    few, few_suspects = await commands(store, "queues"), await commands(store, "suspects", "w", 10_000, 1, "", *names)
    names += [f"gpu.more{each}" for each in range(MANY - 3)]
    await store.connection.command("SADD", f"{store.prefix}lanes", *names)
    assert await commands(store, "queues") < few + MOST_FOR_EMPTY
    assert await commands(store, "suspects", "w", 10_000, 1, "", *names[:90]) < few_suspects + MOST_FOR_EMPTY


async def test_the_depths_name_lanes_in_which_nothing_waits_too(store: Store) -> None:
    await lanes(store, 6)
    found = {each.model: each for each in await store.records.depths()}
    assert sorted(found) == [f"m{each}" for each in range(6)]
    assert found["m2"].by_priority == dict.fromkeys(range(10), 0) | {9: 10, 5: 10}
    assert (found["m2"].oldest_s or 0) >= 0
    assert found["m1"].by_priority == dict.fromkeys(range(10), 0)
    assert found["m1"].oldest_s is None


async def test_tickets_of_several_lanes_are_taken_by_priority_and_in_turn_and_what_is_left_wakes(store: Store) -> None:
    names = await lanes(store, 40)
    for name in names:
        await store.connection.command("DEL", f"{store.prefix}wake:{name}")
    reply = await store.connection.run("pop", *[value for name in names for value in (name, 12)], "waiting")
    taken = [(lane.decode(), int(level)) for lane, level in zip(reply[::3], reply[1::3], strict=True)]
    first, second, third = names[0], names[13], names[26]
    urgent = [*[(first, 0)] * 8, *[(second, 0)] * 8, *[(third, 0)] * 8, *[(first, 0)] * 2, *[(second, 0)] * 2, *[(third, 0)] * 2]
    assert taken == [*urgent, *[(first, 4)] * 2, *[(second, 4)] * 2, *[(third, 4)] * 2]
    wakes = [await store.connection.command("EXISTS", f"{store.prefix}wake:{name}") for name in (first, second, third, names[1])]
    assert wakes == [1, 1, 1, 0]


async def test_a_ticket_that_nobody_waits_for_is_taken_by_a_look_at_all_lanes(store: Store) -> None:
    canceled, waits = await submit(store, model="a"), await submit(store, model="b")
    await store.records.cancel(canceled, "t")
    assert await status(store, canceled) == "canceled"
    two = ("gpu.a", 9, "gpu.b", 9)
    assert (await store.connection.run("pop", *two, "waiting"))[2::3] == [waits.encode()]
    assert (await store.connection.run("pop", *two))[2::3] == [canceled.encode()]
