"""Every verb of both clients, against the real app over real sockets."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.integration.api.conftest import PlayedWorker

from longrun.client import AsyncClient, AsyncRemoteJob, Client
from longrun.errors import ApiError, JobFailed, StreamBroken
from longrun.store.store import Store


async def work(store: Store, worker: PlayedWorker, count: int) -> None:
    """Do so many jobs of `echo` as they come: each gives its value, and a negative one fails."""
    done: set[str] = set()
    while len(done) < count:
        page = await store.records.list("default", cursor=None, look_at=500, since=0, filters=[])
        for job in page.jobs:
            if job.id not in done and job.status.value == "queued":
                done.add(job.id)
                claim = await worker.claim(job.id)
                value = int(claim.input[9:-1])
                if value < 0:
                    await store.claims.finish(job.id, claim.fence, "failed", b'{"code":"model-error","detail":"negative","attempt":1}')
                else:
                    await store.claims.finish(job.id, claim.fence, "succeeded", b"%d" % value)
        await asyncio.sleep(0.01)


async def test_a_job_is_submitted_with_all_that_can_be_said_of_it(client: AsyncClient) -> None:
    job = await client.submit(
        "echo", {"value": 1}, priority=9, tags=["x"], metadata={"a": 1}, delay=60, policy={"timeout": 30}, idempotency_key="k"
    )

    assert (job.status, job.terminal, job.priority, job.tags, job.metadata) == ("scheduled", False, 9, ["x"], {"a": 1})
    assert (job.model, job.attempt, job.output, job.error, job.progress, job.policy["timeout"]) == ("echo", 0, None, None, None, 30)
    assert job.created_at is not None
    assert job.body["urls"]["self"].endswith(job.id)
    again = await client.submit(
        "echo", {"value": 1}, priority=9, tags=["x"], metadata={"a": 1}, delay=60, policy={"timeout": 30}, idempotency_key="k"
    )
    assert again.id == job.id
    assert (await client.submit("echo", {"value": 1}, delay=60)).id != (await client.submit("echo", {"value": 1}, delay=60)).id


async def test_the_output_is_waited_for(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("echo", {"value": 1})
    result = asyncio.create_task(job.result(timeout=60))
    await asyncio.sleep(0.1)
    await worker.succeed(job.id, b'{"a": [1, null]}')

    assert await result == {"a": [1, None]}
    assert (job.status, job.succeeded, job.usage["run_s"]) == ("succeeded", True, 0.5)


async def test_an_output_of_nothing_and_one_that_is_not_kept_are_told_apart(
    client: AsyncClient, store: Store, worker: PlayedWorker
) -> None:
    nothing = await client.submit("echo", {"value": 1})
    await worker.succeed(nothing.id, b"null")
    gone = await client.submit("echo", {"value": 1}, policy={"retain_for": 0})
    await worker.succeed(gone.id)
    await store.connection.command("ZADD", f"{store.prefix}expire", "1", gone.id)
    await store.upkeep.expire()

    assert await nothing.result() is None
    with pytest.raises(ApiError) as caught:
        await gone.result()
    assert caught.value.code == "job-gone"


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_a_job_without_an_output_raises_with_its_problem(client: AsyncClient, worker: PlayedWorker, end: str) -> None:
    job = await client.submit("echo", {"value": 1})
    await (worker.fail(job.id, cause="OSError") if end == "failed" else job.cancel())

    with pytest.raises(JobFailed) as caught:
        await job.result()

    assert caught.value.job is job
    assert caught.value.code == {"failed": "model-error", "canceled": "canceled"}[end]
    if end == "failed":
        assert str(caught.value) == f"{job.id} failed: model-error: it broke (OSError)"


async def test_a_wait_that_is_too_short_says_so_and_the_job_goes_on(client: AsyncClient) -> None:
    job = await client.submit("echo", {"value": 1})

    with pytest.raises(TimeoutError, match="it goes on"):
        await job.wait(timeout=0.2)
    assert (await job.refresh()).status == "queued"


async def test_a_change_is_waited_for(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("echo", {"value": 1})
    change = asyncio.create_task(job.refresh(wait=10))
    await asyncio.sleep(0.1)
    await worker.claim(job.id)

    assert (await change).status == "running"


async def test_events_come_as_they_happen_and_leave_the_job_as_it_ended(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("story", {"prompt": "a"})
    seen = []
    async for event in job.events():
        seen.append((event.seq, event.type))
        if event.type == "queued":
            await worker.succeed(job.id, b'"ab"', outputs=["a", "b"])

    assert seen == [(1, "queued"), (2, "started"), (3, "output"), (4, "output"), (5, "done")]
    assert (job.status, job.output) == ("succeeded", "ab")
    assert [event.seq async for event in job.events(after=3)] == [4, 5]
    assert [event async for event in job.events(after=5)] == []


async def retried(worker: PlayedWorker, job: AsyncRemoteJob, *outputs: str) -> None:
    """An attempt of the job that yields these and is lost."""
    claim = await worker.claim(job.id)
    await worker.append(claim, 0, *[("output", {"value": value}) for value in outputs])
    await worker.store.claims.hand_back(job.id, claim.fence, "release")


async def test_the_pieces_of_a_later_attempt_are_never_mixed_with_earlier_ones(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("story", {"prompt": "a"})
    await retried(worker, job, "half ")
    claim = await worker.claim(job.id)
    await worker.append(claim, 0, ("output", {"value": "whole"}))

    pieces = job.stream()
    assert await anext(pieces) == "whole"
    await worker.store.claims.hand_back(job.id, claim.fence, "release")
    await worker.succeed(job.id, b'"whole story"', outputs=["whole", " story"])
    with pytest.raises(StreamBroken) as caught:
        await anext(pieces)
    assert caught.value.attempt == 3
    assert [piece async for piece in job.stream()] == ["whole", " story"]


async def test_a_stream_of_a_job_that_fails_does_not_end_as_if_it_were_whole(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("story", {"prompt": "a"})
    claim = await worker.claim(job.id)
    await worker.append(claim, 0, ("output", {"value": "half"}))
    pieces = job.stream()

    assert await anext(pieces) == "half"
    await worker.store.claims.finish(job.id, claim.fence, "failed", b'{"code":"timeout","detail":"late","attempt":1}')
    with pytest.raises(JobFailed, match="timeout"):
        await anext(pieces)


async def test_a_failed_job_is_retried_as_a_new_one_and_can_be_deleted(client: AsyncClient, worker: PlayedWorker) -> None:
    job = await client.submit("echo", {"value": 1})
    await worker.fail(job.id)

    new = await job.retry()
    assert (new.retry_of, (await job.retry()).id) == (job.id, new.id)
    assert [attempt["outcome"] for attempt in await job.attempts()] == ["failed"]
    with pytest.raises(ApiError) as caught:
        await new.delete()
    assert caught.value.code == "not-finished"
    await job.delete()
    with pytest.raises(ApiError) as caught:
        await client.job(job.id)
    assert (caught.value.status, caught.value.code) == (410, "job-gone")
    with pytest.raises(ApiError) as caught:
        await client.job(job.id.replace("job_0", "job_f"))
    assert (caught.value.status, caught.value.code) == (404, "job-not-found")


async def test_jobs_are_listed_over_pages_by_filter(client: AsyncClient) -> None:
    ids = [(await client.submit("echo", {"value": number}, tags=["mine"], delay=60)).id for number in range(105)]
    await client.submit("echo", {"value": 1}, delay=60)

    assert [job.id async for job in client.jobs(tag="mine")] == ids[::-1]
    assert [job.id async for job in client.jobs(model="echo", status="scheduled", tag="mine", limit=3)] == ids[:-4:-1]


async def test_models_are_listed_and_wrong_requests_say_where(client: AsyncClient) -> None:
    assert "captioner" in [model["name"] for model in await client.models()]
    assert (await client.model("captioner"))["input_schema"]["required"] == ["image"]
    with pytest.raises(ApiError) as caught:
        await client.submit("captioner", {"max_tokens": 0})
    assert {finding["pointer"] for finding in caught.value.errors} == {"/input/image", "/input/max_tokens"}
    assert caught.value.request_id is not None
    assert not caught.value.retryable
    with pytest.raises(ApiError, match="unknown-model"):
        await client.run("whisper", {})


async def test_a_map_gives_outputs_in_order_and_reads_no_further_ahead_than_needed(
    client: AsyncClient, store: Store, worker: PlayedWorker
) -> None:
    read = 0

    def inputs() -> Iterator[dict[str, int]]:
        nonlocal read
        for read in range(1, 10**6):
            yield {"value": read}

    working = asyncio.create_task(work(store, worker, 10**6))
    results = client.map("echo", inputs(), concurrency=4)
    assert [await anext(results) for _ in range(20)] == list(range(1, 21))
    await results.aclose()  # type: ignore[attr-defined]
    assert read <= 20 + 16 + 1
    working.cancel()


async def test_a_map_takes_inputs_as_they_come_and_may_give_exceptions(client: AsyncClient, store: Store, worker: PlayedWorker) -> None:
    async def inputs() -> AsyncIterator[dict[str, Any]]:
        for value in (1, -2, "three", 4):
            yield {"value": value} if value != "three" else {"values": value}

    working = asyncio.create_task(work(store, worker, 3))
    results = [result async for result in client.map("echo", inputs(), return_exceptions=True)]
    await working

    assert (results[0], results[3]) == (1, 4)
    assert isinstance(results[1], JobFailed)
    assert isinstance(results[2], ApiError)


async def test_a_map_that_is_run_again_with_its_key_finds_its_jobs(client: AsyncClient, store: Store, worker: PlayedWorker) -> None:
    working = asyncio.create_task(work(store, worker, 5))
    inputs = [{"value": number} for number in range(5)]
    for _ in range(2):
        assert [result async for result in client.map("echo", inputs, idempotency_key="night")] == [0, 1, 2, 3, 4]
    await working
    assert len([job async for job in client.jobs()]) == 5


async def test_a_map_that_ends_early_cancels_nothing_and_says_what_goes_on(client: AsyncClient, worker: PlayedWorker) -> None:
    async def all_results() -> list[Any]:
        return [result async for result in client.map("echo", [{"value": number} for number in range(3)], idempotency_key="n")]

    mapping = asyncio.create_task(all_results())
    jobs: list[AsyncRemoteJob] = []
    while len(jobs) < 3:
        jobs = [job async for job in client.jobs(status="queued")]
    first = await client.submit("echo", {"value": 0}, idempotency_key="n-0")
    await worker.fail(first.id)

    with pytest.raises(JobFailed) as caught:
        await mapping
    (note,) = caught.value.__notes__
    assert note.startswith("2 submitted jobs go on, nothing was canceled: ")
    assert {job.id for job in jobs if job.id in note} == {job.id for job in jobs} - {first.id}
    assert {(await job.refresh()).status for job in jobs} == {"failed", "queued"}


async def test_ordinary_code_has_the_same_verbs(url: str, store: Store, worker: PlayedWorker) -> None:
    working = asyncio.create_task(work(store, worker, 12))

    def calls() -> list[Any]:
        with Client(url, "") as client:
            job = client.submit("echo", {"value": 1})
            kinds = [event.type for event in job.events()]
            assert client.run("echo", {"value": 7}, timeout=60) == 7
            assert list(job.stream()) == []
            assert (client.job(job.id).result(), job.status) == (1, "succeeded")
            assert list(client.map("echo", [{"value": number} for number in range(10)], concurrency=3)) == list(range(10))
            assert len(list(client.jobs(model="echo"))) == 12
            assert client.model("echo")["name"] == "echo"
            assert {model["name"] for model in client.models()} >= {"echo"}
            assert job.attempts()[0]["outcome"] == "succeeded"
            with pytest.raises(ApiError, match="not-retryable"):
                job.retry()
            assert job.cancel().status == "succeeded"
            job.delete()
            client.close()
            assert client.models()  # opens its connections again
            return kinds

    assert await asyncio.to_thread(calls) == ["queued", "started", "done"]
    await working


async def test_one_client_serves_many_threads(url: str, store: Store, worker: PlayedWorker) -> None:
    working = asyncio.create_task(work(store, worker, 60))
    results: list[int] = []

    def calls(client: Client, first: int) -> None:
        results.extend(client.run("echo", {"value": first + number}) for number in range(3))

    def all_threads() -> None:
        with Client(url, "") as client:
            threads = [threading.Thread(target=calls, args=(client, 3 * number)) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    await asyncio.to_thread(all_threads)
    await working
    assert sorted(results) == list(range(60))


def _names(client: Client, answers: Any) -> None:
    answers.put([model["name"] for model in client.models()])


async def test_a_forked_process_opens_connections_of_its_own(url: str) -> None:
    def calls() -> tuple[list[str], list[str]]:
        with Client(url, "") as client:
            mine = [model["name"] for model in client.models()]
            context = multiprocessing.get_context("fork")
            answers = context.Queue()
            child = context.Process(target=_names, args=(client, answers))
            child.start()
            theirs = answers.get(timeout=60)
            child.join(20)
            client.models()
            return mine, theirs

    mine, theirs = await asyncio.to_thread(calls)
    assert mine == theirs


async def test_a_client_of_one_event_loop_works_on_another(url: str) -> None:
    client = AsyncClient(url, "")

    async def names() -> int:
        found = await client.models()
        await client.close()
        return len(found)

    assert await names() == await asyncio.to_thread(asyncio.run, names()) == await names()
