"""What `from longrun.errors import *` brings."""

from __future__ import annotations

from typing import Any

import longrun.errors


def test_a_star_import_brings_every_exception_and_nothing_else() -> None:
    names: dict[str, Any] = {}
    exec("from longrun.errors import *", names)
    del names["__builtins__"]

    assert all(issubclass(value, BaseException) for value in names.values())
    assert {"Problem", "QueueFull", "ApiError", "JobFailed", "Canceled", "MissingExtra"} <= set(names)
    assert set(names) == set(longrun.errors.__all__)
