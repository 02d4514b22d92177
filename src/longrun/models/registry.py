"""The models of this process, and how a target such as `app.py` is imported to define them."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from longrun.errors import AuthoringError, SettingsError, UnknownModel
from longrun.models.spec import ModelSpec

#: Slow to import, and of no use to the API process.
HEAVY = ("torch", "jax", "tensorflow", "transformers")
_WRITE_ONE = "write `class Name(Model)` with a `predict`, or put `@model` on a function"
_MODELS_ATTRIBUTE = "__longrun_models__"


class HeavyImportWarning(UserWarning):
    """Importing the models also imports a large library, in every API process; it belongs in `load()`."""


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


def load_target(target: str, registry: Registry | None = None) -> list[ModelSpec]:
    """Import a file or module and return the models that are defined through it, sorted by name.

    A file becomes a module named as the file (`app.py` is `app`; inside a package, its dotted name), with its folder on
    `sys.path`, so every process that loads the same target has the same module names. Models that it defines, imports by
    name, or that modules it imports define, all count.

    Args:
        target: `app.py`, `folder/app.py` or `package.module`; `:Name` or `:One,Two` after it picks models.
        registry: takes the models; by default the process's.

    Raises:
        SettingsError: file, module or name do not exist, or are no models; the message says what to write.
        Exception: whatever the author's own code raises while it is imported.
    """
    where, _, picked = target.partition(":")
    registry = registry if registry is not None else default_registry()
    module = _import(where)
    specs = _pick(module, picked, target) if picked else _models_of(module)
    if not specs:
        raise SettingsError(f"{target} holds no model: {_WRITE_ONE}")
    for spec in specs:
        registry.add(spec)
    return specs


def _import(where: str) -> ModuleType:
    """Import it; models that are defined meanwhile are remembered on the module, for when it is loaded again."""
    name, folder, path = _locate(where)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    fresh = name not in sys.modules
    heavy = {each for each in HEAVY if each in sys.modules}
    with isolated_registry() as defined:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise SettingsError(
                    f"there is no module {where!r}; give a file such as app.py, or a module that Python can import"
                ) from error
            raise
    found = getattr(module, "__file__", None)
    if path is not None and (found is None or Path(found).resolve() != path):
        raise SettingsError(f"{where} cannot be loaded: its name {name!r} is taken by {found or 'a built-in module'}; rename the file")
    if fresh:
        setattr(module, _MODELS_ATTRIBUTE, list(defined))
    for each in HEAVY:
        if each in sys.modules and each not in heavy:
            warnings.warn(
                f"importing {where} loads {each}: move the import into load(), for the API imports it too", HeavyImportWarning, stacklevel=3
            )
    return module


def _locate(where: str) -> tuple[str, Path, Path | None]:
    """Module name, folder for `sys.path`, and the file if `where` is one."""
    if not where.endswith(".py") and "/" not in where and "\\" not in where:
        if not where or any(not part.isidentifier() for part in where.split(".")):
            raise SettingsError(f"{where!r} is neither a file nor a module; give a file such as app.py, or a module such as package.module")
        return where, Path.cwd(), None
    path = Path(where).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise SettingsError(f"there is no Python file {where}; give the path of a file such as app.py")
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder, path


def _models_of(module: ModuleType) -> list[ModelSpec]:
    found = Registry()
    for spec in [*getattr(module, _MODELS_ATTRIBUTE, ()), *map(_spec_of, vars(module).values())]:
        if spec is not None:
            found.add(spec)
    return list(found)


def _pick(module: ModuleType, picked: str, target: str) -> list[ModelSpec]:
    specs = Registry()
    for name in (each.strip() for each in picked.split(",")):
        if not hasattr(module, name):
            raise SettingsError(f"{target}: {module.__name__} has no {name!r}; its models are: {_listed(module)}")
        spec = _spec_of(getattr(module, name))
        if spec is None:
            raise SettingsError(f"{target}: {name} is not a model; {_WRITE_ONE}. Models there: {_listed(module)}")
        specs.add(spec)
    return list(specs)


def _spec_of(value: Any) -> ModelSpec | None:
    # From its own dict: a base without `predict` would show nothing, but any object may answer any attribute.
    spec = getattr(value, "__dict__", {}).get("__longrun__")
    return spec if isinstance(spec, ModelSpec) else None


def _listed(module: ModuleType) -> str:
    return ", ".join(sorted(spec.target.__name__ for spec in _models_of(module))) or "none"
