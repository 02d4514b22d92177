"""The files of a job in a runner: opened where the blob store has them, and stored under the job and the fence that made them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, NoReturn, TypeVar

import orjson

from longrun.blobs.contract import BlobNotFound, Blobs
from longrun.blobs.open import open_blobs
from longrun.clock import new_file_id
from longrun.errors import BadInput, BlobsFull, BlobsUnavailable, PayloadTooLarge, ResultTooLarge
from longrun.jobs import npy
from longrun.jobs.fence import Fence
from longrun.jobs.file_refs import FileRef, reference
from longrun.media.names import safe_name
from longrun.media.scan import Scanner
from longrun.models.file_types import File
from longrun.settings import load_settings
from longrun.worker.runner.copies import Copies
from longrun.worker.runner.own_log import log
from longrun.worker.runner.settings import RunnerSettings

T = TypeVar("T")

#: Files that one attempt may make, beside its output (`store/scripts/lib_ends.lua` keeps no more).
MOST_MADE = 1000
#: Seconds before each further try of the blob store: one that is away for a moment must not cost the work that was done.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Seconds between two looks at the flag in such a pause.
_LOOK = 0.05
_PIECE = 256 * 1024
_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,100}(?:; charset=utf-8)?")
#: Types that a browser would run, whatever a model says.
_ACTIVE = re.compile(r"html|script|svg|[/+]xml")


class RunnerBlobs:
    """The blob store as this process uses it. Raises SettingsError: it cannot be used as it is set.

    It is made before the models are imported, and so is its library: no I/O happens before the first call.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self.max_file = settings.max_file
        self.blobs: Blobs = open_blobs(load_settings(blobs=settings.blobs, data=settings.data, durability=settings.durability))

    @cached_property
    def copies(self) -> Copies:
        """The folder of this process for copies of files."""
        return Copies(self._settings.copies)


class JobFiles:
    """The files of one run (see `models.file_schema.Attached`). A blob store that is away or full is asked again for about 15 s.

    Args:
        blobs: of this process.
        job_id, fence: whose.
        emit: sends an event of the job.
        check: raises the reason if the job is to stop and its code has not seen that yet; `stuck`: the work gets no further.
    """

    def __init__(
        self, blobs: RunnerBlobs, job_id: str, fence: Fence, emit: Callable[[str, bytes], None], check: Callable[[bool], None]
    ) -> None:
        self._runner, self._prefix, self._emit, self._check = blobs, f"{job_id}/{fence}", emit, check
        self._made = 0
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a file of a job cannot be sent to another process, where nothing reaches its bytes: send file.read(), or str(file.path())"
        )

    def read_input(self, ref: FileRef) -> bytes:
        """An input that is kept as a file. Raises BadInput: it is not there any longer."""
        try:
            return self._retried(lambda: self._runner.blobs.read_blocking(ref.key, ref.size))
        except BlobNotFound:
            raise BadInput("The input of this job is not there any longer.") from None

    def open(self, ref: FileRef) -> BinaryIO:
        """The stored bytes, for reading. Raises BadInput: they are not there any longer; BlobsUnavailable."""
        try:
            return self._retried(lambda: self._reached(ref)).open("rb")
        except (BlobNotFound, FileNotFoundError):
            raise BadInput("A file of the input is not there any longer.") from None

    def path(self, ref: FileRef, suffix: str) -> Path:
        """A copy of its own, which may be changed. Raises as `open` does."""
        copy = self._own_folder() / f"{secrets.token_hex(8)}{suffix}"
        with self.open(ref) as source, _no_room_here(), copy.open("xb") as target:
            shutil.copyfileobj(source, target, _PIECE)
        return copy

    def store(self, file: File) -> FileRef:
        """Store a file that the model has made, and report it.

        Raises:
            ResultTooLarge: it, or their number, is over the limit.
            BlobsFull, BlobsUnavailable: the blob store does not take it.
            Canceled: the job is to stop.
        """
        self._made += 1
        if self._made > MOST_MADE:
            raise ResultTooLarge(f"The job made more than {MOST_MADE:,} files.")
        return self._stored(file)

    def store_output(self, output: bytes) -> bytes:
        """Store an output that is too large for the record; what the record holds in its place. Raises as `store` does."""
        name, content_type = ("output.npy", npy.MEDIA_TYPE) if npy.is_npy(output) else ("output.json", "application/json")
        return reference(self._stored(File(output, name=name, content_type=content_type)))

    def _stored(self, file: File) -> FileRef:
        kind = _plausible(file.content_type) or _sniffed(file)
        ref = self._retried(lambda: self._put(file, new_file_id(), kind, safe_name(file.name)))
        self._emit("file", orjson.dumps(ref.members()))
        return ref

    def close(self) -> None:
        """The job has ended: its copies go."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _put(self, file: File, file_id: str, kind: str, name: str) -> FileRef:
        scanner, most = Scanner(), self._runner.max_file
        try:
            stored = self._runner.blobs.put_blocking(
                f"{self._prefix}/{file_id}", self._scanned(file, scanner), limit=most, content_type=kind, filename=name
            )
        except PayloadTooLarge:
            raise ResultTooLarge(f"A file that the model made has more than {most:,} bytes.") from None
        return FileRef(file_id, stored.key, stored.size, stored.digest, kind, name, scanner.close().to_json())

    def _scanned(self, file: File, scanner: Scanner) -> Iterator[bytes]:
        for chunk in file.chunks():
            self._check(False)
            scanner.feed(chunk)
            yield chunk

    def _retried(self, work: Callable[[], T]) -> T:
        """Do it, again after a pause when the blob store does not; the last refusal is raised."""
        for pause in _PAUSES:
            try:
                return work()
            except (BlobsFull, BlobsUnavailable) as error:
                log.warning("the blob store does not do it, trying again", reason=error.detail, pause=pause)
            end = monotonic() + pause
            while monotonic() < end:
                self._check(True)
                sleep(_LOOK)
        return work()

    def _own_folder(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = self._runner.copies.for_one_job()
            return self._folder

    def _reached(self, ref: FileRef) -> Path:
        """The file itself where this machine has it; otherwise a copy, made once."""
        path = self._runner.blobs.path(ref.key)
        if path is not None:
            return path
        copy = self._own_folder() / ref.id
        if not copy.exists():
            part = copy.with_suffix(f".{secrets.token_hex(4)}")
            with _no_room_here():
                try:
                    self._fetch(ref, part)
                    part.replace(copy)
                finally:
                    part.unlink(missing_ok=True)
        return copy

    def _fetch(self, ref: FileRef, target: Path) -> None:
        with target.open("xb") as file:
            for chunk in self._runner.blobs.get_blocking(ref.key):
                self._check(False)
                file.write(chunk)


@contextmanager
def _no_room_here() -> Iterator[None]:
    """A copy that cannot be written is no fault of the model's."""
    try:
        yield
    except OSError as error:
        raise BlobsUnavailable(f"A file could not be copied to this machine: {os.strerror(error.errno or 0)}.") from error


def _plausible(content_type: str) -> str:
    """The type that the author gave, where it may be served; empty: ask the bytes."""
    given = content_type.strip().lower()
    return given if _TYPE.fullmatch(given) and not _ACTIVE.search(given) else ""


def _sniffed(file: File) -> str:
    scanner = Scanner()
    for chunk in file.chunks():
        scanner.feed(chunk)
        break  # more is not needed to know the format
    return scanner.close().media_type
