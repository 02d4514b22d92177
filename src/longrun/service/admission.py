"""Whether jobs may be accepted: the store is looked at when a process starts and every 30 s from then on.

A store that would lose jobs closes admission: submits are answered 503 until it is mended. Reading, workers and running jobs go on, since
ending them would help nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from longrun.clock import rfc3339
from longrun.embedded.folder import Disk
from longrun.errors import StoreUnavailable, StoreUnsafe
from longrun.log import Log
from longrun.service.store_checks import Finding, check_format, examine, outdated, refusals
from longrun.settings import Settings
from longrun.store.formats import OLDEST
from longrun.store.server_facts import About, Facts, read_facts, write_about
from longrun.store.store import Store

log = Log("longrun.store")

EVERY = 30.0
_SOON = 0.1  # seconds until the next try when the store does not answer
_AGAIN = 5.0  # … after a defect, so that it does not fill the log
ReadDisk = Callable[[], Disk | None]
#: Looks at the store with a time limit in seconds, see `inspect`.
Look = Callable[[float], Awaitable["Inspection"]]


@dataclass(frozen=True, slots=True)
class Inspection:
    """One look at the store, judged. `about` is None when the data do not say what they are, or were not looked at."""

    facts: Facts
    findings: tuple[Finding, ...]
    about: About | None


async def inspect(store: Store, settings: Settings, read_disk: ReadDisk, *, timeout: float, claim: bool = True) -> Inspection:
    """Look at the store and judge it.

    Args:
        store: an open store.
        settings: what it is judged by.
        read_disk: the disk of the embedded server; None of a store elsewhere.
        timeout: seconds until each command is given up.
        claim: have data that do not say what they are say it from now on, when nothing forbids to work on them.

    Raises:
        StoreUnavailable: no answer in time.
        StoreError: it refuses what no service can do without.
    """
    facts = await read_facts(store, timeout=timeout)
    findings = examine(facts, await asyncio.to_thread(read_disk), settings)
    about = facts.about
    if claim and facts.inside and (about is None or not about.id) and not refusals(findings):
        # Data that were lost while an older process works: it goes on with them.
        about = await write_about(store, facts.now, OLDEST if outdated(facts) else store.format, timeout=timeout)
        # Another process may have come first, with another format.
        theirs = check_format(Facts(about=about), settings)
        findings = [theirs if each.name == theirs.name else each for each in findings]
    return Inspection(facts, tuple(findings), about)


class Admission:
    """Open or closed to new jobs.

    Args:
        look: how to look at the store; None = always open.
        every: seconds between two looks.
        patience: seconds that a request waits for the first look.
        on_wrong_start: called once, when the *first* look finds the store unsafe; default: nothing but closed admission.

    Attributes:
        closed: whether no job is accepted now, as far as is known.
        findings: of the last look.
        lost_at: when the data were found to be others, in ms; None = never in the life of this process.
    """

    def __init__(
        self, look: Look | None = None, *, every: float = EVERY, patience: float = 2.0, on_wrong_start: Callable[[], None] | None = None
    ) -> None:
        self._look, self._every, self._patience = look, every, patience
        self._on_wrong_start = on_wrong_start
        self._known = look is None
        self._first: asyncio.Task[None] | None = None
        self._id = ""
        self.closed = look is not None
        self.findings: tuple[Finding, ...] = ()
        self.lost_at: int | None = None

    async def admit(self) -> None:
        """Return when jobs may be accepted. While `closed` it may have to look first.

        Raises:
            StoreUnsafe: the store would lose jobs.
            StoreUnavailable: it could not be looked at yet.
        """
        if self.closed:
            await self.know()
        if self.closed:
            raise StoreUnsafe(
                "The store is set up so that accepted jobs could be lost. Nothing was stored; tell the operator.", retry_after=30
            )

    async def know(self) -> None:
        """Return when the store has been looked at. Raises StoreUnavailable when it does not answer."""
        if self._known:
            return
        if self._first is None or self._first.done():
            # One look for all who ask; who gives up waiting must not end it for the others.
            self._first = asyncio.ensure_future(self.look(self._patience))
        await asyncio.shield(self._first)

    async def look(self, timeout: float) -> None:
        """Look now. Raises as `inspect` does; what was known stays in force then."""
        if self._look is None:
            return
        seen = await self._look(timeout)
        self._compare(seen)
        first, self._known = not self._known, True
        before, self.findings = self.findings, seen.findings
        self.closed = bool(refusals(seen.findings))
        if first and self.closed and self._on_wrong_start is not None:
            self._on_wrong_start()
        _log_changes(before, seen.findings)

    def close(self) -> None:
        """Accept nothing until the next look, which says why."""
        self.closed, self._known = True, False

    async def watch(self) -> None:
        """Look now and every so often, until canceled. A store that is away is looked at as soon as it is back."""
        while self._look is not None:
            try:
                # A long limit: the commands wait in the connection, and are the first to be answered after an outage.
                await self.look(max(self._every, self._patience))
            except StoreUnavailable as error:
                log.warning("the store cannot be checked", error=str(error))
                await asyncio.sleep(_SOON)
                continue
            except Exception as error:
                log.error("the store cannot be checked", exc_info=error)
                await asyncio.sleep(_AGAIN)
                continue
            await asyncio.sleep(self._every)

    def checks(self) -> dict[str, str]:
        """What /readyz shows: `store`, and an entry for each check that is not well. The log says more."""
        store = "ok" if self.lost_at is None else f"lost its data at {rfc3339(self.lost_at)}"
        words = {"warn": "warning", "refuse": "unsafe"}
        return {"store": store} | {each.name: words[each.severity] for each in self.findings if each.severity != "ok"}

    def _compare(self, seen: Inspection) -> None:
        """Log that the data are others than before: FLUSHALL, a restart without its file, or another server behind the address."""
        if not seen.facts.inside:
            return
        found = "" if seen.about is None else seen.about.id
        had, self._id = self._id, found
        if had and found != had:
            self.lost_at = seen.facts.now
            mend = "restore the data, or name the right server, or submit the jobs again"
            log.critical("the store has lost its data", had=had, has=found or None, mend=mend)


def _log_changes(before: Sequence[Finding], after: Sequence[Finding]) -> None:
    """Log what has changed since the last look."""
    old = {each.name: each.severity for each in before}
    for each in after:
        if old.get(each.name, "ok") == each.severity:
            continue
        if each.severity == "ok":
            log.info("store check", check=each.name, found=each.found)
        elif each.severity == "warn":
            log.warning("store check", check=each.name, found=each.found, mend=each.mend)
        else:
            log.critical("the store is not safe", check=each.name, found=each.found, mend=each.mend)
