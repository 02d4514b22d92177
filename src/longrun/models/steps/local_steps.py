"""`job.step` and `job.wait_for`: what is done here and journaled, and what a person answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, get_type_hints

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from longrun.errors import RetryAfter
from longrun.jobs.file_refs import INLINE
from longrun.jobs.signals import MOST_VALUE, NAME
from longrun.models.closed import closed, json_schema
from longrun.models.file_types import storing
from longrun.models.schema import Encoded, OutputSchema
from longrun.models.steps.awaits import Outcome, Step, Want
from longrun.models.steps.calls import check_name, check_seconds
from longrun.models.steps.failures import failure_of
from longrun.models.steps.inputs import arguments_digest
from longrun.models.steps.journal import read_entry
from longrun.models.steps.port import Port
from longrun.models.steps.verbs import LONGEST, read, value_of, wait

_UNKNOWN = Outcome("failed", b'{"code":"outcome-unknown","detail":"It was begun before, and whether it was done is not known."}')
_ANYTHING = OutputSchema(Any)


async def step(port: Port, name: str, call: Callable[[], Any], what: Any, *, once: bool, attempt: int) -> Any:
    """Call a function, unless the journal has its result.

    Args:
        call: the function with its arguments.
        what: the function and its arguments, by which the call is compared with that of before.
        once: journal before that it begins: then it is never called a second time.
        attempt: of the job.
    """
    check_name(name)
    flow, (function, arguments) = port.flow, what
    group = str(getattr(function, "__qualname__", type(function).__name__))
    found, mine = flow.local(Want("local", group, name, arguments_digest(group, arguments), flow.branch().place(name)))
    schema = _returns(function)
    if mine:
        if once:
            await _begin(port, found, attempt)
        data = await _called(port, found, call, schema)
        await wait(port, flow.record(found, data))
    elif found.outcome is None:
        await wait(port, flow.begin([found]))
    if found.outcome is None or found.outcome.state != "succeeded":
        return await value_of(port, found)
    return await read(port, schema, found.outcome.data)


async def _begin(port: Port, found: Step, attempt: int) -> None:
    kept = await wait(port, port.flow.begun(found, attempt))
    outcome = kept.steps[0].outcome
    entry = read_entry(outcome.data) if outcome is not None else None
    if entry is None or entry.kind != "b" or entry.rest != b"%d" % attempt:
        port.flow.leave(found, _UNKNOWN)
        await value_of(port, found)


async def _called(port: Port, found: Step, call: Callable[[], Any], schema: OutputSchema) -> bytes:
    """The result as the journal holds it. Raises StepFailed, which the journal has then too, or what stops the job."""
    try:
        returned = call()
        if inspect.isawaitable(returned):
            if not port.is_async:
                if inspect.iscoroutine(returned):
                    returned.close()
                raise TypeError("job.step: an async function needs an async model")
            returned = await returned
        return await _encoded(port, schema, returned, store_large=True)
    except RetryAfter:
        port.flow.leave(found, Outcome("canceled"))
        raise  # it asks for another attempt of the job, in which the step is done again
    except Exception as error:
        await wait(port, port.flow.record(found, failure_of(error).to_json(), failed=True))
        assert found.outcome is not None
        failed = found.outcome.error(found.key)
        assert failed is not None
        raise failed from error
    except BaseException:
        port.flow.leave(found, Outcome("canceled"))
        raise


async def _encoded(port: Port, schema: OutputSchema, value: Any, *, store_large: bool = False) -> bytes:
    """A value as JSON, its files stored; as a reference to a file where that is too large for the journal."""

    def encode() -> Encoded:
        with storing(port.store):
            return schema.encode(value)

    encoded = await port.aside(encode) if schema.may_hold_files else schema.encode(value)
    for warning in encoded.warnings:
        port.flow.warn(warning)
    if store_large and len(encoded.data) > INLINE:
        return await port.aside(partial(port.store_output, encoded.data))
    return encoded.data


async def wait_for(port: Port, name: str, kind: Any, ask: Any, timeout: float) -> Any:
    """Wait for a signal, and read its value as this type."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"job.wait_for: a signal is called by 1 to 64 of A-Z a-z 0-9 . _ : -, beginning with none of . : -; got {name!r}")
    flow, (validator, schema) = port.flow, _signal(kind)
    length = check_seconds("timeout=", timeout, LONGEST)
    shown = await _encoded(port, _ANYTHING, ask)
    if len(shown) > MOST_VALUE:
        raise ValueError(f"job.wait_for: ask= has {len(shown):,} bytes of JSON; what is shown to people has {MOST_VALUE:,} at most")
    waited = Step(Want("wait", "wait", name, "", flow.branch().place(name)), ("wait", name, length, shown, schema))
    while True:
        waited = (await wait(port, flow.begin([waited]))).steps[0]
        if waited.outcome is None:
            continue
        error = waited.outcome.error(waited.key)
        if error is not None:
            raise error
        try:
            return validator.validate_json(waited.outcome.data)
        except ValidationError as wrong:
            first = wrong.errors(include_url=False, include_input=False)[0]
            flow.warn(f"the signal {name!r} does not fit what is waited for ({first['msg']}); it is dropped, and the wait goes on")
            flow.reopen(waited)


@lru_cache(maxsize=256)
def _signal(kind: Any) -> tuple[SchemaValidator, bytes]:
    """How the value of a signal is read, and its JSON Schema. Unknown fields are refused, as in inputs."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    adapter.rebuild(raise_errors=True)
    core = closed(adapter.core_schema)
    return SchemaValidator(core, None, False), orjson.dumps(json_schema(core))


@lru_cache(maxsize=256)
def _returns(function: Any) -> OutputSchema:
    """What a function returns, as it is annotated; anything where that cannot be told."""
    while isinstance(function, partial):
        function = function.func
    try:
        return OutputSchema(get_type_hints(function, include_extras=True).get("return", Any))
    except Exception:
        # Annotations are the author's code, and may be none that JSON knows; the value itself is looked at then.
        return _ANYTHING
