"""A test that lacks something is skipped, and fails where that must be there."""

from __future__ import annotations

import pytest
from tests.require import require


def test_what_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGRUN_TEST_REQUIRE", "node")
    require("node", None)


@pytest.mark.parametrize("required", ["", "rabbitmq,chromium", "nodes"])
def test_what_is_missing_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("LONGRUN_TEST_REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match="there is no node here"):
        require("node", "there is no node here")


def test_what_must_be_there_and_is_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGRUN_TEST_REQUIRE", "rabbitmq,node")
    with pytest.raises(pytest.fail.Exception, match="names node, but there is no node here"):
        require("node", "there is no node here")
