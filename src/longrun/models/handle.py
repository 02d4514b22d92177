"""What marks the parameter of `predict` that gets the job."""

from __future__ import annotations


class Handle:
    """A parameter that is annotated with a class derived from this one receives the running job; it is never part of the input."""
