"""`python -m longrun` is the `longrun` command."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Python has put the working folder first in the path. That is no place to look for libraries, not even for `pathlib`.
    if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
        del sys.path[0]
    from longrun.cli.main import main

    main()
