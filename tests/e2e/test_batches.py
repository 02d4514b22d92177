"""Batches against the real service, by the client and by the command line."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longrun import ApiError, AsyncClient, Client, JobFailed

from .conftest import LONGRUN, Service, longrun


@pytest.fixture
def client(hello: Service) -> Iterator[Client]:
    with Client(hello.url, "") as client:
        yield client


def test_the_outputs_come_in_the_order_of_the_inputs_of_a_generator(client: Client) -> None:
    batch = client.batch("shout", ({"text": f"number {i}"} for i in range(300)), priority=8, tags=["many"])

    assert batch.wait(timeout=60).status == "completed"
    assert (batch.counts["succeeded"], batch.progress, batch.priority, batch.tags) == (300, 1.0, 8, ["many"])
    assert list(batch.outputs()) == [f"NUMBER {i}!" for i in range(300)]
    assert client.get_batch(batch.id).counts == batch.counts
    assert {job.tags[0] for job in client.jobs(tag="many", limit=300)} == {"many"}


def test_the_same_key_is_the_same_batch(client: Client) -> None:
    first, second = (client.batch("shout", [{"text": "a"}, {"text": "b"}], idempotency_key="twice") for _ in range(2))
    assert first.id == second.id


def test_what_is_wrong_is_named_and_nothing_is_accepted(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.batch("shout", [{"text": "a"}, {"text": 1}])
    assert (caught.value.code, caught.value.errors[0]["pointer"]) == ("validation-failed", "/inputs/1/text")


def test_a_failed_input_has_its_problem_and_ends_the_outputs(client: Client) -> None:
    batch = client.batch("square_root", [{"value": 4}, {"value": -1}, {"value": 9}])

    items = list(batch.results(timeout=60))
    assert [item.status for item in items] == ["succeeded", "failed", "succeeded"]
    assert items[1].error is not None
    assert items[1].error["code"] == "model-error"
    outputs = batch.outputs()
    assert next(outputs) == items[0].output
    with pytest.raises(JobFailed, match="a negative number has no real square root") as caught:
        next(outputs)
    assert caught.value.job.id == items[1].id


def test_a_batch_is_canceled_and_what_has_come_of_it_so_far_can_be_read(client: Client) -> None:
    batch = client.batch("brew", [{"drink": "tea", "seconds": 30}] * 20)

    assert {item.output for item in batch.results(partial=True)} == {None}
    assert batch.cancel().status in ("canceling", "canceled")
    assert batch.wait(timeout=60).status == "canceled"
    assert [item.status for item in batch.results()] == ["canceled"] * 20


def test_a_wait_that_is_too_short_says_so_and_the_batch_goes_on(client: Client) -> None:
    batch = client.batch("brew", [{"drink": "tea", "seconds": 30}])

    with pytest.raises(TimeoutError, match=f"batch {batch.id} has not ended within 0.5 s; it goes on"):
        batch.wait(timeout=0.5)
    assert not batch.refresh().terminal
    batch.cancel()


async def test_the_same_for_asyncio_with_inputs_that_come_one_by_one(hello: Service) -> None:
    async def inputs() -> AsyncIterator[dict[str, str]]:
        for i in range(5):
            yield {"text": str(i)}

    async with AsyncClient(hello.url, "") as client:
        batch = await client.batch("shout", inputs())
        assert [item.output async for item in batch.results(timeout=60)] == [f"{i}!" for i in range(5)]
        assert [output async for output in batch.outputs()] == [f"{i}!" for i in range(5)]
        assert (await batch.cancel()).status == "completed"


def test_the_command_line_reads_lines_and_writes_lines(hello: Service, tmp_path: Path) -> None:
    given, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(20)))
    done = longrun("batch", "shout", str(given), "--save", str(out), url=hello.url)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [json.loads(line)["output"] for line in out.read_text().splitlines()] == [f"LINE {i}!" for i in range(20)]
    assert longrun("batch", "shout", str(given), "--save", str(out), url=hello.url).returncode == 2

    left = longrun("batch", "shout", str(given), "--no-wait", "--priority", "9", url=hello.url)
    found = longrun("batch", left.stdout.strip(), url=hello.url)
    assert (left.returncode, found.returncode, len(found.stdout.splitlines())) == (0, 0, 20)


def test_a_failed_line_is_exit_code_1_and_the_others_are_there(hello: Service, tmp_path: Path) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"value": 4}\n{"value": -4}\n')

    done = longrun("batch", "square_root", str(given), url=hello.url)

    assert (done.returncode, [json.loads(line)["status"] for line in done.stdout.splitlines()]) == (1, ["succeeded", "failed"])
    assert "failed: model-error: a negative number has no real square root" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("completed: 1 succeeded, 1 failed")


def test_the_command_line_tells_wrong_lines(hello: Service, tmp_path: Path) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"text": "a"}\n{"text"\n')
    broken = longrun("batch", "shout", str(given), url=hello.url)
    given.write_text('{"text": "a"}\n{"text": 7}\n')
    wrong = longrun("batch", "shout", str(given), url=hello.url)
    assert (broken.returncode, "line 2: not JSON" in broken.stderr) == (2, True)
    assert (wrong.returncode, "/inputs/1/text" in wrong.stderr) == (2, True)


def test_ctrl_c_stops_the_waiting_not_the_batch(hello: Service, client: Client) -> None:
    words = [*LONGRUN, "batch", "brew", "-", "--url", hello.url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write('{"drink": "tea", "seconds": 30}\n')
        process.stdin.close()
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
        process.wait(timeout=10)

    batch_id = said.partition(":")[0]
    assert process.returncode == 130
    assert f"longrun jobs cancel {batch_id} --url {hello.url}" in said
    assert not client.get_batch(batch_id).terminal
    assert longrun("jobs", "cancel", batch_id, url=hello.url).returncode == 0
    assert client.get_batch(batch_id).wait(timeout=30).status == "canceled"
