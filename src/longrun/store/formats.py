"""The format of the data, and which formats this version can work on.

The rule: **whatever an older process would count or reference wrongly raises the format.** Counted wrongly is what it would add up, end or
expire although somebody else has to; referenced wrongly is a key, a field or an argument that it would look for under another name, or
would write so that others do not find it. What an older process merely passes over does not raise it.

A raise has four parts, all in one change:

1. `FORMAT` becomes the next number, with a line here that says what is new in it.
2. Readers take both shapes: every script and every line of Python reads what the formats from `OLDEST` on have written.
3. Writers write by the format that the data have now: `FORMAT` in a script (filled in when it is loaded), `Store.format` in Python.
   A process that hears of a raise late writes the old shape for some seconds more, which all can read.
4. Nothing else: `service/presence.py` announces which formats each process can work on, and `announce_process.lua` raises the number
   in `about` once no process is left that cannot.

| format | since | what is new in it |
|---|---|---|
| 1 | 0.1.0 | |
| 2 | 0.2.0 | every write of a worker is fenced by the attempt and the nonce of its claim; 0.1.0 fences by the attempt alone; steps |
"""

from __future__ import annotations

#: The newest format that this version can work on: what fresh data have.
FORMAT = 2
#: The oldest.
OLDEST = 1


def known(format: str) -> bool:
    """Whether this version can work on data that say so (`about.format`, as stored)."""
    return format.isascii() and format.isdigit() and OLDEST <= int(format) <= FORMAT


def nearest(format: str) -> int:
    """The format in which to write to data that say so: theirs, or for `doctor`, which looks at any, the nearest."""
    return min(max(int(format), OLDEST), FORMAT) if format.isascii() and format.isdigit() else FORMAT
