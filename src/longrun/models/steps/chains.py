"""`chain` and `fan_out`, for people who know canvas: each model gets what the one before has given, as its first input field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from longrun.models.steps import verbs
from longrun.models.steps.calls import Call, call_of
from longrun.models.steps.job_steps import JobSteps
from longrun.models.steps.port import Port


@dataclass(frozen=True, slots=True)
class FanOut:
    """See `fan_out`."""

    model: Any
    values: tuple[Any, ...]
    each: str


def fan_out(model: Any, values: int | Iterable[Any], *, each: str) -> FanOut:
    """In a `chain`: run a model side by side, once for each of these values of its field `each`; it gives the list of outputs.

    Args:
        values: a number means 0, 1, 2, … below it.
    """
    return FanOut(model, tuple(range(values) if isinstance(values, int) else values), each)


def chain(job: JobSteps, value: Any, *models: Any) -> Any:
    """Run models one after the other, each with what the one before has given; the last one's output. To be awaited in async code.

    Args:
        value: what the first gets.
        models: models, and `fan_out(…)`.

    Raises:
        StepFailed: as `job.run`.
    """

    async def work(port: Port) -> Any:
        given = value
        for each in models:
            if isinstance(each, FanOut):
                given = await verbs.collect(port, [_call(each.model, given, {each.each: one}) for one in each.values])
            else:
                given = await verbs.run(port, _call(each, given, {}))
        return given

    return job._do("chain", work)


def _call(model: Any, value: Any, more: dict[str, Any]) -> Call:
    fields = call_of(model, {}, {}).spec
    first = next((name for name in (fields.input.fields if fields else ()) if name not in more), None)
    if first is None:
        raise TypeError(f"chain: {model!r} has no input field for what comes before it")
    return call_of(model, {first: value, **more}, {})
