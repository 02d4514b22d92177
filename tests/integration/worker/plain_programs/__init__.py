"""Programs that behave in plain Python, to be run as jobs of every kind: each returns `fine`, or says what was wrong.

A package with relative imports: beside the models in a runner, and below `tests` here.
"""

from . import children, process
from .corpus import PROGRAMS, tenant
from .forks import child_of, child_returns
from .process import context_is_clean

__all__ = ["PROGRAMS", "child_of", "child_returns", "children", "context_is_clean", "process", "tenant"]
