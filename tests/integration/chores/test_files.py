"""The chores of files, with real files, a real Valkey and uploaders that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.store.test_files import claimed, ended, made_by, new_ref, told
from tests.waiting import until

from longrun.blobs.contract import Blobs
from longrun.blobs.folder import Folder
from longrun.chores import blob_removal as chores
from longrun.chores import run
from longrun.chores.blob_removal import FileChores
from longrun.chores.run import run_chores
from longrun.errors import BlobsUnavailable, FileGone, StoreUnavailable
from longrun.jobs.file_refs import FileRef
from longrun.settings import Settings
from longrun.store.formats import FORMAT
from longrun.store.server_facts import write_about
from longrun.store.store import Store


class Flaky(Folder):
    """A folder that can be away."""

    away: Exception | None = None
    asked = 0

    async def delete(self, keys: Sequence[str]) -> None:
        self.asked += 1
        if self.away:
            raise self.away
        await super().delete(keys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
async def blobs(root: Path) -> AsyncIterator[Flaky]:
    folder = Flaky(root)
    yield folder
    folder.close()


@pytest.fixture(autouse=True)
async def _known(store: Store) -> None:
    """The store knows its own name: without one, whose files these are is not known either."""
    await write_about(store, 0, FORMAT, timeout=5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep takes what is not written to for no time at all, and looks again soon."""
    sweep = chores.sweep
    monkeypatch.setattr(chores, "sweep", lambda blobs, named: sweep(blobs, named, older_than=0, second_look=0.3))


async def stored(store: Store, blobs: Blobs, keep: float | None = 3600.0, ref: FileRef | None = None) -> FileRef:
    ref = ref or new_ref()
    await blobs.put_bytes(ref.key, b"abc")
    if ref.key == ref.id:
        await store.files.add("t", ref, keep=keep)
    return ref


def left(root: Path) -> list[str]:
    """Every file below the folder, half-written ones too, but for the owner's name."""
    return sorted(file.name for file in root.rglob("*") if file.is_file() and file.name != chores.OWNER)


async def until_left(root: Path, wanted: list[str]) -> None:
    await until(lambda: left(root) == wanted, f"{wanted} are left")


async def until_count(root: Path, count: int) -> None:
    await until(lambda: len(left(root)) == count, f"{count} files are there")


async def test_bytes_go_with_their_file_within_seconds(
    store: Store, settings: Settings, blobs: Flaky, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FileChores", functools.partial(FileChores, trash_after=0))
    deleted, brief, embedded, lasting = [await stored(store, blobs, keep) for keep in (60.0, 0.01, None, 60.0)]
    job_id = await claimed(store, embedded)
    made = await stored(store, blobs, ref=made_by(job_id))
    await store.claims.append(job_id, "1/n", 0, b"", told(made))
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    running = asyncio.create_task(run_chores(store, settings, blobs))
    try:
        await store.files.delete(deleted.id, "t")
        await until_left(root, sorted([embedded.key, lasting.key, made.key.replace("/", "+")]))
        assert await blobs.head(brief.key) is None
        await store.records.delete(job_id, "t")
        await until_left(root, [lasting.key])
        async with asyncio.timeout(30):
            while await store.files.trash():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_bytes_outlive_the_end_of_their_use_for_as_long_as_the_store_may_forget_that_end(
    store: Store, blobs: Flaky, root: Path
) -> None:
    """The power fails, and what was deleted a moment ago is there again: a batch goes on to read its inputs."""
    early, late = await stored(store, blobs), await stored(store, blobs)
    for ref in (early, late):
        await store.files.delete(ref.id, "t")
    trash = f"{store.prefix}trash"
    await store.connection.command("ZINCRBY", trash, -1000 * (chores.TRASH_AFTER_S + 2), early.key)
    await FileChores(store, blobs).empty_trash()
    assert (left(root), await store.files.trash()) == ([late.key], [late.key])


async def test_the_trash_is_emptied_whole_a_hundred_at_a_time(store: Store, blobs: Flaky, root: Path) -> None:
    for _ in range(230):
        await store.files.delete((await stored(store, blobs)).id, "t")
    await FileChores(store, blobs, trash_after=0).empty_trash()
    assert (blobs.asked, left(root), await store.files.trash()) == (3, [], [])


@contextlib.asynccontextmanager
async def running(chore: Callable[[], Awaitable[None]]) -> AsyncIterator[list[Any]]:
    """The chore, a hundred times a second; gives what is logged."""
    with capture_logs() as logs:
        task = asyncio.create_task(run.every(0.01, "trash", chore))
        yield logs
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("error", [BlobsUnavailable("away"), RuntimeError("a defect")])
async def test_a_blob_store_that_is_away_is_logged_once_and_nothing_is_lost(
    store: Store, blobs: Flaky, root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(run, "_PAUSE_S", 0.01)
    ref = await stored(store, blobs)
    await store.files.delete(ref.id, "t")
    blobs.away = error
    async with running(FileChores(store, blobs, trash_after=0).empty_trash) as logs:
        await asyncio.sleep(0.5)
        assert 2 <= blobs.asked < 10, "it is tried again, after longer and longer pauses"
        assert (left(root), await store.files.trash()) == ([ref.key], [ref.key])
        blobs.away = None
        for _ in range(100):
            if len(logs) == 2:
                break
            await asyncio.sleep(0.05)
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]
    assert (left(root), await store.files.trash()) == ([], [])


async def test_a_store_that_is_away_is_tried_again_as_soon_as_ever() -> None:
    async def work() -> None:
        raise StoreUnavailable("away")

    async with running(work) as logs:
        await asyncio.sleep(0.3)
    assert len(logs) > 8


@pytest.mark.usefixtures("quick")
async def test_a_sweep_takes_what_no_record_names_and_nothing_else(store: Store, blobs: Flaky, root: Path) -> None:
    named, needed, trashed = [await stored(store, blobs) for _ in range(3)]
    job_id, other = await claimed(store, needed), await ended(store)
    for ref in (needed, trashed):
        await store.files.delete(ref.id, "t")
    running = await stored(store, blobs, ref=made_by(job_id))
    orphans = [await stored(store, blobs, ref=made_by(other)) for _ in range(3)]
    await blobs.put_bytes(new_ref().key, b"its record never came")
    assert len(left(root)) == 4 + len(orphans) + 1
    await FileChores(store, blobs).sweep()
    assert left(root) == sorted(ref.key.replace("/", "+") for ref in (named, needed, trashed, running))


@pytest.mark.usefixtures("quick")
async def test_the_files_of_another_store_are_no_orphans(store: Store, blobs: Flaky, root: Path) -> None:
    await blobs.put_bytes(chores.OWNER, b"another store, or this one before its data were lost")
    await blobs.put_bytes("theirs", b"abc")
    with capture_logs() as lines:
        await FileChores(store, blobs).sweep()
    assert left(root) == ["theirs"]
    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.usefixtures("quick")
async def test_a_file_whose_record_comes_between_the_looks_stays(store: Store, blobs: Flaky, root: Path) -> None:
    ref, orphan = new_ref(), new_ref()
    for each in (ref, orphan):
        await blobs.put_bytes(each.key, b"abc")
    sweep = asyncio.create_task(FileChores(store, blobs).sweep())
    await asyncio.sleep(0.15)
    await store.files.add("t", ref, keep=60.0)
    await sweep
    assert left(root) == [ref.key]


async def test_a_file_is_not_an_orphan_within_a_minute(store: Store, blobs: Flaky, root: Path) -> None:
    await blobs.put_bytes("fresh", b"abc")
    await blobs.put_bytes("old", b"abc")
    os.utime(root / "old", (time.time() - 61, time.time() - 61))
    await FileChores(store, blobs).sweep()
    assert left(root) == ["fresh"]


@pytest.mark.usefixtures("quick")
async def test_of_all_processes_one_sweeps_and_the_next_comes_when_its_time_has_passed(store: Store, blobs: Flaky, root: Path) -> None:
    sweepers = [FileChores(store, blobs, sweep_every=0.5) for _ in range(4)]
    looks = 0
    keys = blobs.keys

    async def counted(prefix: str = "", *, older_than: float = 0) -> list[str]:
        nonlocal looks
        looks += 1
        return await keys(prefix, older_than=older_than)

    blobs.keys = counted  # type: ignore[method-assign]
    await asyncio.gather(*[each.sweep() for each in sweepers])
    assert looks == 1
    await asyncio.sleep(0.6)
    await asyncio.gather(*[each.sweep() for each in sweepers])
    assert looks == 2


async def test_a_long_list_makes_sweeps_rare(store: Store, blobs: Flaky) -> None:
    keys = blobs.keys

    async def slow(prefix: str = "", *, older_than: float = 0) -> list[str]:
        await asyncio.sleep(0.4)
        return await keys(prefix, older_than=older_than)

    blobs.keys = slow  # type: ignore[method-assign]
    await FileChores(store, blobs, sweep_every=1.0).sweep()
    wait = await store.connection.command("PTTL", f"{store.prefix}file-sweep")
    assert 18_000 < wait < 25_000, "50 times 0.4 s"


async def test_a_long_sweep_keeps_its_turn(store: Store, blobs: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_HOLD_S", 0.1)
    going, over = asyncio.Event(), asyncio.Event()

    async def endless(prefix: str = "", *, older_than: float = 0) -> list[str]:
        going.set()
        await over.wait()
        return []

    blobs.keys = endless  # type: ignore[method-assign]
    sweep = asyncio.create_task(FileChores(store, blobs, sweep_every=0.3).sweep())
    await going.wait()
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert not await store.files.sweep_turn(0.3)
    over.set()
    await sweep


def uploader(root: Path, key: str) -> subprocess.Popen[bytes]:
    """A process that puts without end; returns when it has begun to write."""
    program = f"""
from pathlib import Path
from longrun.blobs.folder import Folder
def endless():
    while True:
        yield bytes(1 << 16)
Folder(Path({str(root)!r})).put_blocking({key!r}, endless(), limit=1 << 40)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size for part in root.glob(".parts/*")):
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError("the uploader does not write")
        time.sleep(0.01)
    return process


async def test_an_uploader_that_is_killed_in_the_middle_leaves_nothing_and_one_that_lives_is_left_alone(
    store: Store, blobs: Flaky, root: Path
) -> None:
    killed = await asyncio.to_thread(uploader, root, "killed")
    (part,) = left(root)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    rounds = FileChores(store, blobs)
    await rounds.clear_unfinished()
    assert left(root) == [part], "it may still be written to"
    os.utime(root / ".parts" / part, (time.time() - 46, time.time() - 46))
    going_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(1 << 18)
        await going_on.wait()
        yield b"end"

    upload = asyncio.create_task(blobs.put("alive", slowly(), limit=1 << 20))
    await until_count(root, 2)
    await rounds.clear_unfinished()
    going_on.set()
    assert (await upload).size == (1 << 18) + 3
    assert left(root) == ["alive"]


def test_what_a_killed_upload_has_left_is_gone_in_a_minute() -> None:
    """The chore's pause has a jitter of a fifth."""
    assert chores.UNFINISHED_AFTER_S + 1.2 * chores.CLEAR_EVERY_S < 60


async def test_the_chores_go_on_when_a_blob_store_comes_up_with_something_new(store: Store, settings: Settings, blobs: Flaky) -> None:
    async def broken(*args: Any) -> None:
        raise RuntimeError("something new")

    blobs.delete = broken  # type: ignore[method-assign]
    ref = await stored(store, blobs)
    brief = await stored(store, blobs, keep=3.0)
    await store.files.delete(ref.id, "t")
    running = asyncio.create_task(run_chores(store, settings, blobs))
    try:
        async with asyncio.timeout(60):
            while set(await store.files.trash()) != {ref.key, brief.key}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not running.done()
        with pytest.raises(FileGone):
            await store.files.read(brief.id, "t")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
