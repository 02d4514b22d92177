"""Which processes work on the data, and the format that these have: see `store.formats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from longrun.settings import Settings
from longrun.store.connection import Connection
from longrun.store.formats import FORMAT, OLDEST
from longrun.version import VERSION

#: Leases for which an announcement holds, and for which nobody may have stood in the way of a raise.
LEASES = QUIET_LEASES = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process hears when it announces itself.

    Args:
        format: that of the data; 0 = they do not say, because they were lost.
        raised_from: the one before, when this call has raised it; else 0.
    """

    format: int
    raised_from: int

    @property
    def foreign(self) -> bool:
        """Whether this version must leave the data alone."""
        return self.format != 0 and not OLDEST <= self.format <= FORMAT


class Presence:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._lease = settings.lease * 1000

    async def announce(self, identity: str, entry: Mapping[str, Any]) -> Answer:
        """Say that the process of this identity is there; raise the format if nothing stands in the way; from now on write the one it is.

        `entry`: what others are shown, with `formats` (oldest, newest).
        """
        life, quiet = int(LEASES * self._lease), int(QUIET_LEASES * self._lease)
        newest, said = entry["formats"][1], orjson.dumps(entry)
        answer = Answer(*await self._connection.run("announce_process", identity, said, life, newest, VERSION, quiet))
        if answer.format and not answer.foreign and answer.format != self._connection.format:
            self._connection.use_format(answer.format)
        return answer

    async def leave(self, identity: str, *, timeout: float) -> None:
        """The process ends."""
        await self._connection.run("announce_process", identity, "", 0, 0, "", 0, timeout=timeout)

    async def read(self, *, timeout: float) -> tuple[Sequence[Mapping[str, Any]], int]:
        """What each process announces, and how many API processes are there that announce nothing: those of 0.1.0."""
        announced, silent = await self._connection.run("processes", timeout=timeout)
        return [orjson.loads(each) for each in announced], silent
