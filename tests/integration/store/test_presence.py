"""Processes announce the formats that they can work on, and the format of the data is raised when nobody is left that cannot."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from longrun.queues.celery.tickets import ticket_template
from longrun.service.admission import inspect
from longrun.service.presence import stay_announced
from longrun.settings import Settings
from longrun.store import presence
from longrun.store.connection import Connection
from longrun.store.formats import FORMAT, OLDEST
from longrun.store.scripts import Script
from longrun.store.server_facts import read_about, write_about
from longrun.store.store import Store
from longrun.version import VERSION


def process(newest: int = FORMAT) -> dict[str, Any]:
    return {"role": "api", "host": "h", "pid": 1, "version": "9.9", "formats": (OLDEST, newest)}


def of_0_1_0(name: str = "old") -> bytes:
    return orjson.dumps({"name": name, "version": "0.1.0", "format": 1})


@pytest.fixture(autouse=True)
def _no_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "QUIET_LEASES", 0)


@pytest.fixture
async def old(store: Store) -> AsyncIterator[Store]:
    """A store whose data 0.1.0 has made."""
    await store.connection.command("HSET", f"{store.prefix}about", "format", "1", "id", "x", "version", "0.0.9")
    yield store


async def format_of(store: Store) -> str:
    about = await read_about(store, timeout=5)
    assert about is not None
    return about.format


async def looked_at(store: Store, settings: Settings) -> str:
    """The format after a look that has the data say what they are."""
    await inspect(store, settings, lambda: None, timeout=5)
    return await format_of(store)


async def announced(store: Store, identity: str = "a", newest: int = FORMAT) -> tuple[int, int]:
    answer = await store.presence.announce(identity, process(newest))
    return answer.format, answer.raised_from


async def raised(store: Store, newest: int = FORMAT) -> int:
    """The format after as many looks as a raise needs."""
    await announced(store, newest=newest)
    return (await announced(store, newest=newest))[0]


async def test_fresh_data_have_the_newest_format(store: Store) -> None:
    await write_about(store, 1, FORMAT, timeout=5)
    assert await announced(store) == (FORMAT, 0)
    assert store.format == FORMAT


async def test_data_that_say_nothing_are_left_to_those_who_look_at_them(store: Store) -> None:
    assert await announced(store) == (0, 0)


async def test_data_that_were_lost_get_the_format_that_was_known(old: Store, settings: Settings) -> None:
    assert await announced(old) == (1, 0)
    await old.connection.command("DEL", f"{old.prefix}about")
    assert await looked_at(old, settings) == "1"


async def test_data_that_were_lost_while_an_older_process_works_get_a_format_that_it_knows(store: Store, settings: Settings) -> None:
    await store.claims.announce("w", of_0_1_0(), name="old")
    assert await looked_at(store, settings) == "1"
    assert store.format == 1


async def test_data_that_another_process_made_in_an_older_format_are_written_in_that(old: Store, settings: Settings) -> None:
    late = Store(old.url, settings, ticket_template())
    try:
        late.connection.use_format(FORMAT)
        about = await write_about(late, 1, FORMAT, timeout=5)
        assert about is not None and about.format == "1" and late.format == 1
    finally:
        await late.close()


async def test_the_format_is_raised_when_all_can_work_on_it_and_one_says_so(old: Store) -> None:
    assert await announced(old, "a") == (1, 0)
    assert await announced(old, "b") == (FORMAT, 1)
    assert await announced(old, "a") == (FORMAT, 0)
    about = await read_about(old, timeout=5)
    assert about is not None and (about.format, about.id) == (str(FORMAT), "x") and about.version == VERSION
    assert await old.connection.command("HEXISTS", f"{old.prefix}about", "quiet") == 0


async def test_a_process_that_cannot_work_on_it_keeps_it_until_it_leaves(old: Store) -> None:
    await announced(old, "behind", 1)
    assert await raised(old) == 1
    await old.presence.leave("behind", timeout=5)
    assert await raised(old) == FORMAT


async def test_a_process_that_is_not_heard_of_any_more_keeps_nothing(old: Store) -> None:
    await announced(old, "behind", 1)
    await old.connection.command("DEL", f"{old.prefix}process:behind")
    assert await raised(old) == FORMAT


async def test_of_several_formats_it_becomes_the_newest_that_all_know(old: Store) -> None:
    await announced(old, "between", 2)
    assert await raised(old, newest=4) == 2
    await old.presence.leave("between", timeout=5)
    assert await raised(old, newest=4) == 4


async def test_a_worker_of_0_1_0_keeps_it_until_it_leaves(old: Store) -> None:
    await old.claims.announce("w", of_0_1_0(), name="old")
    assert await raised(old) == 1
    await old.claims.leave("w")
    assert await raised(old) == FORMAT


async def test_an_api_of_0_1_0_which_announces_nothing_is_counted_by_what_it_listens_to(old: Store) -> None:
    listen = old.follower.listen
    async with AsyncExitStack() as silent:
        await silent.enter_async_context(listen(old.hooks_channel))
        assert await old.presence.read(timeout=5) == ([], 1)
        assert await raised(old) == 1
    async with listen(old.hooks_announced_channel), listen(old.hooks_channel):
        assert (await old.presence.read(timeout=5))[1] == 0
        assert await raised(old) == FORMAT


async def test_nobody_may_have_stood_in_the_way_for_some_leases(old: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "QUIET_LEASES", 3)
    about = f"{old.prefix}about"
    assert await raised(old) == 1
    since, wanted = (await old.connection.command("HGET", about, "quiet")).split()
    assert int(wanted) == FORMAT
    shorter = str(int(since) - int(3 * settings.lease * 1000) - 1)
    await old.connection.command("HSET", about, "quiet", f"{shorter} {FORMAT + 1}")
    assert await announced(old) == (1, 0)  # that was another one: it begins anew
    await announced(old, "behind", 1)
    assert await old.connection.command("HEXISTS", about, "quiet") == 0
    await old.presence.leave("behind", timeout=5)
    await old.connection.command("HSET", about, "quiet", f"{shorter} {FORMAT}")
    assert await announced(old) == (FORMAT, 1)


async def test_a_worker_of_0_1_0_that_was_hidden_finds_that_its_name_is_taken_and_newer_ones_do_not(old: Store) -> None:
    await old.claims.announce("w", of_0_1_0("gpu"), name="gpu")
    await announced(old)
    await old.claims.leave("w")
    assert await raised(old) == FORMAT
    # What announce.lua of 0.1.0 goes by: somebody else has the name, and for long.
    held = await old.connection.command("GET", f"{old.prefix}name:gpu") or b""
    assert held.startswith(b"- ")
    assert await old.connection.command("EXISTS", f"{old.prefix}outdated") == 0
    assert await old.claims.announce("newer", of_0_1_0("gpu"), name="gpu") is None


async def test_the_name_of_a_worker_that_is_there_stays_its_own(old: Store) -> None:
    await old.claims.announce("w", of_0_1_0("gpu"), name="gpu")
    await announced(old)
    await old.claims.leave("w")
    newer = orjson.dumps({"name": "gpu", "format": 1, "formats": [1, FORMAT]})
    await old.claims.announce("newer", newer, name="gpu")
    assert await raised(old) == FORMAT
    assert (await old.connection.command("GET", f"{old.prefix}name:gpu")).split()[0] == b"newer"


async def test_a_store_writes_the_format_that_the_data_have_from_its_first_script_on(old: Store, settings: Settings) -> None:
    late = Store(old.url, settings, ticket_template())
    try:
        await late.ping()
        assert late.format == 1
        assert (await announced(old), await announced(old)) == ((1, 0), (FORMAT, 1))
        assert (old.format, late.format) == (FORMAT, 1)  # it has not heard of it yet
        assert await announced(late, "late") == (FORMAT, 0)
        assert late.format == FORMAT
    finally:
        await late.close()


async def test_scripts_are_loaded_again_when_the_format_was_raised_and_calls_under_way_get_the_new_ones(old: Store) -> None:

    def load(format: int) -> dict[str, Script]:
        body = f"return {format}".encode()
        return {"which": Script("which", body, hashlib.sha1(body).hexdigest())}

    about = f"{old.prefix}about"
    connection = Connection(old.url, load, about, timeout=5)
    try:
        assert await connection.run("which") == 1
        under_way = connection.start("which")
        connection.use_format(2)
        assert await under_way in (1, 2)
        assert await connection.run("which") == 2
        await connection.command("HSET", about, "format", "2")
        await connection.command("SCRIPT", "FLUSH")
        assert await connection.run("which") == 2
    finally:
        await connection.close()


async def test_a_process_that_does_not_know_the_format_leaves_and_is_not_counted_any_more(old: Store, settings: Settings) -> None:
    await old.connection.command("HSET", f"{old.prefix}about", "format", str(FORMAT + 1))
    staying = asyncio.create_task(stay_announced(old, settings, "worker", "a"))
    left, _ = await asyncio.wait([staying], timeout=10)
    assert left
    assert old.format == FORMAT
    assert await old.presence.read(timeout=5) == ([], 0)
