"""A file that ends the process while it is imported: what is said, and where."""

from __future__ import annotations

import pytest

from longrun.errors import SettingsError
from longrun.models import load_target

ENDS = {
    "import sys\nsys.exit()": r"lr_ends.py:2 ends the process \(status 0\); importing it must only define models: put",
    "import sys\nsys.exit('no weights here')": r"lr_ends.py:2 ends the process \('no weights here'\)",
    "import sys\nsys.exit('x' * 10_000)": r"\('x{200}'\)",
    "exit(3)": r"lr_ends.py:1 ends the process \(status 3\)",
    "quit()": r"lr_ends.py:1 ends the process \(status 0\)",
    "raise SystemExit(object())": r"lr_ends.py:1 ends the process \(object\)",
    "def main():\n    raise SystemExit(1)\nmain()": r"lr_ends.py:2 ends the process \(status 1\)",
    "import lr_quits": r"lr_quits.py:2 ends the process \(status 4\)",
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--size', required=True)\np.parse_args()": (
        r"lr_ends.py:4 reads a command line by argparse, which ends the process \(status 2\); .* under `if __name__ == \"__main__\":`"
    ),
    "import typer\ndef main(size: int): ...\ntyper.run(main)": r"lr_ends.py:3 reads a command line by typer, which ends the process",
    "raise KeyboardInterrupt": "lr_ends.py:1 raises KeyboardInterrupt",
    "input('name? ')": r"lr_ends.py:1 asks for input\(\), and there is no terminal",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    exit()": r"lr_ends.py:4 ends the process",
}


@pytest.fixture
def no_terminal(monkeypatch):
    with open("/dev/null") as nothing:  # noqa: PTH123
        monkeypatch.setattr("sys.stdin", nothing)
        yield


@pytest.mark.parametrize("text", ENDS)
def test_what_ends_the_process_at_import_is_said_to_do_that(folder, no_terminal, monkeypatch, text):
    monkeypatch.setattr("sys.argv", ["longrun", "worker", "lr_ends.py"])
    (folder / "lr_quits.py").write_text("import sys\nsys.exit(4)")
    (folder / "lr_ends.py").write_text(text)
    with pytest.raises(SettingsError, match=ENDS[text]):
        load_target("lr_ends.py")


def test_a_signal_to_stop_and_ctrl_c_are_none_of_the_author_s(folder):
    (folder / "lr_waits.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nfor _ in range(10): pass")
    with pytest.raises(KeyboardInterrupt):
        load_target("lr_waits.py")

    class Asked(SystemExit):
        """As the command line raises it."""

    (folder / "lr_stopped.py").write_text("import builtins\nraise builtins.Asked(0)")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Asked):
        patch.setattr("builtins.Asked", Asked, raising=False)
        load_target("lr_stopped.py")


def test_an_end_of_another_file_is_the_author_s_error(folder):
    (folder / "lr_reads.py").write_text("raise EOFError('the weights end early')")
    with pytest.raises(EOFError, match="weights"):
        load_target("lr_reads.py")
