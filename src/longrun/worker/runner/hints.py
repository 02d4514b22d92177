"""What an author may do about an error that comes from where the code runs: pure."""

from __future__ import annotations

#: In lower case: `signal`, `set_wakeup_fd`, matplotlib, Tk and others say the one, `asyncio.get_event_loop` the other.
_SIGNS = ("main thread", "no current event loop in thread")
#: What is said then.
HINT = (
    "Hint: jobs do not run on the main thread of their process. If this code needs that, set main_thread=True on the (sync) model: it then"
    " has a process of its own, whose main thread loads it and runs its jobs one by one.\n"
)


def main_thread_hint(text: str) -> str:
    """What follows an error with this text raised off the main thread; empty = it is about something else."""
    said = text.lower()
    return HINT if any(sign in said for sign in _SIGNS) else ""
