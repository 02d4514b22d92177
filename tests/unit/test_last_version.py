"""The version that the two-version tests build is the last one that has a tag."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from packaging.version import Version
from tests.chaos import last_version
from tests.chaos.last_version import COMMIT, ROOT, TAG

from longrun.store.formats import FORMAT


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_it_is_the_one_before_this() -> None:
    this = Version(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"v{max(each for each in map(Version, released) if each < this)}" == TAG


def test_the_tag_is_where_the_tests_look_for_it() -> None:
    if last_version.missing() or TAG not in git("tag").split():
        pytest.skip(f"this clone has no tag {TAG}")
    assert git("rev-parse", f"{TAG}^{{commit}}") == COMMIT
    assert f'version = "{TAG[1:]}"' in git("show", f"{COMMIT}:pyproject.toml")


def test_every_format_has_its_line() -> None:
    text = (ROOT / "src/longrun/store/formats.py").read_text()
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(number) for number in range(1, FORMAT + 1)]


def test_a_clone_that_does_not_reach_back_says_how_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_version, "COMMIT", "0" * 40)
    found = last_version.missing()
    assert found is not None and "unshallow" in found
