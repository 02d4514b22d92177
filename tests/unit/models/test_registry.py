import pytest

from longrun.errors import AuthoringError, UnknownModel
from longrun.models import Model, Registry, default_registry, isolated_registry, model


def define(name):
    @model(name=name)
    def anything() -> str: ...

    return anything.__longrun__


def test_definitions_register_themselves_and_are_listed_by_name(registry):
    for name in ("zebra", "ant", "bee"):
        define(name)
    assert default_registry() is registry
    assert registry.names() == [spec.name for spec in registry] == ["ant", "bee", "zebra"]
    assert len(registry) == 3
    assert "ant" in registry
    assert registry.get("ant").name == "ant"


def test_an_unknown_model_is_a_problem_that_lists_near_names(registry):
    define("captioner")
    with pytest.raises(UnknownModel, match="no model named 'captoiner'; did you mean captioner"):
        registry.get("captoiner")
    with pytest.raises(UnknownModel, match=r"no model named 'zzz'$"):
        registry.get("zzz")


def test_two_models_of_one_name_are_refused_with_both_places():
    @model
    def echo(text: str) -> str: ...

    first_line = echo.__longrun__.place.line
    with pytest.raises(AuthoringError, match="pass name=") as caught:

        class Echo(Model):
            def predict(self, text: str) -> str: ...

    message = str(caught.value)
    assert f"test_registry.py, line {first_line})" in message
    assert message.count("test_registry.py, line ") == 2


def test_the_same_definition_loaded_again_replaces_itself(registry):
    first, second = define("again"), define("again")
    assert first is not second
    assert registry.get("again") is second
    assert len(registry) == 1


def test_an_isolated_registry_leaves_the_others_alone(registry):
    define("outside")
    with isolated_registry() as inner:
        define("inside")
        assert inner.names() == ["inside"]
    assert registry.names() == ["outside"]
    assert default_registry() is registry


def test_an_isolated_registry_ends_with_its_block_also_on_an_error(registry):
    with pytest.raises(RuntimeError), isolated_registry():
        raise RuntimeError
    assert default_registry() is registry


def test_a_registry_can_be_filled_by_hand():
    spec = define("mine")
    registry = Registry()
    registry.add(spec)
    assert registry.get("mine") is spec
