"""What some tests need from the machine and `make` does not install: node, a browser, a broker."""

from __future__ import annotations

import os

import pytest


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
