from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Generic, Optional, TypeVar

import pytest
from pydantic import BaseModel, Field

from longrun.errors import AuthoringError
from longrun.models import Job, Model, ModelSpec, Retry, batched, model


class Ask(BaseModel):
    image: str
    max_tokens: Annotated[int, Field(ge=1, le=200)] = 30


def test_a_model_is_plain_python_without_a_server():
    class Captioner(Model):
        def load(self, device: str) -> None:
            self.device = device

        @batched(max_size=8, max_wait_ms=20)
        def predict(self, asks: list[Ask], jobs: list[Job]) -> list[str]:
            for job in jobs:
                job.progress(0.5)
            return [f"{ask.image} on {self.device}" for ask in asks]

    captioner = Captioner()
    captioner.load("cpu")
    assert captioner.predict([Ask(image="a cat")], [Job()]) == ["a cat on cpu"]


def test_a_streaming_model_is_a_plain_generator():
    class Story(Model):
        def predict(self, prompt: str, job: Job) -> Iterator[str]:
            for index, word in enumerate(prompt.split()):
                job.progress(index / 2, "decoding")
                yield word

    job = Job()
    assert list(Story().predict("once upon", job)) == ["once", "upon"]
    assert job.last_progress == {"fraction": 0.5, "step": "decoding", "message": None}


def test_load_does_nothing_unless_written():
    class Echo(Model):
        def predict(self, text: str) -> str:
            return text

    assert Echo().load("cpu") is None


async def test_load_may_be_async_if_predict_is():
    class Echo(Model):
        async def load(self, device: str) -> None:
            self.device = device

        async def predict(self, text: str) -> str:
            return f"{text} on {self.device}"

    instance = Echo.__longrun__.instantiate()
    await instance.load("cpu")
    assert await instance.bind({"text": "a"}, Job())() == "a on cpu"


def test_the_spec_says_all_about_a_class(registry):
    class Captioner(Model, queue="gpu", gpus=1, timeout=120, retry=Retry(4, on=(OSError,))):
        """Caption
        an image.

        Slowly.
        """

        @batched(max_size=8, max_wait_ms=20, key=("max_tokens",))
        def predict(self, asks: list[Ask], jobs: list[Job]) -> list[str]: ...

    spec = Captioner.__longrun__
    assert isinstance(spec, ModelSpec)
    assert registry.get("captioner") is spec
    assert (spec.name, spec.queue, spec.lane, spec.signature.kind, spec.concurrency) == ("captioner", "gpu", "gpu.captioner", "sync", 1)
    assert (spec.is_async, spec.streams, spec.is_function, spec.signature.job is not None) == (False, False, False, True)
    assert (spec.target, spec.module) == (Captioner, __name__)
    assert (spec.description, spec.title) == ("Caption\nan image.\n\nSlowly.", "Caption an image.")
    assert (spec.options.gpus, spec.options.timeout, spec.options.retry) == (1, 120, Retry(4, on=(OSError,)))
    assert (spec.batched.max_size, spec.batched.max_wait_ms, spec.batched.key) == (8, 20, ("max_tokens",))
    assert spec.input.fields == ["image", "max_tokens"]
    assert spec.output.json_schema() == {"type": "string"}


def test_a_decorated_function_stays_a_function(registry):
    @model(queue="llm", concurrency=200)
    async def summarise(text: str, job: Job) -> str:
        """Shorten a text."""
        return text[:3]

    spec = summarise.__longrun__
    assert registry.get("summarise") is spec
    assert (spec.signature.kind, spec.is_async, spec.concurrency, spec.queue, spec.is_function) == ("async", True, 200, "llm", True)
    assert (spec.title, spec.target) == ("Shorten a text.", summarise)


async def test_a_decorated_function_can_be_called():
    @model
    async def shout(text: str) -> str:
        return text.upper()

    assert await shout("hi") == "HI"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Captioner", "captioner"),
        ("HTTPCaptioner", "http_captioner"),
        ("MiniLM", "mini_lm"),
        ("GPT4Turbo", "gpt4_turbo"),
        ("Snake_Case", "snake_case"),
    ],
)
def test_names_are_in_snake_case(given, expected):
    def predict(self, text: str) -> str: ...

    made = type(Model)(given, (Model,), {"predict": predict})
    assert made.__longrun__.name == expected


def test_name_overrides_and_is_not_inherited():
    class Base(Model, name="first"):
        def predict(self, text: str) -> str: ...

    class Second(Base):
        pass

    @model(name="my-function")
    def anything() -> str: ...

    assert (Base.__longrun__.name, Second.__longrun__.name, anything.__longrun__.name) == ("first", "second", "my-function")


def test_a_class_without_predict_is_a_base_to_share_and_passes_on_its_options(registry):
    class OnGpu(Model, queue="gpu", gpus=1, timeout=60):
        def load(self, device: str) -> None:
            self.device = device

    class Draw(OnGpu, timeout=90):
        def predict(self, prompt: str) -> str: ...

    assert registry.names() == ["draw"]
    assert not hasattr(OnGpu, "__longrun__")
    options = Draw.__longrun__.options
    assert (options.queue, options.gpus, options.timeout) == ("gpu", 1, 90)


def test_an_abstract_predict_is_not_served(registry):
    class Base(Model, ABC):
        @abstractmethod
        def predict(self, text: str) -> str: ...

    class Real(Base):
        def predict(self, text: str) -> str:
            return text

    assert registry.names() == ["real"]
    assert Real.__longrun__.place.file == __file__


def test_a_generic_base_and_a_base_with_its_own_subclass_hook_work(registry):
    T = TypeVar("T")

    class Hooked(Model, Generic[T]):
        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)

    class Real(Hooked[int], queue="gpu"):
        def predict(self, text: str) -> str: ...

    assert registry.get("real").queue == "gpu"
    assert registry.get("real").place.file == __file__


def test_an_inherited_predict_makes_a_second_model(registry):
    class Small(Model):
        """Small."""

        def predict(self, text: str) -> str:
            return text

    class Large(Small, queue="gpu"):
        pass

    assert registry.names() == ["large", "small"]
    assert (Large.__longrun__.queue, Small.__longrun__.queue) == ("gpu", "default")
    assert Large.__longrun__.description == "Small."


def test_without_a_docstring_the_title_is_the_name():
    class Bare(Model):
        def predict(self, text: str) -> str: ...

    assert (Bare.__longrun__.description, Bare.__longrun__.title) == ("", "bare")


def test_predict_may_be_a_static_or_class_method():
    class Static(Model):
        @staticmethod
        def predict(text: str, job: Job) -> str:
            return f"{text} {job.attempt}"

    class Classy(Model):
        @classmethod
        def predict(cls, text: str) -> str:
            return f"{text} {cls.__name__}"

    assert Static.__longrun__.instantiate().bind({"text": "a"}, Job())() == "a 1"
    assert Classy.__longrun__.instantiate().bind({"text": "a"}, Job())() == "a Classy"


@pytest.mark.parametrize("annotation", [Job, Job | None, Optional[Job], Annotated[Job, "mine"]])  # noqa: UP045 - both spellings
def test_a_job_is_injected_by_type_and_is_never_part_of_the_schema(annotation):
    @model
    def count(text: str, handle: annotation = None) -> str:
        return f"{text} {handle.attempt}"

    spec = count.__longrun__
    assert spec.signature.job is not None
    assert list(spec.input.json_schema()["properties"]) == ["text"]
    assert spec.instantiate().bind(spec.input.parse({"text": "a"}), Job(attempt=3))() == "a 3"


def test_an_instance_loads_and_calls_with_what_was_parsed():
    class Add(Model):
        def load(self, device: str) -> None:
            self.device = device

        def predict(self, *, left: int, right: int = 1) -> str:
            return f"{left + right} on {self.device}"

    instance = Add.__longrun__.instantiate()
    instance.load("cuda")
    assert instance.bind(Add.__longrun__.input.parse({"left": 2}), Job())() == "3 on cuda"


def test_a_single_base_model_is_passed_as_itself():
    @model
    def caption(ask: Ask, job: Job) -> str:
        return f"{type(ask).__name__} {ask.max_tokens} {job.id}"

    spec = caption.__longrun__
    instance = spec.instantiate()
    instance.load("cpu")
    assert instance.bind(spec.input.parse({"image": "x"}), Job())() == "Ask 30 job_local"


@pytest.mark.parametrize("with_jobs", [True, False])
def test_a_batch_gets_lists(with_jobs):
    if with_jobs:

        @model
        @batched(max_size=4)
        def each(asks: list[Ask], jobs: list[Job]) -> list[str]:
            return [f"{ask.image}{job.attempt}" for ask, job in zip(asks, jobs, strict=True)]
    else:

        @model
        @batched(max_size=4)
        def each(asks: list[Ask]) -> list[str]:
            return [ask.image for ask in asks]

    spec = each.__longrun__
    values = [spec.input.parse({"image": text}) for text in "ab"]
    result = spec.instantiate().bind(values, [Job(attempt=1), Job(attempt=2)])()
    assert result == (["a1", "b2"] if with_jobs else ["a", "b"])


async def test_every_kind_of_predict_is_recognised():
    @model
    def plain(text: str) -> str:
        return text

    @model
    async def coroutine(text: str) -> str:
        return text

    @model
    def generator(text: str) -> Iterator[str]:
        yield text

    @model
    async def async_generator(text: str) -> AsyncIterator[str]:
        yield text

    @model
    def returns_an_iterator(text: str) -> Iterator[str]:
        return iter([text])

    kinds = [each.__longrun__.signature.kind for each in (plain, coroutine, generator, async_generator, returns_an_iterator)]
    assert kinds == ["sync", "async", "generator", "async_generator", "generator"]
    assert [each.__longrun__.streams for each in (plain, generator, async_generator)] == [False, True, True]
    assert [each.__longrun__.concurrency for each in (plain, generator, coroutine, async_generator)] == [1, 1, 100, 100]
    call = {"text": "a"}
    assert plain.__longrun__.instantiate().bind(call, Job())() == "a"
    assert await coroutine.__longrun__.instantiate().bind(call, Job())() == "a"
    assert list(generator.__longrun__.instantiate().bind(call, Job())()) == ["a"]
    assert [piece async for piece in async_generator.__longrun__.instantiate().bind(call, Job())()] == ["a"]


def test_a_decorator_that_keeps_the_signature_does_not_hide_the_kind():
    from functools import wraps

    def logged(function):
        @wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @model
    @logged
    async def summarise(text: str) -> str:
        return text

    assert summarise.__longrun__.signature.kind == "async"
    assert summarise.__longrun__.input.fields == ["text"]


def test_what_the_constructor_raises_is_passed_on():
    class Broken(Model):
        def __init__(self) -> None:
            raise RuntimeError("no weights")

        def predict(self, text: str) -> str: ...

    with pytest.raises(RuntimeError, match="no weights"):
        Broken.__longrun__.instantiate()


def test_wrong_options_name_the_model_and_the_place():
    with pytest.raises(AuthoringError, match=r"Slow \(.*test_model.py, line \d+\): timout is not an option; did you mean timeout"):

        class Slow(Model, timout=3):
            def predict(self, text: str) -> str: ...
