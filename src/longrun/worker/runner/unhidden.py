"""To be imported in a process that a model has spawned, or in its fork server: loads early what the models' folder must not hide.

The folder comes first in `sys.path` there too, and is away meanwhile: the same as in the runner.
"""

import sys

first = sys.path.pop(0)
from longrun.models import early_imports  # noqa: E402

early_imports.load()
early_imports.look_past(first)
sys.path.insert(0, first)
