"""Batches against the real service, by the client and by the command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longrun import ApiError, AsyncClient, Client

from .conftest import Service, longrun


@pytest.fixture
def client(hello: Service) -> Iterator[Client]:
    with Client(hello.url, "") as client:
        yield client


def test_the_outputs_come_in_the_order_of_the_inputs_of_a_generator(client: Client) -> None:
    batch = client.batch("shout", ({"text": f"number {i}"} for i in range(300)), priority=8, tags=["many"])
    seen: list[float] = []
    batch.wait(timeout=60, progress=lambda each: seen.append(each.progress))
    assert (batch.status, batch.counts["succeeded"], seen[-1]) == ("completed", 300, 1.0)
    assert [item.output for item in batch.results()] == [f"NUMBER {i}!" for i in range(300)]
    assert client.find_batch(batch.id).counts == batch.counts
    assert {job.tags[0] for job in client.jobs(tag="many", limit=300)} == {"many"}


def test_the_same_key_is_the_same_batch(client: Client) -> None:
    first, second = (client.batch("shout", [{"text": "a"}, {"text": "b"}], idempotency_key="twice") for _ in range(2))
    assert first.id == second.id


def test_what_is_wrong_is_named_and_nothing_is_accepted(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.batch("shout", [{"text": "a"}, {"text": 1}])
    assert (caught.value.code, "/inputs/1/text" in str(caught.value)) == ("validation-failed", True)


async def test_the_same_for_asyncio_with_inputs_that_come_one_by_one(hello: Service) -> None:
    async def inputs() -> AsyncIterator[dict[str, str]]:
        for i in range(5):
            yield {"text": str(i)}

    async with AsyncClient(hello.url, "") as client:
        batch = await client.batch("shout", inputs())
        assert [item.output async for item in batch.results(timeout=60)] == [f"{i}!" for i in range(5)]
        assert (await batch.cancel()).status == "completed"


def test_the_command_line_reads_lines_and_writes_lines(hello: Service, tmp_path: Path) -> None:
    given, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(20)))
    done = longrun("batch", "shout", str(given), "--save", str(out), url=hello.url)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["output"] for line in out.read_text().splitlines()] == [f"LINE {i}!" for i in range(20)]
    done = longrun("batch", "shout", str(given), "--no-wait", url=hello.url)
    assert (done.returncode, done.stdout.startswith("batch_")) == (0, True)


def test_the_command_line_tells_wrong_lines(hello: Service, tmp_path: Path) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"text": "a"}\n{"text"\n')
    broken = longrun("batch", "shout", str(given), url=hello.url)
    given.write_text('{"text": "a"}\n{"text": 7}\n')
    wrong = longrun("batch", "shout", str(given), url=hello.url)
    assert (broken.returncode, "line 2: not JSON" in broken.stderr) == (2, True)
    assert (wrong.returncode, "/inputs/1/text" in wrong.stderr) == (2, True)
