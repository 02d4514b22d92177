"""Keys, spans, what the settings allow, and which files are orphans."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longrun.blobs.contract import is_key, span
from longrun.blobs.folder import Folder
from longrun.blobs.open import open_blobs
from longrun.blobs.sweep import sweep
from longrun.errors import SettingsError
from longrun.settings import Settings, load_settings


@given(st.text(alphabet="ab./\\\0+ -_é\n", max_size=30))
def test_a_key_names_a_file_directly_below_the_folder(text: str) -> None:
    if is_key(text):
        name = text.replace("/", "+")
        assert (Path("/root") / name).parent == Path("/root") and not name.startswith(".") and name.isascii() and name.isprintable()


@given(st.text(alphabet="a/_-.", max_size=12), st.text(alphabet="a/_-.", max_size=12))
def test_two_keys_are_two_files(one: str, other: str) -> None:
    if is_key(one) and is_key(other) and one != other:
        assert one.replace("/", "+") != other.replace("/", "+")


@given(st.integers(0, 100), st.integers(-10, 200), st.none() | st.integers(-10, 200))
def test_a_span_lies_within_the_file(size: int, start: int, end: int | None) -> None:
    first, stop = span(size, start, end)
    assert 0 <= first <= stop <= size
    assert bytes(size)[first:stop] == bytes(size)[max(start, 0) : None if end is None else max(end, 0)]


async def test_orphans_are_the_files_that_no_record_names(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for key in ("a", "b", "c"):
        await folder.put_bytes(key, b"1")

    async def named(keys: object) -> set[str]:
        return {"b", "z"}

    assert (await sweep(folder, named, older_than=0, second_look=0)).removed == 2
    assert await folder.keys() == ["b"]
    folder.close()


async def test_a_sweep_that_cannot_ask_removes_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    await folder.put_bytes("a", b"1")

    async def store_is_away(keys: object) -> set[str]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await sweep(folder, store_is_away, older_than=0)
    assert await folder.keys() == ["a"]
    folder.close()


async def test_a_sweep_asks_for_100_keys_at_a_time(tmp_path: Path) -> None:
    folder, asked = Folder(tmp_path), []
    for number in range(101):
        await folder.put_bytes(f"k{number}", b"")

    async def all_of_them(keys: list[str]) -> list[str]:
        asked.append(len(keys))
        return keys

    assert (await sweep(folder, all_of_them, older_than=0)).removed == 0  # type: ignore[arg-type]
    assert asked == [100, 1]
    folder.close()


@pytest.mark.parametrize(
    "place",
    ["bucket", "s3://", "s3:bucket", "gs://bucket", "file://", "file:///", "file://host/x", "http://h/b", "/x", "memory://", "s3://b?x=1"],
)
def test_a_place_that_is_none_is_a_settings_error(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGRUN_BLOBS", place)
    with pytest.raises(SettingsError, match="LONGRUN_BLOBS"):
        load_settings()


def test_credentials_do_not_belong_into_the_url_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGRUN_BLOBS", "s3://key:hunter2@bucket")
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)


def test_without_a_place_files_lie_in_the_data_folder(tmp_path: Path) -> None:
    blobs = open_blobs(Settings(data=tmp_path))
    assert isinstance(blobs, Folder)
    blobs.close()
