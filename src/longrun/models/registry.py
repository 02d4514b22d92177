"""The models of this process."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from longrun.errors import AuthoringError, UnknownModel
from longrun.models.spec import ModelSpec


class Registry:
    """Models by name."""

    def __init__(self) -> None:
        self._specs: dict[str, ModelSpec] = {}

    def add(self, spec: ModelSpec) -> None:
        """Add a model. The same definition, loaded again, replaces itself.

        Raises:
            AuthoringError: another definition has this name.
        """
        other = self._specs.get(spec.name)
        if other is not None and (other.place.file, other.place.line) != (spec.place.file, spec.place.line):
            raise AuthoringError(f"two models are named {spec.name!r}: {other.place} and {spec.place}; pass name= to one of them")
        self._specs[spec.name] = spec

    def get(self, name: str) -> ModelSpec:
        """The model of this name.

        Raises:
            UnknownModel: there is none; the detail lists names that are near.
        """
        try:
            return self._specs[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._specs, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UnknownModel(f"There is no model named {name[:64]!r}{hint}") from None

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._specs)

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter([self._specs[name] for name in self.names()])

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._specs


# Definitions register while a module is imported, where nothing can be passed to them: hence one registry for the process.
_active = [Registry()]


def default_registry() -> Registry:
    """The registry into which definitions go now."""
    return _active[-1]


@contextmanager
def isolated_registry() -> Iterator[Registry]:
    """Definitions inside the block go into an empty registry of their own; for tests."""
    _active.append(Registry())
    try:
        yield _active[-1]
    finally:
        _active.pop()
