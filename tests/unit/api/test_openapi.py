"""The OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

from openapi_spec_validator import validate
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from longrun import model
from longrun.api.http.routing import Answer, Routes
from longrun.api.openapi.document import build_openapi
from longrun.api.routes import ROUTES, TABLE
from longrun.models import Registry, isolated_registry
from longrun.settings import Settings


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    friends: list[Dog] = []


class Colour(Enum):
    RED = "red"


def models() -> Registry:
    with isolated_registry() as registry:

        @model(name="look-at")
        def look(pet: Annotated[Cat | Dog, Field(discriminator="kind")], colour: Colour = Colour.RED) -> Dog | None:
            """Look at a pet."""

        @model(name="look_at")
        def again(pet: Dog) -> Iterator[str]:
            """Look again."""
            yield pet.kind

        @model
        def nothing() -> Any:
            """Ask for nothing."""

    return registry


def test_the_document_is_valid_openapi_3_1() -> None:
    for settings in (Settings(), Settings(api_keys={"a": "k"})):
        validate(build_openapi(ROUTES, models(), settings))
    validate(build_openapi(ROUTES, Registry(), Settings()))


def test_every_reference_leads_somewhere() -> None:
    document = build_openapi(ROUTES, models(), Settings())
    targets = set(re.findall(r"'#/([^']+)'", str(document)))
    assert targets and all(target.startswith("components/schemas/") for target in targets)
    assert {target.rpartition("/")[2] for target in targets} <= set(document["components"]["schemas"])


def test_each_model_has_its_own_path_with_its_input_and_output() -> None:
    document = build_openapi(ROUTES, models(), Settings())
    schemas = document["components"]["schemas"]
    operation = document["paths"]["/api/v1/models/look-at/jobs"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/LookAtRequest"}
    assert schemas["LookAtRequest"]["properties"]["input"] == {"$ref": "#/components/schemas/LookAtInput"}
    assert set(schemas["LookAtInput"]["properties"]) == {"pet", "colour"}
    assert schemas["LookAtInput"]["properties"]["pet"]["discriminator"]["mapping"]["dog"] == "#/components/schemas/LookAtInput_Dog"
    assert "LookAtOutput" in schemas


def test_names_that_read_the_same_do_not_share_a_schema() -> None:
    schemas = build_openapi(ROUTES, models(), Settings())["components"]["schemas"]
    assert schemas["LookAt2Input"]["$ref"] == "#/components/schemas/LookAt2Input_Dog"


def test_every_route_is_described() -> None:
    paths = build_openapi(ROUTES, models(), Settings())["paths"]
    described = {(path, verb.upper()) for path, verbs in paths.items() for verb in verbs}
    served = {(path, verb) for path, handlers in TABLE.items() for verb in handlers}
    submits = {(f"/api/v1/models/{{model}}/{what}", "POST") for what in ("jobs", "batches")}
    a_models_own = re.compile(r"/api/v1/models/[a-z_-]+/(jobs|batches)")
    assert served - submits == {(path, verb) for path, verb in described if not a_models_own.fullmatch(path)}


def test_with_keys_everything_but_health_needs_one() -> None:
    document = build_openapi(ROUTES, models(), Settings(api_keys={"a": "k"}))
    assert document["security"] == [{"bearer": []}]
    open_paths = {path for path, verbs in document["paths"].items() for each in verbs.values() if each.get("security") == []}
    assert open_paths == {"/livez", "/readyz"}
    assert "401" in document["paths"]["/api/v1/jobs"]["get"]["responses"]
    assert "401" not in document["paths"]["/livez"]["get"]["responses"]


def test_a_model_whose_name_is_taken_by_a_component_gets_another() -> None:
    with isolated_registry() as registry:

        @model
        def webhook(text: str) -> str:
            """Its request is no WebhookRequest."""
            return text

    schemas = build_openapi(ROUTES, registry, Settings())["components"]["schemas"]
    assert "url" in schemas["WebhookRequest"]["properties"]
    assert set(schemas["Webhook2Request"]["properties"]) >= {"input", "priority"}


def test_a_handlers_docstring_is_summary_and_description() -> None:
    routes = Routes("things")

    @routes("GET", "/things/{model}", {200: Answer("A thing.")}, (404,))
    async def get_thing(request: Request) -> Response:
        """One thing.

        It is *there*.
        """
        raise NotImplementedError

    operation = build_openapi(routes, Registry(), Settings())["paths"]["/api/v1/things/{model}"]["get"]
    assert (operation["operationId"], operation["summary"], operation["description"]) == ("get_thing", "One thing", "It is *there*.")
    assert operation["parameters"] == [
        {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Name of the model."}
    ]
    assert sorted(operation["responses"]) == ["200", "400", "403", "404", "413", "415", "500", "503"]


def test_no_operation_is_named_twice() -> None:
    paths = build_openapi(ROUTES, models(), Settings())["paths"]
    ids = [each["operationId"] for verbs in paths.values() for each in verbs.values()]
    assert len(ids) == len(set(ids))


def test_no_schema_lists_required_members_where_there_are_none() -> None:
    assert "'required': []" not in str(build_openapi(ROUTES, models(), Settings()))
