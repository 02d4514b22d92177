"""A signed URL says one thing, for a while, and nothing that is changed in it holds."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from longrun.blobs import signing
from longrun.blobs.signing import sign, verify
from longrun.errors import Forbidden

SECRET, OTHER = b"s" * 32, b"x" * 32
WHAT: dict[str, Any] = {"tenant": "me", "file": "file_1"}


def signed(secret: bytes = SECRET, expires: float = 60) -> dict[str, str]:
    return dict(parse_qsl(sign(secret, **WHAT, expires=expires)))


def test_what_was_signed_holds() -> None:
    assert sorted(signed()) == ["expires", "kid", "sig"]
    verify(SECRET, signed(), **WHAT)


@pytest.mark.parametrize("change", [{"tenant": "you"}, {"file": "file_2"}, {"tenant": "mef", "file": "ile_1"}])
def test_it_holds_for_nothing_else(change: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="not right"):
        verify(SECRET, signed(), **{**WHAT, **change})


def test_every_flipped_bit_is_refused() -> None:
    query = signed()
    for name, value in query.items():
        data = value.encode()
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Forbidden):
                verify(SECRET, {**query, name: flipped.decode("utf-8", "surrogateescape")}, **WHAT)


@pytest.mark.parametrize("missing", ["expires", "kid", "sig"])
def test_nothing_may_be_left_out(missing: str) -> None:
    query = signed()
    del query[missing]
    with pytest.raises(Forbidden):
        verify(SECRET, query, **WHAT)


def test_nothing_may_be_added() -> None:
    with pytest.raises(Forbidden, match="not right"):
        verify(SECRET, {**signed(), "disposition": "inline"}, **WHAT)


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    query, now = signed(expires=60), time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 61)
    with pytest.raises(Forbidden, match="expired"):
        verify(SECRET, query, **WHAT)


@pytest.mark.parametrize("expires", [0, -1, 901, float("nan"), float("inf")])
def test_no_url_holds_for_longer_than_15_minutes(expires: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="900"):
        signed(expires=expires)
    monkeypatch.setattr(signing, "LONGEST", 3600)
    query = signed(expires=3600)
    monkeypatch.undo()
    with pytest.raises(Forbidden):
        verify(SECRET, query, **WHAT)


def test_the_key_id_tells_nothing_of_the_secret_and_cannot_be_swapped() -> None:
    query, other = signed(), signed(OTHER)
    assert SECRET.hex() not in query["kid"] and len(query["kid"]) == 8
    for forged in (other, {**query, "kid": other["kid"]}, {**other, "kid": query["kid"]}):
        with pytest.raises(Forbidden):
            verify(SECRET, forged, **WHAT)
