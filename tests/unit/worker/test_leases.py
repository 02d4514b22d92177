"""What heartbeats and commands of the store do to the runs that are here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.worker.played import PlayedClaims, PlayedSink, Recorder, started, tables_of, waiting

from longrun.errors import StoreUnavailable
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Claims
from longrun.store.follow import Follower, Listener
from longrun.worker.leases import Leases
from longrun.worker.run import Run
from longrun.worker.tables import Tables


def leases(tables: Tables, *answers: Any) -> tuple[Leases, PlayedClaims, Recorder]:
    claims, effects = PlayedClaims(*answers), Recorder()
    return Leases(tables, cast(Claims, claims), 10.0, effects.stop, effects.spawn, effects.wake), claims, effects


async def test_the_answer_to_a_heartbeat_stops_what_is_lost_or_canceled() -> None:
    tables = tables_of(concurrency=4)
    kept, lost, canceled, settled = started(tables, "job_1", "job_2", "job_3", "job_4")
    settled.settle()
    it, claims, effects = leases(tables, [1, 0, 2, 0])
    await it.beat()
    assert claims.calls == [("heartbeat", [(run.id, "1/n") for run in (kept, lost, canceled, settled)])]
    assert effects.named("stop") == [[lost, "lost"], [canceled, "canceled"]]


async def test_a_wake_that_was_published_and_lost_is_found_by_the_next_heartbeat() -> None:
    tables = tables_of(concurrency=2)
    runs = started(tables, "job_1", "job_2")
    it, _, effects = leases(tables, [1, 3])
    await it.beat()
    assert effects.calls == [("wake", runs[1])]


async def test_orders_come_as_they_are_published_and_those_for_others_are_passed_over() -> None:
    tables = tables_of(concurrency=2)
    one, two = started(tables, "job_1", "job_2")
    it, _, effects = leases(tables)
    listener = Listener()
    for message in (b"step job_1", b"step job_9", b"cancel job_2", b"something job_1"):
        listener.put(message)

    @asynccontextmanager
    async def listen(channel: str) -> AsyncIterator[Listener]:
        assert channel == "ctl:w"
        yield listener

    listening = asyncio.ensure_future(it.listen_for_ever(cast(Follower, SimpleNamespace(listen=listen)), "ctl:w"))
    while listener.messages:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    listening.cancel()
    assert effects.calls == [("wake", one), ("stop", two, "canceled")]


def claimed(job_id: str, fence: str) -> Run:
    return Run(Claim(job_id, fence, b"{}", Policy(), "", 0, 0, 0), "default.echo", PlayedSink())  # type: ignore[arg-type]


def test_a_claim_of_a_job_that_runs_here_says_that_the_earlier_run_has_lost_it() -> None:
    """Also when both have one number, which a store gives again that has lost its last second."""
    tables = tables_of()
    it, _, effects = leases(tables)
    first, other = claimed("job_1", "1/a-1"), claimed("job_2", "1/a-1")
    assert it.hold(first) and it.hold(other)
    assert not it.hold(claimed("job_1", "1/a-1")), "its ticket came twice"
    assert (tables.runs, effects.calls) == ({"job_1": first, "job_2": other}, [])
    again = claimed("job_1", "1/a-2")
    assert it.hold(again)
    assert effects.named("stop") == [[first, "lost"]]
    assert tables.runs == {"job_1": again, "job_2": other}
    tables.remove(first)
    assert tables.runs["job_1"] is again


async def test_the_answer_to_a_heartbeat_is_not_for_a_run_that_was_claimed_after_it() -> None:
    tables = tables_of()
    it, claims, effects = leases(tables)
    assert it.hold(claimed("job_1", "1/a-1"))

    async def heartbeat(held: Any, timeout: float) -> list[int]:
        assert held == [("job_1", "1/a-1")]
        assert it.hold(claimed("job_1", "1/a-2"))
        effects.calls.clear()
        return [0]

    cast(Any, claims).heartbeat = heartbeat
    await it.beat()
    assert effects.calls == []


async def test_more_claims_than_one_script_takes_are_renewed_in_pieces() -> None:
    tables = tables_of()
    waiting(tables, *[f"job_{n}" for n in range(250)])
    it, claims, _ = leases(tables, [1] * 100, [1] * 100, [1] * 50)
    await it.beat()
    assert [len(call[1]) for call in claims.calls] == [100, 100, 50]


async def test_a_store_that_does_not_answer_stops_nothing() -> None:
    tables = tables_of()
    started(tables, "job_1")
    it, _, effects = leases(tables, StoreUnavailable("gone"))
    await it.beat()
    assert effects.calls == []


async def test_a_cancel_that_comes_before_the_answer_to_the_claim_is_not_lost() -> None:
    tables = tables_of()
    it, _, effects = leases(tables)
    it.cancel("job_1")
    looking = asyncio.ensure_future(effects.work.pop())
    await asyncio.sleep(0.1)
    assert effects.calls == []
    (run,) = waiting(tables, "job_1")
    await asyncio.wait_for(looking, 20)
    assert effects.named("stop") == [[run, "canceled"]]


@pytest.mark.parametrize("here", [True, False])
async def test_a_cancel_stops_what_is_here_and_forgets_what_never_comes(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longrun.worker.leases._LOOK", 0.0)
    tables = tables_of()
    runs = started(tables, "job_1") if here else []
    it, _, effects = leases(tables)
    it.cancel("job_1")
    await effects.settled()
    assert effects.named("stop") == [[run, "canceled"] for run in runs]
