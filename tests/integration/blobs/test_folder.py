"""The folder: who can read it, what a planted link does, a full disk, a process that dies."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longrun.blobs.contract import BlobNotFound, Blobs
from longrun.blobs.open import open_blobs
from longrun.blobs.sweep import sweep
from longrun.errors import BlobsFull, BlobsUnavailable
from longrun.settings import Settings

MB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


def names(root: Path) -> list[str]:
    return sorted(file.name for file in root.rglob("*") if file.is_file())


def half_written(root: Path) -> list[int]:
    """The sizes of half-written files."""
    return [part.stat().st_size for part in root.glob(".parts/*")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def nobody(keys: object) -> set[str]:
    return set()


async def test_only_the_owner_can_read_it_whatever_the_umask(folder: Blobs, root: Path) -> None:
    before = os.umask(0)
    try:
        await folder.put_bytes("files/a", b"1")
    finally:
        os.umask(before)
    assert [mode(root), mode(root / "files+a")] == [0o700, 0o600]


async def test_runners_get_the_file_itself(folder: Blobs, root: Path) -> None:
    await folder.put_bytes("files/a", b"abc")
    assert folder.path("files/a") == root / "files+a"
    assert (root / "files+a").read_bytes() == b"abc"


async def test_a_planted_link_is_neither_read_nor_written_through(folder: Blobs, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    await folder.check()
    (root / "a").symlink_to(secret)
    assert await folder.head("a") is None
    assert folder.path("a") is None
    assert await folder.keys() == []
    with pytest.raises(BlobNotFound):
        await folder.get("a")
    with pytest.raises(BlobNotFound):
        folder.read_blocking("a", 100)
    await folder.put_bytes("a", b"ours")
    assert secret.read_text() == "secret"
    assert await folder.read("a", 100) == b"ours"


async def test_a_link_planted_between_looking_and_opening_is_not_followed(folder: Blobs, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    await folder.put_bytes("a", b"ours")
    stream = await folder.get("a")
    (root / "a").unlink()
    (root / "a").symlink_to(secret)
    with pytest.raises(BlobNotFound):
        _ = [chunk async for chunk in stream]


async def test_a_planted_pipe_blocks_nobody(folder: Blobs, root: Path) -> None:
    await folder.check()
    os.mkfifo(root / "a")
    with pytest.raises(BlobNotFound):
        folder.read_blocking("a", 100)


async def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(folder: Blobs) -> None:
    await folder.put_bytes("a", bytes(3 * MB))
    stream = await folder.get("a")
    size = len(await anext(stream))
    await folder.delete(["a"])
    async for chunk in stream:
        size += len(chunk)
    assert size == 3 * MB


def test_a_full_disk_is_507_and_the_partial_file_goes(tmp_path: Path) -> None:
    """In a process whose files may have 1 MB: the same path as ENOSPC, which needs a mount that tests may not make."""
    program = """
import asyncio, resource, sys
from pathlib import Path
from longrun.blobs.folder import Folder
from longrun.errors import BlobsFull
async def chunks():
    for _ in range(4):
        yield bytes(1 << 20)
async def main(root):
    folder = Folder(root)
    await folder.check()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    for put in (folder.put("a", chunks(), limit=1 << 30), asyncio.to_thread(folder.put_blocking, "a", [bytes(2 << 20)], limit=1 << 30)):
        try:
            await put
        except BlobsFull as error:
            print(error.status, error.code, error.detail)
    print([file.name for file in root.rglob("*") if file.is_file()])
asyncio.run(main(Path(sys.argv[1])))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "root")], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["507 storage-full The folder of files has no room: File too large."] * 2 + ["[]"], done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
async def test_no_space_left_is_507_and_a_sweep_makes_room(folder: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await folder.put_bytes("old", b"1")
    full = os.open("/dev/full", os.O_WRONLY)
    write = os.write
    try:
        monkeypatch.setattr(os, "write", lambda file, data: write(full, data))
        with pytest.raises(BlobsFull, match="No space left"):
            await folder.put_bytes("a", b"1")
        with pytest.raises(BlobsFull, match="No space left"):
            await folder.check()
        assert names(root) == ["old"]
        assert (await sweep(folder, nobody, older_than=0, second_look=0)).removed == 1
    finally:
        os.close(full)
    assert names(root) == []


async def test_a_folder_that_cannot_be_made_is_503(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blobs = open_blobs(Settings(blobs=f"file://{tmp_path}/file/blobs"))
    with pytest.raises(BlobsUnavailable) as raised:
        await blobs.check()
    assert (raised.value.status, raised.value.code, str(tmp_path) in raised.value.detail) == (503, "storage-unavailable", False)
    with pytest.raises(BlobsUnavailable):
        await blobs.put_bytes("a", b"1")
    blobs.close()


async def test_the_folder_of_a_url_may_have_spaces(tmp_path: Path) -> None:
    blobs = open_blobs(Settings(blobs=f"file://{tmp_path}/my%20files"))
    await blobs.put_bytes("a", b"1")
    assert (tmp_path / "my files" / "a").read_bytes() == b"1"
    blobs.close()


async def test_what_a_killed_process_has_half_written_is_cleared(folder: Blobs, root: Path) -> None:
    kill_a_process_that_writes_to(root)
    (left,) = names(root)
    assert await folder.keys() == []
    assert await folder.clear_unfinished(45) == 0, "it is not old enough"
    os.utime(root / ".parts" / left, (time.time() - 46, time.time() - 46))
    assert await folder.clear_unfinished(45) == 1
    assert names(root) == []


def kill_a_process_that_writes_to(root: Path) -> None:
    program = f"""
from pathlib import Path
from longrun.blobs.folder import Folder
def endless():
    while True:
        yield bytes(1 << 16)
Folder(Path({str(root)!r})).put_blocking("a", endless(), limit=1 << 28)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in root.glob(".parts/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


async def test_half_written_files_are_found_without_a_look_at_all_the_others(
    folder: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await folder.put_bytes("a", b"1")
    looked_at: list[str] = []
    scandir = os.scandir

    def watched(place: Path) -> object:
        looked_at.append(str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", watched)
    await folder.clear_unfinished(0)
    assert looked_at == [str(root / ".parts")]


async def test_an_upload_that_drips_is_written_down_now_and_then(folder: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be taken for one that was killed, long before it fills a piece."""
    monkeypatch.setattr("longrun.blobs.folder._REST", 0.05)
    sizes: list[int] = []

    async def drops() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x"
            await asyncio.sleep(0.06)
            sizes.extend(half_written(root))

    await folder.put("a", drops(), limit=4)
    assert sizes[-1] >= 2


async def test_ages_are_by_the_clock_of_the_file_system(folder: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    await folder.put_bytes("a", b"1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert (await sweep(folder, nobody)).removed == 0


async def test_canceling_waits_for_the_write_under_way(folder: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that goes on writing to a closed descriptor would write into whatever file gets its number next."""
    writing, go_on, write = threading.Event(), threading.Event(), os.write

    def slow(file: int, data: bytes) -> int:
        writing.set()
        go_on.wait(30)
        return write(file, data)

    monkeypatch.setattr(os, "write", slow)
    upload = asyncio.create_task(folder.put_bytes("a", b"1"))
    await asyncio.to_thread(writing.wait, 30)
    for _ in range(3):
        upload.cancel()
        await asyncio.sleep(0.05)
    assert not upload.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert names(root) == []


@pytest.mark.parametrize(("durability", "syncs"), [("relaxed", 0), ("strict", 2)])
async def test_strict_durability_syncs_the_file_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, syncs: int
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(stat.S_ISDIR(os.fstat(file).st_mode)))
    blobs = open_blobs(Settings(data=tmp_path, durability=durability))  # type: ignore[arg-type]
    await blobs.put_bytes("a", b"1")
    assert synced == [False, True][:syncs]
    blobs.close()


async def test_many_uploads_at_once_hold_a_piece_each(folder: Blobs) -> None:
    import tracemalloc

    async def five_mb() -> AsyncIterator[bytes]:
        for _ in range(80):
            await asyncio.sleep(0)
            yield bytes(1 << 16)

    tracemalloc.start()
    await asyncio.gather(*(folder.put(f"k{number}", five_mb(), limit=5 * MB) for number in range(50)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * MB, "the files together have 250 MB"


def test_a_blocking_put_takes_any_iterable(tmp_path: Path) -> None:
    def twice() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    blobs = open_blobs(Settings(data=tmp_path))
    blobs.put_blocking("a", twice(), limit=2)
    assert blobs.read_blocking("a", 2) == b"ab"
    blobs.close()
