"""Two workers of one name are two; and a name belongs to one live worker at a time."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.integration.store.test_scripts import submit

from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store


def entry(name: str, host: str = "here") -> bytes:
    return orjson.dumps({"name": name, "host": host})


async def announced(store: Store) -> list[dict[str, str]]:
    workers, *_ = await store.records.overview()
    return [orjson.loads(worker) for worker in workers]


async def test_a_report_of_a_death_takes_no_job_of_another_worker_of_the_same_name(store: Store) -> None:
    dead, alive = await submit(store), await submit(store)
    for job_id, worker in ((dead, "a1"), (alive, "b2")):
        assert await store.claims.claim(job_id, worker, worker, "cpu", name="longrun-7@host")
    assert await store.upkeep.report_lost("a1") == {dead: "queued"}
    assert await store.upkeep.report_lost("a1") == {}  # late, or sent twice
    assert await store.upkeep.report_lost("longrun-7@host") == {}
    assert await store.claims.heartbeat([(alive, "1/b2")], 1) == [1]
    assert [each.worker for each in await store.records.attempts(alive, "t")] == ["longrun-7@host"]
    (attempt,) = await store.records.attempts(dead, "t")
    assert attempt.error and attempt.error["detail"] == "The worker that ran the job was lost: longrun-7@host."


async def test_a_cancel_reaches_the_worker_that_runs_the_job_and_no_namesake(store: Store) -> None:
    job_id = await submit(store)
    assert await store.claims.claim(job_id, "n", "a1", "cpu", name="gpu@host")
    async with store.follower.listen(store.worker_channel("a1")) as ours, store.follower.listen(store.worker_channel("b2")) as theirs:
        await store.records.cancel(job_id, "t")
        assert await ours.wait(5) == [f"cancel {job_id}".encode()]
        assert await theirs.wait(0.1) == []


async def test_a_name_that_a_live_worker_has_is_refused_and_nothing_is_changed(store: Store) -> None:
    assert await store.claims.announce("a1", entry("gpu", "one"), name="gpu") is None
    assert await store.claims.announce("b2", entry("gpu", "two"), name="gpu") == entry("gpu", "one")
    assert await announced(store) == [{"name": "gpu", "host": "one"}]
    assert await store.claims.announce("a1", entry("gpu", "still"), name="gpu") is None


async def test_a_worker_that_has_only_its_name_yet_is_not_listed_and_known_to_those_who_wait(store: Store) -> None:
    assert await store.claims.announce("a1", entry("gpu", "one"), name="gpu", listed=False) is None
    assert await announced(store) == []
    assert await store.claims.announce("b2", entry("gpu", "two"), name="gpu", listed=False) == entry("gpu", "one")
    await store.upkeep.report_lost("a1")
    assert await store.claims.announce("b2", entry("gpu", "two"), name="gpu", listed=False) is None


async def test_of_many_that_start_at_once_with_one_name_exactly_one_gets_it(settings: Settings) -> None:
    stores = [Store(settings.redis_url, settings, ticket_template()) for _ in range(8)]
    answers = await asyncio.gather(*[store.claims.announce(f"w{n}", entry("gpu"), name="gpu") for n, store in enumerate(stores)])
    assert [answer is None for answer in answers].count(True) == 1
    await asyncio.gather(*[store.close() for store in stores])


@pytest.mark.parametrize("end", ["leave", "report"])
async def test_a_name_is_free_at_once_when_its_worker_has_stopped_or_is_reported_dead(store: Store, end: str) -> None:
    await store.claims.announce("a1", entry("gpu"), name="gpu")
    await (store.claims.leave("a1") if end == "leave" else store.upkeep.report_lost("a1"))
    assert await announced(store) == []
    assert await store.claims.announce("b2", entry("gpu"), name="gpu") is None


@pytest.mark.parametrize("lease", [1])
async def test_a_worker_whose_name_was_taken_over_cannot_get_it_back_or_end_the_other(store: Store) -> None:
    await store.claims.announce("a1", entry("gpu", "one"), name="gpu")
    await asyncio.sleep(1.1)
    # The entry of the first has not run out. It goes all the same: two of one name would be two rows with one label.
    assert await store.claims.announce("b2", entry("gpu", "two"), name="gpu") is None
    assert await announced(store) == [{"name": "gpu", "host": "two"}]
    assert await store.claims.announce("a1", entry("gpu", "one"), name="gpu") == entry("gpu", "two")
    await store.claims.leave("a1")
    await store.upkeep.report_lost("a1")
    assert await announced(store) == [{"name": "gpu", "host": "two"}]
    assert await store.claims.announce("c3", entry("gpu"), name="gpu") == entry("gpu", "two")


@pytest.mark.parametrize("lease", [1])
async def test_a_worker_that_was_away_for_a_lease_goes_on_when_nobody_took_its_name(store: Store) -> None:
    await store.claims.announce("a1", entry("gpu", "one"), name="gpu")
    await asyncio.sleep(1.1)
    assert await store.claims.announce("a1", entry("gpu", "again"), name="gpu") is None
    assert await announced(store) == [{"name": "gpu", "host": "again"}]
