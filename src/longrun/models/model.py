"""`Model` and `@model`: the two ways to write a model."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, TypeVar, overload

from longrun.errors import AuthoringError
from longrun.models.definitions import register
from longrun.models.options import ModelOptions
from longrun.models.place import Place, frame_of_class, local_names
from longrun.models.spec import Definition, ModelSpec, build_spec

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Model:
    """Subclass it and write `predict`; the signature becomes the API. Instances are plain Python objects.

    ```python
    class Captioner(Model, queue="gpu", gpus=1, timeout=120):
        def load(self, device: str) -> None:
            self.blip = load_blip(device)

        def predict(self, image: str, max_tokens: int = 30) -> str: ...
    ```

    Class keywords: `name` (default: the class name in snake_case) and the fields of `ModelOptions`. Subclasses take over
    the options of their bases, but not the name. A class that neither has nor inherits `predict` is a base to share: it is not served.

    Raises:
        AuthoringError: when the class is defined, if it cannot be served; the message says where and what to write instead.
    """

    __longrun__: ClassVar[ModelSpec]
    __longrun_options__: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__()
        frame = frame_of_class()
        place = Place(cls.__qualname__, frame.f_code.co_filename, frame.f_lineno)
        inherited = {
            key: value for base in reversed(cls.__mro__[1:]) for key, value in base.__dict__.get("__longrun_options__", {}).items()
        }
        cls.__longrun_options__ = {**inherited, **options}
        checked = _options(place, cls.__longrun_options__)
        predict = inspect.getattr_static(cls, "predict", None)
        if predict is None or getattr(predict, "__isabstractmethod__", False):
            return
        spec = build_spec(_define_class(cls, predict, place, frame, name=name, options=checked))
        _check_load(cls, place, is_async=spec.is_async)
        cls.__longrun__ = spec
        register(spec)

    # Any: a model whose `predict` is async may write `async def load`.
    def load(self, device: str) -> Any:
        """Get ready for work; called once in each runner process, before it takes jobs. By default nothing.

        Heavy imports belong here: the API imports the module too. It may be `async` if `predict` is; what it returns is not used.

        Args:
            device: "cpu", or the device the runner was given, such as "cuda".
        """

    def warmup(self) -> Any:
        """Do what makes the first job slow: a call with a typical input, compilation, filling caches. By default nothing.

        Called once in each runner process after `load` and before it takes jobs; an exception counts as one of `load`. Like `load` it
        may be `async` if `predict` is, and what it returns is not used.
        """


@overload
def model(function: F, /) -> F: ...
@overload
def model(*, name: str | None = None, **options: Any) -> Callable[[F], F]: ...
def model(function: F | None = None, /, *, name: str | None = None, **options: Any) -> F | Callable[[F], F]:
    """Serve a function that has nothing to load: `@model`, or `@model(queue="llm", concurrency=200)`.

    The function is returned as it is and can still be called.

    Args:
        name: the model's name; by default the function's.
        options: fields of `ModelOptions`.

    Raises:
        AuthoringError: the function cannot be served; the message says where and what to write instead.
    """
    frame = sys._getframe(1)

    def define(function: F) -> F:
        if isinstance(function, type):
            raise AuthoringError(f"@model is for functions; write `class {function.__name__}(Model): ...` instead")
        if not inspect.isfunction(function):
            raise AuthoringError(f"@model decorates a function written with `def`, not {function!r}")
        code = inspect.unwrap(function).__code__
        place = Place(function.__qualname__, code.co_filename, code.co_firstlineno)
        spec = build_spec(
            Definition(
                target=function,
                function=function,
                bound=False,
                place=place,
                name=_snake_case(function.__name__) if name is None else name,
                options=_options(place, options),
                description=function.__doc__,
                names=local_names(frame),
            )
        )
        function.__longrun__ = spec  # type: ignore[attr-defined]
        register(spec)
        return function

    return define if function is None else define(function)


def _define_class(cls: type[Model], predict: Any, place: Place, frame: FrameType, *, name: str | None, options: ModelOptions) -> Definition:
    function = predict.__func__ if isinstance(predict, (staticmethod, classmethod)) else predict
    if not inspect.isfunction(function):
        raise AuthoringError(f"{place}: predict is a {type(predict).__name__}; write it as a method, `def predict(self, ...) -> ...`")
    _check_constructor(cls, place)
    nested = {key: value for key, value in vars(cls).items() if isinstance(value, type)}
    return Definition(
        target=cls,
        function=function,
        bound=not isinstance(predict, staticmethod),
        place=Place(f"{cls.__qualname__}.predict", place.file, place.line),
        name=_snake_case(cls.__name__) if name is None else name,
        options=options,
        description=_docstring(cls) or function.__doc__,
        names={**local_names(frame), **nested},
    )


def _docstring(cls: type[Model]) -> str | None:
    """The docstring of the class, or of its nearest base that has one; that of `Model` itself describes nothing."""
    own = cls.__mro__[: cls.__mro__.index(Model)]
    return next((text for each in own if (text := each.__dict__.get("__doc__"))), None)


def _options(place: Place, given: dict[str, Any]) -> ModelOptions:
    try:
        return ModelOptions.of(given)
    except AuthoringError as error:
        raise AuthoringError(f"{place}: {error}") from error


def _check_load(cls: type[Model], place: Place, *, is_async: bool) -> None:
    for name in ("load", "warmup"):
        if inspect.iscoroutinefunction(getattr(cls, name)) and not is_async:
            raise AuthoringError(
                f"{place}: {name} is async but predict is not, so there is no event loop; make both async, or {name} plain"
            )
    try:
        inspect.signature(cls.load).bind(None, "cpu")
    except TypeError as error:
        raise AuthoringError(f"{place}: load is called with the device; write `def load(self, device: str) -> None`") from error
    try:
        inspect.signature(cls.warmup).bind(None)
    except TypeError as error:
        raise AuthoringError(f"{place}: warmup is called without arguments; write `def warmup(self) -> None`") from error


def _check_constructor(cls: type[Model], place: Place) -> None:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise AuthoringError(
            f"{place}: workers make it without arguments; give those of __init__ defaults, or move the work into load()"
        ) from error


def _snake_case(name: str) -> str:
    return _WORDS.sub("_", name).lower()
