"""`python -m longrun` is the `longrun` command."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Python has put the working folder first in the path. That is no place to look for libraries, not even for `pathlib`.
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:
        here = ""  # it was removed
    if not sys.flags.safe_path and sys.path[0] in ("", here):
        del sys.path[0]
    from longrun.cli.main import main

    main()
