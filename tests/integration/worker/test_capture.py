"""What a model says reaches the caller of its job, in order, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

MODELS = Path(__file__).with_name("models_that_talk.py")


@pytest.fixture(scope="module")
def worker(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(module_settings, tmp_path_factory.mktemp("worker") / "worker.log", app=MODELS, LONGRUN_MAX_OUTPUT="100000")
    yield worker
    worker.stop()


@pytest.fixture
async def talk(worker: Worker, module_settings: Settings) -> AsyncIterator[Caller]:
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    yield Caller(store)
    await store.close()


async def events_of(caller: Caller, job_id: str) -> list[tuple[str, Any]]:
    """Kind and data of all events of a job."""
    events = (await caller.store.records.events(job_id, "t", 0, 10_000)).events
    return [(event.type, orjson.loads(event.data) if event.data else None) for event in events]


async def logged(caller: Caller, job_id: str) -> list[tuple[str, str]]:
    """Level and message of all lines of a job."""
    return [(data["level"], data["message"]) for kind, data in await events_of(caller, job_id) if kind == "log"]


async def messages(caller: Caller, job_id: str) -> list[str]:
    return [message for _, message in await logged(caller, job_id)]


@pytest.mark.parametrize(
    ("way", "seen"),
    [
        ("print", [("info", "print")]),
        ("stderr", [("info", "stderr")]),
        ("bytes", [("info", "bytes \ufffd")]),
        ("logging", [("info", "logging"), ("error", "it is critical")]),
        ("exception", [("error", "exception")]),
        ("warning", [("warning", "UserWarning: warning")]),
        ("descriptor", [("info", "descriptor"), ("info", "another")]),
        ("c", [("info", "c 7")]),
        ("program", [("info", "program"), ("info", "its stderr")]),
        ("bar", [("info", "100%|###")]),
        ("redirected", []),
        ("thread", [("info", "thread")]),
        ("fork", [("info", "fork")]),
        ("at last", [("info", "at last")]),
        ("partial", [("info", "partial")]),
    ],
)
async def test_each_way_to_say_something_is_heard_once(talk: Caller, worker: Worker, way: str, seen: list[tuple[str, str]]) -> None:
    job = await talk.run("talk", ways=[way])
    assert orjson.loads(job.output or b"null") == [False, 1, 2], job.error
    assert await logged(talk, job.id) == seen


async def test_the_operator_hears_everything_and_callers_nothing_of_the_loading(talk: Caller, worker: Worker) -> None:
    ways = ["print", "stderr", "logging", "exception", "warning", "descriptor", "c", "program", "thread"]
    job = await talk.run("talk", ways=ways)
    said = worker.log.read_text(errors="replace")
    for line in ["print\n", "stderr\n", "talk | logging\n", "UserWarning: warning\n", "descriptor\n", "c 7", "program\n", "thread\n"]:
        assert line in said
    assert "ValueError: secret" in said
    assert "heard in load\n" in said
    assert "heard at the descriptor in load\n" in said
    assert not [line for line in await messages(talk, job.id) if "load" in line or "secret" in line or "Traceback" in line]


async def test_lines_are_in_order_with_the_other_events(talk: Caller) -> None:
    for _ in range(5):
        job = await talk.run("ordered")
        events = [(kind, data) for kind, data in await events_of(talk, job.id) if kind in ("log", "output", "progress")]
        said = [data.get("message") or data.get("value") or kind for kind, data in events]
        assert said == ["a", "x", "b", "progress", "c", "d", "e", "y", "f"]


async def test_lines_of_one_job_never_reach_the_next(talk: Caller) -> None:
    ways = ["descriptor", "program", "partial", "at last"]
    ids = [await talk.submit("talk", ways=ways[n % 4 :]) for n in range(80)]
    seen = {"descriptor": ["descriptor", "another"], "program": ["program", "its stderr"], "partial": ["partial"], "at last": ["at last"]}
    for n, job_id in enumerate(ids):
        await talk.end(job_id)
        assert sorted(await messages(talk, job_id)) == sorted(line for way in ways[n % 4 :] for line in seen[way])


async def test_async_jobs_side_by_side_each_hear_themselves(talk: Caller) -> None:
    names = [f"name{n}" for n in range(20)]
    ids = [await talk.submit("aside", name=name) for name in names]
    for name, job_id in zip(names, ids, strict=True):
        await talk.end(job_id)
        lines = [line for line in await messages(talk, job_id) if not line.endswith("at the descriptor")]
        assert lines == [
            line for n in range(5) for line in (f"{name} {n}", f"{name} logs {n}", f"{name} to_thread {n}", f"{name} task {n}")
        ]
        # Several jobs share the descriptor, so that nobody knows whose words those are; a job that was alone for a while has its own.
        assert {line for line in await messages(talk, job_id) if line not in lines} <= {f"{name} at the descriptor"}


async def test_a_thread_that_jobs_share_speaks_for_none_of_them(talk: Caller) -> None:
    first = await talk.submit("pooled", name="first", seconds=1)
    await talk.until(first, "running")
    await asyncio.sleep(0.3)
    await talk.run("pooled", name="second", seconds=0)
    await talk.end(first)
    assert "second in the pool" not in await messages(talk, first)


async def test_a_batch_of_several_is_heard_by_the_operator_alone(talk: Caller, worker: Worker) -> None:
    await talk.run("batch", name="warm")
    ids = [await talk.submit("batch", name=f"b{n}") for n in range(4)]
    sizes = [orjson.loads((await talk.end(job_id)).output or b"0") for job_id in ids]
    for n, (size, job_id) in enumerate(zip(sizes, ids, strict=True)):
        assert await messages(talk, job_id) == ([] if size > 1 else [f"item b{n}", f"descriptor b{n}"])
    assert max(sizes) > 1
    assert "item b3\n" in worker.log.read_text(errors="replace")


async def test_items_that_run_one_by_one_are_heard_by_their_own_callers(talk: Caller) -> None:
    ids = [await talk.submit("batch", name=f"c{n}", together=False) for n in range(4)]
    for n, job_id in enumerate(ids):
        await talk.end(job_id)
        assert await messages(talk, job_id) == [f"item c{n}", f"descriptor c{n}"]


@pytest.mark.parametrize("what", ["thread", "program"])
async def test_what_a_job_leaves_behind_does_not_talk_into_the_next(start_worker: Any, caller: Caller, what: str) -> None:
    start_worker(app=MODELS, models="Leaves")
    first = await caller.run("leaves", what=what, name="first", seconds=0.2)
    second = await caller.run("leaves", what="", name="second", seconds=0.5)
    assert "late first" in await messages(caller, first.id)
    assert await messages(caller, second.id) == ["begin second", "end second"]


@pytest.mark.parametrize("program", [False, True])
async def test_a_flood_is_cut_and_says_how_much_is_missing(talk: Caller, program: bool) -> None:
    job = await talk.run("flood", lines=100_000, program=program)
    assert job.status == "succeeded", job.error
    lines = await logged(talk, job.id)
    missing = [int(message.split(" ")[0].replace(",", "")) for level, message in lines if level == "warning" and "left out" in message]
    assert 2000 <= len(lines) < 10_000
    assert sum(missing) + len(lines) - len(missing) == 100_000


async def test_what_is_yielded_without_end_fails_as_soon_as_it_is_too_much(talk: Caller) -> None:
    job = await talk.run("endless")
    assert orjson.loads(job.error or b"{}")["code"] == "result-too-large"
    assert len([kind for kind, _ in await events_of(talk, job.id) if kind == "output"]) == 999


@pytest.mark.parametrize("how", ["python", "c"])
async def test_what_was_said_before_a_runner_dies_has_arrived(start_worker: Any, caller: Caller, tmp_path: Path, how: str) -> None:
    worker = start_worker(app=MODELS, models="Dies")
    job = await caller.run("dies", how=how, marker=str(tmp_path / "marker"))
    assert (job.status, job.attempt) == ("succeeded", 2)
    events = [data for kind, data in await events_of(caller, job.id) if kind in ("log", "output")]
    assert events[:2] == [{"level": "info", "message": "said before"}, {"value": "yielded before"}]
    # What C code says at the last moment is heard by the operator, whether the runner could still read it or not.
    assert ("last words of C\n" in worker.log.read_text(errors="replace")) == (how == "c")


async def test_code_that_keeps_the_gil_does_not_wait_for_ever(talk: Caller) -> None:
    job = await talk.run("gil", megabytes=4)
    assert orjson.loads(job.output or b"0") >= 4 << 20


async def test_nothing_is_captured_when_the_operator_says_so(start_worker: Any, caller: Caller) -> None:
    worker = start_worker(app=MODELS, models="Talk", LONGRUN_CAPTURE_OUTPUT="0")
    job = await caller.run("talk", ways=["print", "logging", "descriptor", "program"])
    assert await messages(caller, job.id) == []
    assert "talk | logging\n" in worker.log.read_text(errors="replace")


async def test_usage_of_all_attempts_adds_up(talk: Caller) -> None:
    job = await talk.run("costs", how="fails twice", policy=Policy(max_attempts=3, backoff=0.02))
    used = orjson.loads(job.usage or b"{}")
    assert (job.status, used["cost_usd"], used["tokens"]) == ("succeeded", 0.75, 30)
    attempts = await talk.store.records.attempts(job.id, "t")
    assert [(each.usage or {}).get("cost_usd") for each in attempts] == [0.25] * 3
    assert used["run_s"] == pytest.approx(sum((each.usage or {})["run_s"] for each in attempts), abs=1e-5)


async def test_usage_is_kept_however_an_attempt_ends(talk: Caller) -> None:
    policy = Policy(max_attempts=3, backoff=0.02, timeout=0.5)
    failed = await talk.run("costs", how="fails", policy=policy)
    died = await talk.run("costs", how="dies once", policy=policy)
    timed_out = await talk.run("costs", how="waits", policy=policy)
    canceled = await talk.submit("costs", how="waits", policy=Policy())
    await talk.until(canceled, "running")
    await asyncio.sleep(0.3)
    await talk.store.records.cancel(canceled, "t")
    ends = [failed, died, timed_out, await talk.end(canceled)]
    assert [(job.status.value, orjson.loads(job.usage or b"{}")["cost_usd"]) for job in ends] == [
        ("failed", 0.75),
        ("succeeded", 0.5),
        ("failed", 0.75),
        ("canceled", 0.25),
    ]
