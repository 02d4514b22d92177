"""gevent's and eventlet's patches of the standard library: said, with the line to remove, where nothing would run."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from longrun.errors import SettingsError
from longrun.models import load_target
from longrun.models.patches import refuse_patches

# What is asked of the libraries, as they answer; the real ones are no dependency of ours, and would patch this process.
GEVENT = "patched = set()\ndef patch_all(): patched.update(['socket', 'time'])\ndef is_module_patched(name): return name in patched\n"
EVENTLET = (
    "already_patched = {}\ndef monkey_patch(): already_patched['thread'] = True\n"
    "def is_monkey_patched(module): return module in already_patched\n"
)
MODEL = "from longrun.models import model\n@model\ndef f(x: int) -> int:\n    return x\n"


@pytest.fixture
def libraries(folder):
    for name, part, text in [("gevent", "monkey", GEVENT), ("eventlet", "patcher", EVENTLET)]:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"from {name}.{part} import *\n")
        (folder / name / f"{part}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("# monkey.patch_all() was here\nfrom gevent import monkey\nmonkey.patch_all()\n", r"gevent.monkey.patch_all\(\) .*lr_left.py:3\)"),
        ("from gevent.monkey import patch_all as go\ngo()\n", r"gevent.monkey.patch_all\(\) .*lr_left.py:1"),
        ("import eventlet\neventlet.monkey_patch()\n", r"eventlet.monkey_patch\(\) .*lr_left.py:2\).*Remove that line"),
    ],
)
def test_a_target_that_patches_is_refused_with_the_line(libraries, lines, says):
    (libraries / "lr_left.py").write_text(lines + MODEL)
    with pytest.raises(SettingsError, match=says):
        load_target("lr_left.py")


def test_an_import_that_patches_break_is_refused_for_them(libraries):
    # As gevent's own do where a second thread runs: "cannot release un-acquired lock".
    (libraries / "lr_left.py").write_text(f"import gevent.monkey\ngevent.monkey.patch_all()\nraise RuntimeError('a lock')\n{MODEL}")
    with pytest.raises(SettingsError, match=r"gevent.monkey.patch_all\(\) has replaced"):
        load_target("lr_left.py")


def test_a_library_that_is_imported_and_patches_nothing_is_no_matter(libraries):
    (libraries / "lr_only.py").write_text("import gevent.monkey, eventlet.patcher\n" + MODEL)
    assert [spec.name for spec in load_target("lr_only.py")] == ["f"]


def test_neither_library_is_imported_to_look():
    refuse_patches("app.py")
    assert not {"gevent", "eventlet"}.intersection(sys.modules)


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_gevent_s_own_patches_are_seen():
    code = "from gevent import monkey; monkey.patch_all(); import longrun; longrun.create_app()"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert "SettingsError: this application cannot be served: gevent.monkey.patch_all()" in done.stderr
