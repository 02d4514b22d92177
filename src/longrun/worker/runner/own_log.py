"""The runner's own log. What the author's code does to structlog, or binds for its own lines, changes nothing here."""

from __future__ import annotations

from longrun.log import Log

log = Log("longrun.runner")
