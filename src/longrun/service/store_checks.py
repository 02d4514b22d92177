"""What is wrong with a store, and the line that mends it. Decisions alone: `store/server_facts.py` reads, `admission.py` and doctor act.

Three grades. `refuse`: accepted jobs would be lost, or run by processes that misread them; nothing starts on such a store. `warn`: it
works, and an operator should know. `ok`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longrun.embedded.folder import Disk
from longrun.settings import Settings
from longrun.store.formats import FORMAT, OLDEST, known
from longrun.store.records import LaneDepth
from longrun.store.server_facts import Facts
from longrun.version import VERSION

Severity = Literal["ok", "warn", "refuse"]

CLOCK_OFF = 5.0  # seconds
MEMORY_HIGH = 0.8  # of `maxmemory`
DISK_LOW = 1 << 30  # bytes; a rewrite of the append-only file needs its size again beside it, so twice that size is low too
DISK_OUT = 64 << 20  # bytes: what a busy second may write
_SHOWN = 5  # workers or lanes that a finding names


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Args:
        name: of the check; stable, for scripts.
        found: what was found, in one sentence.
        mend: the line that mends it; empty when `ok`.
    """

    severity: Severity
    name: str
    found: str
    mend: str = ""


def examine(facts: Facts, disk: Disk | None, settings: Settings) -> list[Finding]:
    """Every check that a process makes at its start and again and again."""
    findings = [check(facts, settings) for check in _SERVER]
    if disk is not None:
        findings.append(_disk(disk))
    return findings + ([check(facts, settings) for check in _DATA] if facts.inside else [])


def refusals(findings: Iterable[Finding]) -> list[Finding]:
    """Those that forbid to go on."""
    return [finding for finding in findings if finding.severity == "refuse"]


# -- the server --------------------------------------------------------------------------------------------------------


def _version(facts: Facts, settings: Settings) -> Finding:
    name = "server-version"
    if facts.kind is None:
        return Finding("warn", name, "the server does not say which version it is", "allow this user INFO: `ACL SETUSER <user> +info`")
    if facts.too_old:
        return Finding("refuse", name, f"{facts.server} is too old: the scripts need Redis 6.2", "install Valkey, or Redis 6.2 or newer")
    return Finding("ok", name, facts.server)


def _cluster(facts: Facts, settings: Settings) -> Finding:
    if facts.cluster:
        found = "the server is part of a Redis Cluster, which cannot run scripts over several keys"
        return Finding("refuse", "cluster", found, "use a single primary: `cluster-enabled no` in redis.conf")
    return Finding("ok", "cluster", "not a cluster")


def _role(facts: Facts, settings: Settings) -> Finding:
    if facts.replica:
        return Finding("refuse", "role", "the server is a replica and takes no writes", "set LONGRUN_REDIS_URL to the primary")
    return Finding("ok", "role", "primary")


def _policy(facts: Facts, settings: Settings) -> Finding:
    # Also without a memory limit: one may be set later.
    name, found = "maxmemory-policy", facts.policy
    if found is None:
        return _unknown(name, "noeviction")
    if found != "noeviction":
        return Finding("refuse", name, f"{found} deletes jobs when memory is short, and tells nobody", _set(name, "noeviction"))
    return Finding("ok", name, found)


def _aof(facts: Facts, settings: Settings) -> Finding:
    name = "appendonly"
    if facts.aof is None:
        return _unknown(name, "yes")
    if not facts.aof:
        return Finding("refuse", name, "it is off: a restart of the server loses accepted jobs", _set(name, "yes"))
    return Finding("ok", name, "yes")


def _fsync(facts: Facts, settings: Settings) -> Finding:
    name = "appendfsync"
    if settings.durability == "strict" and facts.fsync != "always":
        found = "is not known" if facts.fsync is None else f"is {facts.fsync}"
        also = "; or LONGRUN_DURABILITY=relaxed. For an embedded Valkey: LONGRUN_DURABILITY=strict for `longrun serve` too"
        found = f"durability is strict, and appendfsync {found}: a power cut would lose accepted jobs"
        return Finding("refuse", name, found, _set(name, "always") + also)
    if facts.fsync is None:
        return _unknown(name, "everysec")
    if facts.fsync == "no":
        return Finding("warn", name, "no: a power cut loses what was accepted in the last half minute", _set(name, "everysec"))
    return Finding("ok", name, facts.fsync)


def _aof_write(facts: Facts, settings: Settings) -> Finding:
    mend = "see the server's log, make room on its disk, mend what keeps it from writing there"
    if not facts.aof_write_ok:
        return Finding("refuse", "aof-write", "the server could not write its append-only file, and refuses all writes", mend)
    if not facts.aof_rewrite_ok:
        return Finding("warn", "aof-write", "the last rewrite of the append-only file failed: it only grows", mend)
    return Finding("ok", "aof-write", "the last write and the last rewrite went well")


def _memory(facts: Facts, settings: Settings) -> Finding:
    if facts.used_memory is None or facts.max_memory is None:
        return Finding("ok", "memory", "the server does not say how much it uses")
    used = _size(facts.used_memory)
    if not facts.max_memory:
        return Finding("ok", "memory", f"{used} used, no limit set")
    found = f"{used} of {_size(facts.max_memory)} used"
    if facts.used_memory > MEMORY_HIGH * facts.max_memory:
        mend = "raise it: `redis-cli CONFIG SET maxmemory <bytes>` and `maxmemory <bytes>` in redis.conf; or shorten LONGRUN_RETENTION"
        return Finding("warn", "memory", f"{found}: when it is full, submits are answered 507", mend)
    return Finding("ok", "memory", found)


def _clock(facts: Facts, settings: Settings) -> Finding:
    # Nothing is decided by our clock; times in answers and logs would not fit together.
    off = abs(facts.clock_ahead)
    if off > CLOCK_OFF:
        found = f"the server's clock is {off:.0f} s {'ahead of' if facts.clock_ahead > 0 else 'behind'} the clock here"
        return Finding("warn", "clock", found, "run NTP on both machines: `timedatectl set-ntp true`")
    return Finding("ok", "clock", "the server's and the one here agree")


def _round_trip(facts: Facts, settings: Settings) -> Finding:
    # Late heartbeats lose leases.
    found = f"{facts.round_trip * 1000:.1f} ms to the server and back"
    if facts.round_trip > settings.heartbeat / 10:
        mend = "run closer to the server, or raise LONGRUN_HEARTBEAT and LONGRUN_LEASE together, everywhere"
        return Finding("warn", "round-trip", f"{found}, over a tenth of the heartbeat of {settings.heartbeat:g} s", mend)
    return Finding("ok", "round-trip", found)


def _disk(disk: Disk) -> Finding:
    # The append-only file must have room to grow and to be rewritten.
    found = f"{_size(disk.free)} free in {disk.folder}, the append-only file has {_size(disk.data)}"
    mend = f"make room on the disk of {disk.folder}, or move the folder and name it with --data"
    if disk.free < DISK_OUT:
        return Finding("refuse", "disk", f"full: {found}", mend)
    if disk.free < max(DISK_LOW, 2 * disk.data):
        return Finding("warn", "disk", f"nearly full: {found}", mend)
    return Finding("ok", "disk", found)


# -- the data, and who else works on them --------------------------------------------------------------------------------


def check_format(facts: Facts, settings: Settings) -> Finding:
    """Whether the data were written by processes that agree with us on what keys and fields mean."""
    if facts.about is None or facts.about.format == str(FORMAT):
        return Finding("ok", "format", str(FORMAT))
    has, version = facts.about.format, facts.about.version
    if known(has):
        old = outdated(facts)
        return Finding("ok", "format", f"{has}; {FORMAT} soon" if not old else f"{has}; {FORMAT} soon after these are gone: {_some(old)}")
    found = f"the data have format {has} (Longrun {version}), and Longrun {VERSION} works on formats {OLDEST} to {FORMAT}"
    mend = f"run Longrun {version} here, or start afresh beside these data with another LONGRUN_PREFIX"
    return Finding("refuse", "format", found, mend)


def outdated(facts: Facts) -> list[str]:
    """Who cannot work on data of `FORMAT`. Workers of 0.1.0 announce no `formats`, its APIs nothing at all."""
    processes = [_process(each) for each in facts.processes if each["formats"][1] < FORMAT]
    workers = [_who(worker) for worker in facts.workers if "formats" not in worker]
    return processes + workers + _silent(facts)


def _worker_format(facts: Facts, settings: Settings) -> Finding:
    others = [_who(worker) for worker in facts.workers if not known(str(worker.get("format", FORMAT)))]
    if others:
        found = f"live workers write another format than {OLDEST} to {FORMAT}: {_some(others)}"
        return Finding("refuse", "worker-format", found, f"stop them, and start them again with Longrun {VERSION}")
    return Finding("ok", "worker-format", "every live worker writes a format that is known here")


def _worker_version(facts: Facts, settings: Settings) -> Finding:
    # Side by side for a while is what a rolling update is.
    others = [_who(worker) for worker in facts.workers if worker.get("version", VERSION) != VERSION]
    if others:
        found = f"live workers run another version than {VERSION}: {_some(others)}"
        return Finding("warn", "worker-version", found, f"update them to Longrun {VERSION}")
    return Finding("ok", "worker-version", f"{VERSION} everywhere")


def _worker_lease(facts: Facts, settings: Settings) -> Finding:
    # A heartbeat over half of our lease loses jobs that run well.
    mend = "set the same LONGRUN_LEASE and LONGRUN_HEARTBEAT in every process"
    late = [_rhythm(worker) for worker in facts.workers if worker.get("heartbeat", 0) * 2 > settings.lease]
    if late:
        return Finding("refuse", "worker-lease", f"heartbeats of over half of the lease of {settings.lease:g} s: {_some(late)}", mend)
    ours = (settings.lease, settings.heartbeat)
    others = [_rhythm(each) for each in facts.workers if (each.get("lease", ours[0]), each.get("heartbeat", ours[1])) != ours]
    found = f"lease {settings.lease:g} s, heartbeat {settings.heartbeat:g} s"
    if others:
        return Finding("warn", "worker-lease", f"{found} here, and elsewhere: {_some(others)}", mend)
    return Finding("ok", "worker-lease", found)


# -- what only `longrun doctor` says: nothing is wrong with the store, and still nothing moves ----------------------------


def show_processes(facts: Facts) -> Finding:
    """Which processes work on the data."""
    old = [_who(worker) for worker in facts.workers if "formats" not in worker]
    return Finding("ok", "processes", "; ".join([_process(each) for each in facts.processes] + old + _silent(facts)) or "none")


def examine_work(workers: Sequence[Mapping[str, Any]], lanes: Sequence[LaneDepth], app: str) -> list[Finding]:
    """Whether somebody does the work. `app`: what to serve, for the line that mends it."""
    start = f"`longrun worker {app or 'app.py'}`"
    if not workers:
        running = Finding("warn", "workers", "no worker runs: jobs wait", f"start one: {start}")
    else:
        running = Finding("ok", "workers", _some([_who(worker) for worker in workers]))
    return [running, _unhealthy(workers), _unserved(workers, lanes, start)]


def _unhealthy(workers: Sequence[Mapping[str, Any]]) -> Finding:
    bad = [
        f"{name} on {worker.get('name')} ({model.get('last_failure') or 'no reason known'})"
        for worker in workers
        for name, model in worker.get("models", {}).items()
        if model.get("state") == "unhealthy"
    ]
    if bad:
        return Finding("warn", "models", f"do not load: {_some(bad)}", "the worker's log has the exception, in lines `model did not load`")
    return Finding("ok", "models", "none fails to load")


def _unserved(workers: Sequence[Mapping[str, Any]], lanes: Sequence[LaneDepth], start: str) -> Finding:
    served = {(model.get("queue"), name) for worker in workers for name, model in worker.get("models", {}).items()}
    waiting = [(lane, sum(lane.by_priority.values())) for lane in lanes if (lane.queue, lane.model) not in served]
    idle = [f"{count} of {lane.model} in queue {lane.queue}" for lane, count in waiting if count]
    if idle:
        return Finding("warn", "lanes", f"jobs wait that no worker serves: {_some(idle)}", f"start a worker with these models: {start}")
    return Finding("ok", "lanes", "no job waits for a model that nobody serves")


# -- words -------------------------------------------------------------------------------------------------------------


def _set(name: str, value: str) -> str:
    return f"`redis-cli CONFIG SET {name} {value}`, and `{name} {value}` in redis.conf"


def _unknown(name: str, value: str) -> Finding:
    mend = f"make sure that it is `{name} {value}`; to have it checked, allow `ACL SETUSER <user> +info +config|get`"
    return Finding("warn", name, f"not known: the server does not say what {name} is", mend)


def _who(worker: Mapping[str, Any]) -> str:
    return f"{worker.get('name')} (Longrun {worker.get('version', 'of unknown version')}, format {worker.get('format', '?')})"


def _silent(facts: Facts) -> list[str]:
    return [f"{facts.silent_apis} API processes that announce nothing (Longrun 0.1.0)"] if facts.silent_apis else []


def _process(announced: Mapping[str, Any]) -> str:
    oldest, newest = announced["formats"]
    where = f"{announced['role']} {announced['pid']}@{announced['host']}"
    return f"{where} (Longrun {announced['version']}, formats {oldest} to {newest})"


def _rhythm(worker: Mapping[str, Any]) -> str:
    return f"{worker.get('name')} (lease {worker.get('lease', 0):g} s, heartbeat {worker.get('heartbeat', 0):g} s)"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _size(count: int) -> str:
    power = min((count.bit_length() - 1) // 10, 4) if count > 0 else 0
    size = count / 1024**power
    return f"{size:.0f} bytes" if not power else f"{size:.3g} {'_KMGT'[power]}B" if size < 1000 else f"{size:.0f} {'_KMGT'[power]}B"


_SERVER = (_version, _cluster, _role, _policy, _aof, _fsync, _aof_write, _memory, _clock, _round_trip)
_DATA = (check_format, _worker_format, _worker_version, _worker_lease)
