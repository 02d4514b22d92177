"""The runner's end of the pipe."""

from __future__ import annotations

import socket

import pytest

from longrun.worker.frames import pack
from longrun.worker.runner.pipe import Pipe


@pytest.mark.parametrize("unread", [False, True])
def test_the_frames_end_when_the_worker_is_gone_whether_it_has_read_everything_or_not(unread: bool) -> None:
    ours, theirs = socket.socketpair()
    pipe = Pipe(ours)
    frames = pipe.frames()
    theirs.sendall(pack("ping", 1) + pack("ping", 2)[:5])
    assert next(frames) == ["ping", 1]
    if unread:
        pipe.send("pong", 1, None)
    theirs.close()
    assert list(frames) == []
    ours.close()
