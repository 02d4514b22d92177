"""`python -m longrun` is the `longrun` command."""

from __future__ import annotations

from longrun.cli.main import main

if __name__ == "__main__":
    main()
