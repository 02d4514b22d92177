"""Every check of the store, from facts alone: what is refused, what is warned of, and the line that mends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longrun.embedded import Disk
from longrun.service.machine_checks import Machine, Served, examine_app, examine_machine
from longrun.service.store_checks import Finding, examine, examine_work
from longrun.settings import Settings
from longrun.store.formats import FORMAT, OLDEST
from longrun.store.records import LaneDepth
from longrun.store.server_facts import About, Facts, clock_facts, server_facts
from longrun.version import VERSION

GOOD = Facts(
    kind="valkey",
    version=(9, 1, 2),
    policy="noeviction",
    aof=True,
    fsync="everysec",
    used_memory=1 << 20,
    max_memory=0,
    round_trip=0.0002,
    now=1,
    inside=True,
    about=About(str(FORMAT), "abc", VERSION),
)
ROOMY = Disk("/data", free=100 << 30, data=1 << 30)
MB, GB = 1 << 20, 1 << 30


def found(name: str, facts: Facts, *, disk: Disk | None = None, **settings: Any) -> Finding:
    (one,) = [each for each in examine(facts, disk, Settings(**settings)) if each.name == name]
    return one


def worker(**members: Any) -> dict[str, Any]:
    return {"name": "w1", "version": VERSION, "format": FORMAT, "lease": 10.0, "heartbeat": 3.0, "models": {}} | members


def test_a_good_store_passes_every_check_and_needs_no_mending() -> None:
    findings = examine(replace(GOOD, workers=[worker()]), ROOMY, Settings())

    assert [each for each in findings if each.severity != "ok" or each.mend] == []
    assert len({each.name for each in findings}) == len(findings) == 15


@pytest.mark.parametrize(
    ("bad", "name", "told", "mend"),
    [
        ({"policy": "allkeys-lru"}, "maxmemory-policy", "allkeys-lru", "`redis-cli CONFIG SET maxmemory-policy noeviction`"),
        ({"policy": "volatile-ttl"}, "maxmemory-policy", "volatile-ttl", "`maxmemory-policy noeviction` in redis.conf"),
        ({"aof": False}, "appendonly", "off", "`redis-cli CONFIG SET appendonly yes`, and `appendonly yes` in redis.conf"),
        ({"kind": "redis", "version": (6, 0, 16)}, "server-version", "redis 6.0.16", "install Valkey"),
        ({"kind": "redis", "version": (5,)}, "server-version", "redis 5", "install Valkey"),
        ({"cluster": True}, "cluster", "Redis Cluster", "cluster-enabled no"),
        ({"replica": True}, "role", "replica", "LONGRUN_REDIS_URL"),
        ({"aof_write_ok": False}, "aof-write", "refuses all writes", "room on its disk"),
        ({"about": About(str(FORMAT + 1), "x", "9.9")}, "format", f"format {FORMAT + 1} (Longrun 9.9)", "LONGRUN_PREFIX"),
        ({"about": About("0", "x", "0.0")}, "format", "format 0 (Longrun 0.0)", "LONGRUN_PREFIX"),
        ({"about": About("", "x", "")}, "format", "format", "LONGRUN_PREFIX"),
        ({"workers": [worker(), worker(name="w2", format=FORMAT + 1)]}, "worker-format", "w2", "stop them"),
        ({"workers": [worker(heartbeat=6.0, lease=20.0)]}, "worker-lease", "heartbeat 6 s", "LONGRUN_HEARTBEAT"),
    ],
)
def test_what_would_lose_jobs_is_refused_with_the_line_that_mends_it(bad: dict[str, Any], name: str, told: str, mend: str) -> None:
    finding = found(name, replace(GOOD, **bad))

    assert finding.severity == "refuse"
    assert told in finding.found and mend in finding.mend


@pytest.mark.parametrize(
    ("bad", "name", "told"),
    [
        ({"fsync": "no"}, "appendfsync", "half minute"),
        ({"fsync": None}, "appendfsync", "not known"),
        ({"aof": None}, "appendonly", "not known"),
        ({"policy": None}, "maxmemory-policy", "not known"),
        ({"kind": None, "version": ()}, "server-version", "does not say"),
        ({"clock_ahead": 6.0}, "clock", "6 s ahead"),
        ({"clock_ahead": -3600.0}, "clock", "3600 s behind"),
        ({"used_memory": 81 * MB, "max_memory": 100 * MB}, "memory", "81 MB of 100 MB"),
        ({"aof_rewrite_ok": False}, "aof-write", "only grows"),
        ({"round_trip": 0.31}, "round-trip", "310.0 ms"),
        ({"workers": [worker(name="old", version="0.0.1")]}, "worker-version", "old (Longrun 0.0.1"),
        ({"workers": [worker(lease=20.0)]}, "worker-lease", "w1 (lease 20 s, heartbeat 3 s)"),
        ({"workers": [worker(heartbeat=2.0)]}, "worker-lease", "heartbeat 2 s"),
    ],
)
def test_what_an_operator_should_know_is_warned_of(bad: dict[str, Any], name: str, told: str) -> None:
    finding = found(name, replace(GOOD, **bad))

    assert finding.severity == "warn"
    assert told in finding.found and finding.mend


@pytest.mark.parametrize(
    ("good", "name"),
    [
        ({"kind": "valkey", "version": (1, 0)}, "server-version"),
        ({"kind": "redis", "version": (6, 2)}, "server-version"),
        ({"clock_ahead": 4.9}, "clock"),
        ({"used_memory": 80 * MB, "max_memory": 100 * MB}, "memory"),
        ({"round_trip": 0.3}, "round-trip"),
        ({"about": None}, "format"),
        ({"about": About(str(OLDEST), "x", "0.1.0")}, "format"),
        ({"workers": [{"name": "of 0.1.0", "version": "0.1.0", "format": 1}]}, "worker-format"),
        ({"workers": [{"name": "one that says less"}]}, "worker-format"),
        ({"workers": [{"name": "one that says less"}]}, "worker-version"),
        ({"workers": [{"name": "one that says less"}]}, "worker-lease"),
    ],
)
def test_what_is_still_well_is_not_complained_of(good: dict[str, Any], name: str) -> None:
    assert found(name, replace(GOOD, **good)).severity == "ok"


@pytest.mark.parametrize(("fsync", "severity"), [("always", "ok"), ("everysec", "refuse"), ("no", "refuse"), (None, "refuse")])
def test_strict_durability_takes_nothing_but_always(fsync: str | None, severity: str) -> None:
    finding = found("appendfsync", replace(GOOD, fsync=fsync), durability="strict")

    assert finding.severity == severity
    assert severity == "ok" or "`redis-cli CONFIG SET appendfsync always`" in finding.mend


@pytest.mark.parametrize(
    ("free", "data", "severity"),
    [(100 * GB, GB, "ok"), (GB, 0, "ok"), (GB - 1, 0, "warn"), (20 * GB - 1, 10 * GB, "warn"), (64 * MB - 1, 0, "refuse")],
)
def test_a_disk_needs_room_for_a_rewrite(free: int, data: int, severity: str) -> None:
    assert found("disk", GOOD, disk=Disk("/data", free, data)).severity == severity


def test_mixed_versions_side_by_side_are_a_warning_and_mixed_formats_a_refusal() -> None:
    mixed = replace(GOOD, workers=[worker(name="a"), worker(name="b", version="0.9"), worker(name="c", version="2.0", format=FORMAT + 1)])

    assert {each.name: each.severity for each in examine(mixed, None, Settings()) if each.severity != "ok"} == {
        "worker-format": "refuse",
        "worker-version": "warn",
    }


def test_of_data_that_an_older_process_holds_back_the_check_names_it() -> None:
    process = {"role": "api", "pid": 7, "host": "h", "version": "0.1.9", "formats": [1, FORMAT - 1]}
    mixed = replace(GOOD, about=About(str(OLDEST), "x", "0.1.0"), workers=[worker(formats=[1, FORMAT]), worker(name="old", format=1)])

    assert found("format", mixed).found.startswith(f"{OLDEST}; {FORMAT} soon after these are gone: old (Longrun")
    assert "api 7@h (Longrun 0.1.9" in found("format", replace(mixed, processes=[process])).found
    assert "2 API processes that announce nothing" in found("format", replace(mixed, silent_apis=2)).found
    assert found("format", replace(mixed, workers=[])).found == f"{OLDEST}; {FORMAT} soon"


def test_data_that_were_not_looked_at_are_not_judged() -> None:
    names = {each.name for each in examine(replace(GOOD, inside=False, about=About("9", "", "")), None, Settings())}
    assert not names & {"format", "worker-format", "worker-version", "worker-lease"}


# -- reading -----------------------------------------------------------------------------------------------------------


def test_what_config_says_wins_and_info_fills_the_gaps() -> None:
    info = {"redis_version": "7.0.15", "maxmemory_policy": "allkeys-lru", "aof_enabled": "1", "maxmemory": "5", "role": "master"}

    alone = server_facts(info, {}, {})
    both = server_facts(info, {}, {"maxmemory-policy": "noeviction", "appendonly": "no", "appendfsync": "always", "maxmemory": "7"})

    assert (alone["policy"], alone["aof"], alone["fsync"], alone["max_memory"]) == ("allkeys-lru", True, None, 5)
    assert (both["policy"], both["aof"], both["fsync"], both["max_memory"]) == ("noeviction", False, "always", 7)
    assert (alone["kind"], alone["version"], alone["replica"]) == ("redis", (7, 0, 15), False)


@pytest.mark.parametrize(
    ("info", "hello", "kind", "version"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, {}, "valkey", (9, 1, 2)),
        ({"redis_version": "7.2.4", "server_name": "valkey"}, {}, "valkey", (7, 2, 4)),
        ({"redis_version": "6.0.16"}, {}, "redis", (6, 0, 16)),
        ({"redis_version": "8.0-rc1"}, {}, "redis", (8, 0)),
        ({}, {"server": "redis", "version": "7.4.1"}, "redis", (7, 4, 1)),
        ({}, {}, None, ()),
    ],
)
def test_the_server_is_known_by_what_it_says(
    info: dict[str, str], hello: dict[str, str], kind: str | None, version: tuple[int, ...]
) -> None:
    told = server_facts(info, hello, {})
    assert (told["kind"], told["version"]) == (kind, version)


@pytest.mark.parametrize("hello", [{"role": "replica"}, {"role": "slave"}])
def test_a_replica_is_known_without_info(hello: dict[str, str]) -> None:
    assert server_facts({}, hello, {})["replica"] and not server_facts({}, {"role": "master", "mode": "standalone"}, {})["replica"]
    assert server_facts({}, {"mode": "cluster"}, {})["cluster"]


def test_a_long_round_trip_is_not_taken_for_a_clock_that_is_off() -> None:
    assert clock_facts([(100.0, 120.0, 119.0)])["clock_ahead"] == 0
    assert clock_facts([(100.0, 102.0, 131.0)])["clock_ahead"] == pytest.approx(29)
    assert clock_facts([(100.0, 102.0, 71.0)])["clock_ahead"] == pytest.approx(-29)


def test_the_shortest_look_tells_the_clock_and_the_median_the_distance() -> None:
    told = clock_facts([(0.0, 20.0, 40.0), (50.0, 50.1, 60.0), (70.0, 71.0, 99.0)])
    assert told["clock_ahead"] == pytest.approx(9.9)
    assert (told["round_trip"], told["now"]) == (pytest.approx(1.0), 60_000)


# -- what only the command says ----------------------------------------------------------------------------------------


def lane(model: str, waiting: int, queue: str = "default") -> LaneDepth:
    return LaneDepth(queue, model, {5: waiting, 9: 0}, 1.0)


def severities(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.severity for each in findings}


def test_jobs_that_nobody_serves_are_told() -> None:
    serving = worker(models={"shout": {"queue": "default", "state": "ready"}})

    assert severities(examine_work([serving], [lane("shout", 3), lane("gone", 0)], "")) == dict.fromkeys(
        ("workers", "models", "lanes"), "ok"
    )
    assert severities(examine_work([], [], "")) == {"workers": "warn", "models": "ok", "lanes": "ok"}
    idle = examine_work([serving], [lane("draw", 2, "gpu"), lane("shout", 1, "slow")], "app.py")[-1]
    assert idle.severity == "warn" and "2 of draw in queue gpu, 1 of shout in queue slow" in idle.found
    assert "`longrun worker app.py`" in idle.mend


def test_a_model_that_does_not_load_is_told_with_its_reason() -> None:
    bad = worker(models={"draw": {"queue": "gpu", "state": "unhealthy", "last_failure": "no such file"}})
    finding = examine_work([bad], [], "")[1]
    assert finding.severity == "warn" and "draw on w1 (no such file)" in finding.found


MACHINE = Machine((3, 11, 4), "valkey 9.1.2 (/bin/v)", "", ["0"], 65536)


def test_a_good_machine_passes() -> None:
    assert set(severities(examine_machine(MACHINE, Settings())).values()) == {"ok"}


@pytest.mark.parametrize(
    ("bad", "settings", "name", "severity"),
    [
        ({"server": None, "no_server": "none"}, {}, "valkey", "refuse"),
        ({"server": None, "no_server": "none"}, {"redis_url": "redis://h"}, "valkey", "ok"),
        ({"gpus": []}, {}, "gpu", "ok"),
        ({"open_files": 4095}, {}, "open-files", "warn"),
        ({"open_files": None}, {}, "open-files", "ok"),
        ({"stranger": "0.3.0"}, {}, "installation", "refuse"),
        ({"whole": False}, {}, "installation", "refuse"),
    ],
)
def test_what_the_machine_lacks_is_told(bad: dict[str, Any], settings: dict[str, Any], name: str, severity: str) -> None:
    assert severities(examine_machine(replace(MACHINE, **bad), Settings(**settings)))[name] == severity


def test_an_application_that_cannot_be_imported_is_refused() -> None:
    (finding,) = examine_app(Served("app.py", error="cannot be imported: SyntaxError"), MACHINE, Settings())
    assert finding.severity == "refuse" and "SyntaxError" in finding.found


def test_models_that_want_gpus_where_there_are_none_are_told() -> None:
    from longrun import Model
    from longrun.models import isolated_registry

    with isolated_registry() as models:

        class Draw(Model, queue="gpu", gpus=2):
            def predict(self, text: str) -> str:
                return text

    served = Served("app.py", list(models))
    bare = replace(MACHINE, gpus=[])
    assert severities(examine_app(served, bare, Settings())) == {"app": "ok", "app-gpus": "warn"}
    assert severities(examine_app(served, bare, Settings(device="cpu"))) == {"app": "ok"}
    assert severities(examine_app(served, bare, Settings(device="cpu", queues=("llm",)))) == {"app": "refuse"}
