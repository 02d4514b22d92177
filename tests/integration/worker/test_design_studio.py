"""The design studio on a real worker, with a provider that is slow, busy and broken at random: what has finished is paid for once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.design_studio.calls import read, tally
from examples.design_studio.domain import VERSIONS
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.desk import output
from tests.studio_provider import StubProvider, served
from tests.waiting import until

APP = Path(__file__).parents[3] / "examples" / "design_studio" / "flow.py"
ONCE = {"analyse": 1, "draw": VERSIONS, "judge": 1}
pytestmark = pytest.mark.slow
ORDER = {"brief": "a tea house in the hills", "name": "Jade"}


class Studio:
    """A worker with the studio's models, and its provider."""

    def __init__(self, start_worker: Any, tmp_path: Path, url: str) -> None:
        self.log = tmp_path / "calls"
        self._start = lambda: start_worker(
            app=APP, folder=tmp_path, STUDIO_URL=url, STUDIO_CALLS=str(self.log), LONGRUN_BLOBS=f"file://{tmp_path}/files"
        )

    def start(self) -> Worker:
        worker: Worker = self._start()
        return worker

    async def finished(self, step: str, times: int = 1) -> None:
        """Until so many calls of a step have finished."""
        await until(lambda: sum(each.finished for each in tally(read(self.log)) if each.step == step) >= times, f"{times} × {step}")


@pytest.fixture
def stub() -> StubProvider:
    return StubProvider(seed=7, faulty=0.4, slow=0.1, best=2)


@pytest.fixture
def studio(start_worker: Any, tmp_path: Path, stub: StubProvider) -> Iterator[Studio]:
    with served(stub) as url:
        yield Studio(start_worker, tmp_path, url)


async def test_each_step_is_billed_once_though_all_runners_are_killed(caller: Caller, studio: Studio, stub: StubProvider) -> None:
    worker = studio.start()
    job_id = await caller.submit("logo", **ORDER, patience=0.2)
    for step in ("analyse", "draw", "finish"):
        await studio.finished(step)
        for runner in worker.runners:
            runner.kill()
    made = output(await caller.end(job_id))
    assert (made["chosen"], made["chosen_by"], len(made["versions"])) == (3, "judge", VERSIONS)
    assert made["picture"]["id"] == made["versions"][2]["id"]
    assert stub.bill == ONCE
    assert_nothing_finished_twice(studio)


async def test_another_worker_goes_on_where_the_first_died(caller: Caller, studio: Studio, stub: StubProvider) -> None:
    first = studio.start()
    job_id = await caller.submit("logo", **ORDER, patience=0.2)
    await studio.finished("draw", 2)
    first.stop()
    studio.start()
    assert output(await caller.end(job_id))["chosen_by"] == "judge"
    assert stub.bill == ONCE
    assert_nothing_finished_twice(studio)


async def test_a_person_chooses(caller: Caller, studio: Studio) -> None:
    studio.start()
    job_id = await caller.submit("logo", **ORDER, patience=600)
    await studio.finished("judge")
    assert await caller.store.trees.signal(job_id, "t", "choose", json.dumps({"version": 1}).encode()) == "new"
    made = output(await caller.end(job_id))
    assert (made["chosen"], made["chosen_by"]) == (1, "person")


def assert_nothing_finished_twice(studio: Studio) -> None:
    """A kill between the end of a call and its record has it made again, but with the same key, so that it is billed once all the same."""
    made = [line for line in read(studio.log) if line.step != "logo"]
    assert len({(line.step, line.version) for line in made}) == len({line.key for line in made}) == 2 + 2 * VERSIONS
