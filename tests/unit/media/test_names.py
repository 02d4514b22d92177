"""Names are safe to show and to send, whatever callers write."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus import NAMES

from longrun.media.names import LONGEST, content_disposition, extension, safe_name

#: Lone surrogates too, and much of what attacks are made of.
ANY = st.text(st.characters(codec=None) | st.sampled_from("./\\\0\r\n\u202e\ud800 \u0301:\"'%;cCoOnN1"), max_size=300)


@pytest.mark.parametrize(("name", "shown"), [pytest.param(*case[1:], id=case[0]) for case in NAMES])
def test_a_name_is_made_safe(name: str, shown: str) -> None:
    assert safe_name(name) == shown


@given(ANY)
def test_no_name_is_a_path_hidden_or_unprintable(text: str) -> None:
    name = safe_name(text)
    assert len(name) <= LONGEST
    assert not set(name) & set('/\\<>:"|?*\0\r\n')
    assert not name.startswith((".", " ")) and not name.endswith((".", " "))
    assert all(unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in name)
    assert name == unicodedata.normalize("NFC", name)
    name.encode()


@given(ANY)
def test_a_safe_name_stays_as_it_is(text: str) -> None:
    assert safe_name(safe_name(text)) == safe_name(text)


@given(ANY)
def test_a_header_cannot_be_broken_out_of(text: str) -> None:
    header = content_disposition(text)
    quoted, encoded = r"[ !#$&-\[\]-~]+", r"[A-Za-z0-9!#$&+.^_`|~%-]+"
    assert header == "attachment" or re.fullmatch(rf"attachment; filename=\"{quoted}\"; filename\*=UTF-8''{encoded}", header)


@given(ANY)
def test_a_client_reads_the_name_from_the_header(text: str) -> None:
    name = safe_name(text)
    assert not name or unquote(content_disposition(text).split("filename*=UTF-8''")[1], errors="strict") == name


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.png", "attachment; filename=\"a.png\"; filename*=UTF-8''a.png"),
        ("é.png", "attachment; filename=\"e.png\"; filename*=UTF-8''%C3%A9.png"),
        ("日本.png", "attachment; filename=\"file.png\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.png"),
        ("日本", "attachment; filename=\"file\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
        ("50%.txt", "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
        ("..", "attachment"),
    ],
)
def test_old_clients_get_a_name_in_ascii(name: str, header: str) -> None:
    assert content_disposition(name) == header


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.PNG", "png"),
        ("a.tar.gz", "gz"),
        ("a.png. ", "png"),
        ("a.png\0.jpg", "jpg"),
        ("a.gnp\u202e.jpg", "jpg"),
        ("folder.png/a", ""),
        (".png", ""),
        ("a.", ""),
        ("a.not-an-ending", ""),
        ("a.png:stream", ""),
        ("x" * 5000 + ".jpeg", "jpeg"),
        ("", ""),
    ],
)
def test_the_ending_is_what_follows_the_last_dot(name: str, ending: str) -> None:
    assert extension(name) == ending


def test_a_million_accents_are_no_work() -> None:
    assert len(safe_name("a" + "\u0301\u0316" * 500_000 + ".png")) <= LONGEST
    assert extension("a" + "\u0301\u0316" * 500_000 + ".png") == "png"
