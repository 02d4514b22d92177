"""What an exception is, asked of Python and not of the exception."""

from __future__ import annotations


def is_caught_by(error: BaseException, *classes: type[BaseException]) -> bool:
    """Whether `except classes` would catch it.

    As with `except`, nothing of an author's is called: `isinstance` reads `__class__`, which may be a property, and asks the metaclass.
    """
    return any(type.__subclasscheck__(each, type(error)) for each in classes)
