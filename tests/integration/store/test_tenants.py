"""Every script that is asked for something of a tenant's: what is another's, was never there or is over, has one answer everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import pytest
from tests.integration.store.test_batches import LINES, accepted
from tests.integration.store.test_files import new_ref
from tests.integration.store.test_scripts import FAILURE, claimed, new_job

from longrun.clock import new_batch_id, new_file_id, new_job_id
from longrun.queues.celery.tickets import ticket_template
from longrun.store.kinds import BATCH, DELIVERY, ENDPOINT, FILE, JOB, Kind
from longrun.store.scripts import load_scripts
from longrun.store.store import Store

NONE, GONE = [b"none"], [b"gone", b"t"]
Args = Sequence[Any]


async def job(store: Store) -> str:
    """One that has ended, so that everything can be asked of it."""
    job_id = await claimed(store)
    await store.claims.finish(job_id, "1/n", "failed", FAILURE)
    return job_id


async def batch(store: Store) -> str:
    batch_id = await accepted(store, total=2)
    await store.batches.feed(batch_id, 0, LINES)
    return batch_id


async def file(store: Store) -> str:
    return (await store.files.add("t", new_ref(), keep=100)).ref.id


async def endpoint(store: Store) -> str:
    await store.webhooks.add_endpoint("t", "we_1", {"url": "https://x", "events": ["job.failed"], "description": "", "secret": "s"})
    return "we_1"


async def delivery(store: Store) -> str:
    await endpoint(store)
    await job(store)
    (due,) = await store.webhooks.take("n", 1, "s")
    return due.id


Make = Callable[[Store], Awaitable[str]]
#: Script → what it is asked for, and its arguments for an id and a tenant.
SCRIPTS: dict[str, tuple[Make, Callable[[str, str], Args]]] = {
    "read": (job, lambda i, tenant: (i, tenant, "")),
    "attempts": (job, lambda i, tenant: (i, tenant)),
    "events": (job, lambda i, tenant: (i, tenant, 0, 10, 1000)),
    "cancel": (job, lambda i, tenant: (i, tenant)),
    "resubmit": (job, lambda i, tenant: (i, tenant, new_job_id())),
    "delete": (job, lambda i, tenant: (i, tenant, 1000)),
    "tree": (job, lambda i, tenant: (i, tenant, 0, 10)),
    "tree_nodes": (job, lambda i, tenant: (i, tenant, "l:a")),
    "signal": (job, lambda i, tenant: (i, tenant, "a", "1", 100, 1000)),
    "read_batch": (batch, lambda i, tenant: (i, tenant, "status")),
    "batch_items": (batch, lambda i, tenant: (i, tenant, 0, 10, 1000)),
    "cancel_batch": (batch, lambda i, tenant: (i, tenant, 1000)),
    "delete_file": (file, lambda i, tenant: (i, tenant, 1000, "nonce")),
    "endpoint": (endpoint, lambda i, tenant: (tenant, i, "change", "{}", 20)),
    "test_delivery": (endpoint, lambda i, tenant: ("msg_1", tenant, i)),
    "redeliver": (delivery, lambda i, tenant: (i, tenant)),
}
#: Those that answer for each of many.
LISTS: dict[str, tuple[Make, Callable[[str, str], Args]]] = {"read_files": (file, lambda i, tenant: (tenant, 1, i))}
#: Those that need files of the tenant's for something new.
TAKERS: dict[str, Callable[[str, str], Args]] = {
    "submit": lambda i, tenant: (new_job_id(), tenant, "m", "gpu", 5, "{}", new_job().policy, 0, 10, "", "", i),
    "accept_batch": lambda i, tenant: (new_batch_id(), tenant, "", "", i, 1, 1000, new_job().policy, "model", "m"),
    "bind_batch": lambda i, tenant: (new_batch_id(), tenant, 1000, i),
}
UNKNOWN = {job: "job_" + "0" * 32, batch: "batch_" + "0" * 32, file: "file_" + "0" * 32, endpoint: "we_0", delivery: "msg_0"}
RECORDS = {job: "job", batch: "batch", file: "file"}


async def ask(store: Store, script: str, wanted: str, tenant: str) -> Any:
    if script in LISTS:
        (answer,) = await store.connection.run(script, *LISTS[script][1](wanted, tenant))
        return answer
    return await store.connection.run(script, *SCRIPTS[script][1](wanted, tenant))


async def keys(store: Store) -> dict[bytes, Any]:
    """All that is stored, as DUMP says it."""
    names = await store.connection.command("KEYS", f"{store.prefix}*")
    return {name: await store.connection.command("DUMP", name) for name in names}


def test_every_script_with_the_guard_is_tried_here() -> None:
    guarded = {name for name, script in load_scripts("p:", ticket_template()).items() if b"local function theirs" in script.source}
    silent = {"discard_files", "list", "list_batches"}  # what is not there is left out
    silent |= {"ask", "step_files"}  # they have a claim, and are tried in test_steps.py
    silent |= {"expire", "bury"}  # chores, for no tenant
    assert guarded - silent == (SCRIPTS.keys() | LISTS.keys() | TAKERS.keys()) - {"endpoint", "test_delivery"}  # keys with a tenant


@pytest.mark.parametrize("script", [*SCRIPTS, *LISTS])
async def test_what_is_another_tenants_is_not_there(store: Store, script: str) -> None:
    wanted = await (SCRIPTS | LISTS)[script][0](store)
    before = await keys(store)
    assert await ask(store, script, wanted, "other") == NONE
    assert await keys(store) == before
    assert (await ask(store, script, wanted, "t"))[0] not in (b"none", b"gone")


@pytest.mark.parametrize("script", [*SCRIPTS, *LISTS])
async def test_what_was_never_there_has_the_same_answer(store: Store, script: str) -> None:
    make = (SCRIPTS | LISTS)[script][0]
    await make(store)
    assert await ask(store, script, UNKNOWN[make], "t") == NONE


@pytest.mark.parametrize("script", [name for name, (make, _) in (SCRIPTS | LISTS).items() if make in RECORDS])
async def test_what_has_expired_is_gone_before_a_chore_has_run(store: Store, script: str) -> None:
    make = (SCRIPTS | LISTS)[script][0]
    wanted = await make(store)
    await store.connection.command("HSET", f"{store.prefix}{RECORDS[make]}:{wanted}", "expires", 1)
    assert await ask(store, script, wanted, "t") == GONE
    assert await ask(store, script, wanted, "other") == NONE


@pytest.mark.parametrize("script", [name for name, (make, _) in SCRIPTS.items() if make is job])
async def test_of_a_deleted_job_is_said_that_it_is_gone_and_to_its_tenant_alone(store: Store, script: str) -> None:
    job_id = await job(store)
    await store.records.delete(job_id, "t")
    assert await ask(store, script, job_id, "t") == GONE
    assert await ask(store, script, job_id, "other") == NONE


@pytest.mark.parametrize("script", TAKERS)
async def test_nothing_new_needs_a_file_that_is_not_the_tenants(store: Store, script: str) -> None:
    mine, deleted, late = await file(store), await file(store), await file(store)
    await store.files.delete(deleted, "t")
    await store.connection.command("HSET", f"{store.prefix}file:{late}", "expires", 1)
    before = await keys(store)
    for tenant, wanted in (("other", mine), ("t", deleted), ("t", late), ("t", new_file_id())):
        assert await store.connection.run(script, *TAKERS[script](wanted, tenant)) == [b"nofile", wanted.encode()]
    assert await keys(store) == before
    assert (await store.connection.run(script, *TAKERS[script](mine, "t")))[0] in (b"new", b"bound")


async def test_another_tenants_files_are_not_discarded(store: Store) -> None:
    ref = new_ref()
    await store.files.add("t", ref, keep=None)
    await store.files.discard([ref.id, new_file_id()], "other")
    assert (await store.files.read(ref.id, "t")).ref == ref


@pytest.mark.parametrize("kind", [JOB, BATCH, FILE, ENDPOINT, DELIVERY])
def test_a_reply_becomes_the_error_of_its_kind_in_one_place(kind: Kind) -> None:
    with pytest.raises(kind.none):
        kind.found("x", NONE)
    with pytest.raises(kind.gone):
        kind.found("x", GONE)
    assert kind.found("x", [orjson.dumps("x")]) == [b'"x"']
