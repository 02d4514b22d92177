"""Files through a real worker: given to models, made by them, and large inputs and outputs."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests import media_files
from tests.integration.blobs.conftest import S3Server, aws, bucket, s3_server
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.desk import APP, Desk, error, output

from longrun.blobs.open import open_blobs
from longrun.errors import Canceled
from longrun.jobs.file_refs import reference
from longrun.jobs.policy import Policy
from longrun.models import File
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.worker.runner.job_files import JobFiles, RunnerBlobs
from longrun.worker.runner.settings import RunnerSettings

__all__ = ["aws", "bucket", "s3_server"]


@pytest.fixture(params=["folder", "s3"])
async def desk(request: pytest.FixtureRequest, caller: Caller, start_worker: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    """With each blob store in turn."""
    url = f"file://{tmp_path}/files" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/some/prefix"
    blobs = open_blobs(Settings(blobs=url))
    yield Desk(caller, blobs, url, tmp_path, start_worker)
    blobs.close()


@pytest.fixture(scope="module", params=["folder", "s3"])
def place(
    request: pytest.FixtureRequest, module_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """URL, folder and environment of each blob store in turn, and a worker there for the tests that do it no harm."""
    tmp, environment = tmp_path_factory.mktemp("place"), {}
    url = f"file://{tmp}/files"
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url, environment = f"s3://{server.make_bucket()}/some/prefix", server.environment
    (tmp / "tmp").mkdir()
    worker = Worker(module_settings, tmp / "worker.log", app=APP, folder=tmp, LONGRUN_BLOBS=url, TMPDIR=str(tmp / "tmp"), **environment)
    yield url, tmp, environment
    worker.stop()


@pytest.fixture
async def desk_at_work(
    place: tuple[str, Path, dict[str, str]], module_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A desk whose worker is there already, and stays for the next test."""
    url, tmp, environment = place
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    blobs = open_blobs(Settings(blobs=url))
    yield Desk(Caller(store), blobs, url, tmp)
    blobs.close()
    await store.close()


only_a_folder = pytest.mark.parametrize("desk", ["folder"], indirect=True)
only_a_place_in_a_folder = pytest.mark.parametrize("place", ["folder"], indirect=True)


async def test_a_picture_goes_in_and_another_comes_out_of_every_kind_of_model(desk_at_work: Desk) -> None:
    pictures = [media_files.picture(size=(40, 30 + number)) for number in range(6)]
    files = [await desk_at_work.keep(media_files.saved(picture, "PNG"), "a cat.png") for picture in pictures]
    models = ["turn", "turn_async", "turn_together"] * 2
    jobs = await asyncio.gather(*[desk_at_work.run(model, file, image=file.id) for model, file in zip(models, files, strict=True)])
    for job, picture in zip(jobs, pictures, strict=True):
        shown = output(job)
        assert (shown["name"], shown["content_type"]) == ("turned.png", "image/png")
        assert (await desk_at_work.picture(shown)).tobytes() == picture.convert("RGB").rotate(180).tobytes()
        record = await desk_at_work.caller.store.files.read(shown["id"], "t")
        assert re.fullmatch(rf"{job.id}/1/[0-9a-f]{{12}}-\d+/{shown['id']}", record.ref.key)
    assert desk_at_work.copies == [], "copies are gone when their jobs have ended"


async def test_yielded_pictures_are_files_in_the_events_and_in_the_output(desk_at_work: Desk) -> None:
    for job in await asyncio.gather(desk_at_work.run("colours", count=5), desk_at_work.run("colours_async", count=5)):
        assert await desk_at_work.colours(output(job)) == [0, 1, 2, 3, 4]
        events = (await desk_at_work.caller.store.records.events(job.id, "t", 0, 100)).events
        told = [orjson.loads(event.data)["value"] for event in events if event.type == "output"]
        assert told == output(job)
        assert "file" not in {event.type for event in events}


async def test_items_of_a_batch_have_files_of_their_own(desk: Desk) -> None:
    files = [
        await desk.keep(media_files.saved(media_files.picture(size=(20, 20 + number)), "PNG"), "alone.png" if number == 2 else "")
        for number in range(5)
    ]
    ids = [await desk.submit("turn_together", file, image=file.id) for file in files]
    desk.start_worker()
    for number, job in enumerate([await desk.caller.end(job_id) for job_id in ids]):
        assert (await desk.picture(output(job))).size == (20, 20 + number)
        assert (await desk.caller.store.files.read(output(job)["id"], "t")).ref.key.startswith(f"{job.id}/1/")


@pytest.mark.parametrize("model", ["echo", "echo_async"])
async def test_large_inputs_and_outputs_go_by_way_of_files(desk: Desk, model: str) -> None:
    desk.start_worker(LONGRUN_MAX_OUTPUT="400000")
    text = "é and \u2028" * 40_000
    data = orjson.dumps({"text": text[:150_000]})
    ref = await desk.keep(data)
    job = await desk.run(model, ref, input=reference(ref))
    made = job.output_ref
    assert made is not None, (job.status, job.error)
    assert (made.content_type, made.name) == ("application/json", "output.json")
    stored = await desk.blobs.read(made.key, made.size)
    assert orjson.loads(stored) in (text[:150_000], {"text": text[:150_000]})
    assert made == (await desk.caller.store.files.read(made.id, "t")).ref
    too_large = await desk.keep(orjson.dumps({"text": text}))
    assert error(await desk.run(model, too_large, input=reference(too_large)))["code"] == "result-too-large"


async def test_large_inputs_share_batches_with_small_ones_of_the_same_key_alone(desk: Desk) -> None:
    refs = [await desk.keep(orjson.dumps({"tongue": tongue, "text": "x" * 100_000})) for tongue in ("de", "fr", "de")]
    lost = await desk.keep(orjson.dumps({"tongue": "de", "text": "y"}))
    await desk.blobs.delete([lost.key])
    ids = [await desk.submit("tongues", ref, input=reference(ref)) for ref in [*refs, lost]]
    ids += [await desk.submit("tongues", tongue=tongue) for tongue in ("fr", "de")]
    desk.start_worker()
    *jobs, missing, fr, de = [await desk.caller.end(job_id) for job_id in [*ids[:4], *ids[4:]]]
    assert [output(job) for job in [*jobs, fr, de]] == [["de"] * 3, ["fr"] * 2, ["de"] * 3, ["fr"] * 2, ["de"] * 3]
    assert error(missing)["code"] == "validation-failed"


@pytest.mark.parametrize("model", ["describe", "spoil", "turn"])
async def test_a_file_that_is_not_there_any_longer_is_told_as_that_and_not_tried_again(desk_at_work: Desk, model: str) -> None:
    ref = await desk_at_work.keep(media_files.saved(media_files.picture(), "PNG"), "x.png")
    await desk_at_work.blobs.delete([ref.key])
    job = await desk_at_work.run(
        model, ref, policy=Policy(max_attempts=3, backoff=0.02), **{"image" if model == "turn" else "file": ref.id}
    )
    assert (error(job)["code"], error(job)["detail"]) == ("validation-failed", "A file of the input is not there any longer.")
    assert job.attempt == 1


async def test_a_model_reads_what_a_file_is_and_cannot_damage_it(desk_at_work: Desk) -> None:
    ref = await desk_at_work.keep(b"a few words", "notes.txt")
    told = output(await desk_at_work.run("describe", ref, file=ref.id))
    assert told == {"name": "notes.txt", "type": "text/plain", "size": 11, "format": "text", "text": "a few words"}
    spoilt = output(await desk_at_work.run("spoil", ref, file=ref.id))
    assert (spoilt["again"], spoilt["other"]) == ("a few words", "a few words")
    assert Path(spoilt["path"]).suffix == ".text"
    assert desk_at_work.copies == []
    assert await desk_at_work.blobs.read(ref.key, 100) == b"a few words"


@only_a_folder
async def test_a_file_of_the_input_that_is_given_back_is_not_stored_again(desk: Desk) -> None:
    desk.start_worker()
    ref = await desk.keep(b"old", "old.bin")
    same, new = output(await desk.run("give_back", ref, file=ref.id))
    assert same["id"] == ref.id
    assert await desk.bytes_of(new) == b"new"
    assert len(await desk.blobs.keys()) == 2


@only_a_place_in_a_folder
async def test_names_and_types_that_a_model_gives_are_made_safe(desk_at_work: Desk) -> None:
    shown = output(await desk_at_work.run("make_async", text="<script>"))
    assert (shown["name"], shown["content_type"]) == ("notes.txt", "application/octet-stream")
    assert await desk_at_work.bytes_of(shown) == b"<script>"


@only_a_folder
async def test_files_that_are_too_large_or_too_many_fail_the_job_and_leave_the_runner_alone(desk: Desk) -> None:
    worker = desk.start_worker(LONGRUN_MAX_FILE="20000")
    await desk.caller.ready("make")
    (runner, *_) = sorted(process.pid for process in worker.runners)
    assert error(await desk.run("make", count=1, size=5001))["code"] == "result-too-large"
    assert error(await desk.run("make_async", text="x" * 20_001))["code"] == "result-too-large"
    assert error(await desk.run("make", count=1001))["code"] == "result-too-large"
    assert min(process.pid for process in worker.runners) == runner


@only_a_place_in_a_folder
async def test_a_job_may_make_a_thousand_files(desk_at_work: Desk) -> None:
    job = await desk_at_work.run("make", count=1000)
    made = job.output_ref
    assert made is not None
    assert (await desk_at_work.caller.store.files.read(made.id, "t")).ref == made, "the output counts beside them"
    shown = orjson.loads(await desk_at_work.blobs.read(made.key, made.size))
    assert [await desk_at_work.bytes_of(shown[number]) for number in (0, 1, 999)] == [number.to_bytes(4, "big") for number in (0, 1, 999)]
    for at in range(0, 1000, 100):
        records = await desk_at_work.caller.store.files.read_all([each["id"] for each in shown[at : at + 100]], "t")
        assert None not in records


async def test_a_stream_that_dies_in_the_middle_begins_anew_and_its_files_are_those_of_the_second_attempt(desk_at_work: Desk) -> None:
    job = await desk_at_work.run("draw_and_die")
    assert job.attempt == 2
    assert await desk_at_work.colours(output(job)) == [1, 2]
    keys = [(await desk_at_work.caller.store.files.read(each["id"], "t")).ref.key for each in output(job)]
    assert all(key.startswith(f"{job.id}/2/") for key in keys)


@only_a_folder
@pytest.mark.parametrize("model", ["make", "make_async"])
async def test_a_blob_store_that_is_away_for_a_moment_costs_no_work_and_blocks_nobody(desk: Desk, model: str) -> None:
    desk.start_worker()
    await desk.caller.ready("make")
    (desk.tmp / "files").write_text("where the folder should be")
    job_id = await desk.submit(model, **({"count": 2} if model == "make" else {"text": "late"}))
    await desk.caller.until(job_id, "running")
    assert output(await desk.run("echo_async", text="meanwhile")) == {"text": "meanwhile"}
    assert (await desk.caller.read(job_id)).status == "running"
    await asyncio.sleep(0.7)
    (desk.tmp / "files").unlink()
    job = await desk.caller.end(job_id)
    assert job.attempt == 1
    shown = output(job)
    assert await desk.bytes_of(shown[0] if model == "make" else shown)


@only_a_folder
@pytest.mark.parametrize("model", ["make", "make_async"])
async def test_a_job_that_waits_for_the_blob_store_can_be_canceled(desk: Desk, model: str) -> None:
    worker = desk.start_worker()
    await desk.caller.ready("make")
    (desk.tmp / "files").write_text("where the folder should be")
    runners = {process.pid for process in worker.runners}
    job_id = await desk.submit(model, **({"count": 2} if model == "make" else {"text": "late"}))
    await desk.caller.until(job_id, "running")
    await asyncio.sleep(0.3)
    await desk.caller.store.records.cancel(job_id, "t")
    job = await desk.caller.end(job_id)
    assert job.status == "canceled"
    assert orjson.loads(job.error or b"")["stopped_by"] == "flag"
    assert {process.pid for process in worker.runners} == runners


@pytest.mark.parametrize("lease", [2])
@pytest.mark.parametrize("desk", ["s3"], indirect=True)
async def test_copies_of_a_killed_runner_go_and_those_of_a_killed_worker_when_the_next_one_starts(desk: Desk) -> None:
    worker = desk.start_worker()
    ref = await desk.keep(b"words", "a.txt")
    await desk.caller.ready("keep_copy")
    job_id = await desk.submit("keep_copy", ref, file=ref.id, seconds=1000)
    await desk.until_copied()
    for runner in worker.runners:
        runner.kill()
    assert (await desk.caller.end(job_id)).attempt == 2
    assert desk.copies == []

    second = await desk.submit("keep_copy", ref, file=ref.id, seconds=1000)
    await desk.until_copied()
    worker.kill()
    worker.process.wait()
    assert desk.copies
    desk.start_worker()
    assert (await desk.caller.end(second)).attempt == 2
    assert desk.copies == []


def damaged(seed: int) -> bytes:
    """A picture with a few bytes changed, a piece taken out, put in or cut off at the end."""
    chance = random.Random(seed)
    data = bytearray(media_files.saved(media_files.picture(size=(32, 24)), chance.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])))
    for _ in range(chance.randint(1, 6)):
        at, size = chance.randrange(len(data)), chance.randint(1, 16)
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\x00\x00\xff\xff"])
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = chance.randbytes(size)
            case 4 if len(data) > 64:
                del data[max(64, at) :]
    return bytes(data)


@only_a_folder
async def test_a_thousand_damaged_pictures_kill_neither_worker_nor_runner(desk: Desk) -> None:
    """They are given to the decoder past the API, which would refuse most of them."""
    worker = desk.start_worker()
    await desk.caller.ready("decoder")
    runners = {process.pid for process in worker.runners}
    files = [await desk.keep(damaged(seed)) for seed in range(1000)]
    ids = [await desk.submit("decoder", file, image=file.id) for file in files]
    jobs = [await desk.caller.end(job_id, timeout=120) for job_id in ids]
    refused = [job for job in jobs if job.status == "failed"]
    assert {error(job)["code"] for job in refused} == {"validation-failed"}
    assert 100 < len(refused) < 950
    # 2: it was sent ahead, and given back from behind one that took long.
    assert {job.attempt for job in jobs} <= {1, 2}
    assert {output(job)[2] for job in jobs if job.status == "succeeded"} <= runners
    assert worker.process.poll() is None
    assert {process.pid for process in worker.runners} == runners


@pytest.mark.parametrize("desk", ["s3"], indirect=True)
async def test_a_job_that_is_canceled_in_the_middle_of_a_large_upload_leaves_nothing_in_the_bucket(
    desk: Desk, aws: S3Server, bucket: str
) -> None:
    asked = 0

    def check(stuck: bool) -> None:
        nonlocal asked
        asked += 1
        if asked > 50:
            raise Canceled("told to stop")

    files = JobFiles(RunnerBlobs(RunnerSettings(blobs=desk.url)), "job_1", "1/n", lambda kind, data: None, check)
    with pytest.raises(Canceled):
        await asyncio.to_thread(files.store, File(bytes(20_000_000)))
    assert asked == 51
    assert (await desk.blobs.keys(), aws.uploads(bucket)) == ([], [])
    asked = -1000
    ref = await asyncio.to_thread(files.store, File(bytes(20_000_000)))
    assert ref.size == await desk.blobs.head(ref.key) == 20_000_000
