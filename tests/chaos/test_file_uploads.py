"""Files that callers send while the API or the store dies: nothing is left, or one job has its file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.chaos.blob_store import held, left_after_all, let_an_hour_pass, root, stored, swept
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

FILM = bytes(range(256)) * 400
PIECE = bytes(1 << 18)


class Upload:
    """An upload that goes on until `end` is set; then `answer` is what came, None when the connection broke."""

    def __init__(self, cluster: Cluster) -> None:
        self.end = threading.Event()
        self.answer: httpx.Response | None = None
        self._url = f"{cluster.url}/api/v1/files"
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Upload:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self._thread.join()

    def _send(self) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        try:
            self.answer = httpx.post(self._url, content=self._pieces(), headers=headers, timeout=20)
        except httpx.TransportError:
            self.answer = None

    def _pieces(self) -> Iterator[bytes]:
        yield PIECE
        while not self.end.wait(0.05):
            yield PIECE[:1000]


def is_on_its_way(cluster: Cluster) -> bool:
    return any(file.stat().st_size for folder in cluster.folder.glob("**/blobs") for file in folder.glob(".parts/*"))


def test_an_api_that_is_killed_in_the_middle_of_an_upload_leaves_nothing(cluster: Cluster) -> None:
    with Upload(cluster) as upload:
        until(lambda: is_on_its_way(cluster), "the upload is on its way", timeout=20)
        cluster.api.kill()
    assert upload.answer is None
    (part,) = held(cluster)
    cluster.start_api()
    time.sleep(1)
    assert held(cluster) == [part], "for all that is known it may still be written to"
    before = time.time() - 46  # as if it had waited so long
    os.utime(root(cluster) / ".parts" / part, (before, before))
    until(lambda: not held(cluster), "what the upload left is cleared", timeout=20)


@pytest.mark.parametrize(
    "point",
    ["before:add_file:1", pytest.param("after:add_file:1", marks=pytest.mark.gate), "before:submit:1", "after:submit:1"],
)
def test_an_api_that_dies_between_the_bytes_the_record_and_the_job_makes_one_job_with_its_file(
    cluster: Cluster, caller: Caller, point: str
) -> None:
    cluster.api.stop()
    cluster.start_api(CHAOS_FAILPOINT=f"{point}=exit")
    with pytest.raises(httpx.TransportError):
        caller.submit_once("develop", "once", 0.1, key="a-key", film=FILM)
    assert len(stored(cluster)) == 1, "the bytes of the first try"
    cluster.api.kill()
    cluster.start_api()
    caller.submit("develop", "once", 0.1, key="a-key", film=FILM)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    history = caller.collect()
    let_an_hour_pass(cluster)
    assert len(swept(cluster)) == 2, "the film and the print of one job"
    history.left = left_after_all(cluster, caller)
    judge(history)
    assert len(history.accepted) == 1


def test_a_large_input_whose_api_dies_before_the_submit_is_stored_once(cluster: Cluster, caller: Caller) -> None:
    text = "long " * 20_000
    cluster.api.stop()
    cluster.start_api(CHAOS_FAILPOINT="before:submit:1=exit")
    with pytest.raises(httpx.TransportError):
        caller.submit_once("nap", text, 0.1, key="a-key")
    cluster.api.kill()
    cluster.start_api()
    caller.submit("nap", text, 0.1, key="a-key")
    cluster.start_worker()
    caller.wait_for_all(within=60)
    history = caller.collect()
    let_an_hour_pass(cluster)
    assert len(swept(cluster)) == 1
    history.left = left_after_all(cluster, caller)
    judge(history)


@pytest.mark.parametrize("as_json", [False, True], ids=["file", "large-input"])
def test_an_api_that_stands_still_before_it_notes_a_file_does_not_accept_a_job_without_it(
    cluster: Cluster, caller: Caller, as_json: bool
) -> None:
    """Everything that nobody has named yet is swept meanwhile, as after a minute."""
    cluster.api.stop()
    cluster.start_api(CHAOS_FAILPOINT="before:add_file:1=sleep:5")
    text, film = ("long " * 20_000, None) if as_json else ("once", FILM)
    model = "nap" if as_json else "develop"
    with ThreadPoolExecutor(1) as pool:
        submit = pool.submit(caller.submit_once, model, text, 0.1, key="a-key", film=film)
        until(lambda: "failpoint" in cluster.api.log.read_text(), "the API stands still", timeout=10)
        assert swept(cluster) == set()
        answer = submit.result()
    assert (answer.status_code, answer.json().get("code")) == (503, "storage-unavailable")
    caller.submit(model, text, 0.1, key="a-key", film=film)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    history = caller.collect()
    history.left = left_after_all(cluster, caller)
    judge(history)


@pytest.mark.cluster(settings={"LONGRUN_STORE_TIMEOUT": "1"})
def test_an_upload_whose_store_goes_away_is_503_and_leaves_nothing(cluster: Cluster) -> None:
    with Upload(cluster) as upload:
        until(lambda: is_on_its_way(cluster), "the upload is on its way", timeout=20)
        cluster.kill_valkey()
    assert upload.answer is not None
    assert (upload.answer.status_code, upload.answer.json()["code"]) == (503, "store-unavailable")
    assert int(upload.answer.headers["Retry-After"]) >= 1
    cluster.restart_valkey()
    assert swept(cluster) == set()
    assert held(cluster) == []


@pytest.mark.cluster(settings={"LONGRUN_STORE_TIMEOUT": "1"})
def test_a_form_whose_store_goes_away_is_503_and_its_repetition_makes_one_job(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    cluster.kill_valkey()
    answer = caller.submit_once("develop", "once", 0.1, key="a-key", film=FILM)
    assert answer.status_code == 503, answer.text
    cluster.restart_valkey()
    caller.submit("develop", "once", 0.1, key="a-key", film=FILM)
    caller.wait_for_all(within=60)
    history = caller.collect()
    let_an_hour_pass(cluster)
    assert len(swept(cluster)) == 2
    history.left = left_after_all(cluster, caller)
    judge(history)


def test_forms_with_one_key_that_come_at_once_make_one_job_and_leave_one_file(cluster: Cluster, caller: Caller) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: caller.submit_once("develop", "long " * 20_000, 0.1, key="a-key", film=FILM), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(swept(cluster)) == 2, "the film and the large input of one job"
    cluster.start_worker()
    caller.wait_for_all(within=60)
    history = caller.collect()
    history.left = left_after_all(cluster, caller)
    judge(history)


def upload(cluster: Cluster) -> str:
    """The id of a file that was uploaded for itself."""
    answer = httpx.post(f"{cluster.url}/api/v1/files", content=FILM, headers={"Content-Type": "application/octet-stream"})
    file_id: str = answer.raise_for_status().json()["id"]
    return file_id


def submit_of(cluster: Cluster, file_id: str) -> httpx.Response:
    """The answer to a submit that names a file."""
    body = {"input": {"text": "by id", "seconds": 0.1, "film": file_id}}
    return httpx.post(f"{cluster.url}/api/v1/models/develop/jobs", json=body, timeout=10)


def end_of(caller: Caller, job_id: str) -> dict[str, object]:
    def job() -> dict[str, object]:
        found: dict[str, object] = caller.get(f"/jobs/{job_id}")
        return found

    until(lambda: bool(job()["terminal"]), f"{job_id} ends", timeout=60)
    return job()


def test_a_job_that_is_retried_after_its_file_was_deleted_reads_it_all_the_same(cluster: Cluster, caller: Caller) -> None:
    file_id = upload(cluster)
    job_id = submit_of(cluster, file_id).raise_for_status().json()["id"]
    with httpx.Client(base_url=f"{cluster.url}/api/v1") as http:
        assert http.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceled"
        assert [http.delete(f"/files/{file_id}").status_code for _ in range(2)] == [204, 410]
        swept(cluster)
        assert submit_of(cluster, file_id).status_code == 422
        again = http.post(f"/jobs/{job_id}/retry").json()["id"]
        assert [http.delete(f"/jobs/{job_id}").status_code for _ in range(2)] == [204, 410]
        assert stored(cluster) == swept(cluster) == {file_id}, "the new job needs the bytes"
        cluster.start_worker()
        job = end_of(caller, again)
        assert job["status"] == "succeeded", job["error"]
        assert http.get(job["output"]["print"]["url"].removeprefix("/api/v1")).content == b"attempt 1\n" + FILM[::-1]  # type: ignore[index]
        assert len(stored(cluster)) == 2
        assert http.get(f"/files/{file_id}").status_code == 410
        assert http.delete(f"/jobs/{again}").status_code == 204
    until(lambda: not held(cluster), "nothing is left, by the chores of the cluster", timeout=20)


def test_a_file_that_is_deleted_between_the_look_at_it_and_the_submit_makes_no_job(cluster: Cluster, caller: Caller) -> None:
    cluster.api.stop()
    cluster.start_api(CHAOS_FAILPOINT="before:submit:1=sleep:2")
    other = f"http://127.0.0.1:{cluster.start_replica()}/api/v1"
    file_id = upload(cluster)
    with ThreadPoolExecutor(1) as pool:
        submit = pool.submit(submit_of, cluster, file_id)
        until(lambda: "failpoint" in cluster.api.log.read_text(), "the file was found, and the submit is about to be sent", timeout=10)
        assert httpx.delete(f"{other}/files/{file_id}").status_code == 204
        answer = submit.result()
    assert (answer.status_code, answer.json().get("code")) == (422, "validation-failed")
    assert caller.jobs() == []
    until(lambda: not held(cluster), "its bytes go", timeout=20)


def slowly(answer: httpx.Response, meanwhile: Callable[[], None]) -> bytes:
    """The body, with something done after its first piece."""
    pieces = answer.iter_bytes(1 << 16)
    first = next(pieces)
    meanwhile()
    return first + b"".join(pieces)


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_who_reads_a_file_of_a_job_that_goes_meanwhile_reads_it_to_the_end(cluster: Cluster, caller: Caller, how: str) -> None:
    cluster.start_worker()
    film = os.urandom(30_000_000)
    job_id = caller.submit("develop", "long", 0.0, film=film)
    caller.wait_for_all(within=60)

    def goes() -> None:
        if how == "deleted":
            caller.delete(job_id)
        else:
            cluster.redis.hset(f"longrun:job:{job_id}", "expires", 1)
            cluster.redis.zadd("longrun:expire", {job_id: 1})
        until(lambda: not held(cluster), "the bytes go, by the chores of the cluster", timeout=20)
        assert httpx.get(f"{cluster.url}/api/v1/jobs/{job_id}").status_code == 410

    url = caller.get(f"/jobs/{job_id}")["output"]["print"]["url"]
    with httpx.stream("GET", cluster.url + url, timeout=30) as answer:
        assert slowly(answer, goes) == b"attempt 1\n" + film[::-1]
    assert httpx.get(cluster.url + url).status_code == 410


def test_with_retain_for_0_the_files_of_a_job_go_and_its_end_stays(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    job_id = caller.submit("develop", "brief", 0.0, film=FILM, policy={"retain_for": 0})
    caller.wait_for_all(within=60)
    url = caller.get(f"/jobs/{job_id}")["output"]["print"]["url"]
    assert httpx.get(cluster.url + url).content == b"attempt 1\n" + FILM[::-1]
    cluster.redis.zadd("longrun:expire", {job_id: 1})  # its minute is over
    until(lambda: not held(cluster), "its files are gone", timeout=20)
    assert httpx.get(cluster.url + url).status_code == 410
    job = caller.get(f"/jobs/{job_id}")
    assert (job["status"], job["output"]) == ("succeeded", None)
