"""The steps of a job, as its model asks for them: `job.run(…)` and what belongs to it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import BaseModel

from longrun.models.steps import local_steps, verbs
from longrun.models.steps.calls import Call, call_of
from longrun.models.steps.copies import own_copy
from longrun.models.steps.port import Port

#: Seconds that a person has to answer.
WEEK = 7 * 86_400.0


class JobSteps(ABC):
    """The part of `Job` that runs steps.

    A *step* is another model's job (`run` and what begins a `Call`), a function (`step`), a time to wait (`sleep`) or a question
    (`wait_for`). What has ended is kept: when the code runs again, after a crash or a deploy, it gets the same results, and nothing is
    done or paid for twice. In an `async` model these are awaited, in a plain one they return; all else is the same. Steps raise
    `StepFailed`, and `StepRefused` where they are not made.

    In async code each must be awaited, or be made a task of: the job fails as `step-not-awaited` otherwise.
    """

    attempt: int

    @abstractmethod
    def _steps(self) -> Port:
        """What steps are run with. Raises StepRefused: they do not work here."""

    @staticmethod
    def call(model: Any, input: Mapping[str, Any] | BaseModel | None = None, /, **fields: Any) -> Call:
        """A step that is not yet begun, for `run`, `gather` and `first`.

        Args:
            model: a model class or function, or the name of a model.
            input: the whole input (a mapping or a BaseModel), instead of single fields; also as the keyword `input=`.
            fields: the input's fields; files may be `File`s, bytes, paths and Pillow images. And these options:
                key: a name, by which the step is known whatever its input; each name once.
                timeout: seconds that it may take, from now to its end.
                stream: whether what it yields appears in this job's events, as `step_output`.
                detached: it becomes a job of its own that outlives this one; the step gives its id.

        Raises:
            TypeError: it is no model; or the model has an input field that is called like an option which is given: give the input as a
                whole then.
            ValueError: an option has no such value.
        """
        return call_of(model, input, fields)

    def run(self, model: Any, input: Mapping[str, Any] | BaseModel | None = None, /, **fields: Any) -> Any:
        """Run a model as a step, and give its output, as the model's return annotation reads it; files are opened when they are read.

        Args:
            model: a model, or a `Call`.
            input, fields: as of `call`.

        Raises:
            StepFailed: it has failed for good, or was canceled, or its time is over.
            StepRefused: it was not made: a limit is reached, or the input does not fit.
            StepConflict: its name is that of another step.
        """
        call = model if isinstance(model, Call) and input is None and not fields else self.call(model, input, **fields)
        return self._do("job.run", lambda port: verbs.run(port, call))

    def gather(self, *calls: Call, return_exceptions: bool = False, fail_fast: bool = False) -> Any:
        """Run steps side by side, and give their outputs in the order of the arguments, as a list.

        It waits for all, also when one fails: what was paid for is kept. Then the first failure, in the order of the arguments, is raised.

        Args:
            return_exceptions: give a `StepFailed` in the place of an output instead.
            fail_fast: raise when the first fails, and stop the others.
        """
        work = partial(verbs.collect, calls=calls, return_exceptions=return_exceptions, fail_fast=fail_fast)
        return self._do("job.gather", work)

    def first(self, *calls: Call) -> Any:
        """Run steps side by side, and give the output of the one that succeeds first; the others are stopped.

        When all fail, the first failure in the order of the arguments is raised.
        """
        if not calls:
            raise ValueError("job.first: give at least one job.call(…)")
        return self._do("job.first", lambda port: verbs.first(port, calls))

    def map(
        self,
        model: Any,
        inputs: Iterable[Mapping[str, Any] | BaseModel],
        *,
        limit: int | None = None,
        return_exceptions: bool = False,
        fail_fast: bool = False,
        **options: Any,
    ) -> Any:
        """Run a model once for each input, and give the outputs in the order of the inputs, as a list.

        Args:
            inputs: may be a generator: inputs are taken when there is room for them.
            limit: most steps at a time; None: all.
            return_exceptions, fail_fast: as of `gather`.
            options: `timeout`, `stream` and `detached`, as of `call`.
        """
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ValueError(f"job.map: limit is a whole number of at least 1; got {limit!r}")
        if strange := options.keys() - {"timeout", "stream", "detached"}:
            raise TypeError(f"job.map: {sorted(strange)[0]} is no option; the inputs are mappings, map(Model, [{{'text': …}}, …])")
        calls = (call_of(model, each, options) for each in inputs)
        work = partial(verbs.collect, calls=calls, limit=limit, return_exceptions=return_exceptions, fail_fast=fail_fast)
        return self._do("job.map", work)

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, once: bool = False, **named: Any) -> Any:
        """Call a function, unless it was done before under this name: then its result is given as it was kept.

        The result is kept as JSON, as the function's return annotation says, and is read back from that in any case. The function is called
        at least once: again, when the process dies after the call and before its result is kept. Give `job.key(name)` to a service
        that is called, which then knows the repetition.

        Args:
            name: one of its own for each step.
            function: plain, or `async` in an async model; it runs where this is called.
            args, named: it gets copies of lists, dicts and records, so what it changes in them is not seen here, at no run.
            once: call it once at most: when it is not known whether it was done, `StepFailed("outcome-unknown")` is raised.

        Raises:
            StepFailed: it has raised; so at each run, until the job is retried.
            StepConflict: the name is used for something else.
        """
        given, fields = own_copy((args, named))
        call, attempt = partial(function, *given, **fields), self.attempt
        work = partial(local_steps.step, name=name, call=call, what=(function, [given, fields]), once=once, attempt=attempt)
        return self._do("job.step", work)

    def sleep(self, seconds: float) -> Any:
        """Wait. The end is fixed at the first call, whatever is stopped, deployed and begun again meanwhile; it takes up no slot."""
        return self._do("job.sleep", lambda port: verbs.sleep(port, seconds))

    def wait_for(self, name: str, type: Any = Any, *, ask: Any = None, timeout: float = WEEK) -> Any:
        """Wait for a signal: the value that somebody sends to `POST /jobs/{id}/signals/{name}`. One that has come before counts.

        Args:
            name: of the signal, A-Z a-z 0-9 . _ : -; there is one value under each.
            type: what the value has to be, such as a BaseModel.
            ask: what is shown to who is asked, as JSON; it may hold files.
            timeout: seconds until `StepFailed("wait-timeout")` is raised; fixed at the first call.
        """
        return self._do("job.wait_for", lambda port: local_steps.wait_for(port, name, type, ask, timeout))

    def now(self) -> datetime:
        """The time (UTC), which is the same when the code runs again: for what goes into the inputs of steps. It is not awaited."""
        return self._steps().flow.now()

    @property
    def random(self) -> random.Random:
        """Random numbers which are the same when the code runs again; each task of async code has its own."""
        flow = self._steps().flow
        return flow.branch().random(flow.start.base)

    def key(self, step: str) -> str:
        """A key for an upstream service that is the same for this step in all attempts and retries of the job."""
        return self._steps().flow.start.key(step)

    def spent(self, name: str) -> float:
        """The sum of what steps have reported under this name of `usage`, of those whose results the code has got."""
        return self._steps().flow.spent(name)

    def has(self, name: str) -> bool:
        """Whether there was a step of this name when the attempt began: with `if job.has("old"):` jobs under way keep to their old way."""
        return self._steps().flow.has(name)

    def _do(self, what: str, work: Callable[[Port], Coroutine[Any, Any, Any]]) -> Any:
        port = self._steps()
        if port.is_async:
            return verbs.tracked(port.flow, what, lambda: work(port))
        return verbs.run_through(work(port))
