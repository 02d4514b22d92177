"""How large a body may be."""

from __future__ import annotations

from typing import Annotated

import pytest
from starlette.datastructures import Headers

from longrun import File, Image, Limits, model
from longrun.api.limits import body_limits
from longrun.api.middleware.access import is_signed
from longrun.api.middleware.body_limit import worth_closing
from longrun.models import isolated_registry
from longrun.settings import Settings

with isolated_registry() as _models:

    @model
    def one(image: Annotated[Image, Limits(max_bytes=10_000_000)], text: str = "") -> str:
        """Take a picture."""
        return text

    @model
    def many(files: list[Annotated[File, Limits(max_bytes=1_000)]], more: Annotated[File, Limits(max_bytes=500)] | None = None) -> str:
        """Take files."""
        return ""

    @model
    def none(text: str) -> str:
        """Take none."""
        return text


SETTINGS = Settings(max_body=4_000, max_file=5_000_000)
FORM = Headers({"content-type": "Multipart/Form-Data; boundary=x"})
JSON = Headers({"content-type": "application/json"})


@pytest.mark.parametrize(
    ("path", "headers", "limit"),
    [
        ("/api/v1/models/one/jobs", FORM, 4_000 + 5_000_000),  # the operator's limit is the smaller one
        ("/api/v1/models/many/jobs", FORM, 4_000 + 100 * 1_000 + 500),
        ("/api/v1/models/none/jobs", FORM, 4_000),
        ("/api/v1/models/unknown/jobs", FORM, 4_000),
        ("/api/v1/models/one/jobs", JSON, 4_000),
        ("/api/v1/models/one/jobs", Headers({}), 4_000),
        ("/api/v1/models/one/jobs/x", FORM, 4_000),
        ("/api/v1/models/one", FORM, 4_000),
        ("/api/v1/files", FORM, 5_000_000 + 65_536),
        ("/api/v1/files", Headers({}), 5_000_000 + 65_536),
        ("/api/v1/files/x", FORM, 4_000),
        ("/api/v1/jobs/x/cancel", FORM, 4_000),
    ],
)
def test_a_body_may_have_what_its_route_can_use(path: str, headers: Headers, limit: int) -> None:
    assert body_limits(_models, SETTINGS)(path, headers) == limit


@pytest.mark.parametrize(
    ("headers", "closing"),
    [
        ({}, False),
        ({"content-length": "0"}, False),
        ({"content-length": "65536"}, False),
        ({"content-length": "65537"}, True),
        ({"content-length": "9" * 30}, True),
        ({"content-length": "-1"}, True),
        ({"content-length": "²"}, True),
        ({"transfer-encoding": "chunked"}, True),
        ({"content-length": "2", "expect": "100-continue"}, True),
    ],
)
def test_a_connection_is_worth_closing_when_much_may_come(headers: dict[str, str], closing: bool) -> None:
    assert worth_closing(Headers(headers)) is closing


def test_a_query_is_signed_when_it_has_a_sig_of_that_name() -> None:
    assert all(map(is_signed, (b"sig=x", b"sig=", b"expires=1&kid=2&sig=3")))
    assert not any(map(is_signed, (b"", b"xsig=1", b"a=sig=1", b"sig", b"SIG=1")))
