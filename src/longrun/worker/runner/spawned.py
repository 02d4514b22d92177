"""The main module of processes that a model has spawned: `multiprocessing` imports it there as it imports the script of plain Python.

The folder of the models comes first in `sys.path` there too. It is away while we import what it must not hide: the same as in the runner.
"""

import sys

if __name__ == "__mp_main__":
    first = sys.path.pop(0)
    from longrun.models import early_imports

    early_imports.load()
    sys.path.insert(0, first)
    del first
