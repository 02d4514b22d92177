"""The Python client against the real service: real models, real workers, and a server that is killed in between."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from longrun import ApiError, AsyncClient, Client, JobFailed
from longrun.client import Event

from .conftest import PLAIN, ROOT, Serve, Service, wait_for


@pytest.fixture
def client(hello: Service) -> Iterator[Client]:
    with Client(hello.url, "") as client:
        yield client


def test_a_job_is_run_and_its_output_returned(client: Client) -> None:
    assert client.run("shout", {"text": "hello", "marks": 2}) == "HELLO!!"

    job = client.submit("shout", {"text": "hello"}, priority=9, tags=["x"], metadata={"user": 7})
    assert job.wait(timeout=60).succeeded
    assert (job.output, job.result(), job.priority, job.tags, job.metadata) == ("HELLO!", "HELLO!", 9, ["x"], {"user": 7})
    assert job.usage["run_s"] >= 0


def test_text_is_streamed_while_it_comes(client: Client) -> None:
    job = client.submit("tell", {"text": " ".join(["word"] * 30)})  # each takes 0.1 s
    pieces, times = [], []
    for piece in job.stream():
        pieces.append(piece)
        times.append(time.monotonic())

    assert "".join(pieces) == job.result()
    assert pieces[0] == "word "
    assert times[-1] - times[0] > 0.2  # they came one by one


def test_values_are_streamed_too(client: Client) -> None:
    assert list(client.submit("count", {"to": 5, "pause": 0}).stream()) == [1, 2, 3, 4, 5]


def test_progress_is_seen_on_the_way(client: Client) -> None:
    job = client.submit("brew", {"drink": "tea", "seconds": 1})
    steps = [event.data["step"] for event in job.events() if event.type == "progress"]

    assert steps == ["boil", "pour", "wait", "serve", "done"]
    assert job.progress is not None
    assert (job.progress.fraction, job.result()) == (1.0, {"cup": "tea"})


def test_a_failure_is_raised_with_its_reason(client: Client) -> None:
    with pytest.raises(JobFailed) as caught:
        client.run("square_root", {"value": -4})
    assert (caught.value.code, caught.value.detail) == ("model-error", "a negative number has no real square root")

    with pytest.raises(ApiError) as refused:
        client.submit("shout", {"marks": 11})
    assert {finding["pointer"] for finding in refused.value.errors} == {"/input/text", "/input/marks"}


def test_a_running_job_is_canceled(client: Client) -> None:
    job = client.submit("brew", {"drink": "tea", "seconds": 60})
    while job.status != "running":
        job.refresh(wait=5)

    assert job.cancel().status in ("canceling", "canceled")
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=60)
    assert caught.value.code == "canceled"


def test_many_inputs_are_mapped_in_their_order(client: Client) -> None:
    results = client.map("square_root", ({"value": number * number} for number in range(200)), concurrency=32)

    assert [result["root"] for result in results] == list(range(200))


async def test_many_inputs_are_mapped_from_asyncio(hello: Service) -> None:
    async with AsyncClient(hello.url, "") as client:
        inputs = [{"value": number if number % 10 else -1} for number in range(50)]
        results = [result async for result in client.map("square_root", inputs, concurrency=16, return_exceptions=True)]

    assert [number for number, result in enumerate(results) if isinstance(result, JobFailed)] == [0, 10, 20, 30, 40]


def test_events_go_on_while_the_server_is_killed_and_comes_back(serve: Serve) -> None:
    service = serve()
    with Client(service.url, "", retry_for=60) as client:
        job = client.submit("count", {"to": 40, "pause": 0.1})
        events: list[Event] = []
        killed = False
        for event in job.events():
            events.append(event)
            if len(events) == 10 and not killed:
                killed = True
                service.role("api").kill()

        assert [event.seq for event in events] == list(range(1, 44))
        assert job.result() == list(range(1, 41))


def test_a_job_outlives_a_service_that_is_stopped_and_started_in_the_middle_of_its_events(serve: Serve) -> None:
    first = serve(LONGRUN_GRACE="0.5")
    port = first.url.rpartition(":")[2]
    with Client(first.url, "", retry_for=60) as client:
        job = client.submit("count", {"to": 60, "pause": 0.1})
        again = threading.Thread(target=lambda: (first.stop(), serve(PLAIN, "--port", port)))
        seqs: list[int] = []
        attempts: list[int] = []
        for event in job.events():
            seqs.append(event.seq)
            attempts += [event.attempt] if event.type == "started" else []
            if len(seqs) == 8:
                again.start()
        again.join()

        assert seqs == list(range(1, len(seqs) + 1))
        assert attempts == [1, 2]
        assert job.result() == list(range(1, 61))


def test_ctrl_c_in_a_map_cancels_nothing_and_says_what_goes_on(hello: Service, client: Client) -> None:
    source = f"""
        import longrun, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background ignores it
        client = longrun.Client({hello.url!r}, "")
        for _ in client.map("brew", ({{"drink": "tea", "seconds": 15}} for _ in range(100)), concurrency=3, tags=["interrupted"]):
            pass
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(list(client.jobs(tag="interrupted", status="running"))) == 3)
        time.sleep(0.2)
        process.send_signal(2)
        _, said = process.communicate(timeout=60)

    assert said.splitlines()[-1].startswith("3 submitted jobs go on, nothing was canceled: job_")
    assert "KeyboardInterrupt" in said
    jobs = list(client.jobs(tag="interrupted"))
    assert len(jobs) == 3
    assert {job.wait(timeout=60).status for job in jobs} == {"succeeded"}


def test_the_examples_of_the_page_run_in_their_order(hello: Service) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "client.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], env=os.environ | {"LONGRUN_URL": hello.url}, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HELLO!\n")
    assert re.search(r"^model-error a negative number has no real square root job_[0-9a-f]{32}$", done.stdout, re.MULTILINE)
