"""What real servers say of themselves, and what the data say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from longrun.embedded import EmbeddedValkey, find_server, read_disk
from longrun.embedded.program import identify
from longrun.queues.celery.tickets import ticket_template
from longrun.service.admission import Inspection, inspect
from longrun.service.store_checks import examine
from longrun.settings import Settings
from longrun.store.formats import FORMAT
from longrun.store.server_facts import read_about, read_facts, write_about
from longrun.store.store import Store
from longrun.version import VERSION


@contextlib.asynccontextmanager
async def store_at(url: str, **settings: object) -> AsyncIterator[Store]:
    store = Store(url, Settings(redis_url=url, **settings), ticket_template())  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test alone."""
    with EmbeddedValkey(tmp_path / "data") as server:
        yield server


@contextlib.contextmanager
def plain_server(folder: Path, *options: str) -> Iterator[str]:
    """A server with these options and otherwise the defaults; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    folder.mkdir()
    command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(6000):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def refused(store: Store, seen: Inspection) -> set[str]:
    return {each.name for each in seen.findings if each.severity == "refuse"}


async def look(store: Store, *, claim: bool = True, durability: str = "relaxed") -> Inspection:
    settings = Settings(redis_url=store.url, durability=durability)  # type: ignore[arg-type]
    return await inspect(store, settings, lambda: None, timeout=5, claim=claim)


async def test_the_embedded_server_is_seen_as_it_is(own: EmbeddedValkey) -> None:
    program = identify(find_server())
    assert program is not None
    async with store_at(own.start()) as store:
        facts = await read_facts(store, timeout=5)
    assert (facts.kind, facts.version) == (program.name, program.version)
    assert (facts.policy, facts.aof, facts.fsync, facts.max_memory) == ("noeviction", True, "everysec", 0)
    assert (facts.cluster, facts.replica, facts.aof_write_ok, facts.aof_rewrite_ok, facts.inside) == (False, False, True, True, True)
    assert facts.used_memory and abs(facts.clock_ahead) < 1 and 0 < facts.round_trip < 5
    assert abs(facts.now / 1000 - time.time()) < 60


async def test_a_strict_embedded_server_is_seen_as_strict(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data", durability="strict") as server:
        async with store_at(server.start()) as store:
            assert (await read_facts(store, timeout=5)).fsync == "always"
            assert refused(store, await look(store, durability="strict")) == set()


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [("maxmemory-policy", "allkeys-lru", "maxmemory-policy"), ("appendonly", "no", "appendonly")],
)
async def test_a_dangerous_setting_is_seen_when_it_is_made_and_when_it_is_mended(
    own: EmbeddedValkey, setting: str, value: str, name: str
) -> None:
    async with store_at(own.start()) as store:
        _, good = await store.connection.command("CONFIG", "GET", setting)
        assert refused(store, await look(store)) == set()
        await store.connection.command("CONFIG", "SET", setting, value)
        assert refused(store, await look(store)) == {name}
        await store.connection.command("CONFIG", "SET", setting, good)
        assert refused(store, await look(store)) == set()


async def test_a_server_with_its_defaults_is_refused_for_having_no_file(tmp_path: Path) -> None:
    with plain_server(tmp_path / "plain") as url:
        async with store_at(url) as store:
            assert refused(store, await look(store)) == {"appendonly"}
            assert await read_about(store, timeout=5) is None, "nothing is written to a store that is refused"


async def test_a_server_that_does_not_know_hello_is_talked_to_all_the_same(tmp_path: Path) -> None:
    """As one that is too old, which must be told apart from one that does not answer."""
    with plain_server(tmp_path / "data", "--appendonly", "yes", "--rename-command", "HELLO", "") as url:
        async with store_at(url) as store:
            assert (await look(store)).facts.kind == "valkey"


async def test_a_cluster_is_refused_and_not_looked_into(tmp_path: Path) -> None:
    with plain_server(tmp_path / "cluster", "--cluster-enabled", "yes", "--appendonly", "yes") as url:
        async with store_at(url) as store:
            seen = await look(store)
            assert refused(store, seen) == {"cluster"} and not seen.facts.inside


async def test_a_replica_is_refused_at_once(own: EmbeddedValkey) -> None:
    async with store_at(own.start()) as store:
        await store.connection.command("REPLICAOF", "127.0.0.1", "1")
        seen = await asyncio.wait_for(look(store), 5)  # a script would wait for the server to become a primary
        assert refused(store, seen) == {"role"} and not seen.facts.inside


@pytest.mark.parametrize(
    ("rules", "policy", "fsync", "aof"),
    [
        ("+@all", "noeviction", "everysec", True),
        ("+@all -config", "noeviction", None, True),
        ("+@all -config -info", None, None, None),
        ("+@all -@dangerous", None, None, None),
    ],
)
async def test_what_a_tight_acl_forbids_is_taken_from_elsewhere_or_not_known(
    own: EmbeddedValkey, rules: str, policy: str | None, fsync: str | None, aof: bool | None
) -> None:
    url = own.start()
    async with store_at(url) as store:
        await store.connection.command("ACL", "SETUSER", "tight", "on", ">secret", "~*", "&*", *rules.split())
    for protocol in (2, 3):
        async with store_at(url.replace("unix://", "unix://tight:secret@") + f"?protocol={protocol}") as store:
            seen = await look(store)
            assert (seen.facts.policy, seen.facts.fsync, seen.facts.aof) == (policy, fsync, aof)
            assert seen.facts.server == str(identify(find_server())), "INFO or HELLO tells it"
            assert refused(store, seen) == set()
            assert refused(store, await look(store, durability="strict")) == {"appendfsync"}
            warned = {each.name for each in seen.findings if each.severity == "warn"}
            assert ("appendfsync" in warned) is (fsync is None) and ("maxmemory-policy" in warned) is (policy is None)


async def test_the_evicting_policy_is_found_without_config(own: EmbeddedValkey) -> None:
    url = own.start()
    async with store_at(url) as store:
        await store.connection.command("ACL", "SETUSER", "tight", "on", ">secret", "~*", "&*", "+@all", "-config")
        await store.connection.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    async with store_at(url.replace("unix://", "unix://tight:secret@")) as store:
        assert refused(store, await look(store)) == {"maxmemory-policy"}


async def test_live_workers_are_seen(store: Store) -> None:
    await store.claims.announce("w1", orjson.dumps({"name": "w1", "version": "0.0.1", "format": 7}))
    facts = await read_facts(store, timeout=5)
    assert [dict(each) for each in facts.workers] == [{"name": "w1", "version": "0.0.1", "format": 7}]
    assert {"worker-format"} == {each.name for each in examine(facts, None, Settings()) if each.severity == "refuse"}


# -- `about` -----------------------------------------------------------------------------------------------------------


async def test_data_are_given_an_id_once(store: Store) -> None:
    assert await read_about(store, timeout=5) is None
    first, *others = await asyncio.gather(*(write_about(store, 1, FORMAT, timeout=5) for _ in range(20)))
    assert first is not None and (first.format, first.version, len(first.id)) == (str(FORMAT), VERSION, 16)
    assert set(others) == {first}
    assert (await look_with(store)).about == first


async def look_with(store: Store, *, claim: bool = True) -> Inspection:
    return await inspect(store, Settings(prefix=store.prefix), lambda: None, timeout=5, claim=claim)


async def test_a_mere_look_writes_nothing(store: Store) -> None:
    assert (await look_with(store, claim=False)).about is None
    assert await read_about(store, timeout=5) is None


async def test_what_a_dying_process_left_half_written_is_completed(store: Store) -> None:
    await store.connection.command("HSET", f"{store.prefix}about", "format", str(FORMAT))
    about = (await look_with(store)).about
    assert about is not None and len(about.id) == 16


async def test_another_format_is_refused_and_left_alone(store: Store) -> None:
    key = f"{store.prefix}about"
    await store.connection.command("HSET", key, "format", "99", "version", "9.9")
    seen = await look_with(store)
    (finding,) = [each for each in seen.findings if each.severity == "refuse"]
    assert finding.name == "format" and "format 99 (Longrun 9.9)" in finding.found and f"Longrun {VERSION}" in finding.found
    assert await store.connection.command("HGETALL", key) == [b"format", b"99", b"version", b"9.9"]


async def test_a_full_store_can_be_looked_at(own: EmbeddedValkey) -> None:
    async with store_at(own.start()) as store:
        await store.connection.command("CONFIG", "SET", "maxmemory", "1")
        seen = await look(store)
        assert seen.about is None and refused(store, seen) == set()
        assert "memory" in {each.name for each in seen.findings if each.severity == "warn"}


# -- the disk ----------------------------------------------------------------------------------------------------------


async def test_the_disk_of_the_embedded_server_is_known_and_of_no_other(own: EmbeddedValkey) -> None:
    url = own.start()
    async with store_at(url) as store:
        await store.connection.command("SET", "some", "x" * 100_000)
        await store.connection.command("WAITAOF", "1", "0", "2000")
    disk = read_disk(own.data, url)
    assert disk is not None and disk.folder == str(own.data) and disk.free > 0 and disk.data > 100_000
    assert read_disk(own.data, "redis://elsewhere") is None
    assert read_disk(own.data.parent, url) is None
