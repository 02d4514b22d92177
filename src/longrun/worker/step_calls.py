"""From what a runner asks for to what the store makes: pure. A runner is not trusted to keep to the format."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from longrun.jobs.policy import Policy, narrow
from longrun.models import ModelOptions, ModelSpec
from longrun.service.policies import model_policy, step_policy
from longrun.settings import Settings
from longrun.store.steps import Answer, Call, Child, Result, SignalWait, Sleep, Terms
from longrun.worker.run import Run

#: A result as it stands in the frame `answer`: key, state, data, usage, id of the child, due.
Row = tuple[str, str, bytes, bytes, str, int]


@dataclass(slots=True)
class StepCalls:
    """Makes calls of items of the frame `ask`."""

    models: Mapping[str, ModelSpec]  #: all models of the application, also those that this worker does not serve
    settings: Settings
    _policies: dict[str, Policy] = field(default_factory=dict)  #: of steps, by model

    def read(self, run: Run, items: Sequence[Any], files: Mapping[str, Any]) -> tuple[list[Call], list[Row]]:
        """The calls, and rows for what is refused. `files`: members of those that may be named, by id.

        Raises:
            ValueError, TypeError: an item is none.
        """
        calls, refused = list[Call](), list[Row]()
        for item in items:
            match item:
                case [str(key), str(mark), "run", str(model), data, [*ids], dict(options)]:
                    missing = next((each for each in ids if each not in files), None)
                    if model not in self.models:
                        refused.append(refusal(key, "unknown-model", f"The application has no model {model}."))
                    elif missing is not None:
                        refused.append(refusal(key, "file-not-found", f"There is no file {missing}."))
                    else:
                        refs = orjson.dumps({each: files[each] for each in ids}) if ids else b""
                        calls.append(self._child(run, (key, mark, model), (as_bytes(data), refs), options))
                case [str(key), str(_), "sleep" | "wait", *_] if run.once:
                    what = "A job with at_most_once cannot sleep or wait for signals: it could not go on in another process."
                    refused.append(refusal(key, "at-most-once", what))
                case [str(key), str(mark), "sleep", int(seconds) | float(seconds)]:
                    calls.append(Sleep(key, mark, max(0.0, seconds)))
                case [str(key), str(mark), "wait", str(name), int(seconds) | float(seconds), ask, schema]:
                    calls.append(SignalWait(key, mark, name, max(0.0, seconds), as_bytes(ask), as_bytes(schema)))
                case _:
                    raise ValueError("an item is no step")
        return calls, refused

    def _child(self, run: Run, what: tuple[str, str, str], given: tuple[bytes, bytes], options: Mapping[str, Any]) -> Child:
        (key, mark, model), (data, files), spec = what, given, self.models[what[2]]
        policy = self._policies.get(model)
        if policy is None:
            policy = self._policies[model] = narrow(model_policy(spec.options, self.settings), {})
        asked, detached = options.get("timeout"), options.get("detached") is True
        # Who is detached does not end with its parent.
        end = None if detached else run.total_end
        if asked is not None or end is not None:
            policy = step_policy(policy, None if asked is None else float(asked), None if end is None else end - time.monotonic())
        stream = options.get("stream") is True
        return Child(key, mark, model, spec.queue, data, policy.to_json(), files, stream=stream, detached=detached)


def files_named(items: Iterable[Any]) -> set[str]:
    """Ids of the files in the inputs of these items."""
    return {str(each) for item in items if len(item) > 5 and item[2] == "run" for each in item[5]}


def terms_of(options: ModelOptions, settings: Settings) -> Terms:
    """The limits of a tree whose root is a job of a model with these options."""
    budget = orjson.dumps(dict(options.budget)) if options.budget else b""
    return Terms(options.max_depth, min(options.max_tree, settings.max_tree), budget)


def as_bytes(text: Any) -> bytes:
    """JSON as a runner may send it. Raises TypeError."""
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes):
        raise TypeError(f"{type(text).__name__} instead of JSON")
    return text


def whole(number: Any) -> int:
    """A whole number as a runner may send it. Raises TypeError."""
    if not isinstance(number, int):
        raise TypeError(f"{type(number).__name__} instead of a whole number")
    return number


def refusal(key: str, code: str, detail: str) -> Row:
    """The row of a step that is not made."""
    return key, "refused", orjson.dumps({"code": code, "detail": detail}), b"", "", 0


def rows_of(answer: Answer) -> list[Row]:
    """What the store has answered, for the runner."""
    return [(each.key, each.state, each.data, each.usage, each.id, each.due) for each in answer.results]


def note_due(due: dict[str, int], results: Iterable[Result]) -> None:
    """Keep in `due` (by key, ms by the server's clock) when the sleeps and waits are over that are pending by these results."""
    for each in results:
        if each.due and each.state == "pending":
            due[each.key] = each.due
        else:
            due.pop(each.key, None)


def first_of(due: Mapping[str, int], until: int) -> int:
    """The first of these times, and `until`; 0 = there is none."""
    return min([*due.values(), *([until] if until > 0 else [])], default=0)
