"""The model that Longrun serves in the benchmarks: it does nothing, so that only the service is measured."""

from longrun import model


@model
def noop(text: str) -> str:
    """Return the text."""
    return text
