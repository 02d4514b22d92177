"""The exceptions of the benchmarks."""


class CheckError(Exception):
    """What was measured did not do its work, so that its figures mean nothing. The message says what went wrong."""


class PeerMissing(CheckError):
    """A peer could not be installed. The message says why."""
