"""The coalescing connection, when the server misbehaves."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.proxy import Proxy
from tests.integration.store.test_scripts import new_job, status, submit

from longrun.embedded import EmbeddedValkey
from longrun.errors import StorageFull, StoreUnavailable
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.connection import Connection, StoreError
from longrun.store.store import Store


@pytest.fixture
def own(tmp_path: Path) -> EmbeddedValkey:
    return EmbeddedValkey(tmp_path / "data")


async def test_what_is_asked_for_together_travels_together_and_comes_back_in_order(store: Store) -> None:
    answers = await asyncio.gather(*[store.connection.command("ECHO", str(n)) for n in range(2000)])
    assert answers == [str(n).encode() for n in range(2000)]


async def test_scripts_that_the_server_forgot_are_loaded_again(store: Store) -> None:
    await submit(store)
    await store.connection.command("SCRIPT", "FLUSH")
    ids = await asyncio.gather(*[submit(store) for _ in range(50)])
    assert {await status(store, job_id) for job_id in ids} == {"queued"}


async def test_the_server_holds_the_scripts_that_were_asked_for_and_no_others(own: EmbeddedValkey) -> None:
    """All that it holds is looked through again and again while it collects garbage, whoever runs."""
    store = Store(own.start(), Settings(), ticket_template())
    try:
        await asyncio.gather(submit(store), submit(store))
        scripts = store.connection.scripts
        held = await store.connection.command("SCRIPT", "EXISTS", *[each.sha for each in scripts.values()])
        assert [name for name, there in zip(scripts, held, strict=True) if there] == ["submit"]
    finally:
        await store.close()
        own.stop()


async def test_a_failing_command_fails_alone(store: Store) -> None:
    good, bad, good_too = await asyncio.gather(
        store.connection.command("ECHO", "a"),
        store.connection.command("NOSUCH"),
        store.connection.command("ECHO", "b"),
        return_exceptions=True,
    )
    assert (good, good_too) == (b"a", b"b")
    assert isinstance(bad, StoreError)


async def test_a_frozen_server_is_given_up_in_time_and_used_again_when_it_is_back(own: EmbeddedValkey) -> None:
    url = own.start()
    store = Store(url, Settings(store_timeout=0.5), ticket_template())
    try:
        await store.ping()
        assert own.pid is not None
        os.kill(own.pid, signal.SIGSTOP)
        # It stays frozen until the call has been given up.
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable):
                await store.records.submit(new_job())
        os.kill(own.pid, signal.SIGCONT)
        await asyncio.sleep(0.1)
        await submit(store)
    finally:
        await store.close()
        own.stop()


async def test_a_call_with_patience_outlives_a_restart_of_the_server(own: EmbeddedValkey) -> None:
    url = own.start()
    store = Store(url, Settings(), ticket_template())
    try:
        job_id = await submit(store)
        await asyncio.sleep(1.2)  # appendfsync everysec: what a killed server had not flushed itself is not the point here
        assert own.pid is not None
        os.kill(own.pid, signal.SIGKILL)
        claim = asyncio.create_task(store.claims.claim(job_id, "n", "w", "cpu"))
        await asyncio.sleep(0.3)
        assert not claim.done()
        own.start()
        taken = await asyncio.wait_for(claim, 60)
        assert taken is not None
        assert await store.claims.finish(job_id, taken.fence, "succeeded", b"1") == "succeeded"
    finally:
        await store.close()
        own.stop()


async def test_a_full_server_refuses_the_submit_and_stores_nothing(own: EmbeddedValkey) -> None:
    url = own.start()
    store = Store(url, Settings(), ticket_template())
    try:
        await submit(store)
        before = await store.connection.command("DBSIZE")
        await store.connection.command("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StorageFull):
            await store.records.submit(new_job())
        assert await store.connection.command("DBSIZE") == before
        await store.connection.command("CONFIG", "SET", "maxmemory", "0")
        await submit(store)
    finally:
        await store.close()
        own.stop()


async def test_a_closed_connection_gives_up_what_waits(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.connection.command("PING")


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_the_first_call_after_the_server_reset_the_connection_is_answered(valkey: EmbeddedValkey, valkey_url: str, runner: str) -> None:
    run = pytest.importorskip(runner).run  # uvicorn runs on uvloop, which has an exception of its own for this

    async def reset_and_ask(proxy: Proxy) -> bytes:
        connection = Connection(proxy.url, lambda _: {}, "about", timeout=5)
        await connection.command("PING")
        await asyncio.to_thread(proxy.reset)
        try:
            async with asyncio.timeout(10):
                return bytes(await connection.command("ECHO", "still there"))
        finally:
            await connection.close()

    with Proxy(valkey.data / "valkey.sock") as proxy:
        assert run(reset_and_ask(proxy)) == b"still there"


async def test_a_failure_that_nobody_foresaw_leaves_no_caller_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.connection.command("PING")
    real, failures = Connection._settle, [ZeroDivisionError("once")]

    async def settle(self: Connection, *args: Any) -> bool:
        if failures:
            raise failures.pop()
        return await real(self, *args)

    monkeypatch.setattr(Connection, "_settle", settle)
    async with asyncio.timeout(60):
        assert await store.connection.command("ECHO", "still there") == b"still there"
