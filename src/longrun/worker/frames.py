"""Frames between worker and runner: a 4-byte big-endian length, then a msgpack array whose first element names the frame.

| worker → runner                                   |                                                                |
|---------------------------------------------------|----------------------------------------------------------------|
| `settings`, JSON                                  | the first frame: see `runner.settings`                          |
| `run`, model, [[id, fence, input, files, once, flow], …] | run each job by itself, of a batched model all in one call |
| `cancel`, [[id, fence], …], reason, interrupt     | stop these; reason `canceled` or `timeout`                      |
| `recall`, [[id, fence], …]                        | give back those that have not begun                             |
| `answer`, id, fence, n, seen, waits, now, [row, …] | to an `ask`; n = 0: the run may go on, and this has ended; see below |
| `kept`, id, fence, n, [entry, …]                  | to a `journal`: for each entry the one that counts              |
| `history`, id, fence, n, {key: entry}, [key, …]   | the journal, and keys of what has ended in that order           |
| `files`, id, fence, n, JSON                       | records of files by id, of those that there are                 |
| `stale`, id, fence, n                             | to any of them: the claim is stale, or the run is to stop       |
| `let_go`, [[id, fence], …]                        | unwind the code of these, which wait: outcome `waited`          |
| `ping`, n                                         |                                                                |

| runner → worker                                   |                                                                |
|---------------------------------------------------|----------------------------------------------------------------|
| `ready`, model, seconds, seconds                  | `load()` and `warmup()` are done, and took so long              |
| `load-failed`, model, failure                     | `load()` raised; the runner ends                                |
| `events`, id, fence, [[type, data], …]            | progress, output, log, file; usage = the sums so far, which is no event |
| `done`, [[id, fence, kind, data, times, extra], …] | outcomes; see below                                            |
| `back`, [[id, fence], …]                          | recalled jobs that had not begun, and will not                  |
| `fits`, model, n                                  | its memory has room for batches of `n` items                    |
| `pong`, n, memory                                 | memory = of GPUs: bytes allocated, reserved, most ever reserved; or nil |
| `ask`, id, fence, n, seen, need, until, [step, …] | its code asks for steps, and, where `need` > 0, waits: see "Steps"      |
| `journal`, id, fence, n, [[field, value], …], [key, …] | entries of its journal; then these children are to be stopped      |
| `drop`, id, fence, [key, …]                       | its code does not wait for these any more: they are to be stopped       |
| `unsignal`, id, fence, name                       | the value of this signal did not fit                                    |
| `history`, id, fence, n                           | before its code runs: its journal is wanted                             |
| `files`, id, fence, n, [file id, …]               | where files lie that its steps have made                                |
| `awake`, id, fence                                | its code goes on though nothing was answered: by a timer of its own, say |

`fence`: of the claim, see `jobs.fence`; one job may be here twice, when the store has forgotten the first claim.
Kinds of outcomes: `ok` and `partial` (data = output, extra = nil; partial = what the model had when its time was over), `error` (data =
failure, extra = [retryable, seconds to wait or nil, how]), `memory` (the same, because memory was short), `canceled` (extra = how) and
`waited` (data empty, extra = nil: its code was unwound when it was let go).
`how` it was stopped: `flag`, `exception`, nil.
`times` = [seconds that it took up its place in the runner, when its code was first entered (monotonic), seconds in its code]; the last two
are nil when it was not entered. `code_times` has them of a runner that does not answer.
`interrupt`: the job does not look at its flag, so raise the reason in its code. The `n` of a ping comes back.
`once`: the job's code must not run a second time. `flow`: nil, or [epoch, again, origin, journal, child] of `jobs.flow`.
Requests of one run are answered in order, under their `n`; of more than 1,000 that wait for their answers the last are `stale` at once.
`row` = [key, state, data, usage, id of the child, due in ms], see `store.steps.Result`; of a step that is not made the state is
`refused`, and data is JSON {code, detail}. `now` is ms of the store's clock. An answer of n = 0 with `waits` is a piece: more of it
follows, and until then nothing else changes. After another answer with `waits` the run holds no slot; it has
one again with an `answer` of n = 0, which comes when there is room, with its own `awake` or another `ask`, and with a `cancel`.
Inputs, outputs, usage and failures are JSON bytes; nobody on the way parses them. Inputs and outputs may be references to files instead
(`jobs.file_refs`); `files` are those of the input, by id. An event `file` says that the job has made one, and comes before what names it.

Steps. `n` numbers requests, and comes back; those of the code itself (`ask`, `journal`) are over 0, others below. `seen`: how many ends of
steps it has been informed of, -1 = of none. `need`: it waits until so many more have ended, or until `until` (ms; 0 = never) has come.
A step: [key, mark, "run", model, input, [file id, …], {timeout, stream, detached}], [key, mark, "sleep", seconds] or
[key, mark, "wait", name, seconds, question, schema]; what it asks and the schema are JSON, `mark` is kept in the journal as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_HEADER = 4


def pack(*members: Any) -> bytes:
    """One frame."""
    body = _encode(members)
    return len(body).to_bytes(_HEADER, "big") + body


def joined(frames: list[list[Any]]) -> list[list[Any]]:
    """The same in fewer frames: outcomes that came one after the other become one frame."""
    few: list[list[Any]] = []
    for frame in frames:
        if frame[0] == "done" and few and few[-1][0] == "done":
            few[-1][1] += frame[1]
        else:
            few.append(frame)
    return few


class FrameBuffer:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """The frames completed by `data`."""
        buffer = self._data
        buffer += data
        frames, at = [], 0
        while len(buffer) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(buffer[at : at + _HEADER], "big")
            if len(buffer) < end:
                break
            frames.append(_decode(bytes(buffer[at + _HEADER : end])))
            at = end
        del buffer[:at]
        return frames
