"""`job.call(…)`: a step that is not yet begun, and how it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from longrun.errors import StepRefused, ValidationFailed
from longrun.models.definitions import spec_of
from longrun.models.registry import default_registry
from longrun.models.spec import ModelSpec
from longrun.models.steps.awaits import Outcome, Step, Want
from longrun.models.steps.inputs import Store, step_input

#: Keywords of `job.call` that say how a step is run. A model may have input fields of the same names.
OPTIONS = ("key", "timeout", "stream", "detached")
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A step that is not yet begun: `job.run`, `gather`, `first` and `map` begin it.

    Args:
        model: name of the model; `spec` is what is known of it, None: nothing.
        input: a mapping or a BaseModel.
        key: its name; empty = none.
        options: `timeout` (s), `stream`, `detached`, as they stand in a frame.
        error: why it can never be made.
    """

    model: str
    spec: ModelSpec | None
    input: Any
    key: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    error: StepRefused | None = None

    def __repr__(self) -> str:
        return f"<a call of {self.model}{f', {self.key!r}' if self.key else ''}: not begun>"

    @property
    def detached(self) -> bool:
        """Whether it becomes a job of its own."""
        return bool(self.options.get("detached"))


def call_of(model: Any, whole: Any, given: Mapping[str, Any]) -> Call:
    """The call that an author's arguments describe.

    Args:
        model: a model class or function, or a name.
        whole: the input, when it was given as such; None: it was not.
        given: keywords: input fields, `OPTIONS`, and `input` for the whole input.

    Raises:
        TypeError: `model` is no model, or it cannot be told what belongs to the input.
        ValueError: an option has no such value.
    """
    spec, fields = _spec(model), dict(given)
    if spec is None:
        return Call(str(model), None, {}, "", {}, StepRefused("unknown-model", f"The application has no model {model!r:.80}."))
    if whole is None and "input" in fields and _is_whole(spec, fields["input"]):
        whole = fields.pop("input")
    named = {name: fields.pop(name) for name in OPTIONS if name in fields}
    both = [name for name in named if name in spec.input.fields]
    if both and whole is None:
        raise TypeError(
            f"job.call: {spec.name} has an input field {both[0]!r}, and {both[0]}= is an option of the call too:"
            f" give the whole input as input={{{both[0]!r}: …}}; {both[0]}= beside it is the option"
        )
    key = named.get("key") or ""
    if key:
        check_name(key)
    return Call(spec.name, spec, _input(spec, whole, fields), key, _options(named))


def step_of(call: Call, place: str, store: Store) -> Step:
    """The step that is to be asked for. One that can never be made has its failure already."""
    want = Want("run", call.model, call.key, "", place)
    if call.spec is None or call.error is not None:
        return refused(want, call.error or StepRefused("unknown-model"))
    try:
        made = step_input(call.model, call.spec.input, call.input, store)
    except ValidationFailed as error:
        found = "; ".join(f"{each['pointer']}: {each['detail']}" for each in error.errors or ())
        return refused(want, StepRefused("validation-failed", found or error.detail))
    want = Want("run", call.model, call.key, made.digest, place)
    return Step(want, ("run", call.model, made.text, list(made.files), dict(call.options)), spec=call.spec)


def refused(want: Want, error: StepRefused) -> Step:
    """A step that is not made."""
    data = orjson.dumps({"code": error.code, "detail": error.detail})
    return Step(want, state="given", key=want.name, outcome=Outcome("refused", data))


def check_name(name: object) -> None:
    """Raises ValueError: a step cannot be called that."""
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"the name of a step is a text of 1 to {LONGEST_NAME} printable characters; got {name!r}")


def check_seconds(what: str, seconds: object, most: float) -> float:
    """Raises ValueError: it is no number from 0 to `most`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= most:
        raise ValueError(f"{what} is a number of seconds from 0 to {most:.0f}; got {seconds!r}")
    return float(seconds)


def _spec(model: Any) -> ModelSpec | None:
    if isinstance(model, str):
        return default_registry().get(model) if model in default_registry() else None
    spec = spec_of(model)
    if spec is None:
        raise TypeError(f"job.call: {model!r} is no model: give a model class, a function under @model, or a model's name")
    return spec


def _options(named: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if named.get("timeout") is not None:
        options["timeout"] = check_seconds("timeout=", named["timeout"], 10 * 365 * 86_400)
        if not options["timeout"]:
            raise ValueError("timeout= is over 0")
    for name in ("stream", "detached"):
        if named.get(name):
            options[name] = True
    return options


def _is_whole(spec: ModelSpec, value: Any) -> bool:
    """Whether `input=` is the whole input, also of a model that has a field of this name."""
    fields = spec.input.fields
    if "input" not in fields:
        return True
    return isinstance(value, Mapping) and "input" in value and value.keys() <= set(fields)


def _input(spec: ModelSpec, whole: Any, fields: Mapping[str, Any]) -> Any:
    if whole is not None:
        if not fields:
            return whole
        if not isinstance(whole, Mapping):
            raise TypeError("job.call: give the input as a whole, or field by field")
        return {**whole, **fields}
    if spec.signature.model is not None and len(fields) == 1:
        # By the name of the parameter, as one would call the function.
        ((name, value),) = fields.items()
        if isinstance(value, spec.signature.model) and name == spec.signature.parameters[0].name and name not in spec.input.fields:
            return value
    return dict(fields)
