"""Servers that lose what they have confirmed: a primary with a replica that lags, and one behind an address that leads elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.chaos.proxy import Proxy
from tests.integration.store.test_server_facts import plain_server
from tests.waiting import PATIENCE

from longrun.chores.loss_watch import LossWatch
from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.formats import FORMAT
from longrun.store.server_facts import write_about
from longrun.store.store import Store


@contextlib.asynccontextmanager
async def watching(url: str, **settings: object) -> AsyncIterator[tuple[Store, LossWatch]]:
    """A process's store and its watch, on data that have an id."""
    chosen = Settings(redis_url=url, lease=5, heartbeat=0.5, store_timeout=PATIENCE, **settings)  # type: ignore[arg-type]
    store = Store(url, chosen, ticket_template())
    try:
        await write_about(store, 1, FORMAT, timeout=5)
        yield store, LossWatch(store.losses)
    finally:
        await store.close()


@contextlib.contextmanager
def pair(folder: Path) -> Iterator[tuple[Proxy, Proxy, int, int]]:
    """A primary and its replica: the address of the service, the link between the two, and their ports."""
    folder.mkdir(exist_ok=True)
    durable = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--maxmemory-policy", "noeviction")
    with plain_server(folder / "primary", *durable) as primary, plain_server(folder / "replica", *durable) as replica:
        ports = [int(url.rsplit(":", 1)[1].removesuffix("/0")) for url in (primary, replica)]
        with Proxy(ports[0]) as address, Proxy(ports[0]) as link:
            command(ports[1], "REPLICAOF", "127.0.0.1", str(link.port))
            yield address, link, ports[0], ports[1]


def command(port: int, *words: str) -> str:
    """Ask a server on loopback, without a connection that a test would have to keep."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"*{len(words)}\r\n".encode() + b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words))
        return connection.recv(1 << 20).decode()


def received_all(primary: int, replica: int) -> bool:
    """Whether the replica has what the primary has."""
    offsets = [
        {line.partition(":")[0]: line.partition(":")[2].strip() for line in command(port, "INFO", "replication").splitlines()}
        for port in (primary, replica)
    ]
    return offsets[1].get("master_link_status") == "up" and offsets[0]["master_repl_offset"] == offsets[1].get("slave_repl_offset")


def fail_over(address: Proxy, replica: int) -> None:
    """Promote the replica, and have the address lead to it, as a proxy of Sentinel does."""
    command(replica, "REPLICAOF", "NO", "ONE")
    address.target = replica
    address.reset()


def cut_power(server: EmbeddedValkey, kept: int | None) -> None:
    """Kill the server, and leave of its append-only file what had reached the disk: the first `kept` bytes (None = all)."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    log = incremental(server)
    if kept is not None:
        with log.open("r+b") as file:
            file.truncate(kept)


def incremental(server: EmbeddedValkey) -> Path:
    """The file that the server appends to."""
    (log,) = (server.data / "appendonlydir").glob("*.incr.aof")
    return log


async def written(server: EmbeddedValkey, store: Store) -> int:
    """Bytes of that file, once all is in it that the server has answered so far."""
    await store.connection.command("SET", "written", "1")
    await store.connection.command("WAITAOF", "1", "0", "0", timeout=PATIENCE)
    return incremental(server).stat().st_size
