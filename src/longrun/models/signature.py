"""Reading the signature of `predict`: the parameters, the Job, what is returned and how."""

from __future__ import annotations

import inspect
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from longrun.errors import AuthoringError
from longrun.models.aliases import unaliased
from longrun.models.handle import Handle
from longrun.models.options import Batched
from longrun.models.place import Place

Kind = Literal["sync", "async", "generator", "async_generator"]

NO_DEFAULT: Final = inspect.Parameter.empty

_SYNC_STREAMS = (Iterator, Iterable, Generator)
_ASYNC_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
_STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input parameter; `default` is `NO_DEFAULT` when it must be given."""

    name: str
    annotation: Any
    default: Any


@dataclass(frozen=True, slots=True)
class Signature:
    """What `predict` takes and gives.

    `model` is the BaseModel whose fields are the input (the items' BaseModel when batched), else None.
    `returns` is the type of the value, of one item of a batch, or of one yielded value.
    """

    parameters: tuple[Parameter, ...]
    model: type[BaseModel] | None
    job: str | None
    returns: Any
    kind: Kind

    @property
    def streams(self) -> bool:
        """Whether values are yielded."""
        return self.kind in ("generator", "async_generator")


def read_signature(
    function: Callable[..., Any], place: Place, *, bound: bool, batched: Batched | None, names: Mapping[str, Any]
) -> Signature:
    """The signature of `predict` or of a function.

    Args:
        function: the plain function, also of a method.
        place: where it is, for messages.
        bound: whether its first parameter is `self` or `cls`.
        batched: its `@batched` setting.
        names: further names that annotations may use.

    Raises:
        AuthoringError: it cannot be served as it is written.
    """
    hints = _hints(function, place, names)
    given = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    jobs: list[str] = []
    inputs: list[Parameter] = []
    for each in given:
        _check_form(each, hints, place)
        annotation = hints[each.name]
        if _is_job(annotation, place, each.name, batched):
            jobs.append(each.name)
        else:
            inputs.append(Parameter(each.name, annotation, each.default))
    if len(jobs) > 1:
        raise AuthoringError(f"{place}: {' and '.join(jobs)} are both Job parameters; keep one")
    if "return" not in hints:
        raise AuthoringError(f"{place}: say what it returns, such as `-> str`, or `-> Any` for anything; it becomes the output schema")
    kind, returns = _result(function, hints["return"], place)
    job = jobs[0] if jobs else None
    if batched is not None:
        return Signature(tuple(inputs), _batched_model(inputs, place), job, _batched_item(returns, kind, place), kind)
    return Signature(tuple(inputs), _only_model(inputs), job, returns, kind)


def bare(annotation: Any) -> Any:
    """The type inside `Annotated[…]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _hints(function: Callable[..., Any], place: Place, names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(function, localns=dict(names), include_extras=True)
        return {name: unaliased(hint) for name, hint in hints.items()}
    except Exception as error:
        # Annotations are the author's code and may fail in any way; the cause is chained.
        name = f"{error.name!r} is not defined" if isinstance(error, NameError) else str(error)
        raise AuthoringError(
            f"{place}: an annotation cannot be resolved: {name}. Define or import it before the model, and not under `if TYPE_CHECKING`"
        ) from error


def _check_form(each: inspect.Parameter, hints: Mapping[str, Any], place: Place) -> None:
    if each.kind in _STARS:
        raise AuthoringError(f"{place}: {_STARS[each.kind]}{each.name} says nothing about the input; write each parameter with its type")
    if each.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise AuthoringError(f"{place}: {each.name} is positional-only, but inputs are passed by name; remove the `/`")
    if each.name not in hints:
        raise AuthoringError(f"{place}: {each.name} has no type; write `{each.name}: str`, or `{each.name}: Any` for anything")
    if isinstance(each.default, FieldInfo):
        raise AuthoringError(
            f"{place}: {each.name} has Field(...) as its default, which plain Python would pass on; "
            f"write `{each.name}: Annotated[…, Field(...)] = default`"
        )


def _is_job(annotation: Any, place: Place, name: str, batched: Batched | None) -> bool:
    one, many = _is_one_job(annotation), _is_job_list(annotation)
    if one and batched is not None:
        raise AuthoringError(f"{place}: a batch has one Job for each item; write `{name}: list[Job]`")
    if many and batched is None:
        raise AuthoringError(f"{place}: without @batched there is one Job; write `{name}: Job`")
    return one or many


def _without_none(annotation: Any) -> Any:
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [each for each in get_args(annotation) if each is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _is_one_job(annotation: Any) -> bool:
    annotation = _without_none(annotation)
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Handle)


def _is_job_list(annotation: Any) -> bool:
    annotation = _without_none(annotation)
    return get_origin(annotation) is list and _is_one_job(get_args(annotation)[0])


def _as_model(annotation: Any) -> type[BaseModel] | None:
    """The class, when the annotation is a BaseModel with fields (a RootModel has none)."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, RootModel):
        return annotation
    return None


def _only_model(inputs: list[Parameter]) -> type[BaseModel] | None:
    return _as_model(inputs[0].annotation) if len(inputs) == 1 else None


def _batched_model(inputs: list[Parameter], place: Place) -> type[BaseModel]:
    if len(inputs) == 1:
        annotation = bare(inputs[0].annotation)
        if get_origin(annotation) is list and (model := _as_model(get_args(annotation)[0])) is not None:
            return model
    raise AuthoringError(
        f"{place}: with @batched it takes exactly one list of a BaseModel, such as `asks: list[Ask]`, and may take `jobs: list[Job]`"
    )


def _batched_item(returns: Any, kind: Kind, place: Place) -> Any:
    if kind in ("generator", "async_generator"):
        raise AuthoringError(f"{place}: a batch cannot be streamed; return a list, or remove @batched")
    if get_origin(bare(returns)) is not list:
        raise AuthoringError(f"{place}: with @batched it returns a list with one item for each input; write `-> list[str]`")
    return get_args(bare(returns))[0]


def _result(function: Callable[..., Any], annotation: Any, place: Place) -> tuple[Kind, Any]:
    """How the function runs, and the type of what it returns or yields."""
    kind = _kind_of_code(function)
    origin = get_origin(bare(annotation)) or bare(annotation)
    streams: Kind | None = "generator" if origin in _SYNC_STREAMS else "async_generator" if origin in _ASYNC_STREAMS else None
    if kind in ("generator", "async_generator") and streams != kind:
        word = "Iterator" if kind == "generator" else "AsyncIterator"
        raise AuthoringError(f"{place}: it yields, so it returns an iterator; write `-> {word}[…]` with the type of what is yielded")
    if streams is None:
        return kind, annotation
    if kind == "async":
        raise AuthoringError(f"{place}: an `async def` that streams has to `yield`; or return the whole value, such as `-> list[…]`")
    items = get_args(bare(annotation))
    return streams, items[0] if items else Any


def _kind_of_code(function: Callable[..., Any]) -> Kind:
    # A decorator's wrapper is often a plain function that passes on what the wrapped one returns.
    for each in (function, inspect.unwrap(function)):
        if inspect.isasyncgenfunction(each):
            return "async_generator"
        if inspect.iscoroutinefunction(each):
            return "async"
        if inspect.isgeneratorfunction(each):
            return "generator"
    return "sync"
