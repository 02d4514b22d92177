"""The model of the rows about files: it takes a picture, and no worker runs it there."""

from typing import Annotated

from longrun import Image, Limits, model


@model
def look(text: str, picture: Annotated[Image, Limits(max_bytes=40_000_000)] | None = None) -> str:
    """Return the text."""
    return text
