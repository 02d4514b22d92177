"""The Store: the only truth about jobs. One method a script; the scripts say what each does, `keys.py` where it lies."""

from __future__ import annotations

from functools import partial

from longrun.settings import Settings
from longrun.steps import await_steps
from longrun.store.batches import Batches
from longrun.store.claims import Claims
from longrun.store.connection import Connection
from longrun.store.file_records import Files
from longrun.store.follow import Follower
from longrun.store.losses import Losses
from longrun.store.presence import Presence
from longrun.store.records import Records
from longrun.store.scripts import Script, load_scripts
from longrun.store.steps import Steps
from longrun.store.trees import Trees
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
        trees: what jobs that run jobs are made of, and signals to them.
        claims: what a worker needs: claim, heartbeat, append, finish.
        steps: the steps of a job that a worker runs: ask, resume, let go.
        upkeep: what chores need: sweep, release, republish, expire.
        webhooks: endpoints, secrets and deliveries.
        files: records of files, and what becomes of their bytes.
        presence: which processes work on the data, and in which format.
        losses: what the store has lost.
        follower: announcements of changes.
        hooks_channel: channel to listen to for webhooks that are due.
        hooks_announced_channel: who listens to that one and announces itself listens to this one too, on which nobody speaks.
    """

    def __init__(self, url: str, settings: Settings, ticket: str, *, timeout: float | None = None) -> None:
        self.url, self.prefix = url, settings.prefix
        self.wake_prefix = f"{settings.prefix}wake:"
        self.hooks_channel = f"{settings.prefix}hooks"
        self.hooks_announced_channel = f"{settings.prefix}hooks-announced"
        limit = settings.store_timeout if timeout is None else timeout
        load = partial(load_scripts, settings.prefix, ticket)
        self.connection = Connection(url, load, f"{settings.prefix}about", timeout=limit, patience=min(limit, 5.0))
        self.records = Records(self.connection, settings)
        self.batches = Batches(self.connection, settings)
        self.trees = Trees(self.connection)
        self.claims = Claims(self.connection, settings)
        self.steps = Steps(self.connection, settings)
        self.upkeep = Upkeep(self.connection, settings)
        self.webhooks = Webhooks(self.connection, settings)
        self.files = Files(self.connection, settings)
        self.presence = Presence(self.connection, settings)
        self.losses = Losses(self.connection, self.records, settings)
        self.follower = Follower(url)

    @property
    def format(self) -> int:
        """The format that the data have, as of the last look (`store.formats`): the one to write. `FORMAT` of the scripts is the same."""
        return self.connection.format

    @property
    def pop_script(self) -> Script:
        """Sent by the transport of the tickets, not by us."""
        return self.connection.scripts["pop"]

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
