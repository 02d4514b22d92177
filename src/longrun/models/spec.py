"""What Longrun knows about a model: all that the API, the queue and the workers need, read once at import."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from longrun.errors import AuthoringError
from longrun.models.options import BATCHED_ATTRIBUTE, NAME, Batched, ModelOptions
from longrun.models.place import Place
from longrun.models.schema import InputSchema, OutputSchema
from longrun.models.signature import Parameter, Signature, read_signature

SYNC_CONCURRENCY = 1
ASYNC_CONCURRENCY = 100
ASYNC_KINDS = ("async", "async_generator")


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One model, fully described. `target` is the author's class or function, `place` is where it is defined."""

    name: str
    options: ModelOptions
    input: InputSchema
    output: OutputSchema
    batched: Batched | None
    target: Any
    module: str
    description: str  #: the docstring, "" when there is none
    place: Place
    signature: Signature = field(repr=False)

    @property
    def title(self) -> str:
        """First paragraph of the description, on one line; the name when there is none."""
        return " ".join(self.description.split("\n\n", 1)[0].split()) or self.name

    @property
    def queue(self) -> str:
        """The queue that the author named."""
        return self.options.queue

    @property
    def lane(self) -> str:
        """Where its tickets wait: one for each queue and model, `gpu.captioner`."""
        return f"{self.queue}.{self.name}"

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop."""
        return self.signature.kind in ASYNC_KINDS

    @property
    def streams(self) -> bool:
        """Whether it yields its output piece by piece."""
        return self.signature.streams

    @property
    def concurrency(self) -> int:
        """Jobs a runner works on at once: as set, else 1 for sync code and 100 for async code."""
        return self.options.concurrency or (ASYNC_CONCURRENCY if self.is_async else SYNC_CONCURRENCY)

    @property
    def is_function(self) -> bool:
        """Whether it is a `@model` function: nothing to load."""
        return not isinstance(self.target, type)

    def instantiate(self) -> Instance:
        """A new instance of the model, not yet loaded. What the author's `__init__` raises is passed on."""
        return Instance(self)


class Instance:
    """A model that can be called, in the process that runs it."""

    def __init__(self, spec: ModelSpec) -> None:
        self._signature = spec.signature
        self._owner = None if spec.is_function else spec.target()
        self._predict: Callable[..., Any] = spec.target if self._owner is None else self._owner.predict

    def load(self, device: str) -> Any:
        """Load the model onto `device` ("cpu", "cuda", …); nothing for a function.

        Returns:
            what the author's `load` returns: a coroutine to wait for, if it is async.
        """
        return None if self._owner is None else self._owner.load(device)

    def warmup(self) -> Any:
        """Run the model once before it takes work, if its author says how.

        Returns:
            what the author's `warmup` returns: a coroutine to wait for, if it is async.
        """
        return None if self._owner is None else self._owner.warmup()

    def bind(self, value: Any, job: Any) -> Callable[[], Any]:
        """`predict` with its arguments: to call it gives a value, a coroutine, an iterator or an async iterator.

        Args:
            value: what `spec.input.parse` returned; when it is `@batched`, a list of those.
            job: the `Job`, handed to `predict` if it asks for it; when it is `@batched`, a list as long as `value`.
        """
        arguments = dict(value) if self._signature.model is None else {self._signature.parameters[0].name: value}
        if self._signature.job is not None:
            arguments[self._signature.job] = job
        return partial(self._predict, **arguments)


@dataclass(frozen=True)
class Definition:
    """What an author defined, before it is read."""

    target: Any  #: the class or function
    function: Callable[..., Any]  #: the plain function behind `predict`, or the target itself
    bound: bool  #: whether the function's first parameter is `self` or `cls`
    place: Place
    name: str
    options: ModelOptions
    description: str | None  #: the docstring as it is written
    names: Mapping[str, Any]  #: further names that annotations may use


def build_spec(definition: Definition) -> ModelSpec:
    """The spec of a class or function.

    Raises:
        AuthoringError: it cannot be served as it is written; the message says where and what to write instead.
    """
    name, place, function = definition.name, definition.place, definition.function
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise AuthoringError(
            f"{place}: {name!r} is not a model name; pass name= with a-z, 0-9, _ and -, at most 64, not starting with _ or -"
        )
    batched: Batched | None = getattr(function, BATCHED_ATTRIBUTE, None)
    signature = read_signature(function, place, bound=definition.bound, batched=batched, names=definition.names)
    if definition.options.main_thread and signature.kind in ASYNC_KINDS:
        raise AuthoringError(f"{place}: main_thread is for sync code; write `def`, not `async def`, or leave it out")
    title = f"{''.join(part.capitalize() for part in name.replace('-', '_').split('_'))}Input"
    input_schema = _input(title, signature, place)
    if batched is not None:
        _check_key(batched, input_schema, place)
    return ModelSpec(
        name=name,
        options=definition.options,
        input=input_schema,
        output=_output(signature, place),
        batched=batched,
        target=definition.target,
        module=definition.target.__module__,
        description=inspect.cleandoc(definition.description or ""),
        place=place,
        signature=signature,
    )


def _input(title: str, signature: Signature, place: Place) -> InputSchema:
    if signature.model is not None:
        try:
            return InputSchema(title, model=signature.model)
        except Exception as error:
            raise _no_schema(f"{place}: the input {signature.model.__name__}", error) from error
    # One at a time first: pydantic's own message does not say which parameter it is about.
    for each in signature.parameters:
        _check_parameter(each, place)
    return InputSchema(title, parameters=signature.parameters)


def _check_parameter(each: Parameter, place: Place) -> None:
    try:
        InputSchema(each.name, parameters=[each])
    except Exception as error:
        raise _no_schema(f"{place}: the parameter {each.name}", error) from error


def _output(signature: Signature, place: Place) -> OutputSchema:
    try:
        return OutputSchema(signature.returns, stream=signature.streams)
    except Exception as error:
        raise _no_schema(f"{place}: the return annotation", error) from error


def _no_schema(what: str, error: Exception) -> AuthoringError:
    # Building a schema runs hooks of the author's classes, which may raise anything; the cause is chained.
    reason = str(error).split("\n", 1)[0]
    return AuthoringError(f"{what} is of a type that JSON cannot describe ({reason}). Use text, numbers, lists, dicts or a BaseModel")


def _check_key(batched: Batched, schema: InputSchema, place: Place) -> None:
    for each in batched.key:
        if each not in schema.fields:
            near = difflib.get_close_matches(each, schema.fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(schema.fields)}"
            raise AuthoringError(f"{place}: the batch key {each!r} is not an input field; {hint}")
