"""An import of the models that does not end says where it stands."""

from __future__ import annotations

import threading

import structlog
from tests.waiting import wait_for

from longrun.models import load_target
from longrun.observe.slow_imports import report_slow_import

WAITS = """import time, pathlib
from longrun.models import model
from longrun.observe.slow_imports import report_slow_import
def wait():
    while not pathlib.Path("seen").exists():
        time.sleep(0.001)
with report_slow_import("lr_slow.py", after=0.01):
    wait()
@model
def f(x: int) -> int:
    return x
"""


def test_the_line_that_an_import_stands_at_is_logged_once(folder):
    (folder / "lr_slow.py").write_text(WAITS)

    def keep(_logger, _name, line):
        lines.append(line)
        (folder / "seen").touch()
        raise structlog.DropEvent

    lines = []
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[keep])
    try:
        load_target("lr_slow.py")
    finally:
        structlog.configure(processors=before)
    assert [(line["app"], line["at"].rpartition(":")[0]) for line in lines] == [("lr_slow.py", str(folder / "lr_slow.py"))]


def test_an_import_that_is_done_in_time_says_nothing(folder):
    (folder / "lr_quick.py").write_text("from longrun.models import model\n@model\ndef f(x: int) -> int:\n    return x\n")
    with structlog.testing.capture_logs() as lines:
        with report_slow_import("lr_quick.py", after=600.0):
            load_target("lr_quick.py")
        wait_for(lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()))
    assert lines == []
