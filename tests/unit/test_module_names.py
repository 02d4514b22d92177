"""Where a comment or docstring says in which module something is, it is there: files move, and the words stay behind."""

from __future__ import annotations

import re
from pathlib import Path

import longrun

ROOT = Path(longrun.__file__).parent
NAME = re.compile(r"`((?:api|jobs|models|queues|service|store|worker)(?:\.\w+)+)")


def is_there(name: str) -> bool:
    """Whether `name` is a module, or stands in the module that the words before it name."""
    parts = name.split(".")
    for n in range(len(parts), 1, -1):
        place = ROOT.joinpath(*parts[:n])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.exists():
            return parts[n:] == [] or re.search(rf"\b{parts[n]}\b", module.read_text()) is not None
    return False


def test_every_module_that_is_named_is_there() -> None:
    named = {(name, path.name) for path in ROOT.rglob("*") if path.suffix in (".py", ".lua") for name in NAME.findall(path.read_text())}
    assert len(named) > 5
    assert [each for each in sorted(named) if not is_there(each[0])] == []
