"""A progress bar: how many of the jobs of a map or a batch have ended."""

from __future__ import annotations

import sys
from collections.abc import Sized
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """A progress bar on stderr, if it is wanted, stderr is a terminal, and rich is installed; otherwise nothing."""

    def __init__(self, title: str, inputs: object, *, wanted: bool) -> None:
        self._progress: Progress | None = None
        self._failed = 0
        if not (wanted and sys.stderr.isatty()):
            return
        try:
            from rich import console, progress
        except ImportError:
            return
        self._progress = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[failed]}"),
            console=console.Console(stderr=True),
        )
        self._progress.add_task(title, total=len(inputs) if isinstance(inputs, Sized) else None, failed="")
        self._progress.start()

    @property
    def shown(self) -> bool:
        """Whether the bar is on the screen."""
        return self._progress is not None

    def advance(self, *, failed: bool = False) -> None:
        """One job has ended."""
        self._failed += failed
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=1, failed=f"{self._failed} failed" if self._failed else "")

    def reach(self, done: int, failed: int) -> None:
        """`done` jobs have ended, `failed` of them without an output."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, failed=f"{failed} failed" if failed else "")

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop drawing; the bar stays on the screen as it is."""
        if self._progress is not None:
            self._progress.stop()
