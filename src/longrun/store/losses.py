"""What the store was found to have lost: marks that show it, and the report that everybody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longrun.errors import StoreUnavailable
from longrun.settings import Settings
from longrun.store.connection import Connection, StoreError, info_lines
from longrun.store.records import Records

#: Milliseconds: how long a mark lives that is not renewed (a process that was away for longer finds nothing), and how long a loss is shown.
_HOUR, _DAY = 3_600_000, 86_400_000
#: Seconds: a job's tombstone must outlive the time until the next mark by far, or a deleted job would look like a lost one.
_LASTING = 60

Kind = Literal["failover", "restart", "reload", "unknown", "emptied", "other"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost. Times are milliseconds of the server's clock.

    Args:
        at: when it was found. It names the loss.
        kind: `failover`: a replica took over that had not received it. `restart`: the server was started again without it. `reload`: the
            running server took up older data. `unknown`: one of these. `emptied`: all data are gone. `other`: other data are there.
        begin: everything that was written until then is there; None: that is not known, or nothing is.
        end: what was written after that is there.
    """

    at: int
    kind: Kind
    begin: int | None
    end: int

    @classmethod
    def of(cls, fields: Sequence[bytes | None]) -> Loss | None:
        """The loss of the fields `at, kind, begin, end`; None when there was none."""
        at, kind, begin, end = fields
        if at is None or kind is None or end is None:
            return None
        return cls(int(at), kind.decode(), int(begin) if begin else None, int(end))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of a process that the store has confirmed: its name and number, when, and in which data. Number 0: none was confirmed yet."""

    name: str
    number: int = 0
    at: int = 0
    data: str = ""


@dataclass(frozen=True, slots=True)
class Marked:
    """Answer to a mark.

    Args:
        outcome: `kept`, `older` (the data are older than the mark that was confirmed before) or `other` (they are others, or none).
        at: ms of the server's clock.
        data: id of the data; "" = they have none.
        born: ms when these data were begun, 0 = not known.
        found: ms of the latest mark that was there; None = there was none.
        loss: the latest that anybody has reported.
    """

    outcome: Literal["kept", "older", "other"]
    at: int
    data: str
    born: int
    found: int | None
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which server holds the data, and whose history they continue: fields of INFO. `before` is the `history` of the primary that this
    server was a replica of until it was promoted."""

    process: str
    history: str
    before: str


class Losses:
    """See the module.

    Attributes:
        latest: the latest loss that this process knows of; None = none in the last day.
    """

    def __init__(self, connection: Connection, records: Records, settings: Settings) -> None:
        self._run, self._command, self._records, self._prefix = connection.run, connection.command, records, settings.prefix
        self._tombstones_last = settings.tombstone >= _LASTING
        self.latest: Loss | None = None

    async def mark(self, confirmed: Mark, number: int) -> Marked:
        """Leave the mark `number`, unless the data are older than the `confirmed` one, or than a job that was accepted since.

        Number 0: only look.
        """
        newest = dict(self._records.newest)
        jobs = " ".join(newest.values()) if self._tombstones_last else ""
        reply = await self._run("mark", confirmed.name, number, confirmed.number, confirmed.at, confirmed.data, jobs, _HOUR)
        outcome, at, data, born, found, *loss = reply
        for connection, job_id in newest.items():
            if self._records.newest.get(connection) == job_id:
                del self._records.newest[connection]
        self.latest = Loss.of(loss)
        return Marked(outcome.decode(), int(at), data.decode(), int(born or 0), int(found) if found else None, self.latest)

    async def report(self, kind: Kind, begin: int | None, end: int, *, known: Loss | None) -> Loss:
        """Have everybody know of a loss for a day; what is known of it then. `known`: the one that the reporter knew of before this one."""
        reply = await self._run("report_loss", kind, "" if begin is None else begin, end, 0 if known is None else known.at, _DAY)
        self.latest = Loss.of(reply)
        assert self.latest is not None
        return self.latest

    async def read(self) -> Loss | None:
        """The latest that anybody has reported in the last day. Changes nothing."""
        return Loss.of(await self._command("HMGET", f"{self._prefix}lost", "at", "kind", "begin", "end"))

    async def lineage(self) -> Lineage | None:
        """None when the server does not say it, as managed ones and tight ACLs do not."""
        try:
            server, replication = [info_lines(await self._command("INFO", section)) for section in ("server", "replication")]
        except (StoreError, StoreUnavailable):
            return None
        names = (server.get("run_id"), replication.get("master_replid"), replication.get("master_replid2"))
        return Lineage(*names) if all(names) else None  # type: ignore[arg-type]
