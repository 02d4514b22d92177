"""Models with which every part of the service has something to log.

With CHAOS_LOGGER=raises, structlog raises at each line of anybody's.
"""

import ctypes
import logging
import os
import subprocess
import sys
import time
import warnings

import structlog

from longrun import Job, model


def raising(*_: object) -> str:
    raise RuntimeError("no line can be made")


if os.environ.get("CHAOS_LOGGER") == "raises":
    structlog.configure(processors=[raising])


@model
def plain(text: str) -> str:
    return text


@model
def raises(text: str) -> str:
    raise ValueError(text)


@model(timeout=1)
def too_long(text: str) -> str:
    time.sleep(3600)
    return text


@model
def waits(text: str, job: Job) -> str:
    while True:
        job.check()
        time.sleep(0.01)


@model
def talks(text: str) -> str:
    """A megabyte in every way there is."""
    for _ in range(1000):
        print(text * 100)
        print(text * 100, "\ud800", file=sys.stderr)
        logging.error(text * 100)
    warnings.warn(text, stacklevel=1)
    os.write(1, text.encode() * 200_000)
    subprocess.run([sys.executable, "-c", f"import sys; sys.stdout.write({text!r} * 200_000)"], check=True)
    print(text * 2_000_000)
    return text


@model
def dies(text: str) -> str:
    """Its last words are the worker's to read: nobody else gets the GIL."""
    libc = ctypes.PyDLL(None)
    libc.write(1, text.encode() * 50_000, 50_000)
    libc._exit(7)
    return text
