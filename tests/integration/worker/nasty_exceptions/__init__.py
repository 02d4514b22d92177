"""Exceptions that do harm when somebody looks at them, and ways to raise what ends a thread, a task or a process.

A package with relative imports: beside the models in a runner, and below `tests` here.
"""

from . import chains, classes, ends, ours, texts
from .corpus import NASTY, SLOW, Text, Value

__all__ = ["NASTY", "SLOW", "Text", "Value", "chains", "classes", "ends", "ours", "texts"]
