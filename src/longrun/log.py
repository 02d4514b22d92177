"""How everything in Longrun logs: a line that cannot be made or written changes nothing for whoever wanted to log it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog

_PLAIN = (str, int, float, bool, type(None))


class Log:
    """A logger whose methods never raise.

    How structlog is set up may be somebody else's choice: of the application that ours is part of, or of the models' file. And what is
    logged may be somebody else's object, which cannot be asked what it is.

    Args:
        name: of the part that logs.
        logger: what writes the lines; None: structlog, as it is set up at that time.
    """

    #: Whether lines for debugging are left out. To have structlog find that out costs as much as a tenth of a request.
    without_debug = False

    def __init__(self, name: str, logger: Any = None) -> None:
        self._logger = structlog.get_logger(name) if logger is None else logger

    def use(self, logger: Any) -> None:
        """Write to this one from now on."""
        self._logger = logger

    def debug(self, event: str, **members: Any) -> None:
        """A line for those who look for a fault."""
        if not Log.without_debug:
            self._write("debug", event, members)

    def info(self, event: str, **members: Any) -> None:
        """A line that says what goes on."""
        self._write("info", event, members)

    def warning(self, event: str, **members: Any) -> None:
        """A line about trouble that is borne."""
        self._write("warning", event, members)

    def error(self, event: str, **members: Any) -> None:
        """A line about trouble that costs somebody something."""
        self._write("error", event, members)

    def critical(self, event: str, **members: Any) -> None:
        """A line about trouble of the whole process or service."""
        self._write("critical", event, members)

    def _write(self, level: str, event: str, members: dict[str, Any]) -> None:
        try:
            getattr(self._logger, level)(event, **members)
        except Exception as error:
            # Most likely it is one of the members that cannot be written. If it is not, there is no other place to say that.
            with suppress(Exception):
                plain = {name: value if type(value) in _PLAIN else f"<{type(value).__name__}>" for name, value in members.items()}
                getattr(self._logger, level)(event, **plain, log_error=type(error).__name__)
