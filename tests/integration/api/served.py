"""The models that these tests serve."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from longrun import File, Image, Limits, Model, Retry, batched, model
from longrun.models import Registry, isolated_registry

with isolated_registry() as _defined:

    class Look(BaseModel):
        """A nested part of an input."""

        zoom: Annotated[float, Field(gt=0)] = 1.0

    class Ask(BaseModel):
        """The input of Captioner."""

        image: Annotated[str, Field(min_length=1)]
        max_tokens: Annotated[int, Field(ge=1, le=200)] = 30
        look: Look = Look()

    class Captioner(Model, queue="gpu", retry=Retry(3), timeout=120):
        """Caption an image."""

        def predict(self, ask: Ask) -> str:
            return ask.image

    @model
    def echo(value: Any) -> Any:
        """Give back what came in."""
        return value

    @model(queue="llm")
    def story(prompt: str) -> Iterator[str]:
        """Tell a story, word by word."""
        yield from prompt.split()

    @model(queue="llm")
    def count(to: int) -> Iterator[int]:
        """Count."""
        yield from range(to)

    class Text(BaseModel):
        """The input of Embed."""

        text: str

    class Embed(Model, queue="gpu", retain_for=3600):
        """Embed a text."""

        @batched(max_size=4)
        def predict(self, asks: list[Text]) -> list[list[float]]:
            return [[float(len(ask.text))] for ask in asks]

    @model(delivery="at_most_once", total_timeout=60)
    def pay(cents: int) -> bool:
        """Pay once."""
        return cents > 0

    class Shade(Enum):
        """A choice that is described apart from the field."""

        LIGHT = "light"
        DARK = "dark"

    @model
    def collage(  # noqa: PLR0917
        cover: Annotated[Image, Limits(max_bytes=1_000_000)],
        more: list[Annotated[File, Limits(max_bytes=200_000)]] = [],  # noqa: B006
        title: str = "",
        columns: int | None = None,
        tags: list[str] | None = None,
        shade: Shade = Shade.LIGHT,
        label: str | int = "",
        extra: Any = None,
    ) -> File:
        """Put pictures beside each other."""
        return cover


def served() -> Registry:
    """A registry with all of them."""
    registry = Registry()
    for spec in _defined:
        registry.add(spec)
    return registry
