"""A store that has lost its last second gives the number of a claim a second time. What the first claim's run still sends is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import orjson
import pytest
from tests.integration.store.test_files import made_by, state, told
from tests.integration.store.test_scripts import FAILURE, claimed, status, submit

from longrun.jobs.policy import Policy
from longrun.store.claims import Claim
from longrun.store.steps import Child, Terms
from longrun.store.store import Store
from longrun.store.webhooks import Due

HOOK = {"url": "https://example.com/a", "description": "", "secret": "whsec_1", "events": ["job.started", "job.retrying", "job.succeeded"]}
USAGE = b'{"run_s":0.5}'
CHILD = Child("n:a", "mark", "m", "gpu", b"1", Policy().to_json())


async def let_go(store: Store, claim: Claim) -> str | None:
    (status,) = await store.steps.let_go([(claim.id, claim.fence, 5, USAGE)])
    return status


#: Each write of a claim, by its script; what it answers when it is refused.
WRITES: dict[str, tuple[Callable[[Store, Claim], Awaitable[Any]], Any]] = {
    "heartbeat": (lambda store, claim: store.claims.heartbeat([(claim.id, claim.fence)], 1), [0]),
    "append": (lambda store, claim: store.claims.append(claim.id, claim.fence, 0, b"{}", [("log", b"{}"), *made(claim)]), False),
    "finish": (lambda store, claim: store.claims.finish(claim.id, claim.fence, "succeeded", b'"x"', USAGE), None),
    "retry_later": (lambda store, claim: store.claims.retry_later(claim.id, claim.fence, 60, FAILURE, USAGE), None),
    "hand_back": (lambda store, claim: store.claims.hand_back(claim.id, claim.fence, "crash", FAILURE, usage=USAGE), None),
    "ask": (lambda store, claim: store.steps.ask(claim.id, claim.fence, [CHILD], seen=-1, need=1, terms=Terms()), None),
    "resume": (lambda store, claim: store.steps.resume(claim.id, claim.fence, 0, go=True), None),
    "let_go": (let_go, None),
    "journal": (lambda store, claim: store.steps.journal(claim.id, claim.fence, [("l:a", b"d m 1")]), None),
    "drop": (lambda store, claim: store.steps.drop(claim.id, claim.fence, ["n:a"]), False),
    "forget_signal": (lambda store, claim: store.steps.forget_signal(claim.id, claim.fence, "ok"), False),
    "history": (lambda store, claim: store.steps.history(claim.id, claim.fence), None),
    "step_files": (lambda store, claim: store.steps.files(claim.id, claim.fence, ["file_1"]), None),
}
#: Those that end the attempt, and so must be answered alike when they are sent twice.
ENDS = ["finish", "retry_later", "hand_back", "let_go"]


def made(claim: Claim) -> list[tuple[str, bytes]]:
    return told(made_by(claim.id, claim.fence))


async def keys(store: Store) -> list[bytes]:
    return list(await store.connection.command("KEYS", f"{store.prefix}*"))


async def contents(store: Store) -> dict[bytes, Any]:
    """All that the store holds."""
    read = {b"list": ("LRANGE", 0, -1), b"zset": ("ZRANGE", 0, -1, "WITHSCORES"), b"set": ("SMEMBERS",), b"string": ("GET",)}
    held: dict[bytes, Any] = {}
    for key in await keys(store):
        kind = await store.connection.command("TYPE", key)
        if kind == b"hash":
            flat = await store.connection.command("HGETALL", key)
            held[key] = dict(zip(flat[::2], flat[1::2], strict=True))
        else:
            verb, *rest = read[kind]
            held[key] = await store.connection.command(verb, key, *rest)
    return held


@asynccontextmanager
async def forgotten(store: Store) -> AsyncIterator[None]:
    """The store forgets what happens in here."""
    before = {key: await store.connection.command("DUMP", key) for key in await keys(store)}
    yield
    for key in await keys(store):
        await store.connection.command("DEL", key)
    for key, value in before.items():
        await store.connection.command("RESTORE", key, 0, value)


async def two_claims(store: Store, **policy: Any) -> tuple[Claim, Claim]:
    """Two claims of one job with one number; the store knows nothing of the first."""
    job_id = await submit(store, Policy(max_attempts=3, **policy))
    async with forgotten(store):
        loser = await store.claims.claim(job_id, "first-1", "first", "cpu")
    winner = await store.claims.claim(job_id, "second-1", "second", "cpu")
    assert loser is not None and winner is not None
    assert (loser.attempt, loser.fence) == (winner.attempt, "1/first-1") != (1, winner.fence)
    return loser, winner


@pytest.mark.parametrize("script", WRITES)
async def test_of_two_claims_with_one_number_the_forgotten_one_writes_nothing(store: Store, script: str) -> None:
    loser, winner = await two_claims(store)
    write, refused = WRITES[script]
    before = await contents(store)
    assert await write(store, loser) == refused
    assert await contents(store) == before
    assert await write(store, winner) != refused


@pytest.mark.parametrize("late", ENDS)
@pytest.mark.parametrize("end", ENDS)
async def test_an_end_that_comes_after_that_of_the_other_claim_is_stale_and_not_the_same_one_sent_twice(
    store: Store, end: str, late: str
) -> None:
    loser, winner = await two_claims(store)
    write, refused = WRITES[end]
    answer = await write(store, winner)
    assert answer != refused
    after = await contents(store)
    assert await WRITES[late][0](store, loser) is None
    assert await write(store, winner) == answer, "its own, sent twice"
    assert await contents(store) == after


async def test_a_claim_is_told_apart_also_when_the_job_has_been_claimed_again(store: Store) -> None:
    """The number of the forgotten claim is that of an attempt before the one that runs."""
    loser, winner = await two_claims(store)
    assert await store.claims.hand_back(winner.id, winner.fence, "release") == "queued"
    again = await store.claims.claim(winner.id, "second-2", "second", "cpu")
    assert again is not None and again.attempt == 2
    for write, refused in WRITES.values():
        assert await write(store, loser) == refused
    assert await store.claims.hand_back(winner.id, winner.fence, "release") == "running", "its own, sent twice"
    assert await store.claims.finish(again.id, again.fence, "succeeded", b"1") == "succeeded"


@pytest.mark.parametrize("script", WRITES)
async def test_a_claim_that_was_forgotten_owns_nothing_before_the_next_one_either(store: Store, script: str) -> None:
    job_id = await submit(store)
    async with forgotten(store):
        loser = await store.claims.claim(job_id, "first-1", "first", "cpu")
    assert loser is not None
    before = await contents(store)
    write, refused = WRITES[script]
    assert await write(store, loser) == refused
    assert await contents(store) == before
    assert await status(store, job_id) == "queued"


async def test_the_files_of_a_forgotten_claim_are_swept_while_the_other_one_runs(store: Store) -> None:
    loser, winner = await two_claims(store)
    lost, kept = made_by(loser.id, loser.fence), made_by(winner.id, winner.fence)
    old = made_by(winner.id, str(winner.attempt))
    assert await store.files.needed([lost.key, kept.key, old.key]) == {kept.key, old.key}, "0.1.0 wrote no nonce"
    assert await store.claims.append(winner.id, winner.fence, 0, b"", told(lost, kept))
    assert [await state(store, ref) for ref in (lost, kept)] == ["file-not-found", "there"]
    await store.claims.finish(winner.id, winner.fence, "succeeded", b"1")
    assert await store.files.needed([lost.key, kept.key, old.key]) == {kept.key}


async def test_a_claim_of_0_1_0_is_read_and_its_nonce_is_not_missed(store: Store) -> None:
    """It noted the nonce in the record and not in the attempt."""
    job_id = await claimed(store)
    key = f"{store.prefix}job:{job_id}"
    begun = orjson.loads(await store.connection.command("HGET", key, "a:1"))
    del begun["nonce"]
    await store.connection.command("HSET", key, "a:1", orjson.dumps(begun))
    assert await store.claims.heartbeat([(job_id, "1/n")], 1) == [1]
    (attempt,) = await store.records.attempts(job_id, "t")
    assert (attempt.attempt, attempt.worker, attempt.outcome) == (1, "w", None)
    assert await store.claims.finish(job_id, "1/n", "succeeded", b"1") == "succeeded"
    assert await store.claims.finish(job_id, "1/n", "succeeded", b"1") is None, "whose end it was is not known"


async def test_a_script_that_takes_a_claims_write_has_its_row_here() -> None:
    """Whoever writes a script about an attempt makes it ask for the fence, and tries it above with two claims."""
    asking = set()
    for file in (resources.files("longrun.store") / "scripts").iterdir():
        text = file.read_text("utf-8")
        if file.name.startswith("lib") or not file.name.endswith(".lua"):
            continue
        takes = text.partition("ARGV")[2].partition("Returns")[0]
        assert not re.search(r"\bid, (attempt|try)\b", takes), f"{file.name} takes a number without a nonce"
        if re.search(r"\b(owns|owned|own_end|has_claim)\(", text):
            asking.add(file.name.removesuffix(".lua"))
    assert asking == {*WRITES, "needed_files"}


# -- webhooks --------------------------------------------------------------------------------------------------------------


async def messages(store: Store, job_id: str) -> dict[str, set[str]]:
    found, _ = await store.webhooks.deliveries("t", cursor=None, look_at=100, filters={"job": job_id})
    ids: dict[str, set[str]] = {}
    for each in found:
        ids.setdefault(each.type, set()).add(each.id)
    return ids


@pytest.mark.parametrize("end", ["finish", "retry_later"])
async def test_what_two_claims_have_to_say_are_two_messages_and_what_one_says_again_is_one(store: Store, end: str) -> None:
    await store.webhooks.add_endpoint("t", "we_1", HOOK)
    job_id = await submit(store, Policy(max_attempts=3))
    said: list[dict[str, set[str]]] = []
    for nonce in ("first-1", "first-1", "second-1"):
        async with forgotten(store):
            claim = await store.claims.claim(job_id, nonce, nonce, "cpu")
            assert claim is not None and claim.attempt == 1
            assert await WRITES[end][0](store, claim)
            said.append(await messages(store, job_id))
    first, same, other = said
    assert first == same
    assert first.keys() == other.keys() and len(first) == 2
    assert all(first[kind].isdisjoint(other[kind]) for kind in first)


async def test_of_two_claims_of_a_delivery_with_one_number_the_forgotten_one_settles_nothing(store: Store) -> None:
    await store.webhooks.add_endpoint("t", "we_1", HOOK)
    await store.webhooks.test("t", "we_1", f"msg_{'0' * 32}")

    async def take(nonce: str) -> Due:
        (due,) = await store.webhooks.take(nonce, 10, "whsec_2")
        return due

    async with forgotten(store):
        loser = await take("first")
    winner = await take("second")
    assert loser.number == winner.number == 1
    before = await contents(store)
    for outcome in ("delivered", "failed", "retry", "release", "disabled"):
        assert not await store.webhooks.settle(loser, outcome)
    assert await contents(store) == before
    assert await store.webhooks.settle(winner, "delivered")
    assert await store.webhooks.settle(winner, "delivered"), "sent twice"
    assert not await store.webhooks.settle(loser, "delivered")
