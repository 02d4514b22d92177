"""Row F25: the last version beside this one, and this one beside the next: rolled out, rolled back, and refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos import last_version
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import until
from tests.chaos.receiver import WEBHOOKS_AT_ONCE, Receiver

import longrun
from longrun.store.formats import FORMAT
from longrun.store.presence import QUIET_LEASES
from longrun.version import VERSION

pytestmark = [pytest.mark.chaos, pytest.mark.gate]

#: On PYTHONPATH, instead of another version: what is installed, which is today's.
TODAY = {"PYTHONPATH": ""}
RAISED_WITHIN = 60.0


@pytest.fixture(scope="module")
def of_last_version(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process of the last version."""
    return {"PYTHONPATH": str(last_version.install(tmp_path_factory.mktemp("last")))}


@pytest.fixture(scope="module")
def of_next_version(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process of a version whose format is one further: a job's input has another field, unknown to today's."""
    folder = tmp_path_factory.mktemp("next")
    package = folder / "longrun"
    shutil.copytree(Path(longrun.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "version.py").open("a") as file:
        file.write('VERSION = "99.0"\n')
    replace(package / "store/formats.py", f"\nFORMAT = {FORMAT}\n", f"\nFORMAT = {FORMAT + 1}\n")
    field = f"FORMAT > {FORMAT} and 'moved' or 'input'"
    replace(package / "store/scripts/lib.lua", "'input', input, 'version', 1", f"{field}, input, 'version', 1")
    read = "  local attempt, at, flow = r[3], r[19], r[20] and flow_of(id, k)\n"
    replace(package / "store/scripts/claim.lua", read, f"{read}  r[4] = r[4] or redis.call('HGET', k, 'moved')\n")
    return {"PYTHONPATH": str(folder)}


def replace(file: Path, text: str, instead: str) -> None:
    source = file.read_text()
    assert source.count(text) == 1, (file, text)
    file.write_text(source.replace(text, instead))


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Valkey, and an API of the version whose environment the test names (`@pytest.mark.parametrize("first", […])`)."""
    first = request.getfixturevalue(request.node.get_closest_marker("first").args[0])
    with Cluster(tmp_path, settings={**WEBHOOKS_AT_ONCE, **first}) as cluster:
        yield cluster


def format_of(cluster: Cluster) -> int:
    return int(cluster.redis.hget(f"{PREFIX}about", "format") or 0)


def raised(cluster: Cluster, to: int) -> Callable[[], bool]:
    def has() -> bool:
        cluster.check()
        return format_of(cluster) == to

    return has


class Load:
    """Jobs of every kind, a few at each step, by whichever API answers at the caller's port; and batches."""

    def __init__(self, cluster: Cluster, caller: Caller, receiver: Receiver) -> None:
        self._cluster, self._caller, self._receiver = cluster, caller, receiver
        self._batches: list[tuple[int, str]] = []
        self._steps = 0

    def more(self, seconds: float = 0.5) -> None:
        """Submit some of each kind. `seconds`: how long they take."""
        self._steps += 1
        caller, step = self._caller, self._steps
        for model in ("nap", "grind", "weigh", "waver", "draw", "write"):
            caller.submit(model, f"{model} {step}", seconds, within=120)
        caller.submit("spell", f"streamed {step}", 4 * seconds, follow=True)
        caller.submit("develop", f"film {step}", seconds, film=f"film {step}".encode() * 1000)
        caller.submit("nap", f"delayed {step}", 0.1, delay=2.0)
        hooked = caller.submit("nap", f"hooked {step}", 0.1, webhook=self._receiver.hook())
        caller.history.hooked.add(hooked)

    def batch(self, url: str, items: int = 30, seconds: float = 0.2) -> None:
        """A batch, accepted by the API at `url`."""
        inputs = [{"text": f"item {index}", "seconds": seconds} for index in range(items)]
        answer = httpx.post(f"{url}/api/v1/models/nap/batches", json=inputs, timeout=60)
        assert answer.status_code == 202, answer.text
        self._batches.append((items, answer.json()["id"]))

    def judge(self) -> None:
        """Wait for all ends; nothing was lost or doubled."""
        caller, receiver = self._caller, self._receiver
        caller.wait_for_all(within=120)
        until(lambda: all(receiver.took(job_id) for job_id in caller.history.hooked), "all ends were delivered", timeout=60)
        caller.history.deliveries = list(receiver.deliveries)
        judge(caller.collect())
        for items, batch_id in self._batches:
            until(lambda batch_id=batch_id: bool(self._read(batch_id)["terminal"]), "the batch has ended", timeout=90)
            assert self._read(batch_id)["counts"]["succeeded"] == items
            lines = caller._answer("GET", f"/batches/{batch_id}/results").text.splitlines()
            assert [json.loads(line)["index"] for line in lines] == list(range(items))

    def _read(self, batch_id: str) -> dict[str, Any]:
        body: dict[str, Any] = self._caller.get(f"/batches/{batch_id}")
        return body


@pytest.fixture
def load(cluster: Cluster, caller: Caller, receiver: Receiver) -> Load:
    return Load(cluster, caller, receiver)


@pytest.mark.first("of_last_version")
def test_f25_the_last_version_is_replaced_by_this_one_under_load_and_cannot_come_back(
    cluster: Cluster, caller: Caller, load: Load, of_last_version: dict[str, str]
) -> None:
    workers = [cluster.start_worker(), cluster.start_worker()]
    cluster.workers_ready(2)
    assert format_of(cluster) == 1
    load.more()
    load.batch(cluster.url)
    _, port = cluster.start_second_api(**TODAY)
    cluster.start_worker(**TODAY)
    cluster.workers_ready(3)
    load.more(2.0)
    load.batch(f"http://127.0.0.1:{port}")
    workers[0].kill_tree()
    # An older process may still be started again, also beside newer ones: they announce the format that the data have.
    workers[0] = cluster.start_worker()
    until(lambda: workers[0].pid in {each["pid"] for each in caller.get("/workers")["workers"]}, "it is listed", timeout=60)
    listed = {worker["version"]: worker for worker in caller.get("/workers")["workers"]}
    assert {version: worker["format"] for version, worker in listed.items()} == {last_version.TAG[1:]: 1, VERSION: 1}
    load.more()
    for worker in workers:
        assert worker.stop(timeout=30) == 0
    # The API of the last version announces nothing, and counts for all that.
    time.sleep((QUIET_LEASES + 2) * LEASE)
    load.more()
    assert format_of(cluster) == 1
    assert cluster.api.stop(timeout=30) == 0
    cluster.start_api(**TODAY)
    load.more()
    load.batch(cluster.url)
    until(raised(cluster, FORMAT), "the format was raised", timeout=RAISED_WITHIN)
    load.more()
    for verb in ("api", "worker"):
        status, said = cluster.try_to_start(verb, **of_last_version)
        assert status == 2 and f"the data have format {FORMAT} (Longrun {VERSION}), and Longrun 0.1.0 works on format 1" in said, said
    load.judge()


@pytest.mark.first("of_last_version")
def test_f25_before_the_format_is_raised_the_last_version_takes_over_again_what_this_one_has_begun(
    cluster: Cluster, load: Load, receiver: Receiver
) -> None:
    _, port = cluster.start_second_api(**TODAY)
    today = [cluster.start_worker(**TODAY), cluster.start_worker(**TODAY)]
    cluster.workers_ready(2)
    load.batch(f"http://127.0.0.1:{port}", items=300, seconds=0.5)
    load.more(3.0)
    load.more(3.0)
    time.sleep(1.0)  # some run, some wait, some were retried
    today[0].kill_tree()  # what ran there together is suspected
    assert today[1].stop(timeout=30) == 0
    cluster.programs[1].stop(timeout=30)
    cluster.start_worker()
    cluster.workers_ready(1)
    load.more()
    load.judge()
    assert format_of(cluster) == 1


@pytest.mark.first("of_last_version")
def test_f25_a_worker_of_the_last_version_that_was_hidden_while_the_format_was_raised_ends(
    cluster: Cluster, load: Load, receiver: Receiver
) -> None:
    hidden = cluster.start_worker()
    cluster.start_worker(**TODAY)
    cluster.workers_ready(2)
    load.more(3.0)
    assert cluster.api.stop(timeout=30) == 0
    cluster.start_api(**TODAY)
    hidden.freeze(tree=True)
    until(raised(cluster, FORMAT), "the format was raised", timeout=RAISED_WITHIN)
    load.more()
    hidden.thaw(tree=True)
    assert hidden.ended() == 2, hidden.tail()
    load.judge()


@pytest.fixture
def of_this_version() -> dict[str, str]:
    """The environment of a process of today's."""
    return TODAY


@pytest.mark.first("of_this_version")
def test_f25_the_next_version_writes_its_new_shape_when_nobody_is_left_that_cannot_read_it(
    cluster: Cluster, caller: Caller, load: Load, of_next_version: dict[str, str]
) -> None:
    workers = [cluster.start_worker(), cluster.start_worker()]
    cluster.workers_ready(2)
    assert format_of(cluster) == FORMAT
    second, _ = cluster.start_second_api()
    load.more()
    cluster.start_worker(**of_next_version)
    assert cluster.api.stop(timeout=30) == 0
    cluster.start_api(**of_next_version)
    cluster.workers_ready(3)
    load.more(2.0)
    load.batch(cluster.url)
    assert not has_new_shape(cluster, caller.submit("nap", "held back", 0.1))
    assert workers[0].stop(timeout=30) == 0
    hidden = [workers[1], second]
    for program in hidden:
        program.freeze(tree=True)
    until(raised(cluster, FORMAT + 1), "the format was raised", timeout=RAISED_WITHIN)
    until(lambda: has_new_shape(cluster, caller.submit("nap", "in the new shape", 0.1)), "the new shape is written", timeout=30)
    load.more()
    for program in hidden:
        program.thaw(tree=True)
    for program in hidden:
        assert program.ended() == 2 and "the data have a format that this version does not know" in program.tail(200), program.tail(200)
    for verb in ("api", "worker"):
        status, said = cluster.try_to_start(verb)
        assert status == 2 and f"the data have format {FORMAT + 1} (Longrun 99.0)" in said, said
    load.judge()


def has_new_shape(cluster: Cluster, job_id: str) -> bool:
    moved, held = cluster.redis.hmget(f"{PREFIX}job:{job_id}", "moved", "input")
    assert (moved is None) != (held is None)
    return moved is not None
