"""Signals: the answers that a job waits for. Author, service and store agree here on what one may be."""

from __future__ import annotations

import re

#: The name of a signal. It stands in URLs, where a part `..` would mean another path, and with spaces between them in the job's record.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,63}")
#: Bytes of a value, as JSON.
MOST_VALUE = 64 * 1024
