"""The one exception of the benchmarks."""


class CheckError(Exception):
    """What was measured did not do its work, so that its figures mean nothing. The message says what went wrong."""
