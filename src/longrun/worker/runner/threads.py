"""The threads that run the code of models."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable

#: Bytes of a stack where the main thread's has no limit, and the least and most that are asked for.
_UNLIMITED, _LEAST, _MOST = 64 << 20, 1 << 20, 1 << 30
#: The main thread's limit is all for the stack; in that of another thread lie some things of the system too.
_EXTRA = 1 << 20


def start_thread(work: Callable[[], None], name: str) -> None:
    """Start a thread that is to code what the main thread of a program is: as large a stack, and no daemon, for the threads that the
    code starts would be daemons too. The author's own threads keep the stack that the platform gives them.
    """
    before = threading.stack_size(stack_size())
    try:
        threading.Thread(target=work, name=name, daemon=False).start()
    finally:
        threading.stack_size(before)


def stack_size() -> int:
    """Bytes of stack that the main thread has at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return max(_LEAST, min(_UNLIMITED if limit == resource.RLIM_INFINITY else limit, _MOST)) // _EXTRA * _EXTRA + _EXTRA
