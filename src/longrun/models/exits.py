"""What is said when importing the models ends the process, as scripts do."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import TracebackType

from longrun.models.place import is_authors

_RAISE = dis.opmap["RAISE_VARARGS"]
_GUARD = 'importing it must only define models: put what a script does under `if __name__ == "__main__":`'
_READ_COMMAND_LINES = ("absl", "argparse", "click", "docopt", "fire", "getopt", "optparse", "typer")


def explain_exit(error: SystemExit | KeyboardInterrupt | EOFError) -> str | None:
    """Where and how the author's code has ended the import, and what to write instead. None: something else did.

    A subclass of SystemExit is for somebody else, such as a signal to stop. Of interrupts only one that a `raise` has made counts; the
    others are Ctrl-C. Of ends of files only that of the terminal counts.
    """
    steps = list(_steps(error.__traceback__))
    own = [n for n, step in enumerate(steps) if is_authors(step.tb_frame.f_code.co_filename)]
    if not own:
        return None
    step, called = steps[own[-1]], steps[own[-1] + 1 :]
    how = _how(error, steps[-1], _top(called[0]) if called else "")
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno} {how}; {_GUARD}" if how else None


def _how(error: BaseException, last: TracebackType, library: str) -> str:
    if type(error) is SystemExit:
        if library in _READ_COMMAND_LINES:
            return f"reads a command line by {library}, which ends the process ({_shown(error.code)})"
        return f"ends the process ({_shown(error.code)}{f', from {library}' if library.isalnum() else ''})"
    # Not one of a signal handler, as asyncio has for Ctrl-C.
    if isinstance(error, KeyboardInterrupt) and not library and last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE:
        return "raises KeyboardInterrupt"
    if isinstance(error, EOFError) and not library and "reading a line" in str(error):
        return "asks for input(), and there is no terminal"
    return ""


def _shown(code: object) -> str:
    """What was given to `sys.exit`: a status, or a text that would have been printed."""
    if isinstance(code, str):
        return repr(code[:200])
    return f"status {code}" if isinstance(code, int) else "status 0" if code is None else type(code).__name__


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _top(step: TracebackType) -> str:
    """The package of the code that ran there."""
    return str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
