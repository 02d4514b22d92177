"""How a target such as `app.py` is imported, and which models it brings."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from longrun.errors import SettingsError
from longrun.models import early_imports
from longrun.models.definitions import models_of, spec_of
from longrun.models.exits import explain_exit
from longrun.models.patches import refuse_patches
from longrun.models.place import file_of, is_authors
from longrun.models.registry import Registry, default_registry, isolated_registry
from longrun.models.spec import ModelSpec

#: Slow to import, and of no use to the API process.
HEAVY = ("torch", "jax", "tensorflow", "transformers")
#: By folder: its modules that are not in `sys.modules`, because others have their names there.
_beside: dict[Path | None, dict[str, ModuleType]] = {}
_WRITE_ONE = "write `class Name(Model)` with a `predict`, or put `@model` on a function"


class HeavyImportWarning(UserWarning):
    """Importing the models also imports a large library, in every API process; it belongs in `load()`."""


def load_target(target: str, registry: Registry | None = None, *, folder_stays_first: bool = False) -> list[ModelSpec]:
    """Import a file or module and return the models that are defined through it, sorted by name.

    A file becomes a module named as the file (`app.py` is `app`; inside a package, its dotted name), with its folder on
    `sys.path`, so every process that loads the same target has the same module names. Models that it defines, imports by
    name, or that modules it imports define, all count, whatever was imported before.

    While it is imported, its folder comes first in `sys.path`, as for `python app.py`.

    Args:
        target: `app.py`, `folder/app.py` or `package.module`; `:Name` or `:One,Two` after it picks models.
        registry: takes the models; by default the process's.
        folder_stays_first: in a process that runs this code and no other. Otherwise the folder is where it was in `sys.path` afterwards,
            or at its end.

    Raises:
        SettingsError: file, module or name do not exist, or are no models; or the import ends the process, or replaces parts of the
            standard library. The message says what to write.
        Exception: whatever the author's own code raises while it is imported.
    """
    where, _, picked = target.partition(":")
    registry = registry if registry is not None else default_registry()
    name, folder, path = _locate(where)
    early_imports.load()
    if folder_stays_first:
        early_imports.look_past(str(folder))
    # Definitions of these models are for those who ask for them here.
    with _first_in_path(str(folder), stays=folder_stays_first), _own_modules(folder if path else None), isolated_registry():
        module = _import(where, name, path)
        specs = _pick(module, picked, target) if picked else models_of(module)
    if not specs:
        raise SettingsError(f"{target} holds no model: {_WRITE_ONE}")
    for spec in specs:
        registry.add(spec)
    return specs


def models_beside(target: str) -> list[ModelSpec]:
    """All models of the module of a target that was loaded before, also those that it does not pick."""
    name, folder, path = _locate(target.partition(":")[0])
    with _first_in_path(str(folder), stays=False), _own_modules(folder if path else None), isolated_registry():
        return models_of(importlib.import_module(name))


def _import(where: str, name: str, path: Path | None) -> ModuleType:
    heavy = {each for each in HEAVY if each in sys.modules}
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"there is no module {where!r}; give a file such as app.py, or a module that Python can import") from error
        raise
    except (SystemExit, KeyboardInterrupt, EOFError) as error:
        if (reason := explain_exit(error)) is None:
            raise
        raise SettingsError(f"{where} cannot be served: {reason}") from error
    except Exception:
        refuse_patches(where)  # they break the import system itself, where other threads run
        raise
    found = getattr(module, "__file__", None)
    if path is not None and (found is None or Path(found).resolve() != path):
        raise SettingsError(f"{where} cannot be loaded: its name {name!r} is taken by {found or 'a built-in module'}; rename the file")
    refuse_patches(where)
    for each in HEAVY:
        if each in sys.modules and each not in heavy:
            warnings.warn(
                f"importing {where} loads {each}: move the import into load(), for the API imports it too", HeavyImportWarning, stacklevel=3
            )
    return module


@contextmanager
def _first_in_path(folder: str, *, stays: bool) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:] = [folder, *(each for each in before if each != folder)]
    try:
        yield
    finally:
        # The code may have changed the path too, and that counts.
        if not stays and folder in sys.path:
            sys.path.remove(folder)
            sys.path.insert(before.index(folder) if folder in before else len(sys.path), folder)


@contextmanager
def _own_modules(folder: Path | None) -> Iterator[None]:
    """While a file of `folder` is imported, its neighbours are what their names mean: what others have loaded by these names from folders
    of their own is out of `sys.modules`, and comes back afterwards.
    """
    theirs = {name: module for name, module in list(sys.modules.items()) if folder and _is_namesake(name, module, folder)}
    tops = {_top(name) for name in theirs}
    for name in theirs:
        del sys.modules[name]
    sys.modules.update(_beside.get(folder, {}))
    try:
        yield
    finally:
        if theirs:
            ours = {name: module for name, module in list(sys.modules.items()) if _top(name) in tops}
            _beside[folder] = _beside.get(folder, {}) | ours
            for name in ours:
                del sys.modules[name]
            sys.modules.update(theirs)


def _is_namesake(name: str, module: ModuleType, folder: Path) -> bool:
    """Whether it, or its package, has the name of a file in `folder` and is an author's from elsewhere."""
    file = file_of(module)
    if not file or not is_authors(file) or Path(file).resolve().is_relative_to(folder):
        return False
    return (folder / f"{_top(name)}.py").is_file() or (folder / _top(name) / "__init__.py").is_file()


def _top(name: str) -> str:
    return name.partition(".")[0]


def _locate(where: str) -> tuple[str, Path, Path | None]:
    """Module name, folder for `sys.path`, and the file if `where` is one."""
    if not where.endswith(".py") and "/" not in where and "\\" not in where:
        if not where or any(not part.isidentifier() for part in where.split(".")):
            raise SettingsError(f"{where!r} is neither a file nor a module; give a file such as app.py, or a module such as package.module")
        return where, Path.cwd(), None
    path = Path(where).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise SettingsError(f"there is no Python file {where}; give the path of a file such as app.py")
    if "." in path.stem:
        raise SettingsError(f"{where} cannot be loaded: Python imports no file with a dot in its name; rename the file")
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder, path


def _pick(module: ModuleType, picked: str, target: str) -> list[ModelSpec]:
    specs = Registry()
    for name in (each.strip() for each in picked.split(",")):
        if not hasattr(module, name):
            raise SettingsError(f"{target}: {module.__name__} has no {name!r}; its models are: {_listed(module)}")
        spec = spec_of(getattr(module, name))
        if spec is None:
            raise SettingsError(f"{target}: {name} is not a model; {_WRITE_ONE}. Models there: {_listed(module)}")
        specs.add(spec)
    return list(specs)


def _listed(module: ModuleType) -> str:
    return ", ".join(sorted(spec.target.__name__ for spec in models_of(module))) or "none"
