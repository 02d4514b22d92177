"""The runner's own log. What the author's code does to structlog, or binds for its own lines, changes nothing here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog


class OwnLog:
    """Writes lines, and never fails: who reports a failure has nowhere else to go."""

    def __init__(self) -> None:
        self._logger: Any = None

    def use(self, logger: Any) -> None:
        """Write to this one from now on; before that to what structlog gives."""
        self._logger = logger

    def info(self, event: str, **members: Any) -> None:
        """A line that says what goes on."""
        self._write("info", event, members)

    def warning(self, event: str, **members: Any) -> None:
        """A line about trouble of a job's."""
        self._write("warning", event, members)

    def error(self, event: str, **members: Any) -> None:
        """A line about trouble of a model's, or of ours."""
        self._write("error", event, members)

    def critical(self, event: str, **members: Any) -> None:
        """A line about the end of this process."""
        self._write("critical", event, members)

    def _write(self, level: str, event: str, members: dict[str, Any]) -> None:
        with suppress(Exception):
            getattr(self._logger or structlog.get_logger("longrun.runner"), level)(event, **members)


log = OwnLog()
