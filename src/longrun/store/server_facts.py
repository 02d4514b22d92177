"""What the store's server says of itself: read, not judged. `longrun.service.store_checks` judges.

Everything here is plain commands that may be sent twice. Managed services and tight ACLs refuse some of them: CONFIG often, INFO at times.
What the server does not say is None.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from longrun.errors import StorageFull
from longrun.store.connection import StoreError, info_lines
from longrun.store.formats import known
from longrun.store.store import Store
from longrun.version import VERSION

OLDEST_REDIS = (6, 2)
_LOOKS = 5  # at the clock; the median round trip and the best offset count


@dataclass(frozen=True, slots=True)
class About:
    """What the data say of themselves: who made them, and which data they are.

    Args:
        format: see `store.formats`; as stored, so that one that is not a number can be shown.
        id: random; other data have another.
        version: of the Longrun that wrote this.
    """

    format: str
    id: str
    version: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the server. Sizes are bytes, durations seconds; None = it does not say.

    Args:
        kind: `valkey` or `redis`.
        version: of the server, such as `(7, 2, 4)`; of a Valkey its own, not the Redis it is compatible with.
        policy: `maxmemory-policy`.
        max_memory: 0 = no limit.
        clock_ahead: how far the server's clock is ahead of ours, as far as the round trip lets us see: 0 when the difference may be ours.
        round_trip: median.
        now: milliseconds of the server's clock.
        inside: whether the data were looked at: not on a server that refuses writes, nor in a cluster, where a script would hang or fail.
        about: None = the data say nothing of themselves.
        workers: what workers announce.
        processes: what all processes announce, workers among them.
        silent_apis: how many API processes announce nothing: those of 0.1.0.
    """

    kind: Literal["redis", "valkey"] | None = None
    version: tuple[int, ...] = ()
    cluster: bool = False
    replica: bool = False
    policy: str | None = None
    aof: bool | None = None
    fsync: str | None = None
    used_memory: int | None = None
    max_memory: int | None = None
    aof_write_ok: bool = True
    aof_rewrite_ok: bool = True
    clock_ahead: float = 0.0
    round_trip: float = 0.0
    now: int = 0
    inside: bool = False
    about: About | None = None
    workers: Sequence[Mapping[str, Any]] = ()
    processes: Sequence[Mapping[str, Any]] = ()
    silent_apis: int = 0

    @property
    def too_old(self) -> bool:
        """Whether the scripts cannot run there."""
        return self.kind == "redis" and self.version < OLDEST_REDIS

    @property
    def server(self) -> str:
        """Its name and version, `valkey 9.1.2`."""
        return f"{self.kind} {'.'.join(map(str, self.version))}" if self.kind else "a server that does not say what it is"


async def read_facts(store: Store, *, timeout: float) -> Facts:
    """Look at the server, and at the data when it takes writes.

    Args:
        store: an open store.
        timeout: seconds until each command is given up.

    Raises:
        StoreUnavailable: no answer in time.
        StoreError: it refuses what no service can do without.
    """
    command = store.connection.command
    await command("PING", timeout=timeout)  # opens the connection, which must not count as a round trip
    info, hello, append, memory = await asyncio.gather(
        _ask(store, timeout, "INFO"),
        _ask(store, timeout, "HELLO"),
        _ask(store, timeout, "CONFIG", "GET", "append*"),
        _ask(store, timeout, "CONFIG", "GET", "maxmemory*"),
    )
    known = server_facts(info_lines(info), _pairs(hello), _pairs(append) | _pairs(memory))
    looks = [await _clock(store, timeout) for _ in range(_LOOKS)]
    known |= clock_facts(looks)
    facts = Facts(**known)
    if facts.replica or facts.cluster or facts.too_old or not facts.aof_write_ok:
        return facts
    about, workers = await read_about(store, timeout=timeout), await _workers(store, timeout)
    processes, silent = await store.presence.read(timeout=timeout)
    return Facts(**known, inside=True, about=about, workers=workers, processes=processes, silent_apis=silent)


async def _ask(store: Store, timeout: float, *words: str) -> Any:
    """The answer, or None when the server does not know the command or does not allow it."""
    try:
        return await store.connection.command(*words, timeout=timeout)
    except StoreError:
        return None


async def _clock(store: Store, timeout: float) -> tuple[float, float, float]:
    """Our clock before and after, and the server's in between; seconds since the epoch."""
    before = time.time()
    began = time.monotonic()
    seconds, micros = await store.connection.command("TIME", timeout=timeout)
    return before, before + time.monotonic() - began, int(seconds) + int(micros) / 1e6


async def _workers(store: Store, timeout: float) -> Sequence[Mapping[str, Any]]:
    try:
        announced = (await store.connection.run("overview", timeout=timeout))[0]
    except StorageFull:
        return ()
    return [orjson.loads(each) for each in announced]


def clock_facts(looks: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """`clock_ahead`, `round_trip` and `now` from (before, after, server's) in seconds.

    The shortest round trip says most: the server looked at its clock somewhere in it, so half of it is how far we may be wrong.
    """
    before, after, server = min(looks, key=lambda look: look[1] - look[0])
    ahead, doubt = server - (before + after) / 2, (after - before) / 2
    certain = max(0.0, abs(ahead) - doubt)
    trips = sorted(after - before for before, after, _ in looks)
    return {
        "clock_ahead": certain if ahead > 0 else -certain,
        "round_trip": trips[len(trips) // 2],
        "now": int(server * 1000),
    }


def server_facts(info: Mapping[str, str], hello: Mapping[str, str], config: Mapping[str, str]) -> dict[str, Any]:
    """The members of `Facts` that INFO, HELLO and CONFIG GET give; each may be empty."""
    valkey = "valkey_version" in info or "valkey" in (info.get("server_name"), hello.get("server"))
    shown = info.get("valkey_version") or info.get("redis_version") or hello.get("version") or ""
    version = re.match(r"\d+(\.\d+)*", shown)
    aof = {"yes": True, "1": True, "no": False, "0": False}
    return {
        "kind": None if version is None else "valkey" if valkey else "redis",
        "version": () if version is None else tuple(int(part) for part in version[0].split(".")),
        "cluster": info.get("cluster_enabled") == "1" or hello.get("mode") == "cluster",
        "replica": info.get("role", hello.get("role")) in ("slave", "replica"),
        "policy": config.get("maxmemory-policy") or info.get("maxmemory_policy"),
        "aof": aof.get(config.get("appendonly", info.get("aof_enabled", ""))),
        "fsync": config.get("appendfsync"),
        "used_memory": _number(info.get("used_memory")),
        "max_memory": _number(config.get("maxmemory", info.get("maxmemory"))),
        "aof_write_ok": info.get("aof_last_write_status", "ok") == "ok",
        "aof_rewrite_ok": info.get("aof_last_bgrewrite_status", "ok") == "ok",
    }


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _pairs(reply: Any) -> dict[str, str]:
    """A map of RESP3, or the flat list that it is in RESP2."""
    items = reply.items() if isinstance(reply, dict) else zip((reply or [])[::2], (reply or [])[1::2], strict=False)
    return {_text(name): _text(value) for name, value in items}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# -- what the data say of themselves: the key `about` ----------------------------------------------------------------------


async def read_about(store: Store, *, timeout: float) -> About | None:
    """What the data say of themselves; None when they say nothing. Raises as `read_facts` does."""
    held = _pairs(await store.connection.command("HGETALL", f"{store.prefix}about", timeout=timeout))
    return About(held.get("format", ""), held.get("id", ""), held.get("version", "")) if held else None


async def write_about(store: Store, now: int, format: int, *, timeout: float) -> About | None:
    """Have the data say what they are, unless they do; what they say then. `now`: ms of the server's clock; `format`: see `store.formats`.

    None when the server has no room for it. Raises as `read_facts` does.
    """
    fresh: dict[str, str | int] = {"format": format, "id": secrets.token_hex(8), "born": now, "version": VERSION}
    key = f"{store.prefix}about"
    try:
        # Each is written by whoever comes first. One that dies in between leaves the rest to the next.
        await asyncio.gather(*(store.connection.command("HSETNX", key, name, value, timeout=timeout) for name, value in fresh.items()))
    except StorageFull:
        return None
    about = await read_about(store, timeout=timeout)
    if about is not None and known(about.format) and int(about.format) != store.format:
        store.connection.use_format(int(about.format))
    return about
