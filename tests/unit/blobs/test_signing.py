"""A signed URL says one thing, for a while, and nothing that is changed in it holds."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from longrun.blobs import signing
from longrun.blobs.signing import sign, verify
from longrun.errors import Forbidden

SECRET, OLDER, OTHER = b"s" * 32, b"o" * 32, b"x" * 32
WHAT: dict[str, Any] = {"method": "GET", "tenant": "me", "file": "file_1"}


def signed(**more: Any) -> dict[str, str]:
    return dict(parse_qsl(sign(SECRET, **{**WHAT, **more})))


def test_what_was_signed_holds() -> None:
    assert sorted(signed()) == ["expires", "kid", "sig"]
    verify([SECRET], signed(), **WHAT)


def test_what_may_be_fetched_may_be_looked_at() -> None:
    verify([SECRET], signed(), **{**WHAT, "method": "HEAD"})
    with pytest.raises(Forbidden):
        verify([SECRET], signed(), **{**WHAT, "method": "DELETE"})


@pytest.mark.parametrize("change", [{"method": "PUT"}, {"tenant": "you"}, {"file": "file_2"}, {"tenant": "mef", "file": "ile_1"}])
def test_it_holds_for_nothing_else(change: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="not right"):
        verify([SECRET], signed(), **{**WHAT, **change})


def test_every_flipped_bit_is_refused() -> None:
    query = signed()
    for name, value in query.items():
        data = value.encode()
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Forbidden):
                verify([SECRET], {**query, name: flipped.decode("utf-8", "surrogateescape")}, **WHAT)


@pytest.mark.parametrize("missing", ["expires", "kid", "sig"])
def test_nothing_may_be_left_out(missing: str) -> None:
    query = signed()
    del query[missing]
    with pytest.raises(Forbidden):
        verify([SECRET], query, **WHAT)


def test_nothing_may_be_added() -> None:
    with pytest.raises(Forbidden, match="not right"):
        verify([SECRET], {**signed(), "disposition": "inline"}, **WHAT)


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    query, now = signed(expires=60), time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 61)
    with pytest.raises(Forbidden, match="expired"):
        verify([SECRET], query, **WHAT)


@pytest.mark.parametrize("expires", [0, -1, 901, float("nan"), float("inf")])
def test_no_url_holds_for_longer_than_15_minutes(expires: float) -> None:
    with pytest.raises(ValueError, match="900"):
        sign(SECRET, **WHAT, expires=expires)
    with pytest.raises(Forbidden):
        verify([SECRET], signed(expires=3600, longest=3600), **WHAT)


def test_a_secret_can_be_replaced_while_old_urls_hold() -> None:
    query = signed()
    verify([OLDER, SECRET], query, **WHAT)
    for secrets in ([OLDER, OTHER], []):
        with pytest.raises(Forbidden):
            verify(secrets, query, **WHAT)


def test_the_key_id_tells_nothing_of_the_secret_and_cannot_be_swapped() -> None:
    query = signed()
    assert SECRET.hex() not in query["kid"] and len(query["kid"]) == 8
    with pytest.raises(Forbidden):
        verify([SECRET, OTHER], {**query, "kid": signing.key_id(OTHER)}, **WHAT)
