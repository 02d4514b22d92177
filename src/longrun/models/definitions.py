"""Which models a module defines, also by what it imports: the same ones, whoever imported what first."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib.util import resolve_name
from types import FrameType, ModuleType
from typing import Any

from longrun.models.place import file_of, is_authors, names_of
from longrun.models.registry import Registry, default_registry
from longrun.models.spec import ModelSpec

#: In the namespace of a module: the models that its import has defined.
_MODELS = "__longrun_models__"


def register(spec: ModelSpec) -> None:
    """Register a definition, and keep it in every module whose import is under way: the one that holds it, and those that import that one.

    Raises:
        AuthoringError: another definition has this name.
    """
    default_registry().add(spec)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            frame.f_globals.setdefault(_MODELS, []).append(spec)
        frame = frame.f_back


def models_of(module: ModuleType) -> list[ModelSpec]:
    """The models that it defines, has by name, or that modules which it imports define; sorted by name.

    Raises:
        AuthoringError: two of them have one name.
    """
    found = Registry()
    for each in _reached(module):
        for spec in _defined_in(each):
            found.add(spec)
    for value in list(vars(module).values()):
        held = spec_of(value)
        if held is not None:
            found.add(held)
    return list(found)


def spec_of(value: Any) -> ModelSpec | None:
    """What a model class or function was made into; None: it is neither."""
    # From its own dict: a base without `predict` would show nothing, but any object may answer any attribute.
    spec = names_of(value).get("__longrun__")
    return spec if isinstance(spec, ModelSpec) else None


def _defined_in(module: object) -> Sequence[ModelSpec]:
    models: Sequence[ModelSpec] = names_of(module).get(_MODELS, ())
    return models


def _reached(module: ModuleType) -> list[ModuleType]:
    """The module, its packages, and what they import as their text says.

    What was imported for the first time meanwhile has left its models in the module itself (`register`). Only when others hold more is the
    text read: they may have been imported before.
    """
    parts = module.__name__.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    reached = {name: sys.modules[name] for name in names if name in sys.modules} | {module.__name__: module}
    known = {id(spec) for each in reached.values() for spec in _defined_in(each)}
    others = {
        name.partition(".")[0] for name, each in list(sys.modules.items()) if any(id(spec) not in known for spec in _defined_in(each))
    }
    waiting = list(reached.values()) if others else []
    while waiting:
        for name in _imports(waiting.pop()):
            found = sys.modules.get(name)
            if found is not None and name not in reached and _may_lead(found, name, others):
                reached[name] = found
                waiting.append(found)
    return list(reached.values())


def _may_lead(module: ModuleType, name: str, others: set[str]) -> bool:
    """Whether to read it: of what is installed, only packages that define models; the others are large, and import no models."""
    return name.partition(".")[0] in others or is_authors(file_of(module) or "<built in>")


def _imports(module: ModuleType) -> Iterator[str]:
    """Names of modules that it may import while it is imported itself; not all of them are modules."""
    loader = getattr(module.__spec__, "loader", None)
    try:
        tree = ast.parse(loader.get_source(module.__name__) or "")  # type: ignore[union-attr]
    except (AttributeError, ImportError, SyntaxError, ValueError):
        return  # built in, or without its source
    package = module.__package__ or ""
    for statement in _executed(tree):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield from _with_packages(alias.name)
        elif isinstance(statement, ast.ImportFrom):
            try:
                base = resolve_name("." * statement.level + (statement.module or ""), package)
            except ImportError:
                continue
            yield from _with_packages(base)
            yield from (f"{base}.{alias.name}" for alias in statement.names)


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The node and those under it that run with the module: no bodies of functions, and nothing that is there for type checkers."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    for each in node.orelse if isinstance(node, ast.If) and _for_checkers(node.test) else ast.iter_child_nodes(node):
        yield from _executed(each)


def _for_checkers(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
