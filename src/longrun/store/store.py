"""The Store: the only truth about jobs. One method a script; the scripts say what each does, `keys.py` where it lies."""

from __future__ import annotations

from longrun.settings import Settings
from longrun.steps import await_steps
from longrun.store.batches import Batches
from longrun.store.claims import Claims
from longrun.store.connection import Connection
from longrun.store.file_records import Files
from longrun.store.follow import Follower
from longrun.store.records import Records
from longrun.store.scripts import load_scripts
from longrun.store.upkeep import Upkeep
from longrun.store.webhooks import Webhooks


class Store:
    """The store's verbs, by who needs them.

    Args:
        url: the server.
        settings: prefix, lease, tombstone and time limits.
        ticket: template of a ticket (see `load_scripts`).
        timeout: seconds until a call is given up; default `store_timeout`.

    Attributes:
        records: what the API needs: submit, read, list, cancel, delete.
        batches: records of batches, and the making of their jobs.
        claims: what a worker needs: claim, heartbeat, append, finish.
        upkeep: what chores need: sweep, release, republish, expire.
        webhooks: endpoints, secrets and deliveries.
        files: records of files, and what becomes of their bytes.
        follower: announcements of changes.
        hooks_channel: channel to listen to for webhooks that are due.
        pop_script: sent by the transport of the tickets, not by us.
    """

    def __init__(self, url: str, settings: Settings, ticket: str, *, timeout: float | None = None) -> None:
        self.url, self.prefix = url, settings.prefix
        self.wake_prefix = f"{settings.prefix}wake:"
        self.hooks_channel = f"{settings.prefix}hooks"
        limit = settings.store_timeout if timeout is None else timeout
        scripts = load_scripts(settings.prefix, ticket)
        self.pop_script = scripts["pop"]
        self.connection = Connection(url, scripts, timeout=limit, patience=min(limit, 5.0))
        self.records = Records(self.connection, settings)
        self.batches = Batches(self.connection, settings)
        self.claims = Claims(self.connection, settings)
        self.upkeep = Upkeep(self.connection, settings)
        self.webhooks = Webhooks(self.connection, settings)
        self.files = Files(self.connection, settings)
        self.follower = Follower(url)

    def job_channel(self, job_id: str) -> str:
        """Channel to listen to for changes of a job or batch."""
        return f"{self.prefix}note:{job_id}"

    def worker_channel(self, worker: str) -> str:
        """Channel to listen to for commands to a worker. `worker`: its identity."""
        return f"{self.prefix}ctl:{worker}"

    async def ping(self) -> None:
        """Return when the server answers. Raises StoreUnavailable when it does not."""
        await self.connection.command("PING")

    async def close(self) -> None:
        """Close all connections."""
        await await_steps((("close the follower", self.follower.close), ("close the connection to the store", self.connection.close)))
