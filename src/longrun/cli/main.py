"""Entry point of the `longrun` command: turns errors into a text and an exit code. Runs without the packages that the commands need."""

from __future__ import annotations

from longrun.first_process import stay_behind_as_first
from longrun.start import is_folder_gone, mend_start


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (default: `sys.argv`) and exit."""
    mend_start()
    stay_behind_as_first()
    # Imported now: nothing may be opened before.
    from longrun.cli.ending import own_process
    from longrun.cli.http import FAILED, USAGE, explain
    from longrun.cli.show import OutputFailed, say
    from longrun.errors import CallError, LongrunError, needs_extra
    from longrun.observe.output import take_over

    if arguments is None:
        own_process()
        # What is said on stderr is never a reason to end; a result on stdout that cannot be written is.
        take_over("stderr")
    try:
        with needs_extra("The command"):
            from longrun.cli.commands import build

            build()(arguments, prog_name="longrun")
    except CallError as error:
        text, code = explain(error)
        say(f"error: {text}")
        raise SystemExit(code) from None
    except OutputFailed as error:
        say(f"error: {error}")
        raise SystemExit(FAILED) from None
    except LongrunError as error:
        say(f"error: {error}")
        raise SystemExit(USAGE) from None
    except FileNotFoundError:
        if not is_folder_gone():
            raise
        say("error: the folder that this was started in has been removed: start it from another one")
        raise SystemExit(USAGE) from None
