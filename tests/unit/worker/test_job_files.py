"""Files in a runner: a blob store that fails, a job that is to stop, names and types, copies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from longrun.blobs.contract import Stored
from longrun.blobs.folder import Folder
from longrun.errors import BadInput, BlobsFull, BlobsUnavailable, Canceled, ResultTooLarge, SoftTimeLimit
from longrun.jobs.file_refs import FileRef, referenced
from longrun.models import File
from longrun.worker.runner import job_files as under_test
from longrun.worker.runner.context import Context
from longrun.worker.runner.copies import Copies, remove_left
from longrun.worker.runner.job_files import JobFiles, RunnerBlobs
from longrun.worker.runner.run import Run
from longrun.worker.runner.settings import RunnerSettings


class Flaky(Folder):
    """A folder that refuses the first `refusals` puts, in the middle of them."""

    refusals = 0
    refusal: type[BlobsFull] | type[BlobsUnavailable] = BlobsFull
    tried = 0

    def put_blocking(self, key: str, chunks: Iterable[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        self.tried += 1
        if self.tried <= self.refusals:
            next(iter(chunks), None)
            raise self.refusal("It does not.")
        return super().put_blocking(key, chunks, limit=limit, content_type=content_type, filename=filename)


class Setting:
    """The files of a job on a folder."""

    def __init__(self, tmp_path: Path, check: Callable[[bool], None] = lambda stuck: None, **settings: Any) -> None:
        self.runner = RunnerBlobs(RunnerSettings(**{"max_file": 1000, "copies": str(tmp_path), **settings}))
        self.blobs = Flaky(tmp_path / "files")
        vars(self.runner)["blobs"] = self.blobs
        self.events: list[tuple[str, Any]] = []
        self.files = JobFiles(self.runner, "job_1", "2/n", lambda kind, data: self.events.append((kind, orjson.loads(data))), check)

    def keys(self) -> list[str]:
        return asyncio.run(self.blobs.keys())


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(under_test, "_LOOK", 0.001)


def test_a_file_is_stored_under_its_job_and_fence_and_reported_after_that(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    ref = setting.files.store(File(b"words", name="a.txt"))
    assert ref.key == f"job_1/2/n/{ref.id}"
    assert setting.events == [("file", ref.members())]
    assert (ref.size, ref.content_type, ref.name, ref.facts["format"]) == (5, "text/plain", "a.txt", "text")
    assert b"".join(setting.blobs.get_blocking(ref.key)) == b"words"


@pytest.mark.parametrize("refusal", [BlobsFull, BlobsUnavailable])
def test_a_blob_store_that_fails_for_a_moment_is_asked_again_with_all_of_the_file(tmp_path: Path, refusal: Any) -> None:
    setting = Setting(tmp_path)
    setting.blobs.refusals, setting.blobs.refusal = 2, refusal
    ref = setting.files.store(File(b"all of it"))
    assert b"".join(setting.blobs.get_blocking(ref.key)) == b"all of it"
    assert setting.keys() == [ref.key]
    assert len(setting.events) == 1


def test_a_blob_store_that_goes_on_failing_fails_the_job_with_its_own_words_and_nothing_is_reported(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.blobs.refusals = 99
    with pytest.raises(BlobsFull, match="It does not"):
        setting.files.store(File(b"x"))
    assert setting.blobs.tried == 3
    assert setting.events == []


def test_what_is_too_large_is_not_tried_again_and_leaves_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    with pytest.raises(ResultTooLarge, match="1,000 bytes"):
        setting.files.store(File(bytes(1001)))
    assert (setting.blobs.tried, setting.keys(), setting.events) == (1, [], [])


def test_an_output_that_is_stored_is_none_of_the_files_that_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_MADE", 2)
    setting = Setting(tmp_path)
    for _ in range(2):
        setting.files.store(File(b"x"))
    ref = referenced(setting.files.store_output(b'{"a":1}'))
    assert ref is not None
    assert (ref.content_type, ref.name) == ("application/json", "output.json")
    with pytest.raises(ResultTooLarge, match="more than 2 files"):
        setting.files.store(File(b"x"))


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ("text/csv", "text/csv"),
        ("Model/GLTF+json", "model/gltf+json"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",) * 2,
        ("text/plain; charset=utf-8",) * 2,
        ("text/html", "text/plain"),
        ("image/svg+xml", "text/plain"),
        ("application/xml", "text/plain"),
        ("application/xhtml+xml", "text/plain"),
        ("text/javascript", "text/plain"),
        ("text/csv\r\nX-Evil: 1", "text/plain"),
        ("text/plain; charset=utf-7", "text/plain"),
        ("nonsense", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_a_type_is_the_authors_if_a_browser_may_see_it_and_otherwise_that_of_the_bytes(tmp_path: Path, given: str, served: str) -> None:
    assert Setting(tmp_path).files.store(File(b"some words", content_type=given)).content_type == served


def stopping(kind: type[Canceled] | None, *, raised: bool = False) -> Run:
    run = Run(("job_1", "1/n", b"{}", b"", False), Context(lambda *frame: None))
    if kind is not None:
        run.request_stop(kind, is_async=False)
    if raised:
        run.stop_was_raised("flag")
    return run


@pytest.mark.parametrize(
    ("kind", "raised", "stuck", "stops"),
    [
        (None, False, True, False),
        (Canceled, False, False, True),
        (Canceled, False, True, True),
        (Canceled, True, True, False),
        (SoftTimeLimit, False, False, False),
        (SoftTimeLimit, False, True, True),
        (SoftTimeLimit, True, True, False),
    ],
)
def test_a_job_that_is_told_to_stop_hears_of_it_once_and_when_its_time_is_over_only_if_nothing_goes_on(
    kind: type[Canceled] | None, raised: bool, stuck: bool, stops: bool
) -> None:
    run = stopping(kind, raised=raised)
    if not stops:
        run.check(stuck)
        return
    with pytest.raises(kind or Canceled):
        run.check(stuck)
    assert run.raised == "flag"


def test_a_job_is_stopped_while_it_waits_for_the_blob_store_and_between_two_pieces_of_a_file(tmp_path: Path) -> None:
    waiting = Setting(tmp_path, stopping(SoftTimeLimit).check)
    waiting.blobs.refusals = 1
    with pytest.raises(SoftTimeLimit):
        waiting.files.store(File(b"x"))
    writing = Setting(tmp_path, stopping(Canceled).check, max_file=1 << 30)
    with pytest.raises(Canceled):
        writing.files.store(File(bytes(1_000_000)))
    assert (writing.keys(), [*(tmp_path / "files" / ".parts").iterdir()]) == ([], [])


# -- reading ------------------------------------------------------------------------------------------------------------------


class Far(Flaky):
    """A blob store that has no files on this machine."""

    cut = 0

    def path(self, key: str) -> Path | None:
        return None

    def get_blocking(self, key: str, *, start: int = 0, end: int | None = None) -> Any:
        for piece in super().get_blocking(key, start=start, end=end):
            if self.cut:
                self.cut -= 1
                raise BlobsUnavailable("It stopped in the middle.")
            yield piece


def far(tmp_path: Path) -> tuple[Setting, FileRef]:
    setting = Setting(tmp_path)
    blobs = Far(tmp_path / "files")
    vars(setting.runner)["blobs"] = blobs
    stored = blobs.put_blocking("file_1", [b"words"], limit=10)
    return setting, FileRef("file_1", "file_1", stored.size, stored.digest)


def test_a_file_that_is_far_away_is_fetched_once_and_its_copy_goes_with_the_job(tmp_path: Path) -> None:
    setting, ref = far(tmp_path)
    setting.runner.blobs.cut = 2  # type: ignore[attr-defined]
    with setting.files.open(ref) as file:
        assert file.read() == b"words"
        assert file.seek(1) == 1
    asyncio.run(setting.blobs.delete([ref.key]))
    with setting.files.open(ref) as file:
        assert file.read() == b"words"
    assert setting.files.path(ref, ".png").suffix == ".png"
    assert len([*setting.runner.copies.folder.rglob("*")]) == 3
    setting.files.close()
    assert [*setting.runner.copies.folder.rglob("*")] == []


def test_what_is_not_there_any_longer_is_a_bad_input(tmp_path: Path) -> None:
    for setting in (Setting(tmp_path), far(tmp_path)[0]):
        gone = FileRef("file_2", "file_2", 1, "")
        for read in (setting.files.open, setting.files.read_input):
            with pytest.raises(BadInput, match="not there any longer"):
                read(gone)


def test_a_copy_for_which_there_is_no_room_is_no_fault_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, ref = far(tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(BlobsUnavailable, match="No space left"):
        setting.files.open(ref)


# -- copies -------------------------------------------------------------------------------------------------------------------

HOLDS = "import sys\nfrom longrun.worker.runner.copies import Copies\nc = Copies(sys.argv[1])\nprint(c.for_one_job(), flush=True)\ninput()"


def test_a_folder_of_copies_stays_while_its_process_lives_and_goes_when_it_was_killed(tmp_path: Path) -> None:
    ours, strange = Copies(str(tmp_path)), tmp_path / "not-ours"
    strange.mkdir()
    (tmp_path / "longrun-runner-link").symlink_to(strange)
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip()).parent
        remove_left(str(tmp_path))
        assert theirs.is_dir()
        holder.kill()
    remove_left(str(tmp_path))
    assert not theirs.exists()
    assert ours.folder.is_dir()
    assert strange.is_dir()


def test_the_library_of_a_bucket_is_loaded_with_the_runner_and_not_at_its_first_file():
    code = (
        "import sys\nfrom longrun.worker.runner.job_files import RunnerBlobs\nfrom longrun.worker.runner.settings import RunnerSettings\n"
        "RunnerBlobs(RunnerSettings())\nbefore = 'obstore' in sys.modules\nRunnerBlobs(RunnerSettings(blobs='s3://bucket'))\n"
        "print(before, 'obstore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
