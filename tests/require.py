"""What some tests need from the machine and `make` does not install: node, a browser, a broker."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

#: Enters PID namespaces of its own, as a container has them. Its first process is its child; that one's end is the end of all in it.
_NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def require(what: str, missing: str | None) -> None:
    """Skip the test when something is missing; fail it where LONGRUN_TEST_REQUIRE says that it must be there.

    Args:
        what: the name for it in LONGRUN_TEST_REQUIRE, a list with commas, such as `node`.
        missing: what is not there and how to get it; None when all is.
    """
    if missing is None:
        return
    if what in os.environ.get("LONGRUN_TEST_REQUIRE", "").split(","):
        pytest.fail(f"LONGRUN_TEST_REQUIRE names {what}, but {missing}")
    pytest.skip(missing)


def require_namespaces() -> list[str]:
    """What stands before a command that is to run in PID namespaces of its own. Mostly that needs root."""
    tried = subprocess.run([*_NAMESPACES, "true"], capture_output=True) if shutil.which("unshare") else None
    require("namespaces", None if tried and tried.returncode == 0 else "this user may make no PID namespaces (`unshare --pid`, as root)")
    return [*_NAMESPACES]
